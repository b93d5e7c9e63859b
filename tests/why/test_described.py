"""Descriptions alone and beside each other: what counts as a fault, and for which stacks."""

import json

import pytest

from tests.why.staged import FINGERPRINT, PASSWORD, RELAY, Stage, answer, sdp

OFFER, ANSWER = sdp(RELAY, ends=True), answer(RELAY, ends=True)
LIBWEBRTC = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n")
"""Lines that mark a description as one of Chromium's."""

SHORTENED = {
    "no-last-line-end": lambda text: text.strip(),
    "blank-last-line": lambda text: f"{text}\r\n",
    "blank-line": lambda text: text.replace("t=0 0\r\n", "t=0 0\r\n\r\n"),
    "byte-order-mark": lambda text: f"\ufeff{text}",
    "no-rtcp-mux": lambda text: text.replace("a=rtcp-mux\r\n", ""),
    "short-ufrag": lambda text: text.replace("a=ice-ufrag:tTiP", "a=ice-ufrag:tTi").replace(":bO0b", ":bO0"),
    "short-pwd": lambda text: text.replace(PASSWORD, PASSWORD[:21]),
}
"""Forms that browsers refuse, and other stacks take."""

MIDS = {
    "bundle-mid": lambda text: text.replace("BUNDLE 0 1", "BUNDLE 0 1 2"),
    "same-mid": lambda text: text.replace("a=mid:1", "a=mid:0").replace("BUNDLE 0 1", "BUNDLE 0"),
}
"""The same; in an answer alone they do not fit the offer either."""


def judged(offer: str, reply: str | None = None):
    stage = Stage()
    stage.says("cam1", "offer", sdp=offer)
    if reply is not None:
        stage.says("bob", "answer", sdp=reply)
    return stage.judged()


@pytest.mark.parametrize("form", SHORTENED)
class TestAFormThatBrowsersRefuse:
    def test_in_an_offer_that_nobody_answers(self, form):
        assert judged(SHORTENED[form](OFFER)).rule == "bad-description"

    def test_an_offer_that_was_answered_was_read(self, form):
        assert judged(SHORTENED[form](OFFER), ANSWER).rule == "complete"

    def test_in_an_answer_to_a_browser(self, form):
        verdict = judged(OFFER.replace(*LIBWEBRTC), SHORTENED[form](ANSWER))
        assert (verdict.rule, verdict.seen and verdict.seen.peer) in {
            ("bad-description", "bob"),
            ("answer-media", "bob"),
        }

    def test_in_an_answer_to_another_stack(self, form):
        assert judged(OFFER, SHORTENED[form](ANSWER)).rule == "complete"


@pytest.mark.parametrize("form", MIDS)
def test_mids_that_browsers_refuse(form):
    assert judged(MIDS[form](OFFER)).rule == "bad-description"
    assert judged(OFFER.replace(*LIBWEBRTC), MIDS[form](ANSWER)).rule == "bad-description"
    assert judged(OFFER, MIDS[form](ANSWER)).rule == "answer-media"


@pytest.mark.parametrize(
    "text",
    [
        OFFER.replace(f"a=fingerprint:sha-256 {FINGERPRINT}", f"a=fingerprint:sha-256 {FINGERPRINT[:53]}"),
        OFFER.replace("a=fingerprint:sha-256", "a=fingerprint:md5"),
        OFFER.replace("a=setup:actpass", "a=setup:holdconn"),
        json.dumps({"type": "offer", "sdp": OFFER}),
        "",
    ],
)
def test_what_no_stack_takes_is_named_though_somebody_answered(text):
    verdict = judged(text, ANSWER)
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("bad-description", "cam1")


def test_two_who_wrap_their_descriptions_alike_read_each_other():
    wrapped = [json.dumps({"type": kind, "sdp": text}) for kind, text in (("offer", OFFER), ("answer", ANSWER))]
    assert judged(*wrapped).rule != "bad-description"
    assert judged(wrapped[0], ANSWER).rule == "bad-description"


def test_firefox_refuses_a_fingerprint_in_lower_case_and_others_do_not():
    firefox = OFFER.replace("o=- ", "o=mozilla...THIS_IS_SDPARTA-99.0 ")
    reply = ANSWER.replace(FINGERPRINT, FINGERPRINT.lower())
    assert judged(firefox, reply).rule == "bad-description"
    assert judged(OFFER.replace(*LIBWEBRTC), reply).rule == "complete"


def test_firefox_wants_a_port_for_sctp_in_answers_alone():
    firefox = OFFER.replace("o=- ", "o=mozilla...THIS_IS_SDPARTA-99.0 ")
    reply = ANSWER.replace("a=sctp-port:5000\r\n", "")
    assert "sctp-port" in judged(firefox, reply).likely
    assert judged(firefox, f"{reply}a=sctpmap:5000 webrtc-datachannel 1024\r\n").rule == "complete"
    assert judged(firefox.replace("a=sctp-port:5000\r\n", ""), ANSWER).rule == "complete"


