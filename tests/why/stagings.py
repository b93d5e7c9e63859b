"""For each rule a call that it is about, and a neighbour: nearly the same, and the rule must keep quiet about it."""

from collections.abc import Callable
from typing import Final, NamedTuple

from sigd.why.facts import Ended, IceFacts, PeerFacts
from sigd.wire.errors import ErrorCode
from tests.why.staged import AT, FINGERPRINT, HOST, MDNS, PUBLIC, RELAY, SRFLX, Stage, answer, sdp

Staging = Callable[[Stage], None]


class Staged(NamedTuple):
    """Stagings of a rule and of its neighbour, and the rule that leads in the neighbour's."""

    fails: Staging
    neighbour: Staging
    instead: str = "complete"


def _exchange(stage: Stage, offer: str = "", reply: str = "", *more: str, after: float = 0.1) -> None:
    """Offer and answer with everything inside, of two peers with relays unless they are given."""
    stage.says("cam1", "offer", sdp=offer or sdp(RELAY, ends=True))
    stage.says("bob", "answer", sdp=reply or answer(RELAY, ends=True), after=after)


# -- rules


def _absent(stage: Stage) -> None:
    stage.facts["bob"] = PeerFacts("bob", ended=[Ended(AT - 180, "idle-timeout", 60.0)])


def _came_back(stage: Stage) -> None:
    stage.says("cam1", "offer", sdp=sdp(), refusal=ErrorCode.PEER_UNAVAILABLE)
    _exchange(stage)


def _silent(stage: Stage) -> None:
    del stage.passed[:]


def _offer_in_a_message(stage: Stage) -> None:
    stage.says("cam1", "message", data={"type": "offer", "sdp": sdp(RELAY, ends=True)})
    stage.says("bob", "message", data={"type": "answer", "sdp": answer(RELAY, ends=True)})


def _offer_refused(stage: Stage) -> None:
    stage.refuses("cam1", "offer", ErrorCode.BAD_MESSAGE, "Expected `str`, got `object` - at `$.sdp`", 706)


def _offer_mended(stage: Stage) -> None:
    _offer_refused(stage)
    _exchange(stage)


def _answer_refused(stage: Stage) -> None:
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True), refusal=ErrorCode.PEER_BUSY)


def _answer_repeated(stage: Stage) -> None:
    _answer_refused(stage)
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))


def _escaped(stage: Stage) -> None:
    _exchange(stage, sdp(RELAY, ends=True).replace("\r\n", "\\r\\n"))


def _bare_lf(stage: Stage) -> None:
    _exchange(stage, *(text.replace("\r\n", "\n") for text in (sdp(RELAY, ends=True), answer(RELAY, ends=True))))


def _unanswered(stage: Stage) -> None:
    stage.says("cam1", "offer", sdp=sdp())


def _answered_late(stage: Stage) -> None:
    _exchange(stage, after=45)


def _glare(stage: Stage) -> None:
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.says("bob", "offer", sdp=answer(RELAY, ends=True, setup="actpass"), after=0.01)


def _polite(stage: Stage) -> None:
    _glare(stage)
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True))


def _own_offer(stage: Stage) -> None:
    _exchange(stage, sdp(RELAY, ends=True), sdp(RELAY, ends=True))


def _one_certificate(stage: Stage) -> None:
    assert FINGERPRINT in sdp()
    _exchange(stage)  # both have the same one, as two programs with one key file do


def _actpass(stage: Stage) -> None:
    _exchange(stage, "", answer(RELAY, ends=True, setup="actpass"))


def _offered_active(stage: Stage) -> None:
    _exchange(stage, sdp(RELAY, ends=True, setup="active"), answer(RELAY, ends=True, setup="passive"))


def _fewer_sections(stage: Stage) -> None:
    whole = answer(RELAY, ends=True)
    _exchange(stage, "", whole[: whole.index("m=application")].replace("BUNDLE 0 1", "BUNDLE 0"))


def _one_rejected(stage: Stage) -> None:
    reply = answer(RELAY, ends=True).replace("m=application 40313", "m=application 0")
    _exchange(stage, "", reply.replace("BUNDLE 0 1", "BUNDLE 0"))


def _all_rejected(stage: Stage) -> None:
    _exchange(stage, "", answer(RELAY, ends=True).replace(" 40313 ", " 0 "))


