"""One connection to a server over TCP, TLS or a Unix socket: connect, close, and reasons of failure."""

import ssl
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import ByteStream

from sigd.client.address import Tcp, Unix
from sigd.client.trust import unreachable, why_refused

HANG_UP_SECONDS: Final = 0.5
"""Timeout for TLS's closing handshake: a live server answers in one round trip."""

LOST: Final = (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError)
"""Exceptions of reading and writing when the connection is over."""


async def dial(where: Tcp | Unix, context: ssl.SSLContext | None) -> ByteStream:
    """Connect; `context` is that of `context_for`.

    Raises:
        OSError: no connection; its subclass `ssl.SSLCertVerificationError`: the server is not the expected one.
    """
    try:
        return await _dial(where, context)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        fault = ConnectionError("the server closed the connection instead of a TLS handshake")
        raise unreachable(where, fault) from None
    except OSError as fault:
        raise unreachable(where, fault) from None


async def _dial(where: Tcp | Unix, context: ssl.SSLContext | None) -> ByteStream:
    match where:
        case Unix(path):
            return await anyio.connect_unix(path)
        case Tcp(host, port, tls=False):
            return await anyio.connect_tcp(host, port)
        case Tcp(host, port):
            return await anyio.connect_tcp(host, port, tls=True, ssl_context=context, tls_hostname=where.name)


async def hang_up(stream: ByteStream, *, within: float = 0) -> None:
    """Close a connection, after a farewell if time suffices, even while the program is being cancelled."""
    # TLS reports errors in late input, which no longer matters.
    with suppress(*LOST), anyio.CancelScope(deadline=anyio.current_time() + within, shield=True):
        await stream.aclose()


def why(fault: Exception) -> str:
    """Describe in a few words why a connection was lost or not made."""
    match fault:
        case anyio.EndOfStream():
            return "the server closed the connection"
        case anyio.BrokenResourceError():
            return "the connection was lost"
        case _:
            return why_refused(fault) or str(fault)
