"""A restart that drops nobody: what was under way in one reactor goes on in the next, byte by byte."""

import json
from collections.abc import AsyncIterator

import pytest
import trio

from sigd.net import arrival, handover
from sigd.relay.buffers import MESSAGE_BYTES
from tests.in_process import as_json, error, need_ipv6, text_message
from tests.net.datagrams import ByHand, DatagramClient, data
from tests.net.two_reactors import UDP, Relay, relaying

pytestmark = pytest.mark.usefixtures("no_bug_is_logged", "jumping_clock")

PLAIN = ("prefixed", "lines", "udp")


@pytest.fixture
async def relay(jumping_clock: None) -> AsyncIterator[Relay]:
    """A relay over TCP and UDP."""
    async with relaying() as running:
        yield running


class TestPeers:
    @pytest.mark.parametrize("framing", PLAIN)
    async def test_a_peer_is_who_it_was(self, relay: Relay, framing: str) -> None:
        alice = await relay.peer("alice", framing, meta={"a": 1}, maxFrame=5_000, keepaliveMs=20_000)
        bob = await relay.peer("bob")
        before = relay.router.registry.find("alice")
        assert before is not None
        assert await relay.hands_over() == arrival.Taken(2 - (framing == "udp"), framing == "udp", 0, 0)
        link = relay.router.registry.find("alice")
        assert link is not None
        assert link is not before
        names = ("host", "port", "max_frame", "keepalive", "received", "delivered", "patient", "framing", "via")
        assert [getattr(link, name) for name in names] == [getattr(before, name) for name in names]
        assert link.meta is not None
        assert bytes(link.meta) == b'{"a":1}'
        await alice.says({"type": "message", "to": "bob", "data": 1}, {"type": "message", "to": "bob", "data": 2})
        assert [(await bob.hears())["data"] for _ in range(2)] == [1, 2]
        await bob.says({"type": "message", "to": "alice", "data": 3})
        assert await alice.hears() == {"type": "message", "from": "bob", "data": 3}
        await alice.hears_nothing()

    async def test_over_a_unix_socket(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("s") / "s"
        async with relaying(f"unix:{path}") as relay:
            alice = await relay.peer("alice", url="unix:")
            await relay.hands_over()
            await alice.is_served()
            assert relay.link("alice").via == "unix"
            assert path.exists()
            await relay.peer("bob", url="unix:")
            path.unlink()  # whose it is now is up to who serves

    async def test_many_times(self, relay: Relay) -> None:
        peers = [await relay.peer(framing, framing) for framing in PLAIN]
        for number in range(5):
            await relay.hands_over()
            for peer, other in zip(peers, peers[1:] + peers[:1], strict=True):
                await peer.says({"type": "message", "to": type(other).framing, "data": number})
                assert (await other.hears())["data"] == number

    async def test_those_of_one_address_are_counted_together(self, relay: Relay) -> None:
        for number, framing in enumerate(("prefixed", "lines", "udp", "udp")):
            await relay.peer(f"p{number}", framing)
        await relay.connect()
        await relay.hands_over()
        origins = relay.router.admission.origins
        origin, strangers = origins.of("127.0.0.1"), relay.router.admission.unregistered
        assert (len(origins), origins.udp_links, len(relay.reactor)) == (1, 2, 5)
        assert (origin.links, origin.udp_links, strangers.count(origin)) == (3, 2, 1)

    async def test_nobody_is_told(self, relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
        peers = [await relay.peer(framing, framing) for framing in PLAIN]
        await relay.hands_over()
        for peer in peers:
            await peer.hears_nothing()
        assert [line for line in caplog.messages if "closed" in line] == []

    async def test_whoever_comes_meanwhile_is_not_refused(self, relay: Relay) -> None:
        await relay.packs()
        client = await relay.connect()  # the kernel lets him in
        relay.unpacks()
        await client.registers("alice")

    async def test_a_datagram_that_comes_meanwhile_is_read(self, relay: Relay) -> None:
        with ByHand(relay.url("udp")) as hand:
            cid = await hand.registers(id="cam")
            await relay.packs()
            hand.says(data(cid, 1, 1, b'{"type":"ping","ref":"1"}'))
            relay.unpacks()
            assert [b for b in await hand.hears() if b.endswith(b'{"type":"pong","ref":"1"}')]
            hand.says(b"X " + cid)
            await relay.settles()


class TestUnderWay:
    @pytest.mark.parametrize("framing", ["prefixed", "lines"])
    @pytest.mark.parametrize("at", [1, 3, 5, 60])
    async def test_a_part_of_a_frame(self, relay: Relay, framing: str, at: int) -> None:
        alice, bob = await relay.peer("alice", framing), await relay.peer("bob")
        frame = type(alice).framed(as_json({"type": "message", "to": "bob", "data": "x" * 100}))
        await alice.sends(frame[:at])
        await relay.hands_over()
        await alice.sends(frame[at:])
        assert (await bob.hears())["data"] == "x" * 100

    async def test_a_text_of_several_lines(self, relay: Relay) -> None:
        alice, bob = await relay.peer("alice", "lines"), await relay.peer("bob")
        await alice.sends(b"send bob <<\none\ntw")
        await relay.hands_over()
        await alice.sends(b"o\n.\n")
        assert (await bob.hears())["data"] == "one\ntwo"

    async def test_a_text_that_is_skipped_is_skipped_up_to_its_dot(self, relay: Relay) -> None:
        alice = await relay.peer("alice", "lines")
        await alice.sends(b"send bob <<\n" + b"quit\n" * 15_000)
        assert (await alice.hears())["code"] == "too-large"
        await relay.hands_over()
        await alice.sends(b"quit\n.\nping\n")
        assert await alice.hears() == {"type": "pong"}

    async def test_it_still_has_to_be_finished_in_time(self, relay: Relay) -> None:
        alice = await relay.peer("alice")
        await alice.sends(b"\0\0")
        await relay.settles()
        await trio.sleep(relay.router.limits.frame_timeout_ms / 1000 - 2)
        began = trio.current_time()
        await relay.hands_over()
        assert (await alice.hears())["code"] == "bad-frame"
        assert trio.current_time() - began < 3

    async def test_a_first_line_is_still_one(self, relay: Relay) -> None:
        browser, person = await relay.connect("lines"), await relay.connect("lines")
        await browser.sends(b"GET / HT")
        await person.sends(b"# hello\nGET / HT")
        await relay.settles()
        await relay.hands_over()
        for each in (browser, person):
            await each.sends(b"TP/1.1\n")
        assert b"does not speak HTTP" in await browser.hears_bytes()
        assert (await person.hears())["code"] == "unknown-type"

    async def test_a_line_that_is_passed_over(self, relay: Relay) -> None:
        alice = await relay.peer("alice", "lines")
        await alice.sends(b"x" * (relay.router.limits.max_frame + 2))
        assert (await alice.hears())["code"] == "too-large"
        await relay.hands_over()
        await alice.sends(b"x" * 100 + b"\n")
        await alice.is_served()

    async def test_more_than_was_acted_on(self, relay: Relay) -> None:
        bob = await relay.peer("bob")
        alice = await relay.peer("alice")
        messages = [{"type": "message", "to": "bob", "data": number} for number in range(200)]
        await alice.says(*messages)
        # Not a moment for the reactor: nothing of that is read, or a part of it.
        relay.packed = handover.pack(relay.reactor, relay.doors)
        relay.stops()
        relay.unpacks()
        assert [(await bob.hears())["data"] for _ in range(200)] == list(range(200))

    async def test_what_waits_because_too_much_was_sent(self) -> None:
        async with relaying(messages_per_second=10, messages_burst=20) as relay:
            alice, bob = await relay.peer("alice"), await relay.peer("bob")
            await alice.says(*({"type": "message", "to": "bob", "data": number} for number in range(60)))
            assert (await alice.hears())["code"] == "rate-limited"
            link = relay.link("alice")
            waits = link.resumes_at - relay.reactor.now
            await relay.hands_over(messages_per_second=10, messages_burst=20)
            assert relay.link("alice").held
            assert relay.link("alice").resumes_at - relay.reactor.now == pytest.approx(waits, abs=0.5)
            assert [(await bob.hears())["data"] for _ in range(60)] == list(range(60))
            await trio.sleep(10)  # until it has paid for them, nobody looks whether it has left

    @pytest.mark.parametrize("framing", ["prefixed", "lines"])
    async def test_a_stuck_outbox(self, framing: str) -> None:
        async with relaying(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22) as relay:
            alice = await relay.peer("alice")
            bob = await relay.connect(framing, receive_buffer=4_096)
            await bob.registers("bob")
            count = 0
            while relay.link("bob").queued < 200_000:
                await alice.says({"type": "message", "to": "bob", "data": f"{count} " + "x" * 20_000})
                await relay.settles()
                count += 1
            before = relay.link("bob")
            queued = before.queued
            assert before.stuck
            await relay.hands_over(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22)
            link = relay.link("bob")
            assert link.stuck
            assert link.queued == queued
            assert relay.router.buffers.held == {link: queued + MESSAGE_BYTES * len(link.outbox)}
            await alice.says({"type": "message", "to": "bob", "data": "last"})
            heard = [(await bob.hears())["data"].split(" ")[0] for _ in range(count + 1)]
            assert heard == [*map(str, range(count)), "last"]
            assert relay.router.buffers.of_links == 0

    async def test_its_senders_are_told_when_it_is_lost(self) -> None:
        async with relaying(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22) as relay:
            alice, carol = await relay.peer("alice"), await relay.peer("carol", "lines")
            bob = await relay.connect(receive_buffer=4_096)
            await bob.registers("bob")
            while not relay.link("bob").stuck:
                await alice.says(text_message(50_000))
                await relay.settles()
            await alice.says(text_message(1_000))
            await carol.says(text_message(1_000))
            await relay.settles()
            carol.leaves()
            await relay.settles()
            await relay.hands_over()
            bob.breaks_off()
            assert await alice.hears() == error("peer-unavailable", to="bob")
            await alice.hears_nothing()

    async def test_who_has_not_registered_has_the_rest_of_his_time(self, relay: Relay) -> None:
        silent, lines = await relay.connect(), await relay.connect("lines")
        await lines.sends(b'{"type":"ping"')
        await relay.settles()
        seconds = relay.router.limits.register_timeout_lines_ms / 1000
        await trio.sleep(seconds - 1)
        began = trio.current_time()
        assert (await relay.hands_over()).streams == 2
        assert len(relay.router.admission.unregistered) == 2
        assert (await lines.hears())["code"] == "register-timeout"
        await silent.hears_bytes()
        assert trio.current_time() - began < 3

    async def test_who_has_sent_his_end_of_file_still_hears_all(self) -> None:
        async with relaying(outbox_bytes=1 << 22, outbox_bytes_per_sender=1 << 22) as relay:
            alice = await relay.peer("alice")
            bob = await relay.connect(receive_buffer=4_096)
            await bob.registers("bob")
            for number in range(20):
                await alice.says({"type": "message", "to": "bob", "data": f"{number} " + "x" * 20_000})
                await relay.settles()
            bob.finishes()
            await relay.settles()
            assert len(relay.reactor) == 2
            assert (await relay.hands_over()).streams == 2
            assert len(relay.router.registry) == 1
            assert [message["data"].split(" ")[0] for message in await bob.hears_all()] == [*map(str, range(20))]

    async def test_who_was_sent_ours_is_waited_for(self, relay: Relay) -> None:
        alice = await relay.peer("alice")
        await alice.says({"type": "unregister", "ref": "r"})
        assert await alice.hears() == {"type": "ok", "ref": "r"}
        await alice.hears_close()
        assert (await relay.hands_over()).streams == 1
        assert len(relay.reactor) == 1
        await trio.sleep(relay.router.limits.linger_ms / 1000 + 1)
        assert len(relay.reactor) == 0

    async def test_a_claim_is_refused(self, relay: Relay) -> None:
        alice = await relay.peer("alice")
        another = await relay.connect()
        await another.says({"type": "register", "id": "alice", "ref": "r"})
        assert (await alice.hears())["type"] == "ping"
        await relay.hands_over()
        assert await another.hears() == error("id-taken", ref="r")
        await another.registers("bob")
        await alice.is_served()

    async def test_a_ping_is_still_open(self, relay: Relay) -> None:
        alice = await relay.peer("alice", keepaliveMs=10_000)
        assert (await alice.hears())["type"] == "ping"
        before = relay.link("alice")
        assert before.pinged
        asked, seen = relay.reactor.now - before.pinged_at, relay.reactor.now - before.last_seen
        await relay.hands_over()
        link = relay.link("alice")
        assert link.pinged
        assert relay.reactor.now - link.pinged_at == pytest.approx(asked, abs=0.5)
        assert relay.reactor.now - link.last_seen == pytest.approx(seen, abs=0.5)
        assert (await alice.hears())["code"] == "idle-timeout"


class TestDatagrams:
    async def test_the_same_register_finds_its_link(self, relay: Relay) -> None:
        with ByHand(relay.url("udp")) as hand:
            shown = await hand.shows(id="cam")
            [first] = await hand.asks(shown)
            await relay.hands_over()
            [again] = await hand.asks(shown)
            assert json.loads(again) == json.loads(first)
            assert len(relay.reactor.datagrams.links) == 1
            hand.says(b"X " + json.loads(first)["cid"].encode())
            await relay.settles()

    async def test_a_cookie_counts(self, relay: Relay) -> None:
        with ByHand(relay.url("udp")) as hand:
            shown = await hand.shows(id="cam")
            await relay.hands_over()
            [answer] = await hand.asks(shown)
            assert json.loads(answer)["type"] == "registered"
            hand.says(b"X " + json.loads(answer)["cid"].encode())
            await relay.settles()

    async def test_a_late_register_of_one_that_has_ended_gets_silence(self, relay: Relay) -> None:
        with ByHand(relay.url("udp")) as hand:
            shown = await hand.shows(id="cam")
            [answer] = await hand.asks(shown)
            await hand.asks(b"X " + json.loads(answer)["cid"].encode())
            await relay.hands_over()
            assert await hand.asks(shown) == []

    async def test_what_is_not_acknowledged_goes_again(self, relay: Relay) -> None:
        alice = await relay.peer("alice")
        with ByHand(relay.url("udp")) as hand:
            cid = await hand.registers(id="bob")
            for number in range(12):  # more than the window
                await alice.says({"type": "message", "to": "bob", "data": number})
            first = await hand.hears()
            assert len(first) == 4
            await relay.hands_over()
            link = relay.router.registry.find("bob")
            assert link is not None
            assert relay.router.buffers.of_links == link.holding > link.queued > 0
            found: list[int] = []
            heard = 0
            while len(found) < 12:
                await trio.sleep(1.0)
                for datagram, _ in hand.takes():
                    head, seq, _, mid, _, text = datagram.split(b" ", 6)[0], *datagram.split(b" ", 6)[2:]
                    if head == b"D" and int(mid) == len(found) + 1:
                        assert int(seq) == heard + 1
                        heard += 1
                        found.append(json.loads(text)["data"])
                hand.says(b"A " + cid + b" %d 0" % heard)
            assert found == list(range(12))
            assert first[0].split(b" ", 6)[6] == b'{"type":"message","from":"alice","data":0}'
            await relay.until(lambda: relay.router.buffers.of_links == 0)
            hand.says(b"X " + cid)
            await relay.settles()

    async def test_slices_are_put_together(self, relay: Relay) -> None:
        with ByHand(relay.url("udp")) as hand:
            cid = await hand.registers(id="cam")
            text = as_json({"type": "message", "to": "cam", "data": "x" * 1_500})
            await hand.asks(data(cid, 1, 1, text[:1_060], part="0/2"))
            await relay.hands_over()
            heard = await hand.asks(data(cid, 2, 1, text[1_060:], part="1/2"))
            assert any(b'"from":"cam"' in datagram for datagram in heard)
            hand.says(b"X " + cid)
            await relay.settles()

    async def test_over_ipv6(self) -> None:
        need_ipv6()
        async with relaying("udp://[::1]:0") as relay:
            with ByHand(relay.url("udp")) as hand:
                cid = await hand.registers(id="cam")
                await relay.hands_over()
                heard = await hand.asks(data(cid, 1, 1, b'{"type":"ping"}'))
                assert any(datagram.endswith(b'{"type":"pong"}') for datagram in heard)
                await hand.asks(b"X " + cid)

    async def test_it_moves(self, relay: Relay) -> None:
        cam = await relay.peer("cam", "udp")
        await relay.hands_over()
        assert isinstance(cam, DatagramClient)
        cam.moves()
        await cam.is_served()

    async def test_whose_listener_is_gone_is_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        async with relaying() as relay:
            await relay.peer("cam", "udp")
            alice = await relay.peer("alice")
            taken = await relay.hands_over((), [UDP])
            assert (taken.streams, taken.datagrams, taken.lost) == (1, 0, 1)
            await alice.is_served()
            assert [line for line in caplog.messages if line.startswith("bug")] != []
            caplog.clear()
