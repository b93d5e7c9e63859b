"""Which messages make a call, which of them belong to its last ICE generation, and what each side has said in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from sigd.relay.record import NOBODY, PairHistory
from sigd.why import flaws
from sigd.why.addresses import HIDDEN
from sigd.why.bodies import Body, read
from sigd.why.candidates import Candidate
from sigd.why.facts import PeerFacts
from sigd.why.flaws import Flaw
from sigd.why.sdp import Description
from sigd.wire.errors import ErrorCode

CROSSING_SECONDS: Final = 10.0
"""Two offers further apart did not cross: the second is a call of its own. No network takes so long."""


class Heard(Struct):
    """One message of a call.

    Attributes:
        when: Unix time.
        sender: the peer that it comes from.
        body: what it says.
        refusal: the code that its sender was told instead of passing it on.
        why: what was wrong with it, in the daemon's own words.
        length: bytes of a refused one.
        times: how many of the same kind were refused in a row.
        named: whether it names its recipient; a refused one may not.
    """

    when: float
    sender: str
    body: Body
    refusal: ErrorCode | None
    why: str = ""
    length: int = 0
    times: int = 1
    named: bool = True


class Exchange(NamedTuple):
    """An offer that arrived, and its answer, if one did."""

    offer: Heard
    answer: Heard | None


class Side(Struct):
    """Messages of one peer in the last ICE generation of a call that reached the other one.

    Attributes:
        peer: its ID.
        description: its last offer or answer.
        candidates: those in that description, and those that it trickled.
        ended_at: when it said that there are no more; None: it has not.
        early: candidates that came before the description that they belong to, and neither in it nor after it.
        flaws: one for each candidate that stacks, or some of them, do not take.
        refused: why candidates of it were not relayed.
        stale: candidates of earlier generations, which count no more (RFC 8445, section 9).
        strays: candidates that name a generation that it has not described.
        restarts: how often it began a new generation.
        first_at: when the first candidate of the generation came.
        last_at: when the last description or candidate came.
    """

    peer: str
    description: Description | None = None
    candidates: list[Candidate] = []
    ended_at: float | None = None
    early: list[Candidate] = []
    flaws: list[Flaw] = []
    refused: list[ErrorCode] = []
    stale: int = 0
    strays: int = 0
    restarts: int = 0
    first_at: float | None = None
    last_at: float | None = None

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Note candidates; those that were there before are not counted again."""
        known = set(self.candidates)
        self.candidates += [each for each in dict.fromkeys(candidates) if each not in known]

    def count(self, kind: str) -> int:
        """Return how many candidates are of this type."""
        return sum(candidate.type == kind for candidate in self.candidates)

    @property
    def relay(self) -> bool:
        """Whether it can be reached through a TURN server."""
        return self.count("relay") > 0

    @property
    def mapped(self) -> bool:
        """Whether a STUN server has told it what address it has outside: not one that is inside itself."""
        return any(each.type in {"srflx", "prflx"} and each.place not in HIDDEN for each in self.candidates)

    @property
    def outside(self) -> bool:
        """Whether anything shows that it is connected to the world, and not to a network of its own."""
        return self.mapped or self.public() or any(each.place not in HIDDEN for each in self.relays)

    @property
    def relays(self) -> list[Candidate]:
        """Its relay candidates."""
        return [candidate for candidate in self.candidates if candidate.type == "relay"]

    def public(self, family: int | None = None) -> bool:
        """Return whether it has an address of its own, of this family, that no NAT hides."""
        return any(
            candidate.type == "host" and candidate.place in {"public", "name"} and family in {None, candidate.family}
            for candidate in self.candidates
        )

    @property
    def families(self) -> set[int]:
        """The versions of IP that it has."""
        return {candidate.family for candidate in self.candidates if candidate.family}

    # -- from one message after the other

    def describe(self, description: Description, when: float) -> None:
        """Take its next offer or answer; a new user fragment begins a new generation."""
        if self.description is not None and _restarts(self.description, description):
            self.stale += len(self.candidates)
            self.candidates, self.early, self.flaws, self.refused = [], [], [], []
            self.ended_at = self.first_at = None
            self.restarts += 1
        self.description = description
        inside = set(description.candidates)
        self.early = [each for each in self.early if each not in inside]
        self.add(description.candidates)
        self.last_at = when
        if description.ends:
            self.ended_at = when

    def trickle(self, body: Body, when: float) -> None:
        """Take a candidate of the generation that it is in, or the end of them."""
        self.last_at = when
        if body.ends:
            self.ended_at = when
            return
        if self.first_at is None:
            self.first_at = when
        flaw = body.flaw
        mids = [] if self.description is None else self.description.mids
        if flaw is None and body.mid is not None and mids and body.mid not in mids:
            flaw = flaws.UNKNOWN_MID
        if flaw is not None:
            self.flaws.append(flaw)
        if body.candidate is not None and (flaw is None or not flaw.by_all):
            if self.description is None:
                self.early.append(body.candidate)
            elif body.candidate in self.early:
                self.early.remove(body.candidate)
            self.add([body.candidate])


