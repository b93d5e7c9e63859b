"""A part that is missing, or there only half, is skipped with its reason, and fails in CI."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS
from tests.needs import needs

ROOT = Path(__file__).parents[1]

NEEDY = (
    "tests/c_client/test_compiles.py",
    "tests/c_client/test_fuzz.py",
    "tests/calls/test_calls.py::test_aiortc_and_libdatachannel",
    "tests/calls/test_turn.py",
    "tests/ctl/test_completion.py",
    "tests/ctl/test_setup.py",
    "tests/ctl/test_setup_files.py",
    "tests/ctl/test_setup_steps.py",
    "tests/metrics/test_dashboard.py",
    "tests/programs",
    "tests/test_man.py",
)
"""Tests of which many need a program of others."""

WITH_ALL = ("sh", "nc", "make", "env", "cat")
"""Programs of a machine that has nothing for these tests; Python is called by its path."""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with hardly a program in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in WITH_ALL:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def run(path: Path, *tests: str, **environment: str) -> tuple[int, str]:
    """Run tests where programs are found in one folder alone; the exit status, and what pytest says."""
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_XDIST_WORKER"}}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist", *tests],
        cwd=ROOT,
        env={**kept, "PATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=4 * HANG_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def written(folder: Path, name: str, script: str) -> None:
    """Write a program."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.slow
def test_on_a_machine_that_has_nothing_for_them(bare: Path) -> None:
    status, said = run(bare, *NEEDY)
    assert status == 0, said
    reasons = set(re.findall(r"SKIPPED \[\d+\] \S+ (.*)", said))
    assert {
        f"{program} is not installed" for program in ("gcc", "clang", "zsh", "groff", "promtool", "node")
    } <= reasons


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"CI": "true"}], ids=["here", "in CI"])
def test_on_a_machine_that_has_them_only_half(bare: Path, environment: dict[str, str]) -> None:
    written(bare, "clang", 'echo "ld: cannot find libclang_rt.fuzzer.a" >&2; exit 1')
    written(bare, "arm-none-eabi-gcc", 'echo "stdint.h: No such file or directory" >&2; exit 1')
    written(bare, "zsh", 'echo "zsh:1: no such module zsh/zpty" >&2; exit 1')
    tests = ("tests/c_client/test_fuzz.py", "tests/c_client/test_compiles.py", "tests/ctl/test_completion.py")
    wanted = "harm or size or zsh_completes or test_man"
    status, said = run(bare, *tests, "tests/test_man.py", "-k", wanted, **environment)
    assert "clang is there only half" in said
    assert "fails: ld: cannot find libclang_rt.fuzzer.a" in said
    assert "fails: stdint.h: No such file or directory" in said
    assert "zsh has no terminal to type at: zsh:1: no such module zsh/zpty" in said
    assert "groff is not installed" in said
    if environment:
        assert status == pytest.ExitCode.TESTS_FAILED
        assert "skipped" not in said.splitlines()[-1]
    else:
        assert status == 0, said


def test_a_program_that_is_there(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("PATH", str(bare))
    assert needs("sh") == str(bare / "sh")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="gcc is not installed"):
        needs("gcc")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="gcc is not installed"):
        needs("gcc")
