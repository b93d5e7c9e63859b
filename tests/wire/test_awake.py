"""Time less sleep."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire.awake import SLACK_SECONDS, Awake


@pytest.fixture
def awake() -> Awake:
    """A clock that was looked at for the first time at 100."""
    awake = Awake()
    awake.look(100.0)
    return awake


def test_time_passes(awake: Awake) -> None:
    """Looked at often enough, it shows what the clock below it does."""
    assert [awake.look(100 + tenth / 10) for tenth in range(5)] == [100.0, 100.1, 100.2, 100.3, 100.4]
    assert awake.slept == 0


def test_a_planned_wait_is_time(awake: Awake) -> None:
    """However long it is, and however early it ends."""
    assert awake.wait(160.0, 100.0) == 60
    assert awake.look(160.1) == pytest.approx(160.1)
    assert awake.wait(200.0, 160.1) == pytest.approx(39.9)
    assert awake.look(170.0) == pytest.approx(170.0)
    assert awake.slept == 0


def test_a_gap_behind_a_planned_wait_is_sleep(awake: Awake) -> None:
    """Of an hour from the end of a planned wait to the next look, the slack alone counts."""
    awake.wait(101.0, 100.0)
    assert awake.look(3_701.0) == pytest.approx(101.0 + SLACK_SECONDS)
    assert awake.slept == pytest.approx(3_600 - SLACK_SECONDS)


def test_a_gap_without_a_wait_is_sleep(awake: Awake) -> None:
    """As when the process is stopped in the middle of its work."""
    assert awake.look(130.0) == pytest.approx(100.0 + SLACK_SECONDS)


def test_what_has_passed_is_not_waited_for(awake: Awake) -> None:
    """A deadline in the past plans no wait."""
    assert awake.wait(90.0, 100.0) == -10
    assert awake.look(110.0) == pytest.approx(100.0 + SLACK_SECONDS)


def test_without_a_deadline_nothing_is_sleep(awake: Awake) -> None:
    """Where nothing is waited for, nothing can run out."""
    assert awake.wait(math.inf, 100.0) == math.inf
    assert awake.look(1e6) == 1e6


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 100)), max_size=50))
def test_it_shows_the_time_that_was_planned_and_the_slack(steps: list[tuple[float, float]]) -> None:
    """It never goes back, never runs ahead, and counts of each gap what was planned and at most the slack."""
    awake, reading = Awake(), 50.0
    before = awake.look(reading)
    for planned, gap in steps:
        awake.wait(before + planned, reading)
        reading += gap
        now = awake.look(reading)
        assert now - before == pytest.approx(min(gap, planned + SLACK_SECONDS), abs=1e-6)
        assert now <= reading + 1e-6
        assert now + awake.slept == pytest.approx(reading)
        before = now
