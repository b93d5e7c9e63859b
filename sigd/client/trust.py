"""TLS trust of a client, and error texts of failed connections. No I/O."""

import errno
import os
import socket
import ssl
from typing import Final, cast

from sigd.client.address import Address, Tcp
from sigd.client.errors import Disconnected, SignalingError

_REMEDIES: Final = {
    errno.ECONNREFUSED: "start sigd there, or correct the URL",
    errno.ENOENT: "start sigd, or correct the path",
    errno.EACCES: "run this program as a user or in a group that may open the socket",
}
"""Remedies for common causes."""


def context_for(where: Address, wanted: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return the wanted TLS context, or one with the system's authorities and host name check; None: no TLS.

    Raises:
        ValueError: a context is given for a transport without TLS.
    """
    if not (isinstance(where, Tcp) and where.tls):
        if wanted is not None:
            raise ValueError("certificates are for tls:// URLs: to this one everything goes in the clear")
        return None
    return wanted or trusting(None)


def trusting(authority: str | None) -> ssl.SSLContext:
    """Return a context that trusts only the certificates in a file; None: the system's.

    Raises:
        OSError: the file is unreadable, or (`ssl.SSLError`) contains none.
    """
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # a distribution's Python may leave this to its configuration
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # distinguish a truncation from an end
    return context


def why_refused(fault: BaseException) -> str:
    """Describe in a few words a refusal by the server, TLS or the system; empty for other faults."""
    match fault:
        case SignalingError():
            return fault.text if isinstance(fault, Disconnected) else str(fault)
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {fault.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(getattr(fault, 'reason', None) or 'no reason given').lower().replace('_', ' ')}"
        case OSError(strerror=str() as reason):
            return reason
        case _:
            return ""


def unreachable(where: Address, fault: OSError) -> OSError:
    """Return the exception for a failed connection: with the address, the cause, and a remedy.

    It has the type and the `errno` of `fault`. A TLS error stays as it is, with the address in a note.
    """
    if isinstance(fault, ssl.SSLError):
        fault.add_note(f"while connecting to {where.url}")
        return fault
    if isinstance(fault, socket.gaierror):
        return socket.gaierror(
            fault.errno, f"no address known for {where.url} ({fault.strerror}): correct the host name"
        )
    cause = _single_cause(fault)
    if cause.errno is None:
        return type(cause)(f"no connection to {where.url}: {cause}")
    remedy = _REMEDIES.get(cause.errno)
    text = f"no connection to {where.url}: {os.strerror(cause.errno).lower()}"
    return OSError(cause.errno, text if remedy is None else f"{text}: {remedy}")


def _single_cause(fault: OSError) -> OSError:
    """Return the error of the last address tried, if several were and `fault` only counts them."""
    cause = fault.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cast("BaseExceptionGroup[BaseException]", cause).exceptions[-1]
    return cause if fault.errno is None and isinstance(cause, OSError) else fault
