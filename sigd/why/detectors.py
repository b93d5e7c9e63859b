"""Rules for the faults of a call, each a pure function; the first with a finding leads.

Those in this module concern the messages themselves: arrival, order and outcome. Those for descriptions are in
`described`, those for candidates in `trickling`, those for addresses in `reach`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sigd.relay.refusals import Attempt
from sigd.why.calls import CROSSING_SECONDS, Call, Exchange, Heard, Side
from sigd.why.facts import Ended, IceFacts, PeerFacts
from sigd.why.spans import size, span
from sigd.wire.errors import ErrorCode

ANSWER_SECONDS: Final = 10.0
"""Seconds after which a missing answer is a fault. People who must press a button may take longer."""

LATE_SECONDS: Final = 10.0
"""Delay after which a late answer hurts: DTLS repeats its hello after pauses that double each time."""

DEAD_SECONDS: Final = 30.0
"""Seconds after its answer at which libdatachannel closes itself without a check."""

ATTEMPT_SECONDS: Final = 3_600.0
"""Maximum age of a refused `register` that explains a peer's absence."""


class Diagnosis(NamedTuple):
    """The finding of a rule.

    Attributes:
        rule: its name.
        likely: its meaning, in a sentence or two.
        advice: remedies, the first one first.
        peer: the peer at fault, whose calls are counted.
    """

    rule: str
    likely: str
    advice: list[str]
    peer: str


