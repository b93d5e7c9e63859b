"""JSON text that is passed on as it came: the checks that need no look into it.

msgspec has checked its syntax by then; a Raw still may be nested a thousand deep, or spread over several lines.
"""

import re
from typing import Final

from msgspec import Raw

_LF: Final = 0x0A
_CR: Final = 0x0D
_OPEN_ARRAY: Final = 0x5B
_OPEN_OBJECT: Final = 0x7B

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_plain(frame: bytes, max_depth: int) -> bool:
    """Whether nothing in a frame can be nested too deep or forge a line: cheap, and true of everyday candidates."""
    # An array can open one byte after another; an object inside an object needs `{"":` before it, so that nothing is
    # nested deep where no brace opens late.
    return (
        _LF not in frame
        and _CR not in frame
        and _OPEN_ARRAY not in frame
        and _OPEN_OBJECT not in frame[4 * max_depth :]
    )


def passable(body: Raw, max_depth: int) -> Raw | None:
    """A JSON text as it may be passed on: on one line. None: it is nested too deep.

    With a newline a sender could forge a line to a peer that reads lines. Strings hold none unescaped, and between
    tokens they mean nothing.
    """
    text = bytes(body).translate(None, b"\r\n")
    return Raw(text) if is_shallow(text, max_depth) else None


def is_shallow(text: bytes, max_depth: int) -> bool:
    """Whether a JSON text is nested at most `max_depth` deep."""
    if text.count(b"{") + text.count(b"[") <= max_depth:
        return True
    # Each pass takes the innermost pairs away, all in C: 64 KiB of the worst take a few milliseconds.
    brackets = _STRING.sub(b"", text).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(max_depth):
        brackets = brackets.replace(b"[]", b"")
    return not brackets
