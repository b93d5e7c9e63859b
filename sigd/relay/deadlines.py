"""When something must happen to a link that stays silent. Times are seconds; nobody here looks at a clock.

A link stands in one bucket, by the quarter second in which it is next due. Signs of life move nothing: a bucket that
comes due looks again at what its links have become, and puts those that are not due yet into a later one.
"""

import math
import sys
from itertools import islice, takewhile
from typing import Any, Final, Generic, Protocol, TypeVar

from sigd.wire.times import NEVER

TICK: Final = 0.25
"""Seconds: how late a deadline may be kept. The shortest, of 3 s, is still kept to a tenth."""


class Watched(Protocol):
    """A link, as far as `Deadlines` goes."""

    bucket: "Bucket | None"

    def __hash__(self) -> int: ...


AnyWatched = TypeVar("AnyWatched", bound=Watched)


class Bucket:
    """Links that are due within one tick.

    Attributes:
        tick: its number.
        links: in no order that matters. (A set of a thousand takes twice as much.)
    """

    __slots__ = ("links", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.links: dict[Any, None] = {}


class Deadlines(Generic[AnyWatched]):
    """Links by the time at which each has to be looked at again."""

    __slots__ = ("_buckets", "_new", "earliest")

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._new: dict[AnyWatched, float] = {}  # in the order in which they are due, since all get the same time
        self.earliest = NEVER
        """When the first link comes due."""

    def __len__(self) -> int:
        return len(self._new) + sum(len(bucket.links) for bucket in self._buckets.values())

    def welcome(self, link: AnyWatched, when: float) -> None:
        """Look at a new link at `when`, if nobody watches it before: most register, and get a later deadline then."""
        self._new[link] = when
        self.earliest = min(self.earliest, when)

    def watch(self, link: AnyWatched, when: float) -> None:
        """Look at the link at `when`, or earlier where it was to be looked at earlier anyway."""
        if when == NEVER:
            return
        tick = math.ceil(when / TICK)
        if link.bucket is not None:
            if link.bucket.tick <= tick:
                return
            del link.bucket.links[link]
        else:
            self._new.pop(link, None)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = Bucket(tick)
            self.earliest = min(self.earliest, tick * TICK)
        bucket.links[link] = None
        link.bucket = bucket

    def forget(self, link: AnyWatched) -> None:
        """Look at the link no more."""
        if link.bucket is not None:
            del link.bucket.links[link]
            link.bucket = None
        else:
            self._new.pop(link, None)

    def due(self, now: float, most: int = sys.maxsize) -> list[AnyWatched]:
        """Return the links to look at now, at most so many; each is to be watched again, or ends."""
        new = takewhile(lambda item: item[1] <= now, self._new.items())
        found: list[AnyWatched] = [link for link, _ in islice(new, most)]
        for link in found:
            del self._new[link]
        for tick in sorted(tick for tick in self._buckets if tick * TICK <= now):
            links = self._buckets[tick].links
            while links and len(found) < most:
                found.append(links.popitem()[0])
            if not links:
                del self._buckets[tick]
        for link in found:
            link.bucket = None
        self.earliest = min(min(self._buckets, default=NEVER) * TICK, next(iter(self._new.values()), NEVER))
        return found
