"""Records of TLS and the messages in them: any length of either, slow readers, and what a kernel takes in pieces."""

import contextlib
import gc
import itertools
import socket
import ssl

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from sigd.net.tls import RECORD_BYTES, TLSSocket, context_for
from sigd.relay.link import Link
from sigd.relay.router import Router
from sigd.wire.messages import ClientMessage
from tests import certificates
from tests.conftest import Serving
from tests.in_process import Client, Daemon, as_json, error, within
from tests.net.handshakes import (
    BEGUN,
    V12,
    V13,
    VERSIONS,
    Handshake,
    careful,
    they_talk,
    trusting,
)

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


class TestRecords:
    """Messages of any length and records of another, to those who read at once and to those who do not."""

    @VERSIONS
    @pytest.mark.parametrize("size", [16_000, 16_380, 16_384, 16_385, 32_768, 65_536])
    async def test_of_any_length(self, daemon: Daemon, version: ssl.TLSVersion, size: int) -> None:
        alice = await careful(daemon, context=trusting(version))
        bob = await careful(daemon, context=trusting(version))
        await alice.registers("alice")
        await bob.registers("bob")
        for _ in range(3):
            await alice.says(text_of(size))
            assert len(await bob.hears_frame()) == size

    @pytest.mark.parametrize("framing", ["prefixed", "tls"])
    async def test_who_reads_at_once_gets_all_that_is_sent_at_once(self, daemon: Daemon, framing: str) -> None:
        """Whether a recipient speaks TLS makes no difference to what may be sent to it."""
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob", framing)
        message = {"type": "message", "to": "bob", "data": "x" * 16_000}
        for _ in range(5):
            await alice.says(*[message] * 8)
            for _ in range(8):
                assert (await bob.hears())["from"] == "alice"

    @VERSIONS
    async def test_a_slow_reader(self, daemon: Daemon, version: ssl.TLSVersion) -> None:
        """Records that were written in part go on where they stopped, whatever came behind them meanwhile."""
        bob = await careful(daemon, context=trusting(version), receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice = await daemon.peer("alice", "lines")
        sent: list[int] = []
        heard: list[int] = []
        sizes = [1, 10, 100, 1_000, 5_000, 16_384, 30_000, 60_000]
        for number in range(200):
            await alice.says({"type": "message", "to": "bob", "data": [number, "x" * sizes[number % 8]], "ref": "1"})
            if (await alice.hears())["type"] == "ok":
                sent.append(number)
            else:
                for _ in range(number % 5 + 1):
                    if len(heard) < len(sent):
                        heard.append((await bob.hears())["data"][0])
        while len(heard) < len(sent):
            heard.append((await bob.hears())["data"][0])
        assert heard == sent
        await daemon.settles()
        assert (daemon.link("bob").queued, daemon.router.buffers.of_links) == (0, 0)
        await they_talk(alice, bob)

    async def test_one_byte_after_the_other(self, daemon: Daemon) -> None:
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice = await daemon.peer("alice", "lines")
        count = await fills(alice)
        for size in (1, 2, 3, 4, 5, 1_000, 7, 30_000):
            bob._coming.write(await bob.sock.recv(size))
            await daemon.settles()
        for _ in range(count):
            assert (await bob.hears())["from"] == "alice"
        await bob.is_served()

    async def test_slow_consumer(self, daemon: Daemon) -> None:
        """What is on its way stays whole, so that the error behind it can be read."""
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice, carol = await daemon.peer("alice", "lines"), await daemon.peer("carol", "lines")
        began = trio.current_time()
        await fills(alice)
        await fills(carol)
        for sender in (alice, carol):
            assert await sender.hears() == error("peer-unavailable", to="bob")
        assert within(trio.current_time() - began, 10)
        *heard, last = await bob.hears_all()
        assert last == error("slow-consumer")
        assert {message["from"] for message in heard} == {"alice"}
        assert not bob.cut_off

    async def test_slow_consumer_who_never_reads(self, daemon: Daemon) -> None:
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice = await daemon.peer("alice", "lines")
        await fills(alice)
        await trio.sleep(16)
        assert len(daemon.reactor) == 1
        assert daemon.router.closed["slow-consumer"] == 1
        assert daemon.router.buffers.of_links == 0

    async def test_senders_that_leave(self, daemon: Daemon) -> None:
        """What they had sent still arrives, and in order."""
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice, carol = await daemon.peer("alice", "tls"), await daemon.peer("carol", "tls")
        first, second = await fills(alice), await fills(carol)
        alice.leaves()
        carol.breaks_off()
        await daemon.settles()
        heard = [(await bob.hears())["from"] for _ in range(first + second)]
        assert heard == ["alice"] * first + ["carol"] * second
        await bob.is_served()

    @pytest.mark.parametrize("end", ["finishes", "leaves", "breaks_off"])
    async def test_who_vanishes_within_a_record(self, daemon: Daemon, end: str) -> None:
        bob = await daemon.peer("bob")
        whole = 0
        for cut in itertools.count(1, 9):
            alice = await careful(daemon)
            await alice.registers("alice")
            alice.tls.write(alice.framed(b'{"type":"message","to":"bob","data":"never heard, or all of it"}'))
            record = alice._going.read()
            await Client.sends(alice, record[:cut])
            await daemon.settles()
            getattr(Client, end)(alice)
            await daemon.settles()
            assert list(daemon.router.registry.holders) == ["bob"]
            assert len(daemon.reactor) == 1
            if cut >= len(record):
                break
            assert bob.has_heard() == b""
            whole = cut
        assert whole
        assert (await bob.hears())["from"] == "alice"

    async def test_a_recipient_that_breaks_off(self, daemon: Daemon) -> None:
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob", keepaliveMs=300_000)
        alice = await daemon.peer("alice", "tls")
        await fills(alice)
        bob.breaks_off()
        assert await alice.hears() == error("peer-unavailable", to="bob")
        assert daemon.router.buffers.of_links == 0

    async def test_who_sends_little_by_little(self, daemon: Daemon) -> None:
        """Records of one byte, and frames over many of them."""
        alice = await careful(daemon)
        await alice.registers("alice")
        for byte in alice.framed(b'{"type":"ping","ref":"1"}'):
            alice.tls.write(bytes([byte]))
        await Client.sends(alice, alice._going.read())
        assert await alice.hears() == {"type": "pong", "ref": "1"}

    @VERSIONS
    async def test_many_in_one_segment(self, daemon: Daemon, version: ssl.TLSVersion) -> None:
        """What was taken from the kernel with the first of them is acted on though the kernel says nothing of it."""
        alice = await careful(daemon, context=trusting(version))
        await alice.registers("alice")
        pings = [{"type": "ping", "ref": f"{number}"} for number in range(500)]
        for ping in pings:
            alice.tls.write(alice.framed(as_json(ping)))
        data = alice._going.read()
        for place in range(0, len(data), 7_777):  # with the beginning of the next one at the end of each
            await Client.sends(alice, data[place : place + 7_777])
            await daemon.settles()
        assert [await alice.hears() for _ in pings] == [{**ping, "type": "pong"} for ping in pings]

    async def test_others_have_their_turn_meanwhile(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        mallory, alice = await careful(daemon), await careful(daemon)
        await mallory.registers("mallory")
        await alice.registers("alice")
        acts: list[str | None] = []
        act = Router.act

        def noted(self: Router, link: Link, message: ClientMessage, now: float) -> None:
            acts.append(link.id)
            act(self, link, message, now)

        monkeypatch.setattr(Router, "act", noted)
        for _ in range(1_000):
            mallory.tls.write(mallory.framed(b'{"type":"ping"}'))
        await Client.sends(mallory, mallory._going.read())
        for _ in range(10):
            alice.tls.write(alice.framed(b'{"type":"ping"}'))
        await Client.sends(alice, alice._going.read())
        for _ in range(10):
            assert await alice.hears() == {"type": "pong"}
        last = len(acts) - 1 - acts[::-1].index("alice")
        assert acts.index("mallory") < last
        assert acts[acts.index("alice") : last].count("mallory") < 20

    async def test_a_goodbye_in_the_same_segment(self, daemon: Daemon) -> None:
        alice = await careful(daemon)
        alice.tls.write(alice.framed(b'{"type":"ping"}') * 40)
        with contextlib.suppress(ssl.SSLWantReadError):
            alice.tls.unwrap()
        await Client.sends(alice, alice._going.read())  # and no end of file
        assert await alice.hears_all() == [{"type": "pong"}] * 40
        assert not alice.cut_off

    async def test_what_waits_while_the_link_is_held(self, serving: Serving) -> None:
        """For its rates, and for a claim: what has come in the same segment comes next."""
        async with serving(messages_per_second=10, messages_burst=10) as daemon:
            alice = await careful(daemon)
            for number in range(40):
                alice.tls.write(alice.framed(b'{"type":"ping","ref":"%d"}' % number))
            await Client.sends(alice, alice._going.read())
            heard = [message for _ in range(41) if (message := await alice.hears())["type"] == "pong"]
            assert [message["ref"] for message in heard] == [f"{number}" for number in range(40)]
            await trio.sleep(5)
            holder, claimant = await daemon.peer("contested", keepaliveMs=300_000), await careful(daemon)
            claimant.tls.write(claimant.framed(b'{"type":"register","id":"contested"}'))
            claimant.tls.write(claimant.framed(b'{"type":"ping","ref":"1"}'))
            await Client.sends(claimant, claimant._going.read())
            assert await holder.hears() == {"type": "ping"}
            await claimant.hears_nothing()
            await holder.says({"type": "pong"})
            assert await claimant.hears() == error("id-taken")
            assert await claimant.hears() == {"type": "pong", "ref": "1"}

    async def test_a_record_that_was_begun(self, daemon: Daemon) -> None:
        """It has no deadline of its own: nobody is pinged earlier, or later, for what OpenSSL waits for."""
        alice = await careful(daemon)
        await alice.registers("alice", keepaliveMs=5_000)
        began = trio.current_time()
        alice.tls.write(alice.framed(b'{"type":"ping"}'))
        await Client.sends(alice, alice._going.read()[:-1])
        assert await alice.hears() == {"type": "ping"}
        assert within(trio.current_time() - began, 5)
        assert await alice.hears_all() == [error("idle-timeout")]
        assert within(trio.current_time() - began, 12.5)


def text_of(size: int) -> bytes:
    """A message from alice to bob which is this long when it is delivered."""
    text = "x" * (size - len('{"type":"message","from":"alice","data":""}'))
    return b'{"type":"message","to":"bob","data":"%s"}' % text.encode()


async def fills(sender: Client) -> int:
    """Send to bob until he is busy; how many messages he was not too busy for."""
    for count in range(200):
        await sender.says({"type": "message", "to": "bob", "data": "x" * 16_000, "ref": "1"})
        answer = await sender.hears()
        if answer["type"] == "error":
            assert answer == error("peer-busy", to="bob", ref="1")
            return count
    raise AssertionError("an outbox without bounds")


class TestSocket:
    """Whatever the pieces are in which the kernel takes and gives what is encrypted."""

    @staticmethod
    def shaken(version: ssl.TLSVersion) -> tuple[TLSSocket, socket.socket, Handshake]:
        """Ours, the other end, and what speaks TLS there."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # the kernel takes a few records at once
        chain, key = certificates.files("localhost", "127.0.0.1")
        sock = TLSSocket(ours, context_for("tls://x", chain, key, None, client_required=False))
        theirs.setblocking(False)
        shaking = Handshake(version)
        theirs.sendall(shaking.says())
        while not shaking.done:
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                sock.shake_hands()
            with contextlib.suppress(BlockingIOError):
                theirs.sendall(shaking.says(theirs.recv(65_536)))
        with contextlib.suppress(BlockingIOError):
            sock.shake_hands()
        return sock, theirs, shaking

    @given(
        version=st.sampled_from([V12, V13]),
        sizes=st.lists(st.integers(1, 20_000) | st.sampled_from([8_191, 8_192, 8_193, 16_384, 16_385]), max_size=8),
        cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=20),
        read=st.sampled_from([20_000, 65_536]),
    )
    @settings(max_examples=60)
    def test_recv(self, version: ssl.TLSVersion, sizes: list[int], cuts: list[int], read: int) -> None:
        sock, theirs, shaking = self.shaken(version)
        with sock, theirs:
            sent = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))
            place = 0
            for size in sizes:
                shaking.tls.write(sent[place : place + size])
                place += size
            data, heard, turn = shaking._going.read(), b"", 0
            while data:
                piece, data = data[: cuts[turn % len(cuts)]], data[cuts[turn % len(cuts)] :]
                turn += 1
                theirs.sendall(piece)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        heard += sock.recv(read)
                assert not sock.has_ahead
            assert heard == sent
            with contextlib.suppress(ssl.SSLWantReadError):
                shaking.tls.unwrap()
            theirs.sendall(shaking._going.read())
            assert sock.recv(read) == b""

    @given(
        version=st.sampled_from([V12, V13]),
        sizes=st.lists(st.integers(1, 40_000) | st.sampled_from([8_191, 8_192, 8_193, 65_536]), max_size=8),
        reads=st.lists(st.integers(1, 9_000), min_size=1, max_size=20),
        most=st.sampled_from([10_000, 65_536, 1_000_000]),
    )
    @settings(max_examples=60)
    def test_send(self, version: ssl.TLSVersion, sizes: list[int], reads: list[int], most: int) -> None:
        """What it says was not sent comes first again, with more behind it than before, or less."""
        sock, theirs, shaking = self.shaken(version)
        with sock, theirs:
            whole = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))
            data, heard, turn = whole, b"", 0
            while data or len(heard) < len(whole):
                if data:
                    with contextlib.suppress(BlockingIOError):
                        data = data[sock.send(data[: max(most, RECORD_BYTES)]) :]
                with contextlib.suppress(BlockingIOError):
                    shaking._coming.write(theirs.recv(reads[turn % len(reads)]))
                    turn += 1
                with contextlib.suppress(ssl.SSLWantReadError):
                    while True:
                        heard += shaking.tls.read(65_536)
            assert heard == whole
            sock.shutdown(socket.SHUT_WR)
            shaking._coming.write(theirs.recv(65_536))
            assert shaking.tls.read() == b""  # close_notify
            assert theirs.recv(65_536) == b""

    async def test_nothing_is_left_for_the_collector(self, daemon: Daemon) -> None:
        """Links are freed by reference counting: the daemon has the garbage collector look seldom."""
        gc.collect()
        gc.disable()
        try:
            for end in ("leaves", "breaks_off", "finishes"):
                client = await careful(daemon)
                await client.registers("alice")
                assert [each for each in gc.get_objects() if isinstance(each, TLSSocket)] == [daemon.link("alice").sock]
                getattr(client, end)()
                await daemon.settles()
            for data in (BEGUN, b"x" * 10):
                raw = await daemon.connect("lines", url=daemon.tls_url)
                await raw.sends(data)
                raw.leaves()
                await daemon.settles()
            assert [each for each in gc.get_objects() if isinstance(each, TLSSocket)] == []
        finally:
            gc.enable()
