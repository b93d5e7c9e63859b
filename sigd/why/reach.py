"""What may be wrong with the addresses that two peers have told each other. Pure functions, as in `rules`."""

from sigd.why.calls import Side
from sigd.why.rules import Case, Finding


def reachable(side: Side, other: Side) -> bool:
    """Whether a side has an address at which the other one may reach it from anywhere."""
    return side.relay or any(side.public(family) for family in other.families | {0})


def no_candidates(case: Case) -> Finding | None:
    """A side that gave no address at all."""
    if not case.negotiated or case.call is None or not case.call.whole:
        return None
    for side, other in case.sides:
        if not side.candidates and not reachable(other, side):
            likely = f"{side.peer} sent no candidates: {other.peer} does not know where to reach it."
            advice = [f"does {side.peer} send what its stack gathers (onicecandidate), or wait until it has all?"]
            return Finding("no-candidates", likely, advice, side.peer)
    return None


def mdns_only(case: Case) -> Finding | None:
    """A browser that hides its addresses, and nobody else whom one could reach."""
    if not case.negotiated:
        return None
    for side, other in case.sides:
        places = {candidate.place for candidate in side.candidates}
        if places == {".local"} and not other.mapped and not reachable(other, side):
            likely = f"{side.peer} gave .local names alone, which nobody outside its own network can look up."
            advice = [
                f"give {side.peer} a STUN server: set ice.stun_urls; sigctl reload",
                "a page that may use camera or microphone is given real addresses",
                f"is {other.peer} in the same network? It has to resolve mDNS names",
            ]
            return Finding("mdns-only", likely, advice, side.peer)
    return None


def private_only(case: Case) -> Finding | None:
    """Two peers, neither of which knows any address but that of its own network."""
    if not case.negotiated or not case.caller.candidates or not case.callee.candidates:
        return None
    if all(not side.mapped and not reachable(side, other) for side, other in case.sides):
        likely = "Both gave addresses of their own networks alone: they connect only if that is the same one."
        advice = ["set ice.stun_urls, and ice.turn_urls with ice.turn_secret_file; sigctl reload"]
        if case.ice.stun or case.ice.turn:
            advice = [
                "they were given ICE servers: do their programs pass `iceServers` to RTCPeerConnection?",
                "can they reach those servers by UDP? turnutils_stunclient (coturn) shows it, from where they are",
            ]
        return Finding("private-only", likely, advice, case.callee.peer)
    return None


def ice_expired(case: Case) -> Finding | None:
    """TURN credentials that were good no longer when a peer gathered."""
    if case.call is None or not case.negotiated:
        return None
    for side, _ in case.sides:
        expires = case.of(side.peer).ice_expires
        if expires is not None and expires < case.call.at and not side.relay:
            likely = f"The TURN credentials of {side.peer} had expired when it gathered, and it got no relay candidate."
            advice = [f"have {side.peer} use the newest `iceServers` for each call, or ask for them before"]
            return Finding("ice-expired", likely, advice, side.peer)
    return None


def no_srflx(case: Case) -> Finding | None:
    """A STUN server was there, and did not answer one of them."""
    if not case.negotiated or not case.ice.stun:
        return None
    for side, other in case.sides:
        if side.candidates and not side.mapped and not reachable(side, other) and not other.relay:
            likely = (
                f"{side.peer} found no public address, though it was told of a STUN server: UDP may be blocked there."
            )
            advice = [
                f"from the network of {side.peer}: turnutils_stunclient (coturn) shows whether STUN gets through",
                f"does the program of {side.peer} pass `iceServers` to RTCPeerConnection?",
                "where UDP is blocked, turns: on port 443 gets through",
            ]
            return Finding("no-srflx", likely, advice, side.peer)
    return None


def no_relay(case: Case) -> Finding | None:
    """Two NATs, and nothing between them."""
    if not case.negotiated or any(reachable(side, other) for side, other in case.sides):
        return None
    unmapped = [side.peer for side, _ in case.sides if not side.mapped]
    peer = unmapped[0] if unmapped else case.callee.peer
    found = f"{' and '.join(unmapped)} found no public address, and " if unmapped else ""
    if not case.ice.turn:
        likely = f"Two NATs and no relay candidate from {peer}: {found}nobody has TURN."
        advice = ["set ice.turn_urls and ice.turn_secret_file; sigctl reload"]
        if not case.ice.stun:
            advice[0] = f"{peer} was given no iceServers, [ice] is empty: {advice[0]}"
    else:
        likely = f"Two NATs and no relay candidate from {peer}: {found}TURN gave nobody a relay."
        advice = [
            "is TURN well? turnutils_uclient (coturn) shows it, from where they are",
            "do their programs pass `iceServers` with `username` and `credential` to RTCPeerConnection?",
        ]
    return Finding("no-relay", likely, advice, peer)


def one_relay(case: Case) -> Finding | None:
    """One side has a relay, and whoever is on the other reaches it by UDP or not at all."""
    if not case.negotiated or case.caller.relay == case.callee.relay:
        return None
    side, other = next((side, other) for side, other in case.sides if not side.relay)
    if side.public() or any(one.protocol == "tcp" for one in (*side.candidates, *other.candidates)):
        return None
    likely = f"There is no relay candidate from {side.peer}, and all candidates are UDP: does it get out by UDP?"
    advice = ["offer TURN over TCP or TLS too: turns:HOST:443?transport=tcp in ice.turn_urls; sigctl reload"]
    if case.ice.turn_tcp:
        advice = [f"{side.peer} was told of TURN over TCP or TLS: does its stack use that?"]
    return Finding("one-relay-udp", likely, advice, side.peer)


def no_end(case: Case) -> Finding | None:
    """A side that never said that it has gathered all."""
    if not case.negotiated:
        return None
    for side, _ in case.sides:
        if side.ended_at is None:
            likely = (
                f"{side.peer} has not said that it has no more candidates: it may be gathering still, or its program"
                " never says so."
            )
            advice = [f"have {side.peer} pass on the last candidate, null; meanwhile ask the endpoints what ICE does"]
            return Finding("no-end-of-candidates", likely, advice, side.peer)
    return None
