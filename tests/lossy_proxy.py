"""A UDP proxy on loopback that loses, repeats, delays and reorders what it carries, both ways.

What happens to each datagram follows from a seed and from how many went the same way before it. Delays are on the
clock of whoever runs it, so that with a virtual one nothing waits. Run as a program it serves until its stdin ends:
`python -m tests.lossy_proxy udp://127.0.0.1:7337 --loss 0.2`.
"""

import argparse
import contextlib
import random
import sys
from collections.abc import AsyncGenerator
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.abc import ConnectedUDPSocket, SocketAttribute, UDPSocket

MOST_WAITING = 1_000
"""Datagrams under way at once; what comes on top is lost, as in any queue."""


class Weather(NamedTuple):
    """What happens to what goes one way.

    Attributes:
        loss, repeats: the shares of datagrams that are lost, and that come twice.
        delay, jitter: seconds that each takes, and that it may take longer: so one overtakes another.
    """

    loss: float = 0.0
    repeats: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0


CLEAR = Weather()


class LossyProxy:
    """A running proxy.

    Attributes:
        url: where clients find it.
        up, down: what happens to what clients send, and to what the server sends. May change at any time.
        carried, lost: datagrams, both ways.
    """

    def __init__(self, front: UDPSocket, host: str, port: int, up: Weather, down: Weather, seed: int) -> None:
        self.url = f"udp://127.0.0.1:{front.extra(SocketAttribute.local_port)}"
        self.up = up
        self.down = down
        self.carried = 0
        self.lost = 0
        self._front = front
        self._server = (host, port)
        self._chance = {True: random.Random(f"{seed} up"), False: random.Random(f"{seed} down")}
        self._backs: dict[tuple[str, int], ConnectedUDPSocket] = {}
        self._waiting = 0

    def moves(self) -> None:
        """Forget which client came by which port, as a NAT does: the server sees each somewhere else from now on."""
        self._backs.clear()

    async def run(self) -> None:
        async with contextlib.AsyncExitStack() as sockets, anyio.create_task_group() as group:
            async for datagram, client in self._front:
                back = self._backs.get(client)
                if back is None:
                    back = await sockets.enter_async_context(await anyio.create_connected_udp_socket(*self._server))
                    self._backs[client] = back
                    group.start_soon(self._return, group, back, client)
                for seconds in self._fate(self.up, True):
                    group.start_soon(self._carry, seconds, datagram, back, None)

    async def _return(self, group: anyio.abc.TaskGroup, back: ConnectedUDPSocket, client: tuple[str, int]) -> None:
        while True:
            try:
                datagram = await back.receive()
            except anyio.BrokenResourceError:
                continue  # there is no server at the moment
            for seconds in self._fate(self.down, False):
                group.start_soon(self._carry, seconds, datagram, None, client)

    def _fate(self, weather: Weather, up: bool) -> list[float]:
        """After how many seconds each copy of a datagram comes out."""
        chance = self._chance[up]
        copies = 0 if chance.random() < weather.loss else 1
        copies += chance.random() < weather.repeats
        delays = [weather.delay + weather.jitter * chance.random() for _ in range(2)]
        if self._waiting + copies > MOST_WAITING:
            copies = 0
        self.lost += not copies
        self.carried += copies
        return delays[:copies]

    async def _carry(
        self, seconds: float, datagram: bytes, back: ConnectedUDPSocket | None, client: tuple[str, int] | None
    ) -> None:
        self._waiting += 1
        try:
            if seconds:
                await anyio.sleep(seconds)
            with contextlib.suppress(anyio.BrokenResourceError, anyio.BusyResourceError):
                if back is not None:
                    await back.send(datagram)
                elif client is not None:
                    await self._front.sendto(datagram, *client)
        finally:
            self._waiting -= 1


@contextlib.asynccontextmanager
async def lossy_proxy(
    url: str, up: Weather = CLEAR, down: Weather | None = None, *, seed: int = 0
) -> AsyncGenerator[LossyProxy, None]:
    """A proxy before the server at a URL; `down` is like `up` unless it says otherwise."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as front:
        proxy = LossyProxy(front, parts.hostname, parts.port, up, up if down is None else down, seed)
        async with anyio.create_task_group() as group:
            group.start_soon(proxy.run)
            yield proxy
            group.cancel_scope.cancel()


async def _serve(options: argparse.Namespace) -> None:
    weather = Weather(options.loss, options.repeats, options.delay, options.jitter)
    async with lossy_proxy(options.url, weather, seed=options.seed) as proxy:
        print(proxy.url, "ready", sep="\n", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
        print(f"carried {proxy.carried} lost {proxy.lost}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    for name in ("loss", "repeats", "delay", "jitter"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    anyio.run(_serve, parser.parse_args(), backend="trio")


if __name__ == "__main__":
    main()
