"""What operators do with the service, from its start to its end."""

import functools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from tests.systemd.crowd import Crowd
from tests.systemd.inside import (
    CONFIG,
    configure,
    drop_in,
    has_said,
    journal,
    main_pid,
    make_certificate,
    run,
    shown,
    systemctl,
    until,
)
from tests.systemd.peer import HERE, connected, serves

LISTEN = 'listen = ["tcp://127.0.0.1:7337", "tcp://[::1]:7337", "udp://127.0.0.1:7337", "udp://[::1]:7337"]\n'


def shows_that_the_first_connection_starts_it() -> object:
    assert main_pid() == 0
    began = time.monotonic()
    assert serves()
    took = time.monotonic() - began
    assert systemctl("is-active", "sigd.service") == "active"
    assert serves(("::1", 7337))
    return f"first answer after {took:.2f} s"


def shows_that_the_first_datagram_starts_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"{}", HERE)
        until(lambda: systemctl("show", "-p", "ActiveState", "--value", "sigd.service") == "active", "active")
        sock.settimeout(10)
        sock.sendto(b"P 0123456789abcdef 1", HERE)
        assert sock.recv(100) == b"Z 0123456789abcdef"


def shows_readiness_and_status() -> str:
    """Whoever starts it waits until it is ready, not until it runs."""
    systemctl("start", "sigd.service")
    assert serves()
    assert shown("NotifyAccess") == "main"
    status = shown("StatusText")
    assert status
    return status


def shows_that_no_privilege_is_left() -> None:
    systemctl("start", "sigd.service")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{main_pid()}/status").read_text().splitlines())
    assert set(status["Uid"].split()) != {"0"}
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def _runs_anew(before: int) -> bool:
    return main_pid() not in {0, before} and shown("ActiveState") == "active"


def shows_row_47_a_stuck_daemon_is_restarted() -> object:
    drop_in("[Service]\nWatchdogSec=2\n")
    systemctl("start", "sigd.service")
    stuck, began = main_pid(), time.monotonic()
    time.sleep(3)  # longer than systemd waits for a sign of life
    assert main_pid() == stuck, "it is fed while no findings"
    os.kill(stuck, signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: _runs_anew(stuck), "restarted", 20)
    assert int(shown("NRestarts")) >= 1 or stopped > began
    assert serves()
    return f"restarted after {time.monotonic() - stopped:.1f} s"


def shows_reload() -> None:
    configure(LISTEN + "[limits]\ndrain_ms = 5000\n")
    systemctl("start", "sigd.service")
    pid, began = main_pid(), time.time()
    configure(LISTEN + "[limits]\ndrain_ms = 4000\n")
    systemctl("reload", "sigd.service")
    until(lambda: has_said("drain_ms", began), "it says what has changed")
    until(lambda: shown("ActiveState") == "active", "ready again")
    assert main_pid() == pid
    assert serves()


