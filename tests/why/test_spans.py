"""Durations and sizes in the notation of people."""

import pytest

from sigd.why.spans import size, span


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        *((-1, "0 ms"), (0.086, "86 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (1.94, "1.94 s"), (89, "89 s")),
        *((90, "2 min"), (1_320, "22 min"), (5_400, "2 h"), (18_000, "5 h"), (129_600, "2 d"), (259_200, "3 d")),
    ],
)
def test_durations(seconds: float, written: str) -> None:
    assert span(seconds) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_900, "2.9 kB"), (9_949, "9.9 kB"), (65_000, "65 kB")],
)
def test_sizes(count: int, written: str) -> None:
    assert size(count) == written
