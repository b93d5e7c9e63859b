"""Where a call begins, and which candidates belong to its last generation."""

import pytest

from sigd.why.calls import calls, heard_in
from sigd.why.facts import Ended, PeerFacts
from sigd.wire.errors import ErrorCode
from tests.why.staged import AT, HOST, RELAY, SRFLX, Stage, answer, sdp


@pytest.fixture
def stage():
    return Stage(session=None)


def found(stage: Stage):
    return calls(stage.history, stage.facts)


def side(stage: Stage, peer: str):
    return found(stage)[-1].side(peer)


def trickle(stage: Stage, sender: str, candidate: str, **members: object) -> None:
    stage.says(sender, "candidate", candidate={"candidate": candidate, "sdpMid": "0", **members})


# -- where a call begins


@pytest.mark.parametrize(
    ("different", "count"),
    [
        ({}, 1),  # the same offer again
        ({"version": 4004357075}, 1),  # a renegotiation
        ({"version": 4004357075, "ufrag": "nEw1"}, 1),  # an ICE restart
        ({"origin": 9}, 2),  # another RTCPeerConnection
        ({"ufrag": "nEw1"}, 2),  # another one of a stack that always writes the same `o=`
        ({"version": 1, "ufrag": "nEw1"}, 2),
    ],
)
def test_the_second_offer_of_a_peer(stage, different, count):
    stage.call([RELAY], [RELAY])
    stage.says("cam1", "offer", sdp=sdp(**different), after=60)
    assert len(found(stage)) == count


def test_a_call_back_is_one_of_its_own(stage):
    stage.call([RELAY], [RELAY])
    stage.says("bob", "offer", sdp=sdp(origin=5), after=60)
    assert [call.caller for call in found(stage)] == ["cam1", "bob"]


@pytest.mark.parametrize(("seconds", "count"), [(9, 1), (11, 2)])
def test_two_offers_cross_only_within_some_seconds(stage, seconds, count):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "offer", sdp=sdp(origin=5), after=seconds)
    assert len(found(stage)) == count


@pytest.mark.parametrize(("end", "count"), [(AT + 30, 2), (AT - 30, 1), (AT + 90, 1)])
def test_without_bodies_the_end_of_a_link_divides_calls(stage, end, count):
    stage.facts["bob"] = PeerFacts("bob", ended=[Ended(end, "connection lost", 5.0)])
    stage.call()
    stage.says("cam1", "offer", sdp=sdp(origin=9), after=60)
    stage.passed = [passed._replace(body=passed.body[:24]) for passed in stage.passed]
    assert len(found(stage)) == count


def test_a_link_that_came_back_goes_on_with_its_call(stage):
    stage.facts["cam1"].ended = [Ended(AT + 30, "connection lost", 5.0)]
    stage.call([RELAY], [RELAY])
    stage.says("cam1", "offer", sdp=sdp(RELAY, version=4004357075, ufrag="nEw1"), after=60)
    assert len(found(stage)) == 1


def test_what_names_nobody_is_of_no_call(stage):
    stage.refuses("cam1", "offer", ErrorCode.TOO_LARGE, "a line must be at most 65536 bytes here", 70_000, named=False)
    assert found(stage) == []
    assert [(each.body.kind, each.named, each.length) for each in heard_in(stage.history)] == [("offer", False, 70_000)]


# -- offers and their answers


def test_offers_have_their_answers(stage):
    stage.call([RELAY], [RELAY])
    stage.says("bob", "offer", sdp=answer(setup="actpass"), after=60)
    stage.says("cam1", "answer", sdp=sdp(setup="active"))
    stage.says("cam1", "offer", sdp=sdp(), after=60)
    (call,) = found(stage)
    told = [(each.offer.sender, each.answer and each.answer.sender) for each in call.exchanges]
    assert told == [("cam1", "bob"), ("bob", "cam1"), ("cam1", None)]


def test_an_offer_is_taken_back_by_an_answer_to_another(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "offer", sdp=answer(setup="actpass"))
    stage.says("cam1", "answer", sdp=sdp(setup="active"))
    (call,) = found(stage)
    assert [(each.offer.sender, each.answer is None) for each in call.exchanges] == [("bob", False)]


def test_a_refused_answer_answers_nothing(stage):
    stage.says("cam1", "offer", sdp=sdp())
    stage.says("bob", "answer", sdp=answer(), refusal=ErrorCode.PEER_BUSY)
    (call,) = found(stage)
    assert [each.answer for each in call.exchanges] == [None]


# -- generations


@pytest.mark.parametrize("where", [{"usernameFragment": "{}"}, {}])
def test_candidates_of_before_a_restart_do_not_count(stage, where):
    stage.call([HOST, RELAY], [RELAY])
    stage.says("cam1", "offer", sdp=sdp(version=4004357075, ufrag="nEw1"), after=60)
    trickle(stage, "cam1", RELAY, usernameFragment="tTiP")  # a late one
    new = {name: value.format("nEw1") for name, value in where.items()}
    trickle(stage, "cam1", HOST if new else f"{HOST} ufrag nEw1", **new)
    cam1 = side(stage, "cam1")
    assert ([each.type for each in cam1.candidates], cam1.stale, cam1.restarts) == (["host"], 3, 1)
    assert cam1.ended_at is None
    assert (cam1.early, cam1.strays) == ([], 0)


def test_one_without_a_fragment_is_of_the_generation_of_its_time(stage):
    stage.call([HOST], [HOST])
    trickle(stage, "cam1", SRFLX)
    assert side(stage, "cam1").count("srflx") == 1
    stage.says("cam1", "offer", sdp=sdp(version=4004357075, ufrag="nEw1"), after=60)
    assert side(stage, "cam1").count("srflx") == 0


def test_one_of_the_next_generation_may_come_ahead_of_it(stage):
    stage.call([HOST], [HOST])
    trickle(stage, "cam1", RELAY, usernameFragment="nEw1")
    assert (side(stage, "cam1").strays, side(stage, "cam1").relay) == (1, False)
    stage.says("cam1", "offer", sdp=sdp(version=4004357075, ufrag="nEw1"))
    cam1 = side(stage, "cam1")
    assert (cam1.strays, cam1.relay, len(cam1.early)) == (0, True, 1)


def test_late_ones_of_the_call_before_are_not_early_ones_of_the_next(stage):
    stage.call([HOST], [HOST])
    stage.says("bob", "bye")
    stage.says("cam1", "offer", sdp=sdp(origin=9, ufrag="nEw1"), after=5)
    trickle(stage, "cam1", RELAY, usernameFragment="tTiP")
    trickle(stage, "cam1", HOST, usernameFragment="nEw1")
    cam1 = side(stage, "cam1")
    assert ([each.type for each in cam1.candidates], cam1.early, cam1.strays) == (["host"], [], 1)


def test_a_fragment_tells_nothing_where_no_description_can_be_read(stage):
    stage.says("cam1", "offer", sdp="x")
    trickle(stage, "cam1", RELAY, usernameFragment="tTiP")
    assert side(stage, "cam1").relay
    stage.passed.pop(0)
    assert side(stage, "cam1").relay
