"""TLS on accepted connections: which first byte means it, who gets through, how it ends, what it costs others."""

import contextlib
import hmac
import itertools
import json
import re
import select
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from trio.testing import wait_all_tasks_blocked

from sigd.net.reactor import Reactor
from sigd.net.tls import TLSSocket
from sigd.net.turns import LINKS_AT_ONCE
from sigd.relay.strangers import BEGUN_SECONDS
from sigd.wire.framing import TLS_ALERT
from tests import certificates
from tests.conftest import Serving
from tests.in_process import Client, Daemon, error, within
from tests.net.handshakes import (
    BEGUN,
    V12,
    V13,
    VERSIONS,
    CarefulLines,
    Handshake,
    careful,
    is_closed,
    is_tls,
    sends_at_once,
    they_talk,
    trusting,
)

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


@pytest.fixture
async def both(serving: Serving) -> AsyncIterator[Daemon]:
    """A daemon whose first listener takes TLS and plain text."""
    async with serving(certificates.listener("tcp://127.0.0.1:0")) as daemon:
        yield daemon


class TestFirstByte:
    async def test_one_port_for_all(self, both: Daemon) -> None:
        url = both.urls[0]
        alice = await both.peer("alice", "tls", url=url)
        bob = await both.peer("bob", "prefixed", url=url)
        carol = await both.peer("carol", "lines", url=url)
        for speaking, hearing, sender, recipient in (
            (alice, bob, "alice", "bob"),
            (bob, carol, "bob", "carol"),
            (carol, alice, "carol", "alice"),
        ):
            await speaking.says({"type": "bye", "to": recipient})
            assert await hearing.hears() == {"type": "bye", "from": sender}

    async def test_lines_in_tls(self, both: Daemon) -> None:
        for url in (both.urls[0], both.tls_url):
            client = await careful(both, url=url, kind=CarefulLines)
            await client.sends(b"register alice\nsend alice hello\nquit\n")
            registered, *heard = await client.hears_all()
            assert registered["type"] == "registered"
            assert heard == [{"type": "message", "from": "alice", "data": "hello"}]
            assert not client.cut_off

    @pytest.mark.parametrize(
        "first",
        [b"\0\0\0\x0f" + b'{"type":"ping"}', b"ping\n", b"GET / HTTP/1.1\r\n\r\n", b"PROXY UNKNOWN\r\n", b"\x80"],
    )
    async def test_tls_alone_says_nothing_to_plain_text(self, both: Daemon, first: bytes) -> None:
        client = await both.connect("lines", url=both.tls_url)
        began = trio.current_time()
        await client.sends(first.ljust(5, b"\0"))
        assert await is_closed(client) == b""
        assert trio.current_time() == began
        assert both.router.closed["tls handshake failed"] == 1

    async def test_tls_alone_says_nothing_to_silence(self, both: Daemon) -> None:
        silent, gone = await both.connect("lines", url=both.tls_url), await both.connect("lines", url=both.tls_url)
        began = trio.current_time()
        gone.finishes()
        assert await is_closed(gone) == b""
        assert trio.current_time() == began
        assert await is_closed(silent) == b""
        assert within(trio.current_time() - began, 60)
        assert both.router.limits_hit["register_timeout_lines_ms"] == 1

    async def test_without_a_certificate_there_is_an_alert(self, daemon: Daemon) -> None:
        client = await daemon.connect()
        await client.sends(Handshake().says())
        assert await client.hears_bytes() == TLS_ALERT
        raw = await daemon.connect("lines")
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            await Handshake().with_(raw)

    async def test_tls_inside_tls(self, both: Daemon) -> None:
        client = await careful(both)
        await client.sends(Handshake().says())
        assert await client.hears_bytes() == b""
        assert not client.cut_off
        client.leaves()
        await both.settles()
        assert both.router.closed["tls where none is spoken"] == 1

    async def test_http_in_tls(self, both: Daemon) -> None:
        client = await careful(both)
        await client.sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nregister eve\n")
        assert (await client.hears_bytes()).startswith(b"# This is sigd")
        assert not client.cut_off

    async def test_a_client_sees_its_own_address_in_no_name_but_the_servers(self, both: Daemon) -> None:
        """What the certificate is for is the client's to check: with another name the client ends it, nobody else."""
        context = certificates.client_context()
        raw = await both.connect("lines", url=both.tls_url)
        shaking = Handshake(context=context)
        shaking.tls = context.wrap_bio(shaking._coming, shaking._going, server_hostname="elsewhere.example")
        with pytest.raises(ssl.SSLCertVerificationError):
            await shaking.with_(raw)
        raw.leaves()
        await both.settles()
        assert both.router.closed["tls handshake failed"] == 1


