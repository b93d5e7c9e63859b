"""The daemon's garbage collector: what has grown old is not walked over again, on any version of Python."""

import gc
from types import SimpleNamespace

import pytest

from sigd.server import serving

NEVER = 1_000_000_000


class OldCollector:
    """Stands in for the collector of Python 3.14.0 to 3.14.4, which keeps no third threshold."""

    def __init__(self) -> None:
        self.thresholds = (0, 0, 0)

    def set_threshold(self, first: int, second: int, third: int) -> None:
        """Set two of them."""
        self.thresholds = (first, second, 0)

    def get_threshold(self) -> tuple[int, int, int]:
        """Return them."""
        return self.thresholds


def test_of_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    try:
        serving._spare_the_collector()
        first, second, third = gc.get_threshold()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert first == 5_000
    assert NEVER in (second, third)


def test_where_the_second_threshold_is_for_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    old = OldCollector()
    fake = SimpleNamespace(
        collect=gc.collect, freeze=lambda: None, set_threshold=old.set_threshold, get_threshold=old.get_threshold
    )
    monkeypatch.setattr(serving, "gc", fake)
    serving._spare_the_collector()
    assert old.thresholds == (5_000, NEVER, 0)
