"""What the reactor says of its own pace: that it goes on, and how long others hold it up."""

import time

import trio
from trio.testing import wait_all_tasks_blocked

from sigd.config import Config
from sigd.net.reactor import Reactor
from sigd.relay.router import Router
from sigd.rules.made import Rules
from tests.in_process import Daemon

HELD_UP_SECONDS = 0.003
"""How long a task computes without letting others go on: as a few handshakes do."""


async def test_who_asks_before_the_first_round_is_answered(jumping_clock: None) -> None:
    rules = Rules(Config())
    reactor = Reactor(Router(rules.config.limits, rules.access, rules.vendor, time.time), 10)
    done: list[str] = []

    async def asks(name: str) -> None:
        await reactor.turn()
        done.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("one", "another"):
            nursery.start_soon(asks, name)
        await wait_all_tasks_blocked()
        assert done == []
        nursery.start_soon(reactor.run)
        await wait_all_tasks_blocked()
        assert sorted(done) == ["another", "one"]
        nursery.cancel_scope.cancel()


async def test_an_idle_one_has_its_turn_at_once(daemon: Daemon) -> None:
    await daemon.settles()
    began = trio.current_time()
    for _ in range(10):
        await daemon.reactor.turn()
    assert trio.current_time() == began


async def test_how_long_others_hold_it_up(daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    lags = daemon.reactor.turn_seconds

    async def computes() -> None:
        while True:
            began = time.perf_counter()
            while time.perf_counter() < began + HELD_UP_SECONDS:
                pass
            await trio.lowlevel.checkpoint()

    for _ in range(20):
        before = len(lags)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(computes)
            await alice.says(*[{"type": "ping", "ref": "x"}] * 500)
            for _ in range(500):
                await alice.hears()
            nursery.cancel_scope.cancel()
        if len(lags) > before:
            break
    assert len(lags) > before
    assert lags.quantile(1) > HELD_UP_SECONDS / 2
