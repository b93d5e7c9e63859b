"""The daemon's knowledge of a peer and of its ICE servers, beyond the messages. All times are Unix time."""

from typing import TYPE_CHECKING

from msgspec import Struct

from sigd.relay.ice import RENEW_SECONDS
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.router import Router
    from sigd.relay.wall import UnixAhead


class Ended(Struct):
    """The end of a peer's earlier link: its time, reason and duration in seconds."""

    when: float
    reason: str
    seconds: float


class PeerFacts(Struct):
    """Presence of a peer, and the history of its links.

    Attributes:
        peer: its ID.
        via: transport of its link; None: not registered.
        since: start time of that link.
        lines: whether it uses line framing, so that a person or a mere listener may be there.
        ended: the recorded ends of its links, the last one last.
        ice_expires: expiry of its latest TURN credentials; None: it has none, or they do not expire.
        host: address of its link; empty: it has none, or is not registered.
    """

    peer: str
    via: str | None = None
    since: float = 0.0
    lines: bool = False
    ended: list[Ended] = []
    ice_expires: float | None = None
    host: str = ""


class IceFacts(Struct):
    """The servers of `[ice]` given to peers: STUN, TURN, and TURN without UDP.

    `ttl` is the lifetime of TURN credentials in seconds.
    """

    stun: bool = False
    turn: bool = False
    turn_tcp: bool = False
    ttl: float = NEVER


def peer_facts(router: "Router", peer: str, unix_ahead: "UnixAhead") -> PeerFacts:
    """Collect the facts about a peer.

    Args:
        router: the router of its link.
        peer: its ID.
        unix_ahead: offset of Unix time to the router's clock, in seconds.
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
    """Collect the ICE servers that the daemon gives to peers now; they may know others."""
    admission = router.admission
    urls = [url for server in admission.vendor.for_peer("", admission.unix_time()) for url in server.urls]
    turn = [url for url in urls if url.startswith("turn")]
    tcp = any(url.startswith("turns:") or url.endswith("transport=tcp") for url in turn)
    return IceFacts(len(turn) < len(urls), bool(turn), tcp, admission.vendor.ttl_seconds)
