"""Links in datagrams against who injects, replays and hijacks them, byte by byte."""

import json
import socket
from pathlib import Path

import pytest
import trio

from sigd.config import Listener
from sigd.config.auth import Auth
from sigd.net.datagram_link import DatagramLink
from sigd.wire import macs
from tests.conftest import Serving
from tests.in_process import Daemon, error
from tests.net.datagrams import ByHand, DatagramClient, data
from tests.net.test_udp_opening import TOKEN, USER, auth, sealed_peer

__all__ = ["auth"]  # a fixture

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

PING = b'{"type":"ping"}'
FILLER = b"0" * 16


class Sealed:
    """A link by hand whose datagrams end in a mac."""

    def __init__(self, hand: ByHand, cid: bytes, key: bytes) -> None:
        self.hand = hand
        self.cid = cid
        self.key = key

    @classmethod
    async def of(cls, hand: ByHand, name: str) -> "Sealed":
        shown = await hand.shows(TOKEN, id=name, user=USER)
        [answer] = await hand.asks(shown)
        cid = json.loads(macs.split(answer)[0])["cid"].encode()
        return cls(hand, cid, macs.link_key(TOKEN, cid, macs.split(shown)[1]))

    def seals(self, text: bytes) -> bytes:
        return macs.sealed(self.key, macs.FROM_CLIENT, text)

    def opens(self, datagrams: list[bytes]) -> list[bytes]:
        return [macs.opened(self.key, macs.FROM_SERVER, datagram) for datagram in datagrams]

    def leaves(self) -> None:
        self.hand.says(self.seals(b"X " + self.cid))


