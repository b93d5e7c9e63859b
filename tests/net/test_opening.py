"""What a proxy says of a connection before its first message: whose it is, and from whom that is believed."""

import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from sigd.config.auth import Auth, TokenEntry
from sigd.wire.proxy import LONGEST_V1, LONGEST_V2_BODY
from tests import certificates
from tests.conftest import Serving
from tests.in_process import CLIENTS, FRAMINGS, Client, Daemon, PrefixedClient, error, within
from tests.net.handshakes import Handshake, careful, is_closed

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

REAL = "198.51.100.7"


def v1(host: str = REAL, port: int = 5_000) -> bytes:
    """The line that a proxy sends for a client."""
    kind, other = ("TCP6", "2001:db8::9") if ":" in host else ("TCP4", "192.0.2.9")
    return f"PROXY {kind} {host} {other} {port} 7337\r\n".encode()


def v2(host: str = REAL, port: int = 5_000, *, command: int = 0x21, tlvs: bytes = b"") -> bytes:
    """The same in binary."""
    address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    body = address * 2 + struct.pack(">HH", port, 7337) + tlvs
    return SIGNATURE + struct.pack(">BBH", command, 0x21 if ":" in host else 0x11, len(body)) + body


TRUSTED = ("127.0.0.0/8",)

HEADERS = {
    "v1": (v1(), f"{REAL}:5000"),
    "v1 of IPv6": (v1("2001:db8::7"), "[2001:db8::7]:5000"),
    "v2": (v2(), f"{REAL}:5000"),
    "v2 of IPv6": (v2("2001:db8::7"), "[2001:db8::7]:5000"),
    "v2 with TLVs": (v2(tlvs=b"\x02\x00\x07example"), f"{REAL}:5000"),
}


pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


@pytest.fixture
async def proxied(serving: Serving) -> AsyncIterator[Daemon]:
    """A daemon that trusts who connects from here, with plain text and TLS on its first listener."""
    async with serving(certificates.listener("tcp://127.0.0.1:0"), trusted=TRUSTED) as daemon:
        yield daemon


async def comes(
    daemon: Daemon, header: bytes, framing: str = "prefixed", *, url: str | None = None, pieces: int = 0
) -> Client:
    """A client for whom its proxy has sent this, all at once or in pieces of so many bytes."""
    raw = await daemon.connect("lines", url=url or daemon.urls[0])
    for place in range(0, len(header), pieces or len(header) or 1):
        await raw.sends(header[place : place + (pieces or len(header))])
        if pieces:
            await daemon.settles()
    client = CLIENTS[framing](raw.sock)
    await client.opens()
    return client


@pytest.mark.parametrize("framing", FRAMINGS)
class TestTrusted:
    @pytest.mark.parametrize("kind", HEADERS)
    async def test_its_word_is_taken(self, proxied: Daemon, framing: str, kind: str) -> None:
        header, address = HEADERS[kind]
        client = await comes(proxied, header, framing)
        await client.registers("alice")
        assert proxied.link("alice").address == address
        await client.is_served()

    @pytest.mark.parametrize("size", [1, 5, 13])
    @pytest.mark.parametrize("kind", ["v1", "v2 of IPv6"])
    async def test_in_pieces(self, proxied: Daemon, framing: str, kind: str, size: int) -> None:
        header, address = HEADERS[kind]
        client = await comes(proxied, header, framing, pieces=size)
        await client.registers("alice")
        assert proxied.link("alice").address == address

    @pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN x y\r\n", v2(command=0x20)])
    async def test_who_speaks_for_itself(self, proxied: Daemon, framing: str, header: bytes) -> None:
        """A health check of the proxy's, or a client that came to it in some other way."""
        client = await comes(proxied, header, framing)
        await client.registers("alice")
        assert proxied.link("alice").address == f"127.0.0.1:{client.sock.getsockname()[1]}"

    async def test_who_says_nothing_of_the_kind(self, proxied: Daemon, framing: str) -> None:
        """NAT gateways are trusted too, and send no headers."""
        client = await proxied.connect(framing, url=proxied.urls[0])
        await client.registers("alice")
        assert proxied.link("alice").address == f"127.0.0.1:{client.sock.getsockname()[1]}"

    async def test_a_second_header_is_none(self, proxied: Daemon, framing: str) -> None:
        for header in (v1("203.0.113.1"), v2("203.0.113.1")):
            client = await comes(proxied, v1(), framing)
            await client.sends(header)
            # Nothing has said which framing: the answer is a line.
            assert b'"bad-frame"' in await client.hears_bytes()


