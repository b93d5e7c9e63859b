"""systemd's view of sigd's units, and sockets that do not fit a configuration."""

from pathlib import Path

import pytest

from sigd.admin.replies import ListenerEntry, StatusReply
from sigd.config import Config, Listener, parse_listen
from sigd.ctl import units
from sigd.ctl.units import Units, belongs, read, running_findings, socket_findings

SHOWN = """\
ExecStart={ path=/usr/bin/sigd ; argv[]=/usr/bin/sigd --config /etc/sigd/sigd.toml ; ignore_errors=no ; status=0/0 }
StatusText=2 peers, 3 links
NRestarts=1
Id=sigd.service
LoadState=loaded
ActiveState=active
SubState=running
NeedDaemonReload=no

Listen=127.0.0.1:7337 (Stream)
Listen=[::1]:7337 (Datagram)
Listen=/run/sigd/sigd.sock (Stream)
Listen=@abstract (Stream)
Listen=/dev/log (FIFO)
Id=sigd.socket
LoadState=loaded
ActiveState=listening
SubState=running
NeedDaemonReload=yes
"""


def keys(*urls: str) -> frozenset[tuple[bool, str, int, str]]:
    return frozenset(parse_listen(url).socket_key for url in urls)


def found(listen: list[str], sockets: list[str]) -> list[tuple[str, str]]:
    config = Config(listen=tuple(map(Listener, listen)))
    return [
        (each.severity, each.text) for each in socket_findings(config, Units(keys(*sockets), "/etc/sigd/sigd.toml"))
    ]


def test_what_systemctl_shows_is_read() -> None:
    assert read(SHOWN) == Units(
        keys("tcp://127.0.0.1:7337", "udp://[::1]:7337", "unix:/run/sigd/sigd.sock"),
        *("/etc/sigd/sigd.toml", "listening", "active", "running", 1, "2 peers, 3 links", True),
    )
    assert read("Id=sigd.service\nLoadState=not-found\n\nId=sigd.socket\nLoadState=not-found\n") == Units(None, None)


@pytest.mark.parametrize("said", ["", "\n\n\n", "no pairs", "Id=sigd.service\nExecStart={ argv[]=/bin/x ; }"])
def test_what_nobody_shows_is_nothing(said: str) -> None:
    assert read(said) == Units(None, None)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (("active", "running", 7), ""),
        (("inactive", "dead", 0), ""),
        (("activating", "start", 0), ""),
        (("activating", "start", 3), "the service does not start, and is tried again each second: F:1:1: x"),
        (("activating", "auto-restart", 0), "the service does not start, and is tried again each second: F:1:1: x"),
        (("failed", "failed", 0), "the service does not start: F:1:1: x"),
    ],
)
def test_why_nothing_serves(state: tuple[str, str, int], why: str) -> None:
    said = Units(None, None, "listening", *state, "cannot start: F:1:1: x").why_down
    assert said.partition("; see ")[0] == why


def test_an_attempt_that_has_not_failed_yet_may_serve() -> None:
    assert Units(None, None, "listening", "activating", "start", 3).why_down == ""
    for state in (("activating", "auto-restart", 3), ("failed", "failed", 3)):
        assert "its log says why" in Units(None, None, "listening", *state).why_down


def test_sockets_that_fit_are_no_finding() -> None:
    listen = ["tcp://0.0.0.0:7337", "udp://[::1]:7337", "unix:/run/sigd/sigd.sock?mode=0660", "tcp://127.0.0.1:0"]
    assert found(listen, ["tcp://0.0.0.0:7337", "udp://[::1]:7337", "unix:/run/sigd/sigd.sock"]) == []
    assert list(socket_findings(Config(), Units(None, None))) == []


@pytest.mark.parametrize(
    ("listen", "sockets", "severity", "text"),
    [
        (
            *("tcp://0.0.0.0:7337", "tcp://127.0.0.1:7337", "fail"),
            "tcp://0.0.0.0:7337 would be open on 127.0.0.1:7337 alone: sigd.socket opens no other address of it",
        ),
        (
            *("tcp://[::1]:7337", "tcp://[::]:7337", "fail"),
            "tcp://[::1]:7337 cannot be opened: sigd.socket has tcp://[::]:7337",
        ),
        (
            *("tcp://192.0.2.1:7443", "", "warn"),
            "sigd.socket does not have tcp://192.0.2.1:7443: clients are refused while the daemon restarts",
        ),
        (
            *("tcp://192.0.2.1:443", "", "fail"),
            "sigd.socket does not have tcp://192.0.2.1:443: the service may not open it itself",
        ),
        (
            *("unix:/run/x", "", "fail"),
            "sigd.socket does not have unix:/run/x: the service may not open it itself",
        ),
        (
            *("", "udp://127.0.0.1:1", "warn"),
            "sigd.socket has udp://127.0.0.1:1, which is in no [[listen]]: it is served in plain text",
        ),
        (
            *("", "udp://192.0.2.1:1", "fail"),
            "sigd.socket has udp://192.0.2.1:1, which is in no [[listen]]: the daemon may refuse to start",
        ),
    ],
)
def test_sockets_that_do_not_fit(listen: str, sockets: str, severity: str, text: str) -> None:
    other = "tcp://192.0.2.9:7338"  # named by both
    said = found([each for each in (listen, other) if each], [each for each in (sockets, other) if each])
    assert (severity, text) in said
    blocked = text.endswith("tcp://[::]:7337")
    assert len(said) == (2 if blocked else 1), said


def test_files_that_systemd_has_not_read_yet_are_a_finding() -> None:
    (each,) = socket_findings(Config(), Units(None, None, stale=True))
    assert (each.code, each.advice) == ("units-changed", "sudo systemctl daemon-reload")


def test_a_configuration_is_that_of_the_service_whatever_leads_to_it(tmp_path: Path) -> None:
    (real := tmp_path / "sigd.toml").touch()
    (link := tmp_path / "link").symlink_to(real)
    of_it = Units(None, str(real))
    assert belongs(str(link), of_it)
    assert not belongs(str(tmp_path / "other.toml"), of_it)
    assert not belongs(None, of_it)
    assert not belongs(str(real), None)
    assert not belongs(str(real), Units(None, None))


def test_nothing_is_asked_where_there_is_no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "BOOTED", "/nowhere")
    assert units.units() is None


def test_a_daemon_that_has_other_sockets_than_the_unit_is_a_finding() -> None:
    def running(*urls: str) -> StatusReply:
        listeners = [ListenerEntry(url=url, inherited=True) for url in urls] + [ListenerEntry(url="tcp://127.0.0.1:9")]
        return StatusReply(
            version="0", pid=1, state="running", now=0.0, uptime=0.0, configuration="x", listeners=listeners
        )

    unit = Units(keys("tcp://0.0.0.0:7337", "udp://[::1]:7337"), None, "active")
    assert list(running_findings(running("tls://0.0.0.0:7337", "dtls://[::1]:7337"), unit)) == []
    assert list(running_findings(running(), unit)) == [], "it was started without systemd"
    (each,) = running_findings(running("tls://127.0.0.1:7337"), unit)
    assert each.code == "sockets-before"
