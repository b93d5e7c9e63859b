"""What has happened of late: a look at the counters every second. No I/O; `now` is an argument."""

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sigd.relay.router import Router
    from sigd.wire.errors import ErrorCode

SAMPLE_SECONDS: Final = 1.0
"""How often the counters are looked at."""

SAMPLES_KEPT: Final = 11
"""The rate is that of the ten seconds between the first and the last: it follows, and does not flicker."""

LATELY_SECONDS: Final = 60.0
"""What happened longer ago is no finding any more: who has mended it wants to see that."""


class Samples:
    """The last of them.

    Attributes:
        limits: when a limit was last hit, by its key; `errors`: the same by an error's code. To the second.
    """

    def __init__(self) -> None:
        self._relayed: deque[tuple[float, int]] = deque(maxlen=SAMPLES_KEPT)
        self.limits = _Rises()
        self.errors = _Rises()

    def take(self, router: "Router", now: float) -> None:
        """Look at the counters, once in SAMPLE_SECONDS."""
        self._relayed.append((now, router.relayed))
        self.look(router, now)

    def look(self, router: "Router", now: float) -> None:
        """Look at those of which only the last rise matters, at any time."""
        self.limits.look(router.limits_hit, now)
        self.errors.look(router.errors, now)

    @property
    def relayed_per_second(self) -> float:
        """Messages passed on, over the last ten seconds or what there is of them."""
        if len(self._relayed) < 2:
            return 0.0
        (since, before), (now, after) = self._relayed[0], self._relayed[-1]
        return (after - before) / (now - since) if now > since else 0.0


class _Rises:
    """When each of some counters was last seen to have risen."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._when: dict[str, float] = {}

    def look(self, counts: "Mapping[ErrorCode, int] | Mapping[str, int]", now: float) -> None:
        """See which have risen since the last time."""
        for key, count in counts.items():
            if self._counts.get(key, 0) != count:
                self._counts[key] = count
                self._when[key] = now

    def lately(self, now: float) -> list[str]:
        """Those that have risen within the last minute, in order."""
        return sorted(str(key) for key, when in self._when.items() if now - when < LATELY_SECONDS)
