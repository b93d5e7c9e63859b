"""TLS on accepted connections: contexts of listeners, and encrypted sockets."""

import contextlib
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from sigd.config import StartError

if TYPE_CHECKING:
    from typing_extensions import Buffer

RECORD_BYTES: Final = 8_192
"""Maximum bytes per written record, and per call of OpenSSL, whose buffers keep their largest size."""

RECORDS_PER_STEP: Final = 32
"""Records of one handshake that are taken before everybody else has a turn: an honest one has a handful."""

_HEAD_BYTES: Final = 5
"""Before each record: its kind, a version, and the length of the rest."""

_KINDS: Final = frozenset({20, 21, 22, 23})

_LARGEST: Final = 16_384
"""Maximum bytes of a client's record (RFC 8446, section 5.1)."""

_LONGEST: Final = _LARGEST + 2_048
"""Bytes behind the head of one, at most (RFC 5246, section 6.2.3)."""

_MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""Errors of OpenSSL for a mismatched key, and for a key of another kind."""

_recv: Final = socket.socket.recv
_send: Final = socket.socket.send


class TLSSocket(socket.socket):
    """A non-blocking TLS connection that fits where a plain socket does.

    OpenSSL is given one record after the other instead of the socket. By itself it reads on for as long as records come
    that hold nothing for us, with everybody waiting: a KeyUpdate has 27 bytes, and takes it 0.2 ms.
    """

    __slots__ = ("_ahead", "_coming", "_going", "_shut", "_taken", "_tls", "_unsent")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self.setblocking(False)
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=True)
        self._ahead = b""  # what has come, and OpenSSL has not been given
        self._unsent = b""  # encrypted, and not written yet
        self._taken = 0  # bytes that we were given to send, and that are in it
        self._shut = False

    def shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done, or there is more to do at once.

        Raises:
            BlockingIOError: nothing can be done before the client has sent more.
            SSLWantWriteError: nothing can be done before it has read more.
            OSError: it has failed.
        """
        for _ in range(RECORDS_PER_STEP):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return True
            if not self._flush():
                raise ssl.SSLWantWriteError
            record = self._next_record(_LONGEST)
            if not record:
                raise ConnectionResetError(errno.ECONNRESET, "the client has left")
            self._coming.write(record)
        return False

    def getpeercert(self) -> dict[str, Any] | None:
        """Return the names in the client's certificate, if it has presented one."""
        return self._tls.getpeercert()

    @property
    def has_ahead(self) -> bool:
        """Whether more was taken from the system than was read: it says nothing of that any more."""
        return len(self._ahead) >= _size_of(self._ahead)

    @property
    def held(self) -> int:
        """Bytes that wait here: read ahead, or encrypted and not written yet."""
        return len(self._ahead) + self._coming.pending + len(self._unsent) + self._going.pending

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read the content of one record; nothing for the end.

        Raises:
            BlockingIOError: no record has come, or not all of it.
            SSLWantReadError: one has come with nothing in it for us.
            OSError: the connection is lost, or the record is not the client's.
        """
        if self._shut:
            return _recv(self, size, flags)  # to be thrown away, as it is
        record = self._next_record(size)
        for place in range(0, len(record), RECORD_BYTES):
            self._coming.write(record[place : place + RECORD_BYTES])
            try:
                return self._tls.read(_LARGEST)
            except ssl.SSLZeroReturnError:
                break
            except ssl.SSLWantReadError:
                if len(record) - place <= RECORD_BYTES:
                    raise
            finally:
                if self._going.pending and not self._flush() and self._going.pending > RECORD_BYTES:
                    raise ConnectionResetError(errno.ECONNRESET, "the client does not read what TLS itself has to say")
        return b""

    def _next_record(self, size: int) -> bytes:
        """The next record; nothing for the end of file.

        Args:
            size: how much is read, if not all of it has come before.

        Raises:
            BlockingIOError: it has not come, or not all of it.
            OSError: the connection is lost.
        """
        ahead = self._ahead
        end = _size_of(ahead)
        if len(ahead) < end:
            came = _recv(self, size)
            if not came:
                return b""
            ahead += came
            end = _size_of(ahead)
            if len(ahead) < end:
                self._ahead = ahead
                raise BlockingIOError
        self._ahead = ahead[end:]
        return ahead[:end]

    def send(self, data: "Buffer", flags: int = 0) -> int:
        """Write as many records as fit. What it says was not written may be on its way in part: it comes first again.

        Raises:
            BlockingIOError: not one fits.
            OSError: the connection is lost.
        """
        view = memoryview(data)
        sent = 0
        while self._flush():
            sent += self._taken
            self._taken = 0
            if sent == len(view):
                return sent
            self._taken = self._tls.write(view[sent : sent + RECORD_BYTES])
        if not sent:
            raise BlockingIOError
        return sent

    def _flush(self) -> bool:
        """Write encrypted bytes; return whether that was all."""
        while self._unsent or self._going.pending:
            self._unsent = self._unsent or self._going.read()
            try:
                count = _send(self, self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[count:]
        return True

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, to TLS first: else the end could be somebody else's work."""
        with contextlib.suppress(OSError):  # that it is said is enough: nobody waits for the answer
            self._tls.unwrap()
        self._flush()
        self._shut = True
        super().shutdown(how)


def _size_of(data: bytes) -> int:
    """Bytes of the record that begins like this, as far as they can be known; of what is none, those that show it."""
    if len(data) < _HEAD_BYTES:
        return _HEAD_BYTES
    size = data[3] << 8 | data[4]
    return _HEAD_BYTES + size if data[0] in _KINDS and size <= _LONGEST else _HEAD_BYTES


def context_for(
    url: str, certificate: str, key: str, client_ca: str | None, *, client_required: bool
) -> ssl.SSLContext:
    """The certificate, key and rules by which a listener speaks TLS.

    Args:
        url: the listener's, for faults.
        certificate: path of the certificate and its chain, in PEM.
        key: path of its private key.
        client_ca: path of the certificates that sign those of clients; None: clients need none.
        client_required: whether a client without a certificate is refused at once.

    Raises:
        StartError: a file cannot be read, has the wrong content, or the two do not match.
    """
    # TLS 1.2 and later, no compression: what PROTOCOL_TLS_SERVER stands for is spelled out where it matters.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # Tickets of TLS 1.3 cost two messages per connection, and save little where connections last for days.
    context.num_tickets = 0
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
        if fault.reason in _MISMATCHES:
            return f"the key in {key} is not that of the certificate in {certificate}"
        files = f"{certificate} or {key}" if key else certificate
        return f"{files} is not PEM as it should be ({fault.reason or 'no reason given'})"
    if isinstance(fault, OSError):
        files = f"{certificate} or {key}" if key else certificate
        return f"{files}: {os.strerror(fault.errno or errno.EIO)}"
    return f"{key}: {fault}"
