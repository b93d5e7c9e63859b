"""Messages on a link of datagrams that cannot be delivered yet: not whole, or ahead of their turn.

A slice is acknowledged only if it is kept: any other comes again. No I/O, no clock.
"""

import math
from typing import Final, Self

from sigd.wire.datagram_state import HeldMessageState, HeldState
from sigd.wire.times import moved

MAX_DATAGRAM: Final = 1_200
"""Bytes of a datagram: with the heads of UDP and IPv6 it stays below 1280, which every IPv6 link carries whole."""

MAX_MESSAGE: Final = 16_000
"""Bytes of a message: 16 slices of the 1 000 bytes that each has at least."""

WHOLE_SECONDS: Final = 60.0
"""How long something may be held: twice as long as an honest other end keeps at it."""

MOST_HELD: Final = 2 * MAX_MESSAGE
"""Bytes that one link may hold: a message in slices and a window of others, or so."""


class Reassembly:
    """How many bytes all links of a daemon may hold for messages that are not whole, or not in turn, yet.

    Attributes:
        most: how many; may change at any time, what is held already stays.
        taken: how many are held now.
    """

    __slots__ = ("most", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more; if so, they are counted."""
        if self.taken + size > self.most:
            return False
        self.taken += size
        return True

    def give_back(self, size: int) -> None:
        """So many of the bytes taken are free again."""
        self.taken -= size


class _Message:
    """A message that is held.

    Attributes:
        since: when its first slice came.
        slices: those that came, by their number.
        count: of all its slices.
        taken: bytes set aside for it.
    """

    __slots__ = ("count", "since", "slices", "taken")

    def __init__(self, count: int, since: float, taken: int) -> None:
        self.count = count
        self.since = since
        self.slices: dict[int, bytes] = {}
        self.taken = taken

    @property
    def is_whole(self) -> bool:
        return len(self.slices) == self.count

    @property
    def size(self) -> int:
        return sum(map(len, self.slices.values()))


class Held:
    """The slices that one link holds.

    Attributes:
        bits: which of the 32 datagrams after the acknowledged ones have come, bit 0 being the first of them.
    """

    __slots__ = ("_messages", "_reassembly", "_taken", "bits")

    def __init__(self, reassembly: Reassembly | None) -> None:
        self.bits = 0
        self._messages: dict[int, _Message] = {}
        self._reassembly = reassembly
        self._taken = 0

    def __bool__(self) -> bool:
        return bool(self.bits or self._messages)

    def __contains__(self, mid: int) -> bool:
        return mid in self._messages

    def keep(self, mid: int, number: int, count: int, piece: bytes, now: float) -> bool:
        """Keep a slice if it fits the others and there is room; return whether it was kept."""
        message = self._messages.get(mid)
        if message is None:
            message = self._begin(mid, count, len(piece), now)
            if message is None:
                return False
        elif message.count != count or number in message.slices or message.size + len(piece) > MAX_MESSAGE:
            return False
        message.slices[number] = piece
        if message.is_whole:
            self._give_back(message.taken - message.size)
            message.taken = message.size
        return True

    def _begin(self, mid: int, count: int, size: int, now: float) -> _Message | None:
        if count > 1:
            if not all(message.is_whole for message in self._messages.values()):
                return None  # one message in slices at a time
            size = min(count * MAX_DATAGRAM, MAX_MESSAGE)
        if self._taken + size > MOST_HELD or (self._reassembly is not None and not self._reassembly.take(size)):
            return None
        self._taken += size
        message = self._messages[mid] = _Message(count, now, size)
        return message

    def take_whole(self, mid: int) -> bytes:
        """This message, which is no longer held; empty where it is not whole."""
        message = self._messages.get(mid)
        if message is None or not message.is_whole:
            return b""
        del self._messages[mid]
        self._give_back(message.taken)
        return b"".join([message.slices[number] for number in range(message.count)])

    def discard(self) -> None:
        """Hold nothing any more."""
        self._messages.clear()
        self._give_back(self._taken)

    def _give_back(self, size: int) -> None:
        self._taken -= size
        if self._reassembly is not None:
            self._reassembly.give_back(size)

    @property
    def dies_at(self) -> float:
        """When something has been held too long."""
        return min([message.since for message in self._messages.values()], default=math.inf) + WHOLE_SECONDS

    # -- handing over

    @property
    def state(self) -> HeldState:
        """All of it, its times on this clock."""
        return HeldState(
            self.bits,
            [
                HeldMessageState(mid, message.count, message.since, message.slices, message.taken)
                for mid, message in self._messages.items()
            ],
        )

    @classmethod
    def restored(cls, state: HeldState, reassembly: Reassembly | None, shift: float) -> Self:
        """Make the object of a state, on a clock that shows `shift` seconds more; there is room for it in any case.

        Raises:
            ValueError: there is no such state.
        """
        held = cls(reassembly)
        held.bits = state.bits
        for each in state.messages:
            message = held._messages[each.mid] = _Message(each.count, moved(each.since, shift), each.taken)
            message.slices = each.slices
            held._taken += each.taken
        if reassembly is not None:
            reassembly.give_back(-held._taken)
        return held
