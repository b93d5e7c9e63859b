"""docs/tutorial.md: its lines are typed into a daemon, its programs call each other, and why is asked afterwards."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS, Daemon, running_daemon
from tests.docs.pages import blocks, read

PAGE = "docs/tutorial.md"
TEXT = read(PAGE)

SECONDS = HANG_SECONDS


def is_typed(line: str) -> bool:
    """Return whether a line of a transcript is typed: commands are, and JSON that names a recipient."""
    if not line.startswith("{"):
        return True
    message = json.loads(line)
    return "to" in message and "code" not in message


def test_the_lines_are_answered_as_it_says():
    with running_daemon() as daemon:
        screens, links = {}, []
        for name, text in re.findall(r"^```transcript (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
            if name not in screens:
                links.append(socket.create_connection(("127.0.0.1", daemon.port), SECONDS))
                screens[name] = links[-1].makefile("rw")
            for line in text.splitlines():
                if is_typed(line):
                    screens[name].write(line + "\n")
                    screens[name].flush()
                else:
                    assert screens[name].readline() == line + "\n"
        assert set(screens) == {"alice", "bob"}
        assert screens["alice"].read() == "", "she has quit"
        for screen in screens.values():
            screen.close()
        for link in links:
            link.close()


def saved(folder: Path, name: str, daemon: Daemon) -> list[str]:
    """Save a program of the page in a folder, and return the command that runs it with this daemon."""
    (text,) = blocks(PAGE, f"python {name}")
    (folder / name).write_text(text.replace("tcp://127.0.0.1:7337", daemon.url))
    return [sys.executable, str(folder / name)]


@pytest.mark.slow
def test_the_programs_call_each_other_and_why_tells_of_it(tmp_path):
    admin = f"unix:{tmp_path}/admin.sock"
    with running_daemon("--set", f"admin.listen={admin}") as daemon:
        echo, call = saved(tmp_path, "echo.py", daemon), saved(tmp_path, "call.py", daemon)
        with subprocess.Popen(echo, stdout=subprocess.PIPE, text=True) as bob:
            assert bob.stdout is not None
            try:
                said = subprocess.run(call, capture_output=True, text=True, timeout=SECONDS, check=False)
                assert said.returncode == 0, said.stderr
                assert said.stdout in blocks(PAGE, "text")
                assert bob.stdout.readline() == "alice says: hello\n"
            finally:
                bob.kill()
        (why,) = re.findall(r"^\.venv/bin/sigctl (why .*)$", TEXT, re.MULTILINE)
        asked = [sys.executable, "-m", "sigd.ctl", *why.split()]
        environment = os.environ | {"SIGD_ADMIN": f"{tmp_path}/admin.sock"}
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
        assert answer.stdout.startswith("alice → bob"), answer.stderr


def test_make_run_has_the_admin_socket_there():
    (socket_path,) = re.findall(r"^export SIGD_ADMIN=\$PWD/(.*)$", TEXT, re.MULTILINE)
    assert f"admin.listen=unix:$(CURDIR)/{socket_path}" in read("Makefile")
