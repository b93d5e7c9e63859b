"""One task, one epoll, every stream socket: read, split, route, write, once per round.

A trio task per connection costs several times as much per message (docs/design.md has the figures). Trio still
schedules this one, cancels it, and waits for its epoll like for any descriptor.
"""

import contextlib
import errno
import math
import os
import random
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.listeners import Door, close_listener
from sigd.net.opening import TIMED_OUT, Opening, shake_hands
from sigd.net.stream import IN, OUT, Stream
from sigd.relay.access import Access
from sigd.relay.admission import too_many_of_address
from sigd.relay.ice import Vendor
from sigd.relay.limits import Origin
from sigd.relay.link import Link
from sigd.relay.router import GOING_AWAY_SPREAD_MS, STOPPING, Router
from sigd.wire import framing, messages, said
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.net.listeners import Address

EVENTS_PER_ROUND: Final = 256
"""How many sockets one round looks at: some milliseconds of work, so that trio's other tasks have their turn."""

STAY_SECONDS: Final = 0.001
"""How long the epoll is waited for here, before trio is asked to do it: that costs three times as much, and where
peers are talking the next message is on its way."""

TURN_SECONDS: Final = 0.0005
"""How long rounds may follow each other before trio's other tasks have their turn, which costs as much as a message."""

LATEST_SECONDS: Final = 1.0
"""How late deadlines may be kept while every round has as many sockets to look at as it may."""

ACCEPTS_PER_ROUND: Final = 16
"""Connections taken per listener and round: a crowd at the door does not delay those who are in."""

REFUSALS: Final = 32
"""Connections above the limit that are refused with time to read why; further ones get one line and a close."""

RESERVED_DESCRIPTORS: Final = 64
"""Descriptors that are not for clients: listeners, epoll, trio, logs, refusals, and what a library may open."""

STOP_LINGER_SECONDS: Final = 1.0
"""How long a client may keep its end open when the daemon stops: it has to be gone within 2 s."""

