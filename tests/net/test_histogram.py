"""Durations in buckets: every one is counted once, and what is estimated from them is not far off."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.net.histogram import BOUNDS, Histogram, observe_round

DURATIONS = st.floats(0, 10, allow_subnormal=False)


def histogram_of(*durations: float) -> Histogram:
    histogram = Histogram()
    for duration in durations:
        histogram.observe(duration)
    return histogram


def test_bounds_rise_by_about_two() -> None:
    for lower, upper in itertools.pairwise(BOUNDS):
        assert 2 <= upper / lower + 1e-9 <= 2.5 + 1e-6


@pytest.mark.parametrize("place", range(len(BOUNDS)))
def test_a_bucket_includes_its_bound(place: int) -> None:
    histogram = histogram_of(BOUNDS[place])
    assert histogram.counts[place] == len(histogram) == 1
    assert histogram_of(BOUNDS[place] * 1.001).counts[place + 1] == 1


def test_what_is_above_all_bounds_is_counted_too() -> None:
    histogram = histogram_of(60.0, 1e9)
    assert histogram.counts == [0] * len(BOUNDS) + [2]
    assert histogram.cumulative()[-2:] == [(BOUNDS[-1], 0), (math.inf, 2)]


def test_many_of_the_same_count_as_many() -> None:
    histogram = Histogram()
    histogram.observe(0.001, 32)
    assert len(histogram) == 32
    assert histogram.sum == pytest.approx(0.032)
    assert histogram.counts == histogram_of(*[0.001] * 32).counts


@given(st.lists(st.tuples(DURATIONS, st.integers(0, 100))))
def test_a_round_counts_once_and_each_message_in_it(observed: list[tuple[float, int]]) -> None:
    rounds, relays, expected = Histogram(), Histogram(), Histogram()
    for seconds, relayed in observed:
        observe_round(rounds, relays, seconds, relayed)
        expected.observe(seconds, relayed)
    assert rounds.counts == histogram_of(*(seconds for seconds, _ in observed)).counts
    assert (relays.counts, relays.sum) == (expected.counts, expected.sum)


@given(st.lists(DURATIONS))
def test_prometheus_gets_each_once(durations: list[float]) -> None:
    histogram = histogram_of(*durations)
    for bound, count in histogram.cumulative():
        assert count == sum(duration <= bound for duration in durations)
    assert histogram.sum == pytest.approx(math.fsum(durations))


class TestQuantiles:
    def test_of_nothing(self) -> None:
        assert Histogram().quantile(0.99) == 0.0

    def test_between_two_bounds(self) -> None:
        histogram = histogram_of(*[0.00015] * 10)
        assert histogram.quantile(0.5) == pytest.approx(0.00015)
        assert histogram.quantile(0.0) == pytest.approx(0.0001)
        assert histogram.quantile(1.0) == pytest.approx(0.0002)

    def test_of_a_few_long_ones_among_many_short_ones(self) -> None:
        histogram = histogram_of(*[0.00003] * 98, 0.3, 0.4)
        assert histogram.quantile(0.5) < 0.00005
        assert 0.2 <= histogram.quantile(0.99) <= 0.5

    def test_above_all_bounds_is_said_to_be_the_highest(self) -> None:
        assert histogram_of(60.0).quantile(0.5) == BOUNDS[-1]

    @given(st.lists(DURATIONS, min_size=1), st.floats(0.01, 1))
    def test_is_in_the_bucket_of_the_real_one(self, durations: list[float], part: float) -> None:
        real = sorted(durations)[math.ceil(part * len(durations)) - 1]
        estimate = histogram_of(*durations).quantile(part)
        place = next((place for place, bound in enumerate(BOUNDS) if real <= bound), len(BOUNDS))
        low, high = (0.0, *BOUNDS)[place], (*BOUNDS, BOUNDS[-1])[place]
        assert low <= estimate <= high + 1e-12
