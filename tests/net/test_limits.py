"""Every limit over sockets: what happens past it, to whom, and that it is counted."""

import json
import math
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from sigd.config import Limits
from sigd.config.auth import Auth, TokenEntry
from sigd.net.rounds import REFUSALS
from tests import certificates
from tests.conftest import Serving
from tests.in_process import (
    FRAMINGS,
    PLAIN,
    UNCAPPED,
    WITH_LENGTH,
    Client,
    Daemon,
    PrefixedClient,
    error,
    need_ipv6,
    text_message,
    within,
)
from tests.net import datagrams
from tests.net.handshakes import BEGUN, Handshake, is_closed, sends_at_once

DEFAULTS = {key: getattr(Limits(), key) for key in UNCAPPED}
"""The limits on single clients and addresses as they are without a configuration."""

FULL = error("server-full")


pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


async def connects(daemon: Daemon, framing: str = "prefixed", **options: Any) -> Client:
    """A client that has said something, so that it is known how it speaks."""
    client = await daemon.connect(framing, **options)
    await client.is_served()
    return client


def crowd_of(daemon: Daemon, many: int, first: bytes, url: str = "") -> list[Client]:
    """So many clients in one moment, before the daemon sees any of them, each having said this."""
    host, _, port = (url or daemon.urls[0]).removeprefix("tcp://").rpartition(":")
    clients: list[Client] = []
    for _ in range(many):
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        sock.send(first)
        clients.append(PrefixedClient(trio.socket.from_stdlib_socket(sock)))
    daemon._clients += clients
    return clients


class TestUnregistered:
    """Silent ones go before those that have begun; those who have registered never notice."""

    @pytest.mark.parametrize("framing", WITH_LENGTH)
    async def test_in_all(self, serving: Serving, framing: str) -> None:
        async with serving(max_unregistered=3) as daemon:
            peers = [await daemon.peer(f"peer-{number}", framing) for number in range(5)]
            silent = await daemon.connect("lines", source="127.0.0.9")
            await daemon.settles()
            begun = [await connects(daemon, framing, source=f"127.0.0.{number}") for number in range(1, 4)]
            assert await silent.hears_all() == [FULL]
            newcomer = await daemon.connect("lines", source="127.0.0.4")
            assert await newcomer.hears_all() == [FULL]
            for client in (*begun, *peers):
                await client.is_served()
            assert daemon.router.limits_hit["max_unregistered"] == 2
            await begun[0].registers("late")
            another = await connects(daemon, framing)  # in the place of the one who has an ID now
            for client in (*begun, another):
                await client.is_served()
            assert daemon.router.limits_hit["max_unregistered"] == 2

    async def test_from_one_address(self, serving: Serving) -> None:
        async with serving(max_unregistered_per_address=2) as daemon:
            peers = [await daemon.peer(f"peer-{number}") for number in range(5)]
            elsewhere = [await connects(daemon, source="127.0.0.2") for _ in range(2)]
            silent = [await daemon.connect("lines") for _ in range(2)]
            await daemon.settles()
            begun = [await connects(daemon) for _ in range(2)]
            for client in (*silent, await daemon.connect("lines")):
                assert await client.hears_all() == [FULL]
            for client in (*begun, *elsewhere, *peers):
                await client.is_served()
            assert daemon.router.limits_hit["max_unregistered_per_address"] == 3

    async def test_by_default_256_from_one_address(self, serving: Serving) -> None:
        async with serving(**DEFAULTS) as daemon:
            silent = [await daemon.connect("lines") for _ in range(250)]
            waiting = [await connects(daemon) for _ in range(6)]
            newcomer = await connects(daemon)
            assert daemon.router.limits_hit["max_unregistered_per_address"] == 1
            for client in (*waiting, newcomer):
                await client.is_served()
            assert len(daemon.router.admission.unregistered) == len(silent) + 6

    async def test_who_is_gone_does_not_count(self, serving: Serving) -> None:
        async with serving(max_unregistered=2) as daemon:
            stays = await connects(daemon)
            for end in ("leaves", "breaks_off", "finishes"):
                client = await connects(daemon)
                getattr(client, end)()
                await daemon.settles()
            await stays.is_served()
            assert not daemon.router.limits_hit["max_unregistered"]


