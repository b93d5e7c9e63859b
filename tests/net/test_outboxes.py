"""What waits for those who read slowly: how much, from whom, in which order, and for how long."""

from typing import Any

import pytest
import trio

from sigd.relay.buffers import MESSAGE_BYTES
from tests.conftest import Serving
from tests.in_process import FRAMINGS, Client, Daemon, error, text_message, within

SHARE = 65_536
CHUNK = {"type": "message", "data": "x" * 16_000}


async def fills(sender: Client, recipient: str) -> int:
    """Send until the recipient is busy; how many messages it was not too busy for."""
    for count in range(100):
        await sender.says({**CHUNK, "to": recipient, "ref": f"{count}"})
        answer = await sender.hears()
        if answer["type"] == "error":
            assert answer == error("peer-busy", to=recipient, ref=f"{count}")
            return count
        assert answer == {"type": "ok", "ref": f"{count}"}
    raise AssertionError("an outbox without bounds")


@pytest.fixture(params=["tcp", "unix"])
async def slow(request: pytest.FixtureRequest, serving: Serving, tmp_path: Any) -> Any:
    """A daemon, and bob, who is registered and reads nothing unless told to."""
    async with serving("tcp://127.0.0.1:0", f"unix:{tmp_path}/s") as daemon:
        url = daemon.urls[request.param == "unix"]
        bob = await daemon.connect(url=url, receive_buffer=4_096)
        await bob.registers("bob", keepaliveMs=300_000)
        yield daemon, bob


Slow = tuple[Daemon, Client]


class TestOutboxes:
    async def test_a_sender_has_its_share_and_no_more(self, slow: Slow) -> None:
        daemon, bob = slow
        mallory, alice = await daemon.peer("mallory"), await daemon.peer("alice")
        flood = await fills(mallory, "bob")
        link = daemon.link("bob")
        assert SHARE - 16_200 < link.queued <= SHARE
        assert daemon.router.buffers.held == {link: link.queued + MESSAGE_BYTES * len(link.outbox)}
        assert await fills(alice, "bob") == 4
        assert await fills(alice, "bob") == await fills(mallory, "bob") == 0
        heard = [await bob.hears() for _ in range(flood + 4)]
        assert [message["from"] for message in heard] == ["mallory"] * flood + ["alice"] * 4
        await daemon.settles()
        assert (link.queued, daemon.router.buffers.of_links) == (0, 0)
        assert await fills(alice, "bob") >= 4

    async def test_all_senders_together(self, slow: Slow) -> None:
        daemon, bob = slow
        counts = [await fills(await daemon.peer(f"sender-{number}"), "bob") for number in range(6)]
        assert counts[1:] == [4, 4, 4, 0, 0]
        assert daemon.link("bob").queued <= 262_144
        assert [(await bob.hears())["from"][-1] for _ in range(sum(counts))] == list(
            "".join(str(number) * count for number, count in enumerate(counts))
        )

    async def test_the_largest_message_fits_an_empty_outbox(self, slow: Slow) -> None:
        daemon, bob = slow
        alice, carol = await daemon.peer("alice"), await daemon.peer("carol")
        await fills(carol, "bob")
        await alice.says(text_message(65_536), {"type": "ping"})
        assert await alice.hears() == {"type": "pong"}
        while (message := await bob.hears())["from"] == "carol":
            pass
        assert message["from"] == "alice"

    async def test_one_byte_a_time(self, slow: Slow) -> None:
        """However little is read at once, what arrives is whole and in order."""
        daemon, bob = slow
        alice = await daemon.peer("alice")
        count = await fills(alice, "bob")
        for size in (1, 2, 3, 4, 5, 1_000, 7, 30_000):
            bob.takes(await bob.sock.recv(size))
            await daemon.settles()
        assert [await bob.hears() for _ in range(count)] == [{**CHUNK, "from": "alice"}] * count

    async def test_in_all(self, serving: Serving) -> None:
        async with serving(buffer_bytes_total=300_000) as daemon:
            for number in range(8):
                client = await daemon.connect(receive_buffer=4_096)
                await client.registers(f"slow-{number}", keepaliveMs=300_000)
            alice, carol = await daemon.peer("alice"), await daemon.peer("carol")
            counts = [await fills(alice, f"slow-{number}") for number in range(8)]
            # Whose outbox is empty gets one message more, since nobody knows yet that it does not read.
            assert 300_000 - 16_100 < daemon.router.buffers.of_links <= 300_000 + 4 * 16_100
            assert min(counts[:4]) > 4
            assert await fills(carol, "slow-7") == 0
            await alice.says({"type": "message", "to": "carol", "data": 1})  # to those who read, nothing is refused
            assert (await carol.hears())["from"] == "alice"

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_who_asks_and_never_reads_is_not_read(self, daemon: Daemon, framing: str) -> None:
        alice = await daemon.connect(framing, receive_buffer=4_096)
        await alice.registers("alice", keepaliveMs=300_000)
        link = daemon.link("alice")
        pings = [{"type": "ping", "ref": f"{number:064}"} for number in range(8_000)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.says, *pings)
            await daemon.until(lambda: link.held and link.stuck)
            assert link.held
            assert 65_536 - 4_096 < link.own <= 65_536 + 200
            await (await daemon.peer("bob")).is_served()
            for ping in pings:
                assert await alice.hears() == {**ping, "type": "pong"}

    async def test_order_of_a_pair(self, slow: Slow) -> None:
        daemon, bob = slow
        alice = await daemon.peer("alice", "lines")
        sizes = [1, 60_000, 2, 3, 30_000, 4, 20_000, 5] * 10
        sent: list[int] = []
        heard: list[int] = []
        for number, size in enumerate(sizes):
            await alice.says({"type": "message", "to": "bob", "data": [number, "x" * size], "ref": "1"})
            if (await alice.hears())["type"] == "ok":
                sent.append(number)
            elif len(sent) - len(heard) > 3:
                heard.append((await bob.hears())["data"][0])
        while len(heard) < len(sent):
            heard.append((await bob.hears())["data"][0])
        assert heard == sent
        assert len(sent) > 8


