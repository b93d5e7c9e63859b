"""Suspensions of the client's machine, on two clocks whose readings are set here."""

import time

import pytest

from sigd.client import suspended
from sigd.client.renewal import Renewal
from sigd.client.suspended import LEAST_SECONDS, Suspensions, behind


def test_each_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([50.0, 50.0, 50.5, 3_650.5, 3_650.5])
    monkeypatch.setattr(suspended, "behind", lambda: next(readings))
    renewal = Renewal(renewable=True)
    renewal.grant(7_200_000, 1_000)
    due_at, suspensions = renewal.due_at, Suspensions()
    expected = [0.0, 0.0, 3_600.5, 3_600.5]  # half a second may be the time between two readings
    for seconds in expected:
        suspensions.tell(renewal)
        assert renewal.due_at == due_at - seconds


def test_without_such_a_clock_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert behind() >= -LEAST_SECONDS
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert behind() == 0
