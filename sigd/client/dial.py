"""One connection to a server, over TCP, TLS or a Unix socket: made, ended, and why it failed."""

import ssl
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import ByteStream

from sigd.client.address import Address, Tcp, Unix
from sigd.client.errors import Disconnected, SignalingError

HANG_UP_SECONDS: Final = 0.5
"""For TLS to say goodbye, and hear it. A server that lives answers in one round trip; another one is not waited for."""

LOST: Final = (anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError)
"""What reading and writing raise when the connection is over."""


def context_for(where: Address, wanted: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Whom to trust: what is wanted, or whom the system trusts, certificate and name checked; None: no TLS.

    Raises:
        ValueError: TLS is wanted where it is not spoken.
    """
    if not (isinstance(where, Tcp) and where.tls):
        if wanted is not None:
            raise ValueError("ssl_context is for tls:// URLs: to this one everything goes in the clear")
        return None
    if wanted is not None:
        return wanted
    context = ssl.create_default_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # tell a cut from an end
    return context


async def dial(where: Tcp | Unix, context: ssl.SSLContext | None) -> ByteStream:
    """Connect; `context` is that of `context_for`.

    Raises:
        OSError: there is no connection. `ssl.SSLCertVerificationError`, one of these: there is one, and not to whom
            it should be.
    """
    match where:
        case Unix(path):
            return await anyio.connect_unix(path)
        case Tcp(host, port, tls=False):
            return await anyio.connect_tcp(host, port)
        case Tcp(host, port):
            try:
                return await anyio.connect_tcp(host, port, tls=True, ssl_context=context, tls_hostname=where.name)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                raise ConnectionError("the server closed the connection instead of a TLS handshake") from None


async def hang_up(stream: ByteStream, *, within: float = 0) -> None:
    """Close a connection, with a goodbye where the time suffices for it, even in a program that is being cancelled."""
    # TLS finds fault with what was on its way to us; it is no concern any more.
    with suppress(*LOST), anyio.CancelScope(deadline=anyio.current_time() + within, shield=True):
        await stream.aclose()


def why(fault: Exception) -> str:
    """A few words for people: why there is no connection any more, or why none was made."""
    match fault:
        case SignalingError():
            return fault.text if isinstance(fault, Disconnected) else str(fault)
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {fault.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(getattr(fault, 'reason', None) or 'no reason given').lower().replace('_', ' ')}"
        case anyio.EndOfStream():
            return "the server closed the connection"
        case anyio.BrokenResourceError():
            return "the connection was lost"
        case _:
            return str(fault)
