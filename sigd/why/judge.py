"""The verdict: from the record of two peers to the likely reason why they did not connect."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sigd.relay.record import PairHistory
from sigd.why import described, detectors, reach, trickling
from sigd.why.calls import Call, Side, calls, heard_in
from sigd.why.detectors import Case, Detector, Diagnosis
from sigd.why.facts import IceFacts, PeerFacts
from sigd.why.flaws import HARMLESS
from sigd.why.spans import span
from sigd.why.verdict import SEEN_SECONDS, Level, Seen, Step, Verdict

DETECTORS: Final[Sequence[Detector]] = (
    detectors.not_registered,
    detectors.no_offer,
    detectors.offer_refused,
    described.bad_description,
    detectors.no_answer,
    detectors.glare,
    described.own_offer,
    described.setup,
    described.media,
    described.all_rejected,
    described.codecs,
    described.both_lite,
    described.half_restart,
    trickling.unreadable,
    trickling.early,
    trickling.refused,
    detectors.other_session,
    trickling.no_candidates,
    reach.mdns_only,
    reach.relay_hidden,
    reach.private_only,
    reach.ice_expired,
    reach.no_srflx,
    reach.no_relay,
    reach.one_relay,
    detectors.late_answer,
    described.no_media,
    detectors.ended,
    reach.gathering,
)
"""Rules in order of precedence: the first with a finding leads; without any, signaling was complete."""

_FAILED: Final = re.compile(r"fail|timed? ?out|error|\b(ice|dtls)\b", re.IGNORECASE)
"""Words of a `reason` that tell of a failed call. Reasons are free text; these are common in programs."""


_NEVER_CONNECTED: Final = frozenset(
    {"not-registered", "offer-refused", "answer-refused", "glare", "bad-description", "own-offer-back", "answer-setup"}
)
"""Rules whose finding rules out a connection between any two stacks."""


_MISFITS: Final = frozenset(
    {"own-offer-back", "answer-setup", "answer-media", "all-rejected", "no-common-codec", "both-lite", "no-media"}
)
"""Rules for which an offer and its answer do not belong together."""


def judge(
    history: PairHistory,
    peers: Mapping[str, PeerFacts],
    ice: IceFacts,
    now: float,
    *,
    session: str | None = None,
    others: Iterable[PairHistory] = (),
    full: bool = False,
) -> Verdict:
    """Explain why two peers did not connect.

    Args:
        history: the messages between them.
        peers: further facts about the two, by ID.
        ice: the ICE servers given to them.
        now: Unix time.
        session: the session of the call; None: the last call.
        others: messages with other peers, for `seen`.
        full: include the addresses of candidates.
    """
    heard = heard_in(history)
    all_calls = calls(history, peers, heard)
    meant = [call for call in all_calls if session in {None, call.session}]
    known = Case(
        None, Side(history.peers[0]), Side(history.peers[1]), peers, ice, now, heard, history.attempts, session
    )
    case = _case(known, _last(meant))
    finding = lead(case)
    both = [*all_calls, *(call for other in others if set(other.peers) != set(history.peers) for call in calls(other))]
    call = case.call
    return Verdict(
        sender=case.caller.peer,
        to=case.callee.peer,
        session=session if call is None else call.session,
        at=None if call is None else call.at,
        outcome=_outcome(case, finding),
        steps=_steps(case, finding, full=full),
        rule=finding.rule,
        likely=finding.likely,
        advice=finding.advice,
        seen=_seen(both, finding, case),
    )


def lead(case: Case) -> Diagnosis:
    """Return the finding of the first rule that has one."""
    return next(filter(None, (rule(case) for rule in DETECTORS)), detectors.complete(case))


def _last(meant: list[Call]) -> Call | None:
    offered = [call for call in meant if any(call.of("offer"))] or meant
    return offered[-1] if offered else None


def _case(known: Case, call: Call | None) -> Case:
    """Return the case of one call, with all other facts."""
    if call is None:
        return known
    return known._replace(call=call, caller=call.side(call.caller), callee=call.side(call.callee))


def _seen(all_calls: list[Call], finding: Diagnosis, case: Case) -> Seen | None:
    recent = [
        call
        for call in all_calls
        if finding.peer in call.peers and call.at > case.now - SEEN_SECONDS and any(call.of("offer"))
    ]
    if not recent:
        return None
    # Messages outside of this call do not matter for calls with others.
    led = [
        lead(_case(case if set(call.peers) == _peers(case) else case._replace(heard=()), call)).rule for call in recent
    ]
    return Seen(peer=finding.peer, times=led.count(finding.rule), of=len(led))


def _peers(case: Case) -> set[str]:
    return {case.caller.peer, case.callee.peer}


def _outcome(case: Case, finding: Diagnosis) -> str:
    call = case.call
    if call is None:
        return "no call is remembered"
    if finding.rule in _NEVER_CONNECTED:
        return "not connected"
    for bye in call.of("bye"):
        reason = bye.body.reason or ""
        failed = finding.rule == "no-answer" or bool(_FAILED.search(reason))
        said = f' ("{reason}")' if reason else ""
        return f"{'not connected; ' if failed else ''}{bye.sender} left after {span(bye.when - call.at)}{said}"
    for side, _ in case.sides:
        end = case.ended(side.peer)
        if end is not None:
            return f"the link of {side.peer} ended after {span(end.when - call.at)} ({end.reason})"
    if finding.rule in {"no-answer", "no-offer"}:
        return "not connected so far"
    return "offer and answer exchanged; whether they connected is not known here"


# -- steps examined


def _steps(case: Case, finding: Diagnosis, *, full: bool) -> list[Step]:
    answered = _answered(case)
    if finding.rule in _MISFITS and answered.level == "ok":
        answered = Step(level="fail", what=answered.what, text=f"{answered.text}; they do not fit")
    steps = [_registered(case), answered]
    if case.call is not None:
        steps += [_sent(case, side, other, full=full) for side, other in reversed(case.sides)]
        steps += _ends(case)
    return steps


def _registered(case: Case) -> Step:
    texts: list[str] = []
    level: Level = "ok"
    for side in (case.caller, case.callee):
        facts = case.of(side.peer)
        if facts.via is None:
            level = "fail" if case.call is None else "warn"
            gone = f" ({facts.ended[-1].reason}, {span(case.now - facts.ended[-1].when)} ago)" if facts.ended else ""
            texts.append(f"{side.peer} not now{gone}")
        else:
            texts.append(f"{side.peer} for {span(case.now - facts.since)} ({facts.via})")
    replaced = [side.peer for side in (case.caller, case.callee) if _replaced(case, side.peer)]
    if case.call is not None:
        level = "warn" if replaced else level
        meanwhile = f"{' and '.join(replaced)} replaced meanwhile" if replaced else "neither replaced meanwhile"
        texts[-1] += f"; {meanwhile}"
    return Step(level=level, what="registered", text=", ".join(texts))


def _replaced(case: Case, peer: str) -> bool:
    end = case.ended(peer)
    return end is not None and end.reason == "replaced"


def _answered(case: Case) -> Step:
    call = case.call
    offer = None if call is None else call.last("offer", case.caller.peer)
    if call is None or offer is None:
        return Step(level="-", what="offer", text="none")
    if offer.refusal is not None:
        return Step(level="fail", what="offer", text=f"refused: {offer.refusal}")
    answer = call.last("answer", case.callee.peer)
    if case.exchange is None and answer is None:
        return Step(level="fail", what="offer \u2192 answer", text=f"none after {span(case.now - offer.when)}")
    if answer is not None and answer.refusal is not None:
        return Step(level="fail", what="answer", text=f"refused: {answer.refusal}")
    first = next((each for each in call.exchanges if each.answer is not None), None)
    if first is None or first.answer is None:
        return Step(level="ok", what="answer", text="came; its offer is not remembered")
    text = span(first.answer.when - first.offer.when)
    restarts = max(case.caller.restarts, case.callee.restarts)
    if restarts:
        text += f"; {restarts} ICE restart{'' if restarts == 1 else 's'} since, judged by the last"
    if case.unanswered is not None:
        return Step(level="warn", what="offer \u2192 answer", text=f"{text}; a later offer is not answered")
    return Step(level="ok", what="offer \u2192 answer", text=text)


def _sent(case: Case, side: Side, other: Side, *, full: bool) -> Step:
    what = f"{side.peer} sent"
    call = case.call
    if call is None or (side.description is None and not side.candidates and not side.flaws):
        return Step(level="-", what=what, text="nothing that can be read")
    flaw = None if side.description is None else side.description.flaw
    if flaw is not None and flaw.by_all:
        return Step(level="fail", what=what, text=f"a description that cannot be read ({flaw.name})")
    places = sorted({one.place for one in side.candidates if one.type == "host"})
    hosts = f"{side.count('host')} host" + (f" ({', '.join(places)})" if places else "")
    srflx = side.count("srflx") + side.count("prflx")
    if side.ended_at is None:
        end = "no end-of-candidates"
    else:
        end = f"end-of-candidates after {span(max(0.0, side.ended_at - call.at))}"
    text = f"{hosts}, {srflx} srflx, {side.count('relay')} relay, {end}"
    text += "".join(f", {count} {what}" for count, what in _uncounted(side) if count)
    if full:
        text += "".join(f"; {one.type} {one.protocol} {one.address}" for one in side.candidates)
    level: Level = "warn" if side.mapped else "fail"
    if reach.reachable(side, other) or reach.reachable(other, side) or reach.same_network(case):
        level = "ok"
    return Step(level=level, what=what, text=text)


def _uncounted(side: Side) -> list[tuple[int, str]]:
    """Return the candidates not counted among the others, with the reason."""
    unread = sum(flaw.by_all and flaw.name not in HARMLESS for flaw in side.flaws)
    return [
        (unread, "unreadable"),
        (len(side.refused), "refused"),
        (side.stale, "from before the ICE restart"),
        (side.strays, "of another connection"),
    ]


def _ends(case: Case) -> list[Step]:
    call = case.call
    assert call is not None
    for bye in call.of("bye"):
        reason = f' "{bye.body.reason}"' if bye.body.reason else ""
        text = f"bye{reason} from {bye.sender} after {span(bye.when - call.at)}"
        return [Step(level="-", what="end", text=text)]
    return []
