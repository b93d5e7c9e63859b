"""When links in datagrams have something to do: finer than `Deadlines`, and empty where nothing is under way."""

import heapq
import math
import sys
from typing import TYPE_CHECKING, Final

from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.net.places import Recipient

TICK: Final = 1 / 128
"""Seconds: how late anything is done. A third of the shortest wait, which is that of an acknowledgement."""


class Timers:
    """Links by the tick in which each has to be looked at. A link says in `timer_at` where it stands."""

    __slots__ = ("_links", "_ticks")

    def __init__(self) -> None:
        self._links: dict[int, list[Recipient]] = {}
        self._ticks: list[int] = []

    @property
    def earliest(self) -> float:
        """When the first one comes due."""
        return self._ticks[0] * TICK if self._ticks else NEVER

    def watch(self, link: "Recipient", when: float) -> None:
        """Look at a link at `when`, if it is not looked at earlier anyway."""
        if when >= link.timer_at:
            return
        link.timer_at = when
        tick = math.ceil(when / TICK)
        if tick in self._links:
            self._links[tick].append(link)
        else:
            self._links[tick] = [link]
            heapq.heappush(self._ticks, tick)

    def due(self, now: float, most: int = sys.maxsize) -> "list[Recipient]":
        """Return the links to look at now, about so many at most; each is to be watched again."""
        found: list[Recipient] = []
        while self._ticks and self._ticks[0] * TICK <= now and len(found) < most:
            links = self._links[self._ticks[0]]
            for link in links[-most:]:
                if link.timer_at <= now:  # else it was looked at meanwhile, and is watched anew
                    link.timer_at = NEVER
                    found.append(link)
            del links[-most:]
            if not links:
                del self._links[heapq.heappop(self._ticks)]
        return found
