"""TLS on accepted connections: what a listener needs for it, and sockets that speak it."""

import contextlib
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from sigd.config import StartError

if TYPE_CHECKING:
    from typing_extensions import Buffer

RECORD_BYTES: Final = 16_384
"""What one TLS record holds (RFC 8446, section 5.1), and what OpenSSL is given at once. It may take all of that without
having written anything; what it has taken must be given to it again, and it compares nothing but the length."""


class TLSSocket(ssl.SSLSocket):
    """A non-blocking TLS connection that fits where a plain socket does."""

    def send(self, data: "Buffer", flags: int = 0) -> int:
        """Write the first record's worth of data."""
        return super().send(memoryview(data)[:RECORD_BYTES], flags)

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, to TLS first: else the end could be somebody else's work."""
        with contextlib.suppress(OSError, ValueError):  # what is sent is enough: nobody waits for the answer
            self.unwrap()
        super().shutdown(how)

    def peek(self, size: int) -> bytes:
        """What has come and was not read, encrypted as it is."""
        return socket.socket.recv(self, size, socket.MSG_PEEK)


def context_for(
    url: str, certificate: str, key: str, client_ca: str | None, *, client_required: bool
) -> ssl.SSLContext:
    """What a listener needs to speak TLS.

    Args:
        url: the listener's, for faults.
        certificate: path of the certificate and its chain, in PEM.
        key: path of its private key.
        client_ca: path of the certificates that sign those of clients; None: clients need none.
        client_required: whether a client without a certificate is refused at once.

    Raises:
        StartError: a file cannot be read, is not what it should be, or the two do not match.
    """
    # TLS 1.2 and later, no compression: what PROTOCOL_TLS_SERVER stands for is spelled out where it matters.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # Tickets of TLS 1.3 cost two messages per connection, and save little where connections last for days.
    context.num_tickets = 0
    context.sslsocket_class = TLSSocket
    try:
        # An encrypted key asks for its password on the terminal, or for ever where there is none.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as fault:
        raise StartError(url, _why_not(fault, certificate, key)) from fault
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as fault:
            raise StartError(url, _why_not(fault, client_ca, "")) from fault
        context.verify_mode = ssl.CERT_REQUIRED if client_required else ssl.CERT_OPTIONAL
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted: sigd cannot ask for its password; write it without one")


def _why_not(fault: Exception, certificate: str, key: str) -> str:
    if isinstance(fault, ssl.SSLError):
        if fault.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key} is not that of the certificate in {certificate}"
        files = f"{certificate} or {key}" if key else certificate
        return f"{files} is not PEM as it should be ({fault.reason or 'no reason given'})"
    if isinstance(fault, OSError):
        files = f"{certificate} or {key}" if key else certificate
        return f"{files}: {os.strerror(fault.errno or errno.EIO)}"
    return f"{key}: {fault}"
