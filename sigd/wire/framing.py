"""Where a frame ends: chunks of bytes in, whole frames out, and which framing a link's first byte means.

One splitter per link. What it keeps is the beginning of one frame at most, and what is left of one chunk; every byte is
copied a fixed number of times, however small the chunks are. No I/O, no JSON.
"""

import enum
import functools
import re
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sigd.text import HIDDEN, one_of
from sigd.wire import telnet
from sigd.wire.errors import ErrorCode, ProtocolError

PREFIX_BYTES: Final = 4
"""A frame's length goes before it."""

MAX_FRAME: Final = (1 << 24) - 1
"""Bytes. A length begins with a zero byte, by which it is told from a line."""

NEWLINE_BYTES: Final = 1
"""A line's end."""

SKIPPED_LIMITS: Final = 16
"""Limits up to which a frame is passed over instead of ending the link: 1 MiB by default, four times the largest
description that `why` reads. A length beyond is more likely no length at all."""

HEAD_BYTES: Final = 1_024
"""Beginning of a skipped frame that is searched for `type`, `to` and `ref`, if they stand before the SDP."""

NO_FRAMES: Final[Sequence[bytes]] = ()

_length_at: Final[Callable[[bytes, int], tuple[int]]] = struct.Struct(">I").unpack_from

_LF: Final = b"\n"
_DEL: Final = 0x7F

_HERE: Final = b"<<"
"""The last word of a command whose text follows on lines of its own, up to one with a single dot."""

_SIGN: Final = b"<"

_OPENING: Final = re.compile(rb"( *(?:offer|answer|send) +\S+ +<< *)\r?\n")

_CLOSING: Final = re.compile(rb"\n\.\r?\n")

_BEGUN_CLOSING: Final = re.compile(rb"\n(?:\.\r?)?\Z")

_CLOSING_BYTES: Final = 4
"""Of the longest end of a text."""

TLS_ALERT: Final = bytes.fromhex("15 03 03 0002 02 28")
"""A fatal `handshake_failure` (RFC 8446, section 6): the answer to a TLS client where there is no TLS."""

NOT_HTTP: Final = (
    b"# This is sigd, a WebRTC signaling daemon. It does not speak HTTP: connect with TCP and type help.\n"
)
"""The one line that an HTTP client gets."""

_HTTP_REQUEST: Final = re.compile(rb" HTTP/\d+(\.\d+)?\s*\Z")

_UNSAFE_IN_LINES: Final = one_of(*HIDDEN)

_FEW: Final = 16
"""Characters to escape up to which one call for each is faster than looking all characters up in a table."""


class Dialect(enum.Enum):
    """Language of a client, by its first byte (protocol.md, section 2)."""

    PREFIXED = enum.auto()
    LINES = enum.auto()
    TLS = enum.auto()


def dialect_of(first: int) -> Dialect:
    """The framing that a client's first byte chooses.

    A length is below 2**24, so that its first byte is zero; 0x16 begins a TLS ClientHello; no line begins with either.
    """
    match first:
        case 0x00:
            return Dialect.PREFIXED
        case 0x16:
            return Dialect.TLS
        case _:
            return Dialect.LINES


class TooLong(ProtocolError):
    """A frame above the limit, that can be passed over.

    Attributes:
        head: its beginning, as far as it has come.
        length: its bytes; of a line, those that have come.
    """

    def __init__(self, text: str, head: bytes, length: int) -> None:
        super().__init__(ErrorCode.TOO_LARGE, text)
        self.head = head[:HEAD_BYTES]
        self.length = length

    @property
    def is_known(self) -> bool:
        """Whether as much of its beginning has come as is ever looked at."""
        return len(self.head) == min(self.length, HEAD_BYTES)


