"""One task, one epoll, every stream socket: read, split, route, write, once per round.

A trio task per connection costs several times as much per message (docs/design.md has the figures). Trio still
schedules this one, cancels it, and waits for its epoll like for any descriptor.
"""

import math
import socket
import time
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net import turns
from sigd.net.entrance import Entrance
from sigd.net.histogram import Histogram, observe_round
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.ports import DatagramSocket
from sigd.net.rounds import Rounds, ServedLink
from sigd.net.socket_link import IN, OUT
from sigd.net.stream import Stream
from sigd.net.turns import DUE_PER_ROUND, LINKS_AT_ONCE, READ_SECONDS
from sigd.net.udp import Datagrams
from sigd.relay.access import Access
from sigd.relay.deadlines import Deadlines
from sigd.relay.endings import STOPPING
from sigd.relay.ice import Vendor
from sigd.relay.router import Router
from sigd.relay.shedding import is_crowded

if TYPE_CHECKING:
    from sigd.net.dtls_session import Sessions


EVENTS_PER_ROUND: Final = 1_024
"""Maximum number of sockets that one round asks the kernel for. To find those that have little to say among them takes
3 ms where there are as many; further ones come in the next round."""

STAY_SECONDS: Final = 0.001
"""How long the epoll is waited for here, before trio is asked to do it: that costs three times as much, and where
peers are talking the next message is on its way."""

TURN_SECONDS: Final = 0.0005
"""How long rounds may follow each other before trio's other tasks have their turn, which costs as much as a message."""

LATEST_SECONDS: Final = 1.0
"""How late deadlines may be kept while every round has as many sockets to look at as it may."""


