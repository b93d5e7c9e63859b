"""Rows 9 to 15, and the facts behind them: a message that is none, or is meant to be read as something else."""

import json
import re
from typing import Any

from tests.hardening.scene import BAD, LINES, Scene, attack, message, says
from tests.in_process import PLAIN, error

# -- row 9

OPEN, OBJECTS = b"[" * 30_000, b'{"":' * 10_000

ARRAYS = says("a bomb of arrays", OPEN, OPEN * 2, b"[" * 65_000, hears=[BAD])
ARRAYS_TYPED = says("a bomb of arrays that is a command", OPEN, hears=[error("unknown-type")], framings=LINES)
RELAYED_BOMBS = says(
    "a bomb in what is relayed",
    message(OPEN),
    message(OPEN + b"]" * 30_000),
    message(OBJECTS + b"1" + b"}" * 10_000),
    message(b"[" * 17 + b"]" * 17),
    message(b'{"a":' * 16 + b"[]" + b"}" * 16),
    b'{"type":"candidate","to":"alice","candidate":{"x":' + b"[" * 16 + b"]" * 16 + b"}}",
    b'{"type":"register","meta":' + OBJECTS + b"1" + b"}" * 10_000 + b"}",
    hears=[BAD],
)
UNKNOWN_BOMB = says("a bomb in a member that nobody knows", b'{"type":"ping","x":' + OPEN + b"}", hears=[BAD])
TYPE_BOMB = says("a bomb in place of a type", b'{"type":' + OPEN, b'{"type":' * 5_000, hears=[BAD])


@attack("sixteen deep is not too deep")
async def sixteen_deep(scene: Scene) -> None:
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol")
    data = b"[" * 16 + b"]" * 16
    await mallory.says(message(data, b'"carol"'))
    assert await carol.hears_frame() == b'{"type":"message","from":"mallory","data":' + data + b"}"


# -- row 10

INVALID = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xfe\xff")

RELAYED_UTF8 = says(
    "bad UTF-8 in what is relayed",
    *(message(b'"' + bad + b'"') for bad in INVALID),
    hears=[BAD],
    framings=PLAIN,
)
OTHER_UTF8 = says(
    "bad UTF-8 elsewhere",
    *(b'{"type":"ping","' + bad + b'":1}' for bad in INVALID),
    *(b'{"type":"candidate","to":"alice","candidate":{"candidate":"' + bad + b'"}}' for bad in INVALID),
    *(b'{"type":"offer","to":"alice","sdp":"' + bad + b'"}' for bad in INVALID),
    *(b'{"type":"register","id":"mallory","token":"' + bad + b'"}' for bad in INVALID),
    *(b'{"type":"' + bad + b'"}' for bad in INVALID),
    hears=[BAD],
)
SURROGATES = says(
    "lone surrogates",
    message(rb'"\ud800"'),
    message(rb'"\udfff"'),
    message(rb'"\ud800\u0041"'),
    rb'{"type":"offer","to":"alice","sdp":"\ud800"}',
    hears=[BAD],
)
LINE_UTF8 = says("a line that is not UTF-8", b"\xff", b"send alice \xff", hears=[BAD], framings=LINES)


# -- row 11


@attack("duplicate keys")
async def duplicate_keys(scene: Scene) -> None:
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


# -- row 12

LONG = b"Z" * 60_000

LONG_TYPE = says("a type of 60 kB", b'{"type":"' + LONG + b'"}', hears=[error("unknown-type")])
LONG_COMMAND = says("a command of 60 kB", LONG, hears=[error("unknown-type")], framings=LINES)
LONG_MEMBER = says("a member of 60 kB", b'{"type":"ping","' + LONG + b'":1}', hears=[{"type": "pong"}])
LONG_VALUES = says(
    "long names and values where they are wrong",
    b'{"type":"offer","to":"alice","sdp":{"' + LONG + b'":1}}',
    b'{"type":["' + LONG + b'"]}',
    message(b"1", b'"' + LONG + b'"'),
    b'{"type":"register","id":"' + LONG + b'"}',
    b'{"type":"ping","ref":"' + LONG + b'"}',
    b'{"type":"offer","to":"alice","sdp":"","session":"' + LONG + b'"}',
    b'{"type":"bye","to":"alice","reason":"' + LONG + b'"}',
    hears=[BAD],
)


@attack("answers and log lines stay short, and echo nothing")
async def short_answers(scene: Scene) -> None:
    mallory = await scene.mallory()
    for sent in (
        b'{"type":"%s"}' % LONG,
        b'{"type":"offer","to":"\x1b[31m%s"}' % LONG,
        message(b"1", b'"' + LONG + b'"'),
        b'{"type":"offer","to":"alice","sdp":["%s"]}' % LONG,
        b'{"type":"register","token":["%s"]}' % LONG,
    ):
        await mallory.says(sent)
        answer = await mallory.hears_frame()
        assert len(answer) <= 256
        assert b"ZZZ" not in answer


