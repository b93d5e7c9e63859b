"""Proof that a client is where its datagrams say: an answer can be heard there. Nothing is kept of anybody.

The clock is the key: each is drawn at random and counts for the tick that it was drawn in and the one after it.
"""

import base64
import hmac
import math
import secrets
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from sigd.wire.times import moved

TICK_SECONDS: Final = 30.0
"""So that a cookie counts for 30 to 60 s: longer than any client waits for its answer, too short to collect many."""

KEY_BYTES: Final = 32
"""As many as the hash has (RFC 2104, section 3)."""

COOKIE_BYTES: Final = 12
"""Nobody guesses 96 bits of it within a minute; 16 letters keep the challenge short."""


class CookiesState(Struct, array_like=True):
    """See `Cookies`.

    Attributes:
        key, previous: what cookies of this tick and of the one before it are made with.
        tick: which one this is; `begun`: when the first of all began, on the clock of who has made it.
    """

    key: bytes
    previous: bytes
    tick: int
    begun: float


class Cookies:
    """Makes cookies and knows them again. Times are seconds on the caller's clock."""

    __slots__ = ("_begun", "_draw", "_key", "_previous", "_tick")

    def __init__(self, draw: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._draw = draw
        self._tick: int = -1
        self._begun = 0.0  # when the first tick began
        self._key = self._previous = b""

    def make_untrusted(self, place: str, nonce: str, now: float) -> str:
        """The cookie for a sender at that address: 16 letters of base64url.

        Args:
            place: address and port, in one form.
            nonce: the client's own.
            now: seconds.
        """
        self._turn(now)
        return _cookie(self._key, place, nonce)

    def fits_untrusted(self, cookie: str, place: str, nonce: str, now: float) -> bool:
        """Whether this cookie was made for the same place and nonce, not too long ago."""
        self._turn(now)
        shown = cookie.encode("utf-8", "replace")
        return any(
            hmac.compare_digest(_cookie(key, place, nonce).encode(), shown) for key in (self._key, self._previous)
        )

    def _turn(self, now: float) -> None:
        tick = math.floor((now - self._begun) / TICK_SECONDS)
        if tick != self._tick:
            # After a pause of more than a tick the last key is too old as well.
            self._previous = self._key if tick == self._tick + 1 and self._key else self._draw(KEY_BYTES)
            self._key = self._draw(KEY_BYTES)
            self._tick = tick

    # -- handing over

    @property
    def state(self) -> CookiesState:
        """State from which another process can verify these cookies."""
        return CookiesState(self._key, self._previous, self._tick, self._begun)

    def restore(self, state: CookiesState, shift: float) -> None:
        """Know those cookies again, for as long as they count, on a clock that shows `shift` seconds more.

        Raises:
            ValueError: there is no such state.
        """
        self._begun = moved(state.begun, shift)
        self._key, self._previous, self._tick = state.key, state.previous, state.tick


def _cookie(key: bytes, place: str, nonce: str) -> str:
    digest = hmac.digest(key, f"{place} {nonce}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:COOKIE_BYTES]).decode()
