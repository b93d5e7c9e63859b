"""When to try again: full jitter, and never before the time that the server asked for. No clock, no sleep."""

import math
import random
from typing import Final

SHORTEST_SECONDS: Final = 0.1
"""The ceiling of the first pause: a dropped connection is back before anybody notices."""

LONGEST_SECONDS: Final = 10.0
"""The ceiling of every later pause: 10 000 devices whose server is away cost it 2 000 connections a second at most."""

_MOST_DOUBLINGS: Final = 16
"""More would only make the number large: 0.1 s doubled so often is above any ceiling in use."""

_LONGEST_HOLD_SECONDS: Final = 86_400.0
"""A server that asks for more than a day has made a slip, and a device would be lost by it."""


class Backoff:
    """Pauses drawn at random from 0 to a ceiling that doubles (full jitter: clients that fail together come apart)."""

    def __init__(self, jitter: random.Random, longest: float = LONGEST_SECONDS) -> None:
        self._jitter = jitter
        self._longest = longest
        self._tries = 0
        self._not_before = -math.inf

    def hold(self, milliseconds: int, now: float) -> None:
        """Take it that the server wants nothing before so many milliseconds are over."""
        seconds = min(milliseconds, _LONGEST_HOLD_SECONDS * 1000) / 1000
        self._not_before = max(self._not_before, now + seconds)

    def next(self, now: float) -> float:
        """The time of the next try."""
        ceiling = min(self._longest, SHORTEST_SECONDS * 2**self._tries)
        self._tries = min(self._tries + 1, _MOST_DOUBLINGS)
        return max(now, self._not_before) + self._jitter.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin with short pauses again: it works."""
        self._tries = 0