def test_an_offer_without_setup_stops_firefox_and_aiortc():
    assert judged(OFFER.replace("a=setup:actpass\r\n", "")).rule == "bad-description"
    assert judged(OFFER.replace("a=setup:actpass\r\n", ""), ANSWER).rule == "complete"
    assert judged(OFFER.replace(*LIBWEBRTC), ANSWER.replace("a=setup:active\r\n", "")).rule == "complete"
    rtc = OFFER.replace("o=- ", "o=rtc ")
    assert judged(rtc, ANSWER.replace("a=setup:active\r\n", "")).rule == "bad-description"


# -- beside each other


@pytest.mark.parametrize(
    ("offered", "answered", "rule"),
    [
        ("actpass", "active", "complete"),
        ("actpass", "passive", "complete"),
        ("active", "passive", "complete"),
        ("passive", "active", "complete"),
        ("actpass", "actpass", "answer-setup"),
        ("active", "active", "answer-setup"),
        ("passive", "passive", "answer-setup"),
        ("active", "actpass", "answer-setup"),
    ],
)
def test_roles_in_dtls(offered, answered, rule):
    assert judged(OFFER.replace("actpass", offered), ANSWER.replace("setup:active", f"setup:{answered}")).rule == rule


def test_the_role_of_a_rejected_section_does_not_matter():
    head, tail = ANSWER.split("m=application 40313")
    reply = f"{head}m=application 0{tail.replace('setup:active', 'setup:actpass')}"
    assert judged(OFFER, reply.replace("BUNDLE 0 1", "BUNDLE 0")).rule == "complete"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("a=mid:1", "a=mid:data").replace("BUNDLE 0 1", "BUNDLE 0 data"), "a=mid:data"),
        (lambda text: text.replace("m=audio", "m=video"), "section 1 is video"),
        (lambda text: text + text[text.index("m=app") :].replace("a=mid:1", "a=mid:2"), "3 m= lines"),
        (lambda text: text.replace("a=mid:0", "a=mid:\x1b[31m").replace("BUNDLE 0 1", "BUNDLE 1"), "a=mid:?"),
    ],
)
def test_sections_that_are_not_those_of_the_offer(change, words):
    verdict = judged(OFFER, change(ANSWER))
    assert verdict.rule == "answer-media"
    assert words in verdict.likely
    assert "\x1b" not in verdict.likely


def test_an_answer_without_mids_is_taken_by_browsers_and_not_by_aiortc():
    reply = ANSWER.replace("a=mid:0\r\n", "").replace("a=mid:1\r\n", "").replace("a=group:BUNDLE 0 1\r\n", "")
    assert judged(OFFER.replace(*LIBWEBRTC), reply).rule == "complete"
    aiortc = OFFER.replace("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=msid-semantic:WMS *\r\n")
    assert "aiortc wants one" in judged(aiortc, reply).likely


def test_a_bundle_of_fewer_sections_fits_and_one_of_more_does_not():
    assert judged(OFFER, ANSWER.replace("BUNDLE 0 1", "BUNDLE 0")).rule == "complete"
    assert judged(OFFER.replace("BUNDLE 0 1", "BUNDLE 0"), ANSWER).rule == "answer-media"


def test_codecs_of_a_section_that_was_turned_down_do_not_matter():
    reply = ANSWER.replace("opus/48000/2", "PCMU/8000").replace("m=audio 40313", "m=audio 0")
    assert judged(OFFER, reply.replace("BUNDLE 0 1", "BUNDLE 1")).rule == "complete"


@pytest.mark.parametrize(
    ("offered", "answered", "rule"),
    [
        ("sendrecv", "recvonly", "complete"),
        ("sendonly", "recvonly", "complete"),
        ("recvonly", "sendrecv", "complete"),
        ("sendonly", "sendonly", "no-media"),
        ("recvonly", "recvonly", "no-media"),
        ("sendrecv", "inactive", "no-media"),
    ],
)
def test_directions(offered, answered, rule):
    verdict = judged(OFFER.replace("a=sendrecv", f"a={offered}"), ANSWER.replace("a=sendrecv", f"a={answered}"))
    assert verdict.rule == rule


def test_a_call_on_hold_is_no_fault():
    stage = Stage()
    stage.says("cam1", "offer", sdp=OFFER)
    stage.says("bob", "answer", sdp=ANSWER)
    stage.says("cam1", "offer", sdp=OFFER.replace("a=sendrecv", "a=inactive"), after=60)
    stage.says("bob", "answer", sdp=ANSWER.replace("a=sendrecv", "a=inactive"))
    assert stage.judged().rule == "complete"