class Call(Struct):
    """A call: one offer, or several of the same RTCPeerConnection, and all that belongs to it.

    Attributes:
        peers: the two, in the order in which they were asked for.
        session: what they call it.
        heard: the messages, in the order of time; never empty.
        whole: whether its beginning is known.
    """

    peers: tuple[str, str]
    session: str | None
    heard: list[Heard]
    whole: bool = True

    @property
    def at(self) -> float:
        """When it began: with its first offer, if that is known."""
        return next(self.of("offer"), self.heard[0]).when

    def of(self, kind: str) -> Iterator[Heard]:
        """Yield the messages of one type."""
        return (heard for heard in self.heard if heard.body.kind == kind)

    @property
    def caller(self) -> str:
        """The peer that offered first; without an offer, the one that did not answer, or was asked for first."""
        for offer in self.of("offer"):
            return offer.sender
        for answer in self.of("answer"):
            return self.other(answer.sender)
        return self.peers[0]

    @property
    def callee(self) -> str:
        """The other one."""
        return self.other(self.caller)

    def other(self, peer: str) -> str:
        """Return the one of the two that this is not."""
        return self.peers[1] if peer == self.peers[0] else self.peers[0]

    def last(self, kind: str, sender: str) -> Heard | None:
        """Return the last message of one type that a peer sent, whether or not it arrived."""
        return next(
            (heard for heard in reversed(self.heard) if (heard.body.kind, heard.sender) == (kind, sender)), None
        )

    def described(self, sender: str) -> Heard | None:
        """Return the last offer or answer that a peer sent, whether or not it arrived."""
        return next(
            (each for each in reversed(self.heard) if each.sender == sender and each.body.kind in {"offer", "answer"}),
            None,
        )

    @property
    def exchanges(self) -> list[Exchange]:
        """Offers that arrived, each with its answer; without those that their senders took back to answer another."""
        found: list[Exchange] = []
        for heard in self.heard:
            if heard.refusal is not None:
                continue
            if heard.body.kind == "offer":
                found.append(Exchange(heard, None))
            elif heard.body.kind == "answer":
                for number in range(len(found) - 1, -1, -1):
                    if found[number].answer is None and found[number].offer.sender != heard.sender:
                        found[number] = Exchange(found[number].offer, heard)
                        break
                # W3C webrtc-pc, 4.4.1.5: to take an offer, a peer rolls its own one back.
                found = [each for each in found if each.answer is not None or each.offer.sender != heard.sender]
        return found

    def side(self, peer: str) -> Side:
        """Return what one peer has said in the last generation, and the other one has got."""
        side = Side(peer, candidates=[], early=[], flaws=[], refused=[])
        ahead: list[Heard] = []  # candidates of a generation that is not described yet
        past = set[str]()
        for heard in self.heard:
            body = heard.body
            if heard.sender != peer:
                continue
            if heard.refusal is not None:
                side.refused += [heard.refusal] if body.kind == "candidate" else []
            elif body.description is not None:
                side.describe(body.description, heard.when)
                past |= body.description.ufrags
                ahead = _catch_up(side, body.description.ufrags, ahead)
            elif body.kind == "candidate":
                known = set[str]() if side.description is None else side.description.ufrags
                if body.ufrag is None or body.ufrag in known or (side.description is not None and not known):
                    side.trickle(body, heard.when)
                else:
                    ahead.append(heard)
        if side.description is None:
            ahead = _catch_up(side, {each.body.ufrag or "" for each in ahead}, ahead)
        stale = sum(heard.body.ufrag in past for heard in ahead)
        side.stale += stale
        side.strays = len(ahead) - stale
        return side


