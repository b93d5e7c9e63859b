"""Rows 24 to 27: too much, or too little taken, and what that costs others."""

import logging
import tracemalloc
from collections import Counter
from typing import Any

import pytest
import trio

from sigd.config import Limits
from sigd.net.reactor import Reactor
from sigd.net.rounds import MESSAGES_PER_ROUND
from sigd.relay.link import Link
from sigd.relay.router import Router
from sigd.wire.errors import ErrorCode
from sigd.wire.messages import ClientMessage
from tests.hardening.scene import QUIET, Scene, attack, message
from tests.in_process import WITH_LENGTH, Client, error

DEFAULTS = Limits()

RATES = {
    key: getattr(DEFAULTS, key)
    for key in ("messages_per_second", "messages_burst", "bytes_per_second", "bytes_burst", "misses_per_minute")
}
"""What a link may send, as it is where nobody has configured anything."""

# -- row 24


@attack("a peer that never reads what is sent to it", *WITH_LENGTH)
async def slow_reader(scene: Scene) -> None:
    """What waits for it is bounded, whoever sends how much; it goes once it has taken nothing for 10 s."""
    limits = scene.daemon.router.limits
    await scene.slow_reader("frozen")
    senders = [await scene.daemon.peer(f"mallory-{number}", keepaliveMs=QUIET) for number in range(8)]
    data = {"type": "message", "to": "frozen", "data": "x" * 16_000, "ref": "1"}
    logging.disable()  # what pytest keeps of the log is not the daemon's
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answers: Counter[str] = Counter()
        for _ in range(100):
            for sender in senders:
                await sender.says(data)
                answer = await sender.hears()
                answers[answer.get("code", "ok")] += 1
                assert scene.daemon.link("frozen").queued <= limits.outbox_bytes
        assert set(answers) == {"ok", "peer-busy"}
        assert answers["ok"] * 16_000 < 1_000_000
        await scene.they_talk()
        record = scene.daemon.router.record
        assert tracemalloc.get_traced_memory()[0] - before < limits.outbox_bytes + record.charge + 262_144
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    began = trio.current_time()
    for sender in senders:
        assert await sender.hears() == error("peer-unavailable", to="frozen")
    assert trio.current_time() - began <= 10.5
    assert scene.daemon.router.closed.total() == 0, "it may still read what was said to it last"
    assert scene.daemon.router.errors[ErrorCode.SLOW_CONSUMER] == 1
    await scene.daemon.until(lambda: scene.daemon.router.buffers.of_links < limits.outbox_bytes_own)
    assert scene.daemon.router.buffers.of_links < limits.outbox_bytes_own


@attack("a peer that asks, and never reads the answers", limits=RATES)
async def deaf_asker(scene: Scene) -> None:
    mallory = await scene.slow_reader("mallory")
    asked = mallory.framed(b'{"type":"peers","ref":"' + b"x" * 64 + b'"}') * 1_000
    with trio.move_on_after(3):
        while True:
            await mallory.sends(asked)
    link = scene.daemon.link("mallory")
    assert link.queued <= scene.daemon.router.limits.outbox_bytes_own + 65_536
    await scene.they_talk()


# -- row 25