class TestHandshake:
    @VERSIONS
    @pytest.mark.parametrize("size", [1, 7, 100])
    async def test_in_small_pieces(self, daemon: Daemon, version: ssl.TLSVersion, size: int) -> None:
        client = await daemon.connect("lines", url=daemon.tls_url)
        shaking, data = Handshake(version), b""
        while not shaking.done:
            data = shaking.says(data)
            for place in range(0, len(data), size):
                await client.sends(data[place : place + size])
                await wait_all_tasks_blocked()
            if not shaking.done:
                data = await client.sock.recv(65_536)
        assert shaking.tls.version() == ("TLSv1.2" if version is V12 else "TLSv1.3")

    async def test_row_7_deadline(self, daemon: Daemon) -> None:
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "tls")
        client = await daemon.connect("lines", url=daemon.tls_url)
        began = trio.current_time()
        await client.sends(BEGUN)
        assert await is_closed(client) == b""
        assert within(trio.current_time() - began, 5)
        assert daemon.router.limits_hit["tls_handshake_timeout_ms"] == 1
        assert daemon.router.closed["tls handshake timed out"] == 1
        await they_talk(alice, bob)

    async def test_the_deadline_is_of_the_whole_handshake(self, daemon: Daemon) -> None:
        """However it trickles; it begins with the first byte, not with the connection."""
        client = await daemon.connect("lines", url=daemon.tls_url)
        await trio.sleep(40)
        hello = Handshake().says()
        began = trio.current_time()
        for place in range(4):
            await client.sends(hello[place : place + 1])
            await trio.sleep(1)
        await client.sends(hello[4:])  # and then never goes on
        assert is_tls(await is_closed(client))
        assert within(trio.current_time() - began, 5)

    async def test_a_stalled_crowd_keeps_nobody_out(self, serving: Serving) -> None:
        """Row 7: a handshake that waits for its client costs the others nothing."""
        async with serving(tls_handshakes=1) as daemon:
            for number in range(60):
                raw = await daemon.connect("lines", url=daemon.tls_url)
                hello = Handshake(V12 if number % 2 else V13).says()
                await raw.sends((BEGUN, hello[:-1], hello)[number % 3])
            began = trio.current_time()
            for number in range(10):
                await (await careful(daemon)).registers(f"peer-{number}")
            assert trio.current_time() == began
            assert daemon.router.closed.total() == 0
            await trio.sleep(6)
            assert daemon.router.closed == {"tls handshake timed out": 60}
            assert len(daemon.reactor) == 10

    async def test_many_at_once(self, serving: Serving) -> None:
        async with serving(tls_handshakes=2) as daemon:
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(careful, daemon)
            assert len(daemon.reactor) == 40
            assert daemon.router.limits_hit["tls_handshakes"] > 0
            assert daemon.router.limits_hit["tls_handshake_timeout_ms"] == 0

    async def test_those_whose_first_byte_waits_for_its_turn(self, daemon: Daemon) -> None:
        """More at once than a round has time for: they are read in later ones, and shake hands like the others."""
        raw = [await daemon.connect("lines", url=daemon.tls_url) for _ in range(3 * LINKS_AT_ONCE)]
        daemon.reactor.clock = itertools.count(0.0, 1.0).__next__  # each look is behind the end of each budget
        hellos = [Handshake() for _ in raw]
        for client, hello in zip(raw, hellos, strict=True):
            sends_at_once(client, hello.says())
        for client, hello in zip(raw, hellos, strict=True):
            while not hello.done:
                await client.sends(hello.says(await client.sock.recv(65_536)))
        assert len(daemon.reactor) == len(raw)
        assert daemon.router.closed.total() == 0

    async def test_a_crowd_does_not_evict_itself(self, serving: Serving) -> None:
        """More at once than may be unregistered: nobody is taken in while those before have not shaken hands."""
        async with serving(max_unregistered=64, tls_handshakes=4) as daemon:
            came: list[Client] = []

            async def comes(number: int) -> None:
                with contextlib.suppress(OSError, AssertionError):
                    client = await careful(daemon)
                    await client.registers(f"peer-{number}")
                    came.append(client)

            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(comes, number)
            assert len(came) == 200
            assert daemon.router.limits_hit["max_unregistered"] == 0

    @VERSIONS
    @pytest.mark.parametrize("end", ["finishes", "breaks_off", "stays"])
    async def test_cut_anywhere(self, daemon: Daemon, version: ssl.TLSVersion, end: str) -> None:
        alice, bob = await daemon.peer("alice", "tls"), await daemon.peer("bob")
        whole = await Handshake(version).with_(await daemon.connect("lines", url=daemon.tls_url))
        daemon.reactor.router.closed.clear()
        cuts = [1, 4, 5, 6, *range(30, whole, 31), whole - 1]
        began = trio.current_time()
        for cut in cuts:
            client = await daemon.connect("lines", url=daemon.tls_url)
            await Handshake(version).with_(client, cut)
            if end != "stays":
                getattr(client, end)()
                assert is_tls(await is_closed(client) if end == "finishes" else b"")
                await daemon.settles()
        if end == "stays":
            await trio.sleep(6)
        else:
            assert trio.current_time() == began
        assert daemon.router.closed == {
            "tls handshake timed out" if end == "stays" else "tls handshake failed": len(cuts)
        }
        assert len(daemon.reactor) == 3
        await they_talk(alice, bob)

    @VERSIONS
    @pytest.mark.parametrize("end", ["finishes", "leaves", "breaks_off"])
    async def test_gone_before_the_daemon_has_looked(self, daemon: Daemon, version: ssl.TLSVersion, end: str) -> None:
        """All in one moment: the hello, and the end of it."""
        for _ in range(10):
            client = await daemon.connect("lines", url=daemon.tls_url)
            sends_at_once(client, Handshake(version).says())
            getattr(client, end)()
        await daemon.settles()
        assert len(daemon.reactor) == 0
        assert daemon.router.closed == {"tls handshake failed": 10} or end == "breaks_off"

    @pytest.mark.parametrize("end", ["finishes", "breaks_off"])
    async def test_gone_with_the_last_byte_of_the_handshake(self, daemon: Daemon, end: str) -> None:
        for version in (V12, V13):
            client = await daemon.connect("lines", url=daemon.tls_url)
            shaking = Handshake(version)
            await client.sends(shaking.says())
            sends_at_once(client, shaking.says(await client.sock.recv(65_536)))
            getattr(client, end)()
        await daemon.settles()
        assert len(daemon.reactor) == 0

    async def test_what_follows_the_handshake_at_once_is_read(self, daemon: Daemon) -> None:
        """Even in the same segment as the last of it, and more than one record of it."""
        client = await daemon.connect("lines", url=daemon.tls_url)
        shaking = Handshake(V13)
        await client.sends(shaking.says())
        last = shaking.says(await client.sock.recv(65_536))
        assert shaking.done
        for number in range(40):
            shaking.tls.write(b'{"type":"register","id":"alice","ref":"%d"}\n' % number)
        began = trio.current_time()
        await client.sends(last + shaking._going.read())
        heard = b""
        while heard.count(b"\n") < 40:
            shaking._coming.write(await client.sock.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    heard += shaking.tls.read(65_536)
        assert [json.loads(line)["ref"] for line in heard.splitlines()] == [f"{number}" for number in range(40)]
        assert trio.current_time() == began

    GARBAGE = (
        bytes(5),
        b"\xff" * 20_000,
        bytes.fromhex("16 0301 0000") * 100,  # empty records
        bytes.fromhex("16 0301 ffff") + bytes(70_000),
        bytes.fromhex("16 0301 0005 01 00000100"),  # the hello ends before it has begun
        bytes.fromhex("16 0301 0004 01 ffffff"),
        bytes.fromhex("16 0301 0004 02 000000"),  # a server's
        bytes.fromhex("15 0301 0002 0100") * 1_000,  # alerts
        bytes.fromhex("15 0303 0002 0228"),
        bytes.fromhex("14 0303 0001 01") * 1_000,
        bytes.fromhex("17 0303 0010") + bytes(16),
        bytes.fromhex("18 0303 0003 01 4000"),  # Heartbleed's
        bytes.fromhex("80 2e 01 0002 0015 0000 0010") + bytes(37),  # SSLv2's
        bytes.fromhex("16 0300 0200 01 0001fc 0300") + bytes(508),
    )

    @pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: data[:12].hex())
    @pytest.mark.parametrize("after", ["nothing", "hello", "handshake"])
    async def test_garbage(self, daemon: Daemon, garbage: bytes, after: str) -> None:
        alice, bob = await daemon.peer("alice", "tls"), await daemon.peer("bob")
        for version in (V12, V13):
            client = await daemon.connect("lines", url=daemon.tls_url)
            shaking = Handshake(version)
            heard = b""
            if after == "hello":
                await client.sends(shaking.says())
                heard = await client.sock.recv(65_536)
            elif after == "handshake":
                await shaking.with_(client)
            with contextlib.suppress(OSError):
                await client.sends(garbage)
            with contextlib.suppress(OSError):
                client.finishes()
            assert is_tls(heard + await is_closed(client))
            await daemon.settles()
            assert len(daemon.reactor) == 2
        await they_talk(alice, bob)

    async def test_bits_that_were_turned(self, daemon: Daemon) -> None:
        """Every byte of a hello, one after the other; and then records that were altered on their way."""
        hello = Handshake(V12).says()
        for place in range(0, len(hello), 3):
            client = await daemon.connect("lines", url=daemon.tls_url)
            await client.sends(hello[:place] + bytes([hello[place] ^ 0x55]) + hello[place + 1 :])
            client.finishes()
            assert is_tls(await is_closed(client)) or hello[0] != 0x16
            client.leaves()
        for version in (V12, V13):
            client = await daemon.connect("lines", url=daemon.tls_url)
            shaking = Handshake(version)
            await shaking.with_(client)
            shaking.tls.write(b"register alice\n")
            record = shaking._going.read()
            await client.sends(record[:-1] + bytes([record[-1] ^ 1]))
            assert is_tls(await is_closed(client))
        await daemon.settles()
        assert daemon.router.registry.find("alice") is None
        assert len(daemon.reactor) == 0

    async def test_a_flood_of_handshakes_beside_a_pair_that_talks(self, serving: Serving) -> None:
        """The pair has its turn however many handshakes are under way: at most so many are computed in between."""
        async with serving(tls_handshakes=4) as daemon:
            alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "tls")
            crowd = [await daemon.connect("lines", url=daemon.tls_url) for _ in range(100)]
            hellos = [Handshake(V12).says() for _ in crowd]
            for client, hello in zip(crowd, hellos, strict=True):
                sends_at_once(client, hello)
            done = [0]
            for _ in range(8):
                await they_talk(alice, bob)
                done.append(sum(1 for client in crowd if has_come(client)))
            # Each way of a message takes the daemon a few turns: it is not as if all had been answered first.
            assert done[1] <= 30
            assert max(after - before for before, after in itertools.pairwise(done)) <= 40