DRAIN_TURN_SECONDS: Final = 0.1
"""How often some links are told to go while a stop is spread over `drain_ms`: no crowd comes back in one moment."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_DEAF_SECONDS: Final = 1.0
"""How long a listener is left alone when not even a refusal is possible."""

_FULL: Final = ProtocolError(
    ErrorCode.SERVER_FULL, "the server has as many links as it may: try again later", limit="max_connections"
)


class Reactor:
    """All stream links, and the listeners that they come from.

    Attributes:
        router: the rules.
        now: when the current round began, in seconds on trio's clock.
        busy: links that have sent more than was acted on.
        stopping: nobody is taken in any more.
    """

    def __init__(self, router: Router, max_connections: int) -> None:
        self.router = router
        self.now = 0.0
        self.busy: list[Stream] = []
        self.stopping = False
        self.receive: Callable[[Link, bytes, float], None] = router.receive
        self.receive_line: Callable[[Link, bytes, float], None] = router.receive_line
        self._max_connections = max_connections
        self._epoll = select.epoll()
        self._links: dict[int, Stream] = {}
        self._doors: dict[int, Door] = {}
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._handshakes = trio.Semaphore(router.limits.tls_handshakes)
        self._full = log.Damper()
        self._exhausted = log.Damper()
        self._bugs = log.Damper()
        self._failures = log.Damper()
        self._alarm = trio.CancelScope()
        self._empty = trio.Event()

    def __len__(self) -> int:
        return len(self._links)

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
        deadlines = self.router.deadlines
        self.now = trio.current_time()
        try:
            async with trio.open_nursery() as self._nursery:
                had_turn = time.perf_counter()
                while True:
                    events = poll(0 if self.busy else STAY_SECONDS, EVENTS_PER_ROUND)
                    if not events and not self.busy and trio.current_time() < deadlines.earliest:
                        with trio.CancelScope(deadline=deadlines.earliest) as self._alarm:
                            await trio.lowlevel.wait_readable(descriptor)
                        had_turn = time.perf_counter()
                        continue
                    if time.perf_counter() - had_turn > TURN_SECONDS:
                        await trio.lowlevel.checkpoint()
                        had_turn = time.perf_counter()
                    self.now = trio.current_time()
                    self._round(events)
        finally:
            self._close()

    def _round(self, events: list[tuple[int, int]]) -> None:
        now = self.now
        links = self._links
        busy, self.busy = self.busy, []
        doors: list[Door] = []
        for fd, event in events:
            link = links.get(fd)
            if link is None:
                if fd in self._doors:
                    doors.append(self._doors[fd])
                continue
            try:
                if event & OUT:
                    link.writable(now)
                if event & IN:
                    link.readable(now)
                elif event & ~OUT:
                    link.abort("connection lost")
            except Exception as fault:
                self._fail(link, fault)
        for link in busy:
            link.busy = False
            if not link.held:
                try:
                    link.take_turn(now)
                except Exception as fault:
                    self._fail(link, fault)
        for door in doors:  # last: a new link may have the descriptor of one that ended in this round
            self._accept(door, max(1, ACCEPTS_PER_ROUND // len(doors)))
        # Only after all that had come was read: who was silent because the daemon was stands here with a pong. But not
        # for ever, where every round leaves something to read.
        late = now - self.router.deadlines.earliest
        if late >= (0 if len(events) < EVENTS_PER_ROUND else LATEST_SECONDS):
            self.router.expire(now, self._fail)
        self._attend()

    def _attend(self) -> None:
        due = self.router.due
        for link in due:  # grows while it is walked
            try:
                link.attend(self.now)
            except Exception as fault:
                self._fail(link, fault)
        due.clear()
        # Outside of a round, as in a reload, the next one may be asleep: for deadlines, and for those who are busy now.
        earliest = -math.inf if self.busy else self.router.deadlines.earliest
        if earliest < self._alarm.deadline:
            self._alarm.deadline = earliest

    def _fail(self, link: Link, fault: Exception) -> None:
        """A bug costs the link that met it, and nobody else."""
        self._say_bug(fault, peer=link.id, address=link.address)
        try:
            if link.closing:
                link.abort("internal")
            else:
                link.refuse(ProtocolError(ErrorCode.INTERNAL, "a bug in the server; its log says more"))
        except Exception as another:
            self._say_bug(another, peer=link.id, address=link.address)
            link.sever()

    def _say_bug(self, fault: Exception, **fields: object) -> None:
        count = self._bugs.lets_through(self.now)
        if count:
            log.error("bug", fault, **fields, count=count)

    def say_failure(self, link: Stream) -> None:
        """Have the log show that somebody tries credentials, not each of his tries."""
        count = self._failures.lets_through(self.now)
        if count:
            log.warning("auth-failed", address=link.address, count=count)

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
        if not self._links:
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
        return link

    def shake_hands(self, link: Stream, context: ssl.SSLContext, scope: trio.CancelScope) -> None:
        """Have a link speak TLS, and read it again when it does; unless it ends before, which cancels the scope."""
        self.watch_for(link.fd, link.interest, 0)
        link.interest = 0
        self._nursery.start_soon(self._shake_hands, link, context, scope)

    async def _shake_hands(self, link: Stream, context: ssl.SSLContext, scope: trio.CancelScope) -> None:
        try:
            seconds = self.router.limits.tls_handshake_timeout_ms / 1000
            why = await shake_hands(link, context, scope, self._handshakes, seconds)
            self.now = trio.current_time()
            if link.fd >= 0:
                self._has_shaken_hands(link, why)
        except Exception as fault:
            self._fail(link, fault)
        self._attend()

    def _has_shaken_hands(self, link: Stream, why_not: str) -> None:
        if why_not:
            if why_not == TIMED_OUT:
                self.router.limits_hit["tls_handshake_timeout_ms"] += 1
            link.abort(why_not)
        else:
            link.opening = None
            self.watch_for(link.fd, 0, IN)
            link.interest = IN
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

    # -- listeners

    def listen(self, door: Door) -> None:
        """Take in who connects to a listening, non-blocking socket."""
        self._doors[door.sock.fileno()] = door
        self._epoll.register(door.sock.fileno(), IN)

    def _accept(self, door: Door, most: int) -> None:
        if door.context is not None and not self._handshakes.value:
            return  # those who come wait outside: inside they would push out those who are still shaking hands
        for _ in range(most):
            try:
                sock, address = door.sock.accept()
            except BlockingIOError:
                return
            except OSError as fault:
                if fault.errno in _EXHAUSTED:
                    self._refuse_exhausted(door, fault)
                # Anything else concerns the one connection, which is gone (accept(2)).
                return
            self._welcome(sock, address, door)

    def _welcome(self, sock: socket.socket, address: "Address", door: Door) -> None:
        admission = self.router.admission
        host, port = ("unix", None) if isinstance(address, str) else (address[0], address[1])
        origin = admission.origins.local if port is None else admission.origins.of(host)
        if len(self._links) >= self._max_connections + REFUSALS:
            self._say_full(self._full, "max_connections", self._max_connections)
            self._refuse_at_once(sock, door, _FULL)
            return
        if admission.excess(origin) >= REFUSALS:
            self._refuse_at_once(sock, door, too_many_of_address())
            return
        try:
            sock.setblocking(False)
            link = self.add(sock, origin, host, port, door)
        except Exception as fault:
            self._say_bug(fault, address=host)
            self._links.pop(sock.fileno(), None)
            sock.close()
            return
        try:
            if len(self._links) > self._max_connections:
                self._say_full(self._full, "max_connections", self._max_connections)
                link.refuse(_FULL)
            elif admission.excess(origin) > 0:
                link.refuse(too_many_of_address())
        except Exception as fault:
            self._fail(link, fault)

    def _refuse_exhausted(self, door: Door, fault: OSError) -> None:
        """Out of descriptors: give one up to tell the client so, instead of leaving it to wait for ever."""
        self._say_full(self._exhausted, "descriptors", os.strerror(fault.errno or 0))
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            with contextlib.suppress(OSError):  # gone meanwhile, or somebody else took the descriptor: see below
                self._refuse_at_once(door.sock.accept()[0], door, _FULL)
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._epoll.modify(door.sock.fileno(), 0)
            self._nursery.start_soon(self._listen_again, door.sock)

    def _refuse_at_once(self, sock: socket.socket, door: Door, fault: ProtocolError) -> None:
        """Say why as far as it goes in one call, if it can be said: nobody waits for this client to read it."""
        self.router.errors[fault.code] += 1
        if fault.limit is not None:
            self.router.limits_hit[fault.limit] += 1
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            if not door.tls_only:
                sock.send(Lines.wrap(messages.encode(said.Error(code=fault.code.value, message=fault.text))))
                sock.shutdown(socket.SHUT_WR)

    def dismiss(self, link: Stream) -> None:
        """Have a link that was refused go, if too many of its address are lingering."""
        if link.closing and self.router.admission.excess(link.origin) > REFUSALS:
            link.attend(self.now)
            link.abort(link.reason)

    async def _listen_again(self, listener: socket.socket) -> None:
        await trio.sleep(_DEAF_SECONDS)
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if listener.fileno() in self._doors:
            self._epoll.modify(listener.fileno(), IN)

    def _say_full(self, damper: log.Damper, what: str, limit: object) -> None:
        count = damper.lets_through(self.now)
        if count:
            log.warning("server-full", limit=what, at=limit, links=len(self._links), refused=count)

    # -- new rules

    def change(self, access: Access, vendor: Vendor) -> int:
        """Have new rules hold, `router.limits` having been changed before; how many links end by them."""
        self.now = trio.current_time()
        self._handshakes = trio.Semaphore(self.router.limits.tls_handshakes)
        ended = self.router.admission.change(access, vendor, self.now)
        self._attend()
        return ended

    # -- the end

    async def stop(self) -> None:
        """Take nobody in any more, tell everybody to come back later, and wait until all links have ended."""
        self.stopping = True
        for fd, door in self._doors.items():
            self._epoll.unregister(fd)
            close_listener(door.sock)
        self._doors.clear()
        links = list(self._links.values())
        random.shuffle(links)
        turns = max(1, math.ceil(self.router.limits.drain_ms / 1000 / DRAIN_TURN_SECONDS))
        for turn in range(turns):
            if turn and self._links:
                await trio.sleep(DRAIN_TURN_SECONDS)
            self._send_away(links[turn::turns])
        if self._links:
            self._empty = trio.Event()
            await self._empty.wait()

    def _send_away(self, links: list[Stream]) -> None:
        self.now = trio.current_time()
        for link in links:
            try:
                if link.fd >= 0:
                    self._say_goodbye(link)
            except Exception as fault:
                self._fail(link, fault)
        self._attend()

    def _say_goodbye(self, link: Stream) -> None:
        if link.closing:
            link.ends_at = min(link.ends_at, self.now + self.linger_seconds)
            self.router.watch(link)
            return
        if link.overhead:  # a link that has said nothing is told nothing: nobody knows in which framing
            after = random.randrange(GOING_AWAY_SPREAD_MS)
            link.reply(said.GoingAway(reconnect_after_ms=after, reason="the server stops"))
        link.close(STOPPING)

    def _close(self) -> None:
        for link in list(self._links.values()):
            link.abort(STOPPING)
        if self._spare is not None:
            os.close(self._spare)
        self._epoll.close()
