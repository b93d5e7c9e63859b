"""Times as numbers: seconds on a clock that the caller reads, and a time that never comes. No clock.

Compare with `NEVER` by `==`: two floats of one value need not be one object.
"""

import math
from typing import Final

NEVER: Final = math.inf

FARTHEST: Final = 1e12
"""Seconds from a clock's beginning: no clock shows more, and every number of ticks up to there is one that counts."""


def moved(when: float, shift: float) -> float:
    """Return a time on another clock, which shows `shift` seconds more; `NEVER` and its negative stay the same.

    Raises:
        ValueError: it is no time.
    """
    if -FARTHEST < when < FARTHEST:
        return when + shift
    if when == NEVER:
        return NEVER  # one object for all links: a float takes 24 bytes
    if when == -NEVER:
        return when
    raise ValueError(f"{when} is no time")
