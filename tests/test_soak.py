"""The soak itself: a storm or two, and that its exit status tells."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parent.parent


def soaked(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.soak", "--seconds", "2", "--seed", "7", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def test_all_come_back() -> None:
    done = soaked()
    assert (done.returncode, done.stderr) == (0, ""), done
    first, *_, last = done.stdout.splitlines()
    assert first == "seed 7, 2 s"
    assert last == "all came back"


def test_a_fault_fails_it() -> None:
    done = soaked("--p99", "0")
    assert done.returncode == 1
    assert done.stderr == ""
    *_, fault, last = done.stdout.splitlines()
    assert fault.startswith("FAULT: p99 is ")
    assert last == "FAILED"
