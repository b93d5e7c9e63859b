"""The wall clock against the daemon's: noticed when one was set or the other stood still, and what follows from it."""

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
"""Links that are judged before others have their turn: half a millisecond of work."""

LINKS_PER_SECOND: Final = 20_000
"""Links that are judged in the long run, at 1 us each: a daemon that is stopped again and again has more to do."""


def elapsed() -> float:
    """Return the seconds since the machine was started, those included for which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def watch_clocks(reactor: "Reactor") -> None:
    """Compare the clocks every `LOOK_SECONDS`, and judge all credentials again when they have moved; until cancelled.

    An idle daemon wakes up for that once a second, which it does for its own clock anyway.
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
    """Judge the credentials of all links by the wall clock as it is now; return how many links there are.

    Args:
        reactor: whose links.
        ahead: seconds that Unix time is further ahead of the daemon's clock than before.
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