def _bundle_only(stage: Stage) -> None:
    offer = sdp(RELAY, ends=True).replace("m=application 40313", "m=application 0")
    _exchange(stage, offer.replace("a=mid:1", "a=bundle-only\r\na=mid:1"))


def _no_codec(stage: Stage) -> None:
    _exchange(stage, "", answer(RELAY, ends=True).replace("opus/48000/2", "PCMU/8000"))


def _other_number(stage: Stage) -> None:
    reply = answer(RELAY, ends=True).replace("SAVPF 96", "SAVPF 111").replace("rtpmap:96 opus", "rtpmap:111 OPUS")
    _exchange(stage, "", reply)


def _both_lite(stage: Stage) -> None:
    _exchange(stage, *(text.replace("t=0 0", "t=0 0\r\na=ice-lite") for text in (sdp(RELAY), answer(RELAY))))


def _one_lite(stage: Stage) -> None:
    _exchange(stage, "", answer(RELAY, ends=True).replace("t=0 0", "t=0 0\r\na=ice-lite"))


def _half_restart(stage: Stage) -> None:
    _exchange(stage)
    stage.now += 30
    _exchange(stage, sdp(RELAY, ends=True, ufrag="nEw1", version=4004357075))


def _restart(stage: Stage) -> None:
    _exchange(stage)
    stage.now += 30
    new = answer(RELAY, ends=True, ufrag="nEw2", version=4004357075)
    _exchange(stage, sdp(RELAY, ends=True, ufrag="nEw1", version=4004357075), new)


def _recvonly(stage: Stage) -> None:
    _exchange(stage, *(text.replace("a=sendrecv", "a=recvonly") for text in (sdp(RELAY), answer(RELAY))))


def _one_way(stage: Stage) -> None:
    _exchange(
        stage,
        sdp(RELAY, ends=True).replace("a=sendrecv", "a=recvonly"),
        answer(RELAY, ends=True).replace("a=sendrecv", "a=sendonly"),
    )


# -- candidates


def _ios(stage: Stage) -> None:
    stage.call()
    for candidate in (HOST, RELAY):
        stage.says("bob", "candidate", candidate={"sdp": candidate, "sdpMid": "0", "sdpMLineIndex": 0})
    stage.trickles("cam1", HOST, SRFLX)


def _ios_and_others(stage: Stage) -> None:
    _ios(stage)
    stage.trickles("bob", RELAY)


def _early(stage: Stage) -> None:
    stage.trickles("cam1", HOST, SRFLX)
    _exchange(stage, sdp())


def _early_and_inside(stage: Stage) -> None:
    stage.trickles("cam1", HOST, RELAY)
    _exchange(stage, sdp(HOST, RELAY))


def _candidates_refused(stage: Stage) -> None:
    stage.call([HOST, SRFLX])
    for candidate in (HOST, RELAY):
        init = {"candidate": candidate, "sdpMid": "0"}
        stage.says("bob", "candidate", candidate=init, refusal=ErrorCode.PEER_BUSY)


def _candidates_repeated(stage: Stage) -> None:
    _candidates_refused(stage)
    stage.trickles("bob", HOST, RELAY)


def _without_session(stage: Stage) -> None:
    stage.call([HOST, SRFLX])
    session, stage.session = stage.session, None
    stage.trickles("bob", HOST, RELAY)
    stage.session = session


def _with_and_without_session(stage: Stage) -> None:
    _without_session(stage)
    stage.trickles("bob", RELAY)


def _none(stage: Stage) -> None:
    stage.call([HOST, SRFLX], [])


def _none_needed(stage: Stage) -> None:
    stage.call([HOST, RELAY], [])  # bob's come with its checks: peer-reflexive


# -- addresses


def _mdns(stage: Stage) -> None:
    stage.call([MDNS], [HOST])


def _mdns_at_home(stage: Stage) -> None:
    _mdns(stage)
    stage.at("8.8.4.4", "8.8.4.4")


def _relay_hidden(stage: Stage) -> None:
    stage.call([HOST, SRFLX, RELAY.replace("9.9.9.4", "172.17.0.2")], [HOST, SRFLX])


def _relay_in_a_company(stage: Stage) -> None:
    relay = RELAY.replace("9.9.9.4", "172.17.0.2")
    stage.call([HOST, relay], [HOST.replace("10.1.2.3", "10.9.8.7"), relay])


def _private(stage: Stage) -> None:
    stage.call([HOST], [HOST])


