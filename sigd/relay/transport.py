"""The far side of a link: the interface of each transport. No sockets, no clock."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Raw

    from sigd.relay.buffers import Kind
    from sigd.relay.credentials import Caller
    from sigd.relay.deadlines import Bucket


class Transport:
    """A conversation's transport, which the rules call. See `link.Link` for the rest of a link.

    Attributes:
        bucket: the link's place in `Deadlines`.
        meta: the peer's description of itself, a JSON object.
    """

    __slots__ = ("bucket", "meta")

    bucket: "Bucket | None"
    meta: "Raw | None"

    def push(self) -> None:
        """Write as much as possible without blocking."""
        raise NotImplementedError

    def attend(self, now: float) -> None:
        """Write waiting output, and bring a closing link further to its end."""
        raise NotImplementedError

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet."""
        raise NotImplementedError

    def resume(self) -> None:
        """Read again after having been held."""
        raise NotImplementedError

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """End at once, and drop waiting output."""
        raise NotImplementedError

    def sever(self) -> None:
        """Release the link's system resources, after a bug in every other way to end it."""
        raise NotImplementedError

    @property
    def begun(self) -> bytes:
        """The beginning of a message that is not whole yet, as far as it is at hand."""
        return b""

    @property
    def committed(self) -> int:
        """Bytes at the front of the outbox that may be on their way already, though the transport has not said so."""
        return 1

    def admitted(self) -> None:
        """The link has an ID now: longer messages are taken from it."""
        raise NotImplementedError

    def caller(self) -> "Caller | None":
        """The client's identity by its certificate or by the kernel; None if the transport does not know."""
        raise NotImplementedError

    @property
    def unacted(self) -> int:
        """Bytes that have come and were not acted on yet."""
        return 0

    @property
    def via(self) -> str:
        """The transport's name: `tcp`, `tls`, `unix`, `udp` or `dtls`."""
        raise NotImplementedError

    @property
    def kind(self) -> "Kind":
        """Return the largest part of its buffers."""
        raise NotImplementedError

    @property
    def idle_since(self) -> float:
        """The time since which it has made no progress with that."""
        raise NotImplementedError
