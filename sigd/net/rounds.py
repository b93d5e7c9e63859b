"""Rounds as links and listeners see them: their clock, their epoll, their queues, and how a served link ends.

`reactor.Reactor` runs the rounds. Everything that it serves refers to it by the class below.
"""

import select
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.histogram import Histogram
from sigd.relay.endings import UNREGISTERED
from sigd.relay.link import Link
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sigd.relay.router import Router
    from sigd.wire.opening import Verdict

REFUSALS: Final = 32
"""Connections above the limit that are refused with time to read why; further ones get one line and a close."""

MESSAGES_PER_ROUND: Final = 32
"""Messages of one link that are acted on before the others have their turn; where many wait it is fewer."""

STOP_LINGER_SECONDS: Final = 1.0
"""Maximum time for a client to close its end when the daemon stops, which has promised to be gone within 2 s."""

GONE: Final = frozenset({"left", "connection lost"})
"""Reasons of links that the client, or something on the way, has ended."""

PERSON_LEAVES_SECONDS: Final = 0.25
"""Time for the end of file of a client in lines that has left: a program closes at once, netcat waits for its user."""


class Rounds:
    """The rounds in which links are served.

    Attributes:
        router: the rules.
        now: start of the current round, in seconds on trio's clock.
        clock: CPU seconds, by which budgets are measured.
        unread: links with short input that no round had time to read, the oldest first.
        busy: links with more input than was acted on, or with much at once, in the order in which they began to wait.
        most: maximum number of messages of one link per turn.
        links: the number of links by transport: over `tcp`, `tls`, `unix`, `udp` and `dtls`.
        stopping: no client is taken in any more.
        receive, receive_line: the router's methods for a message, and for a line.
        handshakes: one for each TLS handshake that may be computed at the same time.
        gateways: functions that take connections of other protocols out; all others are refused.
        epoll: it watches every socket but those for DTLS.
        relay_seconds: time that messages spend here, from the start of the round that reads them until all is written
            that can be: for each that is passed on, in a round or for a session, the whole of it.
    """

    def __init__(self, router: "Router") -> None:
        self.router = router
        self.now = 0.0
        self.clock: Callable[[], float] = time.thread_time
        self.unread: deque[PolledLink] = deque()
        self.busy: deque[PolledLink] = deque()
        self.most = MESSAGES_PER_ROUND
        self.links: Counter[str] = Counter(dict.fromkeys(("tcp", "tls", "unix", "udp", "dtls"), 0))
        self.stopping = False
        self.receive: Callable[[Link, bytes, float], None] = router.receive
        self.receive_line: Callable[[Link, bytes, float], None] = router.receive_line
        self.relay_seconds = Histogram()
        self.gateways: dict[Verdict, Callable[[PolledLink], None]] = {}
        self.epoll = select.epoll()
        self.handshakes = trio.Semaphore(router.limits.tls_handshakes)
        self._nursery: trio.Nursery | None = None
        self._bugs = log.Damper()
        self._failures = log.Damper()

    def __len__(self) -> int:
        return self.links.total()

    @property
    def may_shake_hands(self) -> bool:
        """Whether there is room for one more TLS handshake now."""
        return self.handshakes.value > 0

    @property
    def linger_seconds(self) -> float:
        """Time for a closing link to read its waiting output."""
        seconds = self.router.limits.linger_ms / 1000
        return min(seconds, STOP_LINGER_SECONDS) if self.stopping else seconds

    # -- the epoll

    def watch_for(self, fd: int, before: int, interest: int) -> None:
        """Watch a descriptor for `interest` instead of `before`; either may be nothing."""
        if not before:
            self.epoll.register(fd, interest)
        elif interest:
            self.epoll.modify(fd, interest)
        else:
            # With an interest of nothing the epoll would still report that a client has closed a Unix socket.
            self.epoll.unregister(fd)

    def remove(self, fd: int, interest: int) -> None:
        """Forget the link with a descriptor that is watched for `interest`."""
        raise NotImplementedError

    def note_link(self, link: Link) -> None:
        """Count a link that is served from now on."""
        self.links[link.via] += 1

    def note_end(self, via: str) -> None:
        """Note that a link over this transport has ended."""
        self.links[via] -= 1

    # -- between rounds

    def intervene(self, act: "Callable[[float], None]") -> None:
        """Call `act` with the time, between two rounds, and attend to the links that it makes due."""
        began, relayed = time.perf_counter(), self.router.relayed
        self.now = trio.current_time()
        act(self.now)
        self._attend()
        relayed = self.router.relayed - relayed
        if relayed:
            self.relay_seconds.observe(time.perf_counter() - began, relayed)

    def _attend(self) -> None:
        """Write waiting output, and wake the rounds if some is left."""
        raise NotImplementedError

    def start_soon(self, function: "Callable[..., Awaitable[object]]", *arguments: object) -> None:
        """Start a task beside the rounds."""
        assert self._nursery is not None, "the rounds run"
        self._nursery.start_soon(function, *arguments)

    def dismiss(self, link: Link) -> None:
        """End a refused link at once if too many links of its address linger."""
        if link.closing and self.router.admission.excess(link.origin) > REFUSALS:
            link.attend(self.now)
            link.abort(link.reason)

    # -- faults

    def fail(self, link: Link, fault: Exception) -> None:
        """End the link that met a bug, and no other."""
        self.say_bug(fault, peer=link.id, address=link.address)
        try:
            if link.closing:
                link.abort("internal")
            else:
                link.refuse(ProtocolError(ErrorCode.INTERNAL, "a bug in the server: see its log"))
        except Exception as another:
            self.say_bug(another, peer=link.id, address=link.address)
            link.sever()

    def say_bug(self, fault: Exception, **fields: object) -> None:
        """Log a bug with its traceback, unless too many were logged already."""
        count = self._bugs.lets_through(self.now)
        if count:
            log.error("bug", fault, **fields, count=count)

    def say_failure(self, link: Link, fault: ProtocolError) -> None:
        """Log a refused credential and its fault: one every few seconds, and each at level debug."""
        said: dict[str, object] = {"claims": fault.claimed} if fault.claimed else {}
        if fault.objection is not None:
            said |= {"cause": fault.objection.cause, "why": fault.objection.text}
            if fault.objection.credential:
                said["credential"] = fault.objection.credential
        log.debug("credential refused", code=fault.code, address=link.address, **said)
        count = self._failures.lets_through(self.now)
        if count:
            log.warning(fault.code, address=link.address, **said, count=count)


