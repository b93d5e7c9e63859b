"""A daemon in a process of its own, as an operator would start it."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

_URL = re.compile(r" listening url=(\S+)")

HANG_SECONDS = 120.0
"""How long anything in another process may take, a daemon's start and end among it: only a hang takes longer, however
busy the machine is. No test passes or fails by how much shorter it was."""

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], told: Callable[[], object] = lambda: "") -> Found:
    """Return what a look shows as soon as that is something; fail with what is told if it never does."""
    deadline = time.monotonic() + HANG_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.01)
    return found


class Daemon:
    """A running daemon.

    Attributes:
        urls: where it listens, ports as the system picked them.
        log: what it has said so far, line by line.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.urls: list[str] = []
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Return once connections are taken; fail with the log if it does not come to that."""
        assert self._ready.wait(HANG_SECONDS), "".join(self.log)
        assert self.urls, "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := _URL.search(line):
                self.urls.append(found[1])
            if " ready " in line:
                self._ready.set()
        self._ready.set()

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within: float = HANG_SECONDS) -> int:
        """End the daemon; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(within)
        self._reader.join(within)
        return status

    def says(self, text: str) -> str:
        """Wait until this is in a line of the log; that line."""
        return wait_for(lambda: [line for line in list(self.log) if text in line], lambda: "".join(self.log))[0]

    def kill(self) -> None:
        """End the daemon, if it still runs, and read its log to the end before that is closed."""
        assert self.process.stderr is not None
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


@contextlib.contextmanager
def running_daemon(*arguments: str) -> Iterator[Daemon]:
    """A daemon on a port that the system picks, unless the arguments say otherwise; ended by its own pid."""
    listen = () if "--listen" in arguments or "--config" in arguments else ("--listen", "tcp://127.0.0.1:0")
    daemon = Daemon(
        subprocess.Popen([sys.executable, "-m", "sigd.cli", *listen, *arguments], stderr=subprocess.PIPE, text=True)
    )
    try:
        daemon.wait_until_ready()
        yield daemon
    finally:
        daemon.kill()
