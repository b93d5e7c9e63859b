"""From one process to the next, without anybody noticing: all links into a memfd and bags, and out of them again.

TCP, Unix sockets and UDP go along, with all that was read and not acted on, and all that is due and was not taken. What
speaks TLS cannot: OpenSSL keeps its state to itself. A claim that waits for its holder's sign of life is refused.
"""

import contextlib
import math
import os
import socket
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from sigd.net import bag
from sigd.net.datagram_link import DatagramLink
from sigd.net.farewell import say_goodbye
from sigd.net.handshakes import Handshake
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.parcel import (
    DatagramLinkState,
    HandoverError,
    Left,
    Snapshot,
    StreamState,
    datagram_state,
    part_bytes,
    seal,
    stream_state,
    unseal,
)
from sigd.net.places import Place
from sigd.net.ports import DatagramSocket
from sigd.net.rounds import ServedLink
from sigd.net.stream import Stream
from sigd.net.turns import do_chores
from sigd.relay import snapshot as links
from sigd.wire.opening import Opening
from sigd.wire.times import moved

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from msgspec import Raw

    from sigd.net.places import Address
    from sigd.net.reactor import Reactor
    from sigd.relay.link import Link
    from sigd.relay.origins import Origin
    from sigd.wire.datagram import Channel
    from sigd.wire.datagram_state import Where

__all__ = ["HandoverError", "Packed", "Parcel", "Taken", "pack", "send_away", "take_up", "unpack"]

RESTARTING: Final = "server restarts"
"""Why links end that cannot be handed over."""

FLUSH_SECONDS: Final = 0.3
"""How long they may take to read that: everybody else is served meanwhile."""

FLUSH_LOOKS: Final = 15
"""How often within that time it is looked whether they all have gone: most do as soon as they are told."""

Key = tuple[str, int]
"""Of a listener: which of the configured ones, and which of its addresses."""


class Packed(NamedTuple):
    """What is to be kept until the next process takes it up; its owner closes it.

    Attributes:
        memfds: descriptors of the snapshot.
        bags: sockets that hold the connections.
        links: how many are handed over.
        left_behind: how many connections the system does not keep: they were sent away.
    """

    memfds: list[int]
    bags: list[socket.socket]
    links: int
    left_behind: int


class Parcel:
    """What another process has left.

    Attributes:
        snapshot: its state without that of links.
        parts: the states of links, which are gone once they were taken up.
        streams: the connections that belong to it; none once they were taken up.
        doors: the listening sockets that it had opened itself, by the listener's key: who uses one takes it out.
    """

    def __init__(self, left: Left, socks: Sequence[socket.socket]) -> None:
        snapshot = left.snapshot
        count = len(snapshot.doors)
        self.snapshot = snapshot
        self.parts = left.parts
        self.doors = dict(zip(snapshot.doors, socks[:count], strict=True))
        self.streams = list(socks[count:])

    def close(self) -> None:
        """Close everything unused."""
        for sock in (*self.doors.values(), *self.streams):
            bag.say_end(sock)
        self.doors.clear()
        self.streams.clear()
        self.parts.clear()


class Taken(NamedTuple):
    """What has become of the links in a parcel.

    Attributes:
        streams, datagrams: how many go on.
        refused: how many were told that their credential is not accepted any more.
        lost: how many could not be taken up: the log says why.
    """

    streams: int
    datagrams: int
    refused: int
    lost: int


# -- out of one process


async def send_away(reactor: "Reactor") -> int:
    """Tell those who speak TLS or DTLS to come back at once, and wait until they have gone, at most FLUSH_SECONDS.

    Returns:
        How many were told.
    """
    told = [link for link in _bound(reactor) if not link.closing]
    reactor.intervene(lambda _: _say_goodbye(reactor, told))
    for _ in range(FLUSH_LOOKS):
        if all(link.over for link in told):
            break
        await trio.sleep(FLUSH_SECONDS / FLUSH_LOOKS)
    return len(told)


def pack(reactor: "Reactor", doors: Sequence[ListeningSocket], inherited: Container[int] = ()) -> Packed:
    """Take all links out of a reactor, which serves nobody from then on.

    Nothing is read or written on their sockets afterwards, and the log says nothing of them. `send_away` comes before:
    whoever is here and speaks TLS is closed without a word. DTLS listeners stay open for who serves them to close.

    Args:
        reactor: running or not; its task is to be cancelled next.
        doors: all its listeners; those that are not inherited are handed over too, and closed here.
        inherited: the descriptors of those that somebody else keeps open.

    Raises:
        OSError: there is no room for a snapshot; the reactor serves as before.
    """
    reactor.intervene(lambda now: _settle(reactor, now))
    streams, own = reactor.all_streams(), [door for door in doors if door.sock.fileno() not in inherited]
    bags, packed = bag.pack([*(door.sock.fileno() for door in own), *(link.fd for link in streams)])
    try:
        own, kept = own[:packed], streams[: max(0, packed - len(own))]
        behind = streams[len(kept) :]
        reactor.intervene(lambda now: _leave_behind(reactor, behind, now))
        memfds, count = _seal(reactor, doors, own, kept)
    except BaseException:
        for each in bags:
            each.close()
        raise
    reactor.let_go()
    for door in own:
        if not door.key[0].startswith("dtls:"):  # its task waits for it
            door.sock.close()  # no more than that: its file belongs to who serves next
    return Packed(memfds, bags, count, len(behind))


def _bound(reactor: "Reactor") -> list[ServedLink]:
    """Links that cannot be handed over: their TLS state stays in this process."""
    in_sessions = [] if reactor.sessions is None else reactor.sessions.all_links()
    return [*(link for link in reactor.all_streams() if _is_bound(link)), *in_sessions]


