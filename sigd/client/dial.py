"""One connection to a server, over TCP, TLS or a Unix socket: made, ended, and why it failed."""

import ssl
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import ByteStream

from sigd.client.address import Tcp, Unix
from sigd.client.trust import unreachable, why_refused

HANG_UP_SECONDS: Final = 0.5
"""For TLS to say goodbye, and hear it. A server that lives answers in one round trip; another one is not waited for."""

LOST: Final = (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError)
"""What reading and writing raise when the connection is over."""


async def dial(where: Tcp | Unix, context: ssl.SSLContext | None) -> ByteStream:
    """Connect; `context` is that of `context_for`.

    Raises:
        OSError: there is no connection. `ssl.SSLCertVerificationError`, one of these: there is one, and not to whom
            it should be.
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
    """Close a connection, with a goodbye where the time suffices for it, even in a program that is being cancelled."""
    # TLS finds fault with what was on its way to us; it is no concern any more.
    with suppress(*LOST), anyio.CancelScope(deadline=anyio.current_time() + within, shield=True):
        await stream.aclose()


def why(fault: Exception) -> str:
    """A few words for people: why there is no connection any more, or why none was made."""
    match fault:
        case anyio.EndOfStream():
            return "the server closed the connection"
        case anyio.BrokenResourceError():
            return "the connection was lost"
        case _:
            return why_refused(fault) or str(fault)
