"""Peers who behave, in a process of their own: so that what they measure is not how busy their test is.

Two of a pair say something to each other in turn, again and again, and must hear that and nothing else from each other,
whatever happens to the daemon meanwhile. What strangers send to them is passed over. Whoever is closed, hears an error,
or waits too long, has found a fault: there is no second try.
"""

import math
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from sigd.config import parse_listen
from tests.in_process import CLIENTS, Client, TLSClient

PATIENCE = 15.0
"""Seconds for one message on its way: what has not come after so long is lost."""

BODIES: Sequence[dict[str, Any]] = (
    {"type": "offer", "sdp": "v=0\r\n" + "a=candidate:1 1 udp 2122260223 192.0.2.1 40000 typ host\r\n" * 50},
    {"type": "answer", "sdp": "v=0\r\n"},
    *({"type": "candidate", "candidate": {"candidate": "x" * 120, "sdpMid": "0"}} for _ in range(8)),
)
"""What a call is made of: an offer of 3 kB, its answer, and what trickles behind."""

RENEWS_EVERY = 50
"""Exchanges after which a peer with a credential shows it again: a right one must count, whatever others guess."""


class Pair(msgspec.Struct):
    """Two peers to be.

    Attributes:
        names: their IDs.
        url: where both connect to.
        framing: what they speak.
        ca: file with whom to trust; for TLS.
        shows: what each adds to `register`, by its name.
    """

    names: tuple[str, str]
    url: str
    framing: str = "prefixed"
    ca: str | None = None
    shows: dict[str, dict[str, str]] = {}


class Report(msgspec.Struct):
    """How they fared.

    Attributes:
        exchanges: round trips through both peers of a pair, each of them two messages relayed.
        strangers: messages of others that came between.
        p50, p99, worst: how long a round trip took, in milliseconds.
        faults: what must not happen, and did.
    """

    exchanges: int
    strangers: int
    p50: float
    p99: float
    worst: float
    faults: list[str]

    def __str__(self) -> str:
        times = f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, worst {self.worst:.0f} ms"
        return f"{self.exchanges} round trips, {times}; {self.strangers} messages of strangers between"


class _Brief(msgspec.Struct):
    pairs: tuple[Pair, ...]
    pause: float


