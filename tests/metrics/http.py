"""Who asks over HTTP, by hand: bytes out, and whatever comes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from sigd.metrics import listener
from sigd.metrics.exposition import FRESH_SECONDS, exposition
from tests.in_process import PATIENCE, Daemon


class Heard(NamedTuple):
    """An answer, its header with names in small letters."""

    status: int
    header: dict[str, str]
    body: bytes


class Asker:
    """A connection to the listener."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._came = b""

    async def says(self, data: bytes) -> None:
        """Send bytes as they are."""
        with trio.fail_after(PATIENCE):
            await trio.SocketStream(self.sock).send_all(data)

    async def asks(self, path: str, method: str = "GET", header: str = "Host: localhost\r\n") -> Heard:
        """Ask, and hear the answer."""
        await self.says(f"{method} {path} HTTP/1.1\r\n{header}\r\n".encode())
        return await self.hears(has_body=method != "HEAD")

    async def hears(self, *, has_body: bool = True) -> Heard:
        """The next answer."""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in self._came:
                await self._read()
            head, self._came = self._came.split(b"\r\n\r\n", 1)
            first, *lines = head.decode().split("\r\n")
            header = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            length = int(header["content-length"]) if has_body else 0
            while len(self._came) < length:
                await self._read()
        body, self._came = self._came[:length], self._came[length:]
        return Heard(int(first.split(" ")[1]), header, body)

    async def _read(self) -> None:
        data = await self.sock.recv(65_536)
        assert data, f"closed, with {self._came!r} before it"
        self._came += data

    async def hears_the_rest(self) -> bytes:
        """Everything up to the end, or to a reset."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    data = await self.sock.recv(65_536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    break
                self._came += data
        came, self._came = self._came, b""
        return came


async def exposed(daemon: Daemon) -> bytes:
    """The figures as they are now, whenever they were made last."""
    return exposition(daemon.reactor)


class Watched:
    """A daemon whose figures are served."""

    def __init__(self, daemon: Daemon, url: str) -> None:
        self.daemon = daemon
        self.url = url
        self._address = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._socks: list[trio.socket.SocketType] = []

    async def connect(self) -> Asker:
        """Somebody else who asks."""
        sock = trio.socket.socket()
        self._socks.append(sock)
        await sock.connect(self._address)
        return Asker(sock)

    async def figures(self) -> dict[str, float]:
        """All samples, by name and labels as they are written; asked for when they are new."""
        await trio.sleep(2 * FRESH_SECONDS)
        heard = await (await self.connect()).asks("/metrics")
        assert heard.status == 200
        lines = [line for line in heard.body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def close(self) -> None:
        """Close all connections."""
        for sock in self._socks:
            sock.close()


@asynccontextmanager
async def watching(daemon: Daemon, is_ready: Callable[[], bool] = lambda: True) -> AsyncIterator[Watched]:
    """Have the figures of a running daemon served."""
    sockets = listener.open_sockets("tcp://127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(listener.serve, sockets, daemon.reactor, daemon.server.exposition, is_ready)
        watched = Watched(daemon, url)
        try:
            yield watched
        finally:
            watched.close()
            nursery.cancel_scope.cancel()
