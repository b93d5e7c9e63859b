"""Links in datagrams, as seen by peers: what is said both ways, and how each of them ends."""

import logging
from typing import Any

import msgspec
import pytest
import trio

from sigd.config.auth import Auth
from sigd.config.ice import Ice
from sigd.net.datagram_link import DatagramLink
from tests.conftest import Serving
from tests.in_process import Daemon, error, within
from tests.net.datagrams import ByHand, DatagramClient, data

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

OTHERS = ("prefixed", "lines", "tls", "udp")


async def udp_peer(daemon: Daemon, name: str, **members: Any) -> DatagramClient:
    client = await daemon.peer(name, "udp", **members)
    assert isinstance(client, DatagramClient)
    return client


def link_of(daemon: Daemon, name: str) -> DatagramLink:
    link = daemon.router.registry.find(name)
    assert isinstance(link, DatagramLink)
    return link


async def all_gone(daemon: Daemon) -> None:
    """Wait for the end of those that have vanished."""
    with trio.fail_after(300):
        while len(daemon.reactor):  # noqa: ASYNC110 - it is the clock that has to go on
            await trio.sleep(1)


@pytest.mark.parametrize("other", OTHERS)
class TestRelay:
    @pytest.mark.parametrize(
        "message",
        [
            {"type": "offer", "sdp": "v=0\r\n" * 1_200, "session": "s"},
            {"type": "answer", "sdp": ""},
            {"type": "candidate", "candidate": {"candidate": "candidate:1", "sdpMid": "0"}},
            {"type": "candidate", "candidate": None},
            {"type": "bye", "reason": "done"},
            {"type": "message", "data": ["\u2028\x7f", {"a": 1}, None, "\n"]},
            {"type": "message", "data": "ends in a newline\n"},
        ],
        ids=["offer", "answer", "candidate", "end", "bye", "message", "newline"],
    )
    async def test_each_type_both_ways(self, daemon: Daemon, other: str, message: dict[str, Any]) -> None:
        alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob", other)
        for speaking, hearing, sender, to in ((alice, bob, "alice", "bob"), (bob, alice, "bob", "alice")):
            await speaking.says(message | {"to": to, "ref": "1"})
            assert await speaking.hears() == {"type": "ok", "ref": "1"}
            assert await hearing.hears() == message | {"from": sender}

    async def test_many_in_order(self, daemon: Daemon, other: str) -> None:
        alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob", other)
        for speaking, hearing, to in ((alice, bob, "bob"), (bob, alice, "alice")):
            await speaking.says(*({"type": "message", "to": to, "data": [number, "x" * 900]} for number in range(60)))
            assert [(await hearing.hears())["data"][0] for _ in range(60)] == list(range(60))

    async def test_the_longest(self, daemon: Daemon, other: str) -> None:
        alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob", other)
        head = len('{"type":"message","from":"bob","data":""}')
        await bob.says({"type": "message", "to": "alice", "data": "x" * (16_000 - head)})
        assert len((await alice.hears())["data"]) == 16_000 - head
        if other != "udp":
            await bob.says({"type": "message", "to": "alice", "data": "x" * (16_001 - head), "ref": "1"})
            assert await bob.hears() == error("too-large", to="alice", ref="1")
        head = len('{"type":"message","from":"alice","data":""}')
        await alice.says({"type": "message", "to": "bob", "data": "x" * (16_000 - head)})
        assert (await bob.hears())["from"] == "alice"


