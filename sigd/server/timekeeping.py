"""Clock steps and suspensions: detects both, and judges credentials again after them."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.clock import LOOK_SECONDS
from sigd.relay.expiry import Renewals, follow_wall

if TYPE_CHECKING:
    from sigd.net.reactor import Reactor
    from sigd.relay.wall import Shift

LINKS_AT_ONCE: Final = 500
"""Number of links judged before other tasks run: half a millisecond of work."""

LINKS_PER_SECOND: Final = 20_000
"""Sustained number of links judged per second, at 1 us each: a daemon suspended again and again has more to do."""


def elapsed() -> float:
    """Return the seconds since boot, including time suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def watch_clocks(reactor: "Reactor") -> None:
    """Compare the clocks every `LOOK_SECONDS`, and judge all credentials again after a change; until cancelled.

    An idle daemon wakes up once a second for its own clock anyway.
    """
    wall, damper = reactor.router.wall, log.Damper()
    wall.look(trio.current_time(), elapsed())
    while True:
        await trio.sleep(LOOK_SECONDS)
        shift = wall.look(trio.current_time(), elapsed())
        if shift is not None:
            _say(shift, damper)
            links = await judge_again(reactor, shift.ahead)
            await trio.sleep(links / LINKS_PER_SECOND)


async def judge_again(reactor: "Reactor", ahead: float) -> int:
    """Judge the credentials of all links by the current wall clock; return the number of links.

    Args:
        reactor: the reactor of the links.
        ahead: increase of Unix time relative to the daemon's clock, in seconds.
    """
    links = list(reactor.router.registry.holders.values())
    renewals = Renewals(trio.current_time())
    for start in range(0, len(links), LINKS_AT_ONCE):
        some = links[start : start + LINKS_AT_ONCE]
        reactor.intervene(partial(follow_wall, some, ahead, renewals))
        await trio.lowlevel.checkpoint()
    return len(links)


def _say(shift: "Shift", damper: log.Damper) -> None:
    if shift.stepped:
        log.warning("clock set", seconds=f"{shift.stepped:+.1f}")
    count = damper.lets_through(trio.current_time()) if shift.slept else 0
    if count:
        log.warning("slept", seconds=f"{shift.slept:.1f}", count=count)
