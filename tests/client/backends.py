"""Running a test's program under trio and under asyncio."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sigd.client import Disconnected, Peer, Received

LIMIT = 20.0
"""Seconds after which a test has failed; none comes near."""

BOTH_BACKENDS = pytest.mark.parametrize("backend", ["trio", "asyncio"])


class Brief(random.Random):
    """Pauses that are no burden on a test, and leave the other process its share of the CPU."""

    def uniform(self, a: float, b: float) -> float:
        return 0.01


def run(backend: str, main: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    async def limited() -> None:
        with anyio.fail_after(LIMIT):
            await main(*arguments)

    anyio.run(limited, backend=backend)


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
