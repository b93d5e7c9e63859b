"""A daemon that listens in every way, for clients that have no tasks, and ways to have time pass for them."""

import math
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from selectors import PollSelector

import pytest

from sigd.client import blocking, sockets
from sigd.client.sockets import Wait
from sigd.client.trust import trusting
from tests import certificates
from tests.at_rest import ROUND_SECONDS, Rest
from tests.daemon import Daemon, running_daemon

CONFIG = """
[[listen]]
url = "tcp://127.0.0.1:0"

[[listen]]
url = "udp://127.0.0.1:0"

[[listen]]
url = "unix:{folder}/sigd.sock"

[[listen]]
url = "tls://127.0.0.1:0"
certificate = "{certificate}"
key = "{key}"
"""

AUTH = """
[[auth.hmac]]
secret_file = "{folder}/secret"
register = ["*"]
"""


@contextmanager
def daemon_in(folder: Path, more: str = "") -> Iterator[Daemon]:
    certificate, key = certificates.files("localhost", "127.0.0.1")
    config = folder / "sigd.toml"
    config.write_text((CONFIG + more).format(folder=folder, certificate=certificate, key=key))
    with running_daemon("--config", str(config)) as daemon:
        yield daemon


def url_of(daemon: Daemon, over: str) -> str:
    (url,) = (url for url in daemon.urls if url.startswith(over))
    return url


def trusts() -> ssl.SSLContext:
    certificates.authority("servers")
    return trusting(str(certificates.folder() / "servers-ca.pem"))


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have so many seconds pass at once, for the client."""
    for module in (blocking, sockets):
        monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + seconds)


class JumpingTime:
    """Time for a client without tasks, which jumps to whatever is due next once nothing is under way.

    Attributes:
        now: seconds since the test began.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def pause(self, wait: Wait, until: float) -> None:
        """Wait for a socket, or until a time."""
        rest, at = Rest(), min(wait.at, until)
        with PollSelector() as selector:
            if wait.socket is not None and wait.events:
                selector.register(wait.socket, wait.events)
            while not selector.select(ROUND_SECONDS):
                if rest.holds():
                    assert at < math.inf, "nothing will ever come"
                    self.now = max(self.now, at)
                    break


@contextmanager
def jumping_time() -> Iterator[JumpingTime]:
    """Replace the clock of waiting clients by one that jumps."""
    with pytest.MonkeyPatch.context() as patch:
        time = JumpingTime()
        for module in (blocking, sockets):
            patch.setattr(module, "monotonic", time.monotonic)
        patch.setattr(blocking, "_pause", time.pause)
        yield time
