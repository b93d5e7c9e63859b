"""Peers whose links have ended: what is kept of them, for whoever asks afterwards."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sigd.relay.link import Link

ENDINGS_KEPT: Final = 1_000
"""What nats-server keeps too: 0.4 MiB, and on a busy day some minutes."""


class Ending:
    """The end of a registered peer's link.

    Attributes:
        when: seconds, on the relay's clock: Unix time may have been wrong then.
        id: the peer.
        via, address: how and from where it was connected.
        reason: an error's code, or a few words.
        by: the address of who brought it about, where that was somebody else.
        seconds: how long the link lived; `silent`: for how long nothing had come.
        received, delivered: messages that came from it, and those that others sent to it.
    """

    __slots__ = ("address", "by", "delivered", "id", "reason", "received", "seconds", "silent", "via", "when")

    def __init__(self, link: "Link", reason: str, by: str | None, now: float) -> None:
        assert link.id is not None
        self.when = now
        self.id = link.id
        self.via = link.via
        self.address = link.address
        self.reason = reason
        self.by = by
        self.seconds = link.router.wall.elapsed(link.opened, now)
        self.silent = link.router.wall.elapsed(link.last_seen, now)
        self.received = link.received
        self.delivered = link.delivered
