"""docs/how-to/public-server.md as a newcomer types it: by root, on a machine where nothing is installed."""

import json
import re
import ssl
import time
from pathlib import Path

from tests.systemd.inside import run, systemctl
from tests.systemd.peer import connected

FRESH = True

SECONDS = 200
"""For `make install`, which takes some twenty, on a machine that has other things to do."""

HERE = Path(__file__).parents[2]

PAGE = (HERE / "docs/how-to/public-server.md").read_text()

NAME = "sigd.example.net"

ADDRESS = "203.0.113.5"
"""Of the box, as any address of a server: not loopback (RFC 5737)."""


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def _typed(line: str) -> str:
    """Type a line in the clone, as root, who needs no sudo; what it printed."""
    return run("sh", "-ec", f"cd {HERE}/clone; {line.replace('sudo ', '')}", seconds=SECONDS).stdout


def _serves_this_machine_alone() -> None:
    """Enable the socket as it was installed, as the page says for a server on one machine; and disable it again."""
    (line,) = re.findall(r"`(sudo systemctl enable --now sigd\.socket)`", _section("On a server"))
    _typed(line)
    with connected() as peer:
        assert peer.registers("alice")["type"] == "registered"
    assert ":7337" in run("ss", "-Hlntu").stdout
    assert "0.0.0.0:7337" not in run("ss", "-Hlntu").stdout
    run("systemctl", "disable", "--now", "sigd.socket", "sigd.service")


def shows_a_clone_becomes_a_tls_port_on_a_public_address() -> object:
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"{ADDRESS} {NAME}\n")
    began = time.monotonic()
    (lines,) = _blocks(_section("On a server"))
    assert 0 < len(lines) <= 6
    said = ""
    for line in lines:
        if line.startswith("sudo apt-get install "):
            for package in line.split()[3:]:
                run("dpkg", "--status", package)
        elif line == "make wheels":
            assert list((HERE / "clone/wheels").iterdir()), "made outside: the box has no network"
        else:
            said = _typed(line)
        if line.startswith("sudo make install"):
            _serves_this_machine_alone()
    took = time.monotonic() - began
    context = ssl.create_default_context(cafile=f"/etc/sigd/{NAME}.pem")
    with connected((ADDRESS, 7337), context, NAME) as peer:
        assert peer.registers("cam1", **json.loads(said))["type"] == "registered"
        assert peer.registers("cam2")["type"] == "error"
    return f"{took:.0f} s, the downloads aside"


def shows_b_it_is_as_the_page_says_after_that() -> None:
    assert run("/usr/local/bin/sigctl", "status", check=False).returncode == 0
    assert systemctl("is-enabled", "sigd.socket") == "enabled"
    checked = json.loads(run("/usr/local/bin/sigctl", "check", "--json", check=False).stdout)
    assert {each["code"] for each in checked["findings"]} <= {"clock-unsynchronised"}
    assert checked["configuration"] == checked["daemon"]["configuration"]
    for line in re.findall(
        r"`(?:sudo )?(sigctl [a-z]+(?: --dry-run)?|systemctl [a-z]+ sigd)`", _section("On a server")
    ):
        done = run("sh", "-c", line, check=False)
        assert done.returncode == 0 or line == "sigctl check", (line, done.stdout, done.stderr)
    run("systemctl", "start", "sigd.service")


def shows_c_by_hand() -> None:
    """The configuration of "By hand", with what `setup` has made, and the commands behind it."""
    section = _section("By hand")
    (config,) = re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for made, named in (("pem", "server.pem"), ("key", "server.key")):
        run("cp", "-p", f"/etc/sigd/{NAME}.{made}", f"/etc/sigd/{named}")
    Path("/etc/sigd/sigd.toml").write_text(config)
    (lines,) = _blocks(section)
    make_secret, check, token = lines
    Path("/etc/sigd/secret").unlink()
    _typed(make_secret)
    refused = run("sh", "-c", check, check=False)
    assert refused.returncode == 2
    assert "chgrp sigd /etc/sigd/secret" in refused.stderr, "the service may not read what root has just made"
    assert "sudo sigctl setup" in refused.stderr, "sigd.socket has [::]:7337, too"
    _typed("sigctl setup")
    assert _typed(check) == "configuration is valid\n"
    credentials = json.loads(_typed(token))
    context = ssl.create_default_context(cafile="/etc/sigd/server.pem")
    with connected((ADDRESS, 7337), context, NAME) as peer:
        assert peer.registers("cam1", **credentials)["type"] == "registered"
