"""`sigctl check`: each thing that can be wrong with a machine is staged, found, and comes with what to do."""

import datetime
import grp
import json
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sigd.config import Config, Limits, Listener, digest, load
from sigd.config.auth import Auth, TokenEntry
from sigd.config.watching import Admin, Metrics
from sigd.ctl import named_files, surroundings
from sigd.ctl.named_files import Reader
from sigd.net import entrance
from tests import certificates
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import ScriptedDaemon, golden

if TYPE_CHECKING:
    from sigd.admin.replies import Finding

DAY = 86_400.0
GROUP = grp.getgrgid(os.getgid()).gr_name
FEW = f'[limits]\nmax_connections = 100\n[admin]\ngroup = "{GROUP}"\n'


def codes(findings: "Iterator[Finding]") -> list[str]:
    found = list(findings)
    assert all(each.text and each.advice for each in found)
    return [each.code for each in found]


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the right time, on which no daemon runs."""
    monkeypatch.setattr(surroundings, "is_synchronised", lambda: True)
    monkeypatch.setattr("sigd.ctl.ask.running_daemons", list[int])


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "sigd.toml"
    path.write_text(text)
    return str(path)


# The command


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


# Around it


@pytest.mark.parametrize(
    ("year", "synchronised", "expected"),
    [
        (2026, True, []),
        (2026, None, []),
        (2026, False, ["clock-unsynchronised"]),
        (1970, True, ["clock-wrong"]),
        (2024, False, ["clock-wrong"]),
        (2105, None, ["clock-wrong"]),
    ],
)
def test_the_clock(monkeypatch, year, synchronised, expected):
    monkeypatch.setattr(surroundings, "is_synchronised", lambda: synchronised)
    now = datetime.datetime(year, 6, 1, tzinfo=datetime.UTC).timestamp()
    assert codes(surroundings.clock_findings(now)) == expected


def test_the_kernel_says_whether_the_clock_is_kept_right(tmp_path: Path, monkeypatch):
    assert surroundings.is_synchronised() in {True, False, None}
    monkeypatch.setattr(surroundings, "_SYNCHRONISED", str(tmp_path))
    assert surroundings.is_synchronised() is True


def test_descriptors():
    config = Config(limits=Limits(max_connections=1_000))
    assert surroundings.RESERVED_DESCRIPTORS == entrance.RESERVED_DESCRIPTORS
    assert codes(surroundings.descriptor_findings(config, 1_064)) == []
    (found,) = surroundings.descriptor_findings(config, 1_063)
    assert found.text == "limits.max_connections is 1000, and descriptors suffice for 999"
    assert found.advice.startswith("LimitNOFILE=1064 in the unit")


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("LoadState=loaded\nLimitNOFILE=16384", 16_384),
        ("LimitNOFILE=16384\nLoadState=not-found", None),
        ("LoadState=loaded\nLimitNOFILE=infinity", None),
        ("", None),
    ],
)
def test_what_systemd_would_give_to_the_service_counts(tmp_path: Path, monkeypatch, said, known):
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat <<END\n{said}\nEND\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = (own if known is None else known) - surroundings.RESERVED_DESCRIPTORS
    assert codes(surroundings.descriptor_findings(Config(limits=Limits(max_connections=most)), None)) == []
    more = Config(limits=Limits(max_connections=most + 1))
    assert codes(surroundings.descriptor_findings(more, None)) == ["fewer-connections"]


def test_what_is_not_installed(monkeypatch):
    config = Config(metrics=Metrics(listen="tcp://127.0.0.1:9337"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "h11" else object())
    (found,) = surroundings.extra_findings(config)
    assert found.text == "metrics.listen is set, and h11 is not installed"
    assert codes(surroundings.extra_findings(Config())) == []


def test_a_daemon_that_the_user_has_started_needs_no_group(tmp_path: Path):
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        os.chmod(path, 0o660)
        assert codes(surroundings.admin_findings(Config(admin=Admin(group="no-such-group")), path)) == []
        os.chmod(path, 0o666)
        assert codes(surroundings.admin_findings(Config(admin=Admin(group="no-such-group")), path)) == ["admin-socket"]


def test_the_admin_socket_of_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = Config(admin=Admin(group=GROUP))
    path = str(tmp_path / "admin.sock")
    monkeypatch.setattr(surroundings, "DEFAULT_SOCKET", path)
    assert codes(surroundings.admin_findings(config, path)) == []
    assert codes(surroundings.admin_findings(Config(admin=Admin(group="no-such-group")), path)) == ["no-group"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        os.chmod(path, 0o666)
        assert codes(surroundings.admin_findings(config, path)) == ["admin-socket"]
        os.chmod(path, 0o660)
        assert codes(surroundings.admin_findings(config, path)) == []
        other = next(entry.gr_name for entry in grp.getgrall() if entry.gr_gid != os.getgid())
        assert codes(surroundings.admin_findings(Config(admin=Admin(group=other)), path)) == ["admin-socket"]
    os.unlink(path)
    Path(path).write_text("")
    assert codes(surroundings.admin_findings(config, path)) == ["admin-socket"]


@pytest.mark.parametrize(("scheme", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_port_that_somebody_else_has(monkeypatch, scheme, kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port = sock.getsockname()[1]
        config = Config(listen=(Listener(f"{scheme}://127.0.0.1:{port}"),))
        (found,) = surroundings.port_findings(config)
        assert found.text.startswith(f"{scheme}://127.0.0.1:{port}: pid {os.getpid()} (")
        monkeypatch.setattr(surroundings, "holder", lambda port, kind: (1, "systemd"))
        assert codes(surroundings.port_findings(config)) == []
        monkeypatch.setattr(surroundings, "holder", lambda port, kind: (None, ""))
        assert codes(surroundings.port_findings(config)) == ["address-in-use"]
    assert codes(surroundings.port_findings(config)) == []


def test_an_address_that_this_machine_does_not_have(tmp_path: Path):
    config = Config(listen=(Listener("tcp://192.0.2.1:7337", plaintext=True), Listener("tcp://127.0.0.1:0")))
    assert codes(surroundings.port_findings(config)) == ["address-missing"]
    path = str(tmp_path / "sigd.sock")
    config = Config(listen=(Listener(f"unix:{path}"),))
    assert codes(surroundings.port_findings(config)) == []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        assert codes(surroundings.port_findings(config)) == ["address-in-use"]


# The files that it names


def test_certificates_that_end():
    chain, _ = certificates.files("localhost", "127.0.0.1")
    (end, *_) = named_files.ends_of(Path(chain).read_bytes())
    config = Config(listen=(certificates.listener("tls://127.0.0.1:0"), certificates.listener("tls://127.0.0.1:0")))
    assert codes(named_files.certificate_findings(config, end - 22 * DAY)) == []
    assert codes(named_files.certificate_findings(config, end - 20.5 * DAY)) == ["certificate-expires"]
    assert codes(named_files.certificate_findings(config, end)) == ["certificate-expired"]
    (found,) = named_files.certificate_findings(config, end - 2.5 * DAY)
    assert f"({chain}) expires in 2 days, on " in found.text


BEGIN = b"-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize("pem", [b"", b"\xff", BEGIN, BEGIN + b"\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate(pem):
    assert list(named_files.ends_of(pem)) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that anybody may enter, as those above it."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        if not named_files.may_read(f"{made}/none", Reader(-1, frozenset())):
            pytest.skip("temporary files are where only their owner gets")
        yield Path(made)


def test_who_may_read_and_change_what(open_folder: Path):
    secret = open_folder / "secret"
    secret.touch()
    config = Config(auth=Auth(token=(TokenEntry(secret_file=str(secret), register=("*",)),)))
    stranger, member = Reader(-1, frozenset([-1])), Reader(-1, frozenset([secret.stat().st_gid]))
    for mode, reader, expected in (
        (0o640, None, []),
        (0o640, member, []),
        (0o600, member, ["unreadable"]),
        (0o640, stranger, ["unreadable"]),
        (0o600, Reader(os.getuid(), frozenset()), []),
        (0o642, member, ["writable"]),
        (0o000, Reader(0, frozenset()), []),
    ):
        secret.chmod(mode)
        assert codes(named_files.permission_findings(config, None, reader)) == expected, oct(mode)
    secret.chmod(0o640)
    open_folder.chmod(0o700)
    assert codes(named_files.permission_findings(config, str(secret), member)) == ["unreadable"]


def test_whom_the_daemon_runs_as():
    reader = named_files.reader_of(os.getpid(), "none")
    assert reader is not None
    assert reader.uid == os.geteuid()
    assert os.getegid() in reader.gids
    assert named_files.reader_of(2**31 - 1, "none") is None
    assert named_files.reader_of(None, "no-such-group") is None
    assert named_files.reader_of(None, GROUP) == Reader(-1, frozenset([os.getgid()]))