class Flood:
    """Records of TLS 1.3 that hold nothing for anybody, made by hand: no library sends them by the thousand.

    RFC 8446: section 7.3 has the keys of a sender's secret, section 5.2 the records, section 7.2 what a KeyUpdate does.
    """

    def __init__(self, shaken: Handshake, secret: bytes) -> None:
        name = shaken.tls.cipher()
        assert name is not None
        self._hash = "sha384" if name[0].endswith("384") else "sha256"
        self._cipher = ChaCha20Poly1305 if "CHACHA20" in name[0] else AESGCM
        self._size = 16 if "_128_" in name[0] else 32
        self._begins_with(secret)

    def _begins_with(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._aead = self._cipher(self._expanded(b"key", self._size))
        self._iv = int.from_bytes(self._expanded(b"iv", 12), "big")

    def _expanded(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack(">HB", size, len(label)) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", self._hash)[:size]

    def record(self, kind: int, content: bytes) -> bytes:
        """The next record."""
        plain = content + bytes([kind])
        head = struct.pack(">BHH", 23, 0x0303, len(plain) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return head + self._aead.encrypt(nonce, plain, head)

    def key_update(self) -> bytes:
        """The client's keys are others from now on, and so should the daemon's be."""
        record = self.record(22, bytes([24, 0, 0, 1, 1]))
        self._begins_with(self._expanded(b"traffic upd", len(self._secret)))
        return record

    def nothing(self) -> bytes:
        """Data without data, which no sender needs."""
        return self.record(23, b"")


class TestFloods:
    """Records that hold nothing: each costs OpenSSL more than a message costs us."""

    @staticmethod
    async def begins(daemon: Daemon, tmp_path: Path) -> tuple[Client, Handshake, Flood]:
        """A client that has shaken hands, and what makes its records."""
        context = certificates.client_context()
        context.minimum_version = V13
        keys = tmp_path / "keys"
        context.keylog_filename = str(keys)
        client = await daemon.connect("lines", url=daemon.tls_url)
        shaking = Handshake(context=context)
        await shaking.with_(client)
        context.keylog_filename = None  # type: ignore[assignment]  # which closes the file
        [secret] = re.findall("CLIENT_TRAFFIC_SECRET_0 .* (.*)", keys.read_text())
        return client, shaking, Flood(shaking, bytes.fromhex(secret))

    async def test_row_26_key_updates(self, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Others have their turn, and then the client has to wait as with messages."""
        async with serving(messages_per_second=100, messages_burst=500) as daemon:
            mallory, shaking, flood = await self.begins(daemon, tmp_path)
            await mallory.sends(flood.record(23, b"register mallory\n"))
            alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "tls")
            records = [0]
            round_, recv = Reactor._round, TLSSocket.recv

            def noted_round(self: Reactor, events: list[tuple[int, int]]) -> None:
                records.append(0)
                round_(self, events)

            def noted_recv(self: TLSSocket, size: int, flags: int = 0) -> bytes:
                records[-1] += 1
                return recv(self, size, flags)

            monkeypatch.setattr(Reactor, "_round", noted_round)
            monkeypatch.setattr(TLSSocket, "recv", noted_recv)
            count = 1_000
            await mallory.sends(b"".join(flood.key_update() for _ in range(count)) + flood.record(23, b"ping\n"))
            began = trio.current_time()
            for _ in range(5):
                await they_talk(alice, bob)
            assert trio.current_time() == began
            assert max(records) <= 4  # of two links, each read twice: a thousand take OpenSSL a quarter of a second
            await daemon.until(lambda: daemon.link("mallory").held)
            assert daemon.router.limits_hit["messages_per_second"] > 0
            heard = b""
            while b"pong" not in heard:
                shaking._coming.write(await mallory.sock.recv(65_536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    heard += shaking.tls.read(65_536)
            assert trio.current_time() - began == pytest.approx((count - 500) / 100, abs=1)
            await trio.sleep(1)

    async def test_data_without_data(self, daemon: Daemon, tmp_path: Path) -> None:
        mallory, _, flood = await self.begins(daemon, tmp_path)
        await mallory.sends(flood.record(23, b"register mallory\n"))
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "tls")
        for _ in range(20):
            await mallory.sends(b"".join(flood.nothing() for _ in range(30)) + flood.record(23, b"# \n"))
        await they_talk(alice, bob)

    async def test_before_anything_was_said(self, serving: Serving, tmp_path: Path) -> None:
        """Whoever has only shaken hands has no longer than others, and leaves nothing behind."""
        async with serving(messages_per_second=1, messages_burst=1) as daemon:
            client, _, flood = await self.begins(daemon, tmp_path)
            began = trio.current_time()
            await client.sends(b"".join(flood.key_update() for _ in range(200)))
            assert is_tls(await is_closed(client))
            assert within(trio.current_time() - began, 60)


def has_come(client: Client) -> bool:
    """Whether there is anything to read."""
    return bool(select.select([client.sock._sock], [], [], 0)[0])  # type: ignore[attr-defined]  # now


class TestEndsMeanwhile:
    """While a handshake is under way nothing else is written, and nothing of it is left when the link ends."""

    STAGES = ("first byte", "half a hello", "hello")

    @staticmethod
    async def begins(daemon: Daemon, stage: str, version: ssl.TLSVersion = V13) -> Client:
        """A client that has come so far."""
        client = await daemon.connect("lines", url=daemon.urls[0])
        hello = Handshake(version).says()
        await client.sends({"first byte": hello[:1], "half a hello": hello[:100], "hello": hello}[stage])
        await daemon.settles()
        return client

    @pytest.mark.parametrize("stage", STAGES)
    async def test_the_daemon_stops(self, both: Daemon, stage: str) -> None:
        client = await self.begins(both, stage)
        began = trio.current_time()
        both.is_told_to_stop()
        heard = await is_closed(client)
        assert is_tls(heard)
        assert bool(heard) is (stage == "hello")
        assert trio.current_time() == began
        await both.settles()
        assert len(both.reactor) == 0

    @pytest.mark.parametrize("stage", STAGES)
    @pytest.mark.parametrize("cap", ["max_unregistered", "max_unregistered_per_address"])
    async def test_newer_ones_push_it_out_when_it_had_its_time(self, serving: Serving, stage: str, cap: str) -> None:
        limits = {cap: 2, "tls_handshake_timeout_ms": 60_000}
        async with serving(certificates.listener("tcp://127.0.0.1:0"), **limits) as daemon:
            oldest, older = await self.begins(daemon, stage), await self.begins(daemon, stage)
            newcomer = await daemon.connect("lines")
            assert await newcomer.hears_all() == [error("server-full")]
            await trio.sleep(BEGUN_SECONDS)
            newcomer = await daemon.connect("lines")
            assert is_tls(await is_closed(oldest))
            assert daemon.router.limits_hit[cap] == 2
            assert daemon.router.closed == {"server-full": 2}
            assert len(daemon.reactor) == 2
            await newcomer.registers("alice")
            await daemon.connect("lines")
            await daemon.connect("lines")
            assert is_tls(await is_closed(older))

    @pytest.mark.parametrize("stage", STAGES)
    async def test_its_time_to_register_is_up(self, serving: Serving, stage: str) -> None:
        door = certificates.listener("tcp://127.0.0.1:0")
        async with serving(door, tls_handshake_timeout_ms=100_000) as daemon:
            client = await self.begins(daemon, stage)
            began = trio.current_time()
            assert is_tls(await is_closed(client))
            assert within(trio.current_time() - began, 60)
            assert daemon.router.closed == {"register-timeout": 1}
            await daemon.settles()

    async def test_while_they_wait_for_their_turn(self, serving: Serving) -> None:
        """Handshakes that nobody has begun to compute yet."""
        async with serving(tls_handshakes=1, max_unregistered=30) as daemon:
            crowd = [await daemon.connect("lines", url=daemon.tls_url) for _ in range(30)]
            for client in crowd:
                sends_at_once(client, Handshake(V13).says())
            newer = [await daemon.connect("lines", url=daemon.tls_url) for _ in range(30)]
            await daemon.settles()
            for client in newer:
                await is_closed(client)
            assert daemon.router.closed["server-full"] == 30
            daemon.is_told_to_stop()
            for client in crowd:
                assert is_tls(await is_closed(client))
            await daemon.settles()
            assert len(daemon.reactor) == 0

    async def test_the_daemon_ends_at_once(self, serving: Serving) -> None:
        """At a second signal nobody is waited for."""
        async with serving(certificates.listener("tcp://127.0.0.1:0")) as daemon:
            clients = [await self.begins(daemon, stage) for stage in self.STAGES]
            alice = await daemon.peer("alice", "tls")
            daemon.is_told_to_stop()
            daemon.is_told_to_stop()
            for client in clients:
                assert is_tls(await is_closed(client))
            assert [message["type"] for message in await alice.hears_all()] in (["goingAway"], [])


class TestEnd:
    """Who hears the end can be sure that it was the daemon's."""

    async def test_the_daemons_own_close(self, daemon: Daemon) -> None:
        client = await careful(daemon)
        await client.registers("alice")
        await client.says({"type": "unregister", "ref": "1"})
        assert await client.hears_all() == [{"type": "ok", "ref": "1"}]
        assert not client.cut_off

    async def test_after_an_error(self, daemon: Daemon) -> None:
        client = await careful(daemon)
        await client.sends(bytes(4))
        assert await client.hears_all() == [error("bad-frame")]
        assert not client.cut_off

    @VERSIONS
    async def test_after_an_error_while_more_comes(self, daemon: Daemon, version: ssl.TLSVersion) -> None:
        """What it still sends is read and thrown away: a reset would take the error along."""
        client = await careful(daemon, context=trusting(version))
        await client.sends(bytes(4) + b"x" * 300_000)
        await daemon.settles()
        await client.sends(b"x" * 300_000)
        assert await client.hears_all() == [error("bad-frame")]
        assert not client.cut_off
        client.leaves()
        await daemon.settles()
        assert len(daemon.reactor) == 0

    async def test_when_the_daemon_stops(self, daemon: Daemon) -> None:
        client = await careful(daemon)
        await client.registers("alice")
        daemon.is_told_to_stop()
        assert [message["type"] for message in await client.hears_all()] == ["goingAway"]
        assert not client.cut_off

    @VERSIONS
    async def test_after_a_half_close(self, daemon: Daemon, version: ssl.TLSVersion) -> None:
        client = await careful(daemon, context=trusting(version))
        await client.says({"type": "register", "id": "alice"}, {"type": "ping", "ref": "1"})
        client.finishes()
        answers = await client.hears_all()
        assert [answer["type"] for answer in answers] == ["registered", "pong"]
        assert not client.cut_off
        await daemon.settles()
        assert len(daemon.reactor) == 0

    async def test_after_a_close_notify_without_an_end_of_file(self, daemon: Daemon) -> None:
        client = await careful(daemon)
        await client.says({"type": "ping"})
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.unwrap()
        await Client.sends(client, client._going.read())
        assert await client.hears_all() == [{"type": "pong"}]
        assert not client.cut_off
        await daemon.settles()
        assert len(daemon.reactor) == 0

    async def test_after_an_end_of_file_without_a_close_notify(self, daemon: Daemon) -> None:
        """As `openssl s_client` and people behind it end: what was asked is answered."""
        client = await careful(daemon)
        await client.says({"type": "ping"})
        Client.finishes(client)
        assert await client.hears_all() == [{"type": "pong"}]
        assert not client.cut_off

    async def test_what_is_due_is_sent_before(self, daemon: Daemon) -> None:
        bob = await careful(daemon, receive_buffer=16_384)
        await bob.registers("bob")
        alice = await daemon.peer("alice")
        for number in range(6):
            await alice.says({"type": "message", "to": "bob", "data": [number, "x" * 10_000]})
            await alice.is_served()
        bob.finishes()
        await daemon.settles()
        heard = await bob.hears_all()
        assert [message["data"][0] for message in heard] == list(range(6))
        assert not bob.cut_off
