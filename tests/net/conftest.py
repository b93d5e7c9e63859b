"""What tests of a whole daemon share: none of them brings a bug out unless it means to."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def no_bug_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does, none of it brings a bug out."""
    yield
    assert [line for line in caplog.messages if line.startswith("bug")] == []
