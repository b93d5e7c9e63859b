"""Telnet commands (RFC 854) in the lines that a person types: every option is refused. No I/O.

Its bytes 0xFF never occur in UTF-8, so that each of them begins a sequence, wherever it stands.
"""

import re
from typing import Final, NamedTuple

IAC: Final = b"\xff"

_SEQUENCE: Final = re.compile(rb"\xff([\xfb-\xfe].|[\xec-\xfa])", re.DOTALL)
"""An option's negotiation, or one of the commands of RFC 854 and RFC 1184 (0xEC to 0xEE)."""

_BEGUN: Final = re.compile(rb"\xff[\xfb-\xfe]?\Z")

LONGEST_BEGINNING: Final = 2
"""Bytes of a sequence that may stand at the end of a chunk."""

_ANSWERS: Final = {b"\xfd": b"\xfc", b"\xfb": b"\xfe"}
"""WONT to DO, DONT to WILL. To answer WONT and DONT as well could go on for ever (RFC 854)."""

_MEANINGS: Final = {
    b"\xec": b"quit",  # end of file
    b"\xee": b"quit",  # abort
    b"\xf3": b"quit",  # break
    b"\xf4": b"quit",  # interrupt process: Ctrl-C
    b"\xf6": b"ping",  # are you there
}
"""The commands of a person for which a telnet program has a sequence."""


class Untangled(NamedTuple):
    """Input divided into text and telnet commands.

    Attributes:
        text: the typed bytes, and at their end a sequence that is not complete yet.
        frames: the requests to negotiate, all in one, then commands.
    """

    text: bytes
    frames: list[bytes]


def begun(text: bytes | bytearray) -> int:
    """Return how many bytes at the end of a text begin a sequence."""
    found = _BEGUN.search(text, max(0, len(text) - LONGEST_BEGINNING))
    return 0 if found is None else found.end() - found.start()


def untangle(chunk: bytes) -> Untangled:
    """Remove telnet sequences from the input."""
    asked = b""
    commands: list[bytes] = []
    for sequence in _SEQUENCE.findall(chunk):
        if sequence[:1] in _ANSWERS:
            asked += IAC + sequence
        elif sequence in _MEANINGS:
            commands.append(_MEANINGS[sequence])
    return Untangled(_SEQUENCE.sub(b"", chunk), [asked, *commands] if asked else commands)


def refusals(asked: bytes) -> bytes:
    """Return the answer to requests to negotiate, which refuses every option; empty where there are none.

    A telnet program that was interrupted shows nothing more until its request for a timing mark was answered
    (RFC 860).
    """
    found = [sequence for sequence in _SEQUENCE.findall(asked) if sequence[:1] in _ANSWERS]
    return b"".join(IAC + _ANSWERS[sequence[:1]] + sequence[1:] for sequence in found)
