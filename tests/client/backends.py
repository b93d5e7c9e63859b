"""Running a test's program under trio and under asyncio."""

import asyncio
import contextlib
import random
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio.testing

from sigd.client import Disconnected, Peer, Received

LIMIT = 20.0
"""Seconds after which a test has failed; none comes near."""

BOTH_BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])


class Brief(random.Random):
    """Pauses that are no burden on a test, and leave the other process its share of the CPU."""

    def uniform(self, a: float, b: float) -> float:
        return 0.01


QUIET_SECONDS = 0.02
"""Real seconds without any event after which a clock jumps: what loopback has under way takes microseconds."""

LONG = 1_000_000.0
"""Seconds on a clock that jumps: time for everything that has a time."""


def run(backend: str, main: Callable[..., Awaitable[None]], *arguments: Any, jumping: bool = False) -> None:
    """Run it to its end; `jumping`: on a clock that jumps to whatever is due next once nothing else happens."""
    options: dict[str, Any] = {}
    if jumping and backend == "trio":
        options = {"clock": trio.testing.MockClock(autojump_threshold=QUIET_SECONDS)}
    elif jumping:
        options = {"loop_factory": JumpingLoop}

    async def limited() -> None:
        with anyio.fail_after(LONG if jumping else LIMIT):
            await main(*arguments)

    anyio.run(limited, backend=backend, backend_options=options)


class JumpingLoop(asyncio.SelectorEventLoop):
    """What trio's MockClock is, for asyncio."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return super().time() + self._ahead

    def jump(self, seconds: float) -> None:
        self._ahead += seconds


class _JumpingSelector(selectors.EpollSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= QUIET_SECONDS:
            return super().select(timeout)
        events = super().select(QUIET_SECONDS)
        if not events:
            self._loop.jump(timeout - QUIET_SECONDS)
        return events


async def take(peer: Peer, count: int) -> list[Received]:
    return [await anext(peer) for _ in range(count)]


async def until_lost(peer: Peer) -> Disconnected:
    """Ask until the loss of the connection is noticed; what is then raised."""
    while True:
        try:
            with contextlib.suppress(TimeoutError):
                await peer.offer("bob", "v=0", within=0.02)
        except Disconnected as fault:
            return fault
