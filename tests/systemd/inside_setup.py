"""Operators' changes to sockets and configuration, with `sigctl setup` and without it."""

import json
import os
import shutil
import socket
import ssl
import time
from pathlib import Path

from tests.systemd.inside import CONFIG, configure, drop_in, has_said, main_pid, make_certificate, run, shown, systemctl
from tests.systemd.peer import HERE, connected, serves

NAME = "localhost"

SIGCTL = "/usr/local/bin/sigctl"

PUBLIC = """
[[listen]]
url = "tls://0.0.0.0:7337"
certificate = "/etc/sigd/tls.pem"
key = "/etc/sigd/tls.key"

[[auth.hmac]]
secret_file = "/etc/sigd/secret"
"""


def _check() -> tuple[int, list[dict[str, str]]]:
    done = run(SIGCTL, "check", "--json", check=False)
    return done.returncode, [
        each
        for each in json.loads(done.stdout)["findings"]
        if each["code"] not in {"clock-unsynchronised", "auth-failures"}
    ]


def _speaks_tls(address: tuple[str, int] = HERE, file: str = "/etc/sigd/tls.pem", name: str = NAME) -> bool:
    context = ssl.create_default_context(cafile=file)
    context.check_hostname = False
    with connected(address, context, name) as peer:
        return peer.registers("bob").get("type") == "error"  # it wants a credential


def shows_a_public_configuration_with_the_shipped_sockets() -> None:
    """The trap: systemd has port 7337 of loopback, and the configuration wants that of all addresses."""
    make_certificate()
    configure(PUBLIC)
    refused = run("/usr/local/bin/sigd", "--config", str(CONFIG), "--check", check=False)
    assert refused.returncode == 2
    assert "sudo sigctl setup" in refused.stderr
    began = time.time()
    systemctl("start", "sigd.service")
    assert shown("NRestarts") == "0"
    assert has_said("tls://0.0.0.0:7337 is open on 127.0.0.1:7337 alone", began)
    assert _speaks_tls(), "and not in plain text"
    status, found = _check()
    assert status == 1
    assert any(each["severity"] == "fail" and each["advice"].startswith("sudo sigctl setup") for each in found)
    run(SIGCTL, "setup")
    listening = run("ss", "-Hlntu").stdout
    assert "0.0.0.0:7337" in listening
    assert "127.0.0.1:7337" not in listening
    assert _speaks_tls()
    assert not any(each["code"] == "socket-unit" for each in _check()[1])


def shows_a_status_at_once_where_nothing_starts() -> object:
    configure("no toml")
    run("systemctl", "start", "--no-block", "sigd.service")
    began = time.monotonic()
    done = run(SIGCTL, "status", check=False)
    took = time.monotonic() - began
    assert done.returncode == 3
    assert "the service does not start" in done.stderr
    assert "sigd.toml:1:" in done.stderr, "and why"
    assert took < 8
    return f"{took:.1f} s"


def shows_setup_for_a_name_and_back() -> None:
    shipped = CONFIG.read_text()
    said = run(SIGCTL, "setup", "--tls", NAME, "--udp").stdout
    assert f"tried tls://0.0.0.0:7337 as {NAME}: it answers" in said
    pid = main_pid()
    assert "nothing to do: already set up" in run(SIGCTL, "setup", "--tls", NAME, "--udp").stdout
    assert main_pid() == pid
    (undo,) = (line.partition(": ")[2] for line in said.splitlines() if line.startswith("to undo it: "))
    run("sh", "-ec", undo.replace("sudo ", ""))
    assert CONFIG.read_text() == shipped
    assert serves()
    assert "0.0.0.0:7337" not in run("ss", "-Hlntu").stdout
    for made in (f"{NAME}.pem", f"{NAME}.key"):
        os.unlink(f"/etc/sigd/{made}")


def shows_setup_with_what_certbot_has_and_its_hook() -> None:
    live = Path(f"/etc/letsencrypt/live/{NAME}")
    live.mkdir(parents=True)
    try:
        _renew(live)
        os.chmod("/etc/letsencrypt/live", 0o700)
        run(SIGCTL, "setup", "--tls", NAME, check=False)  # it fails to try it: no authority has signed this one
        copy = f"/etc/sigd/{NAME}.pem"
        assert _speaks_tls(file=copy)
        before = Path(copy).read_text()
        _renew(live)
        hook = "/etc/letsencrypt/renewal-hooks/deploy/sigd"
        run("env", "RENEWED_LINEAGE=/etc/letsencrypt/live/other.example.net", hook)
        assert Path(copy).read_text() == before
        run("env", f"RENEWED_LINEAGE={live}", hook)
        assert Path(copy).read_text() != before
        assert _speaks_tls(file=copy), "reloaded"
    finally:
        shutil.rmtree("/etc/letsencrypt")


