"""Characters that are invisible or steer a terminal, in the only table of them, and safe forms of text from outside."""

import re
from typing import Final

LONGEST_QUOTE: Final = 128
"""Maximum characters quoted in a message: enough to recognize the text."""

CONTROLS: Final = ((0x00, 0x1F),)
"""C0, which valid JSON has in no string."""

HIDDEN: Final = (
    (0x7F, 0x9F),  # DEL and C1
    (0xAD, 0xAD),  # soft hyphen
    (0x34F, 0x34F),
    (0x61C, 0x61C),  # direction mark
    (0x115F, 0x1160),  # fillers
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),  # zero-width characters and direction marks
    (0x2028, 0x202E),  # line and paragraph separators, and direction overrides
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),  # tags
)
"""Characters that move the cursor or reverse text in some terminal or editor, and invisible ones, which make different
texts look alike: Default_Ignorable_Code_Point of Unicode 16.
"""

SURROGATES: Final = ((0xD800, 0xDFFF),)
"""Halves of surrogate pairs, which UTF-8 excludes and terminals cannot receive."""


def one_of(*ranges: tuple[int, int]) -> re.Pattern[str]:
    """Return the pattern of a character in one of these ranges."""
    return re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]")


_STEERING: Final = one_of(*CONTROLS, *HIDDEN, *SURROGATES)


def escaped(text: str) -> str:
    r"""Return text from outside in printable form: characters that are invisible or steer a terminal become escapes."""
    return _STEERING.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def shown(text: str, limit: int = LONGEST_QUOTE) -> str:
    """Return text safe for any terminal: printable ASCII, all else escaped as by `ascii()`, cut at `limit`."""
    safe = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[: limit + 1])
    return safe if len(safe) <= limit else f"{safe[: limit - 3]}..."
