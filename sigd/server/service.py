"""What systemd has opened and kept for this process, and what it is told; without systemd nothing, and nobody."""

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
"""What sigd-admin.socket calls its socket (FileDescriptorName=)."""

SNAPSHOT: Final = "sigd-snapshot"
BAG: Final = "sigd-bag"
"""What the descriptor store holds between two processes of us, while the service is restarted."""

STATUS_SECONDS: Final = 10.0
"""How old the figures are at most that `systemctl status` shows."""

DRAIN_RESERVE_SECONDS: Final = 10.0
"""What systemd is asked to wait on top of `drain_ms`: five times what a stop takes then."""

BARRIER_SECONDS: Final = 5.0
"""For systemd to take in what it is to keep: milliseconds, unless the machine is about to stand still."""


class Service:
    """This process as a service.

    Attributes:
        notifier: tells systemd.
        listeners: sockets for clients, by where they listen; whoever opens a listener there takes it out.
        keys: where systemd listens for us; `descriptors`: the same sockets, which it keeps open.
        admin: sockets on which sigctl asks.
        snapshot: the memfds that the process before has left.
        bags: the connections that it has left.
        exit_status: status with which the process is about to end; None: it serves.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take what the environment says is there; it is gone from the environment then.

        Raises:
            StartError: a socket that sigd cannot serve on.
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
        """Close what nobody has taken."""
        for sock in (*self.listeners.values(), *self.admin, *self.bags):
            sock.close()
        while self.snapshot:
            os.close(self.snapshot.pop())
        self.notifier.close()

    async def feed_watchdog(self, reactor: "Reactor") -> None:
        """Say that we live, each time that the reactor has shown it: one that is stuck has us started anew."""
        if self._watchdog_seconds is None:
            return
        while True:
            await reactor.turn()
            self.notifier.watchdog()
            await trio.sleep(self._watchdog_seconds)

    async def tell_status(self, reactor: "Reactor") -> None:
        """Keep the line up to date that `systemctl status` shows."""
        if not self.notifier.wanted:
            return
        before = reactor.router.relayed
        while True:
            await trio.sleep(STATUS_SECONDS)
            relayed = reactor.router.relayed
            self.notifier.status(f"{status_of(reactor)}, {(relayed - before) / STATUS_SECONDS:.0f} messages/s")
            before = relayed

    def is_stopping(self, reactor: "Reactor") -> None:
        """Say that a stop has begun, and how long it may take."""
        drain_seconds = reactor.router.limits.drain_ms / 1000
        self.notifier.stopping(f"telling {len(reactor)} links to come back later")
        self.notifier.extend_timeout(drain_seconds + DRAIN_RESERVE_SECONDS)

    def listens(self) -> bool:
        """Whether there is a systemd that answers."""
        return self.notifier.barrier(BARRIER_SECONDS)

    def keep(self, memfds: list[int], bags: list[socket.socket]) -> bool:
        """Have systemd keep what the next process of us takes up; whether it does."""
        stored = self.notifier.store(SNAPSHOT, memfds) and self.notifier.store(BAG, [bag.fileno() for bag in bags])
        kept = stored and self.notifier.barrier(BARRIER_SECONDS)
        if not kept:
            self.forget_kept()
        return kept

    def forget_kept(self) -> None:
        """Have systemd keep nothing any more."""
        self.notifier.remove(SNAPSHOT)
        self.notifier.remove(BAG)


def status_of(reactor: "Reactor") -> str:
    """How many are here, in one line."""
    return f"{len(reactor.router.registry)} peers, {len(reactor)} links"
