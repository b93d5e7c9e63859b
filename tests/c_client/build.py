"""Compiles the C client, as a device author would, and in the ways that find faults."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "clients" / "c"

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

COMPILE_SECONDS = 60


@cache
def need(program: str) -> str:
    """The path of a compiler or tool; without it the test is skipped, but not where CI runs it."""
    found = shutil.which(program)
    if found is None:
        assert "CI" not in os.environ, f"there is no {program} here"
        pytest.skip(f"there is no {program} here")
    return found


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; its output, where it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def compiled(compiler: str, source: Path, target: Path, *flags: str) -> Path:
    """What a compiler makes of a source file."""
    run(need(compiler), *flags, f"-I{CLIENT}", str(source), "-o", str(target))
    return target