class TestAsked:
    async def test_errors_peers_and_ice_servers(self, serving: Serving) -> None:
        async with serving(ice=Ice(stun_urls=("stun:stun.example.net",))) as daemon:
            alice = await daemon.connect("udp")
            answer = await alice.registers("alice", meta={"a": 1}, ref="1")
            assert answer["iceServers"] == [{"urls": ["stun:stun.example.net"]}]
            assert answer["ref"] == "1"
            await alice.says({"type": "peers", "ref": "2"}, {"type": "iceServers", "ref": "3"})
            assert await alice.hears() == {
                "type": "peers", "ref": "2", "peers": [{"id": "alice", "meta": {"a": 1}}], "more": False,
            }  # fmt: skip
            assert (await alice.hears())["iceServers"] == answer["iceServers"]
            for message, expected in (
                (b"{", error("bad-message")),
                (b"\xff", error("bad-message")),
                (b"[" * 3_000, error("bad-message")),
                (b'{"type":"nonsense","ref":"4"}', error("unknown-type", ref="4")),
                (b'{"type":"bye","to":"nobody","ref":"5"}', error("peer-unavailable", to="nobody", ref="5")),
                (b'{"type":"register","id":"other"}', error("already-registered")),
            ):
                await alice.says(message)
                assert await alice.hears() == expected
            await alice.says({"type": "error", "code": "x"}, {"type": "ok", "ref": "1"})
            await alice.is_served()

    async def test_a_message_above_max_frame(self, serving: Serving) -> None:
        async with serving(max_frame=4_096) as daemon:
            alice = await daemon.connect("udp")
            assert (await alice.registers("alice"))["maxFrame"] == 4_096
            await daemon.peer("bob")
            await alice.says({"type": "message", "to": "bob", "data": "x" * 4_096})
            assert await alice.hears() == error("too-large", to="bob")
            assert daemon.router.limits_hit == {"max_frame": 1}
            (refused,) = daemon.router.record.history("alice", "bob", 0.0).passed
            assert (refused.kind, refused.refusal, refused.length > 4_096) == ("message", "too-large", True)
            await alice.is_served()

    async def test_register_again_for_other_terms(self, daemon: Daemon) -> None:
        alice = await udp_peer(daemon, "alice")
        await alice.says({"type": "register", "maxFrame": 2_000, "ref": "1"})
        assert (await alice.hears())["type"] == "registered"
        bob = await daemon.peer("bob")
        await bob.says({"type": "message", "to": "alice", "data": "x" * 2_000, "ref": "1"})
        assert (await bob.hears())["code"] == "too-large"


