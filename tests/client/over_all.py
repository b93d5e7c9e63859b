"""A daemon that listens in every way, for clients that have no tasks, and a way to have time pass for them."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sigd.client import blocking, sockets
from sigd.client.trust import trusting
from tests import certificates
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
