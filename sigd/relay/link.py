"""One client's conversation with the daemon, over any transport: its identity, and its outbox.

No sockets, no clock. A transport subclasses `Link`, writes what the outbox holds and says how much it could write.
"""

import enum
import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Raw
from msgspec.structs import astuple

from sigd.relay.endings import Ending
from sigd.relay.outbox import Outbox
from sigd.relay.rates import SETTLE_SECONDS, Offences
from sigd.relay.record import NO_TALKS
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import LinkFraming
from sigd.wire.said import Registered
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.credentials import Grant
    from sigd.relay.ledger import Ledger
    from sigd.relay.origins import Origin
    from sigd.wire.messages import Register

_LONG_AGO: Final = -math.inf  # one for all links: each minus makes another

NOTICE_SECONDS: Final = 10.0
"""How often at most a link is told that it sends too fast: so that nobody floods it with our answers."""


LINES_FRAME_TIMEOUT_MS: Final = 60_000
"""How long a line may take from its first byte to its last: a person types it."""

PROBE_SECONDS: Final = 3.0
"""How long the holder of a contested ID has to give a sign of life: three retransmissions of a ping on a slow path."""

CLAIM_BYTES: Final = 600
"""Of a claim beside the text in its message: the message itself (250), heads of its strings (5 x 50), the claim."""


class Holder(Protocol):
    """The holder of an ID that somebody claims: a link, or a peer elsewhere.

    Attributes:
        challenge: the claim that waits for a sign of life from it.
    """

    challenge: "Claim | None"

    @property
    def id(self) -> str | None:
        """The ID."""
        ...

    @property
    def patient(self) -> bool:
        """Whether it is never pinged, so that its silence says nothing."""
        ...

    @property
    def asked_late(self) -> bool:
        """Whether a ping would stand behind much else, so that no answer in time would mean nothing."""
        ...

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """The credential by which it has the ID; a client with the same one may take the ID over."""
        ...

    def ping(self, now: float) -> None:
        """Ask for a sign of life, which `Admission.sign_of_life` is told of."""
        ...

    def has_unread(self) -> bool:
        """Whether something has come from it that was not read yet."""
        ...

    def refuse(self, fault: ProtocolError) -> None:
        """End it with an error: it has lost the ID. `Admission.concede` gives that to the claim, then or later."""
        ...


class Claim:
    """A `register` that waits: the ID's holder has been pinged, and keeps it with any sign of life."""

    __slots__ = ("asked", "due", "holder", "link", "message")

    def __init__(self, link: "Link", holder: Holder, message: "Register", asked: float) -> None:
        self.link = link
        self.holder = holder
        self.message = message
        self.asked = asked
        self.due = asked + PROBE_SECONDS

    @property
    def size(self) -> int:
        """Bytes of memory that it takes."""
        said = [each for each in astuple(self.message) if isinstance(each, (str, Raw))]
        return CLAIM_BYTES + sum(len(bytes(each)) if isinstance(each, Raw) else len(each) for each in said)


class State(enum.Enum):
    """State of a link; derived, not stored."""

    NEW = enum.auto()
    CLAIMING = enum.auto()
    REGISTERED = enum.auto()
    CLOSING = enum.auto()


