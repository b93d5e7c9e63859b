"""A daemon in this process, on real loopback sockets, and the ends of the connections that its clients hold.

A test reads like the protocol: `alice = await daemon.peer("alice")`, `await alice.says({...})`, `assert await
alice.hears() == {...}`. Time is trio's MockClock: it jumps once nothing is under way (`tests.at_rest`).
"""

import contextlib
import json
import signal
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from sigd.config import Config, Limits, Listener, parse_listen
from sigd.config.auth import Auth
from sigd.config.ice import Ice
from sigd.net.stream import Stream
from sigd.rules.made import Rules
from sigd.server.daemon import Server
from sigd.server.serving import serve
from tests import certificates
from tests.at_rest import settles
from tests.needs import lacks

type_of_message = dict[str, Any]

PATIENCE = 1_000.0
"""Seconds on the mock clock after which nothing comes any more: longer than every deadline of the daemon."""

UNCAPPED = {
    "max_unregistered_per_address": 0,
    "max_per_address": 0,
    "messages_per_second": 0,
    "bytes_per_second": 0,
    "misses_per_minute": 0,
    "takeovers_per_minute": 0,
    "udp_links_per_address": 0,
    "udp_unproven_per_second_per_address": 0,
    "udp_registers_per_second_per_address": 0,
}
"""Limits on single clients and addresses, switched off."""

LOOKS = 200
"""How often a test looks for something that must come without more input, and without more time."""


class _Text:
    """Equal to every text that the daemon may put into an `error`: printable ASCII, at most 128 characters."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and 0 < len(other) <= 128 and other.isascii() and other.isprintable()

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "<1 to 128 printable ASCII characters>"


TEXT = _Text()


def error(code: str, **members: object) -> type_of_message:
    """An `error` as it must come, its text for people left open."""
    return {"type": "error", "code": code, "message": TEXT, **members}


class Client:
    """One client's end of a connection."""

    framing: ClassVar[str]
    kind: ClassVar[socket.SocketKind] = socket.SOCK_STREAM

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._came = bytearray()
        self._ended = False

    # -- what a framing provides

    @classmethod
    def framed(cls, message: bytes) -> bytes:
        """The bytes that carry a message."""
        raise NotImplementedError

    def _first(self) -> bytes | None:
        """The first whole message of what has come, taken out of it."""
        raise NotImplementedError

    # -- what it says

    async def says(self, *messages: type_of_message | bytes) -> None:
        """Send messages, all at once; bytes are JSON as it stands."""
        await self.sends(b"".join(self.framed(as_json(message)) for message in messages))

    async def sends(self, data: bytes) -> None:
        """Send bytes as they are."""
        with trio.fail_after(PATIENCE), memoryview(data) as view:
            sent = 0
            while sent < len(data):
                sent += await self.sock.send(view[sent:])

    def finishes(self) -> None:
        """Send the end of file, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def leaves(self) -> None:
        """Close the connection."""
        self.sock.close()

    def breaks_off(self) -> None:
        """Close the connection with a reset, whatever is still under way."""
        if self.sock.fileno() >= 0 and self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # -- what it hears

    async def hears(self) -> Any:
        """The next message."""
        return json.loads(await self.hears_frame())

    async def hears_frame(self) -> bytes:
        """The next message as it came, without its framing."""
        with trio.fail_after(PATIENCE):
            while (message := self._first()) is None:
                assert not self._ended, f"closed, with {bytes(self._came)!r} before it"
                self.takes(await self._read())
        return message

    async def _read(self) -> bytes:
        return await self.sock.recv(65_536)

    async def opens(self) -> None:
        """Do what comes before the first message."""

    async def runs(self) -> None:
        """Do what has to be done beside the test, until the socket is closed; over streams the kernel does it."""

    async def hears_all(self) -> list[Any]:
        """Every message up to the daemon's end of file."""
        data = await self.hears_bytes()
        self._came += data
        messages = []
        while (message := self._first()) is not None:
            messages.append(json.loads(message))
        assert not self._came, f"a part of a message: {bytes(self._came)!r}"
        return messages

    async def hears_bytes(self) -> bytes:
        """Everything up to the daemon's end of file, as it came."""
        with trio.fail_after(PATIENCE):
            while not self._ended:
                self.takes(await self._read())
        data = bytes(self._came)
        self._came.clear()
        return data

    async def hears_close(self) -> None:
        """The daemon's end of file comes next."""
        assert await self.hears_bytes() == b""

    async def hears_nothing(self) -> None:
        """Nothing has come, not even an end of file, once all that is under way has arrived."""
        await settles()
        assert self.has_heard() == b""

    def has_heard(self) -> bytes:
        """What has come by now, without waiting for more; not even an end of file has."""
        try:
            data = self._read_now()
        except BlockingIOError:
            data = b""
        else:
            assert data, "closed"
        assert not self._ended, "closed"
        data = bytes(self._came) + data
        self._came.clear()
        return data

    def _read_now(self) -> bytes:
        data: bytes = self.sock._sock.recv(1_000_000)  # type: ignore[attr-defined]  # trio's socket always waits
        return data

    def takes(self, data: bytes) -> None:
        """Add what was read from the socket to what has come."""
        self._came += data
        self._ended = not data

    async def registers(self, peer: str, **members: object) -> type_of_message:
        """Take an ID; the daemon's answer."""
        await self.says({"type": "register", "id": peer, **members})
        answer = await self.hears()
        assert (answer["type"], answer.get("id")) == ("registered", peer), answer
        assert isinstance(answer, dict)
        return answer

    async def is_served(self) -> None:
        """The daemon answers, and has said nothing else meanwhile."""
        await self.says({"type": "ping", "ref": "served?"})
        assert await self.hears() == {"type": "pong", "ref": "served?"}


