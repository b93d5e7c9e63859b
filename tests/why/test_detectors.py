"""One staged failure for each rule, and what is said of it."""

from typing import Any

import pytest

from sigd.relay.refusals import Attempt
from sigd.why.facts import Ended, IceFacts, PeerFacts
from sigd.wire.errors import ErrorCode, Objection
from tests.why.staged import AT, HOST, HOST6, MDNS, PUBLIC, RELAY, SRFLX, TCP, Stage, answer, sdp


@pytest.fixture
def stage():
    return Stage()


# -- nobody there, nothing sent


def test_not_registered_without_a_call(stage):
    stage.facts["bob"] = PeerFacts("bob", ended=[Ended(AT - 180, "idle-timeout", 60.0)])
    verdict = stage.judged()
    assert (verdict.rule, verdict.at, verdict.outcome) == ("not-registered", None, "no call is remembered")
    assert verdict.likely == "bob is not registered: its last link ended 4 min ago (idle-timeout)."
    assert [step.level for step in verdict.steps] == ["fail", "-"]
    assert verdict.seen is None


def test_not_registered_and_never_was(stage):
    del stage.facts["cam1"]
    verdict = stage.judged()
    assert (verdict.rule, verdict.likely) == ("not-registered", "cam1 is not registered.")


def test_not_registered_when_the_offer_came(stage):
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.PEER_UNAVAILABLE)
    verdict = stage.judged()
    assert (verdict.rule, verdict.outcome) == ("not-registered", "not connected")
    assert verdict.likely == "bob was not registered when cam1 sent its offer."


def test_the_caller_had_left_when_the_answer_came(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(), refusal=ErrorCode.PEER_UNAVAILABLE)
    assert stage.judged().likely == "cam1 was not registered when bob sent its answer."


def test_no_offer_though_both_are_here(stage):
    verdict = stage.judged()
    assert (verdict.rule, verdict.outcome) == ("no-offer", "no call is remembered")
    stage.trickles("cam1", HOST)
    assert stage.judged().rule == "no-offer"


def test_an_offer_that_is_forgotten_may_have_been_there(stage):
    stage.says("bob", "answer", sdp=answer())
    assert stage.judged().rule == "no-offer"
    stage.whole_since = AT + 1
    verdict = stage.judged()
    assert (verdict.sender, verdict.to, verdict.rule) == ("cam1", "bob", "complete")


# -- refused


@pytest.mark.parametrize("code", [ErrorCode.TOO_LARGE, ErrorCode.PEER_BUSY, ErrorCode.FORBIDDEN, ErrorCode.INTERNAL])
@pytest.mark.parametrize("kind", ["offer", "answer"])
def test_refused(stage, code, kind):
    if kind == "answer":
        stage.says("cam1", "offer", sdp=sdp())
    stage.says("cam1" if kind == "offer" else "bob", kind, sdp=sdp(), refusal=code)
    verdict = stage.judged()
    assert verdict.rule == f"{kind}-refused"
    assert f"({code})" in verdict.likely
    assert verdict.advice
    assert "{" not in "".join(verdict.advice)
    assert verdict.steps[1].level == "fail"


def test_an_offer_that_arrived_the_second_time_was_not_refused(stage):
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.PEER_BUSY)
    stage.says("cam1", "offer", sdp=sdp())
    assert stage.judged().rule == "no-answer"


# -- no answer


def test_never_answered(stage):
    stage.says("cam1", "offer", sdp=sdp())
    verdict = stage.judged()
    assert (verdict.rule, verdict.outcome) == ("no-answer", "not connected so far")
    assert verdict.likely == "bob never answered; it got the offer 30 s ago."
    assert verdict.steps[1].text == "none after 30 s"


def test_not_answered_yet(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.now -= 28
    assert stage.judged().likely == "bob has not answered yet; it got the offer 2 s ago."


def test_no_answer_from_a_person(stage):
    stage.facts["bob"].lines = True
    stage.says("cam1", "offer", sdp=sdp())
    assert "uses lines" in stage.judged().likely


@pytest.mark.parametrize(("reason", "advice"), [("replaced", "two programs"), ("slow-consumer", "sigctl closed bob")])
def test_no_answer_since_the_link_ended(stage, reason, advice):
    stage.facts["bob"].ended = [Ended(AT - 5, "idle-timeout", 9.0), Ended(AT + 1, reason, 60.0)]
    stage.says("cam1", "offer", sdp=sdp())
    verdict = stage.judged()
    assert (verdict.rule, verdict.likely) == (
        "no-answer",
        f"bob got the offer, and its link ended before an answer: {reason}.",
    )
    assert advice in verdict.advice[0]
    assert verdict.outcome == f"the link of bob ended after 1 s ({reason})"
    assert ("bob replaced meanwhile" in verdict.steps[0].text) == (reason == "replaced")


def test_no_answer_since_it_came_back_after_the_offer(stage):
    stage.facts["bob"].since = AT + 3
    stage.says("cam1", "offer", sdp=sdp())
    assert stage.judged().likely == "The link of bob that got the offer is gone; bob came back after it."


def test_declined(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "bye", reason="busy", after=2)
    verdict = stage.judged()
    assert (verdict.rule, verdict.outcome) == ("no-answer", 'not connected; bob left after 2 s ("busy")')
    assert verdict.likely == "bob declined: it said bye 2 s after the offer, without an answer."


def test_glare(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "offer", sdp=sdp(), after=0.01)
    stage.trickles("cam1", HOST)
    assert stage.judged().rule == "glare"
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))
    assert stage.judged().rule != "glare"