class TestInjected:
    async def test_row_34_any_flipped_bit_gets_silence(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with ByHand(daemon.udp_url) as hand:
                link = await Sealed.of(hand, "cam")
                good = link.seals(data(link.cid, 1, 1, PING))
                for bit in range(8 * len(good)):
                    forged = bytearray(good)
                    forged[bit // 8] ^= 1 << bit % 8
                    hand.says(bytes(forged))
                    if bit % 50 == 49:
                        await daemon.settles()
                # Whose head or cid is another one names no link: that is said, as to everybody.
                assert {datagram[:2] for datagram in await hand.hears()} <= {b"Z "}
                assert link.opens(await hand.asks(good)) == [b'D %b 1 1 1 0/1 {"type":"pong"}' % link.cid]
                link.leaves()

    async def test_row_34_a_replay_is_acknowledged_and_delivered_once(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            bob = await sealed_peer(daemon, "bob")
            with ByHand(daemon.udp_url) as hand:
                link = await Sealed.of(hand, "cam")
                said = link.seals(data(link.cid, 1, 1, b'{"type":"message","to":"bob","data":1}'))
                for _ in range(5):
                    hand.says(said)
                assert await bob.hears() == {"type": "message", "from": "cam", "data": 1}
                await bob.hears_nothing()
                assert set(link.opens(await hand.hears())) == {b"A %b 1 0" % link.cid}
                link.leaves()

    async def test_row_34_what_the_server_said_cannot_be_said_to_it(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with ByHand(daemon.udp_url) as hand:
                link = await Sealed.of(hand, "cam")
                said = await hand.asks(link.seals(data(link.cid, 1, 1, PING)))
                assert await hand.asks(*said) == []
                link.leaves()

    async def test_row_34_without_a_mac_nothing_counts(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with ByHand(daemon.udp_url) as hand:
                link = await Sealed.of(hand, "cam")
                bare = [b"X " + link.cid, data(link.cid, 1, 1, PING), b"P " + link.cid + b" 1 " + FILLER]
                assert await hand.asks(*bare) == []
                empty = [macs.sealed(b"", macs.FROM_CLIENT, each) for each in bare]
                assert await hand.asks(*empty) == []
                assert link.opens(await hand.asks(link.seals(bare[2]))) == [b"Q " + link.cid + b" 1"]
                link.leaves()

    @pytest.mark.parametrize(
        "tail",
        [
            *(b"", b" ", b" 1", b" 1 0 1 0/1", b" 1 0 1 0/1 ", b" 0 0 1 0/1 x", b" 1 0 0 0/1 x", b" -1 0 1 0/1 x"),
            *(b" 1 0 1 1/1 x", b" 1 0 1 0/0 x", b" 1 0 1 0/17 x", b" 1 0 1 0/2 short", b" 1 0 1 16/17 x"),
            *(b" 1e3 0 1 0/1 x", b" 9999999999999999 0 1 0/1 x", b" 40 0 1 0/1 x", b" 1 0 100 0/1 x"),
            *(b" 1 0 1 0/1x", b"\t1 0 1 0/1 x", b"  1 0 1 0/1 x", b" \xb2 0 1 0/1 x", b" 1 0 1 00/001 x"),
        ],
    )
    async def test_malformed_ones_get_silence(self, daemon: Daemon, tail: bytes) -> None:
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam")
            assert await hand.asks(b"D " + cid + tail) == []
            for head in (b"A ", b"P ", b"Q ", b"C ", b"X ", b"Z ", b"E ", b"d "):
                assert await hand.asks(head + cid + b" " + tail + b" ~") == []
            answered = await hand.asks(data(cid, 1, 1, PING))
            assert answered == [b'D %b 1 1 1 0/1 {"type":"pong"}' % cid]
            hand.says(b"X " + cid)
            await hand.hears()


class TestTimers:
    async def test_who_is_sent_to_just_before_a_repeat_is_due_does_not_stop_the_daemon(self, daemon: Daemon) -> None:
        """Timers are up to a tick late. Who was attended in between, its repeat due, was attended without end."""
        bob = await daemon.peer("bob")
        with ByHand(daemon.udp_url) as hand:
            cid = await hand.registers(id="cam")
            await trio.sleep(0.001)
            began = trio.current_time()
            await bob.says({"type": "message", "to": "cam", "data": 1})
            await daemon.settles()
            for late in (1.000_5, 3.001, 7.001_5):
                await trio.sleep_until(began + late)
                await bob.says({"type": "message", "to": "cam", "data": 2})
                await daemon.settles()
                hand.says(b"P " + cid + b" 1 " + FILLER)
                await daemon.settles()
            said = [datagram for datagram in await hand.hears() if datagram.startswith(b"D %b 1 " % cid)]
            assert len(said) == 4
            hand.says(b"X " + cid)
            assert (await bob.hears())["code"] == "peer-unavailable"


class TestReassembly:
    async def test_row_35_what_is_held_is_bounded_and_given_back(self, serving: Serving) -> None:
        """Each takes as much as it may hold; then nobody's first slice is acknowledged, until somebody has left."""
        async with serving(udp_reassembly_bytes=64_000) as daemon:
            first = b"x" * 1_000
            with ByHand(daemon.udp_url) as hand:
                cids = [await hand.registers(id=f"cam-{number}") for number in range(5)]
                acks = [len(await hand.asks(data(cid, 1, 1, first, part="0/16"))) for cid in cids]
                assert acks == [1, 1, 1, 1, 0]
                assert daemon.router.limits_hit == {"udp_reassembly_bytes": 1}
                assert daemon.reactor.datagrams._reassembly.taken == 64_000
                # What needs no room goes on.
                [answer] = await hand.asks(data(cids[4], 1, 1, PING))
                assert b'"pong"' in answer
                hand.says(b"X " + cids[0])
                [ack] = await hand.asks(data(cids[4], 2, 2, first, part="0/16"))
                assert ack == b"A %b 2 0" % cids[4]
                # Another number of slices is another message, and is not kept.
                assert await hand.asks(data(cids[4], 3, 2, first, part="1/15")) == []
                await trio.sleep(30)
                heard = await hand.hears()
                assert b"X " + cids[1] not in heard
                while len(daemon.reactor):
                    await trio.sleep(1)
                    assert trio.current_time() < 130
                heard += await hand.hears()
                assert {b"X " + cid for cid in cids[1:4]} <= set(heard)
                assert daemon.reactor.datagrams._reassembly.taken == 0

    async def test_row_35_a_million_first_slices_cost_no_more(self, serving: Serving) -> None:
        async with serving(udp_reassembly_bytes=16_000, udp_links=300) as daemon:
            with ByHand(daemon.udp_url) as hand:
                cids = [await hand.registers(id=f"cam-{number}") for number in range(100)]
                for cid in cids:
                    hand.says(data(cid, 1, 1, b"x" * 1_000, part="0/16"))
                await daemon.settles()
                assert daemon.reactor.datagrams._reassembly.taken == 16_000
                for cid in cids:
                    hand.says(b"X " + cid)
                await hand.hears()


class TestMoves:
    async def test_row_37_answers_go_to_the_old_place_until_the_new_one_has_echoed(
        self, serving: Serving, auth: Auth
    ) -> None:
        async with serving(auth=auth) as daemon:
            with ByHand(daemon.udp_url) as old, ByHand(daemon.udp_url, "127.0.0.2") as new:
                link = await Sealed.of(old, "cam")
                [challenge] = link.opens(await new.asks(link.seals(data(link.cid, 1, 1, PING))))
                assert challenge.startswith(b"C " + link.cid + b" ")
                assert link.opens(await old.hears()) == [b'D %b 1 1 1 0/1 {"type":"pong"}' % link.cid]
                assert await new.asks(link.seals(challenge)) == []
                origins = daemon.router.admission.origins
                assert origins.of("127.0.0.2").udp_links == 1
                assert origins.of("127.0.0.1").udp_links == 0
                assert link.opens(await new.asks(link.seals(b"P " + link.cid + b" 1 " + FILLER))) == [
                    b"Q " + link.cid + b" 1"
                ]
                assert await old.hears() == []
                link.hand = new
                link.leaves()

    async def test_row_37_a_hijacker_gets_challenges_alone(self, serving: Serving, auth: Auth) -> None:
        """At most one in a second, none longer than what it answers; replayed ones go on to the owner's place."""
        async with serving(auth=auth) as daemon:
            bob = await sealed_peer(daemon, "bob")
            with ByHand(daemon.udp_url) as owner, ByHand(daemon.udp_url, "127.0.0.2") as thief:
                link = await Sealed.of(owner, "cam")
                seen = link.seals(data(link.cid, 1, 1, PING))
                await owner.asks(seen)
                heard: list[bytes] = []
                for _ in range(20):
                    await trio.sleep(0.25)
                    heard += await thief.asks(seen)
                assert 4 <= len(heard) <= 6
                assert all(text.startswith(b"C ") for text in link.opens(heard))
                assert max(map(len, heard)) <= len(seen)
                await owner.hears()
                # An echo counts with the right mac, from where it was sent to, and once.
                last = link.opens(heard)[-1]
                assert await thief.asks(last, heard[-1], last + b" " + b"0" * 32) == []
                await owner.asks(link.seals(last), link.seals(b"A " + link.cid + b" 1 0"))
                await bob.says({"type": "message", "to": "cam", "data": 1})
                await daemon.settles()
                assert any(b'"data":1' in text for text in link.opens(await owner.hears()))
                assert all(text.startswith(b"C ") for text in link.opens(await thief.hears()))
                link.leaves()

    async def test_row_37_what_is_too_short_for_a_challenge_gets_none(self, serving: Serving, auth: Auth) -> None:
        async with serving(auth=auth) as daemon:
            with ByHand(daemon.udp_url) as owner, ByHand(daemon.udp_url, "127.0.0.2") as thief:
                link = await Sealed.of(owner, "cam")
                assert await thief.asks(link.seals(b"A " + link.cid + b" 0 0")) == []
                link.leaves()

    async def test_a_peer_behind_a_nat_that_forgets_it(self, daemon: Daemon) -> None:
        alice, bob = await daemon.peer("alice", "udp"), await daemon.peer("bob")
        assert isinstance(alice, DatagramClient)
        for number in range(3):
            alice.moves()
            await alice.says({"type": "message", "to": "bob", "data": number})
            assert (await bob.hears())["data"] == number
            await trio.sleep(5)
            await bob.says({"type": "message", "to": "alice", "data": number})
            assert (await alice.hears())["data"] == number
        link = daemon.router.registry.find("alice")
        assert isinstance(link, DatagramLink)
        assert link.port == alice.sock.getsockname()[1]

    async def test_a_peer_that_moves_counts_where_it_is(self, serving: Serving) -> None:
        async with serving(udp_links_per_address=2) as daemon:
            peers = [await daemon.peer(f"peer-{number}", "udp") for number in range(2)]
            alice = await daemon.connect("udp", source="127.0.0.2")
            await alice.registers("alice")
            first = peers[0]
            assert isinstance(first, DatagramClient)
            assert isinstance(alice, DatagramClient)
            first.moves()
            await first.is_served()
            alice.moves("127.0.0.1")
            await alice.says({"type": "ping"})
            assert (await alice.hears_all())[-1] == error("server-full")
            assert daemon.router.limits_hit["udp_links_per_address"] == 1
            for peer in peers:
                await peer.is_served()


class TestAddresses:
    async def test_an_answer_leaves_from_where_it_was_asked(self, serving: Serving) -> None:
        """On all addresses, which `insecure` allows: of those a client waits for the one that it has asked alone."""
        async with serving("tcp://127.0.0.1:0", "udp://0.0.0.0:0", insecure=True) as daemon:
            port = int(daemon.urls[1].rpartition(":")[2])
            for host in ("127.0.0.2", "127.9.9.9"):
                client = await daemon.peer("alice", "udp", url=f"udp://{host}:{port}")
                await client.is_served()
                client.leaves()
                await daemon.settles()
                with ByHand(f"udp://{host}:{port}") as hand:
                    cid = await hand.registers(id="cam")
                    hand.says(data(cid, 1, 1, PING))
                    await daemon.settles()
                    assert [address for _, address in hand.takes()] == [(host, port)]
                    hand.says(b"X " + cid)
                    await hand.hears()

    async def test_all_addresses_of_ipv6(self, serving: Serving) -> None:
        async with serving("tcp://127.0.0.1:0", Listener("udp://[::]:0"), insecure=True) as daemon:
            port = int(daemon.urls[1].rpartition(":")[2])
            client = await daemon.peer("alice", "udp", url=f"udp://[::1]:{port}")
            await client.is_served()

    async def test_two_ports_share_their_links(self, serving: Serving) -> None:
        """A client may come by any; another one than before is another place."""
        async with serving("tcp://127.0.0.1:0", "udp://127.0.0.1:0") as daemon:
            with ByHand(daemon.udp_url) as hand:
                cid = await hand.registers(id="cam")
                hand.target = ("127.0.0.1", int(daemon.urls[1].rpartition(":")[2]))
                hand.says(b"P " + cid + b" 1 " + FILLER)
                await daemon.settles()
                came = {datagram[:1]: address for datagram, address in hand.takes()}
                assert came[b"C"] == hand.target
                assert came[b"Q"][1] == int(daemon.udp_url.rpartition(":")[2])
                hand.says(b"X " + cid)
                await hand.hears()

    async def test_a_socket_that_cannot_send_loses_a_datagram_and_nothing_else(
        self, daemon: Daemon, tmp_path: Path
    ) -> None:
        alice = await daemon.peer("alice", "udp")
        [port] = daemon.reactor._ports.values()
        port.send(b"x", ("127.0.0.1", 0), b"")
        port.send(b"x" * 70_000, ("127.0.0.1", 9), b"")
        port.send(b"x", ("255.255.255.255", 9), b"")
        assert port.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        await alice.is_served()
