"""How long things have taken so far, in buckets: they never grow, and those of two daemons add up."""

from bisect import bisect_left
from typing import Final

BOUNDS: Final = (
    *(10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6),
    *(1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3),
    *(1.0, 2.0, 5.0),
)
"""Upper ends of the buckets in seconds: a round with nothing but one message in it takes some 20 us, and 2 s of silence
are noticed by people. Steps of about two: an estimate between them is off by less than its half."""


class Histogram:
    """Durations in seconds, counted by `BOUNDS`.

    Attributes:
        counts: how many are in each bucket, its bound included; the last one holds those above all bounds.
        sum: of all of them, in seconds.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def __len__(self) -> int:
        return sum(self.counts)

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count a duration, as often as so many things have taken it."""
        self.counts[bisect_left(BOUNDS, seconds)] += count
        self.sum += seconds * count

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound, and infinity at last, how many took as long or less, as Prometheus wants them."""
        found: list[tuple[float, int]] = []
        count = 0
        for bound, here in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            count += here
            found.append((bound, count))
        return found

    def quantile(self, part: float) -> float:
        """Estimate below which duration this part of all lies, as Prometheus' `histogram_quantile` does.

        Args:
            part: from 0 to 1; 0.99 for the longest but one in a hundred.

        Returns:
            Seconds, at most the highest bound; 0 where nothing was observed.
        """
        rank = part * len(self)
        below, count = 0.0, 0
        for bound, here in zip(BOUNDS, self.counts, strict=False):
            if here and count + here >= rank:
                return below + (bound - below) * (rank - count) / here
            below, count = bound, count + here
        return below if len(self) else 0.0


def observe_round(rounds: Histogram, relays: Histogram, seconds: float, relayed: int) -> None:
    """Count a round in one histogram, and each of the messages that it has passed on in another, with one look-up."""
    place = bisect_left(BOUNDS, seconds)
    rounds.counts[place] += 1
    rounds.sum += seconds
    if relayed:
        relays.counts[place] += relayed
        relays.sum += seconds * relayed
