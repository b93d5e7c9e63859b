"""The messages between each two peers, as far back as a bound on memory allows, for later questions.

Bodies are kept as they were delivered, by reference, and parsed only when somebody asks. No I/O, no clock.
"""

import math
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sigd.relay.refusals import ATTEMPTS_PART, KIND_BYTES, REFUSED_KEPT, Attempt, Attempts, Refused
from sigd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from sigd.relay.wall import UnixAhead

BYTES_KEPT: Final = 8 << 20
"""Maximum size of the record: some 380 calls of 10 KiB, with the bytes reserved for their next messages."""

MESSAGES_KEPT: Final = 32
"""From one peer to another: a description, and more candidates than most machines have."""

RING_BYTES: Final = 16 << 10
"""Bodies from one peer to another, as of the last time that somebody looked: large offers of browsers are half."""

SMALL_BYTES: Final = 320
"""Every body is accounted for as one of this length before it comes, and looked at only if it is longer: to touch each
again later, when it is in no cache any more, would cost more than all else. Nearly all candidates are less."""

AHEAD: Final = 8
"""Messages that are accounted for ahead of a ring's first; later it is half of the ring's."""

LOOK_BYTES: Final = 40 << 10
"""The charge up to which a ring is not looked at, however few messages it has: a full one, and long bodies
of `RING_BYTES`, are less."""

TRIED_KEPT: Final = 128
"""Pairs that have been refused only, while others would have to go for them: an eighth of all."""

CHANCES: Final = 256
"""Pairs that are looked at in vain at most, having talked meanwhile, before one has to go: 0.2 ms."""

TRIED_BY_ONE: Final = 16
"""Pairs of one sender that have been refused only: an attempt to call a whole family, and no more."""

NOBODY: Final = ""
"""Recipient of entries without one: a message whose `to` was not found, or a pause of the link."""

ENTRY_BYTES: Final = 96
"""Of one message beside its body: the head of `bytes` (33), a time (24), and four places in a list, two of them free
since the list was longer (32); rounded up as the allocator does."""

_RING: Final = 700
"""Bytes of a ring without messages: a list (130), numbers (80), two IDs (230), its places in three tables (260)."""

_TALKS: Final = 600
"""Bytes of a sender's table of rings: a small dict, its place in the table of senders, the ID."""

Ring = list[Any]
"""The last messages from one peer to another: three numbers, then in turn the time of a message, and its body.

A plain list, for which CPython has instructions of its own, and no pairs in it, which its collector would go through.
The numbers are:

0. the length that it may have before somebody has to look; at a longer body than `SMALL_BYTES` somebody always has to;
1. the bytes that the record accounts for it: what it had when somebody looked last, and what could be added;
2. the time of the last message that was dropped because there were too many bytes.

When somebody looks, it is cut to what is kept; until then there may be more.
"""

_UP_TO: Final = 0
_CHARGE: Final = 1
_CUT_UNTIL: Final = 2
_FIRST: Final = 3  # where the messages begin
_BEGINNING: Final = _FIRST + 2 * AHEAD  # how long a ring may be before somebody looks for the first time
_PLACES: Final = 2 * MESSAGES_KEPT  # that those take which are kept
_FULL: Final = _FIRST + _PLACES + MESSAGES_KEPT  # the longest before somebody looks
_EACH: Final = SMALL_BYTES + ENTRY_BYTES
_FULL_CHARGE: Final = _RING + (_FULL - _FIRST) // 2 * _EACH

NO_TALKS: Final[dict[str, Ring]] = {}
"""The rings of a link that has said nothing to anybody yet, the same for all; nothing is ever put into it."""


class _RingOfKinds(Ring):
    """A ring that keeps of each body only its type."""

    __slots__ = ()

    def append(self, item: "float | bytes | Refused", /) -> None:
        if isinstance(item, bytes):
            item = item[:KIND_BYTES]
        elif isinstance(item, Refused):
            item = item.without_body()
        super().append(item)


