"""What the log says of a link that ends: the same for streams and datagrams."""

from typing import TYPE_CHECKING

from sigd import log
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.net.reactor import Reactor
    from sigd.relay.link import Link


def say_closing(link: "Link", reason: str, fault: ProtocolError | None, reactor: "Reactor") -> None:
    """Log that a link is about to close, if it is news: a registered peer goes, or somebody tries credentials."""
    if not link.closing and link.id is not None:
        seconds = f"{reactor.now - link.opened:.1f}"
        by = {"by": fault.by} if fault is not None and fault.by is not None else {}
        log.info("closed", peer=link.id, reason=reason, address=link.address, **by, seconds=seconds)
    elif fault is not None and fault.code is ErrorCode.AUTH_FAILED:
        reactor.say_failure(link)
