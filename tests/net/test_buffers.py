"""A crowd within every limit of each link: all buffers together stay within theirs, and peers that read go on."""

from typing import Any

import pytest

from sigd.relay.buffers import MESSAGE_BYTES
from tests.conftest import Serving
from tests.in_process import Client, Daemon

KIB = 1024
TOTAL = 1_024 * KIB

pytestmark = pytest.mark.usefixtures("no_bug_is_logged", "jumping_clock")


async def crowd(daemon: Daemon, count: int) -> list[Client]:
    """Peers that will read nothing more."""
    found: list[Client] = []
    for number in range(count):
        client = await daemon.connect(receive_buffer=4_096)
        await client.registers(f"crowd-{number}", meta={"m": "m" * 900}, keepaliveMs=300_000)
        found.append(client)
    return found


async def exchange(daemon: Daemon, alice: Client, bob: Client) -> None:
    """Two who read are served as ever."""
    message: dict[str, Any] = {"type": "message", "data": "x" * 20_000}
    await alice.says({**message, "to": "bob"})
    assert await bob.hears() == {**message, "from": "alice"}
    assert daemon.router.buffers.total <= TOTAL


async def test_begun_frames(serving: Serving) -> None:
    async with serving(buffer_bytes_total=TOTAL) as daemon:
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
        clients = await crowd(daemon, 40)
        for client in clients:
            await client.sends((65_000).to_bytes(4, "big") + b"{" + b" " * 50_000)
            await daemon.settles()
            assert daemon.router.buffers.total <= TOTAL
        here = [daemon.router.registry.find(f"crowd-{number}") is not None for number in range(40)]
        assert here == sorted(here)  # those that began first have gone
        assert 10 < sum(here) < 40
        assert daemon.router.limits_hit == {"buffer_bytes_total": 40 - sum(here)}
        assert (await clients[0].hears())["code"] == "server-full"
        await exchange(daemon, alice, bob)


async def test_replies_that_nobody_reads(serving: Serving) -> None:
    async with serving(buffer_bytes_total=TOTAL) as daemon:
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
        clients = await crowd(daemon, 40)
        for client in clients:
            await client.says(*[{"type": "peers"}] * 8)
            await daemon.settles()
            assert daemon.router.buffers.total <= TOTAL
        assert daemon.router.closed["slow-consumer"] > 5
        slow = next(f"crowd-{number}" for number in range(39, 0, -1) if daemon.router.registry.find(f"crowd-{number}"))
        await alice.says({"type": "message", "to": slow, "data": 1, "ref": "1"})
        assert await alice.hears() == {"type": "ok", "ref": "1"}  # not peer-busy: replies have a share, and no more
        await exchange(daemon, alice, bob)


async def test_the_count_is_what_links_hold(serving: Serving) -> None:
    async with serving() as daemon:
        [slow] = await crowd(daemon, 1)
        alice = await daemon.peer("alice")
        await slow.sends((1_000).to_bytes(4, "big") + b"{" * 500)
        await daemon.settles()
        link = daemon.link("crowd-0")
        assert daemon.router.buffers.held == {link: 504}
        for _ in range(8):
            await alice.says({"type": "message", "to": "crowd-0", "data": "x" * 10_000, "ref": "1"})
            await alice.hears()
        assert daemon.router.buffers.held == {link: 504 + link.queued + MESSAGE_BYTES * len(link.outbox)}
        slow.breaks_off()
        await daemon.settles()
        assert daemon.router.buffers.of_links == 0
