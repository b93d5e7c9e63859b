"""The threat model as tests: each row of its table (and each measured fact behind it) is one hostile input.

The rows are those of section (c) in hardening.md, the facts those of its section 0. Beside each attack two peers who
behave go on talking, and hear nothing but each other. Rows that need a process of their own are in test_server.py.
"""

import gc
import json
import logging
import re
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from sigd.net.reactor import Reactor
from sigd.net.stream import MESSAGES_PER_ROUND, Stream
from sigd.relay.link import Link
from sigd.relay.router import Router
from sigd.wire.commands import HELP
from sigd.wire.framing import NOT_HTTP, TLS_ALERT
from sigd.wire.messages import ClientMessage
from tests.in_process import CLIENTS, FRAMINGS, Client, Daemon, error, within
from tests.wire.test_messages import SAID_BY_SERVERS

pytestmark = pytest.mark.slow  # a hundred attacks, each beside a pair that talks: more than a few seconds in all


class Scene:
    """A daemon, two peers who talk, and what the attacker speaks."""

    def __init__(self, daemon: Daemon, framing: str, alice: Client, bob: Client) -> None:
        self.daemon = daemon
        self.framing = framing
        self.alice = alice
        self.bob = bob
        self._said = 0

    async def they_talk(self) -> None:
        """Each says something, and hears that and nothing else."""
        self._said += 1
        await self.alice.says({"type": "message", "to": "bob", "data": self._said, "ref": "a"})
        assert await self.bob.hears() == {"type": "message", "from": "alice", "data": self._said}
        await self.bob.says({"type": "offer", "to": "alice", "sdp": f"{self._said}"})
        assert await self.alice.hears() == {"type": "ok", "ref": "a"}
        assert await self.alice.hears() == {"type": "offer", "from": "bob", "sdp": f"{self._said}"}

    async def stranger(self) -> Client:
        """A client that is not registered."""
        return await self.daemon.connect(self.framing)

    async def mallory(self, **members: object) -> Client:
        """A peer that is."""
        client = await self.stranger()
        await client.registers("mallory", keepaliveMs=300_000, **members)
        return client


@asynccontextmanager
async def scene(daemon: Daemon, framing: str) -> AsyncIterator[Scene]:
    """Two peers who talk, before and after what is done here."""
    alice = await daemon.peer("alice", "prefixed", keepaliveMs=300_000)
    bob = await daemon.peer("bob", "lines")
    beside = Scene(daemon, framing, alice, bob)
    await beside.they_talk()
    yield beside
    await beside.they_talk()
    await alice.hears_nothing()
    assert bob.has_heard() == b""


Attack = Callable[[Scene], Awaitable[None]]

ATTACKS: list[Any] = []


def attack(name: str, *framings: str) -> Callable[[Attack], Attack]:
    """Add an attack to the table, in all framings unless some are named."""

    def add(function: Attack) -> Attack:
        spoken = framings or FRAMINGS
        ATTACKS.extend(pytest.param(function, framing, id=f"{name}[{framing}]") for framing in spoken)
        return function

    return add


def says(name: str, *messages: bytes, hears: list[Any], framings: tuple[str, ...] = FRAMINGS) -> None:
    """Add attacks that are messages of a registered peer: each gets this answer, and the link goes on."""

    async def function(scene: Scene) -> None:
        mallory = await scene.mallory()
        for message in messages:
            await mallory.says(message)
            assert [await mallory.hears() for _ in hears] == hears, message[:200]
            await mallory.is_served()

    attack(name, *framings)(function)


BAD = error("bad-message")


def message(data: bytes, to: bytes = b'"alice"') -> bytes:
    """A message to alice with this JSON in it."""
    return b'{"type":"message","to":' + to + b',"data":' + data + b"}"


# -- rows 1 to 4: before there is a message


