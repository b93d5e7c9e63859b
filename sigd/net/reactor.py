"""One task, one epoll, every stream socket: read, split, route, write, once per round.

A trio task per connection costs several times as much per message (docs/design.md has the figures). Trio still
schedules this one, cancels it, and waits for its epoll like for any descriptor.
"""

import logging
import math
import select
import socket
import ssl
import time
from collections import deque
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net import turns
from sigd.net.entrance import REFUSALS, Entrance
from sigd.net.farewell import send_all_away
from sigd.net.histogram import Histogram, observe_round
from sigd.net.listeners import Door
from sigd.net.opening import TIMED_OUT, Opening, shake_hands
from sigd.net.ports import Port
from sigd.net.stream import IN, MESSAGES_PER_ROUND, OUT, Stream
from sigd.net.turns import DUE_PER_ROUND, LINKS_AT_ONCE, READ_SECONDS
from sigd.net.udp import Datagrams
from sigd.relay.access import Access
from sigd.relay.deadlines import Deadlines
from sigd.relay.ice import Vendor
from sigd.relay.link import Link
from sigd.relay.origins import Origin
from sigd.relay.router import STOPPING, Router
from sigd.relay.shedding import is_crowded
from sigd.wire import framing
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sigd.net.datagram_link import DatagramLink
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

STOP_LINGER_SECONDS: Final = 1.0
"""How long a client may keep its end open when the daemon stops: it has to be gone within 2 s."""

STOP_SECONDS: Final = 1.8
"""How long a stop takes at most, `drain_ms` aside: of the 2 s that are promised the process needs some to end."""


