"""How everybody who is connected is told to come back later, when the daemon stops."""

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from sigd.relay.endings import STOPPING
from sigd.relay.router import GOING_AWAY_SPREAD_MS
from sigd.wire import said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sigd.net.datagram_link import DatagramLink
    from sigd.net.reactor import Reactor
    from sigd.net.stream import Stream

FAREWELLS_AT_ONCE: Final = 32
"""Links that are told to go before others have their turn: 2 ms of work."""

DRAIN_TURN_SECONDS: Final = 0.1
"""How often some links are told to go while a stop is spread over `drain_ms`: no crowd comes back in one moment."""


async def send_all_away(reactor: "Reactor", drain_seconds: float) -> None:
    """Tell every link to go, and begin to close it; in no order, over so many seconds."""
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


def _send_away(reactor: "Reactor", links: "Sequence[Stream | DatagramLink]", now: float) -> None:
    for link in links:
        try:
            if not link.over:
                _say_goodbye(reactor, link, now)
        except Exception as fault:
            reactor.fail(link, fault)


def _say_goodbye(reactor: "Reactor", link: "Stream | DatagramLink", now: float) -> None:
    if link.closing:
        link.ends_at = min(link.ends_at, now + reactor.linger_seconds)
        link.watch()
        return
    if link.overhead or link.id is not None:  # else it has said nothing: nobody knows in which framing
        after = random.randrange(max(GOING_AWAY_SPREAD_MS, reactor.router.limits.drain_ms))
        link.reply(said.GoingAway(reconnect_after_ms=after, reason="the server stops"))
    link.close(STOPPING)
