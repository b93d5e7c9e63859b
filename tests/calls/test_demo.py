"""`make demo`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS, running_daemon

LIMIT = HANG_SECONDS

ROOT = Path(__file__).parents[2]

HOSTS = {"candidate host udp", "end-of-candidates"}


def ladder(*options: str) -> list[tuple[str, str]]:
    """What went which way."""
    command = [sys.executable, "clients/demo/call.py", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # sigd need not be installed to be tested
    shown = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT, env=environment
    ).stdout
    assert max(map(len, shown.splitlines())) <= 80
    rungs = re.findall(r"\d\d:\d\d:\d\d\.\d{3}  │(◄)?[─═]+ (.+?) [─═]+(►)?│  \+\d+ ms", shown)
    return [("bob" if back else "alice", re.sub(r"[\d.]+ kB", "KB", text)) for back, text, _ in rungs]


@pytest.mark.parametrize("how", [[], ["--public"]])
def test_a_call_through_a_daemon_of_its_own_which_is_stopped(how: list[str]):
    rungs = ladder(*how)
    for peer, first in (("alice", "offer KB"), ("bob", "answer KB")):
        sent = [text for sender, text in rungs[:-2] if sender == peer]
        assert (sent[0], sent[-1]) == (first, "end-of-candidates")
        assert set(sent[1:]) == HOSTS
    assert rungs[0] == ("alice", "offer KB")
    assert rungs[-2:] == [("alice", "hello, do you still hear me?"), ("bob", "yes, directly")]


def test_a_call_through_a_daemon_that_runs():
    with running_daemon() as daemon:
        assert ladder("--url", daemon.url)[-1] == ("alice", "bye")
        assert daemon.process.poll() is None
