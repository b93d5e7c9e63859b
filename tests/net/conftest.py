"""What tests of a whole daemon share: none of them brings a bug out unless it means to, and none changes the log."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logger_as_before() -> Iterator[None]:
    """A reload has the daemon log to stderr; the tests that follow look elsewhere."""
    logger = logging.getLogger("sigd")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture
def no_bug_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does, none of it brings a bug out."""
    yield
    assert [line for line in caplog.messages if line.startswith("bug")] == []
