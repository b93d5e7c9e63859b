"""Cookies: for one place and nonce, for 30 to 60 s, and made without keeping anything."""

import itertools

import pytest

from sigd.wire.cookies import TICK_SECONDS, Cookies

PLACE, NONCE = "192.0.2.1 5000", "nonce-of-16-char"


def cookies() -> Cookies:
    """Such whose keys are known, and never come twice."""
    keys = itertools.count()
    return Cookies(lambda size: next(keys).to_bytes(size, "big"))


def test_a_cookie_is_short_and_plain() -> None:
    made = Cookies().make_untrusted(PLACE, NONCE, 1_000.0)
    assert len(made) == 16
    assert made.isascii()
    assert made.replace("-", "").replace("_", "").isalnum()


def test_the_same_is_made_again_within_a_tick() -> None:
    jar = cookies()
    made = jar.make_untrusted(PLACE, NONCE, 0.0)
    assert made == jar.make_untrusted(PLACE, NONCE, 29.9) != jar.make_untrusted(PLACE, NONCE, 31.0)


@pytest.mark.parametrize("begins", [0.0, 15.0, 29.99])
def test_it_counts_for_thirty_seconds_at_least_and_sixty_at_most(begins: float) -> None:
    jar = cookies()
    made = jar.make_untrusted(PLACE, NONCE, begins)
    assert jar.fits_untrusted(made, PLACE, NONCE, begins + TICK_SECONDS)
    assert not jar.fits_untrusted(made, PLACE, NONCE, begins + 2 * TICK_SECONDS)


def test_it_is_forgotten_in_a_long_pause() -> None:
    jar = cookies()
    made = jar.make_untrusted(PLACE, NONCE, 0.0)
    assert not jar.fits_untrusted(made, PLACE, NONCE, 1e6)


def test_keys_turn_though_nobody_asks_in_between() -> None:
    jar = cookies()
    made = jar.make_untrusted(PLACE, NONCE, 10.0)
    jar.make_untrusted("elsewhere", NONCE, 40.0)
    assert jar.fits_untrusted(made, PLACE, NONCE, 59.9)
    assert not jar.fits_untrusted(made, PLACE, NONCE, 60.0)


@pytest.mark.parametrize(
    ("place", "nonce"),
    [("192.0.2.1 5001", NONCE), ("192.0.2.2 5000", NONCE), (PLACE, NONCE + "x"), (PLACE, ""), ("", PLACE)],
)
def test_it_counts_for_nobody_else(place: str, nonce: str) -> None:
    jar = cookies()
    made = jar.make_untrusted(PLACE, NONCE, 0.0)
    assert not jar.fits_untrusted(made, place, nonce, 0.0)


@pytest.mark.parametrize("shown", ["", "x", "\u00e9" * 16, "a" * 1_000, "\0" * 16, "AAAAAAAAAAAAAAA="])
def test_any_text_is_none(shown: str) -> None:
    assert not cookies().fits_untrusted(shown, PLACE, NONCE, 0.0)


def test_every_daemon_has_keys_of_its_own() -> None:
    assert not Cookies().fits_untrusted(Cookies().make_untrusted(PLACE, NONCE, 0.0), PLACE, NONCE, 0.0)
