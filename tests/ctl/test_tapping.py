"""`tap` ends when somebody ends it, and stays quiet about that."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sigd
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import Document, ScriptedDaemon, frame
from tests.daemon import HANG_SECONDS

SECONDS = HANG_SECONDS
OPEN: Document = {"schema": 1, "type": "tap", "now": 1.0}
PASSED: Document = {
    "schema": 1,
    "type": "tapped",
    "at": 1.0,
    "from": "cam1",
    "to": "bob",
    "kind": "message",
    "bytes": 9,
    "summary": "message 9 B",
}


def process(daemon: ScriptedDaemon, *arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "SIGD_ADMIN": str(daemon.path),
        "PYTHONPATH": str(Path(sigd.__file__).parents[1]),
        "COLUMNS": "80",
        "LINES": "24",
        "TZ": "UTC",
        "TERM": "xterm",
    }
    command = [sys.executable, "-m", "sigd.ctl", *arguments]
    return subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("arguments", [[], ["--json"], ["cam1", "bob"]])
def test_an_interrupt_ends_it_well(daemon: ScriptedDaemon, arguments):
    daemon.waits("tap", OPEN, PASSED)
    with process(daemon, "tap", *arguments) as tap:
        assert tap.stdout is not None
        line = tap.stdout.readline()
        if line.startswith("time"):
            line = tap.stdout.readline()
        assert "message" in line
        tap.send_signal(signal.SIGINT)
        assert tap.communicate(timeout=SECONDS) == ("", "")
    assert tap.returncode == 0


def test_a_reader_who_has_had_enough_is_no_fault(daemon: ScriptedDaemon):
    daemon.says("tap", OPEN, *[PASSED] * 5_000)
    with process(daemon, "tap") as tap:
        assert tap.stdout is not None
        assert "cam1 -> bob" in tap.stdout.readline()
        tap.stdout.close()
        assert tap.stderr is not None
        assert tap.stderr.read() == ""
        assert tap.wait(SECONDS) == 1


def test_a_terminal_without_unicode_gets_ascii(daemon: ScriptedDaemon, sigctl: Sigctl, monkeypatch):
    monkeypatch.setattr("sigd.ctl.tapping._shows_unicode", lambda: False)
    daemon.says("tap", OPEN, PASSED)
    status, out, _ = sigctl("tap", "cam1", "bob")
    assert status == 0
    assert out.isascii()
    assert "message 9 B" in out
    status, out, _ = sigctl("why", "cam1", "bob")
    assert status == 0
    assert out.startswith("cam1 -> bob, ")


def test_a_refusal_is_told(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.refuses("tap", "too-many", "sixteen are asking already")
    assert sigctl("tap") == (1, "", "sigctl: sixteen are asking already\n")


def test_what_is_no_message_ends_it(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.sends("tap", frame(b'{"schema":1,"type":"tap","now":1.0}'), frame(b"{}"))
    status, out, err = sigctl("tap")
    assert (status, out) == (1, "")
    assert "schema None" in err


@pytest.mark.parametrize(("keys", "said"), [("oorq", "by outbox, reversed: "), ("q", "by in: ")])
def test_top_draws_until_q(daemon: ScriptedDaemon, keys, said):
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "SIGD_ADMIN": str(daemon.path), "PYTHONPATH": str(Path(sigd.__file__).parents[1])}
    environment |= {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    command = [sys.executable, "-m", "sigd.ctl", "top", "--interval", "3600"]
    with subprocess.Popen(command, env=environment, stdin=its_end, stdout=its_end, stderr=subprocess.PIPE) as top:
        os.close(its_end)
        seen = b""
        while b"q quit" not in seen:
            seen += os.read(terminal, 65_536)
        os.write(terminal, keys.encode())
        while True:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:
                break  # the other end is closed
            seen += piece
        assert top.wait(SECONDS) == 0
        assert top.stderr is not None
        assert top.stderr.read() == b""
    os.close(terminal)
    drawn = seen.decode()
    assert drawn.startswith("\x1b[?1049h")
    assert drawn.endswith("\x1b[?1049l")
    assert f"{said}o sort, r reverse, q quit" in drawn
    assert "cam1" in drawn


def test_top_needs_a_terminal(daemon: ScriptedDaemon, sigctl: Sigctl):
    assert sigctl("top") == (2, "", "sigctl: standard output is not a terminal: use --once to print one table\n")
