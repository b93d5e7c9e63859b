"""Peers that are not here: the hook by which another part of the daemon reaches them. No I/O, no clock."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sigd.relay.link import Holder, Link
    from sigd.wire.messages import Relayed


class Elsewhere(Protocol):
    """Another place where peers may be: other nodes, or a store for messages to absent ones."""

    def pass_on(self, link: "Link", message: "Relayed", now: float) -> bool:
        """Return whether a message has been passed on: then its answer comes later, from here.

        Args:
            link: the sender's, which is answered once the outcome is known.
            message: it names a recipient that no link here holds.
            now: seconds.
        """
        ...

    def holder(self, peer: str) -> "Holder | None":
        """Return the holder of an ID that no link here has.

        It has to say before long whether it lives: `Admission.sign_of_life`, or `Admission.concede` when it is gone.
        """
        ...
