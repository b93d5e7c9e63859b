"""Rules for the descriptions of a call, alone and in pairs of offer and answer. Pure functions, as in `rules`."""

from collections.abc import Iterator
from typing import Final

from sigd.why import flaws
from sigd.why.calls import Heard, Side
from sigd.why.detectors import Case, Diagnosis
from sigd.why.flaws import Flaw
from sigd.why.sdp import Description, Section, shown, unusable_fingerprint

_MEDIA: Final = frozenset({"audio", "video"})
_SHORTEST_UFRAG: Final = 4
_SHORTEST_PASSWORD: Final = 22
"""Minimum characters of an ICE password (RFC 8839, section 5.4)."""


# -- single descriptions


def bad_description(case: Case) -> Diagnosis | None:
    """Find a description that some or all stacks refuse."""
    for side, other in reversed(case.sides):
        if side.description is None or case.call is None:
            continue
        message = case.call.described(side.peer)
        if message is None or message.refusal is not None or message.body.description is None:
            continue
        kind, said = message.body.kind, message.body.description
        flaw = _flaw_that_counts(case, message, other)
        if flaw is not None:
            likely = f"The {kind} of {side.peer} came, but {flaw.looks}."
            if flaw.by_all:
                likely += " No WebRTC stack accepts it."
            return Diagnosis("bad-description", likely, [flaw.mend], side.peer)
        if said.flaw is None and said.lacks:
            likely = f"The {kind} of {side.peer} has no {_list(said.lacks)}: no WebRTC stack connects to that."
            advice = [f"send the SDP of {side.peer} as its stack makes it: was it shortened, or made by hand?"]
            return Diagnosis("bad-description", likely, advice, side.peer)
    return None


def _flaw_that_counts(case: Case, message: Heard, other: Side) -> Flaw | None:
    """Return the first flaw that kept the other side from reading a description.

    An answered offer was read despite its flaw, unless all stacks refuse it and the answer has another form: then the
    answer belongs to something else. An answer is judged by the caller's known refusals.
    """
    said = message.body.description
    assert said is not None
    for flaw in _flaws(said, message.body.kind):
        if message.body.kind == "offer":
            exchange = case.exchange
            answered = exchange is not None and exchange.offer is message
            reply = exchange.answer.body.description if answered and exchange and exchange.answer else None
            if not answered or (flaw.by_all and (reply is None or reply.flaw != flaw)):
                return flaw
        elif flaw.by_all:
            if other.description is None or other.description.flaw != flaw:
                return flaw
        elif other.description is not None and other.description.stack in flaw.refused_by:
            return flaw
    return None


def _flaws(said: Description, kind: str) -> Iterator[Flaw]:
    """Yield the flaws of a description that stacks refuse, the worst first."""
    if said.flaw is not None:
        yield said.flaw
        if said.flaw.by_all:
            return
    sections = [each for each in said.sections if not each.rejected]
    if said.sections and any(map(unusable_fingerprint, sections)):
        yield flaws.FINGERPRINT
    if any(each.setup == "holdconn" for each in sections):
        yield flaws.HOLDCONN
    if any(0 < len(each.ufrag) < _SHORTEST_UFRAG for each in sections):
        yield flaws.SHORT_UFRAG
    if any(0 < len(each.password) < _SHORTEST_PASSWORD for each in sections):
        yield flaws.SHORT_PASSWORD
    if len(said.mids) != len(set(said.mids)):
        yield flaws.SAME_MID
    if not set(said.bundled) <= set(said.mids):
        yield flaws.BUNDLE_MID
    if any(each.kind in _MEDIA and "rtcp-mux" not in each.attributes for each in sections):
        yield flaws.NO_MUX
    if sections and not any(each.setup for each in sections):
        yield flaws.NO_SETUP_OFFER if kind == "offer" else flaws.NO_SETUP_ANSWER
    if any(digest != digest.upper() for each in sections for digest in each.fingerprints.values()):
        yield flaws.LOWER_FINGERPRINT
    data = [each for each in sections if each.kind == "data"]
    if kind == "answer" and any(not each.attributes & {"sctp-port", "sctpmap"} for each in data):
        yield flaws.NO_SCTP_PORT


