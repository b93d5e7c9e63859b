"""The lobby: links that have no ID yet, the addresses of all links, and room for newcomers. No I/O, no clock.

Times are seconds on the caller's clock.
"""

import math
from typing import TYPE_CHECKING

from sigd.relay.origins import Origins
from sigd.relay.strangers import Strangers
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.relay.ledger import Ledger
    from sigd.relay.link import Link
    from sigd.relay.origins import Origin


class Lobby:
    """Where links stay until they have an ID. `Admission`, which gives them one, is one.

    Attributes:
        ledger: limits and deadlines of all links.
        origins: where links come from.
        unregistered: links that have no ID.
    """

    def __init__(self, ledger: "Ledger[Link]") -> None:
        self.ledger = ledger
        self.origins = Origins(ledger.limits.trusted)
        self.unregistered: Strangers[Link] = Strangers()

    # -- connecting

    def enter(self, link: "Link") -> None:
        """Count a new link; `make_room` follows."""
        self.origins.join(link.origin)
        self.unregistered.enter(link, link.origin, link.opened)

    def begin(self, link: "Link", now: float) -> None:
        """Note the first byte of a link: from now on it makes room later than silent ones."""
        self.unregistered.begin(link, link.origin, now)

    def move(self, link: "Link", host: str, port: int, now: float) -> None:
        """Count a link where its proxy says that it comes from."""
        before, link.origin = link.origin, self.origins.of(host)
        link.host, link.port = host, port
        self.unregistered.leave(link, before)
        self.origins.join(link.origin)
        self.origins.leave(before)
        self.unregistered.enter(link, link.origin, now)
        self.make_room(link, now)

    def enter_by_datagram(self, origin: "Origin") -> None:
        """Count a new link over UDP, from a client that has shown that it receives there.

        Raises:
            ProtocolError: `server-full`; it is not counted.
        """
        limits = self.ledger.limits
        if self.origins.udp_links >= limits.udp_links:
            text = "the server is full over UDP: try again later"
            raise ProtocolError(ErrorCode.SERVER_FULL, text, limit="udp_links")
        if self.excess_by_datagram(origin) >= 0:
            raise too_many_datagram_links()
        self.origins.join_by_datagram(origin)

    def excess_by_datagram(self, origin: "Origin") -> float:
        """Return how many links over UDP there are from an address beyond its cap; below 0, one more has room."""
        cap = self.ledger.limits.udp_links_per_address
        return origin.udp_links - cap if cap and origin.capped else -math.inf

    def excess(self, origin: "Origin") -> int:
        """Return how many links there are from an address beyond its cap; up to 0: not too many."""
        cap = self.ledger.limits.max_per_address
        return origin.links - cap if cap and origin.capped else 0

    # -- making room

    def is_full_for(self, origin: "Origin") -> bool:
        """Return whether a link has to make room for the newest one from there, unless that registers."""
        limits = self.ledger.limits
        cap = limits.max_unregistered_per_address
        return (
            self.excess(origin) > 0
            or len(self.unregistered) > limits.max_unregistered
            or 0 < cap < self.unregistered.count(origin)
        )

    def make_room(self, newcomer: "Link", now: float) -> None:
        """End a link, the newcomer itself maybe, where there are too many from its address, or without an ID."""
        limits, origin = self.ledger.limits, newcomer.origin
        strangers = self.unregistered
        cap, most = limits.max_unregistered_per_address, limits.max_unregistered
        if newcomer.closing or newcomer.id is not None:
            return
        if self.excess(origin) > 0:
            self.make_way(newcomer, too_many_of_address(), now, origin)
        elif cap and origin.capped and strangers.count(origin) > cap:
            _send_away(strangers.in_the_way(newcomer, origin, cap, now), "max_unregistered_per_address", now)
        elif len(strangers) > most:
            _send_away(strangers.in_the_way_of_all(newcomer, origin, most, now), "max_unregistered", now)

    def make_way(self, newcomer: "Link", fault: ProtocolError, now: float, origin: "Origin | None" = None) -> None:
        """Refuse a newcomer, unless a link that had its time to register can go in its place.

        Args:
            newcomer: one link more than there may be.
            fault: the reason for its refusal.
            now: seconds.
            origin: the address where a link has to go; None: anywhere.
        """
        overdue = self.unregistered.overdue(now, origin)
        if overdue is None:
            newcomer.refuse(fault)
        else:
            _send_away(overdue, fault.limit, now)

    def forget(self, link: "Link") -> None:
        """Stop counting a link as unregistered."""
        self.unregistered.leave(link, link.origin)


def _send_away(link: "Link", limit: str | None, now: float) -> None:
    """End a link at once that has to make room: one that lingered would still take it."""
    text = "too many connections have not registered: try again later"
    link.refuse(ProtocolError(ErrorCode.SERVER_FULL, text, limit=limit))
    link.attend(now)
    link.abort(link.reason)


def too_many_of_address() -> ProtocolError:
    """Return the error for a client whose address has the maximum number of links."""
    text = "too many connections from your address"
    return ProtocolError(ErrorCode.SERVER_FULL, text, limit="max_per_address")


def too_many_datagram_links() -> ProtocolError:
    """Return the answer to a client whose address has as many links over UDP as it may."""
    text = "too many links over UDP from your address"
    return ProtocolError(ErrorCode.SERVER_FULL, text, limit="udp_links_per_address")
