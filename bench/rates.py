"""`python -m bench.rates FILE URL [KEY=VALUE...]`: sigd that says what its rates cost.

That is a hundredth of what a message costs, far less than two runs differ by, or two moments of one run. So every other
read is not charged, and each of the two ways is timed where it is called: the difference is what the check costs amid
all else that the daemon does. Every now and then it appends to FILE how many microseconds that is per message.

Rates of 0 in the configuration would not show it: where there is no limit the same is computed.
"""

import sys
import time
from pathlib import Path
from typing import IO

import trio

from sigd.config import load
from sigd.relay.link import Link
from sigd.relay.router import Router
from sigd.rules.made import Rules
from sigd.server.daemon import Server
from sigd.server.serving import serve

REPORT_SECONDS = 0.1
"""So that FILE tells of nearly the whole run when that ends."""

INTERRUPTED_NS = 20_000
"""A call of half a microsecond that took so long stood still meanwhile."""


class Tally:
    """Calls with rates (1) and without (0), and the nanoseconds that they took."""

    def __init__(self) -> None:
        self.calls = [0, 0]
        self.ns = [0, 0]

    def add(self, charged: int, ns: int) -> None:
        """Count one call, unless something came between."""
        if ns < INTERRUPTED_NS:
            self.calls[charged] += 1
            self.ns[charged] += ns

    def us_per_message(self, messages: int) -> float:
        """What the rates would have cost each message if every read had been charged."""
        without, with_rates = (ns / calls for ns, calls in zip(self.ns, self.calls, strict=True))
        return (with_rates - without) / 1000 * sum(self.calls) / messages


def _heard_without_rates(link: Link, count: int, size: int, now: float) -> float:
    """What `Link.heard` does, but for its rates."""
    pinged = link.pinged_at > link.last_seen
    link.last_seen = now
    if pinged:
        link.watch()
    return 0.0


def _charge_every_other_read(tally: Tally) -> None:
    heard = Link.heard
    clock = time.perf_counter_ns
    charged = False

    def timed(self: Link, count: int, size: int, now: float) -> float:
        nonlocal charged
        charged = not charged
        # Two calls, for the interpreter adapts each to what it calls.
        if charged:
            began = clock()
            wait = heard(self, count, size, now)
        else:
            began = clock()
            wait = _heard_without_rates(self, count, size, now)
        tally.add(charged, clock() - began)
        return wait

    Link.heard = timed  # type: ignore[method-assign]  # measured where it is called, amid all else


async def _report(tally: Tally, router: Router, file: IO[str]) -> None:
    while True:
        await trio.sleep(REPORT_SECONDS)
        if router.relayed and all(tally.calls):
            print(tally.us_per_message(router.relayed), file=file, flush=True)


async def _serve(file: IO[str], url: str, settings: list[str]) -> None:
    config = load(None, [url], settings)
    tally = Tally()
    _charge_every_other_read(tally)
    async with trio.open_nursery() as nursery:

        async def until_stopped(task_status: trio.TaskStatus[Server]) -> None:
            await serve(Rules(config), lambda: config, task_status=task_status)
            nursery.cancel_scope.cancel()

        server: Server = await nursery.start(until_stopped)
        nursery.start_soon(_report, tally, server.router, file)


def main(path: str, url: str, *settings: str) -> None:
    """Serve until SIGTERM."""
    with Path(path).open("w") as file:
        trio.run(_serve, file, url, list(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
