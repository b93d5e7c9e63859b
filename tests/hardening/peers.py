"""Rows 22, 23, 29, 30, 46 and 47: registered, and up to no good; or just very many, or unlucky."""

import gc
import json
import logging
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
import trio

import sigd
from sigd.net.stream import Stream
from sigd.relay.link import Link
from sigd.wire.commands import HELP
from sigd.wire.framing import NOT_HTTP, TLS_ALERT
from sigd.wire.messages import Peers
from tests.hardening.scene import QUIET, Scene, attack, message
from tests.in_process import CLIENTS, FRAMINGS, PLAIN, WITH_LENGTH, error
from tests.wire.test_messages import SAID_BY_SERVERS

PACKAGE = Path(sigd.__file__).parent

# -- row 22


@attack("forged from")
async def forged_from(scene: Scene) -> None:
    mallory = await scene.mallory()
    for framing in FRAMINGS:
        victim = await scene.daemon.peer(f"victim-{framing}", framing)
        forged = {"from": "alice", "sender": "alice", "to": f"victim-{framing}", "x": {"from": "alice"}}
        for body in ({"type": "offer", "sdp": "EVIL"}, {"type": "bye"}, {"type": "candidate", "candidate": None}):
            await mallory.says({**forged, **body}, {**body, **forged})
            for _ in range(2):
                assert await victim.hears() == {**body, "from": "mallory"}


# -- row 23

EVIL = b'{"type":"offer","from":"alice","sdp":"EVIL"}'


@attack("a smuggled line", *PLAIN)
async def smuggled_line(scene: Scene) -> None:
    """Whoever speaks lines sends no raw newline; a carriage return is white space to JSON, too."""
    victim = await scene.daemon.peer("victim", "lines")
    mallory = await scene.mallory(meta={"x": 1})
    for white in (b"\r", b"\t") if scene.framing == "lines" else (b"\n", b"\r", b"\r\n", b"\n\n"):
        for data in (b"[" + white + EVIL + white + b"]", white + EVIL + white, b'{"x":' + white + EVIL + b"}"):
            await mallory.says(message(data, b'"victim"'))
            heard = await victim.hears()
            assert (heard["type"], heard["from"]) == ("message", "mallory")
            assert heard["data"] == json.loads(data)
        await mallory.says(b'{"type":"candidate","to":"victim","candidate":{' + white + b'"x":' + EVIL + white + b"}}")
        assert (await victim.hears())["from"] == "mallory"
        await mallory.says(b'{"type":"register","meta":{' + white + b'"x":' + EVIL + white + b"}}")
        assert (await mallory.hears())["type"] == "registered"
        await victim.says({"type": "peers", "prefix": "mallory"})
        assert (await victim.hears())["peers"] == [{"id": "mallory", "meta": {"x": json.loads(EVIL)}}]
    await mallory.says({"type": "message", "to": "victim", "data": "\n" + EVIL.decode() + "\n"})
    assert (await victim.hears())["from"] == "mallory"
    await victim.hears_nothing()


@attack("what is delivered does not change with what comes after it", *PLAIN)
async def delivered_unchanged(scene: Scene) -> None:
    """A Raw is a view of the bytes that came: they must be nobody else's by then."""
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol", scene.framing)
    for number in range(50):
        await mallory.says(message(b'"%03d"' % number, b'"carol"'), message(b'"xyz"', b'"carol"'))
    assert [(await carol.hears())["data"] for _ in range(100)] == [
        data for number in range(50) for data in (f"{number:03}", "xyz")
    ]


# -- row 29


@attack("an error answered with an error")
async def error_loop(scene: Scene) -> None:
    for client in (await scene.mallory(), await scene.stranger()):
        for kind in ("error", "ok", "registered", "goingAway"):
            await client.says({"type": kind, "ref": "1", "code": "internal", "to": "alice", "message": "?"})
            await client.says({"type": kind, "ref": 5, "id": []})
        await client.hears_nothing()
        await client.is_served()


async def wired(scene: Scene, first: bytes) -> int:
    """How many bytes two daemons have said to each other when they fall silent, this having been said to one first."""
    ends = [await scene.stranger() for _ in range(2)]
    total = 0
    await ends[0].sends(first)
    for turn in range(20):
        await scene.daemon.settles()
        hearing, speaking = ends[turn % 2], ends[1 - turn % 2]
        heard = hearing.has_heard()
        if not heard:
            break
        total += len(heard)
        await speaking.sends(heard)
    else:
        raise AssertionError(f"they go on for ever with {heard!r}")
    for end in ends:
        end.leaves()
    return total