class Reactor(Rounds):
    """All stream links, and the listeners that they come from.

    Attributes:
        entrance: the listeners of streams.
        cut: a stop took too long, and links end without a word.
        datagrams: all links over UDP and DTLS.
        sessions: conversations in DTLS, where a listener speaks that.
        round_seconds: how long rounds take.
        turn_seconds: how long trio's other tasks take when they have their turn, with every message waiting.
    """

    def __init__(self, router: Router, max_connections: int) -> None:
        super().__init__(router)
        self._links: dict[int, Stream] = {}
        self._ports: dict[int, DatagramSocket] = {}
        self._pressing = False  # something waits for the next round that no event will tell of
        self.entrance = Entrance(self, self._links, max_connections)
        self.datagrams = Datagrams(self)
        self.sessions: Sessions | None = None
        self.round_seconds = Histogram()
        self.turn_seconds = Histogram()
        self._crowds = log.Damper()
        self._alarm = trio.CancelScope()
        self._turn: trio.Event | None = None
        self._empty = trio.Event()
        self.cut = False

    @property
    def streams(self) -> int:
        """How many links there are over streams: connections."""
        return len(self._links)

    @property
    def earliest(self) -> float:
        """When something is due that nobody sends."""
        return min(self.router.deadlines.earliest, self.datagrams.timers.earliest)

    # -- rounds

    async def run(self) -> None:
        """Serve until cancelled."""
        poll = self.epoll.poll
        descriptor = self.epoll.fileno()
        clock, router, rounds, relays = time.perf_counter, self.router, self.round_seconds, self.relay_seconds
        self.now = trio.current_time()
        try:
            async with trio.open_nursery() as self._nursery:
                if self.sessions is not None:
                    self.start_soon(self.sessions.run)
                had_turn = clock()
                self._note_turn()
                while True:
                    events = poll(0 if self._pressing else STAY_SECONDS, EVENTS_PER_ROUND)
                    if not events and not self._pressing and trio.current_time() < self.earliest:
                        with trio.CancelScope(deadline=self.earliest) as self._alarm:
                            await trio.lowlevel.wait_readable(descriptor)
                        had_turn = clock()
                        self._note_turn()
                        continue
                    began = clock()
                    if began - had_turn > TURN_SECONDS:
                        await trio.lowlevel.checkpoint()
                        had_turn = clock()
                        self.turn_seconds.observe(had_turn - began)
                        self._note_turn()
                        began = had_turn
                    self.now = trio.current_time()
                    relayed = router.relayed
                    self._round(events)
                    observe_round(rounds, relays, clock() - began, router.relayed - relayed)
        finally:
            self._close()

    def _round(self, events: list[tuple[int, int]]) -> None:
        now = self.now
        busy = len(self.busy)
        began = self.clock() if busy or self.unread else 0.0
        self.most = turns.share(len(events) + len(self.unread))
        # New input comes first: it is mostly from links that have been silent.
        doors, more_due = list[StreamListener](), False
        all_read = self._read(events, doors, now) and len(events) < EVENTS_PER_ROUND
        if self.unread or busy:
            turns.serve_waiting(self, busy, began)
        if doors:  # last: a new link may have the descriptor of one that ended in this round
            self.entrance.accept(doors)
        # Only after all that had come was read: who was silent because the daemon was stands here with a pong. But not
        # for ever, where every round leaves something to read.
        late = now - self.router.deadlines.earliest
        if late >= (0 if all_read and not self.unread else LATEST_SECONDS):
            more_due = self.router.expire(now, self.fail, DUE_PER_ROUND)
        if now >= self.datagrams.timers.earliest:
            more_due |= self.datagrams.expire(now, DUE_PER_ROUND)
        if self.router.chores:
            turns.do_chores(self)
        self._attend()
        self._pressing |= more_due

    def _read(self, events: list[tuple[int, int]], doors: list[StreamListener], now: float) -> bool:
        """Act on new events, within the budget; links beyond it wait for their turn.

        Args:
            events: descriptors, each with its readiness.
            doors: gets the listeners among them.
            now: seconds.

        Returns:
            Whether all sockets for datagrams were read to the end.
        """
        links, coming, all_read, until = self._links, iter(events), True, 0.0
        while True:
            for fd, event in islice(coming, LINKS_AT_ONCE):
                link = links.get(fd)
                if link is None:
                    if fd in self._ports:
                        all_read &= not self.datagrams.readable(self._ports[fd], now)
                    elif fd in self.entrance.doors:
                        doors.append(self.entrance.doors[fd])
                    continue
                try:
                    if event & OUT:
                        link.writable(now)
                    if event & IN:
                        link.readable(now)
                    elif event & ~OUT:
                        link.abort("connection lost")
                except Exception as fault:
                    self.fail(link, fault)
            if not length_hint(coming):
                return all_read
            until = until or self.clock() + READ_SECONDS
            if self.clock() >= until:
                break
        late: list[tuple[int, int]] = []
        for fd, event in coming:
            link = links.get(fd)
            if link is None:
                late.append((fd, event))  # a port or a door, of which there are few
            elif event & ~OUT:
                link.wait_for_turn()
        return self._read(late, doors, now) and all_read

    def _attend(self) -> None:
        """Write waiting output within the budget, and wake the rounds if some is left."""
        turns.attend_due(self)
        buffers = self.router.buffers
        if is_crowded(self.router):
            self._make_room()
        # Outside of a round, as in a reload, the next one may be asleep: for deadlines, and for those who are busy now.
        self._pressing = bool(self.busy or self.unread or self.router.due or self.router.chores or buffers.unfinished)
        earliest = -math.inf if self._pressing else self.earliest
        if earliest < self._alarm.deadline:
            self._alarm.deadline = earliest

    def _make_room(self) -> None:
        """End links for their memory, and tell those that can be told."""
        ended = turns.make_room(self)
        if ended and (count := self._crowds.lets_through(self.now)):
            at = self.router.limits.buffer_bytes_total
            log.warning("buffers full: links that make no progress end", at=at, ended=ended, times=count)

    # -- links

    def remove(self, fd: int, interest: int) -> None:
        """Forget a link, whose descriptor is watched for `interest`."""
        link = self._links.pop(fd)
        if interest:
            self.epoll.unregister(fd)
        self.note_end(link.via)

    def note_end(self, via: str) -> None:
        """Note that a link over this transport has ended."""
        super().note_end(via)
        if not len(self):
            self._empty.set()

    def listen(self, door: ListeningSocket) -> None:
        """Serve a non-blocking socket: a listening one, or one for datagrams."""
        if door.key[0].startswith("dtls:"):
            return  # `sessions` reads it
        if isinstance(door, DatagramSocket):
            self._ports[door.sock.fileno()] = door
            self.epoll.register(door.sock.fileno(), IN)
        else:
            self.entrance.open(door)

    async def turn(self) -> None:
        """Wait until the rounds have come to where they let others have their turn: who waits in vain knows enough."""
        if self._turn is None:
            self._turn = trio.Event()
        self._alarm.deadline = -math.inf
        await self._turn.wait()

    def _note_turn(self) -> None:
        if self._turn is not None:
            self._turn.set()
            self._turn = None

    # -- new rules

    async def change(self, access: Access, vendor: Vendor) -> int:
        """Apply new rules, `router.limits` having been changed before; return how many links end by them."""
        self.handshakes = trio.Semaphore(self.router.limits.tls_handshakes)
        self.datagrams.change()
        return await turns.judge_all(self, self.router.admission.change(access, vendor, trio.current_time()))

    # -- the end

    async def ended(self) -> None:
        """Wait until there is no link."""
        if len(self):
            self._empty = trio.Event()
            await self._empty.wait()

    def all_links(self) -> list[ServedLink]:
        """Return every link, of all transports."""
        in_sessions = [] if self.sessions is None else self.sessions.all_links()
        return [*self._links.values(), *self.datagrams.links.values(), *in_sessions]

    def _close(self) -> None:
        for link in self.all_links():
            if not self.cut:
                link.abort(STOPPING)
            elif isinstance(link, Stream):
                link.sever()
        self.entrance.give_up()
        self.epoll.close()

    # -- handing over

    def all_streams(self) -> list[Stream]:
        """All links over streams, the oldest first."""
        return list(self._links.values())

    def take_up(self, link: Stream) -> None:
        """Take in a link that another process has served; it names the events to watch for later, itself."""
        self._links[link.fd] = link
        self.note_link(link)
        self.router.admission.origins.join(link.origin)

    def eject(self, link: Stream) -> tuple[socket.socket, bytes]:
        """Take a connection out of the rounds, alive, before its link has registered.

        Its origin stays counted: at its end the caller closes the socket and calls `origins.leave`.

        Returns:
            The socket, and the bytes that were read from it.
        """
        return link.eject()

    def let_go(self) -> None:
        """Serve nobody from now on, and tell nobody: another process does. The sockets of links are closed, no more."""
        self.stopping = True
        for fd in [*self.entrance.doors, *self._ports]:
            self.epoll.unregister(fd)
        self.entrance.doors.clear()
        self._ports.clear()
        for link in self._links.values():
            if link.interest:
                self.epoll.unregister(link.fd)
            link.let_go()
        self._links.clear()
        self.links.clear()
        self.datagrams.let_go()
        self.busy.clear()
        self.unread.clear()
        self.router.due.clear()
        self.router.chores.clear()
        self.router.deadlines = Deadlines()
        self._empty.set()