# -- row 13

IDS = (r"a\n2026 INFO ok", r"alice\n", r"\u001b[2J", r"a\u0000", "\u202ealice", "a b", "a=b", 'a\\"', "é", "")

FORGED_LINES = says(
    "IDs that would forge a line of the log",
    *(f'{{"type":"register","id":"{bad}"}}'.encode() for bad in IDS),
    *(f'{{"type":"bye","to":"{bad}"}}'.encode() for bad in IDS),
    hears=[BAD],
)


@attack("the end of a link is one line of the log, whatever was said")
async def one_line(scene: Scene) -> None:
    mallory = await scene.mallory(meta={"x": "\n2026 INFO ok"})
    await mallory.says(b'{"type":"bye","to":"x","reason":"\\n2026 INFO ok","ref":"2026 INFO ok"}')
    assert await mallory.hears() == error("peer-unavailable", to="x", ref="2026 INFO ok")
    mallory.leaves()
    await scene.daemon.settles()


@attack("a proxy that says where a client is", limits={"trusted": ("127.0.0.2/32",)})
async def forged_address(scene: Scene) -> None:
    """What it says is checked by form; the log has addresses of its own making."""
    for address in (b"a\x1b[31m", b"::1%2026", b"127.0.0.1 2026", b"0x7f.1"):
        stranger = await scene.behind(b"PROXY TCP4 " + address + b" 192.0.2.1 1 2\r\n", "127.0.0.2")
        assert json.loads(await stranger.hears_bytes()) == error("bad-frame")
    behind = await scene.behind(b"PROXY TCP6 2001:DB8:0:0::1 2001:db8::2 1 2\r\n", "127.0.0.2")
    await behind.registers("behind")
    assert scene.daemon.link("behind").address == "[2001:db8::1]:1"


# -- row 14


@attack("nothing that steers a terminal reaches a peer that reads lines")
async def steering(scene: Scene) -> None:
    mallory, carol = await scene.mallory(meta={"x": "\x9b31m"}), await scene.daemon.peer("carol", "lines")
    steering = "\x1b]0;x\x07 \x7f \x9b31m \x85 \u2028 \u2029 \u202e \u2066 \u200f \u061c"
    sent: list[dict[str, Any]] = [
        {"type": "offer", "sdp": steering},
        {"type": "message", "data": {steering: [steering]}},
        {"type": "candidate", "candidate": {"candidate": steering}},
        {"type": "bye", "reason": steering},
    ]
    for each in sent:
        await mallory.says(json.dumps({**each, "to": "carol"}, ensure_ascii=False).encode())
        line = await carol.hears_frame()
        assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", line.decode())
        assert json.loads(line) == {**each, "from": "mallory"}
    await carol.says({"type": "peers", "prefix": "mallory"})
    assert b"\\u009b31m" in await carol.hears_frame()


# -- row 15

NULS = says(
    "NUL, at which a peer written in C would stop reading",
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
    framings=PLAIN,
)
TYPED_NULS = says("NUL in a command", rb"offer alice \u0000", rb"bye alice \u0000", hears=[BAD], framings=LINES)


# -- fact 8


@attack("numbers that are none, and numbers that some parsers cannot hold")
async def numbers(scene: Scene) -> None:
    mallory, carol = await scene.mallory(), await scene.daemon.peer("carol")
    for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b".5", b"+1", b"0x10", b"1.", b"-", b"1e", b"1_0"):
        await mallory.says(message(number, b'"carol"'))
        assert await mallory.hears() == BAD
    for number in (b"9" * 5_000, b"1e999", b"-0", b"1.0", b"123456789012345678901234567890"):
        await mallory.says(message(number, b'"carol"'))
        assert await carol.hears_frame() == b'{"type":"message","from":"mallory","data":' + number + b"}"
    await carol.hears_nothing()


SMALL_NUMBERS = says(
    "numbers where a small one is asked for",
    *(b'{"type":"register","keepaliveMs":' + bad + b"}" for bad in (b"9" * 5_000, b"1e400", b"1.5", b"true", b"-1")),
    *(b'{"type":"register","maxFrame":' + bad + b"}" for bad in (b"-" + b"9" * 5_000, b"0", b"1023", b"null ,")),
    *(b'{"type":"register","protocol":' + bad + b"}" for bad in (b"2", b"9" * 4_000, b"1e0000001", b'"1"')),
    hears=[BAD],
)
NOT_JSON = says(
    "what only some parsers take for JSON",
    b'\xef\xbb\xbf{"type":"ping"}',
    b"{'type':'ping'}",
    b'{"type":"ping",}',
    b'{"type":"ping"}//',
    b'{"type":"ping"}{"type":"ping"}',
    b'{"type":"ping"} x',
    hears=[BAD],
)