class TestCrowds:
    @pytest.mark.parametrize("doors", [1, 2])
    async def test_who_has_something_to_say_is_heard_first(self, serving: Serving, doors: int) -> None:
        """Sixteen are taken in at once, and read before the next: a crowd does not evict itself."""
        async with serving(*["tcp://127.0.0.1:0"] * doors, max_unregistered_per_address=16) as daemon:
            first = PrefixedClient.framed(b'{"type":"register"}')
            crowd = [client for url in daemon.urls for client in crowd_of(daemon, 60, first, url)]
            for client in crowd:
                assert (await client.hears())["type"] == "registered"
            assert not daemon.router.limits_hit["max_unregistered_per_address"]

    async def test_who_is_silent_makes_room(self, serving: Serving) -> None:
        async with serving(max_unregistered=16) as daemon:
            alice = await daemon.peer("alice")
            crowd = crowd_of(daemon, 100, b"")
            heard = [await client.hears_bytes() for client in crowd[12:96]]
            assert all(json.loads(line) == FULL for line in heard)
            for client in (*crowd[:12], *crowd[96:]):
                await client.is_served()
            await alice.is_served()
            assert daemon.router.limits_hit["max_unregistered"] == 84


class TestPerAddress:
    @pytest.mark.parametrize("framing", WITH_LENGTH)
    async def test_one_too_many_is_told(self, serving: Serving, framing: str) -> None:
        async with serving(certificates.listener("tcp://127.0.0.1:0"), max_per_address=2) as daemon:
            url = daemon.urls[0]
            peers = [await daemon.peer(f"peer-{number}", framing, url=url) for number in range(2)]
            for _ in range(3):
                client = await daemon.connect("lines", url=url)
                assert await client.hears_all() == [FULL]
                client.leaves()
            assert daemon.router.limits_hit["max_per_address"] == 3
            for number in range(2):
                elsewhere = await daemon.connect(framing, url=url, source="127.0.0.2")
                await elsewhere.registers(f"elsewhere-{number}")
            for peer in peers:
                await peer.is_served()
            peers[0].leaves()
            await daemon.settles()
            await daemon.peer("next", framing, url=url)

    async def test_ipv6(self, serving: Serving) -> None:
        need_ipv6()
        async with serving(certificates.listener("tcp://[::1]:0"), max_per_address=2) as daemon:
            for number in range(2):
                await daemon.peer(f"peer-{number}", url=daemon.urls[0])
            assert daemon.link("peer-0").origin.key == "::/64"
            client = await daemon.connect("lines")
            assert await client.hears_all() == [FULL]

    async def test_unix_and_trusted_have_none(self, serving: Serving, tmp_path: Path) -> None:
        caps = {"max_per_address": 1, "max_unregistered_per_address": 1}
        door = certificates.listener("tcp://127.0.0.1:0")
        async with serving(door, f"unix:{tmp_path}/s", trusted=("127.0.0.0/8",), **caps) as daemon:
            for number in range(5):
                for url in daemon.urls:
                    await connects(daemon, url=url)
                    await daemon.peer(f"{url[:4].strip(':')}-{number}", url=url)
            assert not daemon.router.limits_hit

    async def test_a_crowd(self, serving: Serving) -> None:
        """Those above the cap may linger to read why, but not without end: further ones get a line and a close."""
        async with serving(max_per_address=2) as daemon:
            for number in range(2):
                await daemon.peer(f"peer-{number}")
            crowd = [await daemon.connect("lines") for _ in range(REFUSALS + 20)]
            for client in crowd:
                assert await client.hears_all() == [FULL]
            assert len(daemon.reactor) <= 2 + REFUSALS
            assert daemon.router.limits_hit["max_per_address"] == REFUSALS + 20

    async def test_a_crowd_behind_a_proxy(self, serving: Serving) -> None:
        async with serving(trusted=("127.0.0.0/8",), max_per_address=2) as daemon:
            header = b"PROXY TCP4 198.51.100.7 192.0.2.1 5000 7337\r\n"
            peers = []
            for number in range(2):
                client = await daemon.connect("prefixed")
                await client.sends(header)
                await client.registers(f"peer-{number}")
                peers.append(client)
            crowd = [await daemon.connect("lines") for _ in range(REFUSALS + 20)]
            for client in crowd:
                await client.sends(header)
                assert await client.hears_all() == [FULL]
            assert len(daemon.reactor) <= 2 + REFUSALS
            for client in peers:
                await client.is_served()


