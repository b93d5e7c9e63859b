"""Buffers: the one count of all bytes that wait in the daemon for somebody, and which link gives up its own first.

Every buffer that grows with what clients send, or do not read, is counted here from its first byte on: begun frames,
messages that were read and not acted on, outboxes, datagrams on their way. A link computes what it holds and reports
it whenever that changes, so nothing is counted twice and nothing stays behind. No I/O, no clock.
"""

import enum
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Protocol, TypeVar

MESSAGE_BYTES: Final = 64
"""Overhead of one message in a list: the head of `bytes` (33), half of the allocator's step of 16, two references with
what lists have to spare (18), rounded up. An outbox of pongs takes five times its bytes."""

FULL_PART: Final = 15 / 16
"""Part of the limit at which links begin to go. The rest is for peers: a message is refused only when all is taken."""

FREE_PART: Final = 7 / 8
"""Part of the limit down to which they go: a sixteenth at once, so that a look at all of them pays."""

PATIENCE_SECONDS: Final = 1.0
"""How long a client may take nothing of what *others* have sent to it, before that counts as not reading: five round
trips of a slow path. Senders to it get `peer-busy` in the meantime."""


class Kind(enum.Enum):
    """The largest part of what a link holds."""

    STRANGERS = enum.auto()  # anything that a link without an ID holds
    REPLIES = enum.auto()  # answers that the client itself has asked for
    FRAMES = enum.auto()  # what has come and is not acted on yet
    MESSAGES = enum.auto()  # what other peers have sent to it


SHARES: Final = {Kind.STRANGERS: 1 / 8, Kind.REPLIES: 1 / 4, Kind.FRAMES: 1 / 4, Kind.MESSAGES: 3 / 8}
"""Part of the limit that all links of a kind may always have: within it they lose nothing, whatever the others take.
So no crowd displaces another kind: replies that nobody reads leave room for messages, and messages for frames."""


class Holder(Protocol):
    """A link, as far as its buffers go."""

    @property
    def kind(self) -> Kind:
        """The largest part of what it holds."""
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
        total: the sum of both.
    """

    __slots__ = ("held", "reserved", "total")

    def __init__(self) -> None:
        self.held: dict[Link, int] = {}
        self.reserved: dict[Hashable, int] = {}
        self.total = 0

    def hold(self, holder: Link, size: int) -> None:
        """Note that a link holds `size` bytes now, whatever it held before; 0: nothing."""
        held = self.held
        before = held.get(holder, 0)
        if size:
            held[holder] = size
        elif before:
            del held[holder]
        self.total += size - before

    def reserve(self, owner: Hashable, size: int) -> None:
        """Note that something else than a link holds `size` bytes now, whatever it held before; 0: nothing."""
        before = self.reserved.pop(owner, 0)
        if size:
            self.reserved[owner] = size
        self.total += size - before

    def is_full(self, most: int) -> bool:
        """Whether links have to go, `most` being the limit."""
        return self.total > most * FULL_PART

    def victims(self, most: int, now: float) -> Iterator[Link]:
        """The links that go first, until enough of the limit is free; each must hold nothing when the next is taken.

        They are of the kind that is furthest above its share: there first those that have held the most bytes for the
        longest time. A large message that is just being sent, or read, is young, and a small one is small; a client
        that has stopped reading becomes older, whatever else it does.

        Args:
            most: the limit, in bytes.
            now: seconds.
        """
        queues = _Queues(self.held, now)
        while self.total > most * FREE_PART:
            victim = queues.pop(most)
            if victim is None:
                return
            yield victim


class _Queues(Generic[Link]):
    """The links that hold something, by kind, those that go first at the end."""

    def __init__(self, held: dict[Link, int], now: float) -> None:
        self._sizes = dict.fromkeys(Kind, 0)
        self._queues: dict[Kind, list[tuple[float, int, Link]]] = {kind: [] for kind in Kind}
        for holder, size in reversed(held.items()):  # of equals the one goes first that began first
            kind, idle = holder.kind, now - holder.idle_since
            self._sizes[kind] += size
            if kind is not Kind.MESSAGES or idle >= PATIENCE_SECONDS:
                self._queues[kind].append((size * (idle + PATIENCE_SECONDS), size, holder))
        for queue in self._queues.values():
            queue.sort(key=_weight)

    def pop(self, most: int) -> Link | None:
        """The next one to go; None: nobody is left."""
        kinds = [kind for kind, queue in self._queues.items() if queue]
        if not kinds:
            return None
        kind = max(kinds, key=lambda kind: self._sizes[kind] - most * SHARES[kind])
        _, size, holder = self._queues[kind].pop()
        self._sizes[kind] -= size
        return holder


def _weight(entry: tuple[float, int, Link]) -> float:
    return entry[0]