async def reads_slowly(client: Client, kilobytes: int, heard: list[Any]) -> None:
    """Hear so many messages in each second, up to the end, and answer pings."""
    while True:
        await trio.sleep(0.5)
        for _ in range(kilobytes // 2):
            heard.append(await client.hears())
            if heard[-1]["type"] == "ping":
                await client.says({"type": "pong"})


async def reads_at_once(client: Client, heard: Counter[str]) -> None:
    """Count what comes by its kind, or code."""
    while True:
        answer = await client.hears()
        heard[answer.get("code", answer["type"])] += 1


async def floods(client: Client, message: dict[str, Any], count: int) -> None:
    """Say something many times, as fast as it is taken."""
    for _ in range(count // 50):
        await client.says(*[message] * 50)


KILOBYTE = {"type": "message", "to": "victim", "data": "x" * 1_000}


@attack("a flood to have its victim thrown out", limits=RATES)
async def flood_of_a_slow_victim(scene: Scene) -> None:
    """The victim reads 10 kB/s. Who floods is told so; what others send arrives, all of it and in order."""
    victim = await scene.slow_reader("victim")
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol", keepaliveMs=QUIET)
    heard: list[Any] = []
    told: Counter[str] = Counter()

    def of_carol() -> list[int]:
        return [each["data"] for each in heard if each.get("from") == "carol"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads_slowly, victim, 10, heard)
        nursery.start_soon(reads_at_once, mallory, told)
        nursery.start_soon(floods, mallory, KILOBYTE, 10_000)
        for number in range(60):
            await carol.says({"type": "message", "to": "victim", "data": number, "ref": "1"})
            assert await carol.hears() == {"type": "ok", "ref": "1"}
            await trio.sleep(1)
        with trio.fail_after(60):
            while len(of_carol()) < 60:  # noqa: ASYNC110 - it is the clock that has to go on
                await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert told["peer-busy"] > 1_000
    assert told["rate-limited"] >= 1
    assert of_carol() == list(range(60))
    assert {each["type"] for each in heard} <= {"message", "ping"}


@attack("a flood of somebody who has asked to be pinged every five seconds", limits=RATES)
async def flood_before_a_ping(scene: Scene) -> None:
    victim = await scene.slow_reader("victim", keepaliveMs=5_000)
    mallory = await scene.mallory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads_slowly, victim, 10, [])
        nursery.start_soon(reads_at_once, mallory, Counter[str]())
        nursery.start_soon(floods, mallory, KILOBYTE, 100_000)
        await trio.sleep(40)
        assert scene.daemon.router.registry.find("victim") is not None, scene.daemon.router.errors
        nursery.cancel_scope.cancel()


# -- row 26


def rounds_noted(monkeypatch: pytest.MonkeyPatch) -> list[Counter[str | None]]:
    """How many messages of whom each round of the reactor acts on, from now on."""
    rounds: list[Counter[str | None]] = []
    act, one_round = Router.act, Reactor._round

    def noted_act(self: Router, link: Link, message: ClientMessage, now: float) -> None:
        rounds[-1][link.id] += 1
        act(self, link, message, now)

    def noted_round(self: Reactor, events: list[tuple[int, int]]) -> None:
        rounds.append(Counter())
        one_round(self, events)

    monkeypatch.setattr(Router, "act", noted_act)
    monkeypatch.setattr(Reactor, "_round", noted_round)
    return rounds


@attack("a flood of the smallest messages")
async def small_flood(scene: Scene) -> None:
    """Without any rates everybody has a turn in each round all the same."""
    mallory = await scene.mallory()
    flood = mallory.framed(b'{"type":"pong"}') * 4_000

    async def floods() -> None:
        for _ in range(8):
            await mallory.sends(flood)

    with pytest.MonkeyPatch.context() as monkeypatch:
        rounds = rounds_noted(monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(floods)
            for _ in range(20):
                await scene.they_talk()
            assert max(of["mallory"] for of in rounds) == MESSAGES_PER_ROUND
            assert any(of["mallory"] and of["alice"] for of in rounds)
            nursery.cancel_scope.cancel()


@attack("a flood of what is costly to refuse")
async def costly_flood(scene: Scene) -> None:
    mallory = await scene.mallory()
    costly = [message(b"[" * 17 + b"]" * 17), b'{"type":"zzz"}', b"x" * 60]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mallory.says, *costly * 300)
        for _ in range(5):
            await scene.they_talk()
        for _ in range(900):
            assert (await mallory.hears())["type"] == "error"


@attack("a flood above its rates", limits=RATES)
async def limited_flood(scene: Scene) -> None:
    """It waits: nothing of it is lost, and it is told every ten seconds at most."""
    mallory = await scene.mallory()
    count = 3_000
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(floods, mallory, {"type": "ping"}, count)
        heard: list[Any] = []
        while sum(each == {"type": "pong"} for each in heard) < count:
            heard.append(await mallory.hears())
            if len(heard) % 500 == 0:
                await scene.they_talk()
    took = trio.current_time() - began
    expected = (count - DEFAULTS.messages_burst) / DEFAULTS.messages_per_second
    assert expected - 1 <= took <= expected + 5
    notices = [each for each in heard if each["type"] == "error"]
    assert 1 <= len(notices) <= took / 10 + 1
    for each in notices:
        assert each.pop("retryAfterMs") > 0
        assert each == error("rate-limited")
    await mallory.is_served()
    await trio.sleep(1)  # it has paid for that too, and is read again


@attack("a camera that answers thirty viewers at once", limits=RATES)
async def camera(scene: Scene) -> None:
    """No attack: 480 messages in a moment, and none of them is lost, or waits."""
    camera = await scene.mallory("camera")
    viewers = [await scene.daemon.peer(f"viewer-{number}", scene.framing) for number in range(30)]
    began = trio.current_time()
    answer: dict[str, object] = {"type": "answer", "sdp": "v=0\r\n" + "a=x\r\n" * 800}
    candidate: dict[str, object] = {
        "type": "candidate",
        "candidate": {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 9 " + "x" * 150},
    }
    expected = [answer, *({**candidate, "session": f"{number}"} for number in range(15))]
    for number, viewer in enumerate(viewers):
        await viewer.says({"type": "offer", "to": "camera", "sdp": "v=0\r\n"})
        assert (await camera.hears())["from"] == f"viewer-{number}"
    await camera.says(*({**each, "to": f"viewer-{number}"} for each in expected for number in range(30)))
    for viewer in viewers:
        assert [await viewer.hears() for _ in expected] == [{**each, "from": "camera"} for each in expected]
    assert trio.current_time() == began
    await camera.is_served()


# -- row 27


@attack("a peer that never reads delays nobody else")
async def frozen_peer(scene: Scene) -> None:
    await scene.slow_reader("frozen")
    mallory = await scene.mallory()
    answers = set()
    for _ in range(60):
        await mallory.says({"type": "message", "to": "frozen", "data": "x" * 8_000, "ref": "1"})
        answers.add((await mallory.hears()).get("code"))
        await scene.they_talk()
    assert answers == {None, "peer-busy"}