class PrefixedClient(Client):
    """Speaks length-prefixed."""

    framing = "prefixed"

    @classmethod
    def framed(cls, message: bytes) -> bytes:
        """Four bytes of length, then the message."""
        return struct.pack(">I", len(message)) + message

    def _first(self) -> bytes | None:
        if len(self._came) < 4:
            return None
        end = 4 + struct.unpack(">I", self._came[:4])[0]
        if len(self._came) < end:
            return None
        message = bytes(self._came[4:end])
        del self._came[:end]
        return message


class LinesClient(Client):
    """Speaks lines."""

    framing = "lines"

    @classmethod
    def framed(cls, message: bytes) -> bytes:
        """The message and a newline."""
        return message + b"\n"

    def _first(self) -> bytes | None:
        line, newline, rest = self._came.partition(b"\n")
        if not newline:
            return None
        self._came = bytearray(rest)
        return bytes(line)


class TLSClient(PrefixedClient):
    """Speaks length-prefixed through TLS.

    Attributes:
        context: its certificate, and whom it trusts.
    """

    framing = "tls"

    def __init__(self, sock: trio.socket.SocketType) -> None:
        super().__init__(sock)
        self.context = certificates.client_context()
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: ssl.SSLObject

    async def opens(self) -> None:
        """Shake hands."""
        self.tls = self.context.wrap_bio(self._coming, self._going, server_hostname="localhost")
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await super().sends(self._going.read())
                data = await self.sock.recv(65_536)
                if not data:
                    raise ConnectionResetError("closed during the handshake") from None
                self._coming.write(data)
            else:
                break
        await super().sends(self._going.read())

    def finishes(self) -> None:
        """Say that nothing more comes, to TLS too, and go on reading."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.sock._sock.send(self._going.read())  # type: ignore[attr-defined]  # so few bytes always fit
        super().finishes()

    async def sends(self, data: bytes) -> None:
        """Send bytes, encrypted."""
        self.tls.write(data)
        await super().sends(self._going.read())

    async def _read(self) -> bytes:
        while True:
            try:
                return self.tls.read(65_536)
            except ssl.SSLWantReadError:
                data = await self.sock.recv(65_536)
                if not data:
                    return b""
                self._coming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def _read_now(self) -> bytes:
        try:
            return self.tls.read(1_000_000)
        except ssl.SSLWantReadError:
            pass
        self._coming.write(super()._read_now())
        try:
            return self.tls.read(1_000_000)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return b""


CLIENTS: dict[str, type[Client]] = {kind.framing: kind for kind in (PrefixedClient, LinesClient, TLSClient)}
"""Every way to speak to the daemon; a test of what holds over all of them is parametrised with `FRAMINGS`."""

FRAMINGS = tuple(CLIENTS)

PLAIN = ("prefixed", "lines")
"""Those that need no listener with a certificate."""

WITH_LENGTH = ("prefixed", "tls")
"""Those with a length in front, in the clear and inside TLS."""


def as_json(message: type_of_message | bytes) -> bytes:
    """A message as it travels; bytes stand for themselves."""
    return message if isinstance(message, bytes) else json.dumps(message, separators=(",", ":")).encode()


def text_message(size: int) -> bytes:
    """A message from alice to bob which is this long when it is delivered."""
    text = "x" * (size - len('{"type":"message","from":"alice","data":""}'))
    return as_json({"type": "message", "to": "bob", "data": text})


def need_ipv6() -> None:
    """Skip the test on a machine without IPv6, but not where CI runs it."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        lacks("there is no IPv6 here")


