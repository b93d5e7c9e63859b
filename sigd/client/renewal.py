"""Renewal of registration on a live link, with fresh credentials, before the old ones expire. No I/O, no clock."""

import math
from typing import Final

AHEAD_SECONDS: Final = 60.0
"""Seconds before the end of the link at which it registers again: as early as a server sends new TURN credentials, and
enough to survive a short failure of the credentials' source, since it retries.
"""

SHORTEST_SECONDS: Final = 5.0
"""Minimum interval between attempts: a source that returns the same credential again and again causes no flood. Servers
add 30 s to the expiry of a credential, so this interval ends no link.
"""


class Renewal:
    """Times of renewal, in seconds on the caller's clock.

    Attributes:
        renewable: whether fresh credentials are available.
        due_at: time of the next `expire`.
        wanted: whether fresh credentials are wanted now.
    """

    def __init__(self, *, renewable: bool) -> None:
        self.renewable = renewable
        self.due_at = math.inf
        self.wanted = False
        self._ends_at = math.inf

    def grant(self, expires_ms: int | None, now: float) -> None:
        """Note a registration: for ever, or for this many milliseconds."""
        self.stop()
        if expires_ms is not None and self.renewable:
            self._ends_at = now + max(0, min(expires_ms, _LONGEST_MS)) / 1000
            self._try_half_way(now)
            self.due_at = max(self.due_at, self._ends_at - AHEAD_SECONDS)

    def expire(self, now: float) -> None:
        """Ask for fresh credentials, if it is time; without success, again after half of the rest."""
        if now >= self.due_at:
            self.wanted = True
            self._try_half_way(now)

    def suspended(self, seconds: float) -> None:
        """Deduct a suspension of the machine: credentials aged meanwhile, and the caller's clock stood still."""
        self.due_at -= seconds
        self._ends_at -= seconds

    def stop(self) -> None:
        """Note the end of the link."""
        self.wanted = False
        self.due_at = self._ends_at = math.inf

    def _try_half_way(self, now: float) -> None:
        self.due_at = now + max(SHORTEST_SECONDS, (self._ends_at - now) / 2)


_LONGEST_MS: Final = 1 << 53
"""Maximum lifetime, exact in a float and longer than any server means."""