class Reactor:
    """All stream links, and the listeners that they come from.

    Attributes:
        router: the rules.
        now: when the current round began, in seconds on trio's clock.
        clock: CPU seconds, with which budgets are measured.
        unread: links that have sent something short for which there was no time yet, the oldest first.
        busy: links that have sent more than was acted on, or much at once, those first that have waited longest.
        most: maximum number of messages of one link per turn.
        stopping: nobody is taken in any more.
        datagrams: all links over UDP and DTLS.
        sessions: conversations in DTLS, where a listener speaks that.
        round_seconds: how long rounds take.
        relay_seconds: how long messages are in here, from when their round begins to read until all is written that can
            be: for each that is passed on, in a round or for a session, the whole of it.
        turn_seconds: how long trio's other tasks take when they have their turn, with every message waiting.
    """

    def __init__(self, router: Router, max_connections: int) -> None:
        self.router = router
        self.now = 0.0
        self.clock: Callable[[], float] = time.thread_time
        self.unread: deque[Stream] = deque()
        self.busy: deque[Stream] = deque()
        self.most = MESSAGES_PER_ROUND
        self.stopping = False
        self.receive: Callable[[Link, bytes, float], None] = router.receive
        self.receive_line: Callable[[Link, bytes, float], None] = router.receive_line
        self._epoll = select.epoll()
        self._links: dict[int, Stream] = {}
        self._ports: dict[int, Port] = {}
        self._pressing = False  # something waits for the next round that no event will tell of
        self._entrance = Entrance(self, self._epoll, max_connections)
        self.datagrams = Datagrams(self)
        self.sessions: Sessions | None = None
        self.round_seconds = Histogram()
        self.relay_seconds = Histogram()
        self.turn_seconds = Histogram()
        self._handshakes = trio.Semaphore(router.limits.tls_handshakes)
        self._bugs = log.Damper()
        self._failures = log.Damper()
        self._begun = log.Budget()
        self._crowds = log.Damper()
        self._alarm = trio.CancelScope()
        self._turn: trio.Event | None = None
        self._empty = trio.Event()
        self._cut = False  # a stop took too long: nobody is told any more

    def __len__(self) -> int:
        return self.streams + self.router.admission.origins.udp_links

    @property
    def streams(self) -> int:
        """How many links there are over streams: connections."""
        return len(self._links)

    @property
    def may_shake_hands(self) -> bool:
        """Whether there is room for one more TLS handshake now."""
        return self._handshakes.value > 0

    @property
    def earliest(self) -> float:
        """When something is due that nobody sends."""
        return min(self.router.deadlines.earliest, self.datagrams.timers.earliest)

    @property
    def linger_seconds(self) -> float:
        """How long a closing link may take to read what is due to it."""
        seconds = self.router.limits.linger_ms / 1000
        return min(seconds, STOP_LINGER_SECONDS) if self.stopping else seconds

    # -- rounds

    async def run(self) -> None:
        """Serve until cancelled."""
        poll = self._epoll.poll
        descriptor = self._epoll.fileno()
        clock, router, rounds, relays = time.perf_counter, self.router, self.round_seconds, self.relay_seconds
        self.now = trio.current_time()
        try:
            async with trio.open_nursery() as self._nursery:
                if self.sessions is not None:
                    self._nursery.start_soon(self.sessions.run)
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
        doors, more_due = list[Door](), False
        all_read = self._read(events, doors, now) and len(events) < EVENTS_PER_ROUND
        if self.unread or busy:
            turns.serve_waiting(self, busy, began)
        if doors:  # last: a new link may have the descriptor of one that ended in this round
            self._entrance.accept(doors)
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

    def _read(self, events: list[tuple[int, int]], doors: list[Door], now: float) -> bool:
        """Act on what is new, within the budget; links beyond it wait for their turn.

        Args:
            events: descriptors, and what each is ready for.
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
                    elif fd in self._entrance.doors:
                        doors.append(self._entrance.doors[fd])
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
        """Write what is due, within the budget, and wake the rounds if something is left for them."""
        turns.attend_due(self)
        buffers = self.router.buffers
        if (buffers.total or buffers.unfinished) and is_crowded(self.router):
            self._make_room()
        # Outside of a round, as in a reload, the next one may be asleep: for deadlines, and for those who are busy now.
        self._pressing = bool(self.busy or self.unread or self.router.due or self.router.chores or buffers.unfinished)
        earliest = -math.inf if self._pressing else self.earliest
        if earliest < self._alarm.deadline:
            self._alarm.deadline = earliest

    def _make_room(self) -> None:
        """End links for the memory that they hold, and tell those who can be told."""
        ended = turns.make_room(self)
        if ended and (count := self._crowds.lets_through(self.now)):
            at = self.router.limits.buffer_bytes_total
            log.warning("buffers full: links that make no progress end", at=at, ended=ended, times=count)

    def fail(self, link: Link, fault: Exception) -> None:
        """A bug costs the link that met it, and nobody else."""
        self.say_bug(fault, peer=link.id, address=link.address)
        try:
            if link.closing:
                link.abort("internal")
            else:
                link.refuse(ProtocolError(ErrorCode.INTERNAL, "a bug in the server; its log says more"))
        except Exception as another:
            self.say_bug(another, peer=link.id, address=link.address)
            link.sever()

    def say_bug(self, fault: Exception, **fields: object) -> None:
        """Log a bug with its traceback, if not too many were logged already."""
        count = self._bugs.lets_through(self.now)
        if count:
            log.error("bug", fault, **fields, count=count)

    def say_failure(self, link: Link, fault: ProtocolError) -> None:
        """Log a refused credential and what was wrong with it: one every few seconds, and each at level debug."""
        said: dict[str, object] = {"claims": fault.claimed} if fault.claimed else {}
        if fault.objection is not None:
            said |= {"cause": fault.objection.cause, "why": fault.objection.text}
            if fault.objection.credential:
                said["credential"] = fault.objection.credential
        log.debug("credential refused", code=fault.code, address=link.address, **said)
        count = self._failures.lets_through(self.now)
        if count:
            log.warning(fault.code, address=link.address, **said, count=count)

    # -- links

    def watch_for(self, fd: int, before: int, interest: int) -> None:
        """Have epoll watch a link's descriptor for `interest`, which may be nothing, instead of what it was before."""
        if not before:
            self._epoll.register(fd, interest)
        elif interest:
            self._epoll.modify(fd, interest)
        else:
            # With an interest of nothing it would go on telling that a client has closed a Unix socket.
            self._epoll.unregister(fd)

    def remove(self, fd: int, interest: int) -> None:
        """Forget a link, whose descriptor is watched for `interest`."""
        del self._links[fd]
        if interest:
            self._epoll.unregister(fd)
        self.note_end()

    def note_end(self) -> None:
        """A link has ended."""
        if not len(self):
            self._empty.set()

    def add(self, sock: socket.socket, origin: Origin, host: str, port: int | None, door: Door) -> Stream:
        """Take a connected, non-blocking socket in."""
        opening = None
        if door.context is not None or origin.trusted:
            opening = Opening(door.context, tls_only=door.tls_only, proxied=origin.trusted)
        # Where both say the same, one string is enough for all who come from there.
        link = Stream(self, sock, origin, origin.key if origin.key == host else host, port, opening)
        self._epoll.register(link.fd, IN)
        self._links[link.fd] = link
        self.router.welcome(link)
        if log.says(logging.DEBUG) and (count := self._begun.lets_through(self.now)):
            log.debug("connected", address=link.address, to=door.url, count=count)
        return link

    def abandon(self, sock: socket.socket) -> None:
        """Give up a connection that could not be taken in."""
        self._links.pop(sock.fileno(), None)
        sock.close()

    def dismiss(self, link: Stream) -> None:
        """Have a link that was refused go, if too many of its address are lingering."""
        if link.closing and self.router.admission.excess(link.origin) > REFUSALS:
            link.attend(self.now)
            link.abort(link.reason)

    def listen(self, door: Door | Port) -> None:
        """Take in who comes to a non-blocking socket: a listening one, or one for datagrams."""
        if door.key[0].startswith("dtls:"):
            return  # `sessions` reads it
        if isinstance(door, Port):
            self._ports[door.sock.fileno()] = door
            self._epoll.register(door.sock.fileno(), IN)
        else:
            self._entrance.open(door)

    def intervene(self, act: "Callable[[float], None]") -> None:
        """Have something done between two rounds, and what follows from it; it is told the time."""
        began, relayed = time.perf_counter(), self.router.relayed
        self.now = trio.current_time()
        act(self.now)
        self._attend()
        relayed = self.router.relayed - relayed
        if relayed:
            self.relay_seconds.observe(time.perf_counter() - began, relayed)

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

    def start_soon(self, function: "Callable[..., Awaitable[object]]", *arguments: object) -> None:
        """Have a task do what takes longer, beside the rounds."""
        self._nursery.start_soon(function, *arguments)

    def shake_hands(self, link: Stream, context: ssl.SSLContext, scope: trio.CancelScope) -> None:
        """Have a link speak TLS, and read it again when it does; unless it ends before, which cancels the scope."""
        self.router.admission.begin(link, self.now)
        link.rearm()
        self._nursery.start_soon(self._shake_hands, link, context, scope)

    async def _shake_hands(self, link: Stream, context: ssl.SSLContext, scope: trio.CancelScope) -> None:
        try:
            seconds = self.router.limits.tls_handshake_timeout_ms / 1000
            why = await shake_hands(link, context, scope, self._handshakes, seconds)
            self.now = trio.current_time()
            if link.fd >= 0:
                self._has_shaken_hands(link, why)
        except Exception as fault:
            self.fail(link, fault)
        self._attend()

    def _has_shaken_hands(self, link: Stream, why_not: str) -> None:
        if why_not:
            if why_not == TIMED_OUT:
                self.router.limits_hit["tls_handshake_timeout_ms"] += 1
            link.abort(why_not)
        else:
            link.opening = None
            link.rearm()
            link.readable(self.now)  # it may have come with the last of the handshake

    def receive_first_line(self, link: Link, line: bytes, now: float) -> None:
        """Act on a link's first line, unless it comes from a web page."""
        assert isinstance(link, Stream)
        if framing.is_http_request(line):
            link.reply_text(framing.NOT_HTTP)
            link.close("http")
        else:
            link.speaks_lines()
            self.receive_line(link, line, now)

    # -- new rules

    async def change(self, access: Access, vendor: Vendor) -> int:
        """Apply new rules, `router.limits` having been changed before; return how many links end by them."""
        self._handshakes = trio.Semaphore(self.router.limits.tls_handshakes)
        self.datagrams.change()
        return await turns.judge_all(self, self.router.admission.change(access, vendor, trio.current_time()))

    # -- the end

    async def stop(self) -> None:
        """Take nobody in any more, tell everybody to come back later, and wait until all links have ended.

        It takes `drain_ms`, over which the ends are spread, and STOP_SECONDS at most: who is left then is not told.
        """
        self.stopping = True
        self._entrance.close()
        drain_seconds = self.router.limits.drain_ms / 1000
        with trio.move_on_after(drain_seconds + STOP_SECONDS):
            await send_all_away(self, drain_seconds)
            if len(self):
                self._empty = trio.Event()
                await self._empty.wait()
            if self.sessions is not None:
                await self.sessions.stop()
            return
        self._cut = True
        log.warning("stopped with links left", links=len(self))

    def all_links(self) -> "list[Stream | DatagramLink]":
        """Every link, whatever carries it."""
        in_sessions = [] if self.sessions is None else self.sessions.all_links()
        return [*self._links.values(), *self.datagrams.links.values(), *in_sessions]

    def _close(self) -> None:
        for link in self.all_links():
            if not self._cut:
                link.abort(STOPPING)
            elif isinstance(link, Stream):
                link.sever()
        self._entrance.give_up()
        self._epoll.close()

    # -- handing over

    def all_streams(self) -> list[Stream]:
        """All links over streams, the oldest first."""
        return list(self._links.values())

    def take_up(self, link: Stream) -> None:
        """Have a link here that another process has served; it says itself later what it is to be watched for."""
        self._links[link.fd] = link
        self.router.admission.origins.join(link.origin)

    def let_go(self) -> None:
        """Serve nobody from now on, and tell nobody: another process does. The sockets of links are closed, no more."""
        self.stopping = True
        for fd in [*self._entrance.doors, *self._ports]:
            self._epoll.unregister(fd)
        self._entrance.doors.clear()
        self._ports.clear()
        for link in self._links.values():
            if link.interest:
                self._epoll.unregister(link.fd)
            link.let_go()
        self._links.clear()
        self.datagrams.let_go()
        self.busy.clear()
        self.unread.clear()
        self.router.due.clear()
        self.router.chores.clear()
        self.router.deadlines = Deadlines()
        self._empty.set()