def shows_row_41_a_bad_reload_changes_nothing() -> None:
    configure(LISTEN + '[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
    systemctl("start", "sigd.service")
    for bad in (
        LISTEN + "[limits]\nno_such_key = 1\n",
        "no toml",
        LISTEN + '[[auth.hmac]]\nsecret_file = "/nowhere"\n',
    ):
        pid, began = main_pid(), time.time()
        configure(bad)
        assert run("systemctl", "reload", "sigd.service", check=False).returncode != 0
        until(functools.partial(has_said, "reload failed", began), "it says that nothing has changed")
        until(lambda: shown("ActiveState") == "active", "ready again")
        assert main_pid() == pid
        assert not serves(), "credentials are asked for as before"


def _credentials(peer_id: str) -> dict[str, str]:
    """What `sigctl token` makes: members of `register`."""
    made = run("/usr/local/bin/sigctl", "token", "--id", peer_id, "--ttl", "1h", "--secret-file", "/etc/sigd/secret")
    found = json.loads(made.stdout)
    assert isinstance(found, dict)
    return found


def _enters(credentials: dict[str, str]) -> bool:
    with connected() as peer:
        return peer.registers("alice", **credentials).get("type") == "registered"


def shows_secrets_renewed_by_a_reload() -> None:
    configure(LISTEN + '[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
    systemctl("start", "sigd.service")
    old = _credentials("alice")
    assert _enters(old)
    secret = Path("/etc/sigd/secret")
    secret.write_text("another-secret-another-secret\n")
    began = time.time()
    systemctl("reload", "sigd.service")
    until(lambda: has_said("reloaded", began), "reloaded")
    assert not _enters(old)
    assert _enters(_credentials("alice"))


def shows_that_a_loaded_credential_is_new_only_after_a_restart() -> None:
    drop_in("[Service]\nLoadCredential=secret:/etc/sigd/secret\n")
    configure(LISTEN + '[[auth.hmac]]\nsecret_file = "secret"\n')
    systemctl("start", "sigd.service")
    old = _credentials("alice")
    Path("/etc/sigd/secret").write_text("another-secret-another-secret\n")
    began = time.time()
    systemctl("reload", "sigd.service")
    until(lambda: has_said("reloaded", began), "reloaded")
    assert _enters(old)
    systemctl("restart", "sigd.service")
    assert not _enters(old)
    assert _enters(_credentials("alice"))


def shows_row_40_that_no_secret_is_told() -> None:
    secret = Path("/etc/sigd/secret").read_text().strip()
    configure('log.level = "debug"\n' + LISTEN + '[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
    systemctl("start", "sigd.service")
    assert _enters(_credentials("alice"))
    assert not _enters(_credentials("alice") | {"token": "wrong"})
    told = Path(f"/proc/{main_pid()}/cmdline").read_text() + json.dumps(journal()) + systemctl("status", "sigd.service")
    assert secret not in told


def shows_row_44_drain() -> object:
    """1 000 peers hear when to come back, and go one by one; the daemon exits in order."""
    configure(LISTEN + "[limits]\ndrain_ms = 2000\ntrusted = ['127.0.0.0/8']\n")
    systemctl("start", "sigd.service")
    crowd = Crowd(pairs=0, idle=1_000)
    try:
        systemctl("stop", "sigd.socket")  # or who comes back would start it again
        began = time.monotonic()
        with subprocess.Popen(["systemctl", "stop", "sigd.service"], text=True) as stop:
            crowd.play(0, stop)
        took = time.monotonic() - began
        crowd.play(0.2)
        said = [json.loads(each) for each in crowd.wrong if each.startswith("{")]
        assert [each["type"] for each in said] == ["goingAway"] * 1_000
        assert crowd.wrong.count("a connection has ended") == 1_000
    finally:
        crowd.close()
    waits = [each["reconnectAfterMs"] for each in said]
    assert 0 <= min(waits) < 500
    assert 1_500 < max(waits) <= 2_000
    assert (shown("Result"), shown("ExecMainStatus")) == ("success", "0")
    assert took < 4.0
    return f"{took:.1f} s"


def shows_row_45_killed_5_times_and_no_connection_refused() -> object:
    drop_in("[Service]\nRestartSec=100ms\n")  # only for the test to take less time
    systemctl("start", "sigd.service")
    refused, answers = [], 0
    over = threading.Event()

    def goes_on() -> None:
        nonlocal answers
        while not over.is_set():
            try:
                answers += serves(peer_id=f"peer-{answers}")
            except ConnectionRefusedError as fault:
                refused.append(fault)
            except (ConnectionError, json.JSONDecodeError):
                pass  # it was killed meanwhile

    asking = threading.Thread(target=goes_on)
    asking.start()
    try:
        for _ in range(5):
            pid = main_pid()
            os.kill(pid, signal.SIGKILL)
            until(functools.partial(_runs_anew, pid), "started again")
            before = answers
            until(functools.partial(lambda before: answers > before, before), "it answers")
    finally:
        over.set()
        asking.join()
    assert not refused
    return f"{answers} answers"


def shows_that_who_waits_is_served_once_the_configuration_is_mended() -> None:
    sound = CONFIG.read_text()
    configure("no toml")
    with connected() as peer:
        peer.says(type="register", id="alice")
        until(lambda: int(shown("NRestarts")) >= 3, "it is tried again")
        assert shown("ActiveState", "sigd.socket") == "active"
        configure(sound)
        assert peer.hears()["type"] == "registered"


def shows_dtls_with_its_drop_in() -> None:
    make_certificate()
    dtls = '[[listen]]\nurl = "dtls://127.0.0.1:7339"\ncertificate = "/etc/sigd/tls.pem"\nkey = "/etc/sigd/tls.key"\n'
    configure('[[listen]]\nurl = "tcp://127.0.0.1:7337"\n' + dtls)
    drop_in(Path("/usr/local/share/doc/sigd/sigd-dtls.conf").read_text())
    systemctl("start", "sigd.service")
    command = ["openssl", "s_client", "-dtls1_2", "-connect", "127.0.0.1:7339", "-brief"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stderr is not None
        said = ""
        while "Verification" not in said and (line := client.stderr.readline()):
            said += line
        client.kill()
    assert "CONNECTION ESTABLISHED" in said, said


WIDER = """
[Socket]
ListenStream=
ListenDatagram=
ListenStream=0.0.0.0:7337
"""
"""A drop-in as an operator writes it by hand (systemctl edit sigd.socket)."""


def shows_row_38_a_wider_socket_that_the_configuration_does_not_know() -> None:
    systemctl("stop", "sigd.socket")
    drop_in(WIDER, "sigd.socket")
    systemctl("start", "sigd.socket")
    began = time.time()
    assert run("systemctl", "start", "sigd.service", check=False).returncode != 0
    assert has_said("tcp://0.0.0.0:7337", began)
    assert CONFIG.read_text()


def shows_journal_fields() -> None:
    configure('log.level = "debug"\n' + LISTEN)
    systemctl("start", "sigd.service")
    with connected() as peer:
        assert peer.registers("cam1")["type"] == "registered"
    until(lambda: journal("-u", "sigd.service", "SIGD_PEER=cam1"), "its end is in the journal, by its ID")


def shows_who_may_use_the_control_socket() -> None:
    systemctl("start", "sigd.service")
    assert run("/usr/local/bin/sigctl", "status", "--json", check=False).returncode in {0, 1}
    run("useradd", "--groups", "sigd", "member")
    run("useradd", "stranger")
    as_user = ("setpriv", "--init-groups", "--reset-env")
    member = run(*as_user, "--reuid=member", "--regid=member", "/usr/local/bin/sigctl", "status", "--json", check=False)
    assert member.returncode in {0, 1}, member.stderr
    stranger = run(*as_user, "--reuid=stranger", "--regid=stranger", "/usr/local/bin/sigctl", "status", check=False)
    assert stranger.returncode not in {0, 1}, stranger.stdout
