"""docs/how-to/public-server.md is typed as it stands there, as far as it needs no systemd (tests/systemd has that)."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from sigd.wire.datagram import MAX_MESSAGE
from tests import certificates
from tests.daemon import HANG_SECONDS, Daemon, running_daemon, wait_for
from tests.docs.pages import blocks, read
from tests.needs import needs

PAGE = "docs/how-to/public-server.md"
TEXT = read(PAGE)
MAKEFILE = read("Makefile")

SECONDS = HANG_SECONDS


class Public:
    """The files that the page has an operator make, in a folder: configuration, certificate, secret, token."""

    def __init__(self, folder: Path) -> None:
        needs("openssl")
        self.folder = folder
        self.config = folder / "sigd.toml"
        chain, key = certificates.files("localhost", "127.0.0.1")
        shutil.copy(chain, folder / "server.pem")
        shutil.copy(key, folder / "server.key")
        self.config.write_text(self._placed(blocks(PAGE, "toml")[0]).replace("0.0.0.0:7337", "127.0.0.1:0"))
        (typed_in,) = (block for block in blocks(PAGE, "sh") if "--check" in block)
        make_secret, self._check, self._make_token = typed_in.splitlines()
        self._typed(make_secret)

    def _placed(self, text: str) -> str:
        return text.replace("/etc/sigd/", f"{self.folder}/")

    def _typed(self, line: str) -> str:
        line = re.sub("^sigctl token", f"{sys.executable} -m sigd.ctl token --config {self.config}", line)
        line = re.sub("^sigd", f"{sys.executable} -m sigd.cli", line)
        done = subprocess.run(["/bin/sh", "-c", self._placed(line)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    def is_checked(self) -> None:
        assert self._typed(self._check) == "configuration is valid\n"

    def token(self) -> str:
        """The members of `register`, without braces."""
        return self._typed(self._make_token).strip().strip("{}")


def openssl(line: str, daemon: Daemon, *more: str) -> "subprocess.Popen[str]":
    """The process that the page's line starts, for this daemon."""
    needs("openssl")
    command = shlex.split(line.removeprefix("$ ").replace("sigd.example.net:7337", f"127.0.0.1:{daemon.port}"))
    return subprocess.Popen(
        [*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def streams(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def typed(line: str, keyboard: IO[str]) -> None:
    keyboard.write(line + "\n")
    keyboard.flush()


def without_time(line: str) -> str:
    return re.sub(r'"expiresMs":\d+', '"expiresMs":0', line)


def test_the_public_example_is_typed_into_openssl(tmp_path):
    command, register, *lines = blocks(PAGE, "transcript")[0].splitlines()
    public = Public(tmp_path)
    public.is_checked()
    with running_daemon("--config", str(public.config)) as daemon, openssl(command, daemon) as process:
        keyboard, screen = streams(process)
        typed(re.sub(r'"user":.*(?=})', lambda _: public.token(), register), keyboard)
        for line in lines:
            if line.startswith("{"):
                assert without_time(screen.readline()) == without_time(line) + "\n"
            else:
                typed(line, keyboard)
        assert screen.read() == ""
        assert process.wait(SECONDS) == 0
    days = re.search(r"good for (\d+) days", TEXT)
    assert days is not None
    assert f'"expiresMs":{int(days[1]) * 86_400_000 + 29_000}' in TEXT  # less the second that it takes to type


def test_openssl_ends_before_a_token_is_typed_where_it_is_told_to_check(tmp_path):
    options = re.search(r"`(-verify[^`]*)`", TEXT)
    assert options is not None
    public = Public(tmp_path)
    with running_daemon("--config", str(public.config)) as daemon:
        checks = options[1].replace("sigd.example.net", "localhost").split()
        line = blocks(PAGE, "transcript")[0].splitlines()[0]
        certificates.authority("servers")
        trusted = ("-CAfile", str(certificates.folder() / "servers-ca.pem"))
        for more, expected in ((checks, ""), ([*checks, *trusted], '{"type":"pong"}\n')):
            with openssl(line, daemon, *more) as process:
                keyboard, screen = streams(process)
                try:
                    typed("ping\nquit", keyboard)
                except BrokenPipeError:
                    assert not expected
                assert screen.read() == expected


def test_a_reload_is_as_it_is_described(tmp_path):
    public = Public(tmp_path)
    with running_daemon("--config", str(public.config)) as daemon:

        def reload(text: str) -> list[str]:
            known = len(daemon.log)
            public.config.write_text(text)
            daemon.process.send_signal(signal.SIGHUP)
            pattern = re.compile(" reloaded links=| reload failed")
            wait_for(lambda: any(map(pattern.search, daemon.log[known:])), lambda: daemon.log)
            return daemon.log[known:]

        text = public.config.read_text()
        assert "reloaded: auth.hmac[0].register" in reload(text.replace('"bob"', '"carol"'))[0]
        (failed,) = reload(text.replace("register", "registr"))
        assert "reload failed: nothing has changed" in failed


def test_members_of_credentials_are_those_that_sigctl_makes(tmp_path):
    token = json.loads("{" + Public(tmp_path).token() + "}")
    assert "credentials={" + ", ".join(f'"{member}": ...' for member in token) + "}" in read("README.md")


def test_the_way_to_a_server_is_six_lines_at_most():
    """tests/systemd/inside_public_server.py runs them."""
    (lines,) = (block.splitlines() for block in blocks(PAGE, "sh") if "make install" in block)
    assert len(lines) <= 6


def test_make_run_listens_as_it_is_said():
    (command,) = re.findall(r"exec \$\(BIN\)/sigd((?:.*\\\n)*.*)", MAKEFILE)
    words = shlex.split(command)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--listen"] == [
        f"{scheme}://127.0.0.1:7337" for scheme in ("tcp", "udp")
    ]
    assert "`make run` listens on TCP and UDP" in TEXT


def test_the_longest_message_over_udp():
    assert f"{MAX_MESSAGE} bytes are the longest message" in TEXT


def test_the_usage_is_that_of_the_program():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    # Versions of Python break the line at different places.
    assert " ".join(blocks(PAGE, "help")[0].split()) in " ".join(shown.stdout.split())


def test_every_option_exists():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    for option in re.findall(r"`sigd[^`]*`", TEXT):
        for word in re.findall(r"--[a-z-]+", option):
            assert word in shown.stdout