class Case(NamedTuple):
    """The input of the rules. Times are Unix time.

    Attributes:
        call: the call; None: there was none.
        caller, callee: the messages of each in it.
        facts: facts about both peers.
        ice: the ICE servers given to peers.
        now: time of the request.
        heard: all messages between the two, in other calls and sessions too.
        attempts: refusals to clients that claimed one of the IDs, or had no ID and named one.
        session: the requested session; None: the last call.
    """

    call: Call | None
    caller: Side
    callee: Side
    facts: Mapping[str, PeerFacts]
    ice: IceFacts
    now: float
    heard: Sequence[Heard] = ()
    attempts: Sequence[Attempt] = ()
    session: str | None = None

    @property
    def sides(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """Each side with the other one, the callee first: more goes wrong there."""
        return (self.callee, self.caller), (self.caller, self.callee)

    @property
    def negotiated(self) -> bool:
        """Whether offer and answer were relayed and are readable."""
        return self.caller.description is not None and self.callee.description is not None

    @property
    def exchange(self) -> Exchange | None:
        """The last offer with an answer."""
        done = [] if self.call is None else [each for each in self.call.exchanges if each.answer is not None]
        return done[-1] if done else None

    @property
    def unanswered(self) -> Heard | None:
        """The last offer, if unanswered."""
        exchanges = [] if self.call is None else self.call.exchanges
        return exchanges[-1].offer if exchanges and exchanges[-1].answer is None else None

    def of(self, peer: str) -> PeerFacts:
        """Return the facts about a peer."""
        return self.facts.get(peer) or PeerFacts(peer)

    def ended(self, peer: str) -> Ended | None:
        """Return the first end of a peer's link since the call began."""
        if self.call is None:
            return None
        at = self.call.at
        return next((ended for ended in self.of(peer).ended if ended.when >= at), None)

    def elsewhere(self, kind: str, sender: str) -> Heard | None:
        """Return a peer's last message of this type since the call began that has another `session`, or none."""
        if self.call is None:
            return None
        since = [each for each in self.heard if each.when >= self.call.at]
        return next(
            (
                each
                for each in reversed(since)
                if (each.body.kind, each.sender) == (kind, sender) and each.body.session != self.call.session
            ),
            None,
        )


Detector = Callable[[Case], Diagnosis | None]


# -- absent peers, missing offers


def not_registered(case: Case) -> Diagnosis | None:
    """Find a peer that is not registered, or was not when a message came for it."""
    if case.call is None:
        for side in (case.callee, case.caller):
            facts = case.of(side.peer)
            if facts.via is None and not any(each.sender == side.peer and each.refusal for each in case.heard):
                refused = _refused_register(case, side.peer)
                if refused is not None:
                    return refused
                return Diagnosis("not-registered", _gone(facts, case.now), _look_for(side.peer), side.peer)
        return None
    for message, to in _last_refused(case.call):
        if message.refusal is ErrorCode.PEER_UNAVAILABLE:
            refused = _refused_register(case, to)
            if refused is not None and case.of(to).via is None:
                return refused
            likely = f"{to} was not registered when {message.sender} sent its {message.body.kind}."
            return Diagnosis("not-registered", likely, _look_for(to), to)
    return None


def _last_refused(call: Call) -> list[tuple[Heard, str]]:
    """Return each peer's last offer or answer if it was refused, with its recipient."""
    last = [(call.described(peer), call.other(peer)) for peer in (call.caller, call.callee)]
    return [(message, to) for message, to in last if message is not None and message.refusal is not None]


def _refused_register(case: Case, peer: str) -> Diagnosis | None:
    """Return the reason why the last `register` for a peer was refused, if it was."""
    claims = [
        each
        for each in case.attempts
        if each.claimed == peer and each.kind == "register" and each.when > case.now - ATTEMPT_SECONDS
    ]
    if not claims:
        return None
    last = max(claims, key=lambda each: each.when)
    why = last.why if last.objection is None else last.objection.text
    times = "" if last.times == 1 else f", {last.times} times"
    likely = (
        f"{peer} is not registered: its register was refused {span(case.now - last.when)} ago{times}"
        f" ({last.code}): {why}."
    )
    return Diagnosis("not-registered", likely, [f"sigctl errors {last.code}", *_look_for(peer)], peer)


def no_offer(case: Case) -> Diagnosis | None:
    """Find that no offer between the two is recorded."""
    if case.call is not None and (any(case.call.of("offer")) or not case.call.whole):
        return None
    unnamed = _unnamed(case)
    if unnamed is not None:
        return unnamed
    caller, callee = case.caller.peer, case.callee.peer
    of_session = "" if case.session is None else f" of session {case.session}"
    likely = f"Neither {caller} nor {callee} has sent the other one an offer{of_session}, as far as is remembered."
    advice = [
        "does the caller use this ID, and this daemon? sigctl peers shows who is here",
        "watch while it calls: sigctl tap",
    ]
    others = [each for each in case.heard if each.body.kind == "offer" and each.body.session != case.session]
    messages = sum(each.times for each in case.heard if each.body.kind == "message")
    strangers = [each for each in case.attempts if each.kind == "offer" and each.to in {caller, callee}]
    if others:
        likely += f" {len(others)} of other sessions {'is' if len(others) == 1 else 'are'}."
        advice.insert(0, f"ask for one of them: sigctl why {caller} {callee} --session NAME; or for the last: without")
    elif strangers:
        last = strangers[-1]
        likely += f" A client without an ID sent {last.to} an offer, which was refused ({last.code}): {last.why}."
        advice.insert(0, "have the client register first, and wait for `registered`")
    elif messages:
        likely += f" They sent {messages} of type `message`, which may carry a call in a form of their own."
        advice.insert(0, "have offers sent with type `offer`: those can be judged")
    return Diagnosis("no-offer", likely, advice, caller)


def _unnamed(case: Case) -> Diagnosis | None:
    """Return a note on a refused message that may have been the offer: it named no readable recipient."""
    for each in reversed(case.heard):
        if each.named or each.refusal is None or each.body.kind not in {"", "offer"}:
            continue
        what = "an offer" if each.body.kind else "a message"
        likely = (
            f"{each.sender} sent {what} of {size(each.length)} that names no recipient, as far as it could be read; it"
            f" was refused ({each.refusal}): {each.why}."
        )
        return Diagnosis("offer-refused", likely, [f"sigctl errors {each.refusal}"], each.sender)
    return None


# -- refused

_REFUSED: Final = {
    ErrorCode.TOO_LARGE: (
        "{to} does not take messages of that length.",
        ["have {to} register with a larger maxFrame, or the sender leave codecs out"],
    ),
    ErrorCode.PEER_BUSY: (
        "{to} does not read its messages: its outbox is full.",
        ["is {to} stuck, or its network slow? sigctl show {to}"],
    ),
    ErrorCode.FORBIDDEN: (
        "the credential of {sender} does not allow it to talk to {to}.",
        ["name {to} in `talk` of that credential; sigctl reload"],
    ),
}


def offer_refused(case: Case) -> Diagnosis | None:
    """Find an offer or answer that the daemon did not relay."""
    if case.call is None:
        return None
    for message, to in _last_refused(case.call):
        return _refusal(message, to)
    return None


def _refusal(message: Heard, to: str) -> Diagnosis:
    sender, kind, code = message.sender, message.body.kind, message.refusal
    assert code is not None
    text, advice = _REFUSED.get(code, ("the message could not be sent to {to}.", ["sigctl errors {code}"]))
    peer = to
    if message.why and not message.body.whole:
        # Unreadable, so the fault is the sender's.
        text, peer = f"{message.why}. It has {size(message.length)}.", sender
        if code is ErrorCode.TOO_LARGE:
            advice = ["have {sender} leave codecs or media out, or raise limits.max_frame; sigctl reload"]
        elif "`$.sdp`" in message.why:
            advice = ["have {sender} send the text of the description as `sdp`, description.sdp, and not an object"]
        else:
            advice = ["correct the message as the error says; sigctl errors {code}"]
    names = {"sender": sender, "to": to, "code": code.value}
    times = "" if message.times == 1 else f" {message.times} times"
    likely = f"The {kind} of {sender} was refused{times} ({code}): {text.format(**names)}"
    return Diagnosis(f"{kind}-refused", likely, [line.format(**names) for line in advice], peer)


# -- no answer


def no_answer(case: Case) -> Diagnosis | None:
    """Find a relayed offer without an answer."""
    offer = case.unanswered
    if case.call is None or offer is None or _crossed(case.call):
        return None
    callee = case.call.other(offer.sender)
    stray = case.elsewhere("answer", callee)
    if stray is not None and stray.when >= offer.when:
        return _other_session(case, callee, "answer", stray)
    what = _which(case, offer)
    facts, ended = case.of(callee), case.ended(callee)
    bye = next((bye for bye in case.call.of("bye") if bye.sender == callee and bye.when > offer.when), None)
    waited = span(case.now - offer.when)
    if bye is not None:
        likely = f"{callee} declined: it said bye {span(bye.when - offer.when)} after the {what}, without an answer."
        advice = [f"ask {callee} why"]
    elif ended is not None and ended.when >= offer.when:
        likely = f"{callee} got the {what}, and its link ended before an answer: {ended.reason}."
        advice = [f"find out why its link ends: sigctl closed {callee}"]
        if ended.reason == ErrorCode.REPLACED:
            advice = [f"two programs with the ID {callee}, or one that came back: it has to be called again"]
    elif facts.via is not None and facts.since > offer.when:
        likely = f"The link of {callee} that got the {what} is gone; {callee} came back after it."
        advice = [f"{offer.sender} has to call again"]
    elif facts.lines:
        likely = f"{callee} never answered. It uses lines: a person at netcat, or a program that only listens."
        advice = [f"is {callee} the program that is meant to answer? sigctl show {callee}"]
    elif case.now - offer.when < ANSWER_SECONDS:
        likely = f"{callee} has not answered yet; it got the {what} {waited} ago."
        advice = ["ask again in a few seconds"]
    else:
        likely = f"{callee} never answered; it got the {what} {waited} ago."
        advice = [f"the log of {callee}: does it hear the offer, and does setRemoteDescription fail?"]
    return Diagnosis("no-answer", likely, advice, callee)


def _which(case: Case, offer: Heard) -> str:
    """Return a name for an offer: the first of a call, or a later one."""
    exchange, said = case.exchange, offer.body.description
    if exchange is None or exchange.answer is None:
        return "offer"
    before = exchange.offer if exchange.offer.sender == offer.sender else exchange.answer
    if said is not None and before.body.description is not None:
        is_restart = said.ufrags and said.ufrags.isdisjoint(before.body.description.ufrags)
        return "ICE restart" if is_restart else "next offer of the same call"
    return "next offer of the same call"


def _other_session(case: Case, peer: str, kind: str, stray: Heard) -> Diagnosis:
    assert case.call is not None
    here = f"session {case.call.session}" if case.call.session else "no session"
    there = f"session {stray.body.session}" if stray.body.session else "no session"
    likely = (
        f"{peer} sent its {kind} with {there}, and the call has {here}: {case.call.other(peer)} may not know what it"
        " belongs to."
    )
    advice = [f"have {peer} put the `session` of the offer into each message of the call"]
    return Diagnosis("other-session", likely, advice, peer)


def other_session(case: Case) -> Diagnosis | None:
    """Find candidates with another `session`, or none, while the call's own session has none."""
    if case.call is None or not case.negotiated:
        return None
    for side, _ in case.sides:
        stray = case.elsewhere("candidate", side.peer)
        if stray is not None and not side.candidates and not side.flaws:
            return _other_session(case, side.peer, "candidates", stray)
    return None


def glare(case: Case) -> Diagnosis | None:
    """Find crossing offers, each side waiting for the other's answer."""
    if case.call is None or not _crossed(case.call) or any(case.call.of("answer")):
        return None
    likely = "Both sent an offer at the same time, and neither gave way."
    advice = [
        "have one side alone make offers, or do as `perfect negotiation` does (W3C webrtc-pc, section 10.7)",
    ]
    return Diagnosis("glare", likely, advice, case.caller.peer)


def _crossed(call: Call) -> bool:
    """Return whether the last offers came from both sides, and neither was answered."""
    waiting = [each.offer for each in call.exchanges if each.answer is None]
    return any(
        each.sender != waiting[-1].sender and waiting[-1].when - each.when <= CROSSING_SECONDS for each in waiting[:-1]
    )


def late_answer(case: Case) -> Diagnosis | None:
    """Find an answer made long before it was relayed: the answerer's stack may have given up meanwhile.

    The daemon cannot see when an answer was made. A candidate of the same generation or an earlier refused answer
    proves it; an answerer that waits for its user has neither.
    """
    exchange = case.exchange
    if case.call is None or exchange is None or exchange.answer is None:
        return None
    answer, sender = exchange.answer, exchange.answer.sender
    side = case.caller if sender == case.caller.peer else case.callee
    made = [
        heard.when
        for heard in case.call.heard
        if heard.sender == sender and heard.body.kind == "answer" and exchange.offer.when < heard.when
    ]
    if side.early and side.first_at is not None and side.first_at > exchange.offer.when:
        made.append(side.first_at)
    waited = answer.when - min([*made, answer.when])
    if waited < LATE_SECONDS:
        return None
    stack = "" if answer.body.description is None else answer.body.description.stack
    likely = f"The answer of {sender} came through {span(waited)} after it was made: "
    if waited > DEAD_SECONDS and stack in {"", "libdatachannel"}:
        likely += "libdatachannel closes its connection half a minute after its answer, others wait for DTLS."
    else:
        likely += "the two wait for the next DTLS hello, about as long again."
    advice = [f"have {exchange.offer.sender} send a new offer, for which the answer is made anew"]
    return Diagnosis("late-answer", likely, advice, sender)


# -- the rest


def ended(case: Case) -> Diagnosis | None:
    """Find a hangup, or the end of a link."""
    if case.call is None:
        return None
    for bye in case.call.of("bye"):
        said = f' ("{bye.body.reason}")' if bye.body.reason else ""
        likely = f"{bye.sender} ended the call {span(bye.when - case.call.at)} after the offer{said}."
        return Diagnosis("ended", likely, [f"ask {bye.sender} why: signaling itself was complete"], bye.sender)
    for side, _ in case.sides:
        end = case.ended(side.peer)
        if end is not None:
            likely = f"The link of {side.peer} ended {span(end.when - case.call.at)} after the offer: {end.reason}."
            return Diagnosis("ended", likely, [f"find out why its link ends: sigctl closed {side.peer}"], side.peer)
    return None


def complete(case: Case) -> Diagnosis:
    """Report that signaling was complete."""
    advice = [
        "in a browser: chrome://webrtc-internals or about:webrtc; in a device: how far ICE and DTLS come",
        "is UDP open between the two? turnutils_uclient (coturn) shows whether TURN works",
    ]
    likely = "Signaling was complete: the fault is in ICE or DTLS, if there is one. Ask the endpoints."
    if not case.negotiated:
        likely = "Offer and answer went through; more is not known, for bodies are not kept, or not any more."
        advice = ["[record] bodies = true keeps them; watch the next call: sigctl tap"]
    return Diagnosis("complete", likely, advice, case.callee.peer)


def _gone(facts: PeerFacts, now: float) -> str:
    if not facts.ended:
        return f"{facts.peer} is not registered."
    last = facts.ended[-1]
    return f"{facts.peer} is not registered: its last link ended {span(now - last.when)} ago ({last.reason})."


def _look_for(peer: str) -> list[str]:
    return [f"is {peer} on, and is that its ID? sigctl peers; sigctl closed {peer}"]