class TestMaxConnections:
    async def test_all_refusals_are_counted(self, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(max_connections=2) as daemon:
            alice = await daemon.peer("alice")
            await daemon.peer("bob")
            for _ in range(REFUSALS + 20):
                client = await daemon.connect("lines")
                assert await client.hears_all() == [FULL]
            assert daemon.router.limits_hit["max_connections"] == REFUSALS + 20
            await trio.sleep(10)
            client = await daemon.connect("lines")
            assert await client.hears_all() == [FULL]
            lines = [line for line in caplog.messages if line.startswith("server-full")]
            assert [line.rpartition("refused=")[2] for line in lines] == ["1", str(REFUSALS + 20)]
            await alice.is_served()


# -- rates


async def all_leave(daemon: Daemon) -> None:
    """Close every connection: whoever is not read is gone for the daemon when it would be read again."""
    for client in daemon._clients:
        client.breaks_off()
    await trio.sleep(1_000)
    assert len(daemon.reactor) == 0


async def notices_and_answers(client: Client, count: int) -> tuple[list[Any], list[Any]]:
    """The notices that it sends too fast, and the other messages, until there are so many of these."""
    notices: list[Any] = []
    answers: list[Any] = []
    while len(answers) < count:
        message = await client.hears()
        (notices if message.get("code") == "rate-limited" else answers).append(message)
    return notices, answers


class TestRates:
    """Past them a link is not read for a while: nothing is lost, and the order stays."""

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_messages(self, serving: Serving, framing: str) -> None:
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
            began = trio.current_time()
            count = 320
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    alice.says, *({"type": "message", "to": "bob", "data": number} for number in range(count))
                )
                assert [(await bob.hears())["data"] for _ in range(count)] == list(range(count))
            # The one batch that goes beyond the burst is paid for before the next one is read.
            assert trio.current_time() - began == pytest.approx((count - 20 - 32) / 10, abs=4)
            await alice.says({"type": "ping"})
            notices, answers = await notices_and_answers(alice, 1)
            assert answers == [{"type": "pong"}]
            assert len(notices) == math.ceil((count - 20 - 32) / 10 / 10)
            for notice in notices:
                assert 0 < notice["retryAfterMs"] <= 5_300
                assert notice == error("rate-limited", retryAfterMs=notice["retryAfterMs"])
            assert daemon.router.limits_hit["messages_per_second"] > len(notices)
            assert not daemon.router.limits_hit["bytes_per_second"]
            await all_leave(daemon)

    async def test_bytes(self, serving: Serving) -> None:
        async with serving(bytes_per_second=10_000, bytes_burst=65_540) as daemon:
            alice, bob = await daemon.peer("alice"), await daemon.peer("bob", keepaliveMs=300_000)
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    alice.says,
                    *({"type": "message", "to": "bob", "data": [number, "x" * 9_950]} for number in range(40)),
                )
                assert [(await bob.hears())["data"][0] for _ in range(40)] == list(range(40))
            assert trio.current_time() - began == pytest.approx((40 * 10_000 - 65_540 - 30_000) / 10_000, abs=8)
            assert daemon.router.limits_hit["bytes_per_second"] > 0
            assert not daemon.router.limits_hit["messages_per_second"]
            await all_leave(daemon)

    async def test_who_stays_below_hears_nothing_of_them(self, serving: Serving) -> None:
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            alice = await daemon.peer("alice")
            for _ in range(5):
                await alice.says(*[{"type": "ping"}] * 19)
                for _ in range(19):
                    assert await alice.hears() == {"type": "pong"}
                await trio.sleep(2)
            assert not daemon.router.limits_hit

    @pytest.mark.parametrize("framing", WITH_LENGTH)
    async def test_before_register(self, serving: Serving, framing: str) -> None:
        """And it costs those who register with a burst of their own nothing afterwards."""
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            client = await daemon.connect(framing)
            await client.says(*[{"type": "ping"}] * 60)
            notices, _ = await notices_and_answers(client, 60)
            assert len(notices) == 1
            await client.says({"type": "register", "id": "alice"}, *[{"type": "ping"}] * 18)
            notices, _ = await notices_and_answers(client, 19)
            assert notices == []
            assert daemon.router.limits_hit["messages_per_second"] >= 1
            await all_leave(daemon)

    @pytest.mark.parametrize("framing", WITH_LENGTH)
    async def test_what_was_sent_before_the_end_of_file_is_acted_on(self, serving: Serving, framing: str) -> None:
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob")
            await alice.says(*({"type": "message", "to": "bob", "data": number} for number in range(100)))
            alice.finishes()
            assert [(await bob.hears())["data"] for _ in range(100)] == list(range(100))
            assert {message["code"] for message in await alice.hears_all()} == {"rate-limited"}

    async def test_others_notice_nothing(self, serving: Serving) -> None:
        async with serving(messages_per_second=10, messages_burst=20) as daemon:
            mallory, alice = await daemon.peer("mallory"), await daemon.peer("alice")
            bob = await daemon.peer("bob")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mallory.says, *[{"type": "ping"}] * 200)
                for number in range(10):
                    began = trio.current_time()
                    await alice.says({"type": "message", "to": "bob", "data": number})
                    assert (await bob.hears())["data"] == number
                    assert trio.current_time() == began
                    await bob.says({"type": "message", "to": "mallory", "data": number})  # what is due to it is sent
                    await trio.sleep(0.3)
                await notices_and_answers(mallory, 210)
            await all_leave(daemon)

    async def test_a_pause_is_not_silence(self, serving: Serving) -> None:
        """Who has to wait for longer than its keepalive is neither pinged nor closed meanwhile."""
        async with serving(messages_per_second=1, messages_burst=1) as daemon:
            alice = await daemon.peer("alice", keepaliveMs=5_000)
            await alice.says(*[{"type": "ping", "ref": f"{number}"} for number in range(60)])
            _, answers = await notices_and_answers(alice, 60)
            assert [answer.get("ref") for answer in answers] == [f"{number}" for number in range(60)]
            await all_leave(daemon)

    async def test_who_leaves_during_a_pause(self, serving: Serving) -> None:
        async with serving(messages_per_second=1, messages_burst=1) as daemon:
            for end in ("leaves", "breaks_off"):
                alice = await daemon.peer("alice")
                await alice.says(*[{"type": "ping"}] * 40)
                await daemon.settles()
                getattr(alice, end)()
                await trio.sleep(100)
                assert len(daemon.reactor) == 0

    @pytest.mark.parametrize("framing", PLAIN)
    async def test_a_register_deadline_comes_all_the_same(self, serving: Serving, framing: str) -> None:
        async with serving(messages_per_second=1, messages_burst=1) as daemon:
            client = await daemon.connect(framing)
            began = trio.current_time()
            await client.says(*[{"type": "ping"}] * 3_000)
            assert (await client.hears_all())[-1] == error("register-timeout")
            assert within(trio.current_time() - began, 60 if framing == "lines" else 10)

    @pytest.mark.parametrize("framing", WITH_LENGTH)
    async def test_none(self, serving: Serving, framing: str) -> None:
        async with serving(messages_per_second=0, bytes_per_second=0) as daemon:
            alice = await daemon.peer("alice", framing)
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.says, *[{"type": "ping", "x": "x" * 1_000}] * 2_000)
                for _ in range(2_000):
                    assert await alice.hears() == {"type": "pong"}
            assert trio.current_time() == began

    async def test_a_credential_with_rates_of_its_own(self, serving: Serving, tmp_path: Path) -> None:
        secret = tmp_path / "token"
        secret.touch(0o600)
        secret.write_text("a-good-long-token\n")
        entry = TokenEntry(secret_file=str(secret), register=("*",), messages_per_second=1_000, messages_burst=1_000)
        async with serving(auth=Auth(token=(entry,)), messages_per_second=10, messages_burst=2) as daemon:
            gateway = await daemon.connect()
            await gateway.registers("gateway", token="a-good-long-token")
            await gateway.says(*[{"type": "ping"}] * 900)
            began = trio.current_time()
            notices, _ = await notices_and_answers(gateway, 900)
            assert notices == []
            assert trio.current_time() == began
            stranger = await daemon.connect()
            await stranger.says(*[{"type": "ping"}] * 40)
            notices, _ = await notices_and_answers(stranger, 40)
            assert len(notices) >= 1
            await all_leave(daemon)

    async def test_a_reload_changes_them_for_those_who_are_here(self, serving: Serving) -> None:
        async with serving(messages_per_second=1, messages_burst=1) as daemon:
            alice = await daemon.peer("alice")
            await alice.says(*[{"type": "ping"}] * 500)
            await daemon.settles()
            before = daemon.reads
            limits = msgspec.structs.replace(before.limits, messages_per_second=1_000, messages_burst=1_000)
            await daemon.is_told_to_reload(msgspec.structs.replace(before, limits=limits))
            began = trio.current_time()
            await notices_and_answers(alice, 500)
            assert trio.current_time() - began < 60  # what it has sent before is paid for at the old rate, no more
            await all_leave(daemon)


