"""One connection to the admin socket: frames in, frames out, and how long either may take. It knows no question."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

import trio
from msgspec import Struct

from sigd.admin import messages
from sigd.admin.messages import MAX_QUESTION
from sigd.net.callers import Process
from sigd.wire import framing
from sigd.wire.framing import Framing, Lines, Prefixed, Splitter, TooLong

IDLE_SECONDS: Final = 600.0
"""How long nothing may be asked: a person reads, and `sigctl top` asks every second."""

FRAME_SECONDS: Final = 10.0
"""How long a program may take for a question that it has begun."""

LINE_SECONDS: Final = 60.0
"""The same for a line: a person types it."""

SEND_SECONDS: Final = 10.0
"""How long an answer may wait for who does not read."""

_RECEIVE_BYTES: Final = 4_096
_AT_ONCE: Final = 16
"""Questions that are split off at once; what follows waits in the splitter."""


class Gone(Exception):
    """The conversation is over; the text says why, for the log."""


class Asker:
    """Who asks.

    Attributes:
        process: at the other end.
        lines: whether it speaks lines; None: it has said nothing yet.
    """

    # `reserve`: is told how many bytes of an answer wait for it, see `Buffers.reserve`.
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
        """The next question as it came.

        Raises:
            Gone: there is none: an end of file, silence, or half a question for too long.
            ProtocolError: what came is no frame. After `too-large` others may follow, after `bad-frame` none.
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
                return b"\n"  # what a pipe ends without one; the end of file comes again
            raise Gone("in the middle of a question" if begun else "left")
        raise Gone("a question was begun and not finished in time" if begun else "silent for too long")

    def _begin(self, chunk: bytes) -> Splitter:
        match framing.framing_of(chunk[0]):
            case Framing.PREFIXED:
                self.lines, self._split = False, Prefixed(MAX_QUESTION)
            case Framing.LINES:
                self.lines, self._split = True, Lines(MAX_QUESTION)
            case Framing.TLS:
                raise Gone("tls where none is spoken")
        return self._split

    async def say(self, reply: Struct) -> None:
        """Send an answer.

        Raises:
            Gone: it was not read.
        """
        await self.send(self.framed(messages.encode(reply)))

    def framed(self, answer: bytes) -> bytes:
        """An answer as it travels; in lines for who has said nothing yet."""
        return Prefixed.wrap(answer) if self.lines is False else Lines.wrap(answer)

    async def send(self, data: bytes) -> None:
        """Send bytes that are framed already.

        Raises:
            Gone: they were not read.
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
        """Wait until it has ended its side; whatever it says before that is not looked at."""
        try:
            while await self._sock.recv(_RECEIVE_BYTES):
                pass
        except OSError:
            return
