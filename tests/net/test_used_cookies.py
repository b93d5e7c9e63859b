"""Cookies that made a link are remembered as long as they count, within bounds that no address fills for another."""

import pytest

from sigd.net import used_cookies
from sigd.net.used_cookies import KEPT_SECONDS, UsedCookies

HERE, THERE = "192.0.2.1", "198.51.100.1"


def key(number: int) -> bytes:
    """Return one of many keys."""
    return number.to_bytes(8, "big")


@pytest.mark.parametrize("at", [0.0, 1.0, 59.0])
def test_for_as_long_as_a_cookie_counts_and_at_most_twice(at: float) -> None:
    used = UsedCookies()
    assert not used.has(key(1), HERE, 1_000)
    used.note(key(1), HERE, 1_000 + at)
    assert used.has(key(1), HERE, 1_000 + at + KEPT_SECONDS - 0.01)
    assert not used.has(key(1), THERE, 1_000 + at)
    assert not used.has(key(1), HERE, 1_000 + at + 2 * KEPT_SECONDS)
    assert len(used) == 0


def test_an_address_forgets_its_own_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used_cookies, "KEPT_PER_ADDRESS", 3)
    used = UsedCookies()
    used.note(key(0), THERE, 0)
    for number in range(5):
        used.note(key(number), HERE, 0)
    assert [used.has(key(number), HERE, 0) for number in range(5)] == [False, False, True, True, True]
    assert used.has(key(0), THERE, 0)


def test_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used_cookies, "KEPT", 4)
    used = UsedCookies()
    for number in range(2):
        used.note(key(number), THERE, 0)
    for number in range(8):
        used.note(key(number), HERE, 0)
    assert len(used) == 4
    assert used.has(key(0), THERE, 0), "an address pays with its own, if it has any"
    for number in range(3):
        used.note(key(number), f"203.0.113.{number}", 0)
    assert len(used) == 4
    assert not used.has(key(0), THERE, 0)
    assert used.has(key(2), "203.0.113.2", 0)


def test_another_process_remembers_them_on_its_own_clock() -> None:
    used, other = UsedCookies(), UsedCookies()
    used.note(key(1), HERE, 0)
    used.note(key(2), HERE, 70)
    other.restore(used.state, 1_000)
    assert (len(other), other.has(key(1), HERE, 1_071), other.has(key(2), HERE, 1_071)) == (2, True, True)
    assert not other.has(key(1), HERE, 1_131)
    assert other.has(key(2), HERE, 1_131)
