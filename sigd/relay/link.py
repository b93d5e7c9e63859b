"""One client's conversation with the daemon, over whatever transport: who it is, and what is due to it.

No sockets, no clock. A transport subclasses `Link`, writes what the outbox holds and says how much it could write.
"""

import enum
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from sigd.relay.buffers import MESSAGE_BYTES, Kind
from sigd.relay.chores import LINKS_PER_STEP
from sigd.relay.rates import SETTLE_SECONDS, Offences
from sigd.relay.record import NO_TALKS
from sigd.relay.transport import Transport
from sigd.wire import framing, messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.said import ServerMessage
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from msgspec import Raw

    from sigd.relay.admission import Claim
    from sigd.relay.credentials import Grant
    from sigd.relay.deadlines import Bucket
    from sigd.relay.origins import Origin
    from sigd.relay.router import Router

_NOTHING: Final = cast("list[Any]", ())
"""An empty outbox, the same for all: two lists of its own would be an eighth of what an idle link takes."""

_LONG_AGO: Final = -math.inf  # one for all links: each minus makes another

NOTICE_SECONDS: Final = 10.0
"""How often at most a link is told that it sends too fast: so that nobody floods it with our answers."""


class State(enum.Enum):
    """Where a link stands; each follows from what the link holds, none is stored."""

    NEW = enum.auto()
    CLAIMING = enum.auto()
    REGISTERED = enum.auto()
    CLOSING = enum.auto()


