"""Recent events: counters sampled every second. No I/O; `now` is an argument."""

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sigd.relay.router import Router
    from sigd.wire.errors import ErrorCode

SAMPLE_SECONDS: Final = 1.0
"""Interval between samples."""

SAMPLES_KEPT: Final = 11
"""Number of samples kept; the rate spans the ten seconds between first and last: it follows, and does not flicker."""

LATELY_SECONDS: Final = 60.0
"""Maximum age of an event in findings; after a repair they disappear within that time."""


class Samples:
    """The last samples.

    Attributes:
        limits: time of the last hit of each limit, to the second, by key; `errors`: the same by error code.
    """

    def __init__(self) -> None:
        self._relayed: deque[tuple[float, int]] = deque(maxlen=SAMPLES_KEPT)
        self.limits = _Rises()
        self.errors = _Rises()

    def take(self, router: "Router", now: float) -> None:
        """Sample the counters, at most once in SAMPLE_SECONDS."""
        self._relayed.append((now, router.relayed))
        self.look(router, now)

    def look(self, router: "Router", now: float) -> None:
        """Sample the counters of which only the last rise matters, at any time."""
        self.limits.look(router.limits_hit, now)
        self.errors.look(router.errors, now)

    @property
    def relayed_per_second(self) -> float:
        """Relayed messages per second, over at most the last ten seconds."""
        if len(self._relayed) < 2:
            return 0.0
        (since, before), (now, after) = self._relayed[0], self._relayed[-1]
        return (after - before) / (now - since) if now > since else 0.0


class _Rises:
    """Time of the last rise of each counter."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._when: dict[str, float] = {}

    def look(self, counts: "Mapping[ErrorCode, int] | Mapping[str, int]", now: float) -> None:
        """Note the counters that have risen since the last call."""
        for key, count in counts.items():
            if self._counts.get(key, 0) != count:
                self._counts[key] = count
                self._when[key] = now

    def lately(self, now: float) -> list[str]:
        """Return the counters that have risen within the last minute, sorted."""
        return sorted(str(key) for key, when in self._when.items() if now - when < LATELY_SECONDS)