def within(seconds: float, expected: float) -> bool:
    """Whether something happened when it had to: deadlines may be kept a quarter of a second late."""
    return expected <= seconds <= expected + 0.5


class Daemon:
    """A running daemon, and everybody who has connected to it."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self.server = server
        self._nursery = nursery
        self.router = server.router
        self.reactor = server.reactor
        *self.urls, self.udp_url, self.tls_url = server.urls
        self._clients: list[Client] = []
        self.was_stopped = False
        self.reads: Config = server.rules.config
        """What the daemon finds in its configuration the next time."""

    async def connect(
        self, framing: str = "prefixed", *, url: str | None = None, receive_buffer: int | None = None, source: str = ""
    ) -> Client:
        """Connect a client that will speak in this framing, to the first listener for it unless `url` names another.

        Args:
            framing: one of `FRAMINGS`.
            url: a listener of the daemon.
            receive_buffer: bytes that the client's kernel keeps; few for one that is to read slowly.
            source: the address to connect from, in 127.0.0.0/8.
        """
        usual = {"tls": self.tls_url, "udp": self.udp_url}
        listen = parse_listen(url or usual.get(framing, self.urls[0]))
        address: str | tuple[str, int] = (listen.host, listen.port)
        if listen.scheme == "unix":
            family, address = socket.AF_UNIX, listen.path
        else:
            family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        client = CLIENTS[framing](trio.socket.socket(family, CLIENTS[framing].kind))
        self._clients.append(client)
        if receive_buffer is not None:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family != socket.AF_UNIX and client.kind == socket.SOCK_STREAM:
            # Else small pieces would wait for acknowledgements, which the kernel delays for longer than the clock does.
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            await client.sock.bind((source, 0))
        await client.sock.connect(address)
        await client.opens()
        self._nursery.start_soon(client.runs)
        return client

    async def peer(self, peer: str, framing: str = "prefixed", *, url: str | None = None, **members: object) -> Client:
        """Connect a client, and register it."""
        client = await self.connect(framing, url=url)
        await client.registers(peer, **members)
        return client

    def link(self, peer: str) -> Stream:
        """The daemon's end of the connection of a registered peer."""
        link = self.router.registry.find(peer)
        assert isinstance(link, Stream)
        return link

    async def settles(self) -> None:
        """Wait until the daemon has done all that it can do without more input, or more time."""
        await settles()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for something that comes without more input, and without more time."""
        for _ in range(LOOKS):
            if holds():
                break
            await settles()

    def is_told_to_stop(self) -> None:
        """What an operator does."""
        self.was_stopped = True
        signal.raise_signal(signal.SIGTERM)

    async def is_told_to_reload(self, config: Config) -> None:
        """What an operator does who has changed the configuration."""
        self.reads = config
        signal.raise_signal(signal.SIGHUP)
        await self.settles()

    def forgets_who_left(self) -> None:
        """Keep nothing of connections that are closed."""
        self._clients = [client for client in self._clients if client.sock.fileno() >= 0]

    async def is_left_by_all(self) -> None:
        """Close every connection; nothing of any of them is left in the daemon then."""
        for client in self._clients:
            client.breaks_off()
        await self.until(lambda: not len(self.reactor))
        left = {
            "links": len(self.reactor),
            "peers": sorted(self.router.registry.holders),
            "buffer_bytes": self.router.buffers.of_links,
            "deadlines": len(self.router.deadlines),
            "due": len(self.router.due),
            "busy": len(self.reactor.busy),
        }
        assert left == {"links": 0, "peers": [], "buffer_bytes": 0, "deadlines": 0, "due": 0, "busy": 0}

    def close(self) -> None:
        """Close whatever a failed test has left open."""
        for client in self._clients:
            client.breaks_off()


_unix_ahead: WeakKeyDictionary[trio.abc.Clock, float] = WeakKeyDictionary()


def unix_time() -> float:
    """The wall clock of a daemon in this process: as much time passes on it as on the clock that jumps."""
    clock = trio.lowlevel.current_clock()
    return trio.current_time() + _unix_ahead.setdefault(clock, time.time() - trio.current_time())


def set_wall_clock(seconds: float) -> None:
    """Set the wall clock by so many seconds."""
    unix_time()
    _unix_ahead[trio.lowlevel.current_clock()] += seconds


@asynccontextmanager
async def serving(
    *listen: str | Listener, insecure: bool = False, auth: Auth | None = None, ice: Ice | None = None, **limits: Any
) -> AsyncIterator[Daemon]:
    """A daemon on ports that the system picks, with these limits; it ends with the block, and leaves nothing behind.

    It listens for datagrams and TLS as well, last. One at a time: it receives the signals of this process.
    """
    doors = [Listener(door) if isinstance(door, str) else door for door in listen or ("tcp://127.0.0.1:0",)]
    config = Config(
        listen=(*doors, Listener("udp://127.0.0.1:0"), certificates.listener("tls://127.0.0.1:0")),
        insecure=insecure,
        auth=auth or Auth(),
        ice=ice or Ice(),
        # Few enough for any machine: else its limit on descriptors would be warned of. All clients come from one
        # address here, and many tests are about something else than how many or how fast.
        limits=msgspec.structs.replace(Limits(), **(UNCAPPED | {"max_connections": 500} | limits)),
    )
    running: list[Daemon] = []
    async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
        start = partial(serve, unix_time=unix_time)
        daemon = Daemon(await nursery.start(start, Rules(config), lambda: running[0].reads), clients)
        running.append(daemon)
        await wait_all_tasks_blocked()
        tasks = _tasks_in(nursery)
        try:
            yield daemon
            await daemon.is_left_by_all()
            assert _tasks_in(nursery) == ([] if daemon.was_stopped else tasks)
        finally:
            daemon.close()
            nursery.cancel_scope.cancel()
            clients.cancel_scope.cancel()


def _tasks_in(nursery: trio.Nursery) -> list[str]:
    found = []
    for task in nursery.child_tasks:
        found.append(task.name)
        for inner in task.child_nurseries:
            found += _tasks_in(inner)
    return sorted(found)
