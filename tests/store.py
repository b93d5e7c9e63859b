"""A supervisor that keeps descriptors for the next daemon, as systemd does with FileDescriptorStoreMax=."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.daemon import HANG_SECONDS, Daemon

LAUNCHER = """
import fcntl, os, sys
given = []
for each in map(int, sys.argv[1].split(",")):
    os.set_inheritable(each, False)
    given.append(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 500))
for at, each in enumerate(given):
    os.dup2(each, 3 + at)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "sigd.cli", *sys.argv[2:]])
"""
"""Gives the daemon its descriptors from 3 on, and nothing else."""


class Store:
    """One listening socket and the descriptors of one daemon after the other.

    Attributes:
        daemon: the one that serves.
        port: where.
    """

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self._path = str(folder / "notify")
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(self._path)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port: int = self._listener.getsockname()[1]
        self._arguments = arguments
        self._kept: list[tuple[str, int]] = []
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self.daemon = self._start()

    def _keep(self) -> None:
        while True:
            said, descriptors, _, _ = socket.recv_fds(self._notified, 4_096, 253)
            if said == b"end":
                return
            lines = dict(line.split("=", 1) for line in said.decode().split("\n"))
            for each in descriptors:
                os.set_inheritable(each, False)
            if "FDSTORE" in lines:
                self._kept += [(lines["FDNAME"], each) for each in descriptors]
                continue
            if "FDSTOREREMOVE" in lines:
                descriptors += [each for name, each in self._kept if name == lines["FDNAME"]]
                self._kept = [entry for entry in self._kept if entry[0] != lines["FDNAME"]]
            for each in descriptors:
                os.close(each)  # so a barrier is passed

    def _start(self) -> Daemon:
        given = [("sigd", self._listener.fileno()), *self._kept]
        numbers = [descriptor for _, descriptor in given]
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": self._path,
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in given),
        }
        listen = ("--listen", f"tcp://127.0.0.1:{self.port}")
        command = [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers)), *listen, *self._arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ, pass_fds=numbers)
        daemon = Daemon(process)
        daemon.wait_until_ready()
        return daemon

    def hands_over(self) -> None:
        """Ask the daemon to hand everything over, and wait for its end."""
        assert self.daemon.stop(signal.SIGUSR2) == 75, "".join(self.daemon.log)
        self.daemon.kill()  # reads its log to the end

    def starts(self) -> None:
        """Start the next one with what was stored."""
        self.daemon = self._start()

    def restarts(self) -> None:
        """Let the next daemon serve all links."""
        self.hands_over()
        self.starts()

    def close(self) -> None:
        """End the daemon, and keep nothing."""
        self.daemon.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", self._path)
        self._keeper.join(HANG_SECONDS)
        self._notified.close()
        self._listener.close()
        for _, each in self._kept:
            os.close(each)


@contextlib.contextmanager
def stored(folder: Path, *arguments: str) -> Iterator[Store]:
    """A daemon whose links outlive it."""
    store = Store(folder, arguments)
    try:
        yield store
    finally:
        store.close()
