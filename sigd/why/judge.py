"""From what two peers have said to why they did not connect."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sigd.relay.record import PairHistory
from sigd.why import reach, rules
from sigd.why.calls import Call, Side, calls
from sigd.why.facts import IceFacts, PeerFacts
from sigd.why.rules import Case, Finding, Rule
from sigd.why.spans import span
from sigd.why.verdict import SEEN_SECONDS, Level, Seen, Step, Verdict

RULES: Final[Sequence[Rule]] = (
    rules.not_registered,
    rules.no_offer,
    rules.offer_refused,
    rules.no_answer,
    rules.glare,
    rules.bad_description,
    rules.early_candidates,
    reach.no_candidates,
    reach.mdns_only,
    reach.private_only,
    reach.ice_expired,
    reach.no_srflx,
    reach.no_relay,
    reach.one_relay,
    reach.no_end,
    rules.ended,
)
"""The first that finds something leads; with none of them signaling was complete."""

_FAILED: Final = re.compile(r"fail|timed? ?out|error|\b(ice|dtls)\b", re.IGNORECASE)
"""What a `reason` says of a call that did not come to be. They are free text; these are what programs use."""


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
    """Why two peers did not connect.

    Args:
        history: what they have said to each other.
        peers: what else is known of the two, by ID.
        ice: the servers that they were told of.
        now: Unix time.
        session: the call that is meant; None: the last one.
        others: what one of them has said to third parties, for `seen`.
        full: with the addresses that they told each other.
    """
    all_calls = calls(history)
    meant = [call for call in all_calls if session in {None, call.session}]
    case = _case(history.peers, _last(meant), peers, ice, now)
    finding = lead(case)
    both = [*all_calls, *(call for other in others if set(other.peers) != set(history.peers) for call in calls(other))]
    call = case.call
    return Verdict(
        sender=case.caller.peer,
        to=case.callee.peer,
        session=session if call is None else call.session,
        at=None if call is None else call.at,
        outcome=_outcome(case, finding),
        steps=_steps(case, full=full),
        rule=finding.rule,
        likely=finding.likely,
        advice=finding.advice,
        seen=_seen(both, finding, case),
    )


def lead(case: Case) -> Finding:
    """What the first rule says that finds something."""
    return next(filter(None, (rule(case) for rule in RULES)), rules.complete(case))


def _last(meant: list[Call]) -> Call | None:
    offered = [call for call in meant if any(call.of("offer"))] or meant
    return offered[-1] if offered else None


def _case(asked: tuple[str, str], call: Call | None, peers: Mapping[str, PeerFacts], ice: IceFacts, now: float) -> Case:
    if call is None:
        return Case(None, Side(asked[0]), Side(asked[1]), peers, ice, now)
    return Case(call, call.side(call.caller), call.side(call.callee), peers, ice, now)


def _seen(all_calls: list[Call], finding: Finding, case: Case) -> Seen | None:
    recent = [
        call
        for call in all_calls
        if finding.peer in call.peers and call.at > case.now - SEEN_SECONDS and any(call.of("offer"))
    ]
    if not recent:
        return None
    led = [lead(_case(call.peers, call, case.facts, case.ice, case.now)).rule for call in recent]
    return Seen(peer=finding.peer, times=led.count(finding.rule), of=len(led))


def _outcome(case: Case, finding: Finding) -> str:
    call = case.call
    if call is None:
        return "no call is remembered"
    if finding.rule in {"not-registered", "offer-refused", "answer-refused", "glare"}:
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


# -- what was looked at


def _steps(case: Case, *, full: bool) -> list[Step]:
    steps = [_registered(case), _answered(case)]
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
    if answer is None:
        return Step(level="fail", what="offer \u2192 answer", text=f"none after {span(case.now - offer.when)}")
    if answer.refusal is not None:
        return Step(level="fail", what="answer", text=f"refused: {answer.refusal}")
    first = next(call.of("answer"))
    return Step(level="ok", what="offer \u2192 answer", text=span(first.when - call.at))


def _sent(case: Case, side: Side, other: Side, *, full: bool) -> Step:
    what = f"{side.peer} sent"
    call = case.call
    if call is None or (side.description is None and not side.candidates):
        return Step(level="-", what=what, text="nothing that can be read")
    places = sorted({one.place for one in side.candidates if one.type == "host"})
    hosts = f"{side.count('host')} host" + (f" ({', '.join(places)})" if places else "")
    srflx = side.count("srflx") + side.count("prflx")
    if side.ended_at is None:
        end = "no end-of-candidates"
    else:
        end = f"end-of-candidates after {span(side.ended_at - call.at)}"
    text = f"{hosts}, {srflx} srflx, {side.count('relay')} relay, {end}"
    if full:
        text += "".join(f"; {one.type} {one.protocol} {one.address}" for one in side.candidates)
    level: Level = "ok" if reach.reachable(side, other) else "warn" if side.mapped else "fail"
    return Step(level=level, what=what, text=text)


def _ends(case: Case) -> list[Step]:
    call = case.call
    assert call is not None
    for bye in call.of("bye"):
        reason = f' "{bye.body.reason}"' if bye.body.reason else ""
        text = f"bye{reason} from {bye.sender} after {span(bye.when - call.at)}"
        return [Step(level="-", what="end", text=text)]
    return []
