"""Suspensions of the machine: seconds that its monotonic clock does not count, and credentials do."""

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sigd.client.renewal import Renewal

LEAST_SECONDS: Final = 1.0
"""Below it the two clocks have only been read one after the other."""


def behind() -> float:
    """Return the seconds that the monotonic clock is behind elapsed time; 0 where no clock tells (not Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


class Suspensions:
    """Suspensions of the machine, each to be taken account of once."""

    def __init__(self) -> None:
        self._behind = behind()

    def tell(self, renewal: "Renewal") -> None:
        """Bring `renewal` forward by the time for which the machine was suspended since the last call."""
        seconds = behind() - self._behind
        if seconds >= LEAST_SECONDS:
            self._behind += seconds
            renewal.suspended(seconds)
