"""A desk around a daemon in this process, and operators who ask at it."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import trio

from sigd.admin.replies import ReloadReply
from sigd.config import ConfigError, Fault, parse_listen
from sigd.control.desk import Desk
from sigd.net import listeners
from sigd.net.listeners import ListeningSocket
from sigd.net.reactor import Reactor
from sigd.relay.router import Router
from sigd.rules.made import Rules
from tests.in_process import CLIENTS, Client, Daemon


class Staged:
    """A daemon in this process as its desk sees it; what would need a file, a signal or an extra is staged.

    Attributes:
        changes: what a reload would change; `fault`, `is_gone`: why it would change nothing.
        for_a_restart: what it would leave to a restart; `misfits`: in what sockets do not fit.
        inherited: descriptors of its listeners that systemd has opened.
        drained: how often it was told to drain; `reloaded`: to reload.
        looks: how often what is on disk was looked at.
        figures: for Prometheus.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.started = trio.current_time()
        self.config_path: str | None = "/etc/sigd/sigd.toml"
        self.digest = "5c1e0a11"
        self.max_connections = daemon.server.rules.config.limits.max_connections
        self.needs_restart: Sequence[str] = ()
        self.misfits: Sequence[str] = ()
        self.inherited: set[int] = set()
        self.changes: Sequence[str] = ()
        self.for_a_restart: Sequence[str] = ()
        self.fault = ""
        self.is_gone = False
        self.looks = self.drained = self.reloaded = 0
        self.figures: bytes | Exception = b"sigd_links 3\n"

    @property
    def rules(self) -> Rules:
        return self._daemon.server.rules

    @property
    def router(self) -> Router:
        return self._daemon.router

    @property
    def reactor(self) -> Reactor:
        return self._daemon.reactor

    @property
    def doors(self) -> Sequence[ListeningSocket]:
        return self._daemon.server.doors

    def differences(self) -> tuple[Sequence[str], Sequence[str]]:
        self.looks += 1
        if self.is_gone:
            raise FileNotFoundError(2, "No such file or directory")
        if self.fault:
            raise ConfigError([Fault("F:1:1", self.fault)])
        return self.changes, self.for_a_restart

    async def reload(self, *, end_links: bool = True, shown: str = "") -> ReloadReply:
        self.reloaded += end_links
        return ReloadReply(before=self.digest, after=self.digest)

    def drain(self) -> None:
        self.drained += 1

    async def exposition(self) -> bytes:
        if isinstance(self.figures, Exception):
            raise self.figures
        return self.figures


class Asking:
    """The desk, and who has connected to it."""

    def __init__(self, server: Staged, path: str) -> None:
        self.server = server
        self.path = path
        self.operators: list[Client] = []

    async def operator(self, framing: str = "prefixed") -> Client:
        """Somebody who asks in this framing."""
        client = CLIENTS[framing](trio.socket.socket(socket.AF_UNIX))
        self.operators.append(client)
        await client.sock.connect(self.path)
        return client

    async def asks(self, kind: str, **members: object) -> Any:
        """The answer to one question, in a conversation of its own."""
        operator = await self.operator()
        await operator.says({"type": kind, **members})
        answer = await operator.hears()
        operator.leaves()
        return answer

    async def types(self, line: bytes) -> list[Any]:
        """All that is answered to one line, its end of file behind it."""
        operator = await self.operator("lines")
        await operator.sends(line)
        operator.finishes()
        answers = await operator.hears_all()
        operator.leaves()
        return answers


@contextlib.asynccontextmanager
async def asking(daemon: Daemon, folder: Path, mode: str = "0660") -> AsyncIterator[Asking]:
    """A desk on a socket in this folder, for as long as the block lasts."""
    server = Staged(daemon)
    path = str(folder / "admin.sock")
    (listener,) = listeners.open_listeners(parse_listen(f"unix:{path}?mode={mode}"))
    asked = Asking(server, path)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Desk(server).serve, [listener])
            yield asked
            nursery.cancel_scope.cancel()
    finally:
        listeners.close_listener(listener)
        for operator in asked.operators:
            operator.sock.close()


def refused(code: str, message: object = None) -> object:
    """Return what equals a refusal with this code, and this message if one is given."""

    class _Refused:
        def __eq__(self, other: object) -> bool:
            return (
                isinstance(other, dict)
                and other["type"] == "refused"
                and other["schema"] == 1
                and other["code"] == code
                and bool(other["message"])
                and (message is None or other["message"] == message)
            )

        def __repr__(self) -> str:
            return f"<refused {code}>"

        __hash__ = None  # type: ignore[assignment]  # it is compared, and nothing else

    return _Refused()
