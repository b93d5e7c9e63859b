"""Times of reconnection: full jitter, and never before the server's retry time. No clock, no sleep."""

import math
import random
from typing import Final

SHORTEST_SECONDS: Final = 0.1
"""Ceiling of the first pause: a dropped connection is back before anybody notices."""

LONGEST_SECONDS: Final = 10.0
"""Ceiling of later pauses: 10 000 devices that have lost their server attempt at most 2 000 connections per second."""

_MOST_DOUBLINGS: Final = 16
"""Maximum number of doublings: 0.1 s doubled so often exceeds any ceiling in use."""

_LONGEST_HOLD_SECONDS: Final = 86_400.0
"""Maximum retry time: a server that requests more than a day is mistaken, and a device would be lost."""


class Backoff:
    """Random pauses between 0 and a ceiling that doubles (full jitter: clients that fail together spread out)."""

    def __init__(self, jitter: random.Random, longest: float = LONGEST_SECONDS) -> None:
        self._jitter = jitter
        self._longest = longest
        self._tries = 0
        self._not_before = -math.inf

    def hold(self, milliseconds: int, now: float) -> None:
        """Honour the server's retry time."""
        seconds = min(milliseconds, _LONGEST_HOLD_SECONDS * 1000) / 1000
        self._not_before = max(self._not_before, now + seconds)

    def next(self, now: float) -> float:
        """Return the time of the next attempt."""
        ceiling = min(self._longest, SHORTEST_SECONDS * 2**self._tries)
        self._tries = min(self._tries + 1, _MOST_DOUBLINGS)
        return max(now, self._not_before) + self._jitter.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin with short pauses again, after a success."""
        self._tries = 0