def _catch_up(side: Side, ufrags: set[str], ahead: list[Heard]) -> list[Heard]:
    """Take the candidates that came before the description of their generation; return the others."""
    for heard in ahead:
        candidate = heard.body.candidate
        if heard.body.ufrag in ufrags and candidate is not None:
            if candidate not in side.candidates:
                side.early.append(candidate)
            side.add([candidate])
    return [heard for heard in ahead if heard.body.ufrag not in ufrags]


def _restarts(before: Description, after: Description) -> bool:
    return bool(before.ufrags and after.ufrags) and before.ufrags.isdisjoint(after.ufrags)


def heard_in(history: PairHistory) -> list[Heard]:
    """Return all messages of two peers, read."""
    return [
        Heard(
            passed.when,
            passed.sender,
            read(passed.body) if passed.body else Body(passed.kind, passed.session),
            passed.refusal,
            passed.why,
            passed.length,
            passed.times,
            passed.to != NOBODY,
        )
        for passed in history.passed
    ]


def calls(
    history: PairHistory, facts: Mapping[str, PeerFacts] | None = None, heard: Sequence[Heard] | None = None
) -> list[Call]:
    """Return the calls of two peers, each after those that began earlier. Messages that are of no call are left out.

    Args:
        history: what the two have said.
        facts: what is known of them: when their links ended.
        heard: the same messages, if they have been read.
    """
    ends = [ended.when for peer in history.peers for ended in (facts or {}).get(peer, _NOBODY).ended]
    by_session: dict[str | None, list[Call]] = {}
    for each in heard_in(history) if heard is None else heard:
        if each.body.kind not in CALLING or not each.named:
            continue
        mine = by_session.setdefault(each.body.session, [])
        if not mine or _begins(mine[-1], each, ends):
            mine.append(Call(history.peers, each.body.session, [], each.when > history.whole_since))
        mine[-1].heard.append(each)
    found = [call for each in by_session.values() for call in each if _says_something(call.heard)]
    return sorted(found, key=lambda call: call.heard[0].when)


CALLING: Final = frozenset({"offer", "answer", "candidate", "bye"})
"""Types of messages that calls are made of."""

_NOBODY: Final = PeerFacts("")


def _begins(call: Call, heard: Heard, ends: Iterable[float]) -> bool:
    """Return whether an offer is the first message of another call.

    It is after a `bye`, and if it is of another RTCPeerConnection: by the session ID of its `o=`, or, where a stack has
    always the same one there, by a user fragment that is new while the version has not grown, as it would in an ICE
    restart (RFC 8866, section 5.2). Where neither is known, the end of a link lies between the two calls.
    """
    if heard.body.kind != "offer":
        return False
    if any(call.of("bye")):
        return True
    before = call.described(heard.sender)
    if before is None:
        other = call.described(call.other(heard.sender))
        return other is not None and heard.when - other.when > CROSSING_SECONDS
    old, new = before.body.description, heard.body.description
    if old is None or new is None or not (old.origin and new.origin):
        return any(before.when < end < heard.when for end in ends)
    if old.origin != new.origin:
        return True
    return _restarts(old, new) and (new.version or 0) <= (old.version or 0)


def _says_something(heard: Iterable[Heard]) -> bool:
    # A late `bye` alone is the end of something that nobody remembers.
    return any(each.body.kind != "bye" for each in heard)
