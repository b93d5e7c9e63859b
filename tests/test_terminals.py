"""People at terminals: what ends with the terminal, and what ends when they say so."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

from tests.daemon import HANG_SECONDS, running_daemon, wait_for
from tests.needs import needs

SECONDS = HANG_SECONDS

HANGS_UP = """
import os, pty, signal, sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may have started the tests, is a wish to outlive terminals
pid, screen = pty.fork()
if pid == 0:
    os.execv(sys.executable, [sys.executable, "-m", "sigd.cli", *sys.argv[1:]])
said = b""
while b" ready " not in said:
    said += os.read(screen, 4096)
os.close(screen)
_, status = os.waitpid(pid, 0)
print(os.waitstatus_to_exitcode(status))
"""
"""A terminal that closes as soon as the daemon in it is ready, and the daemon's exit status."""


def test_quit_ends_netcat_though_its_user_types_nothing_more():
    with running_daemon() as daemon:
        command = [needs("nc.openbsd"), "127.0.0.1", str(daemon.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as netcat:
            assert netcat.stdin is not None
            assert netcat.stdout is not None
            netcat.stdin.write("register bob\nquit\n")
            netcat.stdin.flush()
            assert '"registered"' in netcat.stdout.readline()
            assert netcat.wait(SECONDS) == 0


def test_a_daemon_ends_with_its_terminal():
    command = [sys.executable, "-c", HANGS_UP, "--listen", "tcp://127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout == "0\n"


def test_sighup_reloads_on_a_terminal_that_is_still_there(tmp_path: Path):
    (config := tmp_path / "sigd.toml").write_text('listen = ["tcp://127.0.0.1:0"]')
    pid, screen = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "sigd.cli", "--config", str(config)])
    try:
        _until(screen, b" ready ")
        os.kill(pid, signal.SIGHUP)
        _until(screen, b" reloaded ")
        os.kill(pid, signal.SIGTERM)
        _until(screen, b" stopped ")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(screen)


def _until(screen: int, text: bytes) -> None:
    said = b""

    def shows() -> bool:
        nonlocal said
        if select.select([screen], [], [], 0)[0]:
            said += os.read(screen, 4_096)
        return text in said

    wait_for(shows, lambda: said)
