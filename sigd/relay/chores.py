"""Chores: work on many links that is done in parts, some links between two rounds, so that no message waits for it."""

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LINKS_PER_STEP: Final = 8
"""Links that are told something in one step of a chore: 0.1 ms of work."""


class Chores:
    """Unfinished work. Each chore is an iterator that does one step, 0.1 ms of work, each time that it is resumed."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Iterator[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, chore: "Iterator[None]") -> None:
        """Do the first step of a chore at once, and leave the others to `step`."""
        if next(chore, self) is not self:
            self._waiting.append(chore)

    def step(self) -> None:
        """Do one step of the chore that has waited longest. A bug in it ends that chore alone, and is raised."""
        self.begin(self._waiting.popleft())

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
