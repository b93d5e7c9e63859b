"""Clients that have not registered, and which of them makes room for a newcomer. No I/O, no clock: times are seconds.

A place is kept for clients that are getting somewhere. A *silent* client has sent nothing yet; one that has *begun* is
in its TLS handshake or has sent a byte. A newcomer pushes out, in this order:

1. a client that had its time: silent for SILENT_SECONDS, or begun BEGUN_SECONDS ago;
2. if its address has too many clients, a silent one of them, so that most of them keep their places and the latest are
   heard for a moment;
3. if all addresses together have too many, a client of an address with far more than its own: a silent one, or one that
   has begun where few are silent; next, in the same way, a client of a network with far more; and otherwise a silent
   client of its own address or, if it is alone there, of its network or, if it is alone there too, of any.

If there is none, the newcomer has to go. So a fleet behind one address gets in, a few at a time. Once their place is
wanted, silent clients keep it for SILENT_SECONDS at most, slow ones for BEGUN_SECONDS. No address takes the places of
another, and no network those of another, from however many addresses.
"""

from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sigd.relay.origins import network_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigd.relay.origins import Origin

SILENT_SECONDS: Final = 3.0
"""Time that a silent client has to begin before it makes room. Small devices compute a ClientHello for 1 to 2 s."""

BEGUN_SECONDS: Final = 10.0
"""Time from the first byte to `register` before a client makes room: the default of `register_timeout_ms`, whatever its
framing. A client that drips bytes has no more."""

HEARD_PART: Final = 4
"""One place in so many is for silent newcomers, each of which pushes out the oldest of these. With more such places a
fleet that is silent at first loses more of its work; with fewer, a flood leaves honest newcomers less time to begin."""

UNFAIR: Final = 2
"""An address with more than this many times the newcomer's clients makes room for it. At 1, addresses that have about
the same number would push out each other's clients."""

Guest = TypeVar("Guest")


