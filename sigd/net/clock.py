"""The daemon's clock, which all tasks and links share: trio's time is the kernel's monotonic time less sleep."""

import time
from typing import Final

import trio

from sigd.wire.awake import Awake

LOOK_SECONDS: Final = 1.0
"""Longest planned wait of the daemon: a shorter sleep may go unnoticed, and costs each deadline at most as much. One
wake-up takes 50 us of CPU."""


class AwakeClock(trio.abc.Clock):
    """A clock for `trio.run` that stands still while the process does not run.

    Every deadline in trio follows it, TLS and DTLS handshakes among them, and so do the times that the relay is given.
    Trio plans each wait here before it begins one, and looks again after it, before any deadline expires. A suspended
    machine needs no rule: the kernel's monotonic clock stands still in the meantime.

    Attributes:
        awake: the rule, and how much was taken off.
    """

    def __init__(self) -> None:
        self.awake = Awake()

    def start_clock(self) -> None:
        """Do nothing: the kernel's clock runs."""

    def current_time(self) -> float:
        """Return the time now."""
        return self.awake.look(time.perf_counter())

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Plan a wait until a deadline; return its length, which may end earlier."""
        reading = time.perf_counter()
        return self.awake.wait(min(deadline, self.awake.look(reading) + LOOK_SECONDS), reading)
