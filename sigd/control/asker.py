"""One connection to the admin socket: frames in, frames out, and their timeouts. Knows nothing of requests."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

import trio
from msgspec import Struct

from sigd.admin import replies
from sigd.admin.questions import MAX_QUESTION
from sigd.net.callers import Process
from sigd.wire import framing
from sigd.wire.framing import Dialect, Lines, Prefixed, Splitter, TooLong

IDLE_SECONDS: Final = 600.0
"""Timeout for the next request: an operator reads, and `sigctl top` asks every second."""

FRAME_SECONDS: Final = 10.0
"""Timeout for the rest of a request begun by a program."""

LINE_SECONDS: Final = 60.0
"""Timeout for the rest of a line, typed by a person."""

SEND_SECONDS: Final = 10.0
"""Timeout for sending an answer to a client that does not read."""

_RECEIVE_BYTES: Final = 4_096
_AT_ONCE: Final = 16
"""Maximum number of requests split off at once; later ones wait in the splitter."""


class Gone(Exception):
    """The end of a conversation; its text gives the reason, for the log."""


class Asker:
    """A client of the admin socket.

    Attributes:
        process: the process at the other end.
        lines: whether it uses line framing; None: unknown before its first byte.
    """

    # `reserve` receives the bytes of an answer that wait to be sent, see `Buffers.reserve`.
    def __init__(
        self, sock: trio.socket.SocketType, process: Process, reserve: Callable[[Hashable, int], None]
    ) -> None:
        self.process = process
        self._reserve = reserve
        self.lines: bool | None = None
        self._sock = sock
        self._split: Splitter | None = None
        self._frames: deque[bytes] = deque()
        self._begun = False
        self._due = 0.0

    async def next_frame(self, idle_seconds: float = IDLE_SECONDS) -> bytes:
        """Return the next request as received.

        Raises:
            Gone: end of file, silence, or a timeout within a request.
            ProtocolError: the input is no frame. Others may follow after `too-large`, none after `bad-frame`.
        """
        split = self._split
        while not self._frames:
            chunk = b"" if split is not None and split.more else await self._receive(idle_seconds)
            if split is None:
                split = self._begin(chunk)
            try:
                self._frames.extend(split.take(chunk, _AT_ONCE))
            except TooLong:
                split.skip()
                raise
        self._begun = False
        return self._frames.popleft()

    async def _receive(self, idle_seconds: float) -> bytes:
        split = self._split
        begun = split is not None and bool(split.rest or split.skipping)
        now = trio.current_time()
        if not begun or not self._begun:
            self._due = now + ((LINE_SECONDS if self.lines else FRAME_SECONDS) if begun else idle_seconds)
        self._begun = begun
        with trio.move_on_at(self._due):
            try:
                chunk = await self._sock.recv(_RECEIVE_BYTES)
            except OSError:
                raise Gone("connection lost") from None
            if chunk:
                return chunk
            if begun and self.lines:
                return b"\n"  # ends a last line without newline; end of file is read again
            raise Gone("in the middle of a question" if begun else "left")
        raise Gone("a question was begun and not finished in time" if begun else "silent for too long")

    def _begin(self, chunk: bytes) -> Splitter:
        match framing.dialect_of(chunk[0]):
            case Dialect.PREFIXED:
                self.lines, self._split = False, Prefixed(MAX_QUESTION)
            case Dialect.LINES:
                self.lines, self._split = True, Lines(MAX_QUESTION)
            case Dialect.TLS:
                raise Gone("tls where none is spoken")
        return self._split

    async def say(self, reply: Struct) -> None:
        """Send an answer.

        Raises:
            Gone: the client did not read it.
        """
        await self.send(self.framed(replies.encode(reply)))

    def framed(self, answer: bytes) -> bytes:
        """Frame an answer; as a line if the client has sent nothing yet."""
        return Prefixed.wrap(answer) if self.lines is False else Lines.wrap(answer)

    async def send(self, data: bytes) -> None:
        """Send framed bytes.

        Raises:
            Gone: the client did not read them.
        """
        self._reserve(self, len(data))
        try:
            await self._send(data)
        finally:
            self._reserve(self, 0)

    async def _send(self, data: bytes) -> None:
        with memoryview(data) as rest:
            sent = 0
            while sent < len(rest):
                with trio.move_on_after(SEND_SECONDS):
                    try:
                        sent += await self._sock.send(rest[sent:])
                    except OSError:
                        raise Gone("connection lost") from None
                    continue
                raise Gone("does not read")

    async def leaves(self) -> None:
        """Wait until the client closes its side; discard any further input."""
        try:
            while await self._sock.recv(_RECEIVE_BYTES):
                pass
        except OSError:
            return
