"""Times on another clock."""

import pytest

from sigd.wire.times import FARTHEST, NEVER, moved


def test_a_time_on_another_clock() -> None:
    assert moved(1.0, 5.0) == 6.0
    assert moved(-1.0, 5.0) == 4.0


@pytest.mark.parametrize("when", [NEVER, -NEVER])
def test_a_time_that_never_comes_does_not_on_any_clock(when: float) -> None:
    assert moved(when, 5.0) == when


@pytest.mark.parametrize("when", [float("nan"), FARTHEST, -FARTHEST])
def test_a_number_that_no_clock_shows_is_no_time(when: float) -> None:
    with pytest.raises(ValueError, match="no time"):
        moved(when, 0.0)


def test_never_is_known_by_its_value() -> None:
    assert float("inf") == NEVER