class Passed(NamedTuple):
    """A message that was relayed or, with a `refusal`, was not.

    Attributes:
        when: seconds; on the relay's clock, or Unix time in a `PairHistory`.
        sender, to: the peers; `to` is empty where a refused message named none.
        body: what `to` was sent, or would have been; only its beginning where bodies are not kept, and empty where a
            refused message could not be read.
        refusal: what the sender was told instead.
        kind, session, length, why, times: of a refused one, see `Refused`.
    """

    when: float
    sender: str
    to: str
    body: bytes
    refusal: ErrorCode | None
    kind: str = ""
    session: str | None = None
    length: int = 0
    why: str = ""
    times: int = 1


class PairHistory(NamedTuple):
    """The messages between two peers.

    Attributes:
        peers: the two, in the order in which they were asked for.
        passed: the messages in the order of time, which is Unix time; what each was refused that named nobody too.
        whole_since: from when on nothing is missing; Unix time, 0 if nothing was ever forgotten.
        attempts: what was refused to clients that claimed to be one of them, or had no ID and named one, the oldest
            first; Unix time.
    """

    peers: tuple[str, str]
    passed: list[Passed]
    whole_since: float
    attempts: tuple[Attempt, ...] = ()


class Record:
    """The last messages from each peer to each other, within a bound on memory.

    `Router.relay` writes into a ring by itself: a call would cost half as much again. For that each link has the table
    of its own rings, the same that is here: it outlives the link, and a ring that is forgotten is gone from both. Nor
    is it known at each moment how much a ring holds, only that it is not more than its charge.

    Attributes:
        rings: by sender and recipient.
        attempts: refusals to clients without an ID.
        charge: bytes that are accounted for all of them, never more than are allowed.
    """

    __slots__ = ("_bound", "_forgotten_until", "_report", "_ring", "_talked", "_tried", "attempts", "charge", "rings")

    # `keep_bodies`: whether whole bodies are kept, or only types and times. `size`: bytes, of all together.
    def __init__(self, *, keep_bodies: bool = True, size: int = BYTES_KEPT) -> None:
        self.rings: dict[str, dict[str, Ring]] = {}
        self.attempts = Attempts(size // ATTEMPTS_PART)
        self.charge = 0
        self._bound = size
        self._report: Callable[[int], None] = _unheard
        self._ring: type[Ring] = list if keep_bodies else _RingOfKinds
        # Every two peers, and when they were put there, the first to be forgotten first: those who were only refused
        # before those who talk, so that one who tries a million IDs drives nobody out.
        self._tried: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._talked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._forgotten_until = -math.inf

    def report_to(self, report: "Callable[[int], None]") -> None:
        """Tell `report` the charge, now and whenever it changes."""
        self._report = report
        report(self.charge)

    def make_way(self, size: int) -> None:
        """Free as many bytes, or as many as the pairs have: the peers silent for longest go first."""
        self._make_room(max(self.charge - size, self.attempts.charge))

    # -- writing

    def begin(self, sender: str, to: str, now: float) -> Ring:
        """The ring of two peers, for a link that has not found it in its table; something is put into it at once."""
        ring = self._find(sender, to)
        return self._begin(sender, to, now, self._talked) if ring is None else ring

    def _begin(self, sender: str, to: str, now: float, queue: OrderedDict[tuple[str, str], float]) -> Ring:
        talks = self.rings.get(sender)
        if talks is None:
            talks = self.rings[sender] = {}
            self.charge += _TALKS
        ring = talks[to] = self._ring((_BEGINNING, _charge(_BEGINNING), -math.inf))
        self.charge += ring[_CHARGE]
        both = _pair(sender, to)
        if both not in self._talked:
            self._tried.pop(both, None)
            queue[both] = now
        if self.charge > self._bound:
            ring[_UP_TO] = 0  # `settle` makes room, once there is something in it
        self._report(self.charge)
        return ring

    def settle(self, ring: Ring) -> None:
        """Account for what came last, if that is long; cut the ring, if it is, and account for what may come next."""
        if len(ring) > _FULL and ring[_CHARGE] == _FULL_CHARGE and len(ring[-1]) <= SMALL_BYTES:
            del ring[_FIRST:-_PLACES]  # as below, where nothing else changes: two who talk on and on
            return
        charge = ring[_CHARGE] + max(0, len(ring[-1]) - SMALL_BYTES)
        if len(ring) <= ring[_UP_TO] and charge <= LOOK_BYTES:
            self._account(ring, charge)
            return
        has_long = charge > _charge(ring[_UP_TO])
        del ring[_FIRST : max(_FIRST, len(ring) - _PLACES)]
        more = _cut(ring) if has_long else 0
        ring[_UP_TO] = len(ring) + 2 * max(AHEAD, (len(ring) - _FIRST) // 4)
        self._account(ring, _charge(ring[_UP_TO]) + more)

    def _account(self, ring: Ring, charge: int) -> None:
        self.charge += charge - ring[_CHARGE]
        ring[_CHARGE] = charge
        if self.charge > self._bound:
            self._make_room(self._bound)
        self._report(self.charge)

    def refuse(self, passed: Passed) -> None:
        """Keep that a message was not passed on, and why; the same again is counted."""
        assert passed.refusal is not None
        ring = self._find(passed.sender, passed.to)
        if ring is None:
            ring = self._begin(passed.sender, passed.to, passed.when, self._tried)
            self._forget_tries(passed.sender)
        kind, length, why = passed.kind, passed.length, passed.why
        refused = Refused(passed.refusal, kind, length, why, passed.session, passed.body)
        ring.append(passed.when)
        ring.append(refused)
        refused = ring[-1]
        if len(ring) > _FIRST + 2 and refused.repeats(ring[-3]):
            refused.times += ring[-3].times
            del ring[-4:-2]
        _drop_refused(ring)
        if len(refused) > SMALL_BYTES or len(ring) > ring[_UP_TO]:
            self.settle(ring)

    def _forget_tries(self, sender: str) -> None:
        """Forget the first of those that a sender has tried to reach in vain, where they are too many."""
        tried = [to for to in self.rings[sender] if _pair(sender, to) in self._tried]
        if len(tried) > TRIED_BY_ONE:
            del self._tried[_pair(sender, tried[0])]
            self._forget(sender, tried[0])

    def attempt(self, attempt: Attempt, origin: str) -> None:
        """Record a refusal to a client without an ID, or a refused `register`."""
        before = self.attempts.charge
        self.attempts.add(attempt, origin)
        self.charge += self.attempts.charge - before
        if self.charge > self._bound:
            self._make_room(self._bound)
        self._report(self.charge)

    def _make_room(self, most: int) -> None:
        """Drop the peers silent for longest, until the charge is at most `most`."""
        chances = CHANCES
        while self.charge > most:
            queue = self._tried if len(self._tried) > TRIED_KEPT or not self._talked else self._talked
            both, put_there = queue.popitem(last=False)
            rings = self._of(*both)
            has_talked = any(bytes in map(type, ring) for ring in rings)
            last = max(ring[-2] for ring in rings)
            if chances and (last > put_there or (has_talked and queue is self._tried)):
                chances -= 1
                (self._talked if has_talked else self._tried)[both] = last
            else:
                self._forgotten_until = max(self._forgotten_until, last)
                self._forget(*both)

    def _find(self, sender: str, to: str) -> Ring | None:
        return self.rings.get(sender, NO_TALKS).get(to)

    def _of(self, one: str, other: str) -> list[Ring]:
        return [ring for both in _ways(one, other) if (ring := self._find(*both)) is not None]

    def _forget(self, one: str, other: str) -> None:
        """Forget both directions: half a call is worse than none."""
        for sender, to in _ways(one, other):
            talks = self.rings.get(sender, NO_TALKS)
            ring = talks.pop(to, None)
            if ring is not None:
                self.charge -= ring[_CHARGE]
                if not talks:
                    talks.clear()  # a link may have it still: the memory of what it was goes now
                    del self.rings[sender]
                    self.charge -= _TALKS
        self._report(self.charge)

    # -- reading

    def history(self, one: str, other: str, unix_ahead: "UnixAhead") -> PairHistory:
        """The messages between two peers.

        Args:
            one: a peer; nobody has to be here for it.
            other: a peer, maybe the same.
            unix_ahead: seconds that Unix time is ahead of the relay's clock.
        """
        passed: list[Passed] = []
        whole_since = self._forgotten_until
        for sender, to in [*_ways(one, other), *((peer, NOBODY) for peer in {one, other})]:
            ring = self._find(sender, to)
            if ring is None:
                continue
            whole_since = max(whole_since, ring[_CUT_UNTIL])
            kept = _kept(ring)
            if len(kept) == _PLACES:
                whole_since = max(whole_since, kept[0])
            passed += _each(sender, to, kept, unix_ahead)
        passed.sort(key=_when)
        attempts = tuple(attempt.ahead(unix_ahead) for attempt in self.attempts.of(one, other))
        return PairHistory((one, other), passed, max(0.0, whole_since + unix_ahead), attempts)

    def partners(self, peer: str) -> list[str]:
        """Return all partners of a peer, refused ones included."""
        sent_to = self.rings.get(peer, {})
        heard_from = [sender for sender, talks in self.rings.items() if peer in talks]
        return [each for each in dict.fromkeys([*sent_to, *heard_from]) if each != NOBODY]

    def one_way(self, peers: "Collection[str]") -> "list[Iterator[Passed]]":
        """The messages between each two peers: as they are now, in the order of time, and only made when asked for.

        Args:
            peers: the senders and recipients; none: all.
        """
        return [
            _each(sender, to, _kept(ring))
            for sender, talks in self.rings.items()
            for to, ring in talks.items()
            if not peers or sender in peers or to in peers
        ]


def _unheard(charge: int) -> None:
    """Take the report of a record that nothing holds yet."""


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _ways(one: str, other: str) -> list[tuple[str, str]]:
    return [(one, other)] if one == other else [(one, other), (other, one)]


def _charge(length: int) -> int:
    """The charge of a ring of such a length, if no body in it is long."""
    return _RING + (length - _FIRST) // 2 * _EACH


def _cut(ring: Ring) -> int:
    """Drop the first messages where there are too many bytes; by how much those bodies that stay exceed small ones."""
    size = sum(map(len, ring[_FIRST + 1 :: 2]))
    end = _FIRST
    while size > RING_BYTES and end < len(ring) - 2:  # the last one stays, whatever its size
        size -= len(ring[end + 1])
        ring[_CUT_UNTIL] = ring[end]
        end += 2
    del ring[_FIRST:end]
    return sum(max(0, len(body) - SMALL_BYTES) for body in ring[_FIRST + 1 :: 2])


def _drop_refused(ring: Ring) -> None:
    """Drop a refusal where there are too many: the first of those types that most of them have."""
    places = [place for place in range(_FIRST + 1, len(ring), 2) if isinstance(ring[place], Refused)]
    if len(places) > REFUSED_KEPT:
        kinds = Counter(ring[place].kind for place in places)
        most = max(kinds.values())
        place = next(place for place in places if kinds[ring[place].kind] == most)
        del ring[place - 1 : place + 1]


def _kept(ring: Ring) -> list[Any]:
    return ring[max(_FIRST, len(ring) - _PLACES) :]


def _each(sender: str, to: str, kept: list[Any], unix_ahead: "UnixAhead" = 0.0) -> "Iterator[Passed]":
    for when, body in zip(kept[::2], kept[1::2], strict=True):
        if isinstance(body, Refused):
            told = body.kind, body.session, body.length, body.why, body.times
            yield Passed(when + unix_ahead, sender, to, body.body, body.code, *told)
        else:
            yield Passed(when + unix_ahead, sender, to, body, None)


def _when(passed: Passed) -> float:
    return passed.when
