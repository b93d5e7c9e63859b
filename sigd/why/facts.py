"""What the daemon knows of a peer and of its ICE servers, beside what the peers have said. All times are Unix time."""

from typing import TYPE_CHECKING

from msgspec import Struct

from sigd.relay.ice import RENEW_SECONDS
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.router import Router
    from sigd.relay.wall import UnixAhead


class Ended(Struct):
    """The end of a link that a peer has had: when, why, and for how many seconds it was there."""

    when: float
    reason: str
    seconds: float


class PeerFacts(Struct):
    """Whether a peer is here, and how it came and went.

    Attributes:
        peer: its ID.
        via: what carries its link; None: it is not here.
        since: when that link was opened.
        lines: whether a person may sit there, or what only listens.
        ended: the ends of its links that are still remembered, the last one last.
        ice_expires: when the TURN credentials that it was given last expire; None: they do not, or it has none.
        host: the address that its link comes from; empty: it has none, or is not here.
    """

    peer: str
    via: str | None = None
    since: float = 0.0
    lines: bool = False
    ended: list[Ended] = []
    ice_expires: float | None = None
    host: str = ""


class IceFacts(Struct):
    """What `[ice]` gives to peers: STUN, TURN, and TURN that needs no UDP.

    `ttl` is the time for which TURN credentials hold, in seconds.
    """

    stun: bool = False
    turn: bool = False
    turn_tcp: bool = False
    ttl: float = NEVER


def peer_facts(router: "Router", peer: str, unix_ahead: "UnixAhead") -> PeerFacts:
    """What is known of a peer.

    Args:
        router: where it may be registered.
        peer: its ID.
        unix_ahead: seconds that Unix time is ahead of the router's clock.
    """
    ended = [Ended(each.when + unix_ahead, each.reason, each.seconds) for each in router.ended if each.id == peer]
    link = router.registry.find(peer)
    if link is None:
        return PeerFacts(peer, ended=ended)
    expires = None
    if link.renews_at != NEVER:
        expires = link.renews_at + RENEW_SECONDS + unix_ahead
    host = "" if link.port is None else link.host
    return PeerFacts(peer, link.via, link.opened + unix_ahead, link.patient, ended, expires, host)


def ice_facts(router: "Router") -> IceFacts:
    """What the daemon gives to peers now; not what they may know from elsewhere."""
    admission = router.admission
    urls = [url for server in admission.vendor.for_peer("", admission.unix_time()) for url in server.urls]
    turn = [url for url in urls if url.startswith("turn")]
    tcp = any(url.startswith("turns:") or url.endswith("transport=tcp") for url in turn)
    return IceFacts(len(turn) < len(urls), bool(turn), tcp, admission.vendor.ttl_seconds)
