"""Rules for the addresses that two peers have exchanged. Pure functions, as in `rules`."""

from typing import Final

from sigd.why.addresses import HIDDEN, PUBLIC, network, place
from sigd.why.calls import Side
from sigd.why.detectors import Case, Diagnosis

GATHERING_SECONDS: Final = 10.0
"""Seconds during which more candidates may come: a query to a STUN server takes 5 to 40 s, mostly 10."""


def reachable(side: Side, other: Side) -> bool:
    """Return whether the other side can reach an address of this one from anywhere.

    A relay in a private network counts if nothing shows that either peer is elsewhere.
    """
    if any(each.place not in HIDDEN for each in side.relays):
        return True
    if side.relays and not (side.outside or other.outside):
        return True
    if not all(each.family for each in other.candidates) or not other.candidates:
        return side.public()  # names and peer-reflexive candidates may be of either IP version
    return any(side.public(family) for family in other.families | {0})


def same_network(case: Case) -> bool:
    """Return whether the two are in one network, judging by their links: then private addresses suffice.

    Their links come from one address, that of a common NAT, or from addresses of one network; and if they have
    exchanged addresses, some of those share a network too. Links from loopback prove nothing: a proxy may forward them.
    """
    ours, theirs = (case.of(side.peer).host for side in (case.caller, case.callee))
    if not ours or not theirs or "loopback" in {place(ours)[0], place(theirs)[0]}:
        return False
    if ours != theirs and (network(ours) != network(theirs) or place(ours)[0] == PUBLIC):
        return False
    one, other = (_networks(side) for side in (case.caller, case.callee))
    return not one or not other or not one.isdisjoint(other)


def _networks(side: Side) -> set[str]:
    addresses = (each.address.rpartition(":")[0].strip("[]") for each in side.candidates if each.type == "host")
    return {found for address in addresses if (found := network(address)) is not None}


def mdns_only(case: Case) -> Diagnosis | None:
    """Find a browser that hides its addresses, with no other address to reach."""
    if not case.negotiated or same_network(case):
        return None
    for side, other in case.sides:
        places = {candidate.place for candidate in side.candidates}
        if places == {".local"} and not other.mapped and not reachable(other, side):
            likely = f"{side.peer} gave only .local names, which cannot be looked up outside its own network."
            advice = [
                f"give {side.peer} a STUN server: set ice.stun_urls; sigctl reload",
                "browsers give real addresses to a page that may use camera or microphone",
                f"is {other.peer} in the same network? It has to resolve mDNS names",
            ]
            return Diagnosis("mdns-only", likely, advice, side.peer)
    return None


def relay_hidden(case: Case) -> Diagnosis | None:
    """Find a TURN server that gives addresses of its own network to peers outside of it."""
    if not case.negotiated or any(reachable(side, other) for side, other in case.sides):
        return None
    for side, other in case.sides:
        if side.relays:
            where = side.relays[0].place
            likely = (
                f"The relay candidates of {side.peer} are {where} addresses, those of the TURN server's own network:"
                f" {other.peer} cannot reach them from outside."
            )
            advice = ["tell the TURN server its public address: external-ip in turnserver.conf (coturn)"]
            return Diagnosis("relay-hidden", likely, advice, side.peer)
    return None


def private_only(case: Case) -> Diagnosis | None:
    """Find two peers that both have only private addresses."""
    if not case.negotiated or not case.caller.candidates or not case.callee.candidates or same_network(case):
        return None
    if all(not side.mapped and not reachable(side, other) for side, other in case.sides):
        likely = "Both gave only addresses of their own networks: they connect only if that is the same one."
        advice = ["set ice.stun_urls, and ice.turn_urls with ice.turn_secret_file; sigctl reload"]
        special = sorted({each.place for side, _ in case.sides for each in side.candidates} - _PLAIN)
        if special:
            likely += f" Some are special-purpose addresses, which lead nowhere else: {', '.join(special)}."
        if case.caller.families and case.callee.families and case.caller.families.isdisjoint(case.callee.families):
            likely += " One has IPv4 alone, the other one IPv6."
        if case.ice.stun or case.ice.turn:
            advice = [
                "they were given ICE servers: do their programs pass `iceServers` to RTCPeerConnection?",
                "can they reach those servers by UDP? Run turnutils_stunclient (coturn) from their networks",
            ]
        return Diagnosis("private-only", likely, advice, case.callee.peer)
    return None


_PLAIN: Final = frozenset({PUBLIC, "private", ".local", "name", "link-local", "loopback"})
"""Places of addresses that need no explanation."""


def ice_expired(case: Case) -> Diagnosis | None:
    """Find TURN credentials that had expired when a peer gathered."""
    if case.call is None or not case.negotiated or same_network(case):
        return None
    for side, other in case.sides:
        expires = case.of(side.peer).ice_expires
        if expires is not None and expires < _gathered(case, side) and not side.relays and not reachable(other, side):
            likely = f"The TURN credentials of {side.peer} had expired when it gathered, and it got no relay candidate."
            advice = [f"have {side.peer} use the newest `iceServers` for each call, or ask for them before"]
            return Diagnosis("ice-expired", likely, advice, side.peer)
    return None


