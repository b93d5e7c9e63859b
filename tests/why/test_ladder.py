"""Ladders, summaries and verdicts as text, and that nothing from outside steers a terminal."""

import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.admin.replies import TappedReply
from sigd.text import escaped
from sigd.why.ladder import MOST_COLUMNS, Ladder, summary, verdict_lines
from tests.why.staged import HOST, MDNS, PASSWORD, RELAY, SRFLX, UFRAG, Stage, answer, sdp

AT = 1_700_000_000.104
CLOCK = time.strftime("%H:%M:%S", time.localtime(AT))


def tapped(after: float, sender: str, to: str, text: str, **more: Any) -> TappedReply:
    """A record of the tap."""
    return TappedReply(at=AT + after, sender=sender, to=to, kind=text.partition(" ")[0], bytes=9, summary=text, **more)


CALL = [
    tapped(0, "cam1", "bob", "offer 2.9 kB audio video, 0 candidates inside", session="k3"),
    tapped(0.086, "bob", "cam1", "answer 2.1 kB audio, 1 candidate inside"),
    tapped(0.284, "cam1", "bob", "candidate srflx udp public"),
    tapped(1.9, "cam1", "bob2", "candidate host udp private", refusal="peer-unavailable"),
    tapped(2.9, "cam1", "bob", "end-of-candidates"),
    tapped(30.3, "bob", "cam1", 'bye "ice-failed"'),
    tapped(30.4, "eve", "cam1", "message 64 B"),
    tapped(30.5, "bob", "bob", "message 64 B"),
    tapped(30.6, "eve", "mallory", "message 64 B", refusal="forbidden"),
]


def drawn(ladder: Ladder) -> list[str]:
    """The call as lines, without the time of day."""
    lines = [*ladder.head(), *map(ladder.line, CALL)]
    return [re.sub(r"^(\d\d:\d\d:\d\d| {8})\.\d{3} {2}", "", line) for line in lines]


# -- ladders


def test_two_columns():
    assert drawn(Ladder(["cam1", "bob"])) == [
        "time          cam1                                   bob",
        "│──────────── offer 2.9 kB ───────────►│  audio video, 0 candidates inside  session k3",
        "│◄─────────── answer 2.1 kB ───────────│  +86 ms  audio, 1 candidate inside",
        "│───── candidate srflx udp public ────►│  +284 ms",
        "✗──── candidate host udp private ── to bob2: peer-unavailable  +1.9 s",
        "│───────── end-of-candidates ─────────►│  +2.9 s",
        '│◄────────── bye "ice-failed" ─────────│  +30.3 s',
        "eve -> cam1  message 64 B  +30.4 s",
        "bob -> bob  message 64 B  +30.5 s",
        "eve x> mallory  message 64 B  forbidden  +30.6 s",
    ]


def test_in_ascii():
    lines = drawn(Ladder(["cam1", "bob"], unicode=False))
    assert lines[1] == "|------------ offer 2.9 kB ----------->|  audio video, 0 candidates inside  session k3"
    assert lines[4] == "x---- candidate host udp private -- to bob2: peer-unavailable  +1.9 s"
    assert all(line.isascii() for line in lines)


def test_three_columns():
    lines = drawn(Ladder(["bob", "eve", "cam1"]))
    assert lines[1] == "│◄─────────────── offer 2.9 kB ───────────────│  audio video, 0 candidates inside  session k3"
    assert lines[4].startswith("│                      │                      ✗──── candidate host udp private")
    assert lines[7] == "│                      │──── message 64 B ───►│  +30.4 s"


@pytest.mark.parametrize(
    "peers", [[], ["cam1"], ["cam1", "cam1"], [f"p{number}" for number in range(MOST_COLUMNS + 1)]]
)
def test_without_columns(peers):
    lines = drawn(Ladder(peers))
    assert lines[0] == "cam1 -> bob  offer 2.9 kB  audio video, 0 candidates inside  session k3"
    assert lines[3] == "cam1 x> bob2  candidate host udp private  peer-unavailable  +1.9 s"


def test_the_second_is_said_once():
    ladder = Ladder(["cam1", "bob"])
    lines = [ladder.line(each) for each in CALL[:3]]
    assert lines[0].startswith(f"{CLOCK}.104  ")
    assert lines[1].startswith("        .190  ")


def test_long_names_and_texts_stay_within_their_columns():
    ladder = Ladder(["a" * 64, "b" * 64])
    head = next(iter(ladder.head()))
    line = ladder.line(tapped(0, "a" * 64, "b" * 64, "x" * 300))
    assert len(head) < 14 + 2 * 40
    assert len(line) == 14 + 40


def test_a_record_without_a_summary():
    record = TappedReply(at=AT, sender="a", to="b", kind="offer", bytes=9)
    assert Ladder().line(record).endswith("a -> b  offer")


# -- summaries


def body(kind: str, **members: object) -> bytes:
    """A message as it was delivered."""
    return msgspec.json.encode({"type": kind, "from": "cam1", **members})


