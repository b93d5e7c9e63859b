"""A real TURN server, coturn, in a process of its own: on loopback, with a secret that it shares with sigd."""

import contextlib
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS
from tests.needs import needs

HOST = "127.0.0.1"
REALM = "sigd.test"

START_SECONDS = HANG_SECONDS

_ATTEMPTS = 5
"""How often another port is tried when somebody has taken the one that was free a moment ago."""

_READY = {"UDP listener opened", "TCP listener opened", "(auth thread)"}
_READY_LINE = re.compile("|".join(map(re.escape, _READY)))
_PORT_TAKEN = "Address already in use"


class Coturn:
    """A running turnserver.

    Attributes:
        port: where it takes UDP and TCP, on loopback.
        log: what it has said so far, line by line; each request with its user name and its outcome.
    """

    def __init__(self, port: int, process: "subprocess.Popen[str]") -> None:
        self.port = port
        self.log: list[str] = []
        self._process = process
        self._missing = set(_READY)
        self._settled = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def urls(self) -> list[str]:
        """What a peer is told of it."""
        return [f"turn:{HOST}:{self.port}?transport={transport}" for transport in ("udp", "tcp")]

    def wait_until_ready(self) -> bool:
        """Return True once requests are answered, False if the port was taken; fail with the log otherwise."""
        assert self._settled.wait(START_SECONDS), "".join(self.log)
        if any(_PORT_TAKEN in line for line in self.log):
            return False
        assert not self._missing, "".join(self.log)
        return True

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if found := _READY_LINE.search(line):
                self._missing.discard(found[0])
            if not self._missing or _PORT_TAKEN in line:
                self._settled.set()
        self._settled.set()

    def end(self) -> None:
        """End it, and read its log to the end before that is closed."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()


def needs_coturn() -> None:
    """Skip without coturn; but in CI somebody has to have run these tests."""
    needs("turnserver")


@contextlib.contextmanager
def running_coturn(directory: Path, secret: bytes) -> Iterator[Coturn]:
    """A coturn that keeps what it writes in `directory`; ended by its own pid."""
    needs_coturn()
    with contextlib.ExitStack() as stack:
        for _ in range(_ATTEMPTS):
            coturn = _start(directory, secret)
            stack.callback(coturn.end)
            if coturn.wait_until_ready():
                yield coturn
                return
        pytest.fail(f"no port was free {_ATTEMPTS} times")


def _start(directory: Path, secret: bytes) -> Coturn:
    port = _free_port()
    directory.joinpath("turnserver.conf").write_text(
        f"listening-ip={HOST}\nlistening-port={port}\nrelay-ip={HOST}\nallow-loopback-peers\n"
        f"use-auth-secret\nstatic-auth-secret={secret.decode()}\nrealm={REALM}\n"
        # verbose: it says when it listens, and why it refuses.
        "no-tls\nno-dtls\nno-cli\nrelay-threads=1\nverbose\nlog-file=stdout\nsimple-log\n"
        f"pidfile={directory}/turnserver.pid\nuserdb={directory}/turndb\n"
    )
    process = subprocess.Popen(
        ["turnserver", "-c", "turnserver.conf"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
    )
    return Coturn(port, process)


def _free_port() -> int:
    """A port that nobody has, neither on UDP nor on TCP: turnserver takes no 0 and no socket."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind((HOST, 0))
            port: int = udp.getsockname()[1]
            with contextlib.suppress(OSError):
                tcp.bind((HOST, port))
                return port
