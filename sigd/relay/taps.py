"""Who is told of each message as it passes. No I/O."""

from collections.abc import Callable

from sigd.relay.record import Passed

Tap = Callable[[Passed], None]
"""Is told of every message that was relayed or refused. It returns at once, and keeps no more than it can bear."""


class Taps(list[Tap]):
    """All taps; none in the ordinary case, which costs each message one look.

    Attributes:
        fault: the bug of the last tap that had one; that tap is told nothing more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None

    def tell(self, passed: Passed) -> None:
        """Tell all of a message. A bug in one costs that tap, and nothing else."""
        for tap in tuple(self):
            try:
                tap(passed)
            except Exception as fault:
                self.fault = fault
                if tap in self:  # it may have left by itself
                    self.remove(tap)