# -- the table: each limit is hit once, answered, and counted under its own name

Scenario = Callable[[Daemon], Awaitable[None]]

SCENARIOS: dict[str, tuple[dict[str, Any], Scenario]] = {}

WITHOUT = {"messages_burst", "bytes_burst", "trusted", "drain_ms", "dtls_sessions", "dtls_handshakes"}
"""Those that nobody is past, for they say how another one is meant, and those of DTLS: see test_dtls.py."""


def past(key: str, **limits: Any) -> Callable[[Scenario], Scenario]:
    """Add what takes a daemon with these limits past one of them."""

    def add(scenario: Scenario) -> Scenario:
        SCENARIOS[key] = (limits, scenario)
        return scenario

    return add


@past("max_connections", max_connections=1)
async def _(daemon: Daemon) -> None:
    await daemon.peer("alice")
    assert await (await daemon.connect("lines")).hears_all() == [FULL]


@past("max_unregistered", max_unregistered=1)
async def _(daemon: Daemon) -> None:
    first = await connects(daemon, "prefixed")
    assert await (await daemon.connect("lines")).hears_all() == [FULL]
    await first.is_served()


@past("max_unregistered_per_address", max_unregistered_per_address=1)
async def _(daemon: Daemon) -> None:
    first = await connects(daemon, "prefixed")
    await connects(daemon, "prefixed", source="127.0.0.2")
    assert await (await daemon.connect("lines")).hears_all() == [FULL]
    await first.is_served()