def _gathered(case: Case, side: Side) -> float:
    """Return the time when a side gathered its candidates, as far as known."""
    assert case.call is not None
    return case.call.at if side.first_at is None else side.first_at


def no_srflx(case: Case) -> Diagnosis | None:
    """Find a STUN server that did not answer one of the peers."""
    if not case.negotiated or not case.ice.stun or same_network(case):
        return None
    for side, other in case.sides:
        if side.candidates and not side.mapped and not reachable(side, other) and not reachable(other, side):
            likely = (
                f"{side.peer} found no public address although it was given a STUN server: UDP may be blocked there."
            )
            advice = [
                f"from the network of {side.peer}: turnutils_stunclient (coturn) shows whether STUN gets through",
                f"does the program of {side.peer} pass `iceServers` to RTCPeerConnection?",
                "where UDP is blocked, turns: on port 443 gets through",
            ]
            return Diagnosis("no-srflx", likely, advice, side.peer)
    return None


def no_relay(case: Case) -> Diagnosis | None:
    """Find two NATs without a relay."""
    if not case.negotiated or any(reachable(side, other) for side, other in case.sides) or same_network(case):
        return None
    unmapped = [side.peer for side, _ in case.sides if not side.mapped]
    peer = unmapped[0] if unmapped else case.callee.peer
    found = f"{' and '.join(unmapped)} found no public address, and " if unmapped else ""
    if not case.ice.turn:
        likely = f"Two NATs and no relay candidate from {peer}: {found}neither has TURN."
        advice = ["set ice.turn_urls and ice.turn_secret_file; sigctl reload"]
        if not case.ice.stun:
            advice[0] = f"{peer} was given no iceServers, [ice] is empty: {advice[0]}"
        return Diagnosis("no-relay", likely, advice, peer)
    likely = f"Two NATs and no relay candidate from {peer}: {found}TURN gave neither one a relay. {_turn(case)}"
    advice = [
        "does TURN work? Run turnutils_uclient (coturn) from their networks",
        "do their programs pass `iceServers` with `username` and `credential` to RTCPeerConnection?",
    ]
    if any(side.description is not None and side.description.stack == "aiortc" for side, _ in case.sides):
        advice.append("aiortc says nothing of a TURN server that does not answer: have it log aioice at level INFO")
    return Diagnosis("no-relay", likely, advice, peer)


def _turn(case: Case) -> str:
    """Return the facts known of the TURN server; the daemon never contacts it."""
    never = [side.peer for side, _ in case.sides if case.of(side.peer).via and case.of(side.peer).ice_expires is None]
    if never:
        return f"No credentials were given to {' and '.join(never)}: is `maxFrame` too small, or came [ice] later?"
    old = [side.peer for side, _ in case.sides if case.of(side.peer).since + case.ice.ttl < _gathered(case, side)]
    if old:
        return (
            f"Those that {' and '.join(old)} got at first have expired meanwhile, and newer ones were sent: are those"
            " used? Or the TURN server is not reached, or has another secret or another time."
        )
    if all(side.mapped for side, _ in case.sides):
        return (
            "Their credentials are good by the daemon's clock, and STUN answered both: the TURN server is not reached,"
            " or has another secret or another time."
        )
    return "Their credentials are good by the daemon's clock: the TURN server is not reached, or has another secret."


def one_relay(case: Case) -> Diagnosis | None:
    """Find a relay on one side only, with a peer on the other side that must reach it by UDP."""
    if not case.negotiated or bool(case.caller.relays) == bool(case.callee.relays) or same_network(case):
        return None
    side, other = next((side, other) for side, other in case.sides if not side.relays)
    if (
        not side.candidates
        or side.mapped
        or side.public()
        or any(one.protocol == "tcp" for one in (*side.candidates, *other.candidates))
    ):
        return None  # STUN answered it, so UDP works for it; or its candidates come with its checks
    likely = f"There is no relay candidate from {side.peer}, and all candidates are UDP: is outgoing UDP blocked?"
    advice = ["offer TURN over TCP or TLS too: turns:HOST:443?transport=tcp in ice.turn_urls; sigctl reload"]
    if case.ice.turn_tcp:
        advice = [f"{side.peer} was given TURN over TCP or TLS: does its stack use it?"]
    return Diagnosis("one-relay-udp", likely, advice, side.peer)


def gathering(case: Case) -> Diagnosis | None:
    """Find a side that may still be gathering: it sent something recently, and no end of candidates."""
    if not case.negotiated:
        return None
    for side, _ in case.sides:
        if side.ended_at is None and side.last_at is not None and case.now - side.last_at < GATHERING_SECONDS:
            likely = (
                f"{side.peer} has not said that it has no more candidates: it may be gathering still, or its program"
                " never says so."
            )
            advice = ["ask again in a few seconds; meanwhile ask the endpoints what ICE does"]
            return Diagnosis("no-end-of-candidates", likely, advice, side.peer)
    return None
