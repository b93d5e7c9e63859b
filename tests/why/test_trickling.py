"""Candidates that came and were of no use, and the words for those that did not come."""

import pytest

from sigd.wire.errors import ErrorCode
from tests.why.staged import HOST, MDNS, RELAY, SRFLX, Stage, answer, sdp

LIBWEBRTC = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n")
AIORTC = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=msid-semantic:WMS *\r\n")


def called(offer: str = "", reply: str = "") -> Stage:
    stage = Stage()
    stage.says("cam1", "offer", sdp=offer or sdp())
    stage.says("bob", "answer", sdp=reply or answer())
    return stage


FORMS = {
    "sdp-member": lambda one: {"sdp": one, "sdpMid": "0", "sdpMLineIndex": 0},
    "nested": lambda one: {"candidate": {"candidate": one, "sdpMid": "0"}},
    "json-text": lambda one: {"candidate": f'{{"candidate": "{one}", "sdpMid": "0"}}'},
    "no-section": lambda one: {"candidate": one},
    "grammar": lambda one: {"candidate": one.replace(" typ ", " "), "sdpMid": "0"},
    "null-member": lambda one: {"candidate": None},
    "rtcp": lambda one: {"candidate": one.replace(" 1 udp ", " 2 udp "), "sdpMid": "0"},
}


@pytest.mark.parametrize("form", FORMS)
def test_none_that_any_stack_reads(form):
    stage = called()
    stage.trickles("cam1", HOST, SRFLX)
    for one in (HOST, SRFLX):
        stage.says("bob", "candidate", candidate=FORMS[form](one))
    verdict = stage.judged()
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("unreadable-candidates", "bob")
    assert "cannot be read" in verdict.likely
    assert "sent no candidates" not in verdict.likely


@pytest.mark.parametrize(
    ("form", "rule"), [("nested", "unreadable-candidates"), ("rtcp", "no-relay"), ("null-member", "no-relay")]
)
def test_some_that_no_stack_reads_beside_others_that_do_not_suffice(form, rule):
    """Of those that are for RTCP, or a wrapped end of candidates, nobody misses anything."""
    stage = called()
    stage.trickles("cam1", HOST, SRFLX)
    stage.trickles("bob", HOST)
    stage.says("bob", "candidate", candidate=FORMS[form](RELAY))
    assert stage.judged().rule == rule


@pytest.mark.parametrize(("offer", "rule"), [(sdp().replace(*LIBWEBRTC), "unreadable-candidates"), (sdp(), "complete")])
def test_a_form_that_browsers_alone_refuse(offer, rule):
    stage = called(offer)
    stage.trickles("cam1", HOST, SRFLX)
    for one in (HOST, RELAY):
        bare = {"candidate": one.removeprefix("candidate:"), "sdpMid": "0"}
        stage.says("bob", "candidate", candidate=bare)
    assert stage.judged().rule == rule


@pytest.mark.parametrize(("offer", "rule"), [(sdp().replace(*LIBWEBRTC), "unreadable-candidates"), (sdp(), "complete")])
def test_a_mid_that_no_section_has(offer, rule):
    stage = called(offer)
    stage.trickles("cam1", HOST, SRFLX)
    stage.says("bob", "candidate", candidate={"candidate": RELAY, "sdpMid": "audio"})
    assert stage.judged().rule == rule


def test_early_ones_that_came_again():
    stage = Stage()
    stage.trickles("cam1", HOST, SRFLX)
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))
    assert stage.judged().rule == "early-candidates"
    stage.trickles("cam1", HOST, SRFLX, None)
    assert stage.judged().rule == "complete"


def test_early_ones_that_others_make_up_for():
    stage = Stage()
    stage.trickles("cam1", HOST)
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))
    stage.trickles("cam1", RELAY, None)
    assert stage.judged().rule == "complete"


def test_werift_keeps_early_ones():
    werift = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic:WMS *\r\n")
    stage = Stage()
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True).replace(*werift))
    stage.trickles("bob", HOST, SRFLX)
    stage.says("bob", "answer", sdp=answer())
    assert stage.judged().rule == "complete"


# -- none


def test_none_after_a_restart():
    stage = called(sdp(HOST), answer(HOST))
    stage.says("bob", "offer", sdp=answer(version=4004357075, ufrag="nEw1", setup="actpass"), after=60)
    stage.says("cam1", "answer", sdp=sdp(HOST, version=4004357075, ufrag="nEw2", setup="active"))
    verdict = stage.judged()
    assert verdict.rule == "no-candidates"
    assert verdict.likely.startswith("bob has restarted ICE, and sent no candidates since")


def test_those_of_another_connection():
    stage = called(sdp(HOST), answer())
    stage.says("bob", "candidate", candidate={"candidate": HOST, "sdpMid": "0", "usernameFragment": "oThr"})
    verdict = stage.judged()
    assert verdict.rule == "no-candidates"
    assert "sent no candidates" not in verdict.likely
    assert "1 of another connection" in verdict.steps[3].text


def test_what_is_forgotten_may_have_been_there():
    stage = called(sdp(HOST), answer())
    assert stage.judged().rule == "no-candidates"
    stage.whole_since = stage.now
    assert stage.judged().rule != "no-candidates"


@pytest.mark.parametrize(
    ("offer", "reply", "words"),
    [
        (
            sdp(MDNS, ends=True),
            answer().replace(*AIORTC),
            "aiortc answers without candidates if the offer has .local names",
        ),
        (sdp(MDNS), answer().replace(*AIORTC), "any network but loopback"),
        (sdp(HOST, ends=True), answer().replace(*AIORTC), "any network but loopback"),
        (sdp(HOST), answer().replace(*LIBWEBRTC), "default route"),
        (sdp(HOST), answer().replace("o=- ", "o=rtc "), "any network but loopback"),
    ],
)
def test_why_a_stack_may_have_gathered_nothing(offer, reply, words):
    verdict = called(offer, reply).judged()
    assert verdict.rule == "no-candidates"
    assert words in " ".join(verdict.advice)


def test_refused_ones_among_others_are_counted():
    stage = called(sdp(RELAY), answer(RELAY))
    init = {"candidate": HOST, "sdpMid": "0"}
    stage.says("bob", "candidate", candidate=init, refusal=ErrorCode.RATE_LIMITED)
    verdict = stage.judged()
    assert verdict.rule == "complete"
    assert "1 refused" in verdict.steps[3].text
