"""The interface between a running daemon and its admin socket."""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sigd.admin.replies import ReloadReply
    from sigd.net.listeners import ListeningSocket
    from sigd.net.reactor import Reactor
    from sigd.relay.router import Router
    from sigd.rules.made import Rules


class Operated(Protocol):
    """A running daemon."""

    @property
    def rules(self) -> "Rules":
        """The rules in force; a reload replaces them."""
        ...

    @property
    def router(self) -> "Router":
        """The router, with all registered peers."""
        ...

    @property
    def reactor(self) -> "Reactor":
        """The reactor, with all links."""
        ...

    @property
    def doors(self) -> "Sequence[ListeningSocket]":
        """The listeners."""
        ...

    @property
    def inherited(self) -> "Container[int]":
        """Descriptors of the listeners opened by systemd."""
        ...

    @property
    def started(self) -> float:
        """Start time on trio's clock, in seconds."""
        ...

    @property
    def config_path(self) -> str | None:
        """Path of the configuration."""
        ...

    @property
    def digest(self) -> str:
        """Digest of the configuration in force."""
        ...

    @property
    def max_connections(self) -> int:
        """Maximum number of connections: lower than configured if descriptors do not suffice."""
        ...

    @property
    def needs_restart(self) -> Sequence[str]:
        """Changed settings that take effect only after a restart, as text for people."""
        ...

    @property
    def misfits(self) -> Sequence[str]:
        """Mismatches between systemd's sockets and the configuration, as text for people."""
        ...

    def differences(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the changes of a reload, files included, and those that wait for a restart; called in a thread.

        Raises:
            ConfigError: faults that would prevent the reload.
            OSError: the configuration cannot be read.
        """
        ...

    async def reload(self, *, end_links: bool = True, shown: str = "") -> "ReloadReply":
        """Reload the configuration; if anything is wrong, nothing changes.

        Args:
            end_links: whether the reload may end links; if it would and may not, nothing changes either.
            shown: fingerprint of the rules that the operator has seen; empty: any may apply.
        """
        ...

    def drain(self) -> None:
        """Begin a graceful stop: tell all clients to reconnect later, then stop."""
        ...

    async def exposition(self) -> bytes:
        """The figures for Prometheus, at most a second old.

        Raises:
            StartError: the extra `metrics` is not installed.
        """
        ...