@past("max_per_address", max_per_address=1)
async def _(daemon: Daemon) -> None:
    await daemon.peer("alice")
    assert await (await daemon.connect("lines")).hears_all() == [FULL]


@past("tls_handshakes", tls_handshakes=1)
async def _(daemon: Daemon) -> None:
    crowd = [await daemon.connect("lines", url=daemon.tls_url) for _ in range(2)]
    for client in crowd:
        sends_at_once(client, Handshake().says())
    for client in crowd:
        assert await client.sock.recv(65_536)


@past("tls_handshake_timeout_ms")
async def _(daemon: Daemon) -> None:
    client = await daemon.connect("lines", url=daemon.tls_url)
    began = trio.current_time()
    await client.sends(BEGUN)
    assert await is_closed(client) == b""
    assert within(trio.current_time() - began, 5)


@past("register_timeout_ms")
async def _(daemon: Daemon) -> None:
    client = await connects(daemon, "prefixed")
    began = trio.current_time()
    assert await client.hears_all() == [error("register-timeout")]
    assert within(trio.current_time() - began, 10)


@past("register_timeout_lines_ms")
async def _(daemon: Daemon) -> None:
    client = await connects(daemon, "lines")
    began = trio.current_time()
    assert await client.hears_all() == [error("register-timeout")]
    assert within(trio.current_time() - began, 60)


@past("frame_timeout_ms")
async def _(daemon: Daemon) -> None:
    client = await daemon.peer("alice")
    began = trio.current_time()
    await client.sends(b"\0")
    assert await client.hears_all() == [error("bad-frame")]
    assert within(trio.current_time() - began, 10)


@past("max_frame_unregistered")
async def _(daemon: Daemon) -> None:
    client = await daemon.connect()
    await client.sends((4_097).to_bytes(4, "big"))
    assert await client.hears_all() == [error("bad-frame")]


