"""Peers over UDP behind a bad network: every message once and in order, or its sender is told; the clock jumps."""

from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.client import Error, MessageFrom, Peer, SignalingError, connect
from sigd.config.auth import Auth, HmacEntry
from tests.calls.public import SECRET, token, write_private
from tests.client.backends import Brief
from tests.conftest import Serving
from tests.lossy_proxy import CLEAR, Weather, lossy_proxy

MILD = Weather(loss=0.05, delay=0.03, jitter=0.02)
BAD = Weather(loss=0.2, repeats=0.1, delay=0.05, jitter=0.1)
AWFUL = Weather(loss=0.35, repeats=0.3, delay=0.2, jitter=0.5)
GONE = Weather(loss=1.0)

SIZES = (10, 4_000, 300, 1_100, 12_000, 50)
"""Of the messages, one after the other: single datagrams, and some in slices."""


class Transfer:
    """Numbered messages from one peer to another.

    Attributes:
        told: those of which the sender was told that they are perhaps not delivered.
        heard: those that the recipient got.
    """

    def __init__(self, sender: Peer, recipient: Peer) -> None:
        self.sender = sender
        self.recipient = recipient
        self.told: set[int] = set()
        self.heard: list[int] = []
        self._warned = False

    async def run(self, count: int) -> None:
        """Send so many, and wait until all that was sent has arrived, or nothing more does."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._watch)
            for number in range(count):
                try:
                    size = SIZES[number % len(SIZES)]
                    await self.sender.send(self.recipient.id, [number, "x" * size], within=100)
                except (SignalingError, TimeoutError):
                    self.told.add(number)
            await trio.sleep(100)  # what is under way arrives, or is given up
            nursery.cancel_scope.cancel()
        assert self.heard == sorted(set(self.heard)), "twice, or out of order"
        assert self._warned or self.told.union(self.heard) == {*range(count)}, "lost, and nobody was told"

    async def _hear(self) -> None:
        async for message in self.recipient:
            assert isinstance(message, MessageFrom)
            number, text = message.data
            assert text == "x" * SIZES[number % len(SIZES)]
            self.heard.append(number)

    async def _watch(self) -> None:
        async for message in self.sender:
            assert isinstance(message, Error)
            self._warned = True


@pytest.fixture
def auth(tmp_path: Path) -> Auth:
    write_private(tmp_path / "secret", SECRET)
    return Auth(hmac=(HmacEntry(secret_file=str(tmp_path / "secret")),))


def reach(url: str, peer: str) -> Any:
    """Connect with a token, and with time for a bad network."""
    return connect(url, id=peer, credentials=lambda: token(f"1900000000:{peer}"), connect_timeout=60, jitter=Brief())


async def transfer(serving: Serving, auth: Auth, first: Weather, second: Weather, seed: int, count: int) -> Transfer:
    """Send messages from a peer behind one network to a peer behind another."""
    async with (
        serving(auth=auth) as daemon,
        lossy_proxy(daemon.udp_url, first, seed=seed) as one,
        lossy_proxy(daemon.udp_url, second, seed=seed + 1) as other,
        reach(one.url, "alice") as alice,
        reach(other.url, "bob") as bob,
    ):
        done = Transfer(alice, bob)
        await done.run(count)
        for proxy in (one, other):
            proxy.up = proxy.down = CLEAR  # so that each farewell arrives
        return done


@pytest.mark.parametrize(("first", "second"), [(MILD, BAD), (BAD, MILD), (CLEAR, BAD)])
async def test_what_a_bad_network_loses_is_sent_again(serving: Serving, auth: Auth, first: Weather, second: Weather):
    done = await transfer(serving, auth, first, second, seed=1, count=12)
    assert done.heard == [*range(12)]
    assert not done.told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_an_awful_network_loses_nothing_without_a_word(serving: Serving, auth: Auth, seed: int):
    done = await transfer(serving, auth, AWFUL, AWFUL, seed, count=20)
    assert done.heard


async def test_a_network_that_is_gone_for_a_while(serving: Serving, auth: Auth):
    """For longer than datagrams are repeated: the links end, those who were owed something are told, and it goes on."""
    async with (
        serving(auth=auth) as daemon,
        lossy_proxy(daemon.udp_url, MILD) as proxy,
        reach(daemon.udp_url, "alice") as alice,
        reach(proxy.url, "bob") as bob,
    ):
        await Transfer(alice, bob).run(3)
        proxy.up = proxy.down = GONE
        done = Transfer(alice, bob)
        await done.run(3)
        assert done.heard == []
        proxy.up = proxy.down = CLEAR
        await bob.ping(within=100)
        done = Transfer(alice, bob)
        await done.run(6)
        assert done.heard == [*range(6)]


async def test_a_first_datagram_that_is_lost_is_sent_again_after_a_second(serving: Serving, auth: Auth):
    async with serving(auth=auth) as daemon, lossy_proxy(daemon.udp_url, GONE) as proxy, trio.open_nursery() as nursery:
        start = trio.current_time()

        async def clears() -> None:
            await trio.sleep(0.5)
            proxy.up = proxy.down = CLEAR

        nursery.start_soon(clears)
        async with reach(proxy.url, "alice") as alice:
            assert 1 <= trio.current_time() - start < 1.5
            assert alice.connected