# -- what they sent


@pytest.mark.parametrize("lacking", ["ice-ufrag", "ice-pwd", "fingerprint"])
@pytest.mark.parametrize("kind", ["offer", "answer"])
def test_a_description_that_lacks_something(stage, lacking, kind):
    without = [lacking]
    stage.says("cam1", "offer", sdp=sdp(HOST, without=without if kind == "offer" else []))
    stage.says("bob", "answer", sdp=answer(HOST, without=without if kind == "answer" else []))
    verdict = stage.judged()
    assert verdict.rule == "bad-description"
    assert f"The {kind} of {'cam1' if kind == 'offer' else 'bob'} has no {lacking}:" in verdict.likely


def test_candidates_before_the_description(stage):
    stage.trickles("cam1", HOST, SRFLX)
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))
    verdict = stage.judged()
    assert verdict.rule == "early-candidates"
    assert verdict.likely == "cam1 sent 2 candidates before its offer: bob may have dropped them."


def test_no_candidates(stage):
    stage.call([HOST, SRFLX], [])
    verdict = stage.judged()
    assert (verdict.rule, verdict.likely) == (
        "no-candidates",
        "bob sent no candidates, and says that there are no more: cam1 does not know where to reach it.",
    )


def test_mdns_only(stage):
    stage.call([MDNS], [HOST])
    verdict = stage.judged()
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("mdns-only", "cam1")
    assert verdict.steps[2].text.startswith("1 host (.local), 0 srflx, 0 relay, end-of-candidates after ")


def test_private_only(stage):
    stage.call([HOST, MDNS], [HOST, TCP])
    verdict = stage.judged()
    assert verdict.rule == "private-only"
    assert "ice.stun_urls" in verdict.advice[0]
    stage.ice = IceFacts(stun=True)
    assert "iceServers" in stage.judged().advice[0]


def test_an_address_is_of_no_use_to_who_has_only_the_other_version_of_ip(stage):
    stage.call([HOST6], [HOST])
    assert stage.judged().rule == "private-only"
    stage.trickles("bob", HOST6.replace("2a00::9", "fd00::1"))
    assert stage.judged().rule == "complete"


def test_ice_expired(stage):
    stage.facts["bob"].ice_expires = AT - 60
    stage.call([HOST, SRFLX], [HOST, SRFLX])
    verdict = stage.judged()
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("ice-expired", "bob")
    stage.facts["bob"].ice_expires = AT + 60
    assert stage.judged().rule == "no-relay"


def test_no_srflx(stage):
    stage.ice = IceFacts(stun=True)
    stage.call([HOST, SRFLX], [HOST])
    verdict = stage.judged()
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("no-srflx", "bob")


def test_no_relay_on_either_side(stage):
    stage.call([HOST, SRFLX], [HOST])
    verdict = stage.judged()
    assert verdict.rule == "no-relay"
    assert verdict.likely == (
        "Two NATs and no relay candidate from bob: bob found no public address, and neither has TURN."
    )
    assert verdict.advice[0].startswith("bob was given no iceServers, [ice] is empty: set ice.turn_urls")
    assert [step.level for step in verdict.steps] == ["ok", "ok", "warn", "fail"]


def test_no_relay_though_there_is_turn(stage):
    stage.ice = IceFacts(stun=True, turn=True)
    stage.call([SRFLX], [SRFLX])
    likely = stage.judged().likely
    assert likely.startswith("Two NATs and no relay candidate from bob: TURN gave neither one a relay. No credentials")
    for facts in stage.facts.values():
        facts.ice_expires = AT + 3600
    assert "Their credentials are good by the daemon's clock, and STUN answered both" in stage.judged().likely
    stage.ice = IceFacts(stun=True)
    assert stage.judged().advice[0].startswith("set ice.turn_urls")


def test_a_public_address_needs_no_relay(stage):
    stage.call([PUBLIC], [HOST])
    assert stage.judged().rule == "complete"


