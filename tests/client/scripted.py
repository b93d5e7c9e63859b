"""A server on a real socket that does what a test tells it, connection by connection."""

import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from sigd.wire.framing import Prefixed

TERMS: dict[str, Any] = {
    "type": "registered",
    "server": "scripted/1",
    "protocol": 1,
    "features": [],
    "maxFrame": 65_536,
}


class ServerLink:
    """The server's end of one connection, length-prefixed.

    Attributes:
        stream: what was accepted, or TLS over it.
        register: the client's last `register`.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.register: dict[str, Any] = {}
        self._split = Prefixed((1 << 24) - 1)
        self._heard: deque[dict[str, Any]] = deque()

    async def hears(self) -> dict[str, Any]:
        """The client's next message."""
        while not self._heard:
            frames = self._split.take(await self.stream.receive(), 1000)
            self._heard += [json.loads(frame) for frame in frames]
        return self._heard.popleft()

    async def says(self, *messages: dict[str, Any], chunk: int = 1 << 20) -> None:
        """Send messages, in chunks of so many bytes."""
        data = b"".join(Prefixed.wrap(json.dumps(message).encode()) for message in messages)
        for at in range(0, len(data), chunk):
            await self.stream.send(data[at : at + chunk])

    async def registers(self, **terms: Any) -> dict[str, Any]:
        """Register the client; its `register`."""
        self.register = await self.hears()
        id_ = self.register.get("id", "picked")
        await self.says(TERMS | {"ref": self.register["ref"], "id": id_, "keepaliveMs": 30_000} | terms)
        return self.register

    async def refuses(self, code: str, **more: Any) -> None:
        """Answer the client's next message with an error."""
        message = await self.hears()
        await self.says({"type": "error", "code": code, "message": "scripted", "ref": message["ref"], **more})

    async def gone(self) -> None:
        """Say yes to everything until the client closes."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                message = await self.hears()
                if "ref" in message:
                    await self.says({"type": "ok", "ref": message["ref"]})

    async def gone_raw(self) -> None:
        """Read, whatever it is, until the client closes."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self.stream.receive()


Script = Callable[[ServerLink], Awaitable[None]]


class ScriptedServer:
    """A running scripted server.

    Attributes:
        url: where it is.
        links: the connections that a script took.
        extra: how many connections came after the last script's.
        tls: whom it is to each new connection: a context with a certificate; None: no TLS.
        refused: TLS handshakes that failed.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self.url = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
        self.links: list[ServerLink] = []
        self.extra = 0
        self.tls = tls
        self.refused = 0

    @property
    def ids(self) -> list[str | None]:
        """The ID that each connection asked for."""
        return [link.register.get("id") for link in self.links]


@contextlib.asynccontextmanager
async def scripted_server(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncGenerator[ScriptedServer, None]:
    """A server whose connections, one after another, each follow a script and are closed at its end."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    server = ScriptedServer(listener.extra(SocketAttribute.local_port), tls)
    waiting = deque(scripts)

    async def serve(accepted: SocketStream) -> None:
        async with accepted:
            stream = await handshake(accepted)
            if stream is None:
                return
            if not waiting:
                server.extra += 1
                return
            link = ServerLink(stream)
            server.links.append(link)
            with contextlib.suppress(anyio.EndOfStream):  # the client has closed, which ends any script
                await waiting.popleft()(link)
            with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await stream.aclose()  # for TLS that is more than closing what was accepted

    async def handshake(accepted: SocketStream) -> ByteStream | None:
        if server.tls is None:
            return accepted
        try:
            return await TLSStream.wrap(accepted, server_side=True, ssl_context=server.tls)
        except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
            server.refused += 1
            return None

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield server
        group.cancel_scope.cancel()
