"""docs/how-to/devices.md: what it types and configures works."""

import json
import re
import shlex
import subprocess
import sys

from sigd.config import load
from sigd.rules.made import Rules
from sigd.wire.datagram import MAX_MESSAGE
from tests.daemon import HANG_SECONDS, running_daemon
from tests.docs.pages import blocks, read
from tests.docs.test_public_server import PAGE as PUBLIC_PAGE
from tests.docs.test_public_server import Public

PAGE = "docs/how-to/devices.md"
TEXT = read(PAGE)

SECONDS = HANG_SECONDS


def test_the_listener_for_devices_goes_beside_the_public_one_and_takes_macs_alone(tmp_path):
    Public(tmp_path)
    (public,), (devices,) = blocks(PUBLIC_PAGE, "toml"), blocks(PAGE, "toml")
    listener, _, credential = devices.partition("\n[[auth.hmac]]")
    assert credential in public, "the same secret"
    file = tmp_path / "sigd.toml"
    file.write_text(f"{listener}\n{public}".replace("/etc/sigd/", f"{tmp_path}/"))
    config = load(str(file))
    assert [config.needs_seal(each) for each in config.listen] == [True, False]
    Rules(config)


def test_over_udp_sigctl_does_what_it_is_said_to():
    listen, send = re.findall(r"`\.venv/bin/(sigctl [a-z]+ [^`]*udp://127\.0\.0\.1[^`]*)`", TEXT)
    with running_daemon("--listen", "udp://127.0.0.1:0") as daemon:
        hear, say = (
            [sys.executable, "-m", "sigd.ctl", *shlex.split(line.replace("udp://127.0.0.1", daemon.url))[1:]]
            for line in (listen, send)
        )
        with subprocess.Popen([*hear, "--count", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bob:
            assert bob.stderr is not None
            assert bob.stdout is not None
            assert b"listening as bob" in bob.stderr.readline()
            said = subprocess.run(say, capture_output=True, text=True, timeout=SECONDS, check=True)
            assert said.stdout == "ok: in bob's outbox\n"
            assert json.loads(bob.stdout.read())["data"] == "hello"


def test_the_longest_message():
    assert f"{MAX_MESSAGE} bytes" in TEXT
