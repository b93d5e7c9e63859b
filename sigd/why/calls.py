"""Which messages make a call, and what each side has said in it."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from sigd.relay.record import NOBODY, PairHistory
from sigd.why.bodies import Body, Candidate, Description, read
from sigd.wire.errors import ErrorCode


class Heard(Struct):
    """One message of a call: when (Unix time), from whom, what it says, and why it was refused, if it was."""

    when: float
    sender: str
    body: Body
    refusal: ErrorCode | None


class Side(Struct):
    """What one peer has said in a call, and the other one has got.

    Attributes:
        peer: its ID.
        description: its last offer or answer.
        candidates: those in that description, and those that it trickled.
        ended_at: when it said that there are no more; None: it has not.
        early: candidates that it trickled before any description.
    """

    peer: str
    description: Description | None = None
    candidates: list[Candidate] = []
    ended_at: float | None = None
    early: int = 0

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Note candidates; those that were there before are not counted again."""
        self.candidates += [candidate for candidate in candidates if candidate not in self.candidates]

    def count(self, kind: str) -> int:
        """How many candidates are of this type."""
        return sum(candidate.type == kind for candidate in self.candidates)

    @property
    def relay(self) -> bool:
        """Whether it can be reached through a TURN server."""
        return self.count("relay") > 0

    @property
    def mapped(self) -> bool:
        """Whether a STUN server has told it what address it has outside."""
        return self.count("srflx") > 0 or self.count("prflx") > 0

    def public(self, family: int | None = None) -> bool:
        """Whether it has an address of its own, of this family, that no NAT hides."""
        return any(
            candidate.type == "host" and candidate.place in {"public", "name"} and family in {None, candidate.family}
            for candidate in self.candidates
        )

    @property
    def families(self) -> set[int]:
        """The versions of IP that it has."""
        return {candidate.family for candidate in self.candidates if candidate.family}


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
        """The messages of one type."""
        return (heard for heard in self.heard if heard.body.kind == kind)

    @property
    def caller(self) -> str:
        """Who offered first; without an offer, whoever did not answer, or was asked for first."""
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
        """The one of the two that this is not."""
        return self.peers[1] if peer == self.peers[0] else self.peers[0]

    def last(self, kind: str, sender: str) -> Heard | None:
        """The last message of one type that a peer sent, whether or not it arrived."""
        return next(
            (heard for heard in reversed(self.heard) if (heard.body.kind, heard.sender) == (kind, sender)), None
        )

    def side(self, peer: str) -> Side:
        """What one peer has said, and the other one has got."""
        side = Side(peer, candidates=[])
        for heard in self.heard:
            if heard.sender != peer or heard.refusal is not None:
                continue
            body = heard.body
            if body.description is not None:
                side.description = body.description
                side.add(body.description.candidates)
                if body.description.ends:
                    side.ended_at = heard.when
            elif body.ends:
                side.ended_at = heard.when
            elif body.candidate is not None:
                side.add([body.candidate])
                side.early += side.description is None
        return side


def calls(history: PairHistory) -> list[Call]:
    """The calls of two peers, each after those that began earlier. Messages that are of no call are left out."""
    by_session: dict[str | None, list[Call]] = {}
    for passed in history.passed:
        if passed.to == NOBODY:
            continue
        body = read(passed.body) if passed.body else Body(passed.kind, passed.session)
        if body.kind in {"", "message"}:
            continue
        mine = by_session.setdefault(body.session, [])
        heard = Heard(passed.when, passed.sender, body, passed.refusal)
        if not mine or _begins(mine[-1], heard):
            mine.append(Call(history.peers, body.session, [], passed.when > history.whole_since))
        mine[-1].heard.append(heard)
    found = [call for each in by_session.values() for call in each if _says_something(call.heard)]
    return sorted(found, key=lambda call: call.heard[0].when)


def _begins(call: Call, heard: Heard) -> bool:
    """Whether a message is the first of another call: an offer after a `bye`, or of another RTCPeerConnection."""
    if heard.body.kind != "offer":
        return False
    before = call.last("offer", heard.sender)
    if any(call.of("bye")):
        return True
    if before is None or before.body.description is None or heard.body.description is None:
        return False
    return before.body.description.origin != heard.body.description.origin


def _says_something(heard: Iterable[Heard]) -> bool:
    # A late `bye` alone is the end of something that nobody remembers.
    return any(each.body.kind != "bye" for each in heard)
