"""The one table of characters that steer a terminal or do not show, and text from outside with each spelt out."""

import re
from typing import Final

LONGEST_QUOTE: Final = 128
"""Characters of what a message quotes: enough to recognise it by."""

CONTROLS: Final = ((0x00, 0x1F),)
"""C0, which valid JSON has in no string."""

HIDDEN: Final = (
    (0x7F, 0x9F),  # DEL and C1
    (0xAD, 0xAD),  # soft hyphen
    (0x34F, 0x34F),
    (0x61C, 0x61C),  # a mark of direction
    (0x115F, 0x1160),  # fillers
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),  # zero widths, and marks of direction
    (0x2028, 0x202E),  # ends of lines and paragraphs, and what turns text around
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
"""Characters that move the cursor or turn text around in some terminal or editor, and those that do not show, so that
two texts look alike: Default_Ignorable_Code_Point of Unicode 16."""

SURROGATES: Final = ((0xD800, 0xDFFF),)
"""Halves of pairs, which no terminal can be sent, and UTF-8 has not."""


def one_of(*ranges: tuple[int, int]) -> re.Pattern[str]:
    """Return the pattern of a character in one of these ranges."""
    return re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]")


_STEERING: Final = one_of(*CONTROLS, *HIDDEN, *SURROGATES)


def escaped(text: str) -> str:
    r"""Return text from outside as it may be printed: what steers a terminal or is invisible as `\x1b` or `\u202e`."""
    return _STEERING.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def shown(text: str, limit: int = LONGEST_QUOTE) -> str:
    """Return text safe for any terminal: all but printable ASCII as `ascii()` spells it, cut at `limit`."""
    safe = "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[: limit + 1])
    return safe if len(safe) <= limit else f"{safe[: limit - 3]}..."