class TestPieces:
    @pytest.mark.parametrize("kind", ["v1", "v2"])
    async def test_cut_anywhere_with_what_follows(self, proxied: Daemon, kind: str) -> None:
        header, address = HEADERS[kind]
        data = header + PrefixedClient.framed(b'{"type":"register","id":"alice"}')
        for cut in range(1, len(header) + 6):
            client = await proxied.connect()
            await client.sends(data[:cut])
            await proxied.settles()
            await client.sends(data[cut:])
            assert (await client.hears())["id"] == "alice"
            assert proxied.link("alice").address == address
            client.leaves()
            await proxied.settles()

    @pytest.mark.parametrize("kind", ["v1", "v2"])
    async def test_with_a_hello_behind_it(self, proxied: Daemon, kind: str) -> None:
        """In one segment: of the hello nothing is taken away."""
        header, _ = HEADERS[kind]
        for url in (proxied.urls[0], proxied.tls_url):
            client = await proxied.connect("lines", url=url)
            shaking = Handshake()
            await client.sends(header + shaking.says())
            await client.sends(shaking.says(await client.sock.recv(65_536)))
            assert shaking.done
            assert shaking.tls.version() == "TLSv1.3"

    @pytest.mark.parametrize("own", [65_536, 1])
    async def test_lines_that_begin_like_one(self, serving: Serving, own: int) -> None:
        said = [
            (b"P", b"ING\nping\n"),
            (b"PROXY", b"\nping\n"),
            (b"\r\n", b"ping\n"),
            (b"\r\n\r\n", b"\0\r\nQUIX\nping\n"),
            (b"\r\n\r\n\0\r\nQUI", b"\nping\n"),
        ]
        heard: list[list[bytes]] = []
        for trusted in ((), TRUSTED):
            heard.append([])
            async with serving(trusted=trusted, outbox_bytes_own=own) as daemon:
                for pieces in said:
                    client = await daemon.connect("lines")
                    for piece in pieces:
                        await client.sends(piece)
                        await daemon.settles()
                    client.finishes()
                    heard[-1].append(await client.hears_bytes())
        assert heard[0] == heard[1]
        assert all(b"pong" in lines for lines in heard[0])

    @pytest.mark.parametrize("begun", [b"P", b"PROXY TCP4 1.2", b"\r\n", SIGNATURE, v2()[:-1]])
    @pytest.mark.parametrize("end", ["finishes", "leaves", "breaks_off"])
    async def test_who_leaves_in_the_middle(self, proxied: Daemon, begun: bytes, end: str) -> None:
        began = trio.current_time()
        for url in (proxied.urls[0], proxied.tls_url):
            client = await proxied.connect("lines", url=url)
            await client.sends(begun)
            await proxied.settles()
            getattr(client, end)()
            if end == "finishes":
                heard = await is_closed(client)
                assert url == proxied.urls[0] or not heard
            await proxied.settles()
            assert len(proxied.reactor) == 0
        assert trio.current_time() == began


