"""What is asked of a daemon, and done to it, at the admin socket."""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sigd.admin.messages import ReloadReply
    from sigd.net.listeners import Door
    from sigd.net.ports import Port
    from sigd.net.reactor import Reactor
    from sigd.relay.router import Router
    from sigd.rules.made import Rules


class Operated(Protocol):
    """A running daemon."""

    @property
    def rules(self) -> "Rules":
        """What holds: others after a reload."""
        ...

    @property
    def router(self) -> "Router":
        """Who is registered."""
        ...

    @property
    def reactor(self) -> "Reactor":
        """Their links."""
        ...

    @property
    def doors(self) -> "Sequence[Door | Port]":
        """Where they come from."""
        ...

    @property
    def inherited(self) -> "Container[int]":
        """The descriptors of those listeners that systemd has opened."""
        ...

    @property
    def started(self) -> float:
        """When it began, in seconds on trio's clock."""
        ...

    @property
    def config_path(self) -> str | None:
        """The file that it was configured by."""
        ...

    @property
    def digest(self) -> str:
        """The digest of the configuration that holds."""
        ...

    @property
    def max_connections(self) -> int:
        """How many connections there may be: fewer than were asked for, if descriptors do not suffice."""
        ...

    @property
    def needs_restart(self) -> Sequence[str]:
        """Settings that were read since the start and do not hold before the next, as people write them."""
        ...

    @property
    def misfits(self) -> Sequence[str]:
        """In what the sockets of systemd do not fit the configuration, as people write it."""
        ...

    def differences(self) -> tuple[Sequence[str], Sequence[str]]:
        """Return the changes of a reload, files included, and those that wait for a restart; called in a thread.

        Raises:
            ConfigError: it would change nothing, for these faults.
            OSError: the configuration cannot be read.
        """
        ...

    async def reload(self, *, end_links: bool = True) -> "ReloadReply":
        """Read the configuration again and have it hold; with any fault in it everything stays as it is.

        Args:
            end_links: whether it may end links; where it would and may not, everything stays as it is, too.
        """
        ...

    def drain(self) -> None:
        """Begin to tell everybody to come back later, and to stop."""
        ...

    async def exposition(self) -> bytes:
        """The figures for Prometheus, at most a second old.

        Raises:
            StartError: the extra `metrics` is not installed.
        """
        ...
