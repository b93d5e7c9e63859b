"""Expiry by the wall clock, of credentials and of those for TURN. No I/O, no clock.

Links hold these times on the relay's clock, like all others. When Unix time has moved against that, because the daemon
slept or somebody set the wall clock, they are judged again.
"""

from typing import TYPE_CHECKING, Final

from sigd.relay.credentials import LEEWAY_SECONDS
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sigd.relay.link import Link
    from sigd.relay.wall import Wall

RENEWED_PER_SECOND: Final = 1_000
"""TURN credentials that are made and sent at most, where all are due at once: 50 us each are a twentieth of a core."""


class Renewals:
    """Times for the renewal of TURN credentials that are all due at once, spread at `RENEWED_PER_SECOND`."""

    __slots__ = ("_count", "_now")

    def __init__(self, now: float) -> None:
        self._now = now
        self._count = 0

    def next(self) -> float:
        """Return the time for one more."""
        self._count += 1
        return self._now + (self._count - 1) / RENEWED_PER_SECOND


def end_of(expires: float, wall: "Wall", now: float) -> float:
    """Return the end of a link whose credential expires at a Unix time."""
    return now + expires + LEEWAY_SECONDS - wall.unix_time()


def expire_with(link: "Link", now: float) -> None:
    """Set the end of a link to the expiry of its credential, by the wall clock as it is now."""
    proof = link.grant.proof
    if proof is None or proof.expires == NEVER:
        link.expires_at = NEVER
    else:
        link.expires_at = end_of(proof.expires, link.router.wall, now)


def follow_wall(links: "Iterable[Link]", ahead: float, renewals: Renewals, now: float) -> None:
    """Judge credentials again by the wall clock as it is now; they are ended and renewed when their links are due.

    Args:
        links: the links to judge, each of them once after each shift.
        ahead: seconds that Unix time is further ahead of the relay's clock than before.
        renewals: the times of credentials to be renewed at once.
        now: seconds.
    """
    for link in links:
        if link.closing or link.id is None:
            continue
        expire_with(link, now)
        # Set back: the client was told how long they are good, and has new ones by then.
        if ahead > 0 and link.renews_at - ahead < NEVER:
            at = link.renews_at - ahead
            link.renews_at = min(link.renews_at, renewals.next() if at < now else at)
        link.watch()


def has_expired(link: "Link", now: float) -> bool:
    """Return whether a link's credential has expired by the wall clock, which may just have been set back."""
    expire_with(link, now)
    return now >= link.expires_at
