"""A call for show: two aiortc peers in two processes find each other through a sigd, and its ladder is printed.

Without --url a daemon of its own is started on loopback, and stopped as soon as the peers are connected: what they say
to each other from then on needs no signaling. With --public it is configured as on a public address: TLS, and a token
for each peer that lets it be itself and talk to the other, and nothing else.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from public import Public

CALLER, CALLEE = "alice", "bob"
PEER = str(Path(__file__).with_name("peer.py"))
WIDTH = 44  # columns between the two peers: with the times it makes 70, and a terminal has 80
LIMIT = 30.0  # seconds for the whole of it, which takes two


class Peer:
    """A peer in a process of its own; `sent` is what it has sent so far: when, who, what."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.sent: list[tuple[float, str, str]] = []
        self._process = process
        self._told: set[str] = set()

    async def wait_for(self, *wanted: str) -> None:
        """Read on until it has told all these."""
        while not self._told.issuperset(wanted):
            if not await self._read():
                raise SystemExit(f"{self.name} has ended, and did not tell: {', '.join(wanted)}")

    async def _read(self) -> bool:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line:
            told = json.loads(line)
            self._told |= {told["what"], told.get("text", "")}
            if told["what"] == "sent":
                self.sent.append((told["at"], self.name, told["text"]))
        return bool(line)

    async def say(self, text: str) -> None:
        """Have it send a text over the data channel."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        await self._process.stdin.drain()

    async def hang_up(self) -> None:
        """Have it end the call."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        while await self._read():
            pass


@asynccontextmanager
async def running(*command: str, stderr: int | None = None) -> AsyncGenerator[Process, None]:
    """A Python process, which ends with the block."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address_of(daemon: Process) -> str:
    """Where a daemon that was just started listens, by its log."""
    assert daemon.stderr is not None
    async for line in daemon.stderr:
        if found := re.search(rb" listening url=(\S+)", line):
            return found[1].decode()
    raise SystemExit("the daemon did not start")


def show(at: float, sender: str, text: str, since: float, line: str = "─") -> None:
    """Print one rung of the ladder."""
    text = ascii(text)[1:-1]
    dashes = line * (WIDTH - len(text) - 6)
    rung = f"{line * 3} {text} {dashes}►" if sender == CALLER else f"◄{dashes} {text} {line * 3}"
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03}"
    print(f" {clock}  │{rung}│  +{(at - since) * 1000:.0f} ms")


async def call(url: str, daemon: Process | None = None, public: "Public | None" = None) -> None:
    """Have the peers call each other, and print who sends what to whom."""
    print(f"\n {CALLER} calls {CALLEE} through {ascii(url)[1:-1]}")
    async with (
        running(PEER, *await trust(public, CALLEE, CALLER), url, CALLEE, CALLER) as callee,
        running(PEER, *await trust(public, CALLER, CALLEE), "--offer", url, CALLER, CALLEE) as caller,
    ):
        print(f"\n {'time':14}{CALLER}{CALLEE:>{WIDTH + 2 - len(CALLER)}}")
        alice, bob = Peer(CALLER, caller), Peer(CALLEE, callee)
        for peer in (alice, bob):
            await peer.wait_for("connected", "end-of-candidates")
        rungs = sorted(alice.sent + bob.sent)
        since = rungs[0][0]
        for rung in rungs:
            show(*rung, since)
        print("\n The data channel is open.", end="")
        if daemon is not None:
            daemon.send_signal(signal.SIGTERM)
            print(f" sigd was stopped (SIGTERM, exit status {await daemon.wait()}).", end="")
        print("\n")
        for sender, receiver, text in ((alice, bob, "hello, do you still hear me?"), (bob, alice, "yes, directly")):
            at = time.time()
            await sender.say(text)
            await receiver.wait_for(text)
            show(at, sender.name, text, since, "═")
        before = len(alice.sent)
        await alice.hang_up()
        for rung in alice.sent[before:]:  # a `bye`, if there still is a sigd to carry it
            show(*rung, since)


async def trust(public: "Public | None", me: str, other: str) -> list[str]:
    """Options for a peer: whom it trusts, and why it should be trusted."""
    if public is None:
        return []
    token = await public.token(me, other)
    print(f" {me}'s token is for {token.user}")
    return ["--ca", str(public.ca), "--credentials", str(token.file)]


async def main() -> None:
    """Run the call through the daemon that was asked for, or one of our own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="of a running sigd, which is not stopped: tcp://host, tls://host or unix:/path")
    where.add_argument("--public", action="store_true", help="TLS and tokens, made for this call and thrown away")
    options = parser.parse_args()
    async with asyncio.timeout(LIMIT):
        if options.url is not None:
            await call(options.url)
            return
        if options.public:
            from public import Public  # what else it takes is not needed for a plain call

            with tempfile.TemporaryDirectory() as folder:
                public = Public(Path(folder))
                await own_daemon("--config", str(public.config), public=public)
        else:
            await own_daemon("--listen", "tcp://127.0.0.1:0")


async def own_daemon(*how: str, public: "Public | None" = None) -> None:
    """Run the call through a daemon that is started for it."""
    async with running("-m", "sigd.cli", *how, stderr=PIPE) as daemon:
        await call(await address_of(daemon), daemon, public)


if __name__ == "__main__":
    asyncio.run(main())
