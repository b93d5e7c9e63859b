"""Messages received and not yet taken by the program, bounded by their bytes. No I/O."""

from collections import deque
from typing import Final

from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, MessageFrom, OfferFrom

Received = OfferFrom | AnswerFrom | CandidateFrom | ByeFrom | MessageFrom | Error
"""Messages for the program: those of other peers, and an `error` that answers none of its requests."""

BACKLOG_BYTES: Final = 262_144
"""Maximum bytes received and not yet taken by the program; beyond it nothing is read. Equals the server's own bound."""

BACKLOG_BYTES_WHILE_ASKING: Final = 4 * BACKLOG_BYTES
"""The same bound while a request waits: its answer comes after messages of other peers, and a program that sends
requests between messages must get it. Beyond it the request times out.
"""

STRUCT_BYTES: Final = 512
"""Approximate size of a decoded message without its texts, so that many short messages count in full."""


class Backlog:
    """Messages for the program, oldest first."""

    def __init__(self) -> None:
        self._messages: deque[tuple[int, Received]] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    def has_room(self, *, asking: bool) -> bool:
        """Return whether to read more; `asking`: a request waits for its answer."""
        return self._bytes < (BACKLOG_BYTES_WHILE_ASKING if asking else BACKLOG_BYTES)

    def put(self, message: Received, size: int) -> None:
        """Append a message that took `size` bytes on the wire."""
        self._messages.append((size + STRUCT_BYTES, message))
        self._bytes += size + STRUCT_BYTES

    def take(self) -> Received | None:
        """Take the oldest message."""
        if not self._messages:
            return None
        size, message = self._messages.popleft()
        self._bytes -= size
        return message
