"""Rules for candidates as messages: lost, early, unreadable. Pure functions, as in `rules`."""

from collections import Counter

from sigd.why.calls import Side
from sigd.why.detectors import Case, Diagnosis
from sigd.why.flaws import HARMLESS, Flaw
from sigd.why.reach import reachable, same_network


def unreadable(case: Case) -> Diagnosis | None:
    """Find relayed candidates that the other side's stack, or every stack, refuses."""
    if not case.negotiated:
        return None
    for side, other in case.sides:
        stack = "" if other.description is None else other.description.stack
        bad = [flaw for flaw in side.flaws if flaw.by_all or stack in flaw.refused_by]
        good = len(side.candidates) - sum(not flaw.by_all for flaw in bad)
        missed = [flaw for flaw in bad if flaw.name not in HARMLESS]
        if bad and (good <= 0 or (missed and not reachable(side, other) and not same_network(case))):
            return _unreadable(side, other, missed or bad)
    return None


def _unreadable(side: Side, other: Side, bad: list[Flaw]) -> Diagnosis:
    flaw = Counter(bad).most_common(1)[0][0]
    each = "a candidate" if len(bad) == 1 else f"{len(bad)} candidates"
    likely = f"{side.peer} sent {each} that cannot be read: {flaw.looks}."
    if not flaw.by_all:
        likely += f" The stack of {other.peer} refuses that."
    return Diagnosis("unreadable-candidates", likely, [flaw.mend], side.peer)


def early(case: Case) -> Diagnosis | None:
    """Find candidates that came only before their description: most stacks drop them."""
    if case.call is None or not case.call.whole:
        return None
    for side, other in case.sides:
        if not side.early or side.description is None or _kept(other):
            continue
        rest = Side(side.peer, candidates=[each for each in side.candidates if each not in side.early])
        if not reachable(rest, other):
            kind = "offer" if side is case.caller else "answer"
            count = len(side.early)
            plural = "" if count == 1 else "s"
            likely = (
                f"{side.peer} sent {count} candidate{plural} before its {kind}: {other.peer} may have dropped them."
            )
            advice = [f"have {side.peer} send its {kind} first, or {other.peer} keep candidates until that comes"]
            return Diagnosis("early-candidates", likely, advice, side.peer)
    return None


def _kept(side: Side) -> bool:
    """Return whether a side's stack keeps early candidates."""
    return side.description is not None and side.description.stack == "werift"


def refused(case: Case) -> Diagnosis | None:
    """Find candidates that the daemon did not relay, without any others."""
    if not case.negotiated:
        return None
    for side, other in case.sides:
        if side.refused and not side.candidates and not reachable(other, side):
            code = Counter(side.refused).most_common(1)[0][0]
            likely = f"The candidates of {side.peer} were refused ({code}), and {other.peer} has got none."
            advice = [f"sigctl errors {code}", f"have {side.peer} send them again"]
            return Diagnosis("candidates-refused", likely, advice, side.peer)
    return None


def no_candidates(case: Case) -> Diagnosis | None:
    """Find a side that sent no address at all."""
    if not case.negotiated or case.call is None or not case.call.whole:
        return None
    for side, other in case.sides:
        if side.candidates or side.flaws or reachable(other, side):
            continue
        where = f"{other.peer} does not know where to reach it"
        if side.strays:
            likely = (
                f"The candidates of {side.peer} name a user fragment that its description does not have: stacks take"
                " them for those of another connection."
            )
            advice = [f"does {side.peer} mix two connections, or send an old description?"]
        elif side.stale:
            likely = (
                f"{side.peer} has restarted ICE, and sent no candidates since: {where}. Those of before do not count."
            )
            advice = [f"have {side.peer} send what it gathers after setLocalDescription, as for the first offer"]
        elif side.ended_at is not None:
            likely = f"{side.peer} sent no candidates, and says that there are no more: {where}."
            advice = _gathered_nothing(side, other)
        else:
            likely = f"{side.peer} sent no candidates: {where}."
            advice = [f"does {side.peer} send what its stack gathers (onicecandidate), or wait until it has all?"]
            advice += _gathered_nothing(side, other)
        return Diagnosis("no-candidates", likely, advice, side.peer)
    return None


def _gathered_nothing(side: Side, other: Side) -> list[str]:
    """Return known reasons why this side's stack gathers nothing."""
    stack = "" if side.description is None else side.description.stack
    names = {candidate.place for candidate in other.candidates}
    if stack == "aiortc" and names == {".local"} and other.ended_at is not None:
        return [
            "aiortc answers without candidates if the offer has .local names and a=end-of-candidates: leave that out"
        ]
    if stack in {"libwebrtc", "Firefox", ""}:
        return [
            f"has the network of {side.peer} a default route? Without one a browser gathers nothing, unless its page"
            " may use camera or microphone"
        ]
    return [f"has {side.peer} any network but loopback?"]
