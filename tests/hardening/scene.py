"""What an attack is, and the two peers beside it who go on talking and lose nothing."""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from sigd.config import Auth, Listener
from sigd.wire.framing import TLS_ALERT
from tests.hardening import credentials
from tests.in_process import CLIENTS, Client, Daemon, error

PREFIXED = ("prefixed",)
"""The framing of an attack that is about no framing: whatever comes is the same to all that looks at messages."""

LINES = ("lines",)

QUIET = 300_000
"""The longest `keepaliveMs`: nobody is pinged while a scene lasts."""


class Scene:
    """A daemon, two peers who talk, and what the attacker speaks.

    Attributes:
        daemon: attacked.
        framing: of the attacker.
        alice, bob: who talk.
    """

    def __init__(self, daemon: Daemon, framing: str, alice: Client, bob: Client) -> None:
        self.daemon = daemon
        self.framing = framing
        self.alice = alice
        self.bob = bob
        self._said = 0
        self._own: list[Client] = []

    @property
    def seconds(self) -> int:
        """How long a frame may take, or a register."""
        return 60 if self.framing == "lines" else 10

    async def they_talk(self) -> None:
        """Each says something, and hears that and nothing else."""
        self._said += 1
        await self.alice.says({"type": "message", "to": "bob", "data": self._said, "ref": "a"})
        assert await self.bob.hears() == {"type": "message", "from": "alice", "data": self._said}
        await self.bob.says({"type": "offer", "to": "alice", "sdp": f"{self._said}"})
        assert await self.alice.hears() == {"type": "ok", "ref": "a"}
        assert await self.alice.hears() == {"type": "offer", "from": "bob", "sdp": f"{self._said}"}

    async def stranger(self, source: str = "") -> Client:
        """A client that is not registered."""
        return await self.daemon.connect(self.framing, source=source)

    async def mallory(self, name: str = "mallory", **members: object) -> Client:
        """A peer that is."""
        client = await self.stranger()
        await client.registers(name, **{"keepaliveMs": QUIET, **members})
        return client

    async def slow_reader(self, name: str, **members: object) -> Client:
        """A peer whose kernel keeps little for it, and takes small segments, as over a network.

        Loopback's own, of 64 KiB, would fit into no such window: the kernel would send when its timers say so, which
        know nothing of the clock that jumps.
        """

        def small(sock: trio.socket.SocketType) -> None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_448)

        client = await self._connect(small)
        await client.opens()
        await client.registers(name, **members)
        return client

    async def behind(self, header: bytes, source: str) -> Client:
        """A client whose connection begins with what a proxy says of it."""
        client = await self._connect(lambda sock: sock._sock.bind((source, 0)))  # type: ignore[attr-defined]  # trio's is async
        assert await client.sock.send(header) == len(header)
        await client.opens()
        return client

    async def _connect(self, prepare: Callable[[trio.socket.SocketType], None]) -> Client:
        client = CLIENTS[self.framing](trio.socket.socket())
        self._own.append(client)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see Daemon.connect
        prepare(client.sock)
        url = self.daemon.tls_url if self.framing == "tls" else self.daemon.urls[0]
        await client.sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        return client

    async def unencrypted(self, data: bytes = b"") -> Client:
        """A client of the listener for TLS alone that says this, which need not be TLS."""
        client = await self.daemon.connect("prefixed", url=self.daemon.tls_url)
        if data:
            await client.sends(data)
        return client

    def close(self) -> None:
        """Close what the daemon's own harness does not know of."""
        for client in self._own:
            client.breaks_off()


@asynccontextmanager
async def beside(daemon: Daemon, framing: str) -> AsyncIterator[Scene]:
    """Two peers who talk, before and after what is done here."""
    shown = {} if daemon.router.admission.access.open else {"token": credentials.PAIR}
    alice = await daemon.peer("alice", "prefixed", keepaliveMs=QUIET, **shown)
    bob = await daemon.peer("bob", "lines", **shown)
    scene = Scene(daemon, framing, alice, bob)
    try:
        await scene.they_talk()
        yield scene
        await scene.they_talk()
        await alice.hears_nothing()
        assert bob.has_heard() == b""
    finally:
        scene.close()


Act = Callable[[Scene], Awaitable[None]]


class Attack:
    """One hostile input, or course of them, against a daemon in this process and on a clock that jumps.

    Attributes:
        name: in a few words.
        act: does it, and sees what comes of it.
        framings: what the attacker speaks.
        limits: those that it is about; the others are off where they concern one client or one address.
        auth: who may be whom; None: everybody may be anybody.
        listen: on which URLs, if that matters.
        warnings: what the log says that an operator should look at, once in ten seconds each.
    """

    def __init__(
        self,
        name: str,
        act: Act,
        *,
        framings: tuple[str, ...] = PREFIXED,
        limits: Mapping[str, Any] | None = None,
        auth: Callable[[], Auth] | None = None,
        listen: tuple[str | Listener, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.act = act
        self.framings = framings
        self.limits = limits or {}
        self.auth = auth
        self.listen = listen
        self.warnings = warnings
        DEFINED.append(self)


DEFINED: list[Any] = []
"""All attacks and trials, so that none can be left out of the table."""


def attack(name: str, *framings: str, **options: Any) -> Callable[[Act], Attack]:
    """Make an attack of a function, in the framings in which it differs, if any are named."""
    return lambda act: Attack(name, act, framings=framings or PREFIXED, **options)


def says(name: str, *messages: bytes, hears: list[Any], framings: tuple[str, ...] = PREFIXED) -> Attack:
    """An attack that is messages of a registered peer: each gets this answer, and the link goes on."""

    async def act(scene: Scene) -> None:
        mallory = await scene.mallory()
        for each in messages:
            await mallory.says(each)
            assert [await mallory.hears() for _ in hears] == hears, each[:200]
            await mallory.is_served()

    return Attack(name, act, framings=framings)


BAD = error("bad-message")


def message(data: bytes, to: bytes = b'"alice"') -> bytes:
    """A message to alice with this JSON in it."""
    return b'{"type":"message","to":' + to + b',"data":' + data + b"}"


async def last_words(client: Client) -> dict[str, Any]:
    """The error that is all that comes before the link ends."""
    heard = await client.hears_all()
    assert [each["type"] for each in heard] == ["error"], heard
    answer: dict[str, Any] = heard[0]
    return answer


async def alert_at_most(client: Client) -> bool:
    """Whether a link ends with nothing but a TLS alert, which a reset may overtake."""
    try:
        heard = await client.hears_bytes()
    except ConnectionResetError:
        return True
    return len(heard) <= len(TLS_ALERT) and TLS_ALERT.startswith(heard[:1])


def slug(name: str) -> str:
    """A name as a part of a test's."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
