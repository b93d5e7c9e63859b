"""A restart in processes of their own, with a store for descriptors like systemd's."""

import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sigd.rules.memory import RESTART_PART
from tests.daemon import HANG_SECONDS
from tests.store import Store, stored

FULL = 500
"""Links that read nothing."""

OUTBOX_BYTES = 220_000
"""Bytes that each of them is sent: beyond what the kernel takes of it, 70 MiB for all."""

MESSAGE_BYTES = 5_500

UNLIMITED = (
    *("--set", 'limits.trusted=["127.0.0.0/8"]', "--set", "limits.messages_per_second=0"),
    *("--set", "limits.bytes_per_second=0", "--set", "limits.stall_timeout_ms=600000"),
)


def framed(message: dict[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


def joined(port: int, name: str, receive_buffer: int = 0) -> socket.socket:
    """A client that is registered."""
    sock = socket.socket()
    sock.settimeout(HANG_SECONDS)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    sock.sendall(framed({"type": "register", "id": name}))
    assert b'"registered"' in sock.recv(4_096)
    return sock


def _field(path: str, key: str) -> int:
    """Return a size in bytes from a file of /proc; 0: the process has just ended."""
    with contextlib.suppress(OSError), open(path) as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return 0


class Watch:
    """The memory of one daemon after the other, snapshot included: what their control group is charged for.

    Attributes:
        peak: the most of it that was seen.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shared = _field("/proc/meminfo", "Shmem:")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peak = 0

    def now(self) -> int:
        own = _field(f"/proc/{self._store.daemon.process.pid}/status", "RssAnon:")
        # A memfd is memory that the process does not map, or that both have.
        return own + max(0, _field("/proc/meminfo", "Shmem:") - self._shared)

    def _look(self) -> None:
        while not self._end.wait(0.002):
            self.peak = max(self.peak, self.now())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()


@pytest.mark.alone
@pytest.mark.slow
def test_full_buffers_are_not_in_memory_twice(tmp_path: Path) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(stored(tmp_path, *UNLIMITED))
        for number in range(FULL):
            stack.enter_context(joined(store.port, f"slow{number}", 4_096))
        senders = [stack.enter_context(joined(store.port, f"sender{number}")) for number in range(4)]
        for round_ in range(OUTBOX_BYTES // MESSAGE_BYTES):
            for number in range(FULL):
                message = {"type": "message", "to": f"slow{number}", "data": "x" * MESSAGE_BYTES}
                senders[round_ % 4].sendall(framed(message))
        for sender in senders:
            sender.sendall(framed({"type": "ping"}))
            assert b'"pong"' in sender.recv(4_096), "all were delivered"
        watch = Watch(store)
        before = watch.now()
        with watch.watching():
            store.restarts()
            time.sleep(1)
        assert watch.peak <= before * RESTART_PART, (before >> 20, watch.peak >> 20)
        assert before > 60 << 20, "the buffers are full"
        assert f"streams={FULL + len(senders)} datagrams=0 refused=0 lost=0" in store.daemon.says("taken up")