class Splitter(Protocol):
    """Finds the frames in the input of one link."""

    limit: int
    """Bytes of the longest frame that is taken; may change between two calls of `take`."""
    more: bool
    """Whether `take(b"")` may find something."""
    skipping: int
    """Number of bytes still to be skipped; 1 for a line, whose length is unknown."""
    rest: bytes | bytearray
    """Bytes received that form no whole frame yet (or may, if `more` says so)."""

    def take(self, chunk: bytes, most: int) -> Sequence[bytes]:
        """The next whole frames, at most `most`, `chunk` being the bytes after all that were given before.

        Raises:
            TooLong: the next frame is above the limit; `skip` passes over it.
            ProtocolError: the next bytes are no frame: `bad-frame`, and nothing can follow.
        """
        ...

    def clear(self) -> None:
        """Drop all input: nothing follows."""
        ...

    def skip(self) -> None:
        """Pass over the frame that was `TooLong`: the next call of `take` goes on behind it."""
        ...


class Prefixed:
    """Splits length-prefixed frames: 4 bytes of length, most significant first, then as many bytes of JSON."""

    __slots__ = ("_need", "limit", "more", "rest", "skipping")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.more = False
        self.skipping = 0
        self.rest: bytes | bytearray = b""
        self._need = PREFIX_BYTES

    def take(self, chunk: bytes, most: int) -> Sequence[bytes]:
        """The next whole frames, at most `most`.

        Raises:
            TooLong: the length that comes next is above the limit. Without `skip` it is raised again, once more of the
                frame has come.
            ProtocolError: `bad-frame`: that length is 0, or above `SKIPPED_LIMITS` limits.
        """
        data = self._joined(chunk) if self.rest else chunk
        if data is None:
            return NO_FRAMES
        frames: list[bytes] = []
        self.more = False
        self._need = PREFIX_BYTES
        limit = self.limit
        start, end = 0, len(data)
        while end - start >= PREFIX_BYTES:
            (size,) = _length_at(data, start)
            first = start + PREFIX_BYTES
            stop = first + size
            if size > limit or not size:
                if not frames:
                    raise self._misframed(data, size)
                self.more = True
                break
            if stop > end:
                self._need = PREFIX_BYTES + size
                break
            if len(frames) == most:
                self.more = True
                break
            frames.append(data[first:stop])
            start = stop
        self.rest = data[start:] if start < end else b""
        return frames

    def _misframed(self, data: bytes, size: int) -> ProtocolError:
        text = f"a frame's length must be 1 to {self.limit} bytes here"
        if not 0 < size <= SKIPPED_LIMITS * self.limit:
            return ProtocolError(ErrorCode.BAD_FRAME, text)
        self.rest = data
        self._need = PREFIX_BYTES + min(size, HEAD_BYTES)
        return TooLong(text, data[PREFIX_BYTES : PREFIX_BYTES + min(size, HEAD_BYTES)], size)

    def skip(self) -> None:
        """Pass over the frame that was `TooLong`; until its end the rest is its length, and nothing else is kept."""
        size = int.from_bytes(self.rest[:PREFIX_BYTES], "big")
        stop = PREFIX_BYTES + size
        self.skipping = max(0, stop - len(self.rest))
        self.rest = bytes(self.rest[:PREFIX_BYTES] if self.skipping else self.rest[stop:])
        self.more = not self.skipping and len(self.rest) >= PREFIX_BYTES
        self._need = PREFIX_BYTES

    def _joined(self, chunk: bytes) -> bytes | None:
        rest = self.rest
        if self.skipping:
            behind = chunk[self.skipping :]
            self.skipping = max(0, self.skipping - len(chunk))
            if self.skipping:
                return None
            return behind
        if len(rest) + len(chunk) < self._need:
            if not isinstance(rest, bytearray):
                rest = self.rest = bytearray(rest)
            rest += chunk
            return None
        return bytes(rest) + chunk

    def clear(self) -> None:
        """Drop all input: nothing follows."""
        self.rest = b""
        self.more = False

    @staticmethod
    def wrap(message: bytes) -> bytes:
        """The frame that carries a message."""
        return len(message).to_bytes(PREFIX_BYTES, "big") + message