def test_a_relay_on_one_side_and_nothing_but_udp(stage):
    stage.call([HOST, RELAY], [HOST])
    verdict = stage.judged()
    assert verdict.rule == "one-relay-udp"
    assert verdict.likely.startswith("There is no relay candidate from bob")
    assert "turns:" in verdict.advice[0]
    stage.ice = IceFacts(stun=True, turn=True, turn_tcp=True)
    assert "bob was given TURN over TCP" in stage.judged().advice[0]


def test_a_relay_on_one_side_and_tcp(stage):
    stage.call([HOST, RELAY, TCP], [HOST, SRFLX])
    assert stage.judged().rule == "complete"


def test_no_end_of_candidates(stage):
    stage.call([RELAY], [RELAY], ends=False)
    stage.now -= 28
    verdict = stage.judged()
    assert (verdict.rule, verdict.seen and verdict.seen.peer) == ("no-end-of-candidates", "bob")
    stage.says("bob", "candidate", candidate={"candidate": ""})
    assert stage.judged().likely.startswith("cam1 has not said")


def test_a_stack_that_never_says_that_these_are_all(stage):
    stage.call([RELAY], [RELAY], ends=False)
    assert stage.judged().rule == "complete"


# -- what remains


def test_bye_with_a_reason(stage):
    stage.call([RELAY], [RELAY])
    stage.says("bob", "bye", reason="ice-failed", after=30)
    verdict = stage.judged()
    assert verdict.rule == "ended"
    assert verdict.outcome.startswith("not connected; bob left after 30")
    assert verdict.outcome.endswith('("ice-failed")')
    assert verdict.steps[-1].text.startswith('bye "ice-failed" from bob after 30')


@pytest.mark.parametrize("reason", [None, "device off", "hung up"])
def test_bye_that_says_nothing_of_a_failure(stage, reason):
    stage.call([RELAY], [RELAY])
    stage.says("bob", "bye", **({} if reason is None else {"reason": reason}))
    assert stage.judged().outcome.startswith("bob left after ")


def test_the_end_of_a_link(stage):
    stage.call([RELAY], [RELAY])
    stage.facts["cam1"] = PeerFacts("cam1", ended=[Ended(AT + 9, "connection lost", 900.0)])
    verdict = stage.judged()
    assert (verdict.rule, verdict.likely) == ("ended", "The link of cam1 ended 9 s after the offer: connection lost.")
    assert verdict.steps[0].text.startswith("cam1 not now (connection lost, ")


def test_signaling_was_complete(stage):
    stage.call([HOST, SRFLX, RELAY], [HOST, SRFLX, RELAY])
    verdict = stage.judged()
    assert (verdict.rule, verdict.sender, verdict.to, verdict.session) == ("complete", "cam1", "bob", "k3")
    assert verdict.likely == (
        "Signaling was complete: the fault is in ICE or DTLS, if there is one. Ask the endpoints."
    )
    assert [step.level for step in verdict.steps] == ["ok"] * 4
    assert verdict.steps[1].text == "86 ms"


def test_what_was_not_kept_is_not_judged(stage):
    stage.call([HOST], [HOST])
    stage.passed = [passed._replace(body=passed.body[:24]) for passed in stage.passed]
    verdict = stage.judged()
    assert verdict.rule == "complete"
    assert "bodies are not kept" in verdict.likely
    assert verdict.steps[2].text == "nothing that can be read"


# -- what was refused before it could be read, or to somebody without an ID


def attempt(**different: Any) -> Attempt:
    told: dict[str, Any] = {
        "claimed": "bob",
        "when": AT - 20,
        "code": ErrorCode.AUTH_FAILED,
        "kind": "register",
        "why": "not accepted",
    }
    told |= different
    return Attempt(told.pop("when"), told.pop("code"), told.pop("kind"), told.pop("why"), **told)


def test_not_registered_since_its_register_was_refused(stage):
    stage.facts["bob"] = PeerFacts("bob")
    stage.attempts = [attempt(objection=Objection("expired", "the token expired in May"), times=4)]
    verdict = stage.judged()
    assert verdict.rule == "not-registered"
    assert verdict.likely == (
        "bob is not registered: its register was refused 50 s ago, 4 times (auth-failed): the token expired in May."
    )
    assert verdict.advice[0] == "sigctl errors auth-failed"
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.PEER_UNAVAILABLE)
    assert "its register was refused" in stage.judged().likely


@pytest.mark.parametrize(
    "different", [{"claimed": "eve"}, {"kind": "offer"}, {"when": AT - 7200}, {"claimed": "", "to": "bob"}]
)
def test_what_was_refused_to_others_or_long_ago_is_not_told(stage, different):
    stage.facts["bob"] = PeerFacts("bob")
    stage.attempts = [attempt(**different)]
    assert stage.judged().likely == "bob is not registered."