class Link(Outbox):
    """A conversation. Times are seconds on the caller's clock, sizes are bytes.

    Attributes:
        origin: the client's address, as far as per-address caps go.
        host, port: the same, precisely.
        grant: the IDs and permissions that its credential gives.
        keepalive: seconds of silence after which it is pinged.
        claim: its own claim while that waits for an answer.
        challenge: another link's claim that waits for a sign of life from this one.
        reason: the reason for which it is closing: an error's code, or a few words.
        messages_left, bytes_left: the burst that it may send, as of `settled_at`; below 0: it has sent too much.
        offences: counts of its offences, once there is one.
        received: messages that came from it.
        rtt: seconds from the last ping that it answered to the sign of life that followed; `NEVER`: none yet.
        opened: when it came; while a claim of its own waited, time stood still for it.
        pinged_at, frame_since, resumes_at, expires_at, renews_at, ends_at: `NEVER` where it does not apply. It sends
            too fast until `resumes_at`; its credential ends at `expires_at`, and the credentials that it was given for
            TURN are renewed at `renews_at`.
        talks: its last messages, by recipient: its part of the record's rings.
    """

    __slots__ = (
        *("bytes_left", "challenge", "claim", "ends_at", "expires_at", "frame_since", "grant", "host", "keepalive"),
        *("messages_left", "offences", "opened", "origin", "pinged_at", "port", "reason", "received", "renews_at"),
        *("resumes_at", "rtt", "settled_at", "talks"),
    )

    def __init__(
        self,
        router: "Ledger[Any]",
        origin: "Origin",
        host: str,
        port: int | None,
        now: float,
        framing: LinkFraming,
    ) -> None:
        super().__init__(router, framing, now)
        self.origin = origin
        self.host = host
        self.port = port
        self.grant = router.stranger
        self.meta = None
        self.keepalive = NEVER
        self.claim: Claim | None = None
        self.challenge: Claim | None = None
        self.reason = ""
        self.opened = now
        self.frame_since = NEVER
        self.ends_at = NEVER
        self.pinged_at = _LONG_AGO
        self.resumes_at = NEVER
        self.expires_at = NEVER
        self.renews_at = NEVER
        self.messages_left = self.grant.rates.messages_burst
        self.bytes_left = self.grant.rates.bytes_burst
        self.settled_at = now
        self.offences: Offences | None = None
        self.received = 0
        self.rtt = NEVER
        self.talks = NO_TALKS
        self.bucket = None

    # -- what its transport makes of it

    @property
    def room_for_greeting(self) -> int:
        """How many bytes `registered` may have."""
        return self.max_frame

    @property
    def attempt(self) -> bytes:
        """The same for each copy of a `register` that opens a link; empty where none comes twice."""
        return b""

    @property
    def asked_late(self) -> bool:
        """Whether a ping would stand behind much else, so that no answer in time would mean nothing."""
        return self.stuck

    # -- what it is

    @property
    def address(self) -> str:
        """Where the client is, for logs."""
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def patient(self) -> bool:
        """Whether it speaks lines: a person or a passive listener, neither pinged nor closed for silence."""
        return self.framing.patient

    @property
    def state(self) -> State:
        """Where the link stands."""
        if self.closing:
            return State.CLOSING
        if self.id is not None:
            return State.REGISTERED
        return State.NEW if self.claim is None else State.CLAIMING

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """The credential by which it has its ID."""
        return self.grant.fingerprint

    @property
    def pinged(self) -> bool:
        """Whether a ping went out since the link was last seen."""
        return self.pinged_at > self.last_seen

    @property
    def is_paused(self) -> bool:
        """Whether it is not read, having sent too much."""
        return self.resumes_at != NEVER

    @property
    def frame_timeout_ms(self) -> int:
        """The time that a frame may take from its first byte to its last."""
        return LINES_FRAME_TIMEOUT_MS if self.patient else self.router.limits.frame_timeout_ms

    @property
    def register_timeout_ms(self) -> int:
        """The time that it has to register: longer for people, and before its first byte."""
        limits = self.router.limits
        return limits.register_timeout_lines_ms if self.patient or not self.framing.name else limits.register_timeout_ms

    # -- what it sends

    def heard(self, count: int, size: int, now: float) -> float:
        """Note that something came, and have the link pay for it: once per read, and so kept short.

        Args:
            count: how many messages.
            size: how many bytes.
            now: seconds.

        Returns:
            For how many seconds it has to wait, having sent more than it may; 0: not at all.
        """
        pinged = self.pinged_at > self.last_seen
        self.last_seen = now
        self.received += count
        if pinged:
            self.rtt = now - self.pinged_at
            self.watch()  # the next ping is due earlier than the end that would have followed the last
        self.messages_left = messages = self.messages_left - count
        self.bytes_left = room = self.bytes_left - size
        if messages < 0 or room < 0 or now >= self.settled_at + SETTLE_SECONDS:
            return self._settle(now)
        return 0.0

    def pay(self, count: int) -> None:
        """Charge the link for work that costs as much as `count` messages more; what it owes, it waits for later."""
        self.messages_left -= count

    def _settle(self, now: float) -> float:
        rates, passed = self.grant.rates, now - self.settled_at
        self.settled_at = now
        self.messages_left = messages = min(
            rates.messages_burst, self.messages_left + passed * rates.messages_per_second
        )
        self.bytes_left = room = min(rates.bytes_burst, self.bytes_left + passed * rates.bytes_per_second)
        return max(
            -messages / rates.messages_per_second if messages < 0 else 0.0,
            -room / rates.bytes_per_second if room < 0 else 0.0,
        )

    def allow(self, grant: "Grant", now: float) -> None:
        """Apply a grant; keep the same fraction of each burst allowance."""
        self._settle(now)
        before, rates = self.grant.rates, grant.rates
        self.grant = grant
        self.messages_left = _same_part(self.messages_left, before.messages_burst, rates.messages_burst)
        self.bytes_left = _same_part(self.bytes_left, before.bytes_burst, rates.bytes_burst)
        if self.is_paused:
            self.resumes_at = now + self._settle(now)
            self.watch()

    def begin_anew(self, grant: "Grant", now: float) -> None:
        """Apply a grant with whole burst allowances, as for a new link."""
        self.grant = grant
        self.messages_left = grant.rates.messages_burst
        self.bytes_left = grant.rates.bytes_burst
        self.settled_at = now

    def pause(self, now: float) -> None:
        """Act on nothing more that it sends until it has waited, and tell it so every now and then."""
        wait = self._settle(now)  # with what it has registered with meanwhile, its rates may be others
        if wait <= 0 or self.closing:
            return
        self.held = True
        self.resumes_at = now + wait
        self.watch()
        left, rate = self.messages_left, self.grant.rates.messages_per_second
        limit = "messages_per_second" if left < 0 and -left / rate == wait else "bytes_per_second"
        offences = self.offences = self.offences or Offences()
        if now < offences.noticed_at + NOTICE_SECONDS:
            self.router.limits_hit[limit] += 1
            return
        offences.noticed_at = now
        text = "rate limit exceeded: further messages are delayed, none is lost"
        fault = ProtocolError(ErrorCode.RATE_LIMITED, text, retry_after_ms=math.ceil(wait * 1000), limit=limit)
        self.router.refuse(self, fault, now)

    def go_on(self) -> None:
        """Act on its input again, unless something else still speaks against that."""
        if self.closing or self.claim is not None or self.is_paused:
            return
        if self.held and self.own <= self.router.limits.outbox_bytes_own:
            self.held = False
            self.resume()

    # -- its answers

    def welcome(self, registered: Registered) -> None:
        """Tell the client that it is registered."""
        self.reply(registered)

    def refuse(self, fault: ProtocolError) -> None:
        """Answer with an `error`, and close the link where the code says so."""
        self.router.count(fault)
        offences = self.offences = self.offences or Offences()
        offences.errors += 1
        if fault.code.closes:
            self.close(fault.code, fault)
        else:
            self.reply(messages.error_of(fault))

    # -- what it holds of the memory for all

    @property
    def holding(self) -> int:
        """Bytes of memory that its buffers take."""
        return super().holding if self.claim is None else super().holding + self.claim.size

    @property
    def idle_since(self) -> float:
        """Since when it takes nothing of its outbox, or has not finished a frame; else, since it was heard last."""
        since = min(self.stalled_since, self.frame_since)
        return self.last_seen if since == NEVER else since

    # -- the end

    def ending(self, reason: str, by: str | None, now: float) -> Ending:
        """Return the entry for the end of a registered peer's link."""
        assert self.id is not None
        elapsed = self.router.wall.elapsed
        return Ending(
            when=now,
            id=self.id,
            via=self.via,
            address=self.address,
            reason=reason,
            by=by,
            seconds=elapsed(self.opened, now),
            silent=elapsed(self.last_seen, now),
            received=self.received,
            delivered=self.delivered,
        )

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: the ID is free at once; waiting output, the error last, is still flushed."""
        if self.closing:
            return
        self.closing = self.held = True
        self.reason = reason
        self.router.release(self)
        if fault is not None:
            self.reply(messages.error_of(fault))
        # A transport acts on what is due: an empty outbox has to be noticed too.
        self.router.due.append(self)


def _same_part(left: float, before: float, burst: float) -> float:
    # Not all of it: who holds two credentials could renew with them in turn. What is owed stays owed.
    if math.inf in (before, burst):
        return burst
    return left * burst / before if left > 0 else left
