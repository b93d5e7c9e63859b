"""DTLS listeners: the certificate that each shows, and the socket that trio's DTLS is given instead of its own."""

import math
import socket
from typing import TYPE_CHECKING, Any, Final

import trio
from OpenSSL import SSL

from sigd.config import StartError
from sigd.net.places import Address
from sigd.net.ports import DatagramSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM"
"""Those of TLS 1.2 with forward secrecy that add little: of the 1200 bytes of a datagram they leave at least 1163."""

DATAGRAMS_PER_TURN: Final = 16
"""Of one socket that are taken before trio's other tasks have their turn."""

WAITING_DATAGRAMS: Final = 16
"""Maximum number of a client's datagrams waiting for decryption: two windows. Further ones are dropped."""

RESEND_SECONDS: Final = 1.0
"""How often at most the end of a handshake is repeated to a client that is through it: as often as an honest one asks
(RFC 6347, section 4.2.4.1). A forged datagram of 5 bytes makes trio send some 270 of them."""

NO_CALLBACKS: Final = (
    "DTLS needs memory that is writable and executable: have systemd start sigd with MemoryDenyWriteExecute=no"
)

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_HELLO_VERIFY_REQUEST: Final = 3
_KIND: Final = 13
"""Where a record says which handshake message is in it (RFC 6347, sections 4.1 and 4.2.2)."""

_EPOCH: Final = slice(3, 5)
_UNENCRYPTED: Final = b"\0\0"

Way = tuple[Address, bytes]
"""A client's address and ours that it has sent to (see `places.Place`): trio takes both for the client's address."""


def certificate_context(url: str, certificate: str, key: str) -> SSL.Context:
    """The certificate and key by which a listener proves its name.

    Args:
        url: the listener's, for faults.
        certificate: path of the certificate and its chain, in PEM.
        key: path of its private key, which is not encrypted.

    Raises:
        StartError: OpenSSL does not take them.
    """
    context = _plain_context()
    try:
        context.use_certificate_chain_file(certificate)
        context.use_privatekey_file(key)
        context.check_privatekey()
    except SSL.Error as fault:
        raise StartError(url, f"{certificate} or {key} is not what DTLS can use") from fault
    return context


def _plain_context() -> SSL.Context:
    # Of the two contexts of a handshake some of this counts in the one, some in the other.
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_cipher_list(CIPHERS)
    # Nothing of a session is kept for a next one: tickets would make the first datagrams longer than they may be.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(
        SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    return context


class Resends:
    """The time from which on trio may repeat the end of a session's handshake."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -math.inf


class DTLSSocket(DatagramSocket):
    """A bound datagram socket on which DTLS alone is spoken.

    Attributes:
        context: with the certificate for sessions that begin from now on.
        resends: by the client's place, for sessions whose handshake is done.
    """

    __slots__ = ("_front", "context", "resends")

    def __init__(self, sock: socket.socket, key: tuple[str, int], context: SSL.Context) -> None:
        """Take a socket and the certificate to show.

        Raises:
            StartError: this process may not make the executable memory by which OpenSSL calls back.
        """
        super().__init__(sock, key, {})
        self.context = context
        self.resends: dict[Way, Resends] = {}
        # What every handshake begins with, before the certificate is chosen: trio keeps one for as long as it serves.
        # OpenSSL asks for the certificate whether or not the client has named a server.
        self._front = _plain_context()
        try:
            self._front.set_tlsext_servername_callback(self._show_certificate)
        except MemoryError as fault:
            raise StartError(key[0], NO_CALLBACKS) from fault

    @property
    def via(self) -> str:
        """The name of the transport."""
        return "dtls"

    async def serve(
        self,
        serve: "Callable[[trio.DTLSChannel, DTLSSocket], Awaitable[None]]",
        may_answer: "Callable[[str, float], bool]",
    ) -> None:
        """Take clients in, until cancelled; then the socket is closed.

        Args:
            serve: serves one client, which has shown that it receives where it sends from.
            may_answer: tells whether a host that has shown nothing yet is answered now.
        """
        endpoint_socket = _Socket(self, may_answer)
        with trio.DTLSEndpoint(endpoint_socket, incoming_packets_buffer=WAITING_DATAGRAMS) as endpoint:
            await endpoint.serve(self._front, serve, self)

    def _show_certificate(self, connection: SSL.Connection) -> None:
        connection.set_context(self.context)


class _Socket(trio.socket.SocketType):
    """A `DTLSSocket` as trio's DTLS takes it.

    It never waits to send, and raises nothing but that it is closed: trio reads it in a task of its own, where any
    other fault would end the daemon, and holds a lock for all sessions while it sends.
    """

    def __init__(self, port: DTLSSocket, may_answer: "Callable[[str, float], bool]") -> None:
        self._port = port
        self._may_answer = may_answer
        self._taken = 0  # since trio's other tasks had a turn

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return self._port.sock.family

    @property
    def type(self) -> socket.SocketKind:
        """Datagrams."""
        return socket.SOCK_DGRAM

    def getsockname(self) -> Address:
        """Where it is bound."""
        address: Address = self._port.sock.getsockname()
        return address

    def close(self) -> None:
        """Close the socket, and wake its waiting tasks."""
        if self._port.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._port.sock)
            self._port.sock.close()

    async def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Way]:
        """Wait for the next datagram, and say where it came from.

        Raises:
            ClosedResourceError: the socket is closed.
        """
        while True:
            if self._taken >= DATAGRAMS_PER_TURN:
                self._taken = 0
                await trio.lowlevel.checkpoint()
            if self._port.sock.fileno() < 0:
                raise trio.ClosedResourceError
            self._taken += 1
            try:
                datagram, (address, _, source) = self._port.receive()
            except BlockingIOError:
                self._taken = 0
                await trio.lowlevel.wait_readable(self._port.sock)
            except OSError:
                continue  # of a datagram that went out, and could not
            else:
                way = address, source
                if self._may_pass(datagram, way):
                    return datagram, way

    def _may_pass(self, datagram: bytes, way: Way) -> bool:
        """Whether trio is to see it: anybody may forge what belongs to the beginning of a handshake that is done."""
        if datagram[_EPOCH] != _UNENCRYPTED or _kind_of(datagram) == _CLIENT_HELLO:
            return True
        resends = self._port.resends.get(way)
        now = trio.current_time()
        if resends is None:
            return True
        if now < resends.at:
            return False
        resends.at = now + RESEND_SECONDS
        return True

    async def sendto(self, *args: Any) -> int:  # noqa: ANN401 - bytes and a `Way`, where a trio socket takes flags too
        """Send a datagram; it is lost if the kernel refuses it."""
        datagram: bytes
        way: Way
        datagram, way = args
        address, source = way
        if _kind_of(datagram) != _HELLO_VERIFY_REQUEST or self._may_answer(address[0], trio.current_time()):
            self._port.send(datagram, address, source)
        return len(datagram)


def _kind_of(datagram: bytes) -> int:
    """Which handshake message is in it, unencrypted; 0: none."""
    unencrypted = len(datagram) > _KIND and datagram[0] == _HANDSHAKE and datagram[_EPOCH] == _UNENCRYPTED
    return datagram[_KIND] if unencrypted else 0
