"""Peers in processes of their own, driven by lines."""

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Self

from tests.daemon import HANG_SECONDS

ROOT = Path(__file__).parents[2]

LIMIT = HANG_SECONDS


class PeerProcess:
    """A peer.

    Attributes:
        said: its lines so far.
    """

    def __init__(self, command: list[str]) -> None:
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read_out(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr

    def wait_for(self, wanted: str) -> None:
        """Read on until it says this; fail if it does not."""
        deadline = time.monotonic() + LIMIT
        while wanted not in self.said:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no {wanted!r} after {self.said}\n{''.join(self._errors)}"
            self.said.append(line)

    def tell(self, line: str) -> None:
        """Have it send a line over its data channel."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Let it end the call; it must succeed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(LIMIT)
        for thread in self._threads:
            thread.join(LIMIT)
        while (line := self._lines.get()) is not None:
            self.said.append(line)
        assert status == 0, "".join(self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(LIMIT)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def running(*commands: list[str]) -> Generator[list[PeerProcess], None, None]:
    """One peer per command; killed at the end if they still run."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(PeerProcess(command)) for command in commands]