def _list(names: list[str]) -> str:
    return " and no ".join(names)


# -- offer and answer compared


def _pair(case: Case) -> tuple[Heard, Description, Heard, Description] | None:
    exchange = case.exchange
    if exchange is None or exchange.answer is None:
        return None
    offer, answer = exchange.offer.body.description, exchange.answer.body.description
    if offer is None or answer is None or not offer.sections:
        return None
    return exchange.offer, offer, exchange.answer, answer


def _sections(offer: Description, answer: Description) -> list[tuple[Section, Section]]:
    """Return pairs of sections of offer and answer, without rejected ones."""
    return [(one, other) for one, other in zip(offer.sections, answer.sections, strict=False) if not other.rejected]


def own_offer(case: Case) -> Diagnosis | None:
    """Find an answer that is the offer itself, sent back."""
    pair = _pair(case)
    if pair is None:
        return None
    asked, offer, replied, answer = pair
    same = offer.origin == answer.origin and offer.ufrags == answer.ufrags and offer.fingerprints == answer.fingerprints
    if not same or not offer.ufrags:
        return None
    likely = f"The answer of {replied.sender} is the offer of {asked.sender}, sent back."
    advice = [
        f"have {replied.sender} send pc.localDescription after createAnswer and setLocalDescription, not the offer",
        "does the program hear its own messages, or those of another connection?",
    ]
    return Diagnosis("own-offer-back", likely, advice, replied.sender)


def setup(case: Case) -> Diagnosis | None:
    """Find DTLS roles that do not match: one side must be active, the other passive."""
    pair = _pair(case)
    if pair is None:
        return None
    asked, offer, replied, answer = pair
    for one, other in _sections(offer, answer):
        if other.setup == "actpass":
            likely = (
                f"The answer of {replied.sender} says a=setup:actpass, valid only in an offer: every stack refuses it."
            )
        elif other.setup and other.setup == one.setup:
            waits = "each waits for the other one to begin DTLS" if one.setup == "passive" else "both begin DTLS"
            likely = f"Both {asked.sender} and {replied.sender} say a=setup:{shown(one.setup)}: {waits}."
        else:
            continue
        advice = [
            f"have {replied.sender} answer a=setup:active to actpass or passive, and passive to active (RFC 8842)",
            "send the answer as the stack makes it, with nothing replaced in it",
        ]
        return Diagnosis("answer-setup", likely, advice, replied.sender)
    return None


def media(case: Case) -> Diagnosis | None:
    """Find an answer whose sections differ from the offer's: each `m=` line is answered in its place (RFC 3264)."""
    pair = _pair(case)
    if pair is None:
        return None
    _, offer, replied, answer = pair
    problem = _mismatch(offer, answer)
    if problem is None:
        return None
    likely = f"The answer of {replied.sender} does not fit the offer: {problem}."
    advice = [
        "send the answer as the stack makes it: a section that is not wanted keeps its m= line, with port 0 (RFC 3264)",
        "is it the answer to another offer?",
    ]
    return Diagnosis("answer-media", likely, advice, replied.sender)


def _mismatch(offer: Description, answer: Description) -> str | None:
    ours, theirs = offer.sections, answer.sections
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} m= line{'' if len(theirs) == 1 else 's'}, and the offer has {len(ours)}"
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        if one.kind != other.kind:
            return f"its section {number} is {other.name}, and that of the offer is {one.name}"
        if one.mid and other.mid and one.mid != other.mid:
            return f"its section {number} has a=mid:{shown(other.mid)}, and that of the offer a=mid:{shown(one.mid)}"
        if one.mid and not other.mid and offer.stack == "aiortc":
            return f"its section {number} has no a=mid, and aiortc wants one"
    if offer.bundled and not set(answer.bundled) <= set(offer.bundled):
        return "its a=group:BUNDLE names sections that the offer does not bundle"
    return None


