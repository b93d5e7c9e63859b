"""IDs in byte order, a million of them as well as ten: none is put in by moving all that come behind it."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 1_024
"""IDs in one run: to put one in moves 4 KiB of references, and a million IDs make runs that are found in 10 steps."""

SHORTEST: Final = 256
"""A run that gets shorter is put together with its neighbour, if both fit into one: few IDs are not many runs."""


class SortedIds:
    """A set of texts in order, kept in runs of bounded length."""

    __slots__ = ("_heads", "_runs")

    def __init__(self) -> None:
        self._runs: list[list[str]] = []
        self._heads: list[str] = []  # the first of each run

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, text: str) -> None:
        """Put one in that is not in it."""
        if not self._runs:
            self._runs.append([text])
            self._heads.append(text)
            return
        at = self._run_of(text)
        run = self._runs[at]
        insort(run, text)
        self._heads[at] = run[0]
        if len(run) > LONGEST:
            half = len(run) // 2
            self._runs[at : at + 1] = [run[:half], run[half:]]
            self._heads[at : at + 1] = [run[0], run[half]]

    def remove(self, text: str) -> None:
        """Take one out that is in it."""
        at = self._run_of(text)
        run = self._runs[at]
        del run[bisect_left(run, text)]
        if not run:
            del self._runs[at], self._heads[at]
        else:
            self._heads[at] = run[0]
            if len(run) < SHORTEST:
                self._join(at)

    def _join(self, at: int) -> None:
        """Put a short run together with the one behind it, where both fit into one."""
        if at + 1 < len(self._runs) and len(self._runs[at]) + len(self._runs[at + 1]) <= LONGEST:
            self._runs[at] += self._runs.pop(at + 1)
            del self._heads[at + 1]

    def _run_of(self, text: str) -> int:
        return max(0, bisect_right(self._heads, text) - 1)

    def after(self, text: str, *, included: bool) -> Iterator[str]:
        """Those behind a text, and where it is included that one, in order."""
        if not self._runs:
            return
        at = self._run_of(text)
        run = self._runs[at]
        start = bisect_left(run, text) if included else bisect_right(run, text)
        yield from run[start:]
        for further in range(at + 1, len(self._runs)):
            yield from self._runs[further]
