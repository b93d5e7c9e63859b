"""Whole calls, each peer in a process of its own, through a daemon that is stopped once they are connected."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calls.processes import LIMIT, PeerProcess, running
from tests.calls.public import Public
from tests.daemon import Daemon, running_daemon
from tests.needs import lacks

pytestmark = pytest.mark.slow  # processes, or many inputs: more than a few seconds in all

HERE = Path(__file__).parent
NODE = HERE / "node"

INSTALL_SECONDS = 300
"""For npm: 3 s where a mirror is near, and nobody's network is that slow."""


@pytest.fixture
def daemon():
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def node_datachannel():
    """Skip without node-datachannel; but in CI somebody has to have run these tests."""
    reason = why_no_node_datachannel()
    if reason:
        lacks(reason)


def why_no_node_datachannel() -> str | None:
    """Install it, once per checkout; or say why that cannot be."""
    if not shutil.which("node"):
        return "node is not installed"
    if (NODE / "node_modules" / "node-datachannel").exists():
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts=false"]
    try:
        subprocess.run(command, cwd=NODE, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as fault:
        return f"npm cannot install node-datachannel: {fault.stderr.strip()}"
    except subprocess.TimeoutExpired:
        return f"npm has not installed node-datachannel within {INSTALL_SECONDS} s"
    return None


def aiortc(role: str, url: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.calls.aiortc_peer", role, url, *options]


def stop_daemon_then_talk(daemon: Daemon, alice: PeerProcess, bob: PeerProcess) -> None:
    for peer in (alice, bob):
        peer.wait_for("connected")
    assert daemon.stop(within=LIMIT) == 0
    alice.tell("hello bob")
    bob.wait_for("heard hello bob")
    bob.tell("hello alice")
    alice.wait_for("heard hello alice")
    for peer in (alice, bob):
        peer.end()


def has_trickled(peer: PeerProcess, *, sent: str, got: str) -> None:
    """Wait until it has sent and got a description, then candidates one by one, then their end."""
    for way, description in (("sent", sent), ("got", got)):
        end = f"{way} end-of-candidates"
        peer.wait_for(end)
        steps = [line for line in peer.said if line.startswith(way)]
        assert (steps[0], steps[-1]) == (f"{way} {description}", end)
        assert set(steps[1:-1]) == {f"{way} candidate 127.0.0.1"}


def test_two_aiortc_peers_one_on_frames_and_one_on_lines(daemon: Daemon):
    bob_command = aiortc("answer", daemon.url, "--id", "bob", "--framing", "lines")
    alice_command = aiortc("offer", daemon.url, "--id", "alice", "--to", "bob")
    with running(bob_command, alice_command) as (bob, alice):
        has_trickled(alice, sent="offer", got="answer")
        has_trickled(bob, sent="answer", got="offer")
        stop_daemon_then_talk(daemon, alice, bob)


def test_aiortc_and_libdatachannel(daemon: Daemon, node_datachannel: None):
    node_command = ["node", str(NODE / "peer.js"), str(daemon.port), "node"]
    alice_command = aiortc("offer", daemon.url, "--id", "alice", "--to", "node", "--framing", "lines")
    with running(node_command, alice_command) as (node, alice):
        has_trickled(alice, sent="offer", got="answer")
        has_trickled(node, sent="answer", got="offer")
        stop_daemon_then_talk(daemon, alice, node)


def test_candidates_inside_the_descriptions_and_a_caller_who_is_early(daemon: Daemon):
    """What a program for TcpSocketSignaling does: no trickling, and the offer waits for the other to come."""
    alice_command = aiortc("offer", daemon.url, "--id", "alice", "--to", "bob", "--all-at-once")
    bob_command = aiortc("answer", daemon.url, "--id", "bob", "--all-at-once")
    with running(alice_command) as (alice,):
        alice.wait_for("registered")
        with running(bob_command) as (bob,):
            stop_daemon_then_talk(daemon, alice, bob)
            assert alice.said[:3] == ["registered", "sent offer", "got answer"]
            assert bob.said[:3] == ["registered", "got offer", "sent answer"]


def test_who_hangs_up_says_bye(daemon: Daemon):
    bob_command = aiortc("answer", daemon.url, "--id", "bob")
    alice_command = aiortc("offer", daemon.url, "--id", "alice", "--to", "bob")
    with running(bob_command, alice_command) as (bob, alice):
        for peer in (alice, bob):
            peer.wait_for("connected")
            peer.wait_for("got end-of-candidates")
        alice.end()
        bob.wait_for("got bye")
        bob.end()


def test_a_public_daemon_with_tls_and_tokens(tmp_path: Path):
    """Each peer has a token of its own, which lets it talk to the other and to nobody else."""
    public = Public(tmp_path)
    with running_daemon("--config", str(public.config)) as daemon:
        assert daemon.url.startswith("tls://")
        bob_command = aiortc("answer", daemon.url, *public.options("bob", "alice"))
        alice_command = aiortc("offer", daemon.url, *public.options("alice", "bob"), "--to", "bob")
        with running(bob_command, alice_command) as (bob, alice):
            has_trickled(alice, sent="offer", got="answer")
            has_trickled(bob, sent="answer", got="offer")
            stop_daemon_then_talk(daemon, alice, bob)
        log = "".join(daemon.log)
    for file in ("alice.json", "bob.json"):
        assert json.loads((tmp_path / file).read_bytes())["token"] not in log
