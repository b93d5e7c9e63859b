"""Whom a client trusts, and what it says when that, or anything else about a connection, goes wrong. No I/O."""

import ssl

from sigd.client.address import Address, Tcp
from sigd.client.errors import Disconnected, SignalingError


def context_for(where: Address, wanted: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Whom to trust: what is wanted, or whom the system trusts, certificate and name checked; None: no TLS.

    Raises:
        ValueError: TLS is wanted where it is not spoken.
    """
    if not (isinstance(where, Tcp) and where.tls):
        if wanted is not None:
            raise ValueError("certificates are for tls:// URLs: to this one everything goes in the clear")
        return None
    return wanted or trusting(None)


def trusting(authority: str | None) -> ssl.SSLContext:
    """A context that trusts the certificates in a file alone; None: those that the system trusts.

    Raises:
        OSError: the file cannot be read, or (`ssl.SSLError`) holds none.
    """
    context = ssl.create_default_context(cafile=authority)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # tell a cut from an end
    return context


def why_refused(fault: BaseException) -> str:
    """A few words for people where a server, or TLS, has refused; nothing where it was something else."""
    match fault:
        case SignalingError():
            return fault.text if isinstance(fault, Disconnected) else str(fault)
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not trusted: {fault.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {(getattr(fault, 'reason', None) or 'no reason given').lower().replace('_', ' ')}"
        case _:
            return ""