def all_rejected(case: Case) -> Diagnosis | None:
    """Find an answer that rejects everything."""
    pair = _pair(case)
    if pair is None:
        return None
    asked, _, replied, answer = pair
    if not answer.sections or not all(each.rejected for each in answer.sections):
        return None
    likely = f"The answer of {replied.sender} rejects all media of the offer (port 0): nothing is left to connect."
    advice = [
        f"do {asked.sender} and {replied.sender} have a codec in common, and did {replied.sender} add its tracks?",
    ]
    return Diagnosis("all-rejected", likely, advice, replied.sender)


def codecs(case: Case) -> Diagnosis | None:
    """Find a section accepted with formats that were not offered."""
    pair = _pair(case)
    if pair is None:
        return None
    asked, offer, replied, answer = pair
    for one, other in _sections(offer, answer):
        if one.kind in _MEDIA and one.codecs and other.codecs and one.codecs.isdisjoint(other.codecs):
            has, wants = _names(other.codecs), _names(one.codecs)
            likely = (
                f"For {one.kind}, {replied.sender} answered {has}, and {asked.sender} offered {wants}: none in common."
            )
            return Diagnosis("no-common-codec", likely, [f"have both use one codec for {one.kind}"], replied.sender)
    return None


def _names(codec_names: set[str]) -> str:
    listed = sorted(map(shown, codec_names))
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")


def both_lite(case: Case) -> Diagnosis | None:
    """Find two ICE lite agents: neither sends checks (RFC 8445, section 2.5)."""
    pair = _pair(case)
    if pair is None or not (pair[1].lite and pair[3].lite):
        return None
    likely = "Both say a=ice-lite: neither makes connectivity checks."
    return Diagnosis("both-lite", likely, ["make one of them a full ICE agent"], pair[2].sender)


def half_restart(case: Case) -> Diagnosis | None:
    """Find an ICE restart that the answerer did not follow: its user fragment is the old one."""
    pair = _pair(case)
    if pair is None or case.call is None:
        return None
    asked, offer, replied, answer = pair
    before = [
        each
        for each in case.call.exchanges
        if each.answer is not None and each.offer is not asked and each.answer.when < asked.when
    ]
    if not before or before[-1].answer is None:
        return None
    of_sender = {each.sender: each.body.description for each in (before[-1].offer, before[-1].answer)}
    old, kept = of_sender.get(asked.sender), of_sender.get(replied.sender)
    if old is None or kept is None or not offer.ufrags or offer.ufrags & old.ufrags:
        return None
    if not answer.ufrags or answer.ufrags != kept.ufrags:
        return None
    likely = (
        f"{asked.sender} asked for an ICE restart, and {replied.sender} answered with its old user fragment: its stack"
        " does not restart (aiortc 1.16 and webrtcbin 1.22 do not)."
    )
    return Diagnosis("half-restart", likely, ["make a new call instead of restarting ICE"], replied.sender)


def no_media(case: Case) -> Diagnosis | None:
    """Find directions that let no media flow, although everything else connects."""
    pair = _pair(case)
    if pair is None or case.call is None or len(case.call.exchanges) > 1:
        return None  # later ones may be in force
    asked, offer, replied, answer = pair
    sections = [(one, other) for one, other in _sections(offer, answer) if one.kind in _MEDIA]
    if not sections or any(_flows(one, other) or _flows(other, one) for one, other in sections):
        return None
    said = sorted({shown(each.direction) for both in sections for each in both})
    likely = (
        f"Neither {asked.sender} nor {replied.sender} sends what the other one takes ({', '.join(said)}): they may"
        " connect, and no audio or video flows."
    )
    advice = [f"has {replied.sender} tracks to send, and were they added before createAnswer?"]
    return Diagnosis("no-media", likely, advice, replied.sender)


def _flows(one: Section, other: Section) -> bool:
    """Return whether the second accepts the first one's media; without an attribute a section does both (RFC 8866)."""
    return one.direction in {"", "sendrecv", "sendonly"} and other.direction in {"", "sendrecv", "recvonly"}
