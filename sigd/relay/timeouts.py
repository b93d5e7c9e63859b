"""Timeouts of links: for each state, the times at which something happens, and the action. No I/O, no clock.

Another deadline is another row of `TIMEOUTS`, and nothing else. Times are seconds on the caller's clock.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sigd.relay.endings import STOPPING
from sigd.relay.expiry import has_expired
from sigd.relay.link import PROBE_SECONDS, Link, State
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.admission import Admission

GONE_AFTER: Final = 2.5
"""Keepalive intervals of silence that end a link: one ping may get lost, and the next one be late."""

ANSWER_WITHIN: Final = GONE_AFTER - 1
"""Keepalive intervals from a ping to the end that follows it, however long the link was silent before: a daemon that
stood still asks late, and its clients have as long to answer as at any other time."""


class Timeout(NamedTuple):
    """A deadline of links.

    Attributes:
        when: the time, as far as a link that stays silent is concerned; `NEVER`: there is none.
        then: acts on a link that has reached it.
    """

    when: Callable[[Link], float]
    then: "Callable[[Admission, Link, float], None]"


def _lingers_until(link: Link) -> float:
    return link.ends_at


def _cut_off(_: "Admission", link: Link, now: float) -> None:
    if link.reason != STOPPING and not link.patient:  # a person's netcat stays until its user ends it
        link.router.limits_hit["linger_ms"] += 1
    link.abort(link.reason)


def _stalls_at(link: Link) -> float:
    return link.stalled_since + link.router.limits.stall_timeout_ms / 1000


def _give_up_writing(_: "Admission", link: Link, now: float) -> None:
    link.drop_unsent(now, keep=link.committed)
    text = "the client did not read its messages in time"
    link.refuse(ProtocolError(ErrorCode.SLOW_CONSUMER, text, limit="stall_timeout_ms"))


def _registers_by(link: Link) -> float:
    return link.opened + link.register_timeout_ms / 1000


def _turn_away(_: "Admission", link: Link, now: float) -> None:
    text = f"no register came within {link.register_timeout_ms / 1000:g} s"
    key = "register_timeout_ms" if link.framing.name and not link.patient else "register_timeout_lines_ms"
    link.refuse(ProtocolError(ErrorCode.REGISTER_TIMEOUT, text, limit=key))


def _frame_ends_by(link: Link) -> float:
    return link.frame_since + link.frame_timeout_ms / 1000


def _refuse_frame(_: "Admission", link: Link, now: float) -> None:
    text = "a frame was begun and not finished in time"
    key = None if link.patient else "frame_timeout_ms"
    link.router.refuse(link, ProtocolError(ErrorCode.BAD_FRAME, text, limit=key), now, link.begun)


def _resumes_at(link: Link) -> float:
    return link.resumes_at


def _resume(_: "Admission", link: Link, now: float) -> None:
    link.resumes_at = NEVER
    link.last_seen = now  # what it had sent meanwhile was not read
    link.go_on()


def _expires_at(link: Link) -> float:
    return link.expires_at


def _expire(_: "Admission", link: Link, now: float) -> None:
    if has_expired(link, now):
        link.refuse(ProtocolError(ErrorCode.AUTH_EXPIRED, "the credential has expired"))


def _renews_at(link: Link) -> float:
    return link.renews_at


def _renew(admission: "Admission", link: Link, now: float) -> None:
    try:
        admission.ice_servers(link, None, now)
    except ProtocolError:
        link.renews_at = NEVER  # they do not fit into its `maxFrame`: it has never had any


def _claims_until(link: Link) -> float:
    return NEVER if link.claim is None else link.claim.due


def _decide_claim(admission: "Admission", link: Link, now: float) -> None:
    assert link.claim is not None
    holder = link.claim.holder
    if holder.has_unread():
        admission.sign_of_life(holder, now)
    else:
        link.claim.due = now + PROBE_SECONDS  # a holder elsewhere concedes the ID later, and is asked again until then
        text = f"somebody claims the ID, and no sign of life came within {PROBE_SECONDS:g} s"
        holder.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text))


def _silent_until(link: Link) -> float:
    if link.patient or link.is_paused or link.stuck:
        return NEVER  # it is not read, or has not been asked yet: its silence says nothing
    if not link.pinged:
        return link.last_seen + link.keepalive
    return max(link.last_seen + link.keepalive * GONE_AFTER, link.pinged_at + link.keepalive * ANSWER_WITHIN)


def _ask_or_end(_: "Admission", link: Link, now: float) -> None:
    if not link.pinged:
        link.pinged_at = now
        link.ping(now)
    elif link.has_unread():
        link.last_seen = now  # the daemon is behind with reading, after a sleep or in a crowd: it is not silent
    else:
        text = "nothing came for too long, not even a pong"
        link.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text, limit="keepalive_ms"))


_LINGER: Final = Timeout(_lingers_until, _cut_off)
_STALL: Final = Timeout(_stalls_at, _give_up_writing)
_REGISTER: Final = Timeout(_registers_by, _turn_away)
_FRAME: Final = Timeout(_frame_ends_by, _refuse_frame)
_PAUSE: Final = Timeout(_resumes_at, _resume)
_EXPIRY: Final = Timeout(_expires_at, _expire)
_RENEWAL: Final = Timeout(_renews_at, _renew)
_CLAIM: Final = Timeout(_claims_until, _decide_claim)
_SILENCE: Final = Timeout(_silent_until, _ask_or_end)

TIMEOUTS: Final[Mapping[State, tuple[Timeout, ...]]] = {
    State.NEW: (_STALL, _REGISTER, _FRAME, _PAUSE),
    State.CLAIMING: (_STALL, _FRAME, _PAUSE, _CLAIM),
    State.REGISTERED: (_STALL, _FRAME, _PAUSE, _EXPIRY, _RENEWAL, _SILENCE),
    State.CLOSING: (_LINGER,),
}
"""The deadlines of a link in each state; of several that are due, the first one is acted on."""


def next_deadline(link: Link) -> float:
    """Return the time at which something must happen to a link that stays silent; `NEVER` if nothing must."""
    return min(timeout.when(link) for timeout in TIMEOUTS[link.state])


def act_on(admission: "Admission", link: Link, now: float) -> None:
    """Act on the first deadline that a link has reached, if there is one."""
    for timeout in TIMEOUTS[link.state]:
        if now >= timeout.when(link):
            timeout.then(admission, link, now)
            return
