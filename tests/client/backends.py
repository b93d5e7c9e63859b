"""Running a test's program under trio and under asyncio."""

import asyncio
import contextlib
import random
import selectors
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest

from sigd.client import Disconnected, Peer, Received
from tests.at_rest import ROUND_SECONDS, JumpingClock, Rest
from tests.daemon import HANG_SECONDS

LIMIT = HANG_SECONDS

BOTH_BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])


class Brief(random.Random):
    """Pauses that are no burden on a test, and leave the other process its share of the CPU."""

    def uniform(self, a: float, b: float) -> float:
        return 0.01


LONG = 1_000_000.0
"""Seconds on a clock that jumps: time for everything that has a time."""


def run(backend: str, main: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run it to its end on a clock that jumps to whatever is due next once nothing is under way."""
    if backend == "trio":
        jumping = JumpingClock()
        _run(backend, main, arguments, LONG, clock=jumping.clock, instruments=[jumping])
    else:
        _run(backend, main, arguments, LONG, loop_factory=JumpingLoop)


def run_in_real_time(backend: str, main: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run it to its end beside a daemon in a process of its own, which has the system's clock."""
    _run(backend, main, arguments, LIMIT)


def _run(
    backend: str,
    main: Callable[..., Awaitable[None]],
    arguments: Sequence[Any],
    limit: float,
    **options: Any,
) -> None:
    async def limited() -> None:
        with anyio.fail_after(limit):
            await main(*arguments)

    anyio.run(limited, backend=backend, backend_options=options)


class JumpingLoop(asyncio.SelectorEventLoop):
    """The counterpart of trio's JumpingClock for asyncio."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.EpollSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop
        self._rest = Rest()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            self._rest.disturb()
            return super().select(timeout)
        events = super().select(ROUND_SECONDS)
        if events:
            self._rest.disturb()
        elif self._rest.holds():
            self._rest.disturb()
            self._loop.jump(timeout)
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