@pytest.mark.parametrize(
    ("said", "masked", "full"),
    [
        (body("offer", sdp=sdp()), "offer 733 B audio data, 0 candidates inside", None),
        (
            body("answer", sdp=answer(HOST, SRFLX, ends=True)),
            "answer 898 B audio data, 2 candidates and their end inside",
            None,
        ),
        (body("offer", sdp="v=0" + "\n" * 3000), "offer 6.0 kB no media, 0 candidates inside", None),
        (
            body("candidate", candidate={"candidate": HOST}),
            "candidate host udp private",
            "candidate host udp 10.1.2.3:40313",
        ),
        (
            body("candidate", candidate={"candidate": MDNS}),
            "candidate host udp .local",
            "candidate host udp 6ff3a8b2-9b1c-4f7a-8a0e-2f5d6f6a1b2c.local:51000",
        ),
        (
            body("candidate", candidate={"candidate": RELAY}),
            "candidate relay udp public",
            "candidate relay udp 9.9.9.4:49160",
        ),
        (body("candidate", candidate=None), "end-of-candidates", None),
        (body("candidate", candidate={"candidate": None}), "candidate, unreadable", None),
        (body("bye"), "bye", None),
        (body("bye", reason="ice-failed"), 'bye "ice-failed"', None),
        (body("message", data=[1, 2]), "message 45 B", None),
        (b'{"type":"offer","from":"c', "offer", None),
        (b"\xff\x00", "unreadable 2 B", None),
    ],
)
def test_summaries(said, masked, full):
    assert summary(said, full=False) == masked
    assert summary(said, full=True) == (full or masked)


@pytest.mark.parametrize("full", [False, True])
def test_no_summary_has_a_secret(full):
    for said in (body("offer", sdp=sdp(HOST)), body("candidate", candidate={"candidate": f"{HOST} ufrag {UFRAG}"})):
        assert PASSWORD not in summary(said, full)
        assert UFRAG not in summary(said, full)
        assert ("10.1.2.3" in summary(said, full)) <= full


# -- verdicts


def test_a_verdict():
    stage = Stage()
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(), after=0.086)
    stage.trickles("cam1", HOST, SRFLX, None)
    stage.trickles("bob", HOST)
    stage.says("bob", "bye", reason="ice-failed", after=29.814)
    at = time.strftime("%H:%M:%S", time.localtime(stage.passed[0].when))
    assert list(verdict_lines(stage.judged())) == [
        f'cam1 → bob, session k3, {at}: not connected; bob left after 30.3 s ("ice-failed")',
        "  ok    registered      cam1 for 23 min (tls), bob for 2 min (tcp); neither replaced meanwhile",
        "  ok    offer → answer  86 ms",
        "  warn  cam1 sent       1 host (private), 1 srflx, 0 relay, end-of-candidates after 386 ms",
        "  FAIL  bob sent        1 host (private), 0 srflx, 0 relay, no end-of-candidates",
        '  -     end             bye "ice-failed" from bob after 30.3 s',
        "Likely: Two NATs and no relay candidate from bob: bob found no public address, and neither has TURN."
        "   [no-relay]",
        "  1. bob was given no iceServers, [ice] is empty: set ice.turn_urls and ice.turn_secret_file; sigctl reload",
        "Seen for bob: 1 of 1 in the last hour. Look: sigctl tap cam1 bob",
    ]


def test_a_verdict_without_a_call_in_ascii():
    stage = Stage()
    lines = list(verdict_lines(stage.judged(), unicode=False))
    assert lines[0] == "cam1 -> bob: no call is remembered"
    assert lines[-1] == "Look: sigctl tap cam1 bob"
    assert all(line.isascii() for line in lines)


# -- what comes from outside

NASTY = "\x1b]0;x\x07\x9b31m\x7f\r\n\u202e\u2066\u200f\u061c\u2028\u2029"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("\u202eevil\u2069", r"\u202eevil\u2069"),
        ("ali\xadce\u200b\U000e0041", r"ali\xadce\u200b\U000e0041"),
        ("\ufeffbob\u2060\ufe0f\u3164", r"\ufeffbob\u2060\ufe0f\u3164"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\nb\u2028c", r"a\x0ab\u2028c"),
        ("Grüße → 日本", "Grüße → 日本"),
    ],
)
def test_row_14_what_steers_a_terminal_is_spelt_out(text, shown):
    assert escaped(text) == shown


def test_row_14_nothing_of_a_message_steers_a_terminal():
    stage = Stage(session=NASTY)
    stage.says("cam1", "offer", sdp=sdp(HOST.replace("10.1.2.3", NASTY.replace("\r\n", ""))))
    stage.says("bob", "bye", reason=NASTY)
    ladder = Ladder(["cam1", "bob"])
    lines = list(verdict_lines(stage.judged(full=True)))
    for passed in stage.passed:
        text = summary(passed.body, full=True)
        lines.append(ladder.line(tapped(0, "cam1", "bob", text, session=NASTY)))
        lines.append(ladder.line(tapped(0, "cam1", "bob", NASTY, refusal=NASTY)))
    assert not set("".join(lines)) & set(NASTY.replace("]0;x31m", "").translate(dict.fromkeys(map(ord, "]0;x31m"))))
    assert r"\x1b]0;x\x07" in "".join(lines)


@given(st.text())
def test_row_14_escaped_text_is_one_plain_line(text):
    shown = escaped(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


@given(st.text(), st.text(), st.sampled_from([None, "peer-busy", "\x1b"]), st.sampled_from(["a", "b", "c"]))
def test_row_14_any_text_makes_one_line(text, session, refusal, to):
    for unicode in (True, False):
        ladder = Ladder(["a", "b"], unicode=unicode)
        for _ in range(2):
            record = TappedReply(at=AT, sender="a", to=to, kind="x", bytes=1, session=session, summary=text)
            record.refusal = refusal
            line = ladder.line(record)
            assert len(line.splitlines()) == 1
            assert unicode or line.isascii()
