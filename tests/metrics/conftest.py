"""A daemon whose figures are served."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.in_process import Daemon
from tests.metrics.http import Watched, watching


@pytest.fixture
async def watched(daemon: Daemon) -> AsyncIterator[Watched]:
    """One with the default limits."""
    async with watching(daemon) as it:
        yield it


@pytest.fixture(autouse=True)
def no_bug_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may meet a bug unless it makes one."""
    yield
    assert [line for line in caplog.messages if line.startswith("bug")] == []