class TestEnds:
    async def test_unregister(self, daemon: Daemon) -> None:
        alice = await udp_peer(daemon, "alice")
        await alice.says({"type": "unregister", "ref": "1"})
        assert await alice.hears_all() == [{"type": "ok", "ref": "1"}]
        bob = await udp_peer(daemon, "bob")
        await bob.says({"type": "unregister"})
        assert await bob.hears_all() == []
        assert len(daemon.reactor) == 0

    async def test_x_frees_the_id_at_once_and_is_not_answered(self, daemon: Daemon) -> None:
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam")
            assert await hand.asks(b"X " + cid) == []
            assert daemon.router.registry.find("cam") is None
            assert await hand.asks(b"X " + cid) == []
            assert await hand.asks(b"P " + cid + b" 1 0000000000000000") == [b"Z " + cid]

    async def test_a_last_message_is_sent_again_until_it_is_acknowledged_or_lingered(self, daemon: Daemon) -> None:
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam")
            [ok] = await hand.asks(data(cid, 1, 1, b'{"type":"unregister","ref":"1"}'))
            assert ok == b'D %b 1 1 1 0/1 {"type":"ok","ref":"1"}' % cid
            assert daemon.router.registry.find("cam") is None
            began = trio.current_time()
            heard: list[bytes] = []
            while b"X " + cid not in heard:
                await trio.sleep(0.25)
                heard += await hand.hears()
            assert within(trio.current_time() - began, 5)
            assert heard == [ok, ok, b"X " + cid]
            # And with an ack it goes at once.
            cid = await hand.registers(id="cam")
            await hand.asks(data(cid, 1, 1, b'{"type":"unregister","ref":"1"}'))
            assert await hand.asks(b"A " + cid + b" 1 0") == [b"X " + cid]

    async def test_a_closing_link_takes_acks_alone(self, daemon: Daemon) -> None:
        bob = await daemon.peer("bob")
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam")
            await hand.asks(data(cid, 1, 1, b'{"type":"unregister","ref":"1"}'))
            await hand.asks(data(cid, 2, 2, b'{"type":"message","to":"bob","data":1}'))
            await bob.hears_nothing()
            assert await hand.asks(b"A " + cid + b" 1 0") == [b"X " + cid]

    async def test_keepalive(self, daemon: Daemon) -> None:
        alice = await udp_peer(daemon, "alice")
        await trio.sleep(1_000)
        await alice.is_served()
        began = trio.current_time()
        await trio.sleep(1)  # the last ack of all
        alice.deaf = True
        await all_gone(daemon)
        assert daemon.router.closed == {"idle-timeout": 1}
        assert 75 <= trio.current_time() - began <= 75 + 5 + 1.5

    async def test_a_silent_one_is_pinged_each_second_and_told_why_it_ends(self, daemon: Daemon) -> None:
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam", keepaliveMs=10_000)
            heard: list[tuple[float, bytes]] = []
            began = trio.current_time()
            while trio.current_time() < began + 32:
                await trio.sleep(0.25)
                heard += [(trio.current_time() - began, datagram) for datagram in await hand.hears()]
            pings = [datagram for when, datagram in heard if datagram.startswith(b"P ") and when < 25]
            assert pings == [b"P %b %d 0000000000000000" % (cid, n) for n in range(1, len(pings) + 1)]
            assert within(heard[0][0], 10)
            assert 14 <= len(pings) <= 16
            others = [datagram for _, datagram in heard if not datagram.startswith(b"P ")]
            assert b'"code":"idle-timeout"' in others[0]
            assert others[-1] == b"X " + cid

    async def test_going_away(self, daemon: Daemon) -> None:
        peers = [await udp_peer(daemon, f"peer-{number}") for number in range(5)]
        began = trio.current_time()
        daemon.is_told_to_stop()
        for peer in peers:
            [away] = await peer.hears_all()
            assert (away["type"], away["reason"]) == ("goingAway", "the server stops")
        assert within(trio.current_time() - began, 0)
        await daemon.settles()

    async def test_a_stop_waits_for_nobody_who_is_gone_and_lets_nobody_in(self, daemon: Daemon) -> None:
        alice = await udp_peer(daemon, "alice")
        alice.deaf = True
        with ByHand(daemon.udp_url) as hand:
            shown = await hand.shows(id="late")
            leaves = await udp_peer(daemon, "leaves")
            leaves.deaf = True
            link_of(daemon, "leaves").close("it was told to go before, and does not acknowledge that")
            began = trio.current_time()
            daemon.is_told_to_stop()
            await daemon.settles()
            assert await hand.asks(shown) == []
            while len(daemon.reactor):
                await trio.sleep(0.1)
                assert trio.current_time() <= began + 2
                assert await hand.asks(shown) == []

    async def test_a_reload_denies(self, daemon: Daemon) -> None:
        alice, bob = await udp_peer(daemon, "alice"), await udp_peer(daemon, "bob")
        await daemon.is_told_to_reload(msgspec.structs.replace(daemon.reads, auth=Auth(deny=("alice",))))
        assert await alice.hears_all() == [error("auth-failed", reconnect=False)]
        await bob.is_served()


class TestSlowRecipients:
    async def test_who_vanished_is_given_up_after_30_s_and_each_sender_is_told(self, daemon: Daemon) -> None:
        alice = await udp_peer(daemon, "alice", keepaliveMs=300_000)
        senders = [
            await daemon.peer("bob", keepaliveMs=300_000),
            await udp_peer(daemon, "carol"),
            await daemon.peer("dave", "lines"),
        ]
        alice.deaf = True
        began = trio.current_time()
        for sender in senders:
            await sender.says(*({"type": "message", "to": "alice", "data": number} for number in range(20)))
        for sender in senders:
            assert await sender.hears() == error("peer-unavailable", to="alice")
            assert within(trio.current_time() - began, 30)
        for sender in senders:
            await sender.is_served()
        assert daemon.router.registry.find("alice") is None
        await all_told(daemon)
        assert daemon.router.closed == {"nothing was acknowledged for 30 s": 1}

    async def test_an_outbox_is_bounded_for_each_sender_and_in_all(self, serving: Serving) -> None:
        async with serving(outbox_bytes=100_000, outbox_bytes_per_sender=40_000) as daemon:
            alice = await udp_peer(daemon, "alice", keepaliveMs=300_000)
            alice.deaf = True
            taken = []
            for name in ("bob", "carol", "dave"):
                sender = await daemon.peer(name, keepaliveMs=300_000)
                for count in range(100):
                    await sender.says({"type": "message", "to": "alice", "data": "x" * 4_000, "ref": "1"})
                    answer = await sender.hears()
                    if answer["type"] == "error":
                        assert answer == error("peer-busy", to="alice", ref="1")
                        taken.append(count)
                        break
            assert taken == [9, 9, 6]
            assert link_of(daemon, "alice").queued <= 100_000
            assert daemon.router.limits_hit == {"outbox_bytes_per_sender": 2, "outbox_bytes": 1}
            await all_told(daemon)

    async def test_what_was_acknowledged_makes_room(self, serving: Serving) -> None:
        async with serving(outbox_bytes=20_000, outbox_bytes_per_sender=20_000) as daemon:
            alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob")
            for number in range(50):
                await bob.says({"type": "message", "to": "alice", "data": [number, "x" * 8_000]})
                assert (await alice.hears())["data"][0] == number
            await trio.sleep(1)
            assert daemon.router.buffers.of_links == link_of(daemon, "alice").queued == 0

    async def test_its_own_replies_stop_it_from_being_read(self, serving: Serving) -> None:
        async with serving(outbox_bytes_own=1_000, linger_ms=1_000) as daemon:
            with ByHand(daemon.udp_url) as hand:
                cid = await hand.registers(id="cam", keepaliveMs=300_000)
                for number in range(1, 200):
                    hand.says(data(cid, number, number, b'{"type":"ping","ref":"%060d"}' % number))
                await hand.hears()
                assert link_of(daemon, "cam").held
                assert link_of(daemon, "cam").queued < 1_200
                assert daemon.router.limits_hit["outbox_bytes_own"] == 1
                hand.says(b"X " + cid)
                await hand.hears()


