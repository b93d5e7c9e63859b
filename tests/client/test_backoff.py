"""When a client tries again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sigd.client.backoff import LONGEST_SECONDS, SHORTEST_SECONDS, Backoff

TIMES = st.floats(0, 1e9)


class Longest(random.Random):
    """Draws the longest pause each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


@given(st.randoms(use_true_random=False), TIMES, st.integers(1, 20))
def test_every_pause_is_within_its_ceiling(jitter: random.Random, now: float, tries: int):
    backoff = Backoff(jitter)
    for number in range(tries):
        ceiling = min(LONGEST_SECONDS, SHORTEST_SECONDS * 2**number)
        assert now <= backoff.next(now) <= now + ceiling


@given(st.randoms(use_true_random=False), TIMES, st.integers(-(10**30), 10**30), st.integers(0, 20))
def test_never_before_what_the_server_asked_for_and_never_for_good(
    jitter: random.Random, now: float, hold: int, tries: int
):
    backoff = Backoff(jitter)
    backoff.hold(hold, now)
    for _ in range(tries):
        backoff.next(now)
    day = 86_400
    assert now + min(hold / 1000, day) <= backoff.next(now) <= now + min(max(hold / 1000, 0), day) + LONGEST_SECONDS


def test_the_ceiling_doubles_from_100_ms_to_10_s_and_starts_again_after_a_success():
    backoff = Backoff(Longest())
    assert [round(backoff.next(0), 3) for _ in range(9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    backoff.reset()
    assert backoff.next(0) == 0.1


def test_a_thousand_failures_are_no_overflow():
    backoff = Backoff(Longest())
    assert [backoff.next(0) for _ in range(5000)][-1] == LONGEST_SECONDS


def test_clients_that_fail_together_come_apart():
    tenths = [0] * 10
    for seed in range(1000):
        tenths[int(Backoff(random.Random(seed)).next(0) * 10 / SHORTEST_SECONDS)] += 1
    assert max(tenths) < 150


def test_the_later_of_two_holds_counts():
    backoff = Backoff(Longest())
    backoff.hold(9_000, 0)
    backoff.hold(1_000, 0)
    assert backoff.next(0) == 9.1
