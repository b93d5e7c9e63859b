"""Refused messages and refused registers, as the record keeps them. No I/O, no clock.

A message of a registered peer stands as a `Refused` among what it has said to the recipient. Clients without an ID name
a sender that may not be theirs, so what they were refused is kept apart, as an `Attempt`, within bounds of its own.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

from sigd.relay.origins import network_key
from sigd.wire.errors import ErrorCode, Objection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigd.relay.wall import UnixAhead

KIND_BYTES: Final = 24
"""Bytes kept of a body where bodies are not kept: `{"type":"candidate","fr`."""

REFUSED_KEPT: Final = 8
"""Refusals from one peer to another: an offer, an answer and some candidates, while 24 of 32 messages stay what the
recipient has got."""

ATTEMPTS_PART: Final = 16
"""The part of the record that attempts may take: 455 of them in 8 MiB."""

ATTEMPTS_MOST: Final = 1_024
"""Attempts, however large the record is: to choose the one that goes, all are looked at, in 0.1 ms."""

ATTEMPTS_OF_ADDRESS_PART: Final = 4
"""The part of all attempts that one address may have: a fleet behind one NAT has 113 of 455, a flood has no more."""

ATTEMPT_BYTES: Final = 1_152
"""Size of the longest attempt, rounded up: 1 089 bytes with its place in the table, its key, its names and texts."""

_REFUSED_BYTES: Final = 112
"""Of a `Refused` beside its body and its text."""


class Refused:
    """A message that was not passed on.

    Attributes:
        code: the error code sent to its sender.
        kind: its `type`; empty where that is unknown.
        length: its bytes as it was sent; of a line that was too long, those that had come.
        why: its fault, in words of the daemon's own.
        session: its `session`, where it has a valid one.
        body: the message as it would have been delivered; empty where it could not be read.
        times: how many of the same kind were refused in a row.
    """

    __slots__ = ("body", "code", "kind", "length", "session", "times", "why")

    def __init__(
        self, code: ErrorCode, kind: str, length: int, why: str, session: str | None = None, body: bytes = b""
    ) -> None:
        self.code = code
        self.kind = kind
        self.length = length
        self.why = why
        self.session = session
        self.body = body
        self.times = 1

    def __len__(self) -> int:
        """Return the bytes that it takes."""
        return len(self.body) + len(self.why) + _REFUSED_BYTES

    def repeats(self, before: object) -> bool:
        """Whether it says nothing that the one before it does not say."""
        return isinstance(before, Refused) and self._told == before._told

    @property
    def _told(self) -> tuple[object, ...]:
        return self.code, self.kind, self.why, self.session, self.body

    def without_body(self) -> "Refused":
        """Return the same with no more of its body than says of which type it is."""
        return Refused(self.code, self.kind, self.length, self.why, self.session, self.body[:KIND_BYTES])


class Attempt:
    """Something that was refused to a client without an ID, or a `register` that was refused to any.

    Attributes:
        when: the time of the last one.
        times: how many there were.
        code: the error code sent to the client.
        kind: the `type` of its message.
        claimed: the ID that it asked for; empty: none, or no valid one. Anybody may claim any ID.
        to: the recipient that the message named; empty: none.
        length: the bytes of that message.
        via, address: how and from where it came.
        why: the text of that answer, in words of the daemon's own.
        objection: the fault of its credential, for the operator alone.
    """

    __slots__ = ("address", "claimed", "code", "kind", "length", "objection", "times", "to", "via", "when", "why")

    def __init__(
        self,
        when: float,
        code: ErrorCode,
        kind: str,
        why: str,
        *,
        claimed: str = "",
        to: str = "",
        length: int = 0,
        via: str = "",
        address: str = "",
        objection: Objection | None = None,
        times: int = 1,
    ) -> None:
        self.when = when
        self.code = code
        self.kind = kind
        self.why = why
        self.claimed = claimed
        self.to = to
        self.length = length
        self.via = via
        self.address = address
        self.objection = objection
        self.times = times

    def ahead(self, seconds: "UnixAhead") -> "Attempt":
        """Return a copy for a clock that shows so many seconds more."""
        return Attempt(
            self.when + seconds,
            self.code,
            self.kind,
            self.why,
            claimed=self.claimed,
            to=self.to,
            length=self.length,
            via=self.via,
            address=self.address,
            objection=self.objection,
            times=self.times,
        )

    def names(self, peer: str) -> bool:
        """Whether it concerns a peer."""
        return peer in (self.claimed, self.to)

    @property
    def is_proven(self) -> bool:
        """Return whether the client has a secret of the configuration, which cannot be guessed."""
        return self.objection is not None and self.objection.is_proven


_Key = tuple[str, str, str, str, str, ErrorCode, str]
"""The network and the origin of an attempt first, each made out once: a flood has all that are kept looked at."""

_NETWORK: Final = 0
_ORIGIN: Final = 1


class Attempts:
    """The last attempts, a bounded number of each address and of all.

    When there are too many, the network with the most of them loses its oldest: a flood pushes out its own. Clients
    that have shown a secret lose theirs last of all.
    """

    __slots__ = ("_kept", "_most")

    # `size`: bytes of all together.
    def __init__(self, size: int) -> None:
        self._most = min(ATTEMPTS_MOST, size // ATTEMPT_BYTES)
        self._kept: dict[_Key, Attempt] = {}

    @property
    def charge(self) -> int:
        """The bytes that are accounted for them."""
        return len(self._kept) * ATTEMPT_BYTES

    def add(self, attempt: Attempt, origin: str) -> None:
        """Keep an attempt of an origin (see `origins.Origin`); the same again is counted."""
        objection = attempt.objection
        cause = "" if objection is None else objection.cause
        key = (network_key(origin), origin, attempt.claimed, attempt.to, attempt.kind, attempt.code, cause)
        before = self._kept.pop(key, None)
        if before is not None:
            attempt.times += before.times
        self._kept[key] = attempt
        of_address = [each for each in self._kept if each[_ORIGIN] == origin]
        if len(of_address) > max(1, self._most // ATTEMPTS_OF_ADDRESS_PART):
            self._drop_oldest(of_address)
        elif len(self._kept) > self._most:
            self._drop_oldest(self._of_most_crowded())

    def _of_most_crowded(self) -> list[_Key]:
        """The attempts of the network that has the most, those of clients that have shown a secret aside."""
        keys = [key for key, attempt in self._kept.items() if not attempt.is_proven] or list(self._kept)
        crowded = Counter(key[_NETWORK] for key in keys).most_common(1)[0][0]
        return [key for key in keys if key[_NETWORK] == crowded]

    def _drop_oldest(self, keys: list[_Key]) -> None:
        del self._kept[next((key for key in keys if not self._kept[key].is_proven), keys[0])]

    def of(self, *peers: str) -> "Iterator[Attempt]":
        """The attempts that concern one of these peers, or all if none is named, the oldest first."""
        for attempt in self._kept.values():
            if not peers or any(attempt.names(peer) for peer in peers):
                yield attempt