class Lines:
    """Splits lines: LF or CRLF ends each. A line above the limit is passed over up to its end.

    A command that ends in `<<` and the lines behind it, up to one with a single dot, are one frame, with LF in it.
    Meanwhile `rest` begins with an LF, which no other rest does, unless `more` says that it is not split yet.
    """

    __slots__ = ("limit", "more", "rest", "skipping")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.more = False
        self.rest: bytes | bytearray = b""
        self.skipping = 0

    def take(self, chunk: bytes, most: int) -> Sequence[bytes]:
        """The next whole lines without their ends, at most `most`.

        Raises:
            TooLong: once for each line above the limit, which is passed over anyway.
        """
        if telnet.IAC in chunk or telnet.IAC in self.rest[-telnet.LONGEST_BEGINNING :]:
            return self._untangled(chunk, most)
        return self._lines(chunk, most)

    def _lines(self, chunk: bytes, most: int) -> Sequence[bytes]:
        # The rest holds no LF unless `more` says so: a byte is searched once, however long the line grows.
        if self.rest and not self.more:
            if self.rest[0] == _LF[0]:
                return self._text(chunk)
            if _LF not in chunk:
                return self._grown(chunk)
        if self.skipping:
            _, found, chunk = chunk.partition(_LF)
            if not found:
                return NO_FRAMES
            self.skipping = 0
        data = bytes(self.rest) + chunk if self.rest else chunk
        if _SIGN in data and _HERE in data:  # one byte is found ten times as fast as two
            opening = _OPENING.match(data)
            if opening is not None and len(opening[1]) <= self.limit:
                self.rest, self.more = _LF, False
                return self._text(data)
            most = 1  # the line after this one may begin a text
        self.rest = b""
        self.more = False
        frames: list[bytes] = []
        start, end = 0, len(data)
        while (stop := data.find(_LF, start)) >= 0:
            line = data[start:stop].removesuffix(b"\r")
            too_large = len(line) > self.limit
            if len(frames) == most or (too_large and frames):
                self.more = True
                break
            start = stop + 1
            if too_large:
                self.rest, self.more = data[start:], start < end
                raise self._too_large(line)
            frames.append(line)
        if self.more:
            self.rest = data[start:]
            return frames
        return self._kept(frames, data[start:])

    def _untangled(self, chunk: bytes, most: int) -> Sequence[bytes]:
        """Return the next whole lines, followed by the answers due to a telnet program."""
        begun = 0 if self.more else telnet.begun(self.rest)
        if begun:
            chunk = bytes(self.rest[-begun:]) + chunk
            self.rest = self.rest[:-begun]
        text, said = telnet.untangle(chunk)
        end = len(text) - telnet.begun(text)
        try:
            return [*self._lines(text[:end], most), *said]
        except ProtocolError:
            if not said:
                raise
            return said  # a telnet program that waits for its answer would not show the error
        finally:
            self.rest += text[end:]  # even where the line that it is in is passed over

    def _kept(self, frames: list[bytes], rest: bytes) -> Sequence[bytes]:
        if len(rest) > self.limit + 1:  # + 1: a CR that may belong to the line's end
            if frames:
                self.rest, self.more = rest, True
                return frames
            self.skipping = 1
            raise self._too_large(rest)
        self.rest = rest
        return frames

    def _grown(self, chunk: bytes) -> Sequence[bytes]:
        if len(self.rest) + len(chunk) > self.limit + 1:
            line, self.rest = bytes(self.rest) + chunk, b""
            self.skipping = 1
            raise self._too_large(line)
        if not isinstance(self.rest, bytearray):
            self.rest = bytearray(self.rest)
        self.rest += chunk
        return NO_FRAMES

    def _text(self, chunk: bytes) -> Sequence[bytes]:
        """The next frame where that is a text of several lines: nothing before its end has come."""
        text = self.rest if isinstance(self.rest, bytearray) else bytearray(self.rest)
        known = max(0, len(text) - _CLOSING_BYTES)
        text += chunk
        closing = _CLOSING.search(text, known)
        # Before its end has come, up to three bytes of that may be in it.
        size = (len(text) - (_CLOSING_BYTES - 1) if closing is None else closing.start()) - 1
        too_large = size > self.limit and not self.skipping
        head = bytes(text[1 : 1 + HEAD_BYTES]) if too_large else b""
        if closing is not None:
            frame, self.rest = bytes(text[1 : closing.start() + 1]), bytes(text[closing.end() :])
            self.more = bool(self.rest)
            skipped, self.skipping = self.skipping, 0
        elif too_large or self.skipping:
            # A skipped text leaves nothing behind but an end that has begun, and a sign that its beginning was a text.
            begun = _BEGUN_CLOSING.search(text, known)
            frame, self.rest = b"", b"\n<" + (b"" if begun is None else begun[0])
            skipped = self.skipping = 1
        else:
            self.rest = text
            return NO_FRAMES
        if too_large:
            raise TooLong(f"a text must be at most {self.limit} bytes here", head, size)
        return NO_FRAMES if skipped else [frame]

    def _too_large(self, line: bytes) -> ProtocolError:
        return TooLong(f"a line must be at most {self.limit} bytes here", line, len(line))

    def skip(self) -> None:
        """Pass over the line that was `TooLong`: that is done already."""

    def clear(self) -> None:
        """Drop all input: nothing follows."""
        self.rest = b""
        self.more = False

    @staticmethod
    def wrap(message: bytes) -> bytes:
        """Return a message as one line that is safe for a terminal, with any content."""
        if message.isascii() and _DEL not in message:
            return message + _LF
        text = message.decode()
        unsafe = len(_UNSAFE_IN_LINES.findall(text))
        # A call for each is fast for a few, a table for many: 64 KiB of them would take 60 ms one by one.
        if unsafe > _FEW:
            text = text.translate(_escapes())
        elif unsafe:
            text = _UNSAFE_IN_LINES.sub(lambda found: _in_json(ord(found[0])), text)
        return text.encode() + _LF


