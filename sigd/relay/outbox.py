"""The outbox of a link: messages that wait until the transport takes them, within bounds for each sender and for all.

No sockets, no clock: times are seconds on the caller's clock, sizes are bytes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from sigd.relay.buffers import MESSAGE_BYTES, Kind
from sigd.relay.chores import LINKS_PER_STEP
from sigd.relay.transport import Transport
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import LinkFraming
from sigd.wire.said import ServerMessage
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.ledger import Ledger

NOTHING: Final = cast("list[Any]", ())
"""An empty outbox, the same for all: two lists of its own would be an eighth of an idle link's memory."""


class Outbox(Transport):
    """A link, as far as the messages to its client go. See `link.Link` for the rest.

    Attributes:
        router: the rules that hold here, as far as links know them.
        id: the peer ID that the link holds or, once closing, held.
        max_frame: the longest message that the client takes.
        framing: the framing of messages to the client.
        closing: the link has ended for everybody else; its outbox is still flushed.
        held: nothing more that it sends is to be acted on for now; once closing, ever.
        last_seen: when something came from it last.
        outbox: the messages due to it, framed; the first may be the rest of one whose beginning was written.
        owners: the sender of each message in it; None: it is a reply to the link itself.
        stuck: the transport could not write all that was due; `stalled_since`: when it last wrote anything since then.
        queued: bytes in the outbox, `own` of them replies to itself.
        delivered: messages that others have sent to it.
    """

    __slots__ = (
        *("_shares", "closing", "delivered", "framing", "held", "id", "last_seen", "max_frame", "outbox", "own"),
        *("owners", "queued", "router", "stalled_since", "stuck"),
    )

    def __init__(self, router: "Ledger[Any]", framing: LinkFraming, now: float) -> None:
        self.router = router
        self.framing = framing
        self.id: str | None = None
        self.closing = False
        self.held = False
        self.last_seen = now
        self.outbox: list[bytes] = NOTHING
        self.owners: list[Outbox | None] = NOTHING
        self._shares: dict[Outbox, int] | None = None
        self.queued = 0
        self.own = 0
        self.delivered = 0
        self.stuck = False
        self.stalled_since = NEVER
        self.max_frame = self.largest_frame

    # -- what the rest of the link is

    @property
    def largest_frame(self) -> int:
        """The longest message that may be sent over it at all, in bytes."""
        return self.router.limits.max_frame

    def go_on(self) -> None:
        """Act on its input again, unless something else still speaks against that."""
        raise NotImplementedError

    def watch(self) -> None:
        """Look at the link again when it is next due."""
        self.router.deadlines.watch(self, self.router.next_deadline(self))

    # -- what is due to it

    def deliver(self, message: bytes, sender: "Outbox") -> ErrorCode | None:
        """Queue a message of another peer, or return the refusal: `too-large`, `peer-busy` or `peer-unavailable`."""
        if len(message) > self.max_frame:  # before it is escaped, which costs time and only makes it longer
            return ErrorCode.TOO_LARGE
        data = self.framing.wrap(message)
        size = len(data)
        if size > self.max_frame and self.framing.length_of(data) > self.max_frame:
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

    def _queue(self, data: bytes, sender: "Outbox") -> None:
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
        self.reply_text(self.framing.wrap(messages.encode(message)))

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

    def _make_room(self, size: int, sender: "Outbox") -> ErrorCode | None:
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
        self.watch()

    def sent(self, count: int, now: float) -> None:
        """Remove `count` bytes, now written by the transport, from the front of the outbox."""
        if count == self.queued:
            self.outbox = self.owners = NOTHING
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
        # The rest counts as the link's own: its sender has been told.
        self.outbox = self.outbox[:kept] if kept else NOTHING
        self.owners = [None for _ in self.outbox] if kept else NOTHING
        self.queued = self.own = size
        self._shares = None
        self.account()
        self.router.chores.begin(self._tell(list(senders), now))

    def _tell(self, senders: "list[Outbox]", now: float) -> Iterator[None]:
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
        return size

    def account(self) -> None:
        """Report the bytes held now to the total; called after each change of `holding`."""
        self.router.buffers.hold(self, self.holding)

    @property
    def kind(self) -> Kind:
        """Return the largest part of its buffers."""
        if self.id is None:
            return Kind.STRANGERS
        own, others = (self.own, self.queued - self.own) if self.stuck else (0, 0)
        if self.unacted > max(own, others):
            return Kind.FRAMES
        return Kind.REPLIES if own >= others else Kind.MESSAGES
