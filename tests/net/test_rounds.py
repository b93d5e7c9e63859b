"""How links end, as the log has it: why, for how long they were silent, and what was wrong with a credential."""

import re
from pathlib import Path

import pytest
import trio

from sigd.config import Auth
from sigd.config.auth import HmacEntry
from tests import certificates
from tests.conftest import Serving
from tests.in_process import error
from tests.relay.issued import NORTH, signed

SECONDS = re.compile(r"silent=(\S+) seconds=(\S+)")


@pytest.mark.parametrize("framing", ["prefixed", "lines"])
async def test_a_client_that_goes_was_silent_for_so_long(
    serving: Serving, caplog: pytest.LogCaptureFixture, framing: str
) -> None:
    """The idle time-out of a proxy looks like a client that leaves."""
    caplog.set_level("INFO")
    async with serving() as daemon:
        cam = await daemon.peer("cam", framing, keepaliveMs=300_000)
        await trio.sleep(20)
        await cam.is_served()
        await trio.sleep(60)
        cam.sock.close()
        await trio.sleep(1)
        (line,) = [line for line in caplog.messages if line.startswith("closed")]
        assert line.startswith("closed peer=cam reason=left ")
        found = SECONDS.search(line)
        assert found is not None
        assert [round(float(each)) for each in found.groups()] == [60, 80]
        (ending,) = daemon.router.ended
        assert round(ending.silent) == 60


async def test_an_end_by_the_daemon_says_nothing_of_silence(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving() as daemon:
        cam = await daemon.peer("cam")
        await cam.sends(b"\0\0\0\0")
        assert await cam.hears_all() == [error("bad-frame")]
        (line,) = [line for line in caplog.messages if line.startswith("closed")]
        assert "silent" not in line


async def test_a_refused_credential_is_logged_with_its_fault_once_in_a_while(
    serving: Serving, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """At level debug each of them; and nobody's secret or token."""
    caplog.set_level("DEBUG")
    file = tmp_path / "secret"
    file.write_bytes(NORTH)
    file.chmod(0o600)
    shown = signed("cam:9999999999")
    async with serving(auth=Auth(hmac=(HmacEntry(secret_file=str(file)),))) as daemon:
        for _ in range(3):
            cam = await daemon.connect()
            await cam.says({"type": "register", "id": "cam", **shown})
            assert await cam.hears_all() == [error("auth-failed", reconnect=False)]
    each = [line for line in caplog.messages if line.startswith("credential refused")]
    (warned,) = [line for line in caplog.messages if line.startswith("auth-failed")]
    assert len(each) == 3
    assert "code=auth-failed" in each[0]
    for line in (*each, warned):
        assert " claims=cam cause=other-order why=" in line
        assert f'credential="hmac {file}"' in line
        assert shown["token"] not in line
        assert NORTH.decode() not in line


async def test_links_are_counted_by_transport(serving: Serving, tmp_path: Path) -> None:
    async with serving(certificates.listener("tcp://127.0.0.1:0"), f"unix:{tmp_path}/s") as daemon:
        links = daemon.reactor.links
        assert dict(links) == {"tcp": 0, "tls": 0, "unix": 0, "udp": 0, "dtls": 0}
        peers = [await daemon.peer("a", "tls"), await daemon.peer("b"), await daemon.peer("c", url=daemon.urls[1])]
        await daemon.settles()
        assert dict(links) == {"tcp": 1, "tls": 1, "unix": 1, "udp": 0, "dtls": 0}
        assert len(daemon.reactor) == len(peers)
        for peer in peers:
            peer.leaves()
        await daemon.until(lambda: not len(daemon.reactor))
        assert set(links.values()) == {0}
