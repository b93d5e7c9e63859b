"""Links as rows for people, with Unix times."""

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from sigd.admin.replies import ClosedRow, PeerRow, ShowReply
from sigd.relay.endings import Ending
from sigd.relay.globs import Globs
from sigd.relay.link import Link
from sigd.relay.wall import UnixAhead
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sigd.relay.refusals import Attempt

_RECENT: Final = 50
"""Maximum number of recent partners in a list: more than a screen shows."""


def row_of(link: Link, now: float, unix_ahead: UnixAhead) -> PeerRow:
    """Return the row of a registered peer."""
    assert link.id is not None
    return PeerRow(
        id=link.id,
        via=link.via,
        framing=link.framing.name,
        address=link.address,
        since=link.opened + unix_ahead,
        idle=max(0.0, now - link.last_seen),
        received=link.received,
        delivered=link.delivered,
        outbox_bytes=link.queued,
        rtt=None if link.rtt == NEVER else link.rtt,
        errors=0 if link.offences is None else link.offences.errors,
    )


def details_of(link: Link, now: float) -> ShowReply:
    """Return all details of a registered peer."""
    assert link.id is not None
    proof, talk, wall = link.grant.proof, link.grant.talk, link.router.wall
    return ShowReply(
        now=wall.unix_time(),
        peer=row_of(link, now, wall.ahead(now)),
        meta=UNSET if link.meta is None else link.meta,
        max_frame=link.max_frame,
        keepalive=0.0 if link.keepalive == NEVER else link.keepalive,
        held=link.held,
        stuck=link.stuck,
        challenged=link.challenge is not None,
        register=_shown(link.grant.register),
        talk=None if talk is None else _shown(talk),
        discover=link.grant.discover,
        credential=None if proof is None else " ".join(proof.credential),
        expires=None if proof is None or proof.expires == NEVER else proof.expires,
        recent=link.router.record.partners(link.id)[:_RECENT],
    )


def _shown(globs: Globs) -> list[str]:
    return [" | ".join(alternatives) for alternatives in globs]


def rows_of_ends(ends: "Iterable[Ending | Attempt]", unix_ahead: UnixAhead) -> "Iterator[ClosedRow]":
    """Yield a row for each end of a link, and for each attempt that was refused."""
    for each in ends:
        yield closed_row_of(each, unix_ahead) if isinstance(each, Ending) else refused_row_of(each, unix_ahead)


def closed_row_of(ending: Ending, unix_ahead: UnixAhead) -> ClosedRow:
    """Return the row of an ended link."""
    return ClosedRow(
        id=ending.id,
        at=ending.when + unix_ahead,
        via=ending.via,
        address=ending.address,
        reason=ending.reason,
        by=ending.by,
        seconds=ending.seconds,
        silent=ending.silent,
        received=ending.received,
        delivered=ending.delivered,
    )


def refused_row_of(attempt: "Attempt", unix_ahead: UnixAhead) -> ClosedRow:
    """Return the row of a refused `register`, or of another refusal to a client without an ID."""
    objection = attempt.objection
    return ClosedRow(
        id=attempt.claimed or attempt.to,
        at=(attempt.when + unix_ahead),
        via=attempt.via,
        address=attempt.address,
        reason=attempt.code.value,
        refused=attempt.kind or "message",
        times=attempt.times,
        why=attempt.why if objection is None else objection.text,
        cause=None if objection is None else objection.cause,
        credential=None if objection is None or not objection.credential else objection.credential,
    )