def test_who_is_here_was_not_refused(stage):
    stage.attempts = [attempt()]  # of somebody who claimed to be bob
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.PEER_UNAVAILABLE)
    assert stage.judged().likely == "bob was not registered when cam1 sent its offer."


def test_an_offer_of_a_client_without_an_id(stage):
    stage.attempts = [attempt(claimed="", to="bob", kind="offer", code=ErrorCode.NOT_REGISTERED, why="register first")]
    verdict = stage.judged()
    assert verdict.rule == "no-offer"
    assert (
        "A client without an ID sent bob an offer, which was refused (not-registered): register first."
        in verdict.likely
    )


@pytest.mark.parametrize(("kind", "what"), [("offer", "an offer"), ("", "a message")])
def test_something_refused_that_names_nobody(stage, kind, what):
    stage.refuses("cam1", kind, ErrorCode.TOO_LARGE, "a line must be at most 65536 bytes here", 74_307, named=False)
    verdict = stage.judged()
    assert verdict.rule == "offer-refused"
    assert verdict.likely == (
        f"cam1 sent {what} of 74 kB that names no recipient, as far as it could be read; it was refused (too-large):"
        " a line must be at most 65536 bytes here."
    )
    del stage.facts["cam1"]
    assert stage.judged().rule == "offer-refused"  # rather than that it has left since


def test_a_candidate_that_names_nobody_is_no_offer(stage):
    stage.refuses("cam1", "candidate", ErrorCode.BAD_MESSAGE, "Object missing required field `to`", 90, named=False)
    assert stage.judged().rule == "no-offer"


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("Expected `str`, got `object` - at `$.sdp`", "and not an object"),
        ("JSON is malformed: invalid character (byte 9)", "correct the message"),
    ],
)
def test_a_message_that_could_not_be_read(stage, why, advice):
    stage.refuses("cam1", "offer", ErrorCode.BAD_MESSAGE, why, 706)
    verdict = stage.judged()
    assert verdict.likely == f"The offer of cam1 was refused (bad-message): {why}. It has 706 B."
    assert advice in verdict.advice[0]
    assert (verdict.seen and verdict.seen.peer) == "cam1"


def test_a_renegotiation_that_was_refused(stage):
    stage.call([RELAY], [RELAY])
    stage.says("bob", "offer", sdp=answer(setup="actpass"), refusal=ErrorCode.PEER_BUSY, after=60)
    verdict = stage.judged()
    assert verdict.rule == "offer-refused"
    assert "The offer of bob was refused" in verdict.likely


# -- sessions


def test_an_answer_with_another_session(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.session = None
    stage.says("bob", "answer", sdp=answer())
    verdict = stage.judged(session="k3")
    assert verdict.rule == "other-session"
    assert verdict.likely.startswith("bob sent its answer with no session, and the call has session k3")


def test_offers_of_other_sessions_are_not_denied(stage):
    stage.call([RELAY], [RELAY])
    verdict = stage.judged(session="k4")
    assert verdict.rule == "no-offer"
    assert "an offer of session k4, as far as is remembered. 1 of other sessions is." in verdict.likely


def test_messages_that_may_carry_a_call(stage):
    stage.says("cam1", "message", data={"sdpOffer": sdp()})
    assert "They sent 1 of type `message`" in stage.judged().likely


# -- later offers


@pytest.mark.parametrize(
    ("different", "what"),
    [
        ({"version": 4004357075, "ufrag": "nEw1"}, "ICE restart"),
        ({"version": 4004357075}, "next offer of the same call"),
    ],
)
def test_a_later_offer_that_nobody_answers(stage, different, what):
    stage.call([RELAY], [RELAY])
    stage.says("cam1", "offer", sdp=sdp(RELAY, **different), after=60)
    verdict = stage.judged()
    assert (verdict.rule, verdict.at) == ("no-answer", AT)
    assert verdict.likely == f"bob never answered; it got the {what} 30 s ago."
    assert verdict.steps[1].level == "warn"


def test_an_answer_that_was_made_late_is_none_that_came_late(stage):
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.says("bob", "answer", sdp=answer(), after=300)
    stage.trickles("bob", RELAY, None)
    assert stage.judged().rule == "complete"


@pytest.mark.parametrize(("seconds", "rule"), [(9, "complete"), (11, "late-answer")])
def test_an_answer_whose_candidates_came_long_before(stage, seconds, rule):
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.trickles("bob", HOST)
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True), after=seconds)
    verdict = stage.judged()
    assert verdict.rule == rule
    assert ("next DTLS hello" in verdict.likely) == (rule == "late-answer")
