"""Unix time beside the relay's clock: how the two differ, and the cause of the difference. Readings are arguments.

The relay's clock stands still while the daemon sleeps, and the wall clock can be set. Elapsed time tells the two apart:
nothing stops it and nobody sets it (CLOCK_BOOTTIME).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

STEP_SECONDS: Final = 1.0
"""Least difference that counts. Credentials have whole seconds, and NTP slews what is less than half of one; slewing
itself moves all three clocks alike."""

NAPS_KEPT: Final = 64
"""Sleeps that are told apart when past times are shown; the two oldest become one then. More than a laptop's week."""


class Shift(NamedTuple):
    """Distance by which Unix time has moved against the relay's clock since the last look.

    Attributes:
        slept: seconds for which the daemon did not run, or its machine.
        stepped: seconds by which the wall clock was set, below 0 where it was set back.
    """

    slept: float
    stepped: float

    @property
    def ahead(self) -> float:
        """Seconds that Unix time is further ahead than before."""
        return self.slept + self.stepped


class Wall:
    """The wall clock, as the relay sees it.

    Attributes:
        unix_time: its reading.
        slept: seconds of all sleeps so far.
        steps: how often it was set.
        last_sleep, last_step: when one was noticed last, on the relay's clock, and its seconds.
    """

    __slots__ = ("_behind", "_naps", "_set_to", "last_sleep", "last_step", "slept", "steps", "unix_time")

    def __init__(self, unix_time: Callable[[], float]) -> None:
        self.unix_time = unix_time
        self.slept = 0.0
        self.steps = 0
        self.last_sleep: tuple[float, float] | None = None
        self.last_step: tuple[float, float] | None = None
        self._behind: float | None = None  # of the relay's clock, behind elapsed time
        self._set_to = 0.0  # Unix time at the beginning of elapsed time
        self._naps: list[tuple[float, float]] = []

    def look(self, now: float, elapsed: float) -> Shift | None:
        """Compare the clocks; return the cause of a shift of Unix time since the last one, or None.

        Args:
            now: seconds on the relay's clock.
            elapsed: seconds that have passed since any moment of the past, sleep included.
        """
        behind, set_to = elapsed - now, self.unix_time() - elapsed
        if self._behind is None:
            self._behind, self._set_to = behind, set_to
            return None
        slept, stepped = behind - self._behind, set_to - self._set_to
        if slept < STEP_SECONDS:
            slept = 0.0
        else:
            self._behind = behind
            self._note_nap(now, slept)
        if abs(stepped) < STEP_SECONDS:
            stepped = 0.0
        else:
            self._set_to = set_to
            self.steps += 1
            self.last_step = now, stepped
        return Shift(slept, stepped) if slept or stepped else None

    def judged_by(self, now: float) -> float:
        """Return the seconds that Unix time is ahead of the relay's clock, as of the last look, or as of now."""
        return self.unix_time() - now if self._behind is None else self._behind + self._set_to

    def _note_nap(self, now: float, slept: float) -> None:
        self.slept += slept
        self.last_sleep = now, slept
        self._naps.append((now, slept))
        if len(self._naps) > NAPS_KEPT:
            (_, first), (when, second) = self._naps[:2]
            self._naps[:2] = [(when, first + second)]

    def ahead(self, now: float) -> "Ahead":
        """Return the function from the relay's clock to Unix time, by the wall clock as it is now."""
        return Ahead(self.unix_time() - now, tuple(self._naps))

    def elapsed(self, since: float, until: float) -> float:
        """Return the seconds between two moments on the relay's clock, with those of the sleeps between them."""
        return until - since + sum(slept for noticed, slept in self._naps if since < noticed <= until)


class Ahead:
    """Differences between the relay's clock and Unix time, now and in the past.

    A moment before a sleep is so much longer ago. Where the wall clock was set it is right now, and was wrong before.
    """

    __slots__ = ("_naps", "_seconds")

    def __init__(self, seconds: float, naps: tuple[tuple[float, float], ...] = ()) -> None:
        self._seconds = seconds
        self._naps = naps

    def __radd__(self, when: float) -> float:
        """Return the Unix time of a moment."""
        return when + self._seconds - sum(slept for noticed, slept in self._naps if when < noticed)


UnixAhead = float | Ahead
"""Seconds that Unix time is ahead of the relay's clock: at all times, or at each."""
