"""The answer to `status`."""

from pathlib import Path

import pytest
import trio

from tests.conftest import Serving
from tests.control.asking import Asking, asking
from tests.in_process import Daemon, error, within

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")


OFFER = {"type": "offer", "to": "bob", "sdp": "v=0\r\n", "session": "k3"}


async def test_status_counts(desk: Asking, daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    await daemon.peer("bob", "lines")
    await daemon.peer("carol", "tls")
    await daemon.connect()
    await alice.says(OFFER, OFFER, {"type": "bye", "to": "nobody"})
    assert await alice.hears() == error("peer-unavailable", to="nobody")
    await trio.sleep(20)
    status = await desk.asks("status")
    assert (status["type"], status["schema"], status["state"]) == ("status", 1, "running")
    assert status["links"] == {"tcp": 3, "tls": 1, "lines": 1}
    assert (status["peers"], status["unregistered"], status["maxConnections"]) == (3, 1, 500)
    assert (status["relayed"], status["messages"]) == (2, {"register": 3, "offer": 2, "bye": 1})
    assert status["errors"] == {"peer-unavailable": 1}
    assert status["configuration"] == "5c1e0a11"
    assert [entry["url"] for entry in status["listeners"]] == daemon.server.urls
    assert [entry.get("certificateExpires", 0) > 3e10 for entry in status["listeners"]] == [False, False, True]
    assert within(status["uptime"], 20)
    assert status["rssBytes"] > 1_000_000
    assert 5 < status["descriptors"] < status["maxDescriptors"]
    assert 0 < status["recordBytes"] < 20_000
    assert status["relay"]["count"] == 2
    assert status["bytesReceived"] > 100
    assert status["bytesSent"] > 100
    assert status["findings"] == []


async def test_the_rate_is_that_of_the_last_ten_seconds(desk: Asking, daemon: Daemon) -> None:
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    for _ in range(30):
        await alice.says(OFFER)
        await bob.hears()
        await trio.sleep(0.5)
    assert 1.7 < (await desk.asks("status"))["relayedPerSecond"] < 2.3
    await trio.sleep(12)
    assert (await desk.asks("status"))["relayedPerSecond"] == 0


async def test_a_certificate_is_that_which_clients_are_shown(desk: Asking, daemon: Daemon) -> None:
    """And it is asked for once, not at every question."""
    desk.server.inherited.add(daemon.server.doors[0].sock.fileno())
    before = (await desk.asks("status"))["listeners"]
    assert [entry.get("inherited", False) for entry in before] == [True, False, False]
    assert (await desk.asks("status"))["listeners"] == before


async def test_what_is_on_disk_is_compared_every_now_and_then(desk: Asking) -> None:
    desk.server.changes = ["limits.max_frame 65536 -> 131072"]
    for _ in range(5):
        (finding,) = (await desk.asks("status"))["findings"]
        assert finding["code"] == "configuration-differs"
        assert "limits.max_frame 65536 -> 131072" in finding["text"]
    assert desk.server.looks == 1
    desk.server.fault = "unknown key"
    await trio.sleep(11)
    (finding,) = (await desk.asks("status"))["findings"]
    assert (finding["code"], finding["severity"]) == ("configuration-broken", "fail")
    assert "F:1:1: unknown key" in finding["text"]
    assert desk.server.looks == 2
    desk.server.is_gone = True
    await trio.sleep(11)
    (finding,) = (await desk.asks("status"))["findings"]
    assert "No such file" in finding["text"]


async def test_a_limit_is_a_finding_for_a_minute(serving: Serving, tmp_path: Path) -> None:
    async with serving(messages_per_second=1, messages_burst=2) as daemon, asking(daemon, tmp_path) as desk:
        alice = await daemon.peer("alice")
        await alice.says(*[{"type": "ping"}] * 5)
        await daemon.settles()
        (finding,) = (await desk.asks("status"))["findings"]
        assert finding["code"] == "limit-hit"
        assert "limits.messages_per_second" in finding["text"]
        await trio.sleep(62)
        assert (await desk.asks("status"))["findings"] == []