class _Crowd(Generic[Guest]):
    """Clients with the times at which they came or began, the earliest first."""

    __slots__ = ("begun", "capped", "key", "silent")

    def __init__(self, key: str, *, capped: bool) -> None:
        self.key = key
        self.silent: dict[Guest, float] = {}
        self.begun: dict[Guest, float] = {}
        self.capped = capped

    def __len__(self) -> int:
        return len(self.silent) + len(self.begun)

    def overdue(self, now: float) -> Guest | None:
        """Return the client that had its time longest ago, a silent one if possible."""
        for clients, seconds in ((self.silent, SILENT_SECONDS), (self.begun, BEGUN_SECONDS)):
            for guest, since in clients.items():
                if now - since >= seconds:
                    return guest
                break
        return None

    def latest(self) -> Guest:
        """Return the newest client, a silent one if possible."""
        return next(reversed(self.silent or self.begun))

    def heard_enough(self, newcomer: Guest, most: int) -> Guest | None:
        """Return the silent client that stood longest among the latest of them; None if no other is silent."""
        own = newcomer in self.silent
        others = len(self.silent) - own
        if not others:
            return None
        behind = min(others, max(1, most // HEARD_PART)) + own
        return next(islice(reversed(self.silent), behind - 1, None))


class _Crowds(Generic[Guest]):
    """The crowds of all addresses, or of all networks."""

    __slots__ = ("_by_key", "_by_size")

    def __init__(self) -> None:
        self._by_key: dict[str, _Crowd[Guest]] = {}
        self._by_size: list[dict[str, None]] = [{}]  # keys with that many clients, but for uncapped ones

    def of(self, key: str) -> _Crowd[Guest] | None:
        """Return the clients of one key."""
        return self._by_key.get(key)

    def count(self, key: str) -> int:
        """Return the number of clients of one key."""
        crowd = self._by_key.get(key)
        return 0 if crowd is None else len(crowd)

    def largest(self, newcomers: int) -> _Crowd[Guest] | None:
        """Return the largest crowd, if it is far larger than a newcomer's."""
        if not self._by_size[-1]:
            return None
        crowd = self._by_key[next(iter(self._by_size[-1]))]
        return crowd if len(crowd) > UNFAIR * newcomers else None

    def enter(self, guest: Guest, key: str, now: float, *, capped: bool) -> None:
        """Count a client that has sent nothing yet."""
        crowd = self._by_key.get(key)
        if crowd is None:
            crowd = self._by_key[key] = _Crowd(key, capped=capped)
        crowd.silent[guest] = now
        self._resize(key, crowd, len(crowd) - 1)

    def begin(self, guest: Guest, key: str, now: float) -> None:
        """Note the first byte of a silent client."""
        crowd = self._by_key[key]
        del crowd.silent[guest]
        crowd.begun[guest] = now

    def leave(self, guest: Guest, key: str) -> None:
        """Forget a client."""
        crowd = self._by_key[key]
        crowd.silent.pop(guest, None)
        crowd.begun.pop(guest, None)
        self._resize(key, crowd, len(crowd) + 1)
        if not len(crowd):
            del self._by_key[key]

    def _resize(self, key: str, crowd: _Crowd[Guest], before: int) -> None:
        if crowd.capped:
            sizes, size = self._by_size, len(crowd)
            sizes[before].pop(key, None)
            if size == len(sizes):
                sizes.append({})
            if size:
                sizes[size][key] = None
            while len(sizes) > 1 and not sizes[-1]:
                sizes.pop()


class Strangers(Generic[Guest]):
    """All clients that have not registered, with the address and the network of each."""

    __slots__ = ("_addresses", "_all", "_networks")

    def __init__(self) -> None:
        self._all: _Crowd[Guest] = _Crowd("", capped=True)
        self._addresses: _Crowds[Guest] = _Crowds()
        self._networks: _Crowds[Guest] = _Crowds()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> "Iterator[Guest]":
        yield from self._all.silent
        yield from self._all.begun

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._all.silent or guest in self._all.begun

    def count(self, origin: "Origin") -> int:
        """Return the number of clients of one address."""
        return self._addresses.count(origin.key)

    def has_begun(self, guest: Guest) -> bool:
        """Return whether a client has sent anything."""
        return guest in self._all.begun

    # -- coming and going

    def enter(self, guest: Guest, origin: "Origin", now: float) -> None:
        """Count a client that has sent nothing yet."""
        self._all.silent[guest] = now
        self._addresses.enter(guest, origin.key, now, capped=origin.capped)
        self._networks.enter(guest, self._network_of(origin), now, capped=origin.capped)

    def begin(self, guest: Guest, origin: "Origin", now: float) -> None:
        """Note a client's first byte; further ones change nothing."""
        if self._all.silent.pop(guest, None) is not None:
            self._all.begun[guest] = now
            self._addresses.begin(guest, origin.key, now)
            self._networks.begin(guest, self._network_of(origin), now)

    def leave(self, guest: Guest, origin: "Origin") -> None:
        """Forget a client that has registered or left, if it is here."""
        if guest not in self:
            return
        self._all.silent.pop(guest, None)
        self._all.begun.pop(guest, None)
        self._networks.leave(guest, self._network_of(origin))
        self._addresses.leave(guest, origin.key)

    def _network_of(self, origin: "Origin") -> str:
        """Return the network of an address with clients: itself where it has no cap, as when the first of them came."""
        crowd = self._addresses.of(origin.key)
        return network_key(origin.key) if crowd is not None and crowd.capped else origin.key

    # -- making room

    def overdue(self, now: float, origin: "Origin | None" = None) -> Guest | None:
        """Return a client that had its time, of one address or of all; None if there is none."""
        crowd = self._all if origin is None else self._addresses.of(origin.key)
        return None if crowd is None else crowd.overdue(now)

    def in_the_way(self, newcomer: Guest, origin: "Origin", most: int, now: float) -> Guest:
        """Return the client that makes room at its own address, which may have `most`: maybe the newcomer itself."""
        crowd = self._addresses.of(origin.key)
        assert crowd is not None, "the newcomer is there"
        pushed = crowd.overdue(now)
        if pushed is None:
            pushed = crowd.heard_enough(newcomer, most)
        return newcomer if pushed is None else pushed

    def in_the_way_of_all(self, newcomer: Guest, origin: "Origin", most: int, now: float) -> Guest:
        """Return the client that makes room where all addresses together may have `most`: maybe the newcomer itself."""
        pushed = self._all.overdue(now)
        if pushed is not None:
            return pushed
        crowd = self._addresses.of(origin.key)
        assert crowd is not None, "the newcomer is there"
        network = self._networks.of(self._network_of(origin))
        assert network is not None, "the newcomer is there"
        few_are_silent = len(self._all.silent) <= max(1, most // HEARD_PART)
        largest = self._addresses.largest(len(crowd))
        if largest is not None and UNFAIR * self._networks.count(network_key(largest.key)) < len(network):
            largest = None  # it is all that its network has
        if largest is not None and (largest.silent or few_are_silent):
            return largest.latest()
        largest = self._networks.largest(len(network))
        if largest is not None and (largest.silent or few_are_silent):
            return largest.heard_enough(newcomer, most) or largest.latest()
        if len(network) > 1:
            of = crowd if len(crowd) > 1 else network
            pushed = of.heard_enough(newcomer, len(of))
        else:
            pushed = self._all.heard_enough(newcomer, most)
        return newcomer if pushed is None else pushed
