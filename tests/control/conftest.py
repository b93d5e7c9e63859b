"""A daemon and its desk, on a clock that jumps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control.asking import Asking, asking
from tests.in_process import Daemon
from tests.net.conftest import no_bug_is_logged

__all__ = ["no_bug_is_logged"]


@pytest.fixture
async def desk(daemon: Daemon, tmp_path: Path) -> AsyncIterator[Asking]:
    """The desk of the daemon."""
    async with asking(daemon, tmp_path) as asked:
        yield asked