@attack("row-1 huge length prefix", "prefixed")
async def _(scene: Scene) -> None:
    for prefix in ("00ffffff", "00010001", "00001001"):
        stranger = await scene.stranger()
        await stranger.sends(bytes.fromhex(prefix))
        assert await stranger.hears_all() == [error("bad-frame")]
    for prefix in ("7fffffff", "ffffffff", "00ffffff", "00010001"):
        mallory = await scene.mallory()
        await mallory.sends(bytes.fromhex(prefix))
        assert await mallory.hears_all() == [error("bad-frame")]


@attack("row-1 nothing is set aside for a frame that was only announced", "prefixed")
async def _(scene: Scene) -> None:
    peers = [await scene.daemon.peer(f"mallory-{number}", keepaliveMs=300_000) for number in range(20)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for peer in peers:
            await peer.sends(bytes.fromhex("00010000"))
        await scene.daemon.settles()
        assert tracemalloc.get_traced_memory()[0] - before < 65_536
    finally:
        tracemalloc.stop()


@attack("row-1 7f ff ff ff as the first bytes is a line that never ends", "lines")
async def _(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.sends(bytes.fromhex("7fffffff"))
    assert await stranger.hears_all() == [error("register-timeout")]


@attack("row-2 zero length a hundred thousand times", "prefixed")
async def _(scene: Scene) -> None:
    for client in (await scene.stranger(), await scene.mallory()):
        await client.sends(bytes(400_000))
        assert await client.hears_all() == [error("bad-frame")]


says("row-2 frames of one byte", b"x", b"{", b"\xff", hears=[BAD], framings=("prefixed",))


@attack("row-3 HTTP, with a message in its body", "lines")
async def _(scene: Scene) -> None:
    body = b'{"type":"register","id":"mallory"}\n{"type":"bye","to":"alice"}\n'
    for method in (b"GET", b"POST", b"OPTIONS"):
        stranger = await scene.stranger()
        await stranger.sends(method + b" / HTTP/1.1\r\nHost: localhost:7337\r\n\r\n" + body)
        assert await stranger.hears_bytes() == NOT_HTTP


@attack("row-3 TLS where none is spoken")
async def _(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.sends(bytes.fromhex("160301020001") + bytes(512))
    assert await stranger.hears_bytes() == TLS_ALERT
    mallory = await scene.mallory()
    await mallory.sends(bytes.fromhex("160301020001000000") + b"\n")
    expected = error("bad-frame") if scene.framing == "prefixed" else error("unknown-type")
    assert await mallory.hears() == expected


@attack("row-3 other protocols that begin with a line", "lines")
async def _(scene: Scene) -> None:
    for line in (b"SSH-2.0-OpenSSH_9.2", b"EHLO mail.example.org", b"*1\r\n$4\r\nPING", b"\x05\x01\x00", b"CONNECT {}"):
        stranger = await scene.stranger()
        await stranger.sends(line + b"\r\n")
        for _ in range(line.count(b"\n") + 1):
            assert await stranger.hears() == error("unknown-type")
        await stranger.is_served()


@attack("row-4 slowloris")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory()
    seconds = 10 if scene.framing == "prefixed" else 60
    frame = mallory.framed(b'{"type":"ping","x":"' + b"x" * 100)
    began = trio.current_time()
    for place in range(10):
        await mallory.sends(frame[place : place + 1])
        await trio.sleep(seconds / 10)
        if place % 4 == 0:
            await scene.they_talk()
    assert await mallory.hears_all() == [error("bad-frame")]
    assert within(trio.current_time() - began, seconds)


@attack("row-4 slowloris before register")
async def _(scene: Scene) -> None:
    stranger = await scene.stranger()
    seconds = 10 if scene.framing == "prefixed" else 60
    frame = stranger.framed(b'{"type":"register","x":"' + b"x" * 100)
    began = trio.current_time()
    for place in range(10):
        await stranger.sends(frame[place : place + 1])
        await trio.sleep(seconds / 10)
    assert await stranger.hears_all() == [error("register-timeout")]
    assert within(trio.current_time() - began, seconds)


# -- rows 9 to 15, facts 1 to 8: a message that is none, or is meant to be read as something else

OPEN, OBJECTS = b"[" * 30_000, b'{"":' * 10_000

says("row-9 fact-1 fact-2 a bomb of arrays", OPEN, OPEN * 2, hears=[BAD], framings=("prefixed",))
says("row-9 fact-1 a bomb of arrays that is a command", OPEN, hears=[error("unknown-type")], framings=("lines",))
says(
    "row-9 fact-2 a bomb in what is relayed",
    message(OPEN),
    message(OPEN + b"]" * 30_000),
    message(OBJECTS + b"1" + b"}" * 10_000),
    message(b"[" * 17 + b"]" * 17),
    message(b'{"a":' * 16 + b"[]" + b"}" * 16),
    b'{"type":"candidate","to":"alice","candidate":{"x":' + b"[" * 16 + b"]" * 16 + b"}}",
    b'{"type":"register","meta":' + OBJECTS + b"1" + b"}" * 10_000 + b"}",
    hears=[BAD],
)
says("row-9 fact-2 a bomb in a member that nobody knows", b'{"type":"ping","x":' + OPEN + b"}", hears=[BAD])
says("row-9 fact-2 a bomb in place of a type", b'{"type":' + OPEN, b'{"type":' * 5_000, hears=[BAD])


@attack("row-9 sixteen deep is not too deep")
async def _(scene: Scene) -> None:
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol")
    data = b"[" * 16 + b"]" * 16
    await mallory.says(message(data, b'"carol"'))
    assert await carol.hears_frame() == b'{"type":"message","from":"mallory","data":' + data + b"}"


INVALID = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xfe\xff")

says("row-10 fact-1 fact-3 bad UTF-8 in what is relayed", *(message(b'"' + bad + b'"') for bad in INVALID), hears=[BAD])
says(
    "row-10 fact-3 bad UTF-8 elsewhere",
    *(b'{"type":"ping","' + bad + b'":1}' for bad in INVALID),
    *(b'{"type":"candidate","to":"alice","candidate":{"candidate":"' + bad + b'"}}' for bad in INVALID),
    *(b'{"type":"offer","to":"alice","sdp":"' + bad + b'"}' for bad in INVALID),
    *(b'{"type":"' + bad + b'"}' for bad in INVALID),
    hears=[BAD],
)
says(
    "row-10 fact-8 lone surrogates",
    message(rb'"\ud800"'),
    message(rb'"\udfff"'),
    message(rb'"\ud800\u0041"'),
    rb'{"type":"offer","to":"alice","sdp":"\ud800"}',
    hears=[BAD],
)
says("row-10 fact-1 a line that is not UTF-8", b"\xff", b"send alice \xff", hears=[BAD], framings=("lines",))


@attack("row-11 fact-6 duplicate keys")
async def _(scene: Scene) -> None:
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol")
    for sent in (
        b'{"type":"message","to":"alice","to":"carol","data":1,"data":2}',
        b'{"data":1,"to":"alice","t\\u006f":"carol","dat\\u0061":2,"type":"message"}',
        b'{"type":"message","to":"carol","data":2,"from":"alice","from":"bob","sender":"bob"}',
    ):
        await mallory.says(sent)
        assert await carol.hears_frame() == b'{"type":"message","from":"mallory","data":2}'
        await carol.hears_nothing()
    await mallory.says(b'{"type":"message","type":"bye","to":"carol","data":2}')
    assert await mallory.hears() == BAD
    await carol.hears_nothing()


LONG = b"Z" * 60_000

says("row-12 fact-7 a type of 60 kB", b'{"type":"' + LONG + b'"}', hears=[error("unknown-type")])
says("row-12 fact-7 a command of 60 kB", LONG, hears=[error("unknown-type")], framings=("lines",))
says("row-12 fact-7 a member of 60 kB", b'{"type":"ping","' + LONG + b'":1}', hears=[{"type": "pong"}])
says(
    "row-12 fact-7 long names and values where they are wrong",
    b'{"type":"offer","to":"alice","sdp":{"' + LONG + b'":1}}',
    b'{"type":["' + LONG + b'"]}',
    message(b"1", b'"' + LONG + b'"'),
    b'{"type":"register","id":"' + LONG + b'"}',
    b'{"type":"ping","ref":"' + LONG + b'"}',
    b'{"type":"offer","to":"alice","sdp":"","session":"' + LONG + b'"}',
    b'{"type":"bye","to":"alice","reason":"' + LONG + b'"}',
    hears=[BAD],
)


@attack("row-12 fact-7 answers and log lines stay short, and echo nothing")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory()
    for sent in (
        b'{"type":"%s"}' % LONG,
        b'{"type":"offer","to":"\x1b[31m%s"}' % LONG,
        message(b"1", b'"' + LONG + b'"'),
        b'{"type":"offer","to":"alice","sdp":["%s"]}' % LONG,
    ):
        await mallory.says(sent)
        answer = await mallory.hears_frame()
        assert len(answer) <= 256
        assert b"ZZZ" not in answer


IDS = (r"a\n2026 INFO ok", r"alice\n", r"\u001b[2J", r"a\u0000", "\u202ealice", "a b", "a=b", 'a\\"', "é", "")

says(
    "row-13 fact-5 IDs that would forge a line of the log",
    *(f'{{"type":"register","id":"{bad}"}}'.encode() for bad in IDS),
    *(f'{{"type":"bye","to":"{bad}"}}'.encode() for bad in IDS),
    hears=[BAD],
)


@attack("row-13 the end of a link is one line of the log, whatever was said")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory(meta={"x": "\n2026 INFO ok"})
    await mallory.says(b'{"type":"bye","to":"x","reason":"\\n2026 INFO ok","ref":"2026 INFO ok"}')
    assert await mallory.hears() == error("peer-unavailable", to="x", ref="2026 INFO ok")
    mallory.leaves()
    await scene.daemon.settles()


@attack("row-14 fact-8 nothing that steers a terminal reaches a peer that reads lines")
async def _(scene: Scene) -> None:
    mallory, carol = await scene.mallory(meta={"x": "\x9b31m"}), await scene.daemon.peer("carol", "lines")
    steering = "\x1b]0;x\x07 \x7f \x9b31m \x85 \u2028 \u2029 \u202e \u2066 \u200f \u061c"
    messages: list[dict[str, Any]] = [
        {"type": "offer", "to": "carol", "sdp": steering},
        {"type": "message", "to": "carol", "data": {steering: [steering]}},
        {"type": "candidate", "to": "carol", "candidate": {"candidate": steering}},
        {"type": "bye", "to": "carol", "reason": steering},
    ]
    for sent in messages:
        await mallory.says(json.dumps(sent, ensure_ascii=False).encode())
        line = await carol.hears_frame()
        assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", line.decode())
        del sent["to"]
        assert json.loads(line) == {**sent, "from": "mallory"}
    await carol.says({"type": "peers", "prefix": "mallory"})
    assert b"\\u009b31m" in await carol.hears_frame()


says(
    "row-15 fact-8 NUL, at which a peer written in C would stop reading",
    message(b"1", rb'"bob\u0000x"'),
    rb'{"type":"register","id":"mallory\u0000"}',
    rb'{"type":"offer","to":"alice","sdp":"v=0\u0000"}',
    rb'{"type":"answer","to":"alice","sdp":"\u0000"}',
    rb'{"type":"offer","to":"alice","sdp":"","session":"a\u0000"}',
    rb'{"type":"bye","to":"alice","reason":"\u0000"}',
    rb'{"type":"ping","ref":"\u0000"}',
    rb'{"type":"peers","prefix":"\u0000"}',
    b'{"type":"offer","to":"alice","sdp":"\0"}',
    b"{\0}",
    hears=[BAD],
)
says("row-15 NUL in a command", rb"offer alice \u0000", rb"bye alice \u0000", hears=[BAD], framings=("lines",))


@attack("fact-8 numbers that are none, and numbers that some parsers cannot hold")
async def _(scene: Scene) -> None:
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol")
    for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b".5", b"+1", b"0x10", b"1.", b"-", b"1e", b"1_0"):
        await mallory.says(message(number, b'"carol"'))
        assert await mallory.hears() == BAD
    for number in (b"9" * 5_000, b"1e999", b"-0", b"1.0", b"123456789012345678901234567890"):
        await mallory.says(message(number, b'"carol"'))
        assert await carol.hears_frame() == b'{"type":"message","from":"mallory","data":' + number + b"}"
    await carol.hears_nothing()


says(
    "fact-8 numbers where a small one is asked for",
    *(b'{"type":"register","keepaliveMs":' + bad + b"}" for bad in (b"9" * 5_000, b"1e400", b"1.5", b"true", b"-1")),
    *(b'{"type":"register","maxFrame":' + bad + b"}" for bad in (b"-" + b"9" * 5_000, b"0", b"1023", b"null ,")),
    *(b'{"type":"register","protocol":' + bad + b"}" for bad in (b"2", b"9" * 4_000, b"1e0000001", b'"1"')),
    hears=[BAD],
)
says(
    "fact-8 what only some parsers take for JSON",
    b'\xef\xbb\xbf{"type":"ping"}',
    b"{'type':'ping'}",
    b'{"type":"ping",}',
    b'{"type":"ping"}//',
    b'{"type":"ping"}{"type":"ping"}',
    b'{"type":"ping"} x',
    hears=[BAD],
    framings=("prefixed",),
)


# -- rows 22 to 30: registered, and up to no good


@attack("row-22 forged from")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory()
    for framing in FRAMINGS:
        victim = await scene.daemon.peer(f"victim-{framing}", framing)
        forged = {"from": "alice", "sender": "alice", "to": f"victim-{framing}", "x": {"from": "alice"}}
        for body in ({"type": "offer", "sdp": "EVIL"}, {"type": "bye"}, {"type": "candidate", "candidate": None}):
            await mallory.says({**forged, **body}, {**body, **forged})
            for _ in range(2):
                assert await victim.hears() == {**body, "from": "mallory"}


@attack("row-23 fact-4 a smuggled line")
async def _(scene: Scene) -> None:
    victim = await scene.daemon.peer("victim", "lines")
    mallory = await scene.daemon.peer("mallory", "prefixed", meta={"x": 1})
    evil = b'{"type":"offer","from":"alice","sdp":"EVIL"}'
    for white in (b"\n", b"\r", b"\r\n", b"\n\n"):
        for data in (b"[" + white + evil + white + b"]", white + evil + white, b'{"x":' + white + evil + b"}"):
            await mallory.says(message(data, b'"victim"'))
            heard = await victim.hears()
            assert (heard["type"], heard["from"]) == ("message", "mallory")
            assert heard["data"] == json.loads(data)
        await mallory.says(b'{"type":"candidate","to":"victim","candidate":{' + white + b'"x":' + evil + white + b"}}")
        assert (await victim.hears())["from"] == "mallory"
        await mallory.says(b'{"type":"register","meta":{' + white + b'"x":' + evil + white + b"}}")
        assert (await mallory.hears())["type"] == "registered"
        await victim.says({"type": "peers", "prefix": "mallory"})
        assert (await victim.hears())["peers"] == [{"id": "mallory", "meta": {"x": json.loads(evil)}}]
    await mallory.says({"type": "message", "to": "victim", "data": "\n" + evil.decode() + "\n"})
    assert (await victim.hears())["from"] == "mallory"
    await victim.hears_nothing()


@attack("row-23 fact-9 what is delivered does not change with what comes after it")
async def _(scene: Scene) -> None:
    """A Raw is a view of the bytes that came: they must be nobody else's by then."""
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol", scene.framing)
    for number in range(50):
        await mallory.says(message(b'"%03d"' % number, b'"carol"'), message(b'"xyz"', b'"carol"'))
    assert [(await carol.hears())["data"] for _ in range(100)] == [
        data for number in range(50) for data in (f"{number:03}", "xyz")
    ]


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


@attack("row-26 fact-13 a flood of the smallest messages")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory()
    flood = mallory.framed(b'{"type":"pong"}') * 4_000
    with pytest.MonkeyPatch.context() as monkeypatch:
        rounds = rounds_noted(monkeypatch)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(mallory.sends, flood)
            for _ in range(20):
                await scene.they_talk()
            assert max(of["mallory"] for of in rounds) == MESSAGES_PER_ROUND
            assert any(of["mallory"] and of["alice"] for of in rounds)
            nursery.cancel_scope.cancel()


@attack("row-26 a flood of what is costly to refuse")
async def _(scene: Scene) -> None:
    mallory = await scene.mallory()
    costly = [message(b"[" * 17 + b"]" * 17), b'{"type":"zzz"}', b"x" * 60]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mallory.says, *costly * 300)
        for _ in range(5):
            await scene.they_talk()
        for _ in range(900):
            assert (await mallory.hears())["type"] == "error"


@attack("row-27 a peer that never reads")
async def _(scene: Scene) -> None:
    frozen = await scene.daemon.connect(scene.framing, receive_buffer=4_096)
    await frozen.registers("frozen")
    mallory = await scene.mallory()
    answers = set()
    for _ in range(60):
        await mallory.says({"type": "message", "to": "frozen", "data": "x" * 8_000, "ref": "1"})
        answers.add((await mallory.hears()).get("code"))
        await scene.they_talk()
    assert answers == {None, "peer-busy"}


@attack("row-29 an error answered with an error")
async def _(scene: Scene) -> None:
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


def wire(name: str, first: bytes, framing: str) -> None:
    """Add to the table that two daemons fall silent after this, in good time."""

    async def function(scene: Scene) -> None:
        assert await wired(scene, first) <= 1_000

    attack(f"row-29 two daemons wired together, after {name}", framing)(function)


for _number, (_frame, _said) in enumerate(SAID_BY_SERVERS):
    for _framing in FRAMINGS:
        wire(f"{type(_said).__name__} {_number}", CLIENTS[_framing].framed(_frame), _framing)
wire("help", HELP, "lines")
wire("the answer to HTTP", NOT_HTTP, "lines")
wire("the answer to TLS", TLS_ALERT + b"\n", "lines")
wire("rubbish", b"rubbish\n", "lines")


@attack("row-30 two hundred links that come, register, and go")
async def _(scene: Scene) -> None:
    """Nothing stays, and no garbage collection is needed for that."""

    async def come_and_go(number: int) -> None:
        client = await scene.daemon.peer(f"{number:064}", scene.framing, meta={"x": "y" * 900})
        if number % 2:
            await client.says({"type": "unregister"})
            await client.hears_close()
        client.leaves()

    def links() -> int:
        return sum(isinstance(found, Stream) for found in gc.get_objects())

    logging.disable()  # what pytest keeps of the log is not the daemon's
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(100):
            await come_and_go(number)
        await scene.daemon.settles()
        before = tracemalloc.get_traced_memory()[0]
        scene.daemon.forgets_who_left()
        for number in range(100, 200):
            await come_and_go(number)
        await scene.daemon.settles()
        scene.daemon.forgets_who_left()
        assert tracemalloc.get_traced_memory()[0] - before < 65_536
        assert links() == len(scene.daemon.reactor) == 2
        assert sorted(scene.daemon.router.registry.holders) == ["alice", "bob"]
    finally:
        tracemalloc.stop()
        gc.enable()
        logging.disable(logging.NOTSET)


@attack("fact-14 a half-closed link is answered")
async def _(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.says({"type": "ping"})
    stranger.finishes()
    assert await stranger.hears_all() == [{"type": "pong"}]


@pytest.mark.parametrize(("function", "framing"), ATTACKS)
async def test_hardening(daemon: Daemon, caplog: pytest.LogCaptureFixture, function: Attack, framing: str) -> None:
    caplog.set_level(logging.DEBUG, "sigd")
    async with scene(daemon, framing) as beside:
        await function(beside)
    for record in caplog.records:
        line = record.getMessage()
        assert record.levelno <= logging.INFO, line
        assert len(line) <= 512
        assert line.isascii()
        assert line.isprintable()
        assert "2026 INFO ok" not in line
        assert "EVIL" not in line
