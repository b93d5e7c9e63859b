"""Each thing that can be wrong with the machine is staged, found, and comes with a remedy."""

import datetime
import grp
import os
import resource
import socket
from pathlib import Path

import pytest

from sigd.config import Config, Limits, Listener
from sigd.config.watching import Admin, Metrics
from sigd.ctl import surroundings
from sigd.net import entrance
from tests.ctl.findings import GROUP, codes


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
    assert found.text == "limits.max_connections is 1000, but the file descriptors suffice only for 999"
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