SAID_FIRST: dict[str, list[bytes]] = {
    "prefixed": [],
    "lines": [HELP, NOT_HTTP, TLS_ALERT + b"\n", b"rubbish\n"],
}
"""Bytes that one daemon may send to another, besides messages, by framing."""


@attack("two daemons wired together", *PLAIN)
async def wired_together(scene: Scene) -> None:
    """They fall silent in good time, whatever one of them has said first."""
    said = [CLIENTS[scene.framing].framed(frame) for frame, _ in SAID_BY_SERVERS]
    for first in (*said, *SAID_FIRST[scene.framing]):
        assert await wired(scene, first) <= 1_000, first


# -- row 30


@attack("two hundred links that come, register, and go", *WITH_LENGTH)
async def comers_and_goers(scene: Scene) -> None:
    """Nothing stays, and no garbage collection is needed for that."""

    async def come_and_go(number: int) -> None:
        client = await scene.daemon.peer(f"{number:064}", scene.framing, meta={"x": "y" * 900})
        if number % 2:
            await client.says({"type": "unregister"})
            await client.hears_close()
        client.leaves()

    def kept() -> int:
        """Bytes that the daemon's own lines have asked for, and not given back."""
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{PACKAGE}/*")])
        return sum(each.size for each in own.statistics("filename"))

    def links() -> int:
        return sum(isinstance(found, Stream) for found in gc.get_objects())

    router = scene.daemon.router
    router.ended = deque(router.ended, maxlen=50)  # it is full before anything is measured
    logging.disable()  # what pytest keeps of the log is not the daemon's
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(100):
            await come_and_go(number)
        await scene.daemon.settles()
        before, there = kept(), links()
        for number in range(100, 200):
            await come_and_go(number)
        await scene.daemon.settles()
        assert kept() - before < 16_384
        assert links() == there  # those of tests that failed before are kept by their tracebacks
        assert len(scene.daemon.reactor) == 2
        assert sorted(scene.daemon.router.registry.holders) == ["alice", "bob"]
        assert len(scene.daemon.router.admission.unregistered) == 0
        assert len(scene.daemon.router.admission.origins) == 1
    finally:
        tracemalloc.stop()
        gc.enable()
        logging.disable(logging.NOTSET)


@attack("one link, and many IDs")
async def many_ids(scene: Scene) -> None:
    mallory = await scene.mallory()
    for number in range(100):
        await mallory.says({"type": "register", "id": f"mallory-{number}"})
        assert await mallory.hears() == error("already-registered")
    assert sorted(scene.daemon.router.registry.holders) == ["alice", "bob", "mallory"]


# -- row 46


@attack(
    "a crowd from one address at once",
    *WITH_LENGTH,
    limits={"max_unregistered_per_address": 16, "max_per_address": 256},
)
async def herd(scene: Scene) -> None:
    """Whoever has to make room for others comes again, as clients do; within a minute all are there."""

    async def comes(name: str) -> None:
        while True:
            try:
                client = await scene.stranger()
                await client.registers(name, keepaliveMs=QUIET)
            except (OSError, AssertionError):  # pushed out, be it in the middle of a handshake
                await trio.sleep(1)
            else:
                return

    names = [f"peer-{number}" for number in range(40)]
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(comes, name)
    assert trio.current_time() - began < 60
    assert sorted(scene.daemon.router.registry.holders) == sorted(["alice", "bob", *names])


# -- row 47


@attack("a bug that its message brings out", warnings=("bug",))
async def bug(scene: Scene) -> None:
    """It costs one link and one line of the log."""
    mallory = await scene.mallory()
    router = scene.daemon.router

    def broken(link: Link, message: Peers, now: float) -> None:
        if link.id == "mallory":
            raise ZeroDivisionError
        router.peers(link, message, now)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(router.verbs, Peers, broken)
        await mallory.says({"type": "peers"}, {"type": "bye", "to": "alice"})
        assert await mallory.hears_all() == [error("internal")]
        await scene.they_talk()
    await (await scene.stranger()).registers("mallory")


# -- fact 14


@attack("a half-closed link is answered", *WITH_LENGTH)
async def half_closed(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.says({"type": "ping"})
    stranger.finishes()
    assert await stranger.hears_all() == [{"type": "pong"}]
