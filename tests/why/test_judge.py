"""Which call is judged, what is counted, and what nobody is told."""

import msgspec

from sigd.relay.record import PairHistory, Passed
from sigd.why.facts import Ended, IceFacts, PeerFacts, ice_facts
from sigd.why.judge import judge
from sigd.wire.errors import ErrorCode
from tests.relay.world import World
from tests.why.staged import AT, HOST, HOST6, PASSWORD, RELAY, SRFLX, UFRAG, Stage, answer, sdp


def sessions(*names: str) -> Stage:
    """A stage with one call each, ten minutes apart, none with a relay."""
    stage = Stage()
    for name in names:
        stage.session = name
        stage.call([HOST, SRFLX], [HOST])
        stage.now += 600
    return stage


def test_the_last_session_is_judged_and_earlier_ones_are_counted():
    stage = sessions("k1", "k2", "k3")
    verdict = stage.judged()
    assert verdict.session == "k3"
    assert verdict.seen is not None
    assert (verdict.seen.peer, verdict.seen.times, verdict.seen.of) == ("bob", 3, 3)


def test_a_session_may_be_named():
    stage = sessions("k1", "k2")
    assert stage.judged(session="k1").at == AT
    verdict = stage.judged(session="none")
    assert (verdict.session, verdict.rule, verdict.at) == ("none", "no-offer", None)


def test_what_was_over_an_hour_ago_is_not_counted():
    stage = sessions(*(f"k{number}" for number in range(10)))
    verdict = stage.judged()
    assert verdict.seen is not None
    assert (verdict.seen.times, verdict.seen.of) == (5, 5)


def test_a_call_that_went_well_is_counted_as_one_that_did():
    stage = sessions("k1")
    stage.session = "k2"
    stage.call([RELAY], [RELAY])
    stage.session = "k3"
    stage.call([HOST, SRFLX], [HOST])
    verdict = stage.judged()
    assert verdict.seen is not None
    assert (verdict.seen.times, verdict.seen.of) == (2, 3)


def test_calls_with_others_are_counted_too():
    stage = sessions("k3")
    other = sessions("x")
    swap = {"cam1": "cam2", "bob": "bob"}
    passed = [each._replace(sender=swap[each.sender], to=swap[each.to]) for each in other.passed]
    others = [PairHistory(("cam2", "bob"), passed, 0.0), stage.history]
    verdict = stage.judged(others=others)
    assert verdict.seen is not None
    assert (verdict.seen.peer, verdict.seen.times, verdict.seen.of) == ("bob", 2, 2)


def test_without_sessions_another_peer_connection_is_another_call():
    stage = Stage(session=None)
    stage.says("cam1", "offer", sdp=sdp(HOST, origin=1))
    stage.says("bob", "answer", sdp=answer(HOST, origin=2))
    stage.says("cam1", "offer", sdp=sdp(RELAY, origin=3), after=60)
    assert stage.judged().rule == "no-answer"
    assert stage.judged().at == AT + 60.1


def test_a_renegotiation_is_the_same_call():
    stage = Stage(session=None)
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))
    stage.says("bob", "offer", sdp=answer(RELAY, ends=True, setup="actpass"), after=60)
    stage.says("cam1", "answer", sdp=sdp(RELAY, ends=True, setup="active"))
    verdict = stage.judged()
    assert (verdict.rule, verdict.at, verdict.sender) == ("complete", AT, "cam1")


def test_an_offer_after_a_bye_is_another_call_and_a_late_candidate_is_not():
    stage = Stage(session=None)
    stage.call([RELAY], [RELAY])
    stage.says("bob", "bye")
    stage.trickles("cam1", HOST)
    assert stage.judged().rule == "ended"
    stage.says("bob", "offer", sdp=sdp(), after=5)
    verdict = stage.judged()
    assert (verdict.rule, verdict.sender, verdict.to) == ("no-answer", "bob", "cam1")


def test_a_bye_and_messages_alone_are_no_call():
    stage = Stage()
    stage.says("bob", "bye")
    stage.says("bob", "message", data={"hello": 1})
    assert stage.judged().rule == "no-offer"
    assert stage.judged().at is None


def test_nothing_secret_is_told():
    stage = Stage()
    stage.says("cam1", "offer", sdp=sdp(HOST, HOST6, SRFLX))
    stage.says("bob", "answer", sdp=answer(HOST, RELAY))
    text = msgspec.json.encode(stage.judged()).decode()
    for secret in (UFRAG, PASSWORD, "10.1.2.3", "8.8.4", "9.9.9.4", "2a00::9", "fingerprint"):
        assert secret not in text
    full = msgspec.json.encode(stage.judged(full=True)).decode()
    assert "host udp 10.1.2.3:40313" in full
    assert PASSWORD not in full


def test_the_json_of_a_verdict():
    stage = Stage()
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.TOO_LARGE)
    assert msgspec.json.decode(msgspec.json.encode(stage.judged())) == {
        "from": "cam1",
        "to": "bob",
        "session": "k3",
        "at": AT,
        "outcome": "not connected",
        "steps": [
            {
                "level": "ok",
                "what": "registered",
                "text": "cam1 for 22 min (tls), bob for 2 min (tcp); neither replaced meanwhile",
            },
            {"level": "fail", "what": "offer", "text": "refused: too-large"},
            {"level": "-", "what": "cam1 sent", "text": "nothing that can be read"},
            {"level": "-", "what": "bob sent", "text": "nothing that can be read"},
        ],
        "rule": "offer-refused",
        "likely": "The offer of cam1 was refused (too-large): bob does not take messages of that length.",
        "advice": ["have bob register with a larger maxFrame, or the sender leave codecs out"],
        "seen": {"peer": "bob", "times": 1, "of": 1},
    }


def test_a_call_through_a_router():
    world = World()
    cam, bob = world.peer("cam1"), world.peer("bob", max_frame=1024)
    bob.max_frame = 200
    cam.says({"type": "offer", "to": "bob", "sdp": sdp(), "session": "k3"})
    ahead = world.unix_ahead
    facts = {"cam1": PeerFacts("cam1"), "bob": PeerFacts("bob", ended=[Ended(1.0, "replaced", 2.0)])}
    history = world.router.record.history("bob", "cam1", ahead)
    verdict = judge(history, facts, ice_facts(world.router), world.unix_now)
    assert (verdict.sender, verdict.rule, verdict.at) == ("cam1", "offer-refused", world.unix_now)


def test_a_peer_that_calls_itself():
    passed = [Passed(1.0, "a", "a", msgspec.json.encode({"type": "offer", "sdp": sdp()}), None)]
    assert judge(PairHistory(("a", "a"), passed, 0.0), {}, IceFacts(), 100.0).rule == "no-answer"