def _renew(live: Path) -> None:
    make_certificate()
    os.replace("/etc/sigd/tls.pem", live / "fullchain.pem")
    os.replace("/etc/sigd/tls.key", live / "privkey.pem")


def shows_a_secret_that_root_has_made_and_the_service_may_not_read() -> None:
    make_certificate()
    run("sh", "-ec", "umask 077; rm /etc/sigd/secret; openssl rand -base64 32 > /etc/sigd/secret")
    configure('listen = ["tcp://127.0.0.1:7337"]\n[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
    assert run("systemctl", "start", "sigd.service", check=False).returncode != 0
    _, found = _check()
    (advice,) = (each["advice"] for each in found if each["code"] == "unreadable")
    systemctl("stop", "sigd.service")
    run("sh", "-ec", advice.replace("sudo ", ""))
    systemctl("start", "sigd.service")
    for file in ("/etc/sigd/secret", "/etc/sigd/tls.key"):
        os.chmod(file, 0o600)
    configure(PUBLIC)
    run(SIGCTL, "setup")
    for file in ("/etc/sigd/secret", "/etc/sigd/tls.key"):
        assert os.stat(file).st_mode & 0o777 == 0o640


def shows_sockets_that_no_listener_names() -> None:
    configure('listen = ["tcp://127.0.0.1:7337"]\n')
    systemctl("start", "sigd.service")
    status, found = _check()
    assert status == 1
    texts = " ".join(each["text"] for each in found)
    for url in ("tcp://[::1]:7337", "udp://127.0.0.1:7337", "udp://[::1]:7337"):
        assert url in texts


def shows_a_unit_that_was_changed_under_a_running_daemon() -> None:
    systemctl("start", "sigd.service")
    wide = 'listen = ["tcp://127.0.0.1:7337", "tcp://127.0.0.1:7338"]\n'
    configure(wide)
    drop_in(
        "[Socket]\nListenStream=\nListenDatagram=\nListenStream=127.0.0.1:7337\nListenStream=127.0.0.1:7338\n",
        "sigd.socket",
    )
    assert any(each["code"] == "sockets-before" for each in _check()[1])
    run(SIGCTL, "setup")
    assert serves(("127.0.0.1", 7338))
    assert not any(each["code"] in {"sockets-before", "socket-unit"} for each in _check()[1])
    configure(wide + "[limits]\nmax_depth = 7\n")
    assert "sudo sigctl reload" in run(SIGCTL, "setup").stdout


def shows_a_port_that_somebody_else_has() -> None:
    """Nothing is changed, and what served goes on to serve."""
    systemctl("start", "sigd.service")
    pid, shipped = main_pid(), CONFIG.read_text()
    with socket.create_server(("127.0.0.1", 7443)):
        for command in (["--tls", NAME, "--port", "7443"], ["--tls", NAME, "--port", "7443", "--dry-run"]):
            refused = run(SIGCTL, "setup", *command, check=False)
            assert refused.returncode == 1
            assert f"7443: pid {os.getpid()} (" in refused.stderr
        configure('listen = ["tcp://127.0.0.1:7443"]\n')
        assert run(SIGCTL, "setup", check=False).returncode == 1
    configure(shipped)
    assert main_pid() == pid
    assert serves()
    assert not Path(f"/etc/sigd/{NAME}.pem").exists()


def shows_a_drop_in_of_somebody_else() -> None:
    drop_in("[Socket]\nListenStream=127.0.0.1:7999\n", "sigd.socket")
    os.rename("/etc/systemd/system/sigd.socket.d/0.conf", "/etc/systemd/system/sigd.socket.d/override.conf")
    refused = run(SIGCTL, "setup", check=False)
    assert refused.returncode == 1
    assert "another drop-in of sigd.socket" in refused.stderr
    assert "systemctl revert sigd.socket" in refused.stderr


def shows_a_reload_that_would_end_links() -> None:
    open_to_all = 'listen = ["tcp://127.0.0.1:7337", "tcp://[::1]:7337", "udp://127.0.0.1:7337", "udp://[::1]:7337"]\n'
    configure(open_to_all)
    systemctl("start", "sigd.service")
    with connected() as peer:
        assert peer.registers("cam1")["type"] == "registered"
        configure(open_to_all + '[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
        refused = run(SIGCTL, "reload", check=False)
        assert refused.returncode == 1
        assert "would end 1 link" in refused.stdout
        assert "cam1" in refused.stdout
        peer.says(type="ping")
        assert peer.hears()["type"] == "pong"
        configure(open_to_all.replace("7337", "7338", 1))
        _, found = _check()
        (advice,) = (each["advice"] for each in found if each["code"] == "needs-restart")
        assert advice.startswith("sudo sigctl setup")
        configure(open_to_all + '[[auth.hmac]]\nsecret_file = "/etc/sigd/secret"\n')
        systemctl("reload", "sigd.service")
        assert peer.hears()["code"] == "auth-failed"