@past("max_frame")
async def _(daemon: Daemon) -> None:
    client = await daemon.peer("alice", "lines")
    await client.sends(b"x" * 65_537 + b"\n")
    assert await client.hears() == error("too-large")
    await client.is_served()


@past("max_depth")
async def _(daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    await alice.says(b'{"type":"message","to":"alice","data":' + b"[" * 17 + b"]" * 17 + b"}")
    assert await alice.hears() == error("bad-message")


async def does_not_read(daemon: Daemon) -> Client:
    """Bob, who is sent to until he is busy."""
    bob = await daemon.connect(receive_buffer=4_096)
    await bob.registers("bob", keepaliveMs=300_000)
    return bob


async def fills(sender: Client) -> int:
    """Send to bob until he is busy; how many messages he was not too busy for."""
    for count in range(100):
        await sender.says({"type": "message", "to": "bob", "data": "x" * 16_000, "ref": "1"})
        answer = await sender.hears()
        if answer["type"] == "error":
            assert answer == error("peer-busy", to="bob", ref="1")
            return count
    raise AssertionError("an outbox without bounds")


@past("outbox_bytes_per_sender", outbox_bytes=262_144)
async def _(daemon: Daemon) -> None:
    await does_not_read(daemon)
    await fills(await daemon.peer("alice"))


@past("outbox_bytes", outbox_bytes=100_000)
async def _(daemon: Daemon) -> None:
    await does_not_read(daemon)
    alice = await daemon.peer("alice")
    while daemon.link("bob").queued < 45_000:
        await alice.says({"type": "message", "to": "bob", "data": "x" * 16_000, "ref": "1"})
        assert await alice.hears() == {"type": "ok", "ref": "1"}
    await fills(await daemon.peer("carol"))


@past("buffer_bytes_total", buffer_bytes_total=100_000, outbox_bytes=131_072, outbox_bytes_per_sender=131_072)
async def _(daemon: Daemon) -> None:
    await does_not_read(daemon)
    await fills(await daemon.peer("alice"))


@past("outbox_bytes_own")
async def _(daemon: Daemon) -> None:
    bob = await does_not_read(daemon)
    await bob.says(*[{"type": "ping", "ref": "x" * 64}] * 8_000)
    await daemon.until(lambda: daemon.link("bob").held)
    await daemon.settles()


@past("stall_timeout_ms", linger_ms=100_000)
async def _(daemon: Daemon) -> None:
    await does_not_read(daemon)
    alice = await daemon.peer("alice", "lines")
    while daemon.link("bob").queued < 30_000:
        await alice.says({"type": "message", "to": "bob", "data": "x" * 16_000, "ref": "1"})
        assert await alice.hears() == {"type": "ok", "ref": "1"}
    began = trio.current_time()
    assert await alice.hears() == error("peer-unavailable", to="bob")
    assert within(trio.current_time() - began, 10)


@past("messages_per_second", messages_per_second=10, messages_burst=1)
async def _(daemon: Daemon) -> None:
    client = await daemon.connect()
    await client.says({"type": "ping"}, {"type": "ping"})
    assert await client.hears() == {"type": "pong"}
    assert await client.hears() == {"type": "pong"}
    assert await client.hears() == error("rate-limited", retryAfterMs=100)


@past("bytes_per_second", bytes_per_second=1_000, bytes_burst=65_540)
async def _(daemon: Daemon) -> None:
    alice = await daemon.peer("alice", "lines")
    bob = await daemon.peer("bob")
    await alice.says(text_message(65_536), {"type": "message", "to": "bob", "data": "x" * 1_000})
    for _ in range(2):
        assert (await bob.hears())["from"] == "alice"
    assert (await alice.hears())["code"] == "rate-limited"


@past("auth_failures_per_minute")
async def _(daemon: Daemon) -> None:
    for number in range(6):
        client = await daemon.connect()
        await client.says({"type": "register", "id": "alice", "token": "wrong"})
        [answer] = await client.hears_all()
        assert answer["code"] == "auth-failed"
        assert ("retryAfterMs" in answer) is (number == 5)
        assert ("reconnect" in answer) is (number < 5)


@past("takeovers_per_minute", takeovers_per_minute=5)
async def _(daemon: Daemon) -> None:
    for _ in range(6):
        client = await daemon.connect()
        await client.says({"type": "register", "id": "alice", "token": TOKEN})
        answer = await client.hears()
        assert answer["type"] == "registered"
    client = await daemon.connect()
    await client.says({"type": "register", "id": "alice", "token": TOKEN})
    answer = await client.hears()
    assert answer == error("id-taken", retryAfterMs=answer["retryAfterMs"])


@past("misses_per_minute", misses_per_minute=2)
async def _(daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    for number in range(3):
        await alice.says({"type": "bye", "to": "nobody"})
        answer = await alice.hears()
        assert answer["code"] == ("peer-unavailable" if number < 2 else "rate-limited")


@past("keepalive_ms")
async def _(daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    began = trio.current_time()
    assert await alice.hears() == {"type": "ping"}
    assert within(trio.current_time() - began, 30)
    assert await alice.hears_all() == [error("idle-timeout")]
    assert within(trio.current_time() - began, 75)


@past("linger_ms")
async def _(daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    await alice.says({"type": "unregister"})
    await alice.hears_close()
    await trio.sleep(6)
    assert len(daemon.reactor) == 0


@past("udp_links", udp_links=1)
async def _(daemon: Daemon) -> None:
    await daemon.peer("alice", "udp")
    client = await daemon.connect("udp")
    await client.says({"type": "register", "id": "bob"})
    assert (await client.hears())["code"] == "server-full"


@past("udp_links_per_address", udp_links_per_address=1)
async def _(daemon: Daemon) -> None:
    await daemon.peer("alice", "udp")
    elsewhere = await daemon.connect("udp", source="127.0.0.2")
    await elsewhere.registers("carol")
    client = await daemon.connect("udp")
    await client.says({"type": "register", "id": "bob"})
    assert (await client.hears())["code"] == "server-full"


@past("udp_reassembly_bytes", udp_reassembly_bytes=16_000)
async def _(daemon: Daemon) -> None:
    with datagrams.ByHand(daemon.udp_url) as hand:
        cids = [await hand.registers(id=f"peer-{number}") for number in range(2)]
        slices = [datagrams.data(cid, 1, 1, b"x" * 1_000, part="0/16") for cid in cids]
        assert await hand.asks(*slices) == [b"A %b 1 0" % cids[0]]
        assert await hand.asks(*[b"X " + cid for cid in cids]) == []


@past("udp_unproven_per_second", udp_unproven_per_second=1)
async def _(daemon: Daemon) -> None:
    with datagrams.ByHand(daemon.udp_url) as hand:
        assert len(await hand.asks(datagrams.register(), datagrams.register())) == 1


@past("udp_unproven_per_second_per_address", udp_unproven_per_second_per_address=1)
async def _(daemon: Daemon) -> None:
    with datagrams.ByHand(daemon.udp_url) as hand, datagrams.ByHand(daemon.udp_url, "127.0.0.2") as elsewhere:
        assert len(await hand.asks(datagrams.register(), datagrams.register())) == 1
        assert len(await elsewhere.asks(datagrams.register())) == 1


@past("udp_registers_per_second_per_address", udp_registers_per_second_per_address=1)
async def _(daemon: Daemon) -> None:
    with datagrams.ByHand(daemon.udp_url) as hand:
        shown = [await hand.shows(id=f"peer-{number}") for number in range(2)]
        [answer] = await hand.asks(*shown)
        assert await hand.asks(b"X " + json.loads(answer)["cid"].encode()) == []


TOKEN = "a-good-long-token"


@pytest.mark.parametrize("key", [field.name for field in msgspec.structs.fields(Limits) if field.name not in WITHOUT])
async def test_past(serving: Serving, tmp_path: Path, key: str) -> None:
    limits, scenario = SCENARIOS[key]
    auth = None
    if key in {"auth_failures_per_minute", "takeovers_per_minute"}:
        secret = tmp_path / "token"
        secret.touch(0o600)
        secret.write_text(f"{TOKEN}\n")
        auth = Auth(token=(TokenEntry(secret_file=str(secret), register=("*",)),))
    async with serving(auth=auth, **limits) as daemon:
        await scenario(daemon)
        assert daemon.router.limits_hit == {key: 1}
        await all_leave(daemon)