class TestStall:
    async def test_closes_and_tells_each_sender_once(self, slow: Slow) -> None:
        daemon, bob = slow
        alice, carol = await daemon.peer("alice", "lines"), await daemon.peer("carol", "lines")
        served = await daemon.peer("served", "lines")
        await served.says({"type": "message", "to": "bob", "data": "read by bob's kernel"})
        await served.is_served()
        began = trio.current_time()
        await fills(alice, "bob")
        await fills(carol, "bob")
        for sender in (alice, carol):
            assert await sender.hears() == error("peer-unavailable", to="bob")
            assert within(trio.current_time() - began, 10)
        assert not daemon.router.registry.find("bob")
        heard = await bob.hears_all()
        assert heard[-1] == error("slow-consumer")
        assert {message["from"] for message in heard[:-1]} == {"served", "alice"}
        await trio.sleep(20)
        for sender in (alice, carol, served):
            await sender.hears_nothing()

    async def test_who_keeps_not_reading_is_gone_after_the_linger(self, slow: Slow) -> None:
        daemon, _ = slow
        alice, carol = await daemon.peer("alice", "lines"), await daemon.peer("carol", "lines")
        await fills(alice, "bob")
        await fills(carol, "bob")
        for sender in (alice, carol):
            assert await sender.hears() == error("peer-unavailable", to="bob")
        await trio.sleep(4.5)
        assert len(daemon.reactor) == 3
        await trio.sleep(1)
        assert len(daemon.reactor) == 2
        for sender in (alice, carol):
            await sender.hears_nothing()
        assert daemon.router.buffers.of_links == 0

    async def test_some_progress_is_enough(self, serving: Serving, tmp_path: Any) -> None:
        async with serving(f"unix:{tmp_path}/s") as daemon:
            bob = await daemon.peer("bob", keepaliveMs=300_000)
            senders = [await daemon.peer(f"sender-{number}", "lines") for number in range(4)]
            count = sum([await fills(sender, "bob") for sender in senders])
            for _ in range(2):
                await trio.sleep(9)
                # The kernel takes nothing more before most of what it holds was read (unix_writable).
                bob.takes(await bob.sock.recv(200_000))
            for _ in range(count):
                assert (await bob.hears())["from"].startswith("sender")
            for sender in senders:
                await sender.hears_nothing()

    async def test_a_recipient_that_breaks_off(self, slow: Slow) -> None:
        daemon, bob = slow
        alice, carol = await daemon.peer("alice", "lines"), await daemon.peer("carol", "lines")
        await fills(alice, "bob")
        await fills(carol, "bob")
        bob.breaks_off()
        for sender in (alice, carol):
            assert await sender.hears() == error("peer-unavailable", to="bob")
            await sender.hears_nothing()
        assert daemon.router.buffers.of_links == 0

    async def test_a_recipient_that_half_closes_still_gets_what_is_due(self, slow: Slow) -> None:
        daemon, bob = slow
        alice = await daemon.peer("alice", "lines")
        count = await fills(alice, "bob")
        bob.finishes()
        await daemon.settles()
        assert not daemon.router.registry.find("bob")
        assert [message["from"] for message in await bob.hears_all()] == ["alice"] * count
        await alice.hears_nothing()

    async def test_who_half_closes_and_does_not_read_is_gone_after_the_linger(self, slow: Slow) -> None:
        daemon, bob = slow
        alice = await daemon.peer("alice", "lines")
        await fills(alice, "bob")
        bob.finishes()
        began = trio.current_time()
        assert await alice.hears() == error("peer-unavailable", to="bob")
        assert within(trio.current_time() - began, 5)
