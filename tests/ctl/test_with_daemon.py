"""A real daemon is asked everything, by sigctl in a process of its own, as an operator does it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sigd
from tests.daemon import HANG_SECONDS, Daemon, running_daemon
from tests.why.staged import HOST, RELAY, SRFLX, answer, sdp

SECONDS = HANG_SECONDS


class Operator:
    """Somebody with a terminal beside a daemon, to which cam1 and bob are connected."""

    def __init__(self, daemon: Daemon, path: Path) -> None:
        self.daemon = daemon
        self.environment = {
            **os.environ,
            "SIGD_ADMIN": str(path),
            "PYTHONPATH": str(Path(sigd.__file__).parents[1]),
            "COLUMNS": "80",
        }

    def sigctl(self, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "sigd.ctl", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, done.stdout, done.stderr

    def asks(self, *arguments: str) -> dict[str, Any]:
        status, out, err = self.sigctl(*arguments, "--json")
        assert (status, err) == (0, "")
        answer: dict[str, Any] = json.loads(out)
        assert answer["schema"] == 1
        assert answer["type"] == arguments[0]
        return answer


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    path = tmp_path / "admin.sock"
    config = tmp_path / "sigd.toml"
    config.write_text(f'listen = ["tcp://127.0.0.1:0"]\n[admin]\nlisten = "unix:{path}"\n')
    with running_daemon("--config", str(config)) as daemon:
        yield Operator(daemon, path)


class Peer:
    """A peer at netcat."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", daemon.port), SECONDS)
        self.heard = self.sock.makefile()
        self.says(type="register", id=name)
        assert self.hears()["type"] == "registered"

    def says(self, **message: object) -> None:
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def hears(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.heard.readline())
        return message

    def close(self) -> None:
        self.heard.close()
        self.sock.close()


def test_an_operator_at_work(operator: Operator):
    cam1, bob = Peer(operator.daemon, "cam1"), Peer(operator.daemon, "bob")
    cam1.says(type="message", to="bob", data={"secret": 1})
    assert bob.hears()["from"] == "cam1"
    assert operator.asks("status")["peers"] == 2
    assert [peer["id"] for peer in operator.asks("peers", "ca*")["peers"]] == ["cam1"]
    assert operator.asks("show", "cam1")["peer"]["received"] == 2
    assert {peer["id"] for peer in operator.asks("top", "--once", "--interval", "0.1")["peers"]} == {"bob", "cam1"}
    assert operator.asks("why", "cam1", "bob")["rule"]
    reload = operator.asks("reload")
    assert reload["before"] == reload["after"]
    assert operator.asks("kick", "bob", "--reason", "enough")["peer"] == "bob"
    assert bob.hears()["code"] == "kicked"
    assert [link["id"] for link in operator.asks("closed")["closed"]] == ["bob"]
    status, out, err = operator.sigctl("show", "bob", "--json")
    assert (status, json.loads(out)["code"], err.count("\n")) == (1, "no-such-peer", 1)
    for arguments in (["status"], ["peers"], ["show", "cam1"], ["closed"], ["why", "cam1", "bob"]):
        status, out, err = operator.sigctl(*arguments)
        assert (status, err) == (0, "")
        assert "cam1" in out or arguments[0] in {"status", "closed"}
    assert operator.asks("drain")["links"] in {1, 2}  # bob's may still linger
    assert cam1.hears()["type"] in {"goingAway", "error"}
    cam1.close()
    bob.close()
    assert operator.daemon.process.wait(SECONDS) == 0
    assert operator.sigctl("status")[0] == 3


def test_a_tap_sees_what_was_and_what_comes(operator: Operator):
    cam1, bob = Peer(operator.daemon, "cam1"), Peer(operator.daemon, "bob")
    cam1.says(type="message", to="bob", data=1)
    assert bob.hears()["data"] == 1
    command = [sys.executable, "-m", "sigd.ctl", "tap", "--since", "1m", "--full", "--json"]
    with subprocess.Popen(command, env=operator.environment, stdout=subprocess.PIPE, text=True) as tap:
        assert tap.stdout is not None
        assert json.loads(tap.stdout.readline())["body"]["data"] == 1
        bob.says(type="message", to="cam1", data=2)
        told = json.loads(tap.stdout.readline())
        assert (told["from"], told["to"], told["kind"], told["body"]["data"]) == ("bob", "cam1", "message", 2)
        operator.daemon.stop()
        assert tap.stdout.read() == ""
        assert tap.wait(SECONDS) == 0
    cam1.close()
    bob.close()


def test_why_names_the_fault_in_three_staged_failures(operator: Operator):
    cam1, bob = Peer(operator.daemon, "cam1"), Peer(operator.daemon, "bob")

    def call(session: str, *, answered: bool, relayed: bool) -> str:
        """Have cam1 call bob, as their programs do; what `sigctl why` says of it."""
        cam1.says(type="offer", to="bob", session=session, sdp=sdp(origin=1))
        bob.hears()
        if answered:
            bob.says(type="answer", to="cam1", session=session, sdp=answer())
            cam1.hears()
            for sender, receiver, to in ((cam1, bob, "bob"), (bob, cam1, "cam1")):
                for candidate in (HOST, SRFLX, *([RELAY] if relayed else [])):
                    init = {"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0}
                    sender.says(type="candidate", to=to, session=session, candidate=init)
                    receiver.hears()
                sender.says(type="candidate", to=to, session=session, candidate=None)
                receiver.hears()
        status, out, err = operator.sigctl("why", "cam1", "bob", "--session", session)
        assert (status, err) == (0, "")
        return out

    assert "bob never answered" in call("k1", answered=False, relayed=False)
    assert "no relay candidate from" in call("k2", answered=True, relayed=False)
    assert "Signaling was complete: the fault is in ICE or DTLS" in call("k3", answered=True, relayed=True)
    cam1.close()
    bob.close()