class Pairs:
    """Pairs that are talking."""

    def __init__(self, *pairs: Pair, pause: float = 0.02) -> None:
        """Start them; they talk as soon as this returns, with `pause` seconds between a pair's round trips."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pairs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(_Brief(pairs, pause)) + b"\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
            assert said == b"ready\n", said
        except BaseException:
            self.close()
            raise

    @property
    def talking(self) -> bool:
        """Whether they still do: a fault ends them."""
        return self._process.poll() is None

    def part(self) -> Report:
        """Have them finish what they are saying, and leave."""
        said = self._process.communicate(timeout=2 * PATIENCE)[0]
        return msgspec.json.decode(said, type=Report)

    def close(self) -> None:
        """End them, whatever they are doing."""
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> "Pairs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Fault(Exception):
    """What must not happen to who behaves."""


class _Head(msgspec.Struct, rename={"sender": "from"}):
    type: str
    sender: str | None = None


class _Peer:
    """Who reads all the time, so that nobody has to wait for that."""

    def __init__(self, name: str, friend: str, client: Client, shows: dict[str, str], tally: "_Tally") -> None:
        self.name = name
        self._friend = friend
        self._client = client
        self._shows = shows
        self._tally = tally
        self._keep, self._kept = trio.open_memory_channel[bytes](10)
        self._speaking = trio.Lock()  # a pong must not get into the middle of a message

    async def reads(self) -> None:
        """Answer pings, pass over strangers, keep everything else to be heard."""
        while True:
            frame = await self._client.hears_frame()
            head = msgspec.json.decode(frame, type=_Head)
            if head.type == "ping":
                await self._says({"type": "pong"})
            elif head.sender in (None, self._friend):
                self._keep.send_nowait(frame)
            else:
                self._tally.strangers += 1

    async def registers(self) -> None:
        await self._says({"type": "register", "id": self.name, **self._shows})
        heard = await self._hears("registered")
        if heard.get("id") != self.name:
            raise _Fault(f"{self.name} wanted to register and heard {str(heard)[:300]}")

    async def renews(self) -> None:
        if self._shows:
            await self.registers()

    async def says(self, body: dict[str, Any], number: int) -> None:
        await self._says({**body, "to": self._friend, "session": str(number)})

    async def hears(self, body: dict[str, Any], number: int) -> None:
        expected = {**body, "from": self._friend, "session": str(number)}
        heard = await self._hears(f"{body['type']} {number} of {self._friend}")
        if heard != expected:
            raise _Fault(f"{self.name} waited for {str(expected)[:300]} and heard {str(heard)[:300]}")

    async def _says(self, message: dict[str, Any]) -> None:
        async with self._speaking:
            await self._client.says(message)

    async def _hears(self, what: str) -> Any:
        with trio.move_on_after(PATIENCE):
            return msgspec.json.decode(await self._kept.receive())
        raise _Fault(f"{self.name} has waited {PATIENCE:g} s for {what}")


class _Tally:
    def __init__(self) -> None:
        self.strangers = 0
        self.faults: list[str] = []
        self._tenths: Counter[int] = Counter()  # of a millisecond: a soak may last for days

    def add(self, seconds: float) -> None:
        self._tenths[math.ceil(seconds * 10_000)] += 1

    def report(self) -> Report:
        count = self._tenths.total()
        return Report(
            count, self.strangers, self._after(0.5 * count), self._after(0.99 * count), self._after(count), self.faults
        )

    def _after(self, rank: float) -> float:
        for tenth in sorted(self._tenths):
            rank -= self._tenths[tenth]
            if rank <= 0:
                return tenth / 10
        return 0.0


class _Talk:
    def __init__(self, brief: _Brief) -> None:
        self._brief = brief
        self._over = False
        self._waited_for = len(brief.pairs)
        self.tally = _Tally()

    async def run(self) -> None:
        """Talk until something comes, which is the end of the input, or until one of them has a fault to tell."""
        async with trio.open_nursery() as nursery:
            for pair in self._brief.pairs:
                nursery.start_soon(self._play, pair, nursery.cancel_scope)
            await trio.lowlevel.wait_readable(sys.stdin.fileno())
            self._over = True

    async def _play(self, pair: Pair, all_of_them: trio.CancelScope) -> None:
        try:
            async with trio.open_nursery() as nursery:
                peers = []
                for name, friend in (pair.names, pair.names[::-1]):
                    peer = _Peer(name, friend, await _connect(pair), pair.shows.get(name, {}), self.tally)
                    nursery.start_soon(peer.reads)
                    await peer.registers()
                    peers.append(peer)
                self._waited_for -= 1
                if not self._waited_for:
                    print("ready", flush=True)
                await self._talk(*peers)
                nursery.cancel_scope.cancel()
        except* (_Fault, AssertionError, OSError, trio.WouldBlock) as faults:
            self.tally.faults += [f"{' and '.join(pair.names)}: {fault!r}" for fault in faults.exceptions]
            all_of_them.cancel()

    async def _talk(self, first: _Peer, second: _Peer) -> None:
        number = 0
        while not self._over:
            number += 1
            body = BODIES[number % len(BODIES)]
            began = time.perf_counter()
            for speaking, hearing in ((first, second), (second, first)):
                await speaking.says(body, number)
                await hearing.hears(body, number)
            self.tally.add(time.perf_counter() - began)
            if number % RENEWS_EVERY == 0:
                await first.renews()
                await second.renews()
            await trio.sleep(self._brief.pause)


async def _connect(pair: Pair) -> Client:
    listen = parse_listen(pair.url)
    local = listen.scheme == "unix"
    client = CLIENTS[pair.framing](trio.socket.socket(socket.AF_UNIX if local else socket.AF_INET))
    if isinstance(client, TLSClient) and pair.ca is not None:
        client.context = ssl.create_default_context(cafile=pair.ca)
    await client.sock.connect(listen.path if local else (listen.host, listen.port))
    await client.opens()
    return client


def main() -> None:
    """Do as the first line of the input says."""
    talk = _Talk(msgspec.json.decode(sys.stdin.buffer.readline(), type=_Brief))
    trio.run(talk.run)
    sys.stdout.buffer.write(msgspec.json.encode(talk.tally.report()))


if __name__ == "__main__":
    main()
