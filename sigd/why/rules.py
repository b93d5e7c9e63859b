"""What may be wrong with a call: one pure function for each, the first that finds something leads.

These are of signaling itself; those of the addresses that the two have told each other are in `reach`.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sigd.why.calls import Call, Heard, Side
from sigd.why.facts import Ended, IceFacts, PeerFacts
from sigd.why.spans import span
from sigd.wire.errors import ErrorCode

ANSWER_SECONDS: Final = 10.0
"""Who has not answered by then does not only think about it. People who have to press a button may take longer."""


class Finding(NamedTuple):
    """What a rule has found.

    Attributes:
        rule: its name.
        likely: what it means, in a sentence or two.
        advice: what to do, the first thing first.
        peer: whose it is; calls of this one are counted.
    """

    rule: str
    likely: str
    advice: list[str]
    peer: str


class Case(NamedTuple):
    """What rules judge by. Times are Unix time.

    Attributes:
        call: the call; None: there was none.
        caller, callee: what each has said in it.
        facts: of both peers.
        ice: which servers the daemon tells peers of.
        now: when somebody asks.
    """

    call: Call | None
    caller: Side
    callee: Side
    facts: Mapping[str, PeerFacts]
    ice: IceFacts
    now: float

    @property
    def sides(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """Each side, and the other one: whoever was called first, for more goes wrong there."""
        return (self.callee, self.caller), (self.caller, self.callee)

    @property
    def negotiated(self) -> bool:
        """Whether offer and answer have arrived, and can be read."""
        return self.caller.description is not None and self.callee.description is not None

    def of(self, peer: str) -> PeerFacts:
        """What is known of a peer."""
        return self.facts.get(peer) or PeerFacts(peer)

    def ended(self, peer: str) -> Ended | None:
        """The first end of a peer's link since the call began."""
        if self.call is None:
            return None
        at = self.call.at
        return next((ended for ended in self.of(peer).ended if ended.when >= at), None)


Rule = Callable[[Case], Finding | None]


def not_registered(case: Case) -> Finding | None:
    """Whoever is not here cannot be called."""
    if case.call is None:
        for side in (case.callee, case.caller):
            facts = case.of(side.peer)
            if facts.via is None:
                return Finding("not-registered", _gone(facts, case.now), _look_for(side.peer), side.peer)
        return None
    for kind, sender, to in (("offer", case.caller, case.callee), ("answer", case.callee, case.caller)):
        message = case.call.last(kind, sender.peer)
        if message is not None and message.refusal is ErrorCode.PEER_UNAVAILABLE:
            likely = f"{to.peer} was not registered when {sender.peer} sent its {kind}."
            return Finding("not-registered", likely, _look_for(to.peer), to.peer)
    return None


def no_offer(case: Case) -> Finding | None:
    """Nobody called."""
    if case.call is not None and (any(case.call.of("offer")) or not case.call.whole):
        return None
    likely = (
        f"Neither {case.caller.peer} nor {case.callee.peer} has sent the other one an offer, as far as is remembered."
    )
    advice = [
        "does the caller use this ID, and this daemon? sigctl peers shows who is here",
        "watch while it calls: sigctl tap",
    ]
    return Finding("no-offer", likely, advice, case.caller.peer)


_REFUSED: Final = {
    ErrorCode.TOO_LARGE: (
        "{to} does not take messages of that length.",
        ["have {to} register with a larger maxFrame, or the sender leave codecs out"],
    ),
    ErrorCode.PEER_BUSY: (
        "{to} does not read what it is sent: its outbox is full.",
        ["is {to} stuck, or its network slow? sigctl show {to}"],
    ),
    ErrorCode.FORBIDDEN: (
        "the credential of {sender} does not allow it to talk to {to}.",
        ["name {to} in `talk` of that credential; sigctl reload"],
    ),
}


def offer_refused(case: Case) -> Finding | None:
    """The daemon did not pass the offer on, or the answer."""
    if case.call is None:
        return None
    for kind, sender, to in (("offer", case.caller, case.callee), ("answer", case.callee, case.caller)):
        message = case.call.last(kind, sender.peer)
        if message is not None and message.refusal is not None:
            text, advice = _REFUSED.get(message.refusal, ("{to} could not be sent that.", ["sigctl errors {code}"]))
            names = {"sender": sender.peer, "to": to.peer, "code": message.refusal.value}
            likely = f"The {kind} of {sender.peer} was refused ({message.refusal}): {text.format(**names)}"
            return Finding(f"{kind}-refused", likely, [line.format(**names) for line in advice], to.peer)
    return None