MALFORMED = {
    "no such kind": b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
    "no address": b"PROXY TCP4 example.org 1.2.3.4 1 2\r\n",
    "an address of another kind": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "an address with a leading zero": b"PROXY TCP4 010.0.0.1 1.2.3.4 1 2\r\n",
    "a scope": b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
    "no port": b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
    "too few words": b"PROXY TCP4 1.2.3.4\r\n",
    "an end without CR": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    "longer than allowed": b"PROXY UNKNOWN ".ljust(LONGEST_V1 + 1, b"x"),
    "longer than allowed, with an end": b"PROXY UNKNOWN ".ljust(LONGEST_V1, b"x") + b"\r\n",
    "controls": b"PROXY TCP4 \x1b[31m \x1b[31m 1 2\r\n",
    "another version": SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
    "another command": SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
    "another family": SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
    "too short for its addresses": SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
    "v2 longer than allowed": SIGNATURE + b"\x21\x11" + (LONGEST_V2_BODY + 1).to_bytes(2, "big"),
    "v2 of 64 KiB": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65_535),
}


class TestFaults:
    @pytest.mark.parametrize("kind", MALFORMED)
    async def test_malformed(self, proxied: Daemon, kind: str) -> None:
        client = await proxied.connect("lines")
        await client.sends(MALFORMED[kind])
        heard = await client.hears_all()
        assert heard == [error("bad-frame")]
        assert "PROXY" in heard[0]["message"]
        mute = await proxied.connect("lines", url=proxied.tls_url)
        await mute.sends(MALFORMED[kind])
        assert await is_closed(mute) == b""

    @pytest.mark.parametrize("kind", ["no port", "v2 longer than allowed"])
    async def test_malformed_in_pieces(self, proxied: Daemon, kind: str) -> None:
        client = await proxied.connect("lines")
        for byte in MALFORMED[kind]:
            await client.sends(bytes([byte]))
            await proxied.settles()
        assert await client.hears_all() == [error("bad-frame")]

    @pytest.mark.parametrize("begun", [b"P", v1()[:-1], b"\r\n\r\n\0", v2()[:-1]])
    async def test_slow(self, proxied: Daemon, begun: bytes) -> None:
        """As long as there is to say anything at all; however it trickles."""
        client = await proxied.connect("lines")
        mute = await proxied.connect("lines", url=proxied.tls_url)
        began = trio.current_time()
        for place in range(len(begun)):
            for each in (client, mute):
                await each.sends(begun[place : place + 1])
            await trio.sleep(1)
        assert await client.hears_all() == [error("register-timeout")]
        assert await is_closed(mute) == b""
        assert within(trio.current_time() - began, 60)
        assert proxied.router.limits_hit["register_timeout_lines_ms"] == 2

    @pytest.mark.parametrize("kind", HEADERS)
    async def test_from_others(self, serving: Serving, kind: str) -> None:
        header, _ = HEADERS[kind]
        follows = PrefixedClient.framed(b'{"type":"register","id":"alice"}')
        door = certificates.listener("tcp://127.0.0.1:0")
        async with serving(door, trusted=("127.0.0.1/32",)) as daemon:
            for source in ("127.0.0.2", "127.0.0.1"):
                client = await daemon.connect("lines", url=daemon.urls[0], source=source)
                await client.sends(header + follows)
                if source == "127.0.0.1":
                    assert b'"registered"' in (await client.sock.recv(65_536))
                    continue
                heard = await client.hears_all()
                assert heard == [error("bad-frame")]
                assert "limits.trusted" in heard[0]["message"]
                mute = await daemon.connect("lines", url=daemon.tls_url, source=source)
                await mute.sends(header + follows)
                assert await is_closed(mute) == b""
            assert list(daemon.router.registry.holders) == ["alice"]

    async def test_from_others_inside_tls(self, daemon: Daemon) -> None:
        for header in (v1(), v2()):
            client = await careful(daemon)
            await client.sends(header)
            assert b'"bad-frame"' in await client.hears_bytes()
            assert not client.cut_off


