"""A server's silence: when to ping it, and when it counts as dead. No I/O, no clock."""

import math
from typing import Final

from sigd.wire.awake import SLACK_SECONDS
from sigd.wire.messages import MAX_KEEPALIVE_MS

SILENCE: Final = 2.5
"""Keepalives of silence after which the server counts as dead: as it treats its clients (`idle-timeout`)."""

LATE_LOOKS: Final = 3
"""Maximum number of consecutive extra looks for an answer after the program stood still; a program that is always late
still notices a dead server.
"""

LATE_LOOK_SECONDS: Final = 1.0
"""Duration of each extra look: an answer received in the meantime is read at once."""

SHORTEST_KEEPALIVE_SECONDS: Final = 0.1
"""Minimum ping interval, with any keepalive of the server."""


class Silence:
    """The time since the server was last heard, in seconds on the caller's clock.

    Attributes:
        keepalive: silence after which the server is pinged; infinite before registration.
        pinged: whether the server must show life after a long silence; over a stream it was pinged.
    """

    def __init__(self) -> None:
        self.keepalive = math.inf
        self.pinged = False
        self._heard_at = -math.inf
        self._answers_by = -math.inf
        self._late_looks = 0

    def agree(self, keepalive_ms: int) -> None:
        """Adopt the server's keepalive."""
        self.keepalive = max(SHORTEST_KEEPALIVE_SECONDS, min(keepalive_ms, MAX_KEEPALIVE_MS) / 1000)

    def restart(self, now: float) -> None:
        """Restart the timer: the server was heard, or the silence was our own."""
        self._heard_at = now
        self.pinged = False
        self._late_looks = 0

    @property
    def due_at(self) -> float:
        """Time of the ping or, once pinged, of the end."""
        if not self.pinged:
            return self._heard_at + self.keepalive
        return max(self._heard_at + self.keepalive * SILENCE, self._answers_by)

    def ping(self, now: float) -> None:
        """Note a ping. Its timeout begins here: the earlier silence may have been ours, if the program stood still."""
        self.pinged = True
        self._answers_by = now + self.keepalive * (SILENCE - 1)

    def look_again(self, now: float) -> bool:
        """Return whether the server gets more time, since the program looks for its answer too late."""
        if now - self.due_at <= SLACK_SECONDS or self._late_looks >= LATE_LOOKS:
            return False
        self._late_looks += 1
        self._answers_by = now + LATE_LOOK_SECONDS
        return True
