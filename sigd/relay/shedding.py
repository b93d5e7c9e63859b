"""Load shedding: shrink the record, then end the links whose buffers take most memory for longest."""

from typing import TYPE_CHECKING, Final

from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.relay.link import Link
    from sigd.relay.router import Router

LIMIT: Final = "buffer_bytes_total"


def is_crowded(router: "Router") -> bool:
    """Return whether links have to go."""
    return router.buffers.is_full(router.limits.buffer_bytes_total)


def shed(
    router: "Router", now: float, failed: "Callable[[Link, Exception], None]", is_enough: "Callable[[], bool]"
) -> int:
    """Shrink the record, then end links, until there is room again; return how many links.

    Args:
        router: whose links.
        now: seconds.
        failed: is told of a link and the bug that it met.
        is_enough: whether the rest may wait for the next round, which is asked once the limit is kept.
    """
    buffers, ended, most = router.buffers, 0, router.limits.buffer_bytes_total
    router.record.make_way(buffers.excess(most))
    for link in buffers.victims(most, now):
        ended += 1
        try:
            _end(router, link, now)
        except Exception as fault:
            failed(link, fault)
        buffers.hold(link, 0)  # even if a bug has kept it from giving it back
        if buffers.total <= most and is_enough():
            break
    return ended


def _end(router: "Router", link: "Link", now: float) -> None:
    if link.stuck:
        fault = ProtocolError(ErrorCode.SLOW_CONSUMER, "the client did not read its messages in time", limit=LIMIT)
        router.count(fault)
        link.abort(fault.code)  # it does not read: nothing can be said to it
    else:
        text = "no memory left for unfinished frames: try again later"
        router.refuse(link, ProtocolError(ErrorCode.SERVER_FULL, text, limit=LIMIT), now, link.begun)