async def all_told(daemon: Daemon) -> None:
    """Wait until nothing is due to anybody any more."""
    with trio.fail_after(100):
        while daemon.router.buffers.of_links:  # noqa: ASYNC110 - it is the clock that has to go on
            await trio.sleep(1)


class TestRates:
    async def test_messages(self, serving: Serving) -> None:
        """Nothing is lost, and the order stays; it is told so, once in ten seconds."""
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob")
            began = trio.current_time()
            await alice.says(*({"type": "message", "to": "bob", "data": number} for number in range(120)))
            assert [(await bob.hears())["data"] for _ in range(120)] == list(range(120))
            assert 8 <= trio.current_time() - began <= 20
            notice = await alice.hears()
            assert notice == error("rate-limited", retryAfterMs=notice["retryAfterMs"])
            assert daemon.router.limits_hit["messages_per_second"] > 1
            await all_told(daemon)

    async def test_bytes(self, serving: Serving) -> None:
        async with serving(bytes_per_second=10_000, bytes_burst=65_540) as daemon:
            alice, bob = await udp_peer(daemon, "alice"), await daemon.peer("bob", keepaliveMs=300_000)
            began = trio.current_time()
            await alice.says(*({"type": "message", "to": "bob", "data": [number, "x" * 9_950]} for number in range(20)))
            assert [(await bob.hears())["data"][0] for _ in range(20)] == list(range(20))
            assert 8 <= trio.current_time() - began <= 25
            await all_told(daemon)


class TestMany:
    async def test_many_links_on_one_socket(self, daemon: Daemon) -> None:
        peers = [await udp_peer(daemon, f"peer-{number}") for number in range(100)]
        for number, peer in enumerate(peers):
            await peer.says({"type": "message", "to": f"peer-{(number + 1) % 100}", "data": number})
        for number, peer in enumerate(peers):
            assert await peer.hears() == {
                "type": "message", "from": f"peer-{(number - 1) % 100}", "data": (number - 1) % 100,
            }  # fmt: skip

    async def test_what_the_kernel_says_of_lost_datagrams_is_nothing(self, daemon: Daemon) -> None:
        """Their sockets are closed: each datagram to them comes back as an ICMP message."""
        bob = await udp_peer(daemon, "bob")
        for number in range(5):
            gone = await udp_peer(daemon, f"gone-{number}")
            gone.vanishes()
            await bob.says({"type": "message", "to": f"gone-{number}", "data": 1})
        for _ in range(5):
            assert (await bob.hears())["code"] == "peer-unavailable"
        await all_told(daemon)

    async def test_the_log_has_one_line_for_each_end(self, daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "sigd")
        alice = await udp_peer(daemon, "alice")
        alice.leaves()
        await daemon.settles()
        [line] = [line for line in caplog.messages if "alice" in line]
        assert line.startswith("closed peer=alice reason=left address=127.0.0.1:")
