"""The clocks of a running daemon: credentials after a step of the wall clock, links after a sleep."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import Raw

from sigd.client.blocking import connect
from sigd.config.auth import Auth, HmacEntry
from sigd.config.ice import Ice
from sigd.net.clock import LOOK_SECONDS
from sigd.server import timekeeping
from sigd.wire.messages import Message, Ping
from tests import daemon as processes
from tests.calls.public import SECRET, token, write_private
from tests.conftest import Serving
from tests.daemon import HANG_SECONDS, running_daemon
from tests.in_process import Daemon, set_wall_clock, unix_time

KEEPALIVE_MS = 5_000
"""The shortest: 2.5 of them end a silent link."""


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A file with a secret."""
    file = tmp_path / "secret"
    write_private(file, SECRET)
    return str(file)


@contextlib.asynccontextmanager
async def watched(serving: Serving, monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[Daemon]:
    """A daemon that compares its clocks, as it does where they are real."""
    monkeypatch.setattr(timekeeping, "elapsed", trio.current_time)
    async with serving(**options) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(timekeeping.watch_clocks, daemon.reactor)
        await daemon.settles()
        yield daemon
        nursery.cancel_scope.cancel()


async def test_new_turn_credentials_are_sent_when_the_clock_is_set(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    ice = Ice(turn_urls=("turn:ice.example.net",), turn_secret_file=secret)
    async with watched(serving, monkeypatch, ice=ice) as daemon:
        alice = await daemon.connect()
        await alice.registers("alice")
        began = trio.current_time()
        set_wall_clock(40 * 86_400)
        said = await alice.hears()
        assert said["type"] == "iceServers"
        assert trio.current_time() - began <= LOOK_SECONDS + 0.5
        expires = int(said["iceServers"][0]["username"].partition(":")[0])
        assert expires == pytest.approx(unix_time() + 3_600, abs=2)
        assert daemon.router.wall.steps == 1


async def test_links_end_with_their_tokens_when_the_clock_is_set(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    async with watched(serving, monkeypatch, auth=Auth(hmac=(HmacEntry(secret_file=secret),))) as daemon:
        alice, bob = await daemon.connect(), await daemon.connect()
        await alice.registers("alice", **token(f"{int(unix_time()) + 3_600}:alice"))
        await bob.registers("bob", **token(f"{int(unix_time()) + 86_400}:bob"))
        set_wall_clock(7_200)
        assert (await alice.hears())["code"] == "auth-expired"
        await bob.is_served()


async def test_all_are_judged_though_not_at_once(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Others have their turn between some and some, and none is left out."""
    monkeypatch.setattr(timekeeping, "LINKS_AT_ONCE", 2)
    async with watched(serving, monkeypatch, auth=Auth(hmac=(HmacEntry(secret_file=secret),))) as daemon:
        peers = [await daemon.connect() for _ in range(7)]
        for number, peer in enumerate(peers):
            await peer.registers(f"cam{number}", **token(f"{int(unix_time()) + 3_600}:cam*"))
        set_wall_clock(7_200)
        assert [(await peer.hears())["code"] for peer in peers] == ["auth-expired"] * 7


async def test_a_sleep_is_said_and_a_clock_that_stays_is_not(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(serving, monkeypatch) as daemon:
        await trio.sleep(30)
        assert daemon.router.wall.slept == 0
        monkeypatch.setattr(timekeeping, "elapsed", lambda: trio.current_time() + 90)
        await trio.sleep(5)
        assert daemon.router.wall.slept == 90
    said = [record.message for record in caplog.records if "slept" in record.message]
    assert len(said) == 1
    assert "seconds=90.0" in said[0]


class Framed:
    """A client that frames by length, and reads when it is asked to."""

    def __init__(self, port: int, peer: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), HANG_SECONDS)
        self.says({"type": "register", "id": peer, "keepaliveMs": KEEPALIVE_MS})
        assert self.hears()["type"] == "registered"

    def says(self, message: dict[str, Any]) -> None:
        """Send a message."""
        data = json.dumps(message).encode()
        self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def hears(self) -> dict[str, Any]:
        """Wait for the next message."""
        message: dict[str, Any] = json.loads(self._reads(int.from_bytes(self._reads(4), "big")))
        return message

    def hears_but_pings(self) -> dict[str, Any]:
        """Wait for the next message that is no `ping`, and answer those."""
        while (message := self.hears())["type"] == "ping":
            self.says({"type": "pong"})
        return message

    def _reads(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the link has ended"
            data += more
        return data


def stop(daemon: processes.Daemon) -> None:
    """Stop the daemon's process, and return once it has stopped."""
    daemon.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{daemon.process.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)


@pytest.mark.slow
def test_streams_live_on_when_the_daemon_has_slept() -> None:
    """More of them than one round reads, and for longer than silence may last.

    The first half has sent something meanwhile. The others have not, and answer what they are asked.
    """
    with running_daemon("--set", "limits.max_per_address=0") as daemon:
        peers = [Framed(daemon.port, f"cam{number}") for number in range(600)]
        stop(daemon)
        for peer in peers[:300]:
            peer.says({"type": "ping", "ref": "1"})
        time.sleep(2.6 * KEEPALIVE_MS / 1000)
        daemon.process.send_signal(signal.SIGCONT)
        for peer in peers[300:]:
            peer.says({"type": "ping", "ref": "1"})
        for peer in peers:
            assert peer.hears_but_pings() == {"type": "pong", "ref": "1"}
            peer.socket.close()
        assert "seconds=" in daemon.says(" slept ")


@pytest.mark.slow
def test_links_over_udp_live_on_when_the_daemon_has_slept() -> None:
    """Each of them has acknowledged what it was sent, and the daemon reads a part of them in a round."""
    with running_daemon("--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0") as daemon:
        peers = [connect(daemon.urls[1], id=f"cam{number}", reconnect=False) for number in range(100)]
        with connect(daemon.url, id="sender") as sender:
            for peer in peers:
                sender.request(Message(to=peer.id, data=Raw(b"1")))
            stop(daemon)
            for peer in peers:
                assert peer.receive(HANG_SECONDS)  # which is acknowledged, to a daemon that does not read
                peer.receive(0.03)  # acknowledgements wait for 25 ms
            time.sleep(31)  # a datagram may be unacknowledged for 30 s
            daemon.process.send_signal(signal.SIGCONT)
            for peer in peers:
                peer.request(Ping(), within=HANG_SECONDS)
                assert peer.connected
                peer.close()
            assert sender.receive(0) is None  # nothing was perhaps not delivered