class ServedLink(Link):
    """A link that the rounds serve. See `Link` for the rest."""

    __slots__ = ()

    @property
    def reactor(self) -> Rounds:
        """The rounds that serve it."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether nothing is held for it any more."""
        raise NotImplementedError

    @property
    def linger_seconds(self) -> float:
        """The time that the client has for its own end, from the end of the conversation on."""
        leaves = self.patient and self.reason == UNREGISTERED
        return PERSON_LEAVES_SECONDS if leaves else self.reactor.linger_seconds

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: the ID is free at once; waiting output, the error last, is still sent."""
        if not self.closing and self.id is not None:
            seconds = f"{self.reactor.now - self.opened:.1f}"
            by = None if fault is None else fault.by
            self.router.ended.append(self.ending(reason, by, self.reactor.now))
            more = {} if by is None else {"by": by}
            if reason in GONE:  # nothing else tells the idle time-out of a proxy from a client that leaves
                more["silent"] = f"{self.reactor.now - self.last_seen:.1f}"
            log.info("closed", peer=self.id, reason=reason, address=self.address, **more, seconds=seconds)
        elif fault is not None and fault.code is ErrorCode.AUTH_FAILED and fault.objection is None:
            self.reactor.say_failure(self, fault)
        super().close(reason, fault)

    def refuse(self, fault: ProtocolError) -> None:
        """Answer with an `error`; the log has the fault of a credential."""
        if fault.objection is not None:
            self.reactor.say_failure(self, fault)
        super().refuse(fault)

    def abort(self, reason: str) -> None:
        """End at once, and drop waiting output."""
        self.close(reason)
        self._finish()

    def _finish(self) -> None:
        if self.over:
            return
        self.router.closed[self.reason] += 1
        self.ends_at = NEVER
        self.sever()
        self.drop_unsent(self.reactor.now, keep=0)


class PolledLink(ServedLink):
    """A link with a descriptor in the epoll, whose input may have to wait for a turn.

    Attributes:
        busy: it waits in one of the queues, `unread` or `busy`, and the epoll does not watch its input.
    """

    __slots__ = ("busy",)

    busy: bool

    def take_turn(self, now: float) -> None:
        """Process more input."""
        raise NotImplementedError

    def rearm(self) -> None:
        """Watch for the events that this link can make use of now."""
        raise NotImplementedError
