"""The daemon's logger, and a socket in the journal's place."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd import log


@pytest.fixture
def logger() -> logging.Logger:
    """The daemon's logger, for a test to start and change."""
    return logging.getLogger("sigd")


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in place of the journal's."""
    path = str(tmp_path / "socket")
    monkeypatch.setattr(log, "SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        yield sock
