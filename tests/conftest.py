"""What all tests share: a daemon in this process, a clock that jumps, and that no test leaves anything behind."""

import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager

import hypothesis
import pytest

from tests import at_rest
from tests.in_process import Daemon
from tests.in_process import serving as _serving
from tests.reports import escaped, reason_within

# How long an example takes says how busy the machine is. In CI it is hypothesis's own profile that this one adds to.
hypothesis.settings.register_profile(
    "sigd", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sigd")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Keep the reason of a skipped trio test: pytest-trio skips it anew, without the reason."""
    if call.excinfo is not None and isinstance(call.excinfo.value, pytest.skip.Exception):
        call.excinfo.value.msg = call.excinfo.value.msg or reason_within(call.excinfo.value)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Escape reports, so that each one reaches the process that collects them."""
    return escaped((yield))


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Escape warnings, for the same reason as reports."""
    text = str(warning_message.message)
    if text != escaped(text):
        warning_message.message = escaped(text)


def open_descriptors() -> set[str]:
    """What this process has open, the descriptor for looking excepted."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    """Every test closes what it opened."""
    before = open_descriptors()
    yield
    left = open_descriptors() - before
    assert not left


@pytest.fixture(autouse=True)
def log_as_before(no_descriptor_left: None) -> Iterator[None]:
    """Whatever starts the daemon's log, a reload among it, starts it for one test."""
    logger = logging.getLogger("sigd")
    handlers, propagate, level, raises = logger.handlers[:], logger.propagate, logger.level, logging.raiseExceptions
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:], logger.propagate, logging.raiseExceptions = handlers, propagate, raises
    logger.setLevel(level)  # which forgets, too, what the logger was enabled for


@pytest.fixture
def jumping_clock() -> None:
    """Has the test run on trio's MockClock, which stands still while anything happens, and jumps when nothing does."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test that uses the fixture, directly or not, its clock (pytest-trio looks at direct ones alone)."""
    for item in items:
        if "jumping_clock" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=at_rest.run), append=False)


Serving = Callable[..., AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def serving(jumping_clock: None) -> Serving:
    """`async with serving(max_connections=3) as daemon`: a daemon with other limits or listeners."""
    return _serving


@pytest.fixture
async def daemon(serving: Serving) -> AsyncIterator[Daemon]:
    """A daemon with the default limits on loopback, on a clock that jumps."""
    async with serving() as running:
        yield running
