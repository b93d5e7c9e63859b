"""Suspensions of the machine: time that credentials count and the monotonic clock does not."""

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sigd.client.renewal import Renewal

LEAST_SECONDS: Final = 1.0
"""Minimum difference: below it the two clocks were only read one after the other."""


def behind() -> float:
    """Return the lag of the monotonic clock behind elapsed time, in seconds; 0 if no clock tells (not Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


class Suspensions:
    """Suspensions of the machine, each reported once."""

    def __init__(self) -> None:
        self._behind = behind()

    def tell(self, renewal: "Renewal") -> None:
        """Bring `renewal` forward by the time of suspension since the last call."""
        seconds = behind() - self._behind
        if seconds >= LEAST_SECONDS:
            self._behind += seconds
            renewal.suspended(seconds)