class TestWhoseItIs:
    """Caps and lock-outs are of the address that the proxy has said."""

    async def test_max_per_address(self, serving: Serving) -> None:
        async with serving(certificates.listener("tcp://127.0.0.1:0"), trusted=TRUSTED, max_per_address=2) as daemon:
            for number in range(2):
                await (await comes(daemon, v1())).registers(f"peer-{number}")
            for header in (v1(), v2(f"::ffff:{REAL}"), v2()):
                client = await daemon.connect("lines")
                await client.sends(header)
                assert await client.hears_all() == [error("server-full")]
            mute = await daemon.connect("lines", url=daemon.tls_url)
            await mute.sends(v2())
            assert await is_closed(mute) == b""
            assert daemon.router.limits_hit["max_per_address"] == 4
            for number in range(10):  # others, and the proxy itself
                await (await comes(daemon, v1(f"203.0.113.{number}"))).registers(f"other-{number}")
                await daemon.peer(f"proxy-{number}")

    async def test_ipv6_counts_by_its_64(self, serving: Serving) -> None:
        async with serving(trusted=TRUSTED, max_per_address=2) as daemon:
            for number in range(2):
                await (await comes(daemon, v1(f"2001:db8::{number}"))).registers(f"peer-{number}")
            client = await daemon.connect("lines")
            await client.sends(v1("2001:db8:0:0:ffff::1"))
            assert await client.hears_all() == [error("server-full")]
            await (await comes(daemon, v1("2001:db8:0:1::1"))).registers("other")

    async def test_max_unregistered_per_address(self, serving: Serving) -> None:
        async with serving(trusted=TRUSTED, max_unregistered_per_address=2) as daemon:
            silent = [await daemon.connect() for _ in range(5)]  # whose proxies have said nothing yet
            first, second, latest = [await comes(daemon, v1(), "lines") for _ in range(3)]
            assert await second.hears_all() == [error("server-full")]
            for client in (first, latest, *silent):
                await client.is_served()
            assert daemon.router.limits_hit["max_unregistered_per_address"] == 1

    async def test_lock_out(self, serving: Serving, tmp_path: Path) -> None:
        secret = tmp_path / "token"
        secret.touch(0o600)
        secret.write_text("a-good-long-token\n")
        auth = Auth(token=(TokenEntry(secret_file=str(secret), register=("*",)),))
        async with serving(auth=auth, trusted=TRUSTED) as daemon:
            wrong = {"type": "register", "id": "cam", "token": "wrong"}
            for _ in range(5):
                client = await comes(daemon, v1())
                await client.says(wrong)
                assert await client.hears_all() == [error("auth-failed", reconnect=False)]
            client = await comes(daemon, v2())
            await client.says({**wrong, "token": "a-good-long-token"})
            [locked] = await client.hears_all()
            assert locked == error("auth-failed", retryAfterMs=locked["retryAfterMs"])
            assert 29_000 < locked["retryAfterMs"] <= 30_000
            assert daemon.router.limits_hit["auth_failures_per_minute"] == 1
            for header in (v1("198.51.100.8"), b"PROXY UNKNOWN\r\n"):
                client = await comes(daemon, header)
                await client.registers("cam", token="a-good-long-token")
            await trio.sleep(30)
            client = await comes(daemon, v1())
            await client.registers("cam", token="a-good-long-token")

    async def test_what_the_log_says(self, proxied: Daemon, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        client = await comes(proxied, v1("2001:db8::7", 4_000))
        await client.registers("alice")
        client.leaves()
        await proxied.settles()
        [line] = [line for line in caplog.messages if line.startswith("closed")]
        assert line.startswith("closed peer=alice reason=left address=[2001:db8::7]:4000 ")

    async def test_reload_changes_who_is_believed(self, serving: Serving) -> None:
        async with serving() as daemon:
            before = daemon.reads
            refused = await daemon.connect("lines")
            await refused.sends(v1())
            assert await refused.hears_all() == [error("bad-frame")]
            replace = msgspec.structs.replace
            await daemon.is_told_to_reload(replace(before, limits=replace(before.limits, trusted=TRUSTED)))
            client = await comes(daemon, v1())
            await client.registers("alice")
            assert daemon.link("alice").address == f"{REAL}:5000"
            await daemon.is_told_to_reload(before)
            await client.is_served()
            refused = await daemon.connect("lines")
            await refused.sends(v1())
            assert await refused.hears_all() == [error("bad-frame")]
