"""Links that another process has left: each is served here from where it was there."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sigd.net import bag
from sigd.net.datagram_link import DatagramLink
from sigd.net.handover import HandoverError, Parcel
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.parcel import DatagramLinkState, Snapshot, StreamState, datagram_state, stream_state
from sigd.net.places import Place
from sigd.net.ports import DatagramSocket
from sigd.net.rounds import ServedLink
from sigd.net.stream import Stream
from sigd.relay import snapshot as links
from sigd.wire.opening import Opening
from sigd.wire.times import moved

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from msgspec import Raw

    from sigd.net.places import Address
    from sigd.net.reactor import Reactor
    from sigd.relay.origins import Origin
    from sigd.wire.datagram_state import Where


class Taken(NamedTuple):
    """The outcome for the links in a parcel.

    Attributes:
        streams, datagrams: how many go on.
        refused: how many were told that their credential is not accepted any more.
        lost: how many could not be taken up: the log says why.
    """

    streams: int
    datagrams: int
    refused: int
    lost: int


def take_up(reactor: "Reactor", parcel: Parcel, doors: Sequence[ListeningSocket]) -> Taken:
    """Serve all links in a parcel from where they were, by the rules that hold here; its connections are taken out.

    Args:
        reactor: one without links so far.
        parcel: the state that another process has left.
        doors: all listeners here: a link over UDP, or one before its first byte, needs its own.

    Raises:
        HandoverError: there is no such state; every connection was closed.
    """
    found: list[Taken] = []
    try:
        reactor.intervene(lambda now: found.append(_Arrival(reactor, parcel.snapshot, doors, now).take_up(parcel)))
    except ValueError as fault:
        parcel.close()
        raise HandoverError(f"the snapshot does not say what one says: {fault}") from fault
    return found[0]


class _Arrival:
    """The moment at which links are taken up."""

    def __init__(self, reactor: "Reactor", snapshot: Snapshot, doors: Sequence[ListeningSocket], now: float) -> None:
        self._reactor = reactor
        self._origins = reactor.router.admission.origins
        self._snapshot = snapshot
        self._now = now
        self._shift = now - snapshot.now
        # What Unix time has advanced while the clock stood still, between the processes or in a sleep before.
        unix_ahead = reactor.router.wall.unix_time() - now
        self._passed = unix_ahead - moved(snapshot.unix_ahead, -self._shift)
        self._doors = [door for door in doors if isinstance(door, StreamListener)]
        by_key = {door.key: door for door in doors if isinstance(door, DatagramSocket)}
        self._ports = [by_key.get(key) for key in snapshot.datagrams.ports]
        self._lost = self._refused = 0

    def take_up(self, parcel: Parcel) -> Taken:
        """Take all links up. Two rounds: a message due to one link was sent by another."""
        snapshot = self._snapshot
        self._reactor.datagrams.restore(snapshot.datagrams, self._shift)
        self._reactor.router.admission.restore_strikes(snapshot.strikes, self._shift)
        socks, parcel.streams = parcel.streams, []
        coming = iter(socks)
        # Each is decoded for each round: all states together would take more memory than all links.
        everybody = [
            self._stream(sock, stream_state(each)) if (sock := next(coming, None)) else self._in_datagrams(each)
            for part in parcel.parts
            for each in part
        ]
        parcel.parts.reverse()
        going_on = iter(everybody)
        while parcel.parts:
            self._fill(parcel.parts.pop(), going_on, everybody)
        here = [link is not None and not link.over for link in everybody]
        return Taken(sum(here[: len(socks)]), sum(here[len(socks) :]), self._refused, self._lost)

    def _fill(
        self,
        part: "list[Raw]",
        going_on: "Iterator[ServedLink | None]",
        everybody: "Sequence[ServedLink | None]",
    ) -> None:
        """Give the next links the content of their buffers; the part is freed with the last reference to it."""
        for each, link in zip(part, going_on, strict=False):
            if isinstance(link, Stream):
                state = stream_state(each)
                assert state is not None
                self._go_on(link, state, everybody)
            elif link is not None:
                self._go_on(link, datagram_state(each), everybody)

    def _stream(self, sock: socket.socket, state: StreamState | None) -> Stream | None:
        if state is None:
            bag.say_end(sock)
            return None
        try:
            host, port = state.link.host, state.link.port
            origin = self._origins.local if port is None else self._origins.of(host)
            opening = self._opening(sock, state)
            link = Stream(self._reactor, sock, origin, origin.key if origin.key == host else host, port, opening)
            links.restore(link, state.link, self._shift, self._passed)
            link.restore(state)
            self._reactor.take_up(link)
        except Exception as fault:
            self._lose(state, fault)
            bag.say_end(sock)
            return None
        return link

    def _opening(self, sock: socket.socket, state: StreamState) -> "Opening[ssl.SSLContext] | None":
        if state.opening is None:
            return None
        door = next((door for door in self._doors if _came_by(sock, door)), None)
        if door is None:
            raise ValueError("nobody listens any more where it came in, and it has not said what it speaks")
        opening = Opening(door.context, tls_only=door.tls_only, proxied=state.opening.proxied)
        opening.header = state.opening.header
        return opening

    def _in_datagrams(self, raw: "Raw") -> DatagramLink | None:
        datagrams, state = self._reactor.datagrams, datagram_state(raw)
        try:
            channel = datagrams.channel_again(state.channel, self._place, self._shift)
            link = DatagramLink(datagrams, self._origins.of(channel.place.address[0]), channel)
            links.restore(link, state.link, self._shift, self._passed)
            datagrams.take_up(link)
        except Exception as fault:
            self._lose(state, fault)
            return None
        return link

    def _place(self, where: "Where") -> Place:
        address, number, source = where
        port = self._ports[number] if number < len(self._ports) else None
        if port is None:
            raise ValueError("nobody listens any more where it sends to")
        return Place(_address(address, self._origins.of), port, source)

    def _go_on(
        self,
        link: ServedLink,
        state: StreamState | DatagramLinkState,
        everybody: Sequence[ServedLink | None],
    ) -> None:
        reactor = self._reactor
        try:
            links.fill(link, state.link, everybody)
            if isinstance(link, Stream):
                assert isinstance(state, StreamState)
                link.fill(state)
                link.go_on_here(busy=state.busy, now=self._now)
            else:
                assert isinstance(state, DatagramLinkState)
                assert isinstance(link, DatagramLink)
                link.go_on_here(given=state.given)
            if not reactor.router.admission.take_up(link, self._now):
                self._refused += 1
        except Exception as fault:
            self._lost += 1
            reactor.fail(link, fault)

    def _lose(self, state: StreamState | DatagramLinkState, fault: Exception) -> None:
        self._lost += 1
        self._reactor.say_bug(fault, peer=state.link.id, address=state.link.host)


def _came_by(sock: socket.socket, door: StreamListener) -> bool:
    """Whether this listener has accepted it, over TCP: on Unix sockets nothing comes before the first message."""
    if sock.family != door.sock.family or sock.family == socket.AF_UNIX:
        return False
    ours, theirs = sock.getsockname(), door.sock.getsockname()
    return bool(ours[1] == theirs[1]) and theirs[0] in {ours[0], "0.0.0.0", "::"}


def _address(parts: tuple[str | int, ...], origin_of: "Callable[[str], Origin]") -> "Address":
    match parts:
        case (str(host), int(port)):
            origin = origin_of(host)
            return (origin.key if origin.key == host else host), port
        case (str(host), int(port), int(flow), int(scope)):
            return host, port, flow, scope
        case _:
            raise ValueError("this is no address")
