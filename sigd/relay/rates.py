"""The rates at which a link may send, and the offences that are remembered of it. No clock: times are seconds."""

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sigd.config import Limits

SETTLE_SECONDS: Final = 0.25
"""How often at most a link is credited with what its rates allow: on every read it would cost as much as the read. A
burst may be larger by one read."""


class Rates:
    """How fast a link may send; a rate of 0 is no limit.

    Attributes:
        messages_per_second, bytes_per_second: in the long run.
        messages_burst, bytes_burst: at once, after a pause; infinite where there is no limit.
    """

    __slots__ = ("bytes_burst", "bytes_per_second", "messages_burst", "messages_per_second")

    def __init__(self, messages_per_second: int, messages_burst: int, bytes_per_second: int, bytes_burst: int) -> None:
        self.messages_per_second = messages_per_second
        self.messages_burst: float = messages_burst if messages_per_second else math.inf
        self.bytes_per_second = bytes_per_second
        self.bytes_burst: float = bytes_burst if bytes_per_second else math.inf

    @classmethod
    def of(cls, limits: "Limits") -> "Rates":
        """The rates of everybody whose credential has none of its own."""
        return cls(limits.messages_per_second, limits.messages_burst, limits.bytes_per_second, limits.bytes_burst)


class Offences:
    """The state of a link that has been refused something.

    Attributes:
        errors: how often it was.
        noticed_at: when it was last told that it sends too fast.
        missed_until: up to when the messages that it has sent to absent peers are paid for.
    """

    __slots__ = ("errors", "missed_until", "noticed_at")

    def __init__(self) -> None:
        self.errors = 0
        self.noticed_at = -math.inf
        self.missed_until = 0.0
