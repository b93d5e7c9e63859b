"""Netcats, telnet and TLS clients as docs/how-to/netcats.md has them, against a real daemon."""

import json
import os
import pty
import re
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.daemon import Daemon, running_daemon
from tests.needs import needs
from tests.programs.netcat_table import Row, rows

SECONDS = 20.0
"""For what takes a second: the machine may be busy."""

LINES = b"register door\nping\n"

DATAGRAM = json.dumps({"type": "register", "id": "door", "nonce": "0123456789abcdef", "pad": "x" * 120}).encode()


def by_program(section: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows(section), ids=lambda row: row.program)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon("--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority("servers").issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "key.pem").chmod(0o600)
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(folder / "certificate.pem"), append=number > 0)
    authority("servers").cert_pem.write_to_path(str(folder / "ca.pem"))
    (config := folder / "sigd.toml").write_text(
        f'[[listen]]\nurl = "tls://127.0.0.1:0"\ncertificate = "{folder}/certificate.pem"\nkey = "{folder}/key.pem"\n'
    )
    with running_daemon("--config", str(config)) as daemon:
        yield daemon, str(folder / "ca.pem")


def types_in(output: bytes) -> list[str]:
    """The types of the messages in a program's output, which may add lines of its own."""
    return [json.loads(line)["type"] for line in re.findall(rb"\{.*\}", output)]


def run(command: list[str], fed: bytes) -> bytes:
    needs(command[0])
    return subprocess.run(command, input=fed, capture_output=True, timeout=SECONDS, check=False).stdout


@by_program("Several lines from a pipe")
def test_lines_from_a_pipe_have_all_their_answers(row: Row, daemon: Daemon):
    assert types_in(run(row.filled(daemon.port), LINES)) == ["registered", "pong"]


@by_program("Several lines from a pipe")
def test_quit_ends_every_program(row: Row, daemon: Daemon):
    command = [part for part in row.filled(daemon.port) if part not in {"-N", "-q", "1", "-t", "5"}]
    assert types_in(run(command, LINES + b"quit\n")) == ["registered", "pong"]


@by_program("One datagram from a pipe")
def test_one_datagram_has_its_answer(row: Row, daemon: Daemon):
    assert types_in(run(row.filled(int(daemon.urls[1].rpartition(":")[2])), DATAGRAM)) == ["challenge"]


@by_program("TLS")
def test_lines_over_tls_have_all_their_answers(row: Row, tls: tuple[Daemon, str]):
    daemon, trusted = tls
    lines = LINES + b"quit\n" if row.wants_quit else LINES
    assert types_in(run(row.filled(daemon.port, trusted), lines)) == ["registered", "pong"]


class Telnet:
    """A telnet program at a terminal."""

    def __init__(self, port: int) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execvp("telnet", ["telnet", "127.0.0.1", str(port)])
        self.shown = b""

    def shows(self, text: bytes) -> None:
        """Wait until a text is on the screen."""
        while text not in self.shown:
            ready, _, _ = select.select([self.screen], [], [], SECONDS)
            assert ready, self.shown
            try:
                self.shown += os.read(self.screen, 4096)
            except OSError:  # the program has ended
                break
        assert text in self.shown, self.shown
        self.shown = self.shown.partition(text)[2]

    def types(self, text: bytes) -> None:
        os.write(self.screen, text)

    def ends(self) -> None:
        """Wait until the program has ended."""
        self.shows(b"closed by foreign host")
        os.waitpid(self.pid, 0)
        os.close(self.screen)


def test_telnet_at_a_terminal(daemon: Daemon):
    needs("telnet")
    telnet = Telnet(daemon.port)
    telnet.types(b"register tel\r")
    telnet.shows(b'"type":"registered","id":"tel"')
    telnet.types(b"ping\r")
    telnet.shows(b'"type":"pong"')
    telnet.types(b"half a line\x03")  # Ctrl-C
    telnet.ends()


def test_the_page_names_versions_of_every_program():
    text = (Path(__file__).parents[2] / "docs/how-to/netcats.md").read_text()
    for section in ("Several lines from a pipe", "One datagram from a pipe", "TLS"):
        assert all(re.search(r"\(\d+\.\d+(\.\d+)?\)", row.program) for row in rows(section))
    assert "telnet (0.17)" in text
