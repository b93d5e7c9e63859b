"""A lone surrogate, which hypothesis likes to draw, fails a test and not the whole run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports import escaped

REPOSITORY = Path(__file__).parent.parent

HOOKS = "from tests.conftest import pytest_report_to_serializable, pytest_warning_recorded\n"

TESTS = r"""
import logging
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_compared():
    assert "\ud800" == "x"


@given(st.sampled_from(["\ud800"]))
def test_drawn(text):
    assert "\ud801" not in "\ud801" + text


def test_in_a_dictionary():
    assert {"\ud800": ("\ud800", ["\ud800"])} == {}


def test_raised():
    raise ValueError("\ud800")


def test_printed():
    print("\ud800")
    raise AssertionError


def test_logged():
    logging.getLogger().warning("\ud800")
    raise AssertionError


def test_of_a_part(subtests):
    with subtests.test("\ud800"):
        raise AssertionError


def test_skipped():
    pytest.skip("\ud800")


def test_warned_of():
    warnings.warn("\ud800")


def test_last():
    pass
"""


def test_escaped() -> None:
    assert escaped({"\ud800": ["é\udfff", ("x", 1, None)]}) == {"\\ud800": ["é\\udfff", ("x", 1, None)]}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [("-p", "no:xdist"), ("-n", "1")], ids=["in this process", "in another"])
def test_no_lone_surrogate_ends_the_run(tmp_path: Path, processes: tuple[str, ...]) -> None:
    tmp_path.joinpath("conftest.py").write_text(HOOKS)
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\n")
    tmp_path.joinpath("test_surrogates.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode() + done.stderr.decode()
    assert "INTERNALERROR" not in said
    # A part that failed counts beside its test.
    assert said.splitlines()[-1].startswith("8 failed, 2 passed, 1 skipped, 1 warning"), said
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
