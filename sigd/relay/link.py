"""One client's conversation with the daemon, over whatever transport: who it is, and what is due to it.

No sockets, no clock. A transport subclasses `Link`, writes what the outbox holds and says how much it could write.
"""

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sigd.wire import messages, said
from sigd.wire.errors import ErrorCode, Next, ProtocolError
from sigd.wire.said import ServerMessage

if TYPE_CHECKING:
    from msgspec import Raw

    from sigd.relay.router import Claim, Router

NEVER: Final = math.inf


class State(enum.Enum):
    """Where a link stands; each follows from what the link holds, none is stored."""

    NEW = enum.auto()
    CLAIMING = enum.auto()
    REGISTERED = enum.auto()
    CLOSING = enum.auto()


class Link:
    """A conversation. Times are seconds on the caller's clock, sizes are bytes.

    Attributes:
        router: whose rules hold here.
        address: where the client is, for logs.
        id: the peer ID that it holds or, once closing, held.
        id_bytes: the same for the wire.
        generation: the number of its claim, rising over all claims.
        meta: what its peer says about itself, a JSON object.
        max_frame: the longest message that it takes.
        wrap: how its transport carries a message: the same bytes, framed and, where needed, escaped.
        overhead: what framing adds to each message; 0 while nothing has come that says which framing.
        patient: a person or a passive listener: neither pinged nor closed for silence.
        claim: its own claim while that waits for an answer.
        challenge: the claim of somebody else that waits for a sign of life from this link.
        closing: it has ended for everybody else; what is due to it is still flushed.
        reason: why it is closing: an error's code, or a few words.
        held: nothing more that it sends is to be acted on for now; once closing, ever.
        outbox: what is due to it, framed; the first may be the rest of one whose beginning was written.
        stuck: the transport could not write all that was due.
        queued: bytes in the outbox, `own` of them replies to itself.
        registering_since: from when on the time to register counts: it rests while a claim waits.
        opened, last_seen, pinged_at, frame_since, stalled_since, ends_at: `NEVER` where it does not apply.
        bucket: where `Deadlines` keeps it.
    """

    __slots__ = (
        "_owners",
        "_shares",
        "address",
        "bucket",
        "challenge",
        "claim",
        "closing",
        "ends_at",
        "frame_since",
        "generation",
        "held",
        "id",
        "id_bytes",
        "keepalive",
        "last_seen",
        "max_frame",
        "meta",
        "opened",
        "outbox",
        "overhead",
        "own",
        "patient",
        "pinged_at",
        "queued",
        "reason",
        "registering_since",
        "router",
        "stalled_since",
        "stuck",
        "wrap",
    )

    def __init__(self, router: "Router", address: str, now: float, wrap: Callable[[bytes], bytes]) -> None:
        self.router = router
        self.address = address
        self.wrap = wrap
        self.id: str | None = None
        self.id_bytes = b""
        self.generation = 0
        self.meta: Raw | None = None
        self.max_frame: int = router.limits.max_frame
        self.keepalive = NEVER
        self.overhead = 0
        self.patient = False
        self.claim: Claim | None = None
        self.challenge: Claim | None = None
        self.closing = False
        self.reason = ""
        self.held = False
        self.outbox: list[bytes] = []
        self._owners: list[Link | None] = []
        self._shares: dict[Link, int] | None = None
        self.queued = 0
        self.own = 0
        self.stuck = False
        self.opened = now
        self.registering_since = now
        self.last_seen = now
        self.frame_since = NEVER
        self.stalled_since = NEVER
        self.ends_at = NEVER
        self.pinged_at = -NEVER
        self.bucket = 0

    # -- what a transport provides

    def push(self) -> None:
        """Write now what can be written without waiting."""
        raise NotImplementedError

    def attend(self, now: float) -> None:
        """Write what is due, and bring a closing link further to its end."""
        raise NotImplementedError

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read again after having been held."""
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """End at once, whatever is still due."""
        raise NotImplementedError

    def sever(self) -> None:
        """Give up what the system holds for the link, after a bug in everything else that could end it."""
        raise NotImplementedError

    def admitted(self) -> None:
        """The link has an ID now: longer messages are taken from it."""
        raise NotImplementedError

    # -- what it is

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
            if refusal is not None:
                return refusal
        if not self.queued:
            self.router.due.append(self)
        self.outbox.append(data)
        self._owners.append(sender)
        self.queued += size
        return None

    def reply(self, message: ServerMessage) -> None:
        """Queue an answer to this link itself. With too many of them due it is not read until it takes them."""
        self.reply_text(self.wrap(messages.encode(message)))

    def reply_text(self, data: bytes) -> None:
        """Queue bytes that are framed already."""
        size = len(data)
        if not self.queued:
            self.router.due.append(self)
        self.outbox.append(data)
        self._owners.append(None)
        self.queued += size
        self.own += size
        if self.stuck:
            self.router.outbox_bytes += size
        if self.own > self.router.limits.outbox_bytes_own and not self.held:
            self.held = True
            self.router.limits_hit["outbox_bytes_own"] += 1

    def refuse(self, fault: ProtocolError) -> None:
        """Answer with an `error`, and close the link where the code says so."""
        self.router.errors[fault.code] += 1
        if fault.limit is not None:
            self.router.limits_hit[fault.limit] += 1
        if fault.code.closes:
            self.close(fault.code, fault)
        else:
            self._reply_error(fault)

    def _reply_error(self, fault: ProtocolError) -> None:
        reconnect = False if fault.code.next is Next.NEVER and fault.retry_after_ms is None else None
        self.reply(
            said.Error(
                code=fault.code.value,
                message=fault.text[: messages.MAX_REASON],
                ref=fault.ref,
                to=fault.to,
                retry_after_ms=fault.retry_after_ms,
                reconnect=reconnect,
            )
        )

    def _make_room(self, size: int, sender: "Link") -> ErrorCode | None:
        """Account for `size` bytes more from a sender, which may be too many; or say why not."""
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
            for data, owner in zip(self.outbox, self._owners, strict=True):
                if owner is not None:
                    self._shares[owner] = self._shares.get(owner, 0) + len(data)
        share = self._shares.get(sender, 0)
        hit = ""
        if share and share + size > limits.outbox_bytes_per_sender:
            hit = "outbox_bytes_per_sender"
        elif self.queued - self.own + size > limits.outbox_bytes:
            hit = "outbox_bytes"
        elif router.outbox_bytes + size > limits.outbox_bytes_total:
            hit = "outbox_bytes_total"
        if hit:
            router.limits_hit[hit] += 1
            return ErrorCode.PEER_BUSY
        self._shares[sender] = share + size
        router.outbox_bytes += size
        return None

    def get_stuck(self, now: float) -> None:
        """Note that the transport could not write all that is due."""
        self.stuck = True
        self.stalled_since = now
        self.router.outbox_bytes += self.queued
        self.router.watch(self)

    def sent(self, count: int, now: float) -> None:
        """Take what the transport has written, `count` bytes from the front of the outbox, out of it."""
        if self.stuck:
            self.router.outbox_bytes -= count
            self.stalled_since = now
        if count == self.queued:
            self.outbox.clear()
            self._owners.clear()
            self._shares = None
            self.queued = self.own = 0
            self.stuck = False
            self.stalled_since = NEVER
        else:
            self._forget(count)
        if self.held and self.claim is None and not self.closing and self.own <= self.router.limits.outbox_bytes_own:
            self.held = False
            self.resume()

    def _forget(self, count: int) -> None:
        self.queued -= count
        whole = 0
        while count:
            data, owner = self.outbox[whole], self._owners[whole]
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
        del self.outbox[:whole], self._owners[:whole]

    def drop_unsent(self, *, keep_first: bool) -> None:
        """Empty the outbox, and tell every sender whose messages were in it ("perhaps not delivered").

        Args:
            keep_first: the first message's beginning was written: its rest stays, or what follows would be garbled.
        """
        kept = 1 if keep_first and self.outbox else 0
        senders = {owner for owner in self._owners if owner is not None and owner is not self}
        dropped = sum(len(data) for data in self.outbox[kept:])
        del self.outbox[kept:], self._owners[kept:]
        self.queued -= dropped
        if self.stuck:
            self.router.outbox_bytes -= dropped
        # What stays counts as the link's own: its sender has been told.
        self._owners[:] = [None] * kept
        self.own = self.queued
        self._shares = None
        for sender in senders:
            if not sender.closing:
                text = "the link ended with messages in its outbox: perhaps not delivered"
                sender.refuse(ProtocolError(ErrorCode.PEER_UNAVAILABLE, text, to=self.id))

    # -- the end

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: the ID is free at once; what is due, the error last, is still flushed."""
        if self.closing:
            return
        self.closing = self.held = True
        self.reason = reason
        self.router.release(self)
        if fault is not None:
            self._reply_error(fault)
        # A transport acts on what is due: an empty outbox has to be noticed too.
        self.router.due.append(self)
