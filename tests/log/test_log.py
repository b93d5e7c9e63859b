"""The log as the daemon starts it, and repeated lines."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigd import log


def test_to_stderr(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.start("info", "json")
    log.info("ready", version="1")
    log.debug("unheard")
    try:
        raise ValueError("the end")
    except ValueError as fault:
        log.error("bug", fault, peer="alice")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["version"]) == ("ready", "1")
    assert (second["level"], second["peer"]) == ("error", "alice")
    assert second["traceback"].endswith("\nValueError: the end\n")


@settings(max_examples=20)
@given(st.lists(st.floats(0, 100), max_size=50))
def test_damping_loses_no_count(moments: list[float]) -> None:
    damper = log.Damper()
    told = [damper.lets_through(now) for now in sorted(moments)]
    assert sum(told) + damper.lets_through(1_000) == len(moments) + 1


def test_of_a_crowd_so_many_lines_a_second_are_written_and_the_others_counted():
    budget = log.Budget()
    assert [budget.lets_through(0.0) for _ in range(log.EACH_SECOND + 7)] == [1] * log.EACH_SECOND + [0] * 7
    assert budget.lets_through(0.9) == 0
    assert budget.lets_through(1.0) == 9
    assert budget.lets_through(1.0) == 1
