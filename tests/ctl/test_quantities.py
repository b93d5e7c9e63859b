"""Times, sizes and counts, as they are read."""

import argparse

import pytest

from sigd.ctl import quantities


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (0, "0s", "0s"),
        (-3.0, "0s", "0s"),
        (0.9, "0s", "0s"),
        (59.9, "59s", "59s"),
        (60, "1m", "1m"),
        (61, "1m 1s", "1m"),
        (3_600, "1h", "1h"),
        (3_661, "1h 1m", "1h"),
        (86_400 * 6 + 4 * 3_600 + 5, "6d 4h", "6d"),
        (86_400 * 400 + 59, "400d", "400d"),
    ],
)
def test_spans(seconds, long, short):
    assert (quantities.span(seconds), quantities.brief(seconds)) == (long, short)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (65_536, "64.0 KiB"),
        (8_388_608, "8.0 MiB"),
        (1024**3, "1.0 GiB"),
        (5 * 1024**4, "5.0 TiB"),
        (1024**6, "1048576.0 TiB"),
    ],
)
def test_sizes(number, text):
    assert quantities.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.00011, "0.11 ms"), (0.0182, "18 ms"), (0.9994, "999 ms"), (1.25, "1.2 s"), (12.0, "12.0 s")],
)
def test_short_times(seconds, text):
    assert quantities.milliseconds(seconds) == text


def test_counts_and_rates():
    assert [quantities.count(number) for number in (0, 999, 1000, 1_234_567)] == ["0", "999", "1 000", "1 234 567"]
    assert [quantities.rate(number) for number in (0.0, 0.55, 99.9, 100.4, 12_345.6)] == [
        *("0.0", "0.6", "99.9", "100", "12 346")
    ]
    assert [quantities.plural(number, "peer") for number in (0, 1, 2000)] == ["0 peers", "1 peer", "2 000 peers"]


@pytest.mark.parametrize("at", [-1.0, 1e18, float("inf"), float("nan")])
def test_a_time_that_no_calendar_has(at):
    assert quantities.moment(at) == "?"


@pytest.mark.parametrize(("written", "seconds"), [("10m", 600), ("1h30m", 5_400), ("1d", 86_400)])
def test_what_is_a_time(written, seconds):
    assert quantities.parse_seconds(written, 86_400) == seconds


@pytest.mark.parametrize("written", ["", "0s", "2d", "1h1h", "-1s", "1 h", "9" * 40 + "s"])
def test_what_is_none(written):
    with pytest.raises(argparse.ArgumentTypeError):
        quantities.parse_seconds(written, 86_400)