def _in_json(code: int) -> str:
    """Return a character as JSON escapes it: in UTF-16."""
    units = chr(code).encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


@functools.cache
def _escapes() -> dict[int, str]:
    # Made when first wanted, in some milliseconds: it takes 0.7 MB.
    return {code: _in_json(code) for first, last in HIDDEN for code in range(first, last + 1)}


class LinkFraming:
    """The framing of one link, as far as messages to its client go. It is shared by all links that have the same.

    Attributes:
        name: its name for people; empty before the client's first byte, which decides.
        wrap: makes a message ready for the transport: framed and, where needed, escaped.
        length_of: the length of the message, escaped as it is, in what `wrap` has made of it.
        overhead: the maximum number of bytes that the frame adds to that.
        patient: whether a person, or a script that only listens, is at the other end: it is neither pinged nor closed
            for silence.
    """

    __slots__ = ("length_of", "name", "overhead", "patient", "wrap")

    def __init__(
        self,
        name: str,
        wrap: Callable[[bytes], bytes],
        overhead: int,
        length_of: Callable[[bytes], int] | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self.name = name
        self.wrap = wrap
        self.overhead = overhead

        def length_without_frame(data: bytes) -> int:
            return len(data) - overhead

        self.length_of = length_of or length_without_frame
        self.patient = patient

    def __repr__(self) -> str:
        return f"LinkFraming({self.name!r})"


PREFIXED: Final = LinkFraming("prefixed", Prefixed.wrap, PREFIX_BYTES)
LINES: Final = LinkFraming("lines", Lines.wrap, NEWLINE_BYTES, patient=True)
DATAGRAMS: Final = LinkFraming("datagrams", lambda message: message, 0)
UNDECIDED: Final = LinkFraming("", Lines.wrap, NEWLINE_BYTES)
"""Before the first byte: a client that is refused then gets a line, which everybody can read."""


def is_http_request(line: bytes) -> bool:
    """Return whether a link's first line is an HTTP request of any method: a web page may have sent it."""
    return _HTTP_REQUEST.search(line) is not None
