"""The state of a link, of its credential and of the door, to be given to another process. No I/O, no clock.

Times stand in a snapshot as the one clock has them; who takes it up says how many seconds more the other one shows.
What follows from something else is not in it: queued bytes, origins, and what a credential is worth.
"""

import functools
import math
from typing import TYPE_CHECKING, Annotated, Final, cast

from msgspec import Meta, Raw, Struct

from sigd.relay.credentials import Caller, Credential, Grant, Permissions, Proof
from sigd.relay.rates import Offences, Rates
from sigd.wire.datagram_state import Count
from sigd.wire.ids import is_peer_id
from sigd.wire.times import NEVER, moved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sigd.relay.link import Link
    from sigd.relay.outbox import Outbox

OWN: Final = 0
GONE: Final = -1
"""Whose a message in an outbox is, beside the numbers of links, which begin with 1: a reply to the link itself, and
the message of somebody who has left."""


class CallerState(Struct, array_like=True):
    """See `credentials.Caller`: as far as a proof keeps it."""

    names: list[str]
    expires: float
    uid: int | None
    groups: list[int]


class ProofState(Struct, array_like=True):
    """See `credentials.Proof`."""

    credential: tuple[str, str]
    fingerprint: tuple[str, ...]
    secret: bytes
    register: tuple[str, ...] | None
    talk: tuple[str, ...] | None
    caller: CallerState | None
    expires: float


class LinkState(Struct, array_like=True):
    """See `link.Link`.

    Attributes:
        rates: of the grant, by which what is left of them is to be understood.
        offences: errors, noticed_at, missed_until.
        senders: whose each message in the outbox is: `OWN`, `GONE`, or a link's number.
    """

    host: str
    port: int | None
    id: str | None
    meta: bytes | None
    max_frame: Annotated[int, Meta(ge=1)]
    keepalive: float
    proof: ProofState | None
    rates: tuple[Count, float, Count, float]
    messages_left: float
    bytes_left: float
    settled_at: float
    offences: tuple[Count, float, float] | None
    received: Count
    delivered: Count
    rtt: float
    closing: bool
    reason: str
    held: bool
    outbox: list[bytes]
    senders: list[Annotated[int, Meta(ge=GONE)]]
    opened: float
    last_seen: float
    pinged_at: float
    frame_since: float
    stalled_since: float
    resumes_at: float
    expires_at: float
    renews_at: float
    ends_at: float


def state_of(link: "Link", numbers: "Mapping[Link, int]") -> LinkState:
    """The state of a link, for which no claim waits.

    Args:
        link: whose.
        numbers: of all links that are handed over, from 1.
    """
    rates, offences, proof = link.grant.rates, link.offences, link.grant.proof
    return LinkState(
        host=link.host,
        port=link.port,
        id=link.id,
        meta=None if link.meta is None else bytes(link.meta),
        max_frame=link.max_frame,
        keepalive=link.keepalive,
        proof=None if proof is None else _proof_state(proof),
        rates=(rates.messages_per_second, rates.messages_burst, rates.bytes_per_second, rates.bytes_burst),
        messages_left=link.messages_left,
        bytes_left=link.bytes_left,
        settled_at=link.settled_at,
        offences=None if offences is None else (offences.errors, offences.noticed_at, offences.missed_until),
        received=link.received,
        delivered=link.delivered,
        rtt=link.rtt,
        closing=link.closing,
        reason=link.reason,
        held=link.held,
        outbox=link.outbox if link.queued else [],
        senders=[OWN if owner is None else numbers.get(cast("Link", owner), GONE) for owner in link.owners],
        opened=link.opened,
        last_seen=link.last_seen,
        pinged_at=link.pinged_at,
        frame_since=link.frame_since,
        stalled_since=link.stalled_since,
        resumes_at=link.resumes_at,
        expires_at=link.expires_at,
        renews_at=link.renews_at,
        ends_at=link.ends_at,
    )


