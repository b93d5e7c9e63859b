"""Places of clients in datagrams: an address, and the carrier through which it is reached."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from sigd.net.rounds import ServedLink

if TYPE_CHECKING:
    from sigd.wire.greeting import OpeningDatagram

Address = tuple[str, int] | tuple[str, int, int, int]
"""A client's address on IPv4 or IPv6."""


class Recipient(ServedLink):
    """A link to which carriers bring datagrams.

    Attributes:
        timer_at: the time at which the timers look at it, as long as it stands there.
    """

    __slots__ = ("timer_at",)

    timer_at: float

    def take_untrusted(self, datagram: bytes, place: "Place", now: float) -> None:
        """Act on a datagram that carries this link's cid."""
        raise NotImplementedError

    def greet_again(self, opening: "OpeningDatagram", place: "Place", now: float) -> None:
        """Answer the same `register` once more."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Do everything due for the channel."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Serve the link no more: another process does."""
        raise NotImplementedError


class DatagramCarrier(Protocol):
    """A carrier of datagrams: a socket, or one conversation in DTLS. See `ports.DatagramSocket`."""

    @property
    def links(self) -> dict[bytes, Recipient]:
        """The links that are reached here, by cid."""
        ...

    @property
    def via(self) -> str:
        """The name of the transport: `udp` or `dtls`."""
        ...

    @property
    def serial(self) -> int:
        """The number of a conversation, which no other has. Sockets, which share their links, all have 0."""
        ...

    @property
    def moves(self) -> bool:
        """Whether a client may go on from another address."""
        ...

    @property
    def sealed_only(self) -> bool:
        """Whether datagrams count only when they are authenticated."""
        ...

    def send(self, data: bytes, address: Address, source: bytes) -> None:
        """Send a datagram, which may be lost."""

    def forget(self, cid: bytes) -> None:
        """Forget a link that has ended."""


class Place(NamedTuple):
    """The place of a client.

    Attributes:
        address: the client's.
        carrier: our socket, or the client's conversation in DTLS.
        source: our address that the client has sent to, as the kernel wants it back; empty if the socket has only one.
    """

    address: Address
    carrier: DatagramCarrier
    source: bytes
