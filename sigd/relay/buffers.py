"""Buffers: the one count of all bytes that wait in the daemon for somebody, and which link gives up its own first.

Every buffer that grows with what clients send, or do not read, is counted here from its first byte on: begun frames,
messages that were read and not acted on, outboxes, datagrams on their way. A link computes what it holds and reports
it whenever that changes, so nothing is counted twice and nothing stays behind. No I/O, no clock.
"""

import enum
import math
from collections.abc import Hashable, Iterator
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

MESSAGE_BYTES: Final = 64
"""Overhead of one message in a list: the head of `bytes` (33), half of the allocator's step of 16, two references with
what lists have to spare (18), rounded up. An outbox of pongs takes five times its bytes."""

FULL_PART: Final = 15 / 16
"""Part of the limit at which links begin to go. The rest is for peers: a message is refused only when all is taken."""

FREE_PART: Final = 7 / 8
"""Part of the limit down to which they go: a sixteenth at once, so that a look at all of them pays."""

AGAIN_SECONDS: Final = 0.25
"""Pause after a look at all links that has found none to end, unless a sixteenth of the limit more is taken meanwhile.
A look at 10 000 links takes 30 ms, so looks in vain take an eighth of the time."""

PATIENCE_SECONDS: Final = 1.0
"""Time for which a client may take nothing of the messages of *others* before it counts as not reading: five round
trips of a slow path. Senders to it get `peer-busy` in the meantime."""


class Kind(enum.Enum):
    """Return the largest part of a link's buffers."""

    STRANGERS = enum.auto()  # anything that a link without an ID holds
    REPLIES = enum.auto()  # answers that the client itself has asked for
    FRAMES = enum.auto()  # what has come and is not acted on yet
    MESSAGES = enum.auto()  # what other peers have sent to it


SHARES: Final = {Kind.STRANGERS: 1 / 8, Kind.REPLIES: 1 / 4, Kind.FRAMES: 1 / 4, Kind.MESSAGES: 3 / 8}
"""Part of the limit that all links of a kind may always have: within it they lose nothing, even if others take much.
So no crowd displaces another kind: replies that nobody reads leave room for messages, and messages for frames."""


class Holder(Protocol):
    """A link, as far as its buffers go."""

    @property
    def kind(self) -> Kind:
        """Return the largest part of its buffers."""
        ...

    @property
    def idle_since(self) -> float:
        """Since when it has made no progress with that."""
        ...

    def __hash__(self) -> int: ...


Link = TypeVar("Link", bound=Holder)


class Buffers(Generic[Link]):
    """Bytes held for each link and for all together.

    Attributes:
        held: by link; a link that holds nothing, as nearly all do at any time, has no entry.
        reserved: by anything else that has a bound of its own and gives its memory back by itself.
        record: of the record, which is no link: it gives way before any link goes.
        total: the sum of all three.
        unfinished: whether victims were found that have not gone yet, with too much taken.
    """

    __slots__ = ("_in_vain", "_queues", "held", "record", "reserved", "total", "unfinished")

    def __init__(self) -> None:
        self.held: dict[Link, int] = {}
        self.reserved: dict[Hashable, int] = {}
        self.record = 0
        self.total = 0
        self.unfinished = False
        self._queues: _Queues[Link] | None = None
        self._in_vain = (-math.inf, 0)  # when a look at all has found nobody, and what was taken then

    @property
    def of_links(self) -> int:
        """Return the bytes that wait for somebody: everything but the record."""
        return self.total - self.record

    def note_record(self, size: int) -> None:
        """Note the current size of the record, in place of the former one."""
        self.total += size - self.record
        self.record = size

    def excess(self, most: int) -> int:
        """Return the bytes that have to go until enough of the limit is free."""
        return max(0, self.total - int(most * FREE_PART))

    def hold(self, holder: Link, size: int) -> None:
        """Note the current size of a link's buffers, in place of the former one."""
        held = self.held
        before = held.get(holder, 0)
        if size:
            held[holder] = size
        elif before:
            del held[holder]
        self.total += size - before

    def reserve(self, owner: Hashable, size: int) -> None:
        """Note the current size of other buffers than a link's, in place of the former one."""
        before = self.reserved.pop(owner, 0)
        if size:
            self.reserved[owner] = size
        self.total += size - before

    def is_full(self, most: int) -> bool:
        """Whether links have to go, `most` being the limit."""
        return self.unfinished or self.total > most * FULL_PART

    def victims(self, most: int, now: float) -> Iterator[Link]:
        """The links that go first, until enough of the limit is free; each must hold nothing when the next is taken.

        They are of the kind that is furthest above its share: there first those that have held the most bytes for the
        longest time. A large message that is just being sent, or read, is young, and a small one is small; a client
        that has stopped reading becomes older, though it may go on sending.

        Whoever stops taking them early takes the rest by another call: all links are looked at once for all of them.
        One that has gone on meanwhile is passed over.

        Args:
            most: the limit, in bytes.
            now: seconds.
        """
        while self.total > most * FREE_PART:
            is_new = self._queues is None
            if self._queues is None:
                if self._looks_in_vain(most, now):
                    return
                self._queues = _Queues(self.held, now)
                self.unfinished = True
            entry = self._queues.pop(most)
            if entry is None:
                self._forget_queues()
                if is_new:
                    self._in_vain = (now, self.total)
            elif entry.stands(self.held):
                yield entry.holder
        self._forget_queues()

    def _looks_in_vain(self, most: int, now: float) -> bool:
        """Whether another look at all links would most likely find nobody either."""
        when, total = self._in_vain
        return now < when + AGAIN_SECONDS and self.total <= total + most * (1 - FULL_PART)

    def _forget_queues(self) -> None:
        self._queues = None
        self.unfinished = False


class _Entry(NamedTuple, Generic[Link]):
    """A link when all were looked at."""

    weight: float
    size: int
    since: float
    kind: Kind
    holder: Link

    def stands(self, held: dict[Link, int]) -> bool:
        """Whether the link still holds that, and has made no progress since."""
        holder = self.holder
        return held.get(holder, 0) >= self.size and holder.idle_since == self.since and holder.kind is self.kind


class _Queues(Generic[Link]):
    """The links that hold something, by kind, those that go first at the end."""

    def __init__(self, held: dict[Link, int], now: float) -> None:
        self._sizes = dict.fromkeys(Kind, 0)
        self._queues: dict[Kind, list[_Entry[Link]]] = {kind: [] for kind in Kind}
        for holder, size in reversed(held.items()):  # of equals the one goes first that began first
            kind, since = holder.kind, holder.idle_since
            idle = now - since
            self._sizes[kind] += size
            if kind is not Kind.MESSAGES or idle >= PATIENCE_SECONDS:
                self._queues[kind].append(_Entry(size * (idle + PATIENCE_SECONDS), size, since, kind, holder))
        for queue in self._queues.values():
            queue.sort(key=_weight)

    def pop(self, most: int) -> _Entry[Link] | None:
        """The next one to go; None: nobody is left."""
        kinds = [kind for kind, queue in self._queues.items() if queue]
        if not kinds:
            return None
        kind = max(kinds, key=lambda kind: self._sizes[kind] - most * SHARES[kind])
        entry = self._queues[kind].pop()
        self._sizes[kind] -= entry.size
        return entry


def _weight(entry: _Entry[Link]) -> float:
    return entry.weight
