"""Answers to /metrics, /healthz and /readyz. No HTTP."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import trio

from sigd.metrics.exposition import CONTENT_TYPE
from sigd.net.reactor import Reactor

HEALTH_SECONDS: Final = 2.0
"""Timeout for a sign of life from the reactor: a round takes milliseconds, and health checks wait longer."""

_TEXT: Final = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """A status (RFC 9110, section 15) with its content."""

    status: int
    body: bytes
    content_type: str = _TEXT


class Answers:
    """Answers of a running daemon.

    Args:
        reactor: its reactor.
        figures: function that makes the text of /metrics.
        is_ready: whether it accepts clients, a stop aside.
    """

    def __init__(self, reactor: Reactor, figures: Callable[[], Awaitable[bytes]], is_ready: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._figures = figures
        self._is_ready = is_ready

    async def to(self, method: bytes, target: bytes) -> Answer:
        """Answer a request."""
        path = target.partition(b"?")[0]
        if path not in {b"/metrics", b"/healthz", b"/readyz"}:
            return Answer(404, b"there are /metrics, /healthz and /readyz\n")
        if method not in {b"GET", b"HEAD"}:
            return Answer(405, b"only GET and HEAD\n")
        if path == b"/healthz":
            return await self._health()
        return Answer(200, await self._figures(), CONTENT_TYPE) if path == b"/metrics" else self._readiness()

    async def _health(self) -> Answer:
        with trio.move_on_after(HEALTH_SECONDS):
            await self._reactor.turn()
            return Answer(200, b"alive\n")
        return Answer(503, b"the reactor makes no rounds\n")

    def _readiness(self) -> Answer:
        if self._reactor.stopping:
            return Answer(503, b"stopping\n")
        return Answer(200, b"ready\n") if self._is_ready() else Answer(503, b"starting\n")
