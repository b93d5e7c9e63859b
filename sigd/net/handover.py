"""Handover to the next process, without anybody noticing: all links into a memfd and bags. net/arrival takes them up.

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
from sigd.net.listeners import ListeningSocket
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

if TYPE_CHECKING:
    from msgspec import Raw

    from sigd.net.reactor import Reactor
    from sigd.relay.link import Link
    from sigd.wire.datagram import Channel
    from sigd.wire.datagram_state import Where

__all__ = ["HandoverError", "Packed", "Parcel", "pack", "send_away", "unpack"]

RESTARTING: Final = "server restarts"
"""Why links end that cannot be handed over."""

FLUSH_SECONDS: Final = 0.3
"""How long they may take to read that: everybody else is served meanwhile."""

FLUSH_LOOKS: Final = 15
"""How often within that time it is looked whether they all have gone: most do as soon as they are told."""


class Packed(NamedTuple):
    """Sockets and memory kept until the next process takes them up; their owner closes them.

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
    """State that another process has left.

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


# -- out of one process


async def send_away(reactor: "Reactor") -> int:
    """Tell clients over TLS or DTLS to come back at once, and wait until they have gone, at most FLUSH_SECONDS.

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
    a connection over TLS is closed without a word. DTLS listeners stay open; their task closes them.

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
    size = part_bytes(reactor.router.buffers.of_links, len(numbers))
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
    """Take out the state that another process has left; the descriptors and the sockets are closed.

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
