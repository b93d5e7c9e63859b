"""Datagram sockets: where each datagram came from, and out again by the address that it came to."""

import socket
import struct
from typing import TYPE_CHECKING, Final

from sigd.config import StartError, is_loopback
from sigd.net.inheriting import take_inherited
from sigd.net.places import Address, Place, Recipient

if TYPE_CHECKING:
    from sigd.config.endpoints import Endpoint

RECEIVE_BYTES: Final = 1_203
"""Read size of a datagram: the longest valid one, a line end, and one byte that reveals a longer one."""

RECEIVE_BUFFER: Final = 4_194_304
"""Bytes that may wait in the kernel (it gives what net.core.rmem_max allows): a crowd that comes back in one moment."""

_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
"""Linux, in.h and in6.h: Python's socket module does not have all of them."""

_PMTUDISC_PROBE: Final = 3
"""Never fragment, and never believe an ICMP message, which anybody may send, that says how short datagrams must be."""

_MOST_CONTROL_BYTES: Final = 64
"""Room for one pktinfo of either family, with its header."""

_in_pktinfo: Final = struct.Struct("=i4s4s")
"""Of ip(7): interface, the address that answers leave from, the address that it came to."""


class DatagramSocket:
    """A bound, non-blocking datagram socket.

    Attributes:
        sock: the socket.
        key: which of the configured listeners it belongs to.
        is_local: only this machine reaches it.
        links: those that are reached here, by cid; all sockets share them, so that a client may come by any.
        sealed_only: datagrams count only when they are authenticated.
    """

    __slots__ = ("_option", "_wild", "is_local", "key", "links", "sealed_only", "sock")

    def __init__(
        self,
        sock: socket.socket,
        key: tuple[str, int],
        links: dict[bytes, Recipient],
        *,
        sealed_only: bool = False,
    ) -> None:
        self.sock = sock
        self.key = key
        self.links = links
        host = str(sock.getsockname()[0])
        self.is_local = is_loopback(host)
        self.sealed_only = sealed_only and not self.is_local
        self._wild = host in {"0.0.0.0", "::"}
        v6 = sock.family == socket.AF_INET6
        self._option = (socket.IPPROTO_IPV6, _IPV6_PKTINFO) if v6 else (socket.IPPROTO_IP, _IP_PKTINFO)
        if self._wild:
            sock.setsockopt(self._option[0], _IPV6_RECVPKTINFO if v6 else _IP_PKTINFO, 1)

    @property
    def serial(self) -> int:
        """It is no conversation, and shares its links with all others."""
        return 0

    @property
    def via(self) -> str:
        """The name of the transport."""
        return "udp"

    @property
    def moves(self) -> bool:
        """A client may go on from another address."""
        return True

    @property
    def url(self) -> str:
        """Where it can be reached, its port as the system picked it."""
        host, port = self.sock.getsockname()[:2]
        scheme = self.key[0].partition(":")[0]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def receive(self) -> tuple[bytes, Place]:
        """The next datagram, and where it came from.

        Raises:
            BlockingIOError: there is none.
            OSError: the kernel had something else to say, mostly of a datagram that was sent.
        """
        if not self._wild:
            data, address = self.sock.recvfrom(RECEIVE_BYTES)
            return data, Place(address, self, b"")
        data, control, _, address = self.sock.recvmsg(RECEIVE_BYTES, _MOST_CONTROL_BYTES)
        source = b""
        for level, kind, value in control:
            if (level, kind) == self._option:
                source = value if level == socket.IPPROTO_IPV6 else _answering(value)
        return data, Place(address, self, source)

    def forget(self, cid: bytes) -> None:
        """Forget a link that has ended."""
        del self.links[cid]

    def send(self, data: bytes, address: Address, source: bytes) -> None:
        """Send a datagram; it is lost if the kernel refuses it, as it might be on the way."""
        try:
            if source:
                self.sock.sendmsg([data], [(self._option[0], self._option[1], source)], 0, address)
            else:
                self.sock.sendto(data, address)
        except OSError:
            pass


def _answering(pktinfo: bytes) -> bytes:
    # The interface is left to routing: it may have changed, and the address alone is what the client waits for.
    _, local, _ = _in_pktinfo.unpack(pktinfo)
    return _in_pktinfo.pack(0, local, b"\0\0\0\0")


def open_ports(
    url: str, host: str, port: int, loopback_only: str, inherited: "dict[Endpoint, socket.socket]"
) -> list[socket.socket]:
    """Datagram sockets on an address, or on each that a host name has.

    Args:
        url: the listener's, for faults.
        host: an address or name; empty: all addresses.
        port: 0: the system picks one.
        loopback_only: why not on addresses beyond loopback; nothing where they may be.
        inherited: sockets that are bound already, by address; those that are meant are taken out of it.

    Raises:
        StartError: an address is beyond loopback and may not be.
        OSError: an address cannot be had.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    socks: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if loopback_only and not is_loopback(str(address[0])):
                raise StartError(url, f"{address[0]} is beyond loopback: {loopback_only}")
            if ours := take_inherited((True, str(address[0]), port, ""), inherited):
                socks += ours
                for each in ours:
                    prepare(each)
                continue
            sock = socket.socket(family, socket.SOCK_DGRAM)
            socks.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            prepare(sock)
            sock.bind(address)
    except BaseException:
        for sock in socks:
            sock.close()
        raise
    return socks


def prepare(sock: socket.socket) -> None:
    """Set up a datagram socket, our own or one that was handed over."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
