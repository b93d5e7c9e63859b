"""Graceful stop: tell every client to come back later, and wait until all links have ended."""

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.relay.endings import STOPPING
from sigd.relay.router import GOING_AWAY_SPREAD_MS
from sigd.wire import said

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sigd.net.reactor import Reactor
    from sigd.net.rounds import Rounds, ServedLink

STOP_SECONDS: Final = 1.8
"""Maximum time of a stop beside `drain_ms`: of the 2 s that are promised the process needs some to end."""

FAREWELLS_AT_ONCE: Final = 32
"""Links that are told to go before others have their turn: 2 ms of work."""

DRAIN_TURN_SECONDS: Final = 0.1
"""How often some links are told to go while a stop is spread over `drain_ms`: no crowd comes back in one moment."""


async def stop(reactor: "Reactor") -> None:
    """Take no client in any more, tell all to come back later, and wait until their links have ended.

    This takes `drain_ms`, over which the ends are spread, and STOP_SECONDS at most. Links that are left then are cut.
    """
    reactor.stopping = True
    reactor.entrance.close()
    drain_seconds = reactor.router.limits.drain_ms / 1000
    with trio.move_on_after(drain_seconds + STOP_SECONDS):
        await _send_all_away(reactor, drain_seconds)
        await reactor.ended()
        if reactor.sessions is not None:
            await reactor.sessions.stop()
        return
    reactor.cut = True
    log.warning("stopped with links left", links=len(reactor))


async def _send_all_away(reactor: "Reactor", drain_seconds: float) -> None:
    """Tell every link to go, in no order, and begin to close it, over so many seconds."""
    links = reactor.all_links()
    random.shuffle(links)
    turns = max(1, math.ceil(drain_seconds / DRAIN_TURN_SECONDS))
    for turn in range(turns):
        if turn and len(reactor):
            await trio.sleep(DRAIN_TURN_SECONDS)
        those = links[turn::turns]
        for start in range(0, len(those), FAREWELLS_AT_ONCE):
            reactor.intervene(partial(_send_away, reactor, those[start : start + FAREWELLS_AT_ONCE]))
            await trio.lowlevel.checkpoint()


def _send_away(reactor: "Reactor", links: "Sequence[ServedLink]", now: float) -> None:
    spread_ms = max(GOING_AWAY_SPREAD_MS, reactor.router.limits.drain_ms)
    for link in links:
        if link.closing:
            if not link.over:
                link.ends_at = min(link.ends_at, now + reactor.linger_seconds)
                link.watch()
        else:
            say_goodbye(reactor, (link,), random.randrange(spread_ms), "the server stops", STOPPING)


def say_goodbye(
    rounds: "Rounds", links: "Iterable[ServedLink]", reconnect_after_ms: int, why: str, reason: str
) -> None:
    """Tell links to reconnect after a time, and close them for a reason; `why` is the same for people."""
    for link in links:
        try:
            if link.framing.name or link.id is not None:  # else it has said nothing: its framing is not known
                link.reply(said.GoingAway(reconnect_after_ms=reconnect_after_ms, reason=why))
            link.close(reason)
        except Exception as fault:
            rounds.fail(link, fault)