class Link(Transport):
    """A conversation. Times are seconds on the caller's clock, sizes are bytes.

    Attributes:
        router: whose rules hold here.
        origin: where the client is, as far as per-address caps go.
        host, port: the same, precisely.
        grant: what it may be and may do.
        id: the peer ID that it holds or, once closing, held.
        meta: what its peer says about itself, a JSON object.
        max_frame: the longest message that it takes.
        wrap: how its transport carries a message: the same bytes, framed and, where needed, escaped.
        overhead: what framing adds to each message; 0 while nothing has come that says which framing.
        claim: its own claim while that waits for an answer.
        challenge: the claim of somebody else that waits for a sign of life from this link.
        closing: it has ended for everybody else; what is due to it is still flushed.
        reason: why it is closing: an error's code, or a few words.
        held: nothing more that it sends is to be acted on for now; once closing, ever.
        outbox: what is due to it, framed; the first may be the rest of one whose beginning was written.
        owners: who has sent each message in it; None: it is a reply to the link itself.
        stuck: the transport could not write all that was due.
        queued: bytes in the outbox, `own` of them replies to itself.
        messages_left, bytes_left: what it may send at once, as of `settled_at`; below 0: it has sent too much.
        offences: what it has done too often, if it ever has.
        received, delivered: messages that came from it, and those that others have sent to it.
        rtt: seconds from the last ping that it answered to the sign of life that followed; `NEVER`: none yet.
        opened: when it came; while a claim of its own waited, time stood still for it.
        last_seen, pinged_at, frame_since, stalled_since, resumes_at, expires_at, renews_at, ends_at: `NEVER` where it
            does not apply. It sends too fast until `resumes_at`; its credential ends at `expires_at`, and what
            it was given for TURN is renewed at `renews_at`.
        talks: what it has said last, by recipient: its part of the record's rings.
        bucket: where `Deadlines` keeps it.
    """

    __slots__ = (
        *("_shares", "bucket", "bytes_left", "challenge", "claim", "closing", "delivered", "ends_at"),
        *("expires_at", "frame_since", "grant", "held", "host", "id", "keepalive", "last_seen", "max_frame"),
        *("messages_left", "meta", "offences", "opened", "origin", "outbox", "overhead", "own", "owners"),
        *("pinged_at", "port", "queued", "reason", "received", "renews_at", "resumes_at"),
        *("router", "rtt", "settled_at", "stalled_since", "stuck", "talks", "wrap"),
    )

    def __init__(
        self,
        router: "Router",
        origin: "Origin",
        host: str,
        port: int | None,
        now: float,
        wrap: Callable[[bytes], bytes],
    ) -> None:
        self.router = router
        self.origin = origin
        self.host = host
        self.port = port
        self.grant = router.admission.access.stranger
        self.wrap = wrap
        self.id: str | None = None
        self.meta: Raw | None = None
        self.max_frame = self.largest_frame
        self.keepalive = NEVER
        self.overhead = 0
        self.claim: Claim | None = None
        self.challenge: Claim | None = None
        self.closing = False
        self.reason = ""
        self.held = False
        self.outbox: list[bytes] = _NOTHING
        self.owners: list[Link | None] = _NOTHING
        self._shares: dict[Link, int] | None = None
        self.queued = 0
        self.own = 0
        self.stuck = False
        self.opened = now
        self.last_seen = now
        self.frame_since = NEVER
        self.stalled_since = NEVER
        self.ends_at = NEVER
        self.pinged_at = _LONG_AGO
        self.resumes_at = NEVER
        self.expires_at = NEVER
        self.renews_at = NEVER
        self.messages_left = self.grant.rates.messages_burst
        self.bytes_left = self.grant.rates.bytes_burst
        self.settled_at = now
        self.offences: Offences | None = None
        self.received = self.delivered = 0
        self.rtt = NEVER
        self.talks = NO_TALKS
        self.bucket: Bucket | None = None

    # -- what its transport makes of it

    @property
    def largest_frame(self) -> int:
        """The longest message that may be sent over it at all, in bytes."""
        return self.router.limits.max_frame

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
        return self.overhead == framing.NEWLINE_BYTES

    @property
    def state(self) -> State:
        """Where the link stands."""
        if self.closing:
            return State.CLOSING
        if self.id is not None:
            return State.REGISTERED
        return State.NEW if self.claim is None else State.CLAIMING

    @property
    def pinged(self) -> bool:
        """Whether a ping went out since the link was last seen."""
        return self.pinged_at > self.last_seen

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
            self.router.watch(self)  # the next ping is due earlier than the end that would have followed the last
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
        """Have a grant hold from now on; of its bursts the same part is left as of those before."""
        self._settle(now)
        before, rates = self.grant.rates, grant.rates
        self.grant = grant
        self.messages_left = _same_part(self.messages_left, before.messages_burst, rates.messages_burst)
        self.bytes_left = _same_part(self.bytes_left, before.bytes_burst, rates.bytes_burst)
        if self.resumes_at != NEVER:
            self.resumes_at = now + self._settle(now)
            self.router.watch(self)

    def begin_anew(self, grant: "Grant", now: float) -> None:
        """Have a grant hold as if the link had sent nothing yet: its rates may be its own."""
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
        self.router.watch(self)
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
        """Act on what it sends again, unless something else still speaks against that."""
        if self.closing or self.claim is not None or self.resumes_at != NEVER:
            return
        if self.held and self.own <= self.router.limits.outbox_bytes_own:
            self.held = False
            self.resume()

    # -- the outbox

    def deliver(self, message: bytes, sender: "Link") -> ErrorCode | None:
        """Queue what another peer sends; or say why not: `too-large`, `peer-busy` or `peer-unavailable`."""
        if len(message) > self.max_frame:  # before it is escaped, which costs time and only makes it longer
            return ErrorCode.TOO_LARGE
        data = self.wrap(message)
        size = len(data)
        if size - self.overhead > self.max_frame:
            return ErrorCode.TOO_LARGE
        if self.stuck or self.queued + size > self.router.limits.outbox_bytes_per_sender:
            refusal = self._make_room(size, sender)
            if refusal is None:
                self._queue(data, sender)
            return refusal
        if self.queued:
            self.outbox.append(data)
            self.owners.append(sender)
        else:
            self.outbox, self.owners = [data], [sender]
            self.router.due.append(self)
        self.queued += size
        self.delivered += 1
        return None

    def _queue(self, data: bytes, sender: "Link") -> None:
        """Queue a message for which room was made: as `deliver` does, and with an account of it."""
        if self.queued:
            self.outbox.append(data)
            self.owners.append(sender)
        else:
            self.outbox, self.owners = [data], [sender]
            self.router.due.append(self)
        self.queued += len(data)
        self.delivered += 1
        if self.stuck:
            self.account()

    def reply(self, message: ServerMessage) -> None:
        """Queue an answer to this link itself. With too many of them due it is not read until it takes them."""
        self.reply_text(self.wrap(messages.encode(message)))

    def reply_text(self, data: bytes) -> None:
        """Queue bytes that are framed already."""
        size = len(data)
        if self.queued:
            self.outbox.append(data)
            self.owners.append(None)
        else:
            self.outbox, self.owners = [data], [None]
            self.router.due.append(self)
        self.queued += size
        self.own += size
        if self.stuck:
            self.account()
        if self.own > self.router.limits.outbox_bytes_own and not self.held:
            self.held = True
            self.router.limits_hit["outbox_bytes_own"] += 1

    def refuse(self, fault: ProtocolError) -> None:
        """Answer with an `error`, and close the link where the code says so."""
        self.router.count(fault)
        offences = self.offences = self.offences or Offences()
        offences.errors += 1
        if fault.code.closes:
            self.close(fault.code, fault)
        else:
            self.reply(messages.error_of(fault))

    def _make_room(self, size: int, sender: "Link") -> ErrorCode | None:
        """Make room for `size` more bytes from a sender, or return why they do not fit; they are queued next."""
        router, limits = self.router, self.router.limits
        if not self.stuck:
            self.push()
            if self.closing:
                return ErrorCode.PEER_UNAVAILABLE
        if not self.queued:
            return None
        if self._shares is None:
            # Up to now nobody can have had more than a share: everyday outboxes do without this table.
            self._shares = {}
            for data, owner in zip(self.outbox, self.owners, strict=True):
                if owner is not None:
                    self._shares[owner] = self._shares.get(owner, 0) + len(data)
        share = self._shares.get(sender, 0)
        hit = ""
        if share and share + size > limits.outbox_bytes_per_sender:
            hit = "outbox_bytes_per_sender"
        elif self.queued - self.own + size > limits.outbox_bytes:
            hit = "outbox_bytes"
        elif router.buffers.total + size > limits.buffer_bytes_total:
            hit = "buffer_bytes_total"
        if hit:
            router.limits_hit[hit] += 1
            return ErrorCode.PEER_BUSY
        self._shares[sender] = share + size
        return None

    def get_stuck(self, now: float) -> None:
        """Note that the transport could not write all that is due."""
        self.stuck = True
        self.stalled_since = now
        self.account()
        self.router.watch(self)

    def sent(self, count: int, now: float) -> None:
        """Take what the transport has written, `count` bytes from the front of the outbox, out of it."""
        if count == self.queued:
            self.outbox = self.owners = _NOTHING
            self._shares = None
            self.queued = self.own = 0
            if self.stuck:
                self.last_seen = now  # it lives: what it was asked meanwhile stood behind all that
                self.stuck = False
                self.stalled_since = NEVER
                self.account()
        else:
            self._forget(count)
            if self.stuck:
                self.stalled_since = now
                self.account()
        if self.held:
            self.go_on()

    def _forget(self, count: int) -> None:
        self.queued -= count
        whole = 0
        while count:
            data, owner = self.outbox[whole], self.owners[whole]
            taken = min(count, len(data))
            if owner is None:
                self.own -= taken
            elif self._shares is not None:
                self._shares[owner] -= taken
                if not self._shares[owner]:
                    del self._shares[owner]  # or a reader that never drains would keep every sender that has left
            count -= taken
            if taken < len(data):
                self.outbox[whole] = data[taken:]
                break
            whole += 1
        del self.outbox[:whole], self.owners[:whole]

    def drop_unsent(self, now: float, *, keep: int) -> None:
        """Empty the outbox, and tell every sender whose messages were in it ("perhaps not delivered").

        Args:
            now: seconds.
            keep: so many bytes at its front may be on their way: the messages that they belong to stay whole, or what
                follows would be garbled.
        """
        kept = size = 0
        while kept < len(self.outbox) and size < keep:
            size += len(self.outbox[kept])
            kept += 1
        senders = dict.fromkeys(owner for owner in self.owners if owner is not None and owner is not self)
        # What stays counts as the link's own: its sender has been told.
        self.outbox = self.outbox[:kept] if kept else _NOTHING
        self.owners = [None for _ in self.outbox] if kept else _NOTHING
        self.queued = self.own = size
        self._shares = None
        self.account()
        self.router.chores.begin(self._tell(list(senders), now))

    def _tell(self, senders: "list[Link]", now: float) -> Iterator[None]:
        """Tell senders that their messages are perhaps not delivered, LINKS_PER_STEP of them per step."""
        text = "the link ended with messages in its outbox: perhaps not delivered"
        for told, sender in enumerate(senders, start=1):
            if not sender.closing:
                self.router.refuse(sender, ProtocolError(ErrorCode.PEER_UNAVAILABLE, text, to=self.id), now)
            if not told % LINKS_PER_STEP:
                yield

    # -- what it holds of the memory for all

    @property
    def holding(self) -> int:
        """Bytes of memory that its buffers take; an outbox that is written within the round takes none."""
        size = self.unacted
        if self.stuck:
            size += self.queued + MESSAGE_BYTES * len(self.outbox)
        if self.claim is not None:
            size += self.claim.size
        return size

    def account(self) -> None:
        """Report the bytes held now to the total; called after each change of `holding`."""
        self.router.buffers.hold(self, self.holding)

    @property
    def kind(self) -> Kind:
        """The largest part of what it holds."""
        if self.id is None:
            return Kind.STRANGERS
        own, others = (self.own, self.queued - self.own) if self.stuck else (0, 0)
        if self.unacted > max(own, others):
            return Kind.FRAMES
        return Kind.REPLIES if own >= others else Kind.MESSAGES

    @property
    def idle_since(self) -> float:
        """Since when it takes nothing of its outbox, or has not finished a frame; else, since it was heard last."""
        since = min(self.stalled_since, self.frame_since)
        return self.last_seen if since == NEVER else since

    # -- the end

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: the ID is free at once; what is due, the error last, is still flushed."""
        if self.closing:
            return
        self.closing = self.held = True
        self.reason = reason
        self.router.admission.release(self)
        if fault is not None:
            self.reply(messages.error_of(fault))
        # A transport acts on what is due: an empty outbox has to be noticed too.
        self.router.due.append(self)


def _same_part(left: float, before: float, burst: float) -> float:
    # Not all of it: who holds two credentials could renew with them in turn. What is owed stays owed.
    if math.inf in (before, burst):
        return burst
    return left * burst / before if left > 0 else left
