"""Time less sleep: the clock of one end of a link, which stands still while that end cannot run.

A process stops at SIGSTOP, in a frozen or starved cgroup, or with its virtual machine. The other end goes on meanwhile,
and what it sends waits in the kernel: such a gap is nobody's silence, and no timeout may run out in it. No clock is
read here; readings of a monotonic clock are arguments.
"""

from typing import Final

SLACK_SECONDS: Final = 0.25
"""Longest time between two looks at the clock, after the wait that was planned, that counts as time: as late as
deadlines may be kept. Rounds take milliseconds, and a busy machine delays a process by some tens of them. A daemon
whose every round is longer still has a clock that advances, by this much with each round."""


class Awake:
    """Seconds of a monotonic clock, less those that the owner has slept.

    The owner looks at the clock whenever it acts, and plans each wait. The time from the end of a planned wait to the
    next look is sleep as far as it exceeds `SLACK_SECONDS`. A gap inside a planned wait goes unnoticed: an owner that
    waits for a second at most loses no more than that.

    Attributes:
        slept: seconds taken off so far.
    """

    __slots__ = ("_latest", "slept")

    def __init__(self) -> None:
        self.slept = 0.0
        self._latest = float("inf")  # by when the next look is expected, as a reading

    def look(self, reading: float) -> float:
        """Return the time now."""
        if reading > self._latest:
            self.slept += reading - self._latest
        self._latest = reading + SLACK_SECONDS
        return reading - self.slept

    def wait(self, until: float, reading: float) -> float:
        """Plan to look again at a time, or earlier; return the seconds until then, below 0 where it has passed."""
        seconds = until - self.look(reading)
        if seconds > 0:
            self._latest += seconds
        return seconds