def restore(link: "Link", state: LinkState, shift: float, passed: float) -> None:
    """Restore a new link from the state of another one, but for its outbox.

    Args:
        link: new, its transport's part of it excepted.
        state: of the other one.
        shift: how many seconds more this clock shows than the one that the state was taken by.
        passed: seconds since then, which stand still on these clocks: for credentials alone they do not.

    Raises:
        ValueError: there is no such link.
    """
    if state.id is not None and not is_peer_id(state.id):
        raise ValueError("no peer has such an ID")
    if not state.keepalive > 0 or len(state.outbox) != len(state.senders) or not all(state.outbox):
        raise ValueError("no link is like that")
    link.id = state.id
    link.meta = None if state.meta is None else Raw(state.meta)
    link.max_frame = _shared_frame(min(state.max_frame, link.largest_frame))
    link.keepalive = NEVER if state.keepalive == NEVER else _shared_seconds(state.keepalive)
    link.grant = _grant_before(state)
    link.messages_left = state.messages_left
    link.bytes_left = state.bytes_left
    link.settled_at = moved(state.settled_at, shift)
    if state.offences is not None:
        link.offences = offences = Offences()
        offences.errors, noticed_at, missed_until = state.offences
        offences.noticed_at, offences.missed_until = moved(noticed_at, shift), moved(missed_until, shift)
    link.received = state.received
    link.delivered = state.delivered
    link.rtt = moved(state.rtt, 0.0)
    link.closing = state.closing
    link.reason = state.reason
    link.held = state.held or state.closing
    link.opened = moved(state.opened, shift)
    link.last_seen = moved(state.last_seen, shift)
    if state.pinged_at != -math.inf:  # else it is what a new link has, one for all
        link.pinged_at = moved(state.pinged_at, shift)
    link.frame_since = moved(state.frame_since, shift)
    link.stalled_since = moved(state.stalled_since, shift)
    link.resumes_at = moved(state.resumes_at, shift)
    link.expires_at = moved(state.expires_at, shift - passed)
    link.renews_at = moved(state.renews_at, shift - passed)
    link.ends_at = moved(state.ends_at, shift)


def fill(link: "Link", state: LinkState, links: "Sequence[Link | None]") -> None:
    """Restore the outbox; `links` are all by their numbers, None in the place of a lost one."""
    if not state.outbox:
        return
    # Whoever has left cannot be told any more what became of his message: it counts as if the link had sent it.
    owners: list[Outbox | None] = [None if number == OWN else _at(links, number) or link for number in state.senders]
    link.outbox, link.owners = state.outbox, owners
    link.queued = sum(map(len, state.outbox))
    link.own = sum(len(data) for data, owner in zip(state.outbox, owners, strict=True) if owner is None)
    link.stuck = True
    link.account()


def _at(links: "Sequence[Link | None]", number: int) -> "Link | None":
    return links[number - 1] if 0 < number <= len(links) else None


def _grant_before(state: LinkState) -> Grant:
    """The link's former rights, as far as they matter for its rights from now on."""
    rates = _rates(state.rates)
    _check_rate(rates.messages_per_second, rates.messages_burst, state.messages_left)
    _check_rate(rates.bytes_per_second, rates.bytes_burst, state.bytes_left)
    proof = None if state.proof is None else _proof_of(state.proof, rates)
    return Grant(proof, (), None, discover=False, rates=rates)


@functools.lru_cache(maxsize=256)
def _rates(numbers: tuple[int, float, int, float]) -> Rates:
    rates = Rates(1, 0, 1, 0)
    rates.messages_per_second, rates.messages_burst, rates.bytes_per_second, rates.bytes_burst = numbers
    return rates


def _check_rate(per_second: int, burst: float, left: float) -> None:
    """A limit has a burst, of which at most all is left; where there is none, nothing can be owed."""
    possible = 0 < burst < math.inf and -math.inf < left <= burst if per_second else burst == math.inf and left >= 0
    if not possible:
        raise ValueError("there is no such rate")


@functools.lru_cache(maxsize=256)
def _shared_frame(number: int) -> int:
    # One object for all links that have the same, as in `admission`.
    return number


@functools.lru_cache(maxsize=256)
def _shared_seconds(number: float) -> float:
    return number


def _proof_state(proof: Proof) -> ProofState:
    caller = proof.caller
    return ProofState(
        credential=proof.credential,
        fingerprint=proof.fingerprint[1:],
        secret=proof.secret,
        register=proof.register,
        talk=proof.talk,
        caller=None
        if caller is None
        else CallerState(list(caller.names), caller.expires, caller.uid, sorted(caller.groups)),
        expires=proof.expires,
    )


def _proof_of(state: ProofState, rates: Rates) -> Proof:
    caller = state.caller
    return Proof(
        Credential(state.credential, Permissions((), (), rates=rates)),
        *state.fingerprint,
        secret=state.secret,
        register=state.register,
        talk=state.talk,
        caller=None if caller is None else Caller(caller.names, caller.expires, caller.uid, frozenset(caller.groups)),
        expires=state.expires,
    )
