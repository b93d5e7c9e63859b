"""Record of ended links, for later questions."""

from typing import Final, NamedTuple

ENDINGS_KEPT: Final = 1_000
"""Maximum number of entries, as in nats-server: 0.4 MiB, and some minutes on a busy day."""


UNREGISTERED: Final = "unregistered"
"""The reason of a link whose client has taken its leave."""

STOPPING: Final = "server stops"
"""The reason of links that end with the daemon."""


class Ending(NamedTuple):
    """The end of a registered peer's link.

    Attributes:
        when: seconds, on the relay's clock: Unix time may have been wrong then.
        id: the peer.
        via, address: how and from where it was connected.
        reason: an error's code, or a few words.
        by: the address of the client that brought it about, where that was another one.
        seconds: how long the link lived; `silent`: for how long nothing had come.
        received, delivered: messages that came from it, and those that others sent to it.
    """

    when: float
    id: str
    via: str
    address: str
    reason: str
    by: str | None
    seconds: float
    silent: float
    received: int
    delivered: int
