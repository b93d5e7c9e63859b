"""A daemon in a process of its own for trials, on the clock of this world, and its clients."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from sigd.config import parse_listen
from tests import certificates
from tests.daemon import HANG_SECONDS, Daemon
from tests.hardening.scene import DEFINED, PREFIXED, QUIET
from tests.in_process import CLIENTS, Client

SECONDS = HANG_SECONDS

SIGD = (sys.executable, "-m", "sigd.cli")


class Process:
    """A running daemon, and everybody who has connected to it from here.

    Attributes:
        popen: its process.
        pid: that one's.
        urls: where it listens, without TLS and with it.
        log: what it has said so far, line by line.
    """

    def __init__(self, popen: "subprocess.Popen[Any]", urls: list[str], log: list[str]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.urls = urls
        self.log = log
        self._clients: list[Client] = []

    async def connect(self, framing: str, *, receive_buffer: int = 0) -> Client:
        """Connect a client that will speak in this framing."""
        at = parse_listen(self.urls[1 if framing == "tls" else 0])
        client = CLIENTS[framing](trio.socket.socket())
        self._clients.append(client)
        if receive_buffer:
            client.sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        client.sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        await client.sock.connect((at.host, at.port))
        await client.opens()
        return client

    async def peer(self, peer: str, framing: str, **members: object) -> Client:
        """Connect a client, and register it."""
        client = await self.connect(framing)
        await client.registers(peer, **{"keepaliveMs": QUIET, **members})
        return client

    async def says(self, text: str, times: int = 1) -> str:
        """Wait until this is in so many lines of the log; the last of them."""
        with trio.fail_after(SECONDS):
            while len(found := [line for line in list(self.log) if text in line]) < times:  # noqa: ASYNC110 - of a thread
                await trio.sleep(0.01)
        return found[times - 1]

    async def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        status: int = await trio.to_thread.run_sync(self.popen.wait, SECONDS)
        return status

    def leave(self) -> None:
        """Close every connection."""
        for client in self._clients:
            client.leaves()
        self._clients.clear()


class Pair:
    """Two peers of such a daemon who talk."""

    def __init__(self, alice: Client, bob: Client) -> None:
        self.alice = alice
        self.bob = bob
        self._said = 0

    @classmethod
    async def of(cls, process: Process, **shown: str) -> "Pair":
        """Have them register, with this to show."""
        return cls(await process.peer("alice", "prefixed", **shown), await process.peer("bob", "lines", **shown))

    async def talk(self) -> None:
        """Each says something, and hears that and nothing else."""
        self._said += 1
        for speaking, hearing, sender, recipient in (
            (self.alice, self.bob, "alice", "bob"),
            (self.bob, self.alice, "bob", "alice"),
        ):
            await speaking.says({"type": "message", "to": recipient, "data": self._said})
            assert await hearing.hears() == {"type": "message", "from": sender, "data": self._said}


class Ground:
    """Where a trial takes place.

    Attributes:
        folder: nobody else's.
        framing: of the attacker.
        config: the daemon's configuration, once written.
    """

    def __init__(self, folder: Path, framing: str) -> None:
        self.folder = folder
        self.framing = framing
        self.config = folder / "sigd.toml"

    def write(self, *tables: str, **limits: Any) -> Path:
        """Write a configuration: listeners without and with TLS, these limits, and more tables."""
        chain, key = certificates.files("localhost", "127.0.0.1")
        listen = f'url = "tls://127.0.0.1:0"\ncertificate = "{chain}"\nkey = "{key}"\n'
        self.config.write_text(
            f'[[listen]]\nurl = "tcp://127.0.0.1:0"\n[[listen]]\n{listen}[log]\nlevel = "debug"\n[limits]\n'
            + "".join(f"{name} = {value}\n" for name, value in limits.items())
            + "".join(tables)
        )
        return self.config

    @asynccontextmanager
    async def daemon(self, shell: str = 'exec "$@"') -> AsyncIterator[Process]:
        """Start a daemon with what was written, by a shell; it ends with the block."""
        command = ["sh", "-c", shell, "sh", *SIGD, "--config", str(self.config)]
        with started(command, stderr=subprocess.PIPE, text=True) as process:
            daemon = Daemon(process)
            running = Process(process, daemon.urls, daemon.log)
            try:
                await trio.to_thread.run_sync(daemon.wait_until_ready)
                yield running
            finally:
                running.leave()
                daemon.kill()

    async def refuses(self, *arguments: str) -> str:
        """What a daemon says, in one line, that does not start with this configuration."""
        command = [*SIGD, "--config", str(self.config), *arguments]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 2, done
        assert done.stdout == b""
        said = done.stderr.decode()
        assert said.count("\n") == 1, said
        assert said.isascii()
        return said


Run = Callable[[Ground], Awaitable[None]]


class Trial:
    """What is tried with a process of its own.

    Attributes:
        name: in a few words.
        run: does it, and sees what comes of it.
        framings: what the attacker speaks.
        alone: whether it measures time or memory, and so has the machine to itself.
    """

    def __init__(self, name: str, run: Run, framings: tuple[str, ...], alone: bool) -> None:
        self.name = name
        self.run = run
        self.framings = framings
        self.alone = alone
        DEFINED.append(self)

    async def on(self, ground: Ground) -> None:
        """Do it, in good time."""
        with trio.fail_after(SECONDS):
            await self.run(ground)


def trial(name: str, *framings: str, alone: bool = False) -> Callable[[Run], Trial]:
    """Make a trial of a function, in the framings in which it differs, if any are named."""
    return lambda run: Trial(name, run, framings or PREFIXED, alone)


@contextlib.contextmanager
def started(command: list[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process that ends with the block, by its own pid."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()