def no_answer(case: Case) -> Finding | None:
    """The offer has arrived, and nothing came back."""
    if case.call is None or any(case.call.of("answer")) or _crossed(case.call):
        return None
    offer, callee = case.call.last("offer", case.caller.peer), case.callee.peer
    if offer is None:
        return None
    facts, bye, ended = case.of(callee), case.call.last("bye", callee), case.ended(callee)
    waited = span(case.now - offer.when)
    if bye is not None:
        likely = f"{callee} declined: it said bye {span(bye.when - offer.when)} after the offer, without an answer."
        advice = [f"ask {callee} why"]
    elif ended is not None:
        likely = f"{callee} got the offer, and its link ended before an answer: {ended.reason}."
        advice = [f"what ends its link? sigctl closed {callee}"]
        if ended.reason == ErrorCode.REPLACED:
            advice = [f"two programs with the ID {callee}, or one that came back: it has to be called again"]
    elif facts.via is not None and facts.since > offer.when:
        likely = f"The link of {callee} that got the offer is gone; {callee} came back after it."
        advice = [f"{case.caller.peer} has to call again"]
    elif facts.lines:
        likely = f"{callee} never answered. It reads lines: a person may sit there, or what only listens."
        advice = [f"is {callee} the program that is meant to answer? sigctl show {callee}"]
    elif case.now - offer.when < ANSWER_SECONDS:
        likely = f"{callee} has not answered yet; it got the offer {waited} ago."
        advice = ["ask again in a few seconds"]
    else:
        likely = f"{callee} never answered; it got the offer {waited} ago."
        advice = [f"the log of {callee}: does it hear the offer, and does setRemoteDescription fail?"]
    return Finding("no-answer", likely, advice, callee)


def glare(case: Case) -> Finding | None:
    """Both called at once, and each waits for the other one's answer."""
    if case.call is None or not _crossed(case.call) or any(case.call.of("answer")):
        return None
    likely = "Both sent an offer at the same time, and neither gave way."
    advice = [
        "have one side alone make offers, or do as `perfect negotiation` does (W3C webrtc-pc, section 10.7)",
    ]
    return Finding("glare", likely, advice, case.caller.peer)


def bad_description(case: Case) -> Finding | None:
    """A description that nobody can connect with."""
    for side, _ in case.sides:
        if side.description is not None and side.description.lacks:
            kind = "offer" if side is case.caller else "answer"
            likely = (
                f"The {kind} of {side.peer} has no {_list(side.description.lacks)}: no WebRTC stack connects to that."
            )
            advice = [f"send the SDP of {side.peer} as its stack makes it: was it shortened, or made by hand?"]
            return Finding("bad-description", likely, advice, side.peer)
    return None


def early_candidates(case: Case) -> Finding | None:
    """Candidates that came before the description that they belong to: most stacks drop them."""
    if case.call is None or not case.call.whole:
        return None
    for side, other in case.sides:
        if side.early and side.description is not None:
            kind = "offer" if side is case.caller else "answer"
            likely = f"{side.peer} sent {side.early} candidates before its {kind}: {other.peer} may have dropped them."
            advice = [f"have {side.peer} send its {kind} first, or {other.peer} keep candidates until that comes"]
            return Finding("early-candidates", likely, advice, side.peer)
    return None


def ended(case: Case) -> Finding | None:
    """Somebody hung up, or went away."""
    if case.call is None:
        return None
    for bye in case.call.of("bye"):
        said = f' ("{bye.body.reason}")' if bye.body.reason else ""
        likely = f"{bye.sender} ended the call {span(bye.when - case.call.at)} after the offer{said}."
        return Finding("ended", likely, [f"ask {bye.sender} why: signaling itself was complete"], bye.sender)
    for side, _ in case.sides:
        end = case.ended(side.peer)
        if end is not None:
            likely = f"The link of {side.peer} ended {span(end.when - case.call.at)} after the offer: {end.reason}."
            return Finding("ended", likely, [f"what ends its link? sigctl closed {side.peer}"], side.peer)
    return None


def complete(case: Case) -> Finding:
    """Nothing is wrong that could be seen here."""
    advice = [
        "in a browser: chrome://webrtc-internals or about:webrtc; in a device: how far ICE and DTLS come",
        "is UDP open between the two? turnutils_uclient (coturn) shows whether TURN works",
    ]
    likely = "Signaling was complete: the fault is in ICE or DTLS, if there is one. Ask the endpoints."
    if not case.negotiated:
        likely = "Offer and answer went through; more is not known, for bodies are not kept, or not any more."
        advice = ["[record] bodies = true keeps them; watch the next call: sigctl tap"]
    return Finding("complete", likely, advice, case.callee.peer)


def _crossed(call: Call) -> bool:
    before_answers: list[Heard] = []
    for heard in call.heard:
        if heard.body.kind == "answer":
            break
        before_answers.append(heard)
    callers = {heard.sender for heard in before_answers if heard.body.kind == "offer" and heard.refusal is None}
    return len(callers) > 1


def _gone(facts: PeerFacts, now: float) -> str:
    if not facts.ended:
        return f"{facts.peer} is not registered."
    last = facts.ended[-1]
    return f"{facts.peer} is not registered: its last link ended {span(now - last.when)} ago ({last.reason})."


def _look_for(peer: str) -> list[str]:
    return [f"is {peer} on, and is that its ID? sigctl peers; sigctl closed {peer}"]


def _list(names: list[str]) -> str:
    return " and no ".join(names)
