"""Room for a newcomer: the link that ends where there are more than the limits allow. No I/O, no clock."""

from typing import TYPE_CHECKING

from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.relay.link import Link
    from sigd.relay.origins import Origin
    from sigd.relay.router import Router


def is_full_for(router: "Router", origin: "Origin") -> bool:
    """Return whether somebody has to make room for the newest link from there, unless that registers."""
    limits, admission = router.limits, router.admission
    cap = limits.max_unregistered_per_address
    return (
        admission.excess(origin) > 0
        or len(admission.unregistered) > limits.max_unregistered
        or 0 < cap < admission.unregistered.count(origin)
    )


def make_room(router: "Router", newcomer: "Link", now: float) -> None:
    """End a link, the newcomer itself maybe, where there are too many from its address, or without an ID."""
    limits, admission, origin = router.limits, router.admission, newcomer.origin
    strangers = admission.unregistered
    cap, most = limits.max_unregistered_per_address, limits.max_unregistered
    if newcomer.closing or newcomer.id is not None:
        return
    if admission.excess(origin) > 0:
        make_way(router, newcomer, too_many_of_address(), now, origin)
    elif cap and origin.capped and strangers.count(origin) > cap:
        _send_away(strangers.in_the_way(newcomer, origin, cap, now), "max_unregistered_per_address", now)
    elif len(strangers) > most:
        _send_away(strangers.in_the_way_of_all(newcomer, origin, most, now), "max_unregistered", now)


def make_way(
    router: "Router", newcomer: "Link", fault: ProtocolError, now: float, origin: "Origin | None" = None
) -> None:
    """Refuse a newcomer, unless a link that had its time to register can go in its place.

    Args:
        router: the rules.
        newcomer: one link more than there may be.
        fault: the reason for its refusal.
        now: seconds.
        origin: the address where a link has to go; None: anywhere.
    """
    overdue = router.admission.unregistered.overdue(now, origin)
    if overdue is None:
        newcomer.refuse(fault)
    else:
        _send_away(overdue, fault.limit, now)


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
