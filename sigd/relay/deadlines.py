"""When something must happen to a link that stays silent. Times are seconds; nobody here looks at a clock.

A link stands in one bucket, by the quarter second in which it is next due. Signs of life move nothing: a bucket that
comes due looks again at what its links have become, and puts those that are not due yet into a later one.
"""

import math
import sys
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.config import Limits
    from sigd.relay.link import Link

TICK: Final = 0.25
"""Seconds: how late a deadline may be kept. The shortest, of 3 s, is still kept to a tenth."""

PROBE_SECONDS: Final = 3.0
"""How long the holder of a contested ID has to give a sign of life: three retransmissions of a ping on a slow path."""

LINES_FRAME_TIMEOUT_MS: Final = 60_000
"""How long a line may take from its first byte to its last: a person types it."""

GONE_AFTER: Final = 2.5
"""Keepalive intervals of silence that end a link: one ping may get lost, and the next one be late."""

ANSWER_WITHIN: Final = GONE_AFTER - 1
"""Keepalive intervals from a ping to the end that follows it, however long the link was silent before: a daemon that
stood still asks late, and its clients have as long to answer as at any other time."""


def next_deadline(link: "Link", limits: "Limits") -> float:
    """When something must happen to the link if it stays silent; `NEVER` where nothing must."""
    if link.closing:
        return link.ends_at
    when = min(
        link.frame_since + frame_timeout_ms(link, limits) / 1000,
        link.stalled_since + limits.stall_timeout_ms / 1000,
        link.resumes_at,
    )
    if link.id is not None:
        when = min(when, link.expires_at, link.renews_at)
        if link.resumes_at != NEVER or link.stuck:
            return when  # it is not read, or has not been asked yet: its silence says nothing
        return when if link.patient else min(when, _silent_at(link))
    if link.claim is not None:
        return min(when, link.claim.asked + PROBE_SECONDS)
    return min(when, link.opened + register_timeout_ms(link, limits) / 1000)


def _silent_at(link: "Link") -> float:
    """The time at which the link is pinged or, once it has been, ended."""
    if not link.pinged:
        return link.last_seen + link.keepalive
    return max(link.last_seen + link.keepalive * GONE_AFTER, link.pinged_at + link.keepalive * ANSWER_WITHIN)


def frame_timeout_ms(link: "Link", limits: "Limits") -> int:
    """How long a frame may take from its first byte to its last."""
    return LINES_FRAME_TIMEOUT_MS if link.patient else limits.frame_timeout_ms


def register_timeout_ms(link: "Link", limits: "Limits") -> int:
    """How long the link has to register: longer for people, and for who has not said yet what it is."""
    return limits.register_timeout_lines_ms if link.patient or not link.overhead else limits.register_timeout_ms


class Bucket:
    """Links that are due within one tick.

    Attributes:
        tick: its number.
        links: in no order that matters. (A set of a thousand takes twice as much.)
    """

    __slots__ = ("links", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.links: dict[Link, None] = {}


class Deadlines:
    """Links by the time at which each has to be looked at again."""

    __slots__ = ("_buckets", "_new", "earliest")

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._new: dict[Link, float] = {}  # in the order in which they are due, since all get the same time
        self.earliest = NEVER
        """When the first link comes due."""

    def __len__(self) -> int:
        return len(self._new) + sum(len(bucket.links) for bucket in self._buckets.values())

    def welcome(self, link: "Link", when: float) -> None:
        """Look at a new link at `when`, if nobody watches it before: most register, and get a later deadline then."""
        self._new[link] = when
        self.earliest = min(self.earliest, when)

    def watch(self, link: "Link", when: float) -> None:
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

    def forget(self, link: "Link") -> None:
        """Look at the link no more."""
        if link.bucket is not None:
            del link.bucket.links[link]
            link.bucket = None
        else:
            self._new.pop(link, None)

    def due(self, now: float, most: int = sys.maxsize) -> "list[Link]":
        """Return the links to look at now, at most so many; each is to be watched again, or ends."""
        new = takewhile(lambda item: item[1] <= now, self._new.items())
        found = [link for link, _ in islice(new, most)]
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