def _say_goodbye(reactor: "Reactor", told: Sequence[ServedLink]) -> None:
    say_goodbye(reactor, told, 0, "the server restarts", RESTARTING)


def _is_bound(link: Stream) -> bool:
    return link.tls is not None or isinstance(link.opening, Handshake)


def _settle(reactor: "Reactor", now: float) -> None:
    reactor.router.admission.refuse_claims(now)
    for link in _bound(reactor):
        link.abort(RESTARTING)
    do_chores(reactor, math.inf)  # the next process knows nothing of them


def _leave_behind(reactor: "Reactor", behind: Sequence[Stream], now: float) -> None:
    _say_goodbye(reactor, [link for link in behind if not link.closing])
    for link in behind:
        link.attend(now)
        link.abort(RESTARTING)
    do_chores(reactor, math.inf)


def _seal(
    reactor: "Reactor",
    doors: Sequence[ListeningSocket],
    own: Sequence[ListeningSocket],
    streams: Sequence[Stream],
) -> tuple[list[int], int]:
    """Write all down; return the descriptors of it, and the number of links in it.

    The buffers of each link are freed as soon as they are written: else they would be in memory twice.
    """
    datagrams = reactor.datagrams
    in_datagrams = [
        (link, link.channel)
        for link in datagrams.links.values()
        if isinstance(link, DatagramLink) and link.channel is not None
    ]
    numbers: dict[Link, int] = {link: at for at, link in enumerate((*streams, *(link for link, _ in in_datagrams)), 1)}
    ports = {door: at for at, door in enumerate(door for door in doors if isinstance(door, DatagramSocket))}

    def where(place: Place) -> "Where":
        address, port, source = place
        assert isinstance(port, DatagramSocket)
        return address, ports[port], source

    def stream(link: Stream) -> StreamState | None:
        # One may have ended while others were sent away: its connection is in the bag all the same.
        return None if link.over else link.snapshot(links.state_of(link, numbers))

    def in_datagram(link: DatagramLink, channel: "Channel[Place]") -> DatagramLinkState:
        return link.snapshot(links.state_of(link, numbers), channel.state(where))

    freed: list[ServedLink] = []

    def free(link: ServedLink) -> None:
        freed.append(link)
        if link.queued:
            link.outbox = []

    def states() -> "Iterator[StreamState | DatagramLinkState | None]":
        for link in streams:
            yield stream(link)
            link.forget_unacted()
            free(link)
        for other, channel in in_datagrams:
            yield in_datagram(other, channel)
            free(other)

    snapshot = Snapshot(
        now=reactor.now,
        unix_ahead=reactor.router.wall.judged_by(reactor.now),
        doors=[door.key for door in own],
        streams=len(streams),
        in_datagrams=len(in_datagrams),
        datagrams=datagrams.state([port.key for port in ports]),
        strikes=reactor.router.admission.strikes,
    )
    size = part_bytes(reactor.router.buffers.total, len(numbers))
    memfds = seal(snapshot, states(), size, lambda written: _take_back(freed, written))
    return memfds, sum(not link.over for link in streams) + len(in_datagrams)


def _take_back(freed: "Sequence[ServedLink]", written: "Iterator[Raw]") -> None:
    """Restore the buffers of links from the snapshot."""
    for link, each in zip(freed, written, strict=False):
        state = stream_state(each) if isinstance(link, Stream) else datagram_state(each)
        if state is not None:
            if link.queued:
                link.outbox = state.link.outbox
            if isinstance(state, StreamState) and isinstance(link, Stream):
                link.fill(state)


# -- into another one


def unpack(memfds: Sequence[int], bags: Sequence[socket.socket]) -> Parcel:
    """Take out what another process has left; the descriptors and the sockets are closed.

    Raises:
        HandoverError: it cannot be trusted to be whole; every connection in it was closed.
    """
    try:
        left = unseal(memfds)
    except HandoverError:
        with contextlib.suppress(HandoverError):
            bag.turn_away(bag.unpack(bags))
        raise
    finally:
        for memfd in memfds:
            os.close(memfd)
    snapshot = left.snapshot
    descriptors = bag.unpack(bags)
    socks: list[socket.socket] = []
    try:
        if len(descriptors) != snapshot.sockets or len(set(snapshot.doors)) != len(snapshot.doors):
            raise HandoverError(f"there are {len(descriptors)} sockets, and a snapshot of {snapshot.sockets}")
        for at, descriptor in enumerate(descriptors):
            socks.append(socket.socket(fileno=descriptor))
            socks[-1].setblocking(False)
            if at >= len(snapshot.doors) and socks[-1].type != socket.SOCK_STREAM:
                raise HandoverError("there is something else among the connections")
    except (OSError, HandoverError) as fault:
        for sock in socks:
            bag.say_end(sock)
        bag.turn_away(descriptors[len(socks) :])
        if isinstance(fault, HandoverError):
            raise
        raise HandoverError("there is something else among the sockets") from fault
    return Parcel(left, socks)


def take_up(reactor: "Reactor", parcel: Parcel, doors: Sequence[ListeningSocket]) -> Taken:
    """Serve all links in a parcel from where they were, by the rules that hold here; its connections are taken out.

    Args:
        reactor: which has taken in nobody yet.
        parcel: what another process has left.
        doors: all listeners here: who came over UDP, or has not said yet whether he speaks TLS, needs his own.

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
        """Take all links up. Two rounds: what is due to one was sent by another."""
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
        """Give the next links what waited in their buffers; the part is freed with the last reference to it."""
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
