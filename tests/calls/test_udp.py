"""Whole calls whose peers reach the daemon over UDP, through networks that lose what they say."""

import json
import sys
import time
from pathlib import Path

import pytest

from tests.calls.processes import PeerProcess, running
from tests.calls.public import SECRET, token, write_private
from tests.calls.test_calls import aiortc, has_trickled, stop_daemon_then_talk
from tests.daemon import running_daemon

pytestmark = pytest.mark.slow  # processes: more than a few seconds in all

BOTH_WAYS = ("--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0")

CONFIG = """
[[listen]]
url = "udp://127.0.0.1:0"

[[auth.hmac]]
secret_file = "{secret}"
register = ["*"]
"""


def proxy(url: str, *weather: str) -> list[str]:
    return [sys.executable, "-m", "tests.lossy_proxy", url, *weather]


def url_of(process: PeerProcess) -> str:
    process.wait_for("ready")
    return process.said[0]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1)], ids=["udp-udp", "udp-tcp"])
def test_a_call_over_udp(first: int, second: int):
    with running_daemon(*BOTH_WAYS) as daemon:
        bob_command = aiortc("answer", daemon.urls[second], "--id", "bob")
        alice_command = aiortc("offer", daemon.urls[first], "--id", "alice", "--to", "bob")
        with running(bob_command, alice_command) as (bob, alice):
            has_trickled(alice, sent="offer", got="answer")
            has_trickled(bob, sent="answer", got="offer")
            stop_daemon_then_talk(daemon, alice, bob)


def test_two_devices_behind_different_loss_rates_make_a_call(tmp_path: Path):
    """With tokens that never cross the wire; one network loses every twentieth datagram, the other every fifth."""
    write_private(tmp_path / "secret", SECRET)
    config = tmp_path / "sigd.toml"
    config.write_text(CONFIG.format(secret=tmp_path / "secret"))

    def credentials(peer: str) -> str:
        file = tmp_path / f"{peer}.json"
        write_private(file, json.dumps(token(f"{int(time.time()) + 600}:{peer}")).encode())
        return str(file)

    with running_daemon("--config", str(config)) as daemon:
        mild = proxy(daemon.url, "--loss", "0.05", "--delay", "0.02", "--jitter", "0.01", "--seed", "1")
        bad = proxy(daemon.url, "--loss", "0.2", "--repeats", "0.05", "--delay", "0.04", "--jitter", "0.04")
        with running(mild, bad) as (near, far):
            bob_command = aiortc("answer", url_of(near), "--id", "bob", "--credentials", credentials("bob"))
            alice_command = aiortc("offer", url_of(far), "--id", "alice", "--to", "bob")
            with running(bob_command, [*alice_command, "--credentials", credentials("alice")]) as (bob, alice):
                has_trickled(alice, sent="offer", got="answer")
                has_trickled(bob, sent="answer", got="offer")
                stop_daemon_then_talk(daemon, alice, bob)
            for network in (near, far):
                network.end()
                assert int(network.said[-1].split()[-1]) > 0, "it lost nothing"
