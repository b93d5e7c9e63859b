"""Sockets and descriptors from systemd, and notifications to it; without systemd, none."""

import os
import socket
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final

import trio

from sigd.net.inheriting import by_address
from sigd.server.systemd import Notifier, inherited, watchdog_seconds

if TYPE_CHECKING:
    from sigd.config.endpoints import Endpoint
    from sigd.net.reactor import Reactor

ADMIN: Final = "admin"
"""The name of sigd-admin.socket's socket (FileDescriptorName=)."""

SNAPSHOT: Final = "sigd-snapshot"
BAG: Final = "sigd-bag"
"""The name of the descriptors in the store during a restart."""

STATUS_SECONDS: Final = 10.0
"""Maximum age of the figures in `systemctl status`."""

DRAIN_RESERVE_SECONDS: Final = 10.0
"""Additional time requested from systemd for a stop, beyond `drain_ms`: five times the time that it takes."""

BARRIER_SECONDS: Final = 5.0
"""Timeout for systemd to store descriptors: it takes milliseconds unless the machine is overloaded."""


class Service:
    """This process as a service.

    Attributes:
        notifier: the connection to systemd.
        listeners: sockets for clients, by address; a listener that uses one removes it.
        keys: addresses on which systemd listens; `descriptors`: the same sockets, which it keeps open.
        admin: admin sockets.
        snapshot: the memfds left by the previous process.
        bags: the connections left by it.
        exit_status: status of the coming exit; None: the process serves.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take the sockets and descriptors named in the environment, and remove them from it.

        Raises:
            StartError: sigd cannot serve on a socket.
        """
        self.notifier = Notifier(environ)
        self._watchdog_seconds = watchdog_seconds(environ)
        self.admin: list[socket.socket] = []
        self.bags: list[socket.socket] = []
        self.snapshot: list[int] = []
        self.exit_status: int | None = None
        listeners: list[socket.socket] = []
        for name, descriptor, kind in inherited(environ):
            if kind == "file":
                if name == SNAPSHOT:
                    self.snapshot.append(descriptor)
                else:
                    os.close(descriptor)
            elif name == BAG:
                self.bags.append(socket.socket(fileno=descriptor))
            elif name == ADMIN:
                self.admin.append(socket.socket(fileno=descriptor))
            else:
                listeners.append(socket.socket(fileno=descriptor))
        self.listeners = by_address(listeners)
        self.keys: list[Endpoint] = list(self.listeners)
        self.descriptors = frozenset(sock.fileno() for sock in listeners)

    def close(self) -> None:
        """Close all unused sockets."""
        for sock in (*self.listeners.values(), *self.admin, *self.bags):
            sock.close()
        while self.snapshot:
            os.close(self.snapshot.pop())
        self.notifier.close()

    async def feed_watchdog(self, reactor: "Reactor") -> None:
        """Notify the watchdog after each sign of life of the reactor: systemd restarts a stuck one."""
        if self._watchdog_seconds is None:
            return
        while True:
            await reactor.turn()
            self.notifier.watchdog()
            await trio.sleep(self._watchdog_seconds)

    async def tell_status(self, reactor: "Reactor") -> None:
        """Keep the status line of `systemctl status` up to date."""
        if not self.notifier.wanted:
            return
        before = reactor.router.relayed
        while True:
            await trio.sleep(STATUS_SECONDS)
            relayed = reactor.router.relayed
            self.notifier.status(f"{status_of(reactor)}, {(relayed - before) / STATUS_SECONDS:.0f} messages/s")
            before = relayed

    def is_stopping(self, reactor: "Reactor") -> None:
        """Announce the beginning of a stop, and its maximum duration."""
        drain_seconds = reactor.router.limits.drain_ms / 1000
        self.notifier.stopping(f"telling {len(reactor)} clients to reconnect later")
        self.notifier.extend_timeout(drain_seconds + DRAIN_RESERVE_SECONDS)

    def listens(self) -> bool:
        """Whether systemd answers."""
        return self.notifier.barrier(BARRIER_SECONDS)

    def keep(self, memfds: list[int], bags: list[socket.socket]) -> bool:
        """Store the state for the next process; return whether systemd has it."""
        stored = self.notifier.store(SNAPSHOT, memfds) and self.notifier.store(BAG, [bag.fileno() for bag in bags])
        kept = stored and self.notifier.barrier(BARRIER_SECONDS)
        if not kept:
            self.forget_kept()
        return kept

    def forget_kept(self) -> None:
        """Remove everything from the store."""
        self.notifier.remove(SNAPSHOT)
        self.notifier.remove(BAG)


def status_of(reactor: "Reactor") -> str:
    """Return the numbers of peers and links, in one line."""
    return f"{len(reactor.router.registry)} peers, {len(reactor)} links"
