"""Signals while the daemon is about to end: whatever comes then, its exit status says why it ended."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.server.serving import EXIT_HANDED_OVER, SIGNALS
from tests.daemon import HANG_SECONDS, Daemon


@contextlib.contextmanager
def supervised(folder: Path) -> Iterator[Daemon]:
    """Run a daemon under a supervisor that stores descriptors and answers barriers, as systemd does."""
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(path)

        def supervise() -> None:
            kept: list[int] = []
            while True:
                said, descriptors, _, _ = socket.recv_fds(notified, 4_096, 64)
                if said == b"end":
                    break
                if b"FDSTORE=1" in said:
                    kept += descriptors
                else:
                    for each in descriptors:
                        os.close(each)  # so the barrier is passed
            for each in kept:
                os.close(each)

        supervisor = threading.Thread(target=supervise)
        supervisor.start()
        daemon = Daemon(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "sigd.cli", "--listen", "tcp://127.0.0.1:0"),
                    # Its code is loaded in a thread, which then waits for more to do, and may be given signals.
                    *("--set", f"admin.listen=unix:{folder}/admin.sock"),
                ],
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "NOTIFY_SOCKET": path},
            )
        )
        try:
            daemon.wait_until_ready()
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(f"{folder}/admin.sock")
                asking.sendall(b"status\n")
                assert asking.recv(1)
            yield daemon
        finally:
            daemon.kill()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"end", path)
            supervisor.join(HANG_SECONDS)


def storm(daemon: Daemon, seed: int) -> int:
    """Send signals in random order until the process has ended; return its exit status."""
    rng = random.Random(seed)
    while daemon.process.poll() is None:
        daemon.process.send_signal(rng.choice(SIGNALS))
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.process.wait(rng.choice([0.0001, 0.001]))
    return daemon.stop()


@pytest.mark.parametrize("seed", range(4))
def test_after_a_handover(tmp_path: Path, seed: int) -> None:
    with supervised(tmp_path) as daemon:
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.says("handed over")
        assert storm(daemon, seed) == EXIT_HANDED_OVER


@pytest.mark.parametrize("seed", range(4))
def test_after_a_stop(tmp_path: Path, seed: int) -> None:
    with supervised(tmp_path) as daemon, socket.create_connection(("127.0.0.1", daemon.port)):
        daemon.process.send_signal(signal.SIGTERM)
        daemon.says("stopping")
        assert storm(daemon, seed) == 0
