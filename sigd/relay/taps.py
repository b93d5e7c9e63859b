"""Taps: callbacks that see every message, relayed or refused. No I/O."""

from collections.abc import Callable

from sigd.relay.record import Passed

Tap = Callable[[Passed], None]
"""A callback for each message. It returns at once, and keeps no more than it has room for."""


class Taps:
    """All taps; none in the ordinary case, which costs each message one look at `callbacks`.

    Attributes:
        callbacks: the taps, in the order in which they are called.
        fault: the bug of the last tap that had one; that tap is called no more.
    """

    __slots__ = ("callbacks", "fault")

    def __init__(self) -> None:
        self.callbacks: list[Tap] = []
        self.fault: Exception | None = None

    def __len__(self) -> int:
        return len(self.callbacks)

    def add(self, tap: Tap) -> None:
        """Call a tap for each message from now on."""
        self.callbacks.append(tap)

    def drop(self, tap: Tap) -> None:
        """Call a tap no more; it may have been dropped already."""
        if tap in self.callbacks:
            self.callbacks.remove(tap)

    def tell(self, passed: Passed) -> None:
        """Call all taps with a message. A bug in one costs that tap, and nothing else."""
        for tap in tuple(self.callbacks):
            try:
                tap(passed)
            except Exception as fault:
                self.fault = fault
                self.drop(tap)