def _private_at_home(stage: Stage) -> None:
    _private(stage)
    stage.at("8.8.4.4", "8.8.4.4")


def _expired(stage: Stage) -> None:
    stage.ice = IceFacts(stun=True, turn=True)
    stage.facts["bob"].ice_expires = AT - 60
    stage.call([HOST, SRFLX], [HOST, SRFLX])


def _expired_and_reachable(stage: Stage) -> None:
    stage.ice = IceFacts(stun=True, turn=True)
    stage.facts["bob"].ice_expires = AT - 60
    stage.call([HOST, RELAY], [HOST, SRFLX])


def _no_srflx(stage: Stage) -> None:
    stage.ice = IceFacts(stun=True)
    stage.call([HOST, SRFLX], [HOST])


def _public_needs_none(stage: Stage) -> None:
    stage.ice = IceFacts(stun=True)
    stage.call([PUBLIC], [HOST])


def _no_relay(stage: Stage) -> None:
    stage.call([HOST, SRFLX], [HOST])


def _one_public(stage: Stage) -> None:
    stage.call([HOST, SRFLX], [PUBLIC])


def _one_relay(stage: Stage) -> None:
    stage.call([HOST, RELAY], [HOST])


def _one_relay_and_srflx(stage: Stage) -> None:
    stage.call([HOST, RELAY], [HOST, SRFLX])


# -- times


def _answer_held_up(stage: Stage) -> None:
    stage.says("cam1", "offer", sdp=sdp(RELAY, ends=True))
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True), refusal=ErrorCode.PEER_BUSY)
    stage.says("bob", "answer", sdp=answer(RELAY, ends=True), after=45)


def _ended(stage: Stage) -> None:
    stage.call([RELAY], [RELAY])
    stage.says("bob", "bye", reason="ice-failed", after=30)


def _ended_before(stage: Stage) -> None:
    stage.facts["bob"].ended = [Ended(AT - 5, "replaced", 60.0)]
    stage.call([RELAY], [RELAY])


def _gathering(stage: Stage) -> None:
    stage.call([RELAY], [RELAY], ends=False)
    stage.now -= 28


def _never_ends(stage: Stage) -> None:
    stage.call([RELAY], [RELAY], ends=False)


def _complete(stage: Stage) -> None:
    stage.call([HOST, SRFLX, RELAY], [HOST, SRFLX, RELAY])


STAGED: Final = {
    "not-registered": Staged(_absent, _came_back),
    "no-offer": Staged(_silent, _offer_in_a_message),
    "offer-refused": Staged(_offer_refused, _offer_mended),
    "answer-refused": Staged(_answer_refused, _answer_repeated),
    "bad-description": Staged(_escaped, _bare_lf),
    "no-answer": Staged(_unanswered, _answered_late),
    "glare": Staged(_glare, _polite),
    "own-offer-back": Staged(_own_offer, _one_certificate),
    "answer-setup": Staged(_actpass, _offered_active),
    "answer-media": Staged(_fewer_sections, _one_rejected),
    "all-rejected": Staged(_all_rejected, _bundle_only),
    "no-common-codec": Staged(_no_codec, _other_number),
    "both-lite": Staged(_both_lite, _one_lite),
    "half-restart": Staged(_half_restart, _restart),
    "unreadable-candidates": Staged(_ios, _ios_and_others),
    "early-candidates": Staged(_early, _early_and_inside),
    "candidates-refused": Staged(_candidates_refused, _candidates_repeated),
    "other-session": Staged(_without_session, _with_and_without_session),
    "no-candidates": Staged(_none, _none_needed),
    "mdns-only": Staged(_mdns, _mdns_at_home),
    "relay-hidden": Staged(_relay_hidden, _relay_in_a_company),
    "private-only": Staged(_private, _private_at_home),
    "ice-expired": Staged(_expired, _expired_and_reachable),
    "no-srflx": Staged(_no_srflx, _public_needs_none),
    "no-relay": Staged(_no_relay, _one_public),
    "one-relay-udp": Staged(_one_relay, _one_relay_and_srflx),
    "late-answer": Staged(_answer_held_up, _answered_late),
    "no-media": Staged(_recvonly, _one_way),
    "ended": Staged(_ended, _ended_before),
    "no-end-of-candidates": Staged(_gathering, _never_ends),
    "complete": Staged(_complete, _no_relay, "no-relay"),
}
