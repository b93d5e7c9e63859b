"""Grouping of messages into calls and ICE generations, and the messages of each side."""

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
"""Maximum seconds between crossing offers: no network takes longer, so a later offer begins a new call."""


class Heard(Struct):
    """One message of a call.

    Attributes:
        when: Unix time.
        sender: the sending peer.
        body: its content.
        refusal: the error code sent to its sender instead of relaying it.
        why: the daemon's own text of that error.
        length: size of a refused message in bytes.
        times: number of similar refusals in a row.
        named: whether it names its recipient; a refused message may not.
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
    """A relayed offer with its answer, if one was relayed."""

    offer: Heard
    answer: Heard | None


class Side(Struct):
    """Messages of one peer in the last ICE generation of a call that reached the other peer.

    Attributes:
        peer: its ID.
        description: its last offer or answer.
        candidates: those in that description, and those trickled.
        ended_at: time of its end of candidates; None: not signaled.
        early: candidates that came only before their description.
        flaws: a flaw for each candidate that some or all stacks refuse.
        refused: the reasons why its candidates were not relayed.
        stale: candidates of earlier generations, which no longer count (RFC 8445, section 9).
        strays: candidates of a generation without a description.
        restarts: number of ICE restarts.
        first_at: time of the first candidate of the generation.
        last_at: time of the last description or candidate.
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
        """Add candidates, each only once."""
        known = set(self.candidates)
        self.candidates += [each for each in dict.fromkeys(candidates) if each not in known]

    def count(self, kind: str) -> int:
        """Return the number of candidates of this type."""
        return sum(candidate.type == kind for candidate in self.candidates)

    @property
    def relay(self) -> bool:
        """Whether it has a relay candidate (TURN)."""
        return self.count("relay") > 0

    @property
    def mapped(self) -> bool:
        """Whether a STUN server has reported an outside address; a server on the inside does not count."""
        return any(each.type in {"srflx", "prflx"} and each.place not in HIDDEN for each in self.candidates)

    @property
    def outside(self) -> bool:
        """Whether anything shows that it reaches the internet."""
        return self.mapped or self.public() or any(each.place not in HIDDEN for each in self.relays)

    @property
    def relays(self) -> list[Candidate]:
        """Its relay candidates."""
        return [candidate for candidate in self.candidates if candidate.type == "relay"]

    def public(self, family: int | None = None) -> bool:
        """Return whether it has a public host address of this family."""
        return any(
            candidate.type == "host" and candidate.place in {"public", "name"} and family in {None, candidate.family}
            for candidate in self.candidates
        )

    @property
    def families(self) -> set[int]:
        """Return the IP versions of its addresses."""
        return {candidate.family for candidate in self.candidates if candidate.family}

    # -- message by message

    def describe(self, description: Description, when: float) -> None:
        """Apply its next offer or answer; a new user fragment begins a new generation."""
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
        """Apply a candidate of its current generation, or the end of candidates."""
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
    """A call: one offer, or several of the same RTCPeerConnection, with all messages that belong to it.

    Attributes:
        peers: the two peers in the order of the request.
        session: the name of its session.
        heard: its messages in the order of time; never empty.
        whole: whether its beginning is known.
    """

    peers: tuple[str, str]
    session: str | None
    heard: list[Heard]
    whole: bool = True

    @property
    def at(self) -> float:
        """Start time: that of its first offer, if known."""
        return next(self.of("offer"), self.heard[0]).when

    def of(self, kind: str) -> Iterator[Heard]:
        """Yield the messages of one type."""
        return (heard for heard in self.heard if heard.body.kind == kind)

    @property
    def caller(self) -> str:
        """The first peer that offered; without an offer, the one that did not answer, or the first one requested."""
        for offer in self.of("offer"):
            return offer.sender
        for answer in self.of("answer"):
            return self.other(answer.sender)
        return self.peers[0]

    @property
    def callee(self) -> str:
        """The peer that is not the caller."""
        return self.other(self.caller)

    def other(self, peer: str) -> str:
        """Return the other peer."""
        return self.peers[1] if peer == self.peers[0] else self.peers[0]

    def last(self, kind: str, sender: str) -> Heard | None:
        """Return the last message of one type from a peer, relayed or not."""
        return next(
            (heard for heard in reversed(self.heard) if (heard.body.kind, heard.sender) == (kind, sender)), None
        )

    def described(self, sender: str) -> Heard | None:
        """Return the last offer or answer from a peer, relayed or not."""
        return next(
            (each for each in reversed(self.heard) if each.sender == sender and each.body.kind in {"offer", "answer"}),
            None,
        )

    @property
    def exchanges(self) -> list[Exchange]:
        """Return relayed offers with their answers, without offers rolled back to answer another."""
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
        """Return the last generation of one peer's messages, as relayed to the other."""
        side = Side(peer, candidates=[], early=[], flaws=[], refused=[])
        ahead: list[Heard] = []  # candidates whose generation has no description yet
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
    """Apply candidates that came before the description of their generation; return the others."""
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
    """Parse and return all messages between two peers."""
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
    """Return the calls of two peers in the order of their beginning. Messages outside of calls are left out.

    Args:
        history: the record of the two peers.
        facts: further facts about them, such as the ends of their links.
        heard: the same messages, if already parsed.
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
"""Message types that make up calls."""

_NOBODY: Final = PeerFacts("")


def _begins(call: Call, heard: Heard, ends: Iterable[float]) -> bool:
    """Return whether an offer begins another call.

    It does after a `bye`, and if it belongs to another RTCPeerConnection. That shows by the session ID of its `o=`
    line, or, for stacks with a constant one, by a new user fragment without the higher version that an ICE restart
    brings (RFC 8866, section 5.2). If neither is known, the end of a link separates the two calls.
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
    # A late `bye` alone ends a call that is no longer recorded.
    return any(each.body.kind != "bye" for each in heard)
