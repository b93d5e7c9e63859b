"""What systemd makes of the units themselves, whatever the daemon does."""

import grp
import json
import os
import pwd
import re
import stat
import subprocess
from pathlib import Path

from tests.systemd.inside import drop_in, run, shown, systemctl

FILES = [f"/usr/local/lib/systemd/system/{name}" for name in ("sigd.service", "sigd.socket", "sigd-admin.socket")]

MOST_EXPOSED = 1.5


LOOKS = """
import json, os
readable = [os.access(path, os.R_OK) for path in ("/etc/sigd/secret", "/etc/sigd/sigd.toml", "/etc/shadow", "/root")]
print(json.dumps([os.getuid(), *readable, os.access("/etc/sigd", os.W_OK)]))
"""
"""A program that says who it is and what it may."""


def shows_units_without_a_fault() -> None:
    said = run("systemd-analyze", "verify", "--man=no", *FILES)
    assert "sigd" not in said.stdout + said.stderr


def shows_hardening() -> object:
    scores = {}
    for kind in ("as installed", "for DTLS"):
        if kind == "for DTLS":
            with open("/usr/local/share/doc/sigd/sigd-dtls.conf") as text:
                drop_in(text.read())
            assert shown("MemoryDenyWriteExecute") == "no"
        said = run("systemd-analyze", "security", "--no-pager", "sigd.service").stdout
        found = re.search(r"Overall exposure level for sigd.service: ([0-9.]+)", said)
        assert found, said
        scores[kind] = float(found[1])
    assert max(scores.values()) <= MOST_EXPOSED
    return scores


def shows_enable_in_one_command() -> None:
    systemctl("enable", "--now", "sigd.socket")
    for unit in ("sigd.socket", "sigd-admin.socket"):
        assert systemctl("is-enabled", unit) == "enabled"
        assert systemctl("is-active", unit) == "active"
    systemctl("disable", "sigd.socket", "sigd-admin.socket")


def shows_where_it_listens() -> None:
    listening = run("ss", "-Hlntu").stdout
    for protocol in ("tcp", "udp"):
        for address in ("127.0.0.1:7337", "[::1]:7337"):
            assert re.search(rf"^{protocol}\s.*\s{re.escape(address)}\s", listening, re.MULTILINE), listening
    assert len(re.findall(":7337", listening)) == 4
    admin = os.stat("/run/sigd/admin.sock")
    assert (stat.S_IMODE(admin.st_mode), admin.st_uid) == (0o660, 0)
    assert admin.st_gid == grp.getgrnam("sigd").gr_gid
    assert stat.S_IMODE(os.stat("/run/sigd").st_mode) == 0o755


def shows_a_machine_without_ipv6() -> None:
    systemctl("stop", "sigd.socket")
    run("sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1")
    try:
        systemctl("start", "sigd.socket")
        assert "127.0.0.1:7337" in run("ss", "-Hlnt").stdout
    finally:
        run("sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=0")
        run("ip", "address", "replace", "::1/128", "dev", "lo")


def shows_that_the_group_has_no_user() -> None:
    grp.getgrnam("sigd")
    assert "sigd" not in {each.pw_name for each in pwd.getpwall()}


def shows_row_40_what_the_service_may_read() -> None:
    """Started as the service is, but for what it executes."""
    program = Path("/usr/local/lib/looks.py")
    program.write_text(LOOKS)
    drop_in(
        "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nRestartForceExitStatus=\n"
        f"ExecStart=\nExecStart=/usr/bin/python3 {program}\n"
        "StandardOutput=append:/run/seen\n"
    )
    systemctl("start", "sigd.service")
    with open("/run/seen") as text:
        user, secret, config, shadow, home, writes = json.loads(text.read())
    assert user >= 61_184, "the first that systemd makes up"
    assert (secret, config) == (True, True)
    assert (shadow, home, writes) == (False, False, False)


def shows_programs_that_run_from_anywhere() -> None:
    assert run("/usr/local/bin/sigd", "--config", "/etc/sigd/sigd.toml", "--check").stdout == "configuration is valid\n"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    said = subprocess.run(
        ["/usr/local/bin/sigctl", "--version"], env=environment, cwd="/", capture_output=True, check=True
    )
    assert said.stdout.startswith(b"sigctl ")
