"""`sigctl check`: each thing that can be wrong with a machine is staged, found, and comes with what to do."""

import json
import os
from pathlib import Path

import pytest

from sigd.config import digest, load
from sigd.ctl import surroundings
from tests.ctl.conftest import Sigctl
from tests.ctl.findings import GROUP
from tests.ctl.scripted import ScriptedDaemon, golden

FEW = f'[limits]\nmax_connections = 100\n[admin]\ngroup = "{GROUP}"\n'


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the right time, on which no daemon runs."""
    monkeypatch.setattr(surroundings, "is_synchronised", lambda: True)
    monkeypatch.setattr("sigd.ctl.ask.running_daemons", list[int])


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "sigd.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.usefixtures("well")
def test_all_is_well(sigctl: Sigctl, tmp_path: Path):
    path = written(tmp_path, 'listen = ["tcp://127.0.0.1:0"]\n' + FEW)
    said = f"no findings: {path} ({digest(load(path))}); sigd is not running\n"
    assert sigctl("check", "--config", path, "--socket", f"{tmp_path}/none") == (0, said, "")


@pytest.mark.usefixtures("well")
def test_what_a_running_daemon_says_counts_too(daemon: ScriptedDaemon, sigctl: Sigctl, tmp_path: Path):
    path = written(tmp_path, FEW)
    daemon.path.chmod(0o660)
    daemon.says("status", golden("status") | {"configFile": path, "pid": os.getpid()})
    status, out, _ = sigctl("check", "--json")
    document = json.loads(out)
    assert status == 1
    assert document["config"] == path
    assert document["daemon"] == {"pid": os.getpid(), "configuration": "5c1e09ab"}
    assert document["findings"] == golden("status")["findings"]
    assert document["configuration"] == digest(load(path))


def test_a_daemon_that_does_not_answer_is_a_finding(sigctl: Sigctl, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(surroundings, "is_synchronised", lambda: True)
    monkeypatch.setattr("sigd.ctl.ask.running_daemons", lambda: [812])
    path = written(tmp_path, FEW)
    status, out, _ = sigctl("check", "--config", path, "--socket", f"{tmp_path}/none")
    assert status == 1
    assert out.startswith("warn  pid 812 runs but does not listen on")
    assert out.endswith("; sigd does not answer\n")


@pytest.mark.usefixtures("well")
def test_secrets_are_read_as_at_a_start(sigctl: Sigctl, tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    secret = tmp_path / "secret"
    secret.write_text("short\n")
    secret.chmod(0o600)
    text = f'[[auth.hmac]]\nsecret_file = "{secret}"\n[[auth.hmac]]\nsecret_file = "handed"\n{FEW}'
    status, out, _ = sigctl("check", "--json", "--config", written(tmp_path, text), "--socket", f"{tmp_path}/none")
    document = json.loads(out)
    assert status == 2
    assert [fault["where"] for fault in document["faults"]] == [str(secret)]
    assert "is shorter than 16 characters" in document["faults"][0]["what"]
    assert "credential-unseen" in [each["code"] for each in document["findings"]]


@pytest.mark.usefixtures("well")
def test_the_default_file_that_is_not_there(sigctl: Sigctl, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sigd.ctl.check.DEFAULT_CONFIG", f"{tmp_path}/none.toml")
    status, out, _ = sigctl("check", "--socket", f"{tmp_path}/none")
    assert status == 2
    assert out.startswith(f"{tmp_path}/none.toml: no such file: ")
