"""When a peer registers again on its link, with fresh credentials, before the old ones end it. No I/O, no clock."""

import math
from typing import Final

AHEAD_SECONDS: Final = 60.0
"""How long before the end of the link it registers again: as early as a server sends new TURN credentials, and enough
for whoever makes the credentials to be away for a moment, since it is tried again."""

SHORTEST_SECONDS: Final = 5.0
"""Between two tries, whatever the server says: who is handed the same credential over and over does not hammer it. A
server adds 30 s to what a credential says of itself, so that nobody is cut off by this."""


class Renewal:
    """Decides when. Times are seconds on the caller's clock.

    Attributes:
        renewable: whether there are fresh credentials to be had.
        due_at: when to call `expire`.
        wanted: fresh credentials are to be fetched now.
    """

    def __init__(self, *, renewable: bool) -> None:
        self.renewable = renewable
        self.due_at = math.inf
        self.wanted = False
        self._ends_at = math.inf

    def grant(self, expires_ms: int | None, now: float) -> None:
        """The server has registered this peer: for ever, or until so many milliseconds are over."""
        self.stop()
        if expires_ms is not None and self.renewable:
            self._ends_at = now + max(0, min(expires_ms, _LONGEST_MS)) / 1000
            self._try_half_way(now)
            self.due_at = max(self.due_at, self._ends_at - AHEAD_SECONDS)

    def expire(self, now: float) -> None:
        """Ask for fresh credentials, if it is time; if nothing comes of them, again when half of the rest is over."""
        if now >= self.due_at:
            self.wanted = True
            self._try_half_way(now)

    def suspended(self, seconds: float) -> None:
        """Take off what the machine was suspended for: credentials went on, and the caller's clock did not."""
        self.due_at -= seconds
        self._ends_at -= seconds

    def stop(self) -> None:
        """The link has ended."""
        self.wanted = False
        self.due_at = self._ends_at = math.inf

    def _try_half_way(self, now: float) -> None:
        self.due_at = now + max(SHORTEST_SECONDS, (self._ends_at - now) / 2)


_LONGEST_MS: Final = 1 << 53
"""No server means more, and floats hold it."""
