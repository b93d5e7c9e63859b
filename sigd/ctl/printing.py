"""What commands print: JSON, tables, rows with a name before them; colours where somebody looks."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from sigd.ctl.commands import PROGRAM
from sigd.terminal import put_out
from sigd.text import escaped

SCHEMA = 1
"""Of everything that `--json` prints; that of sigd.admin.messages, which a test compares."""

_COLOURS = {"fail": "31", "warn": "33", "ok": "32", "head": "1"}

_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d{3}\b)")

_LABEL = 12
"""Columns of a row's name: `limits hit` and two spaces."""


def put(lines: Iterable[str]) -> int:
    """Print lines that are safe to print; the exit status."""
    return put_out(PROGRAM, "".join(f"{line}\n" for line in lines))


def put_json(document: Mapping[str, object]) -> int:
    """Print an object, with its schema first, in printable ASCII; the exit status."""
    return put_out(PROGRAM, dumped({"schema": SCHEMA, **document}) + "\n")


def put_answer(frame: bytes, **instead: object) -> int:
    """Print what the daemon has answered, as it came but for what is said instead; the exit status."""
    return put_out(PROGRAM, dumped({**json.loads(frame), **instead}) + "\n")


def dumped(document: object, *, pretty: bool = True) -> str:
    """A value as JSON in printable ASCII: whatever is in it, it steers no terminal."""
    text = json.dumps(document, indent=2) if pretty else json.dumps(document, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")


def is_colourful() -> bool:
    """Whether standard output is a terminal whose owner wants colours (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(sys.stdout) and sys.stdout.isatty()


def coloured(text: str, kind: str) -> str:
    """A text that is `fail`, `warn`, `ok` or a `head`, in its colour where there are colours."""
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if kind in _COLOURS and is_colourful() else text


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Rows under their heads, each column as wide as what is in it.

    Args:
        heads: of the columns.
        rows: texts from anywhere.
        right: letters of the heads, joined by a space, whose columns end on the right: figures.
    """
    safe = [heads, *([escaped(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*safe, strict=True)]
    to_the_right = set(right.split())
    lines = [
        "  ".join(
            cell.rjust(wide) if head in to_the_right else cell.ljust(wide)
            for head, cell, wide in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in safe
    ]
    return [coloured(lines[0], "head"), *lines[1:]]


def row(label: str, text: str) -> list[str]:
    """A text from anywhere behind its name, in as many lines as it needs, each below the other; none for no text."""
    if not text:
        return []
    lines = textwrap.wrap(
        # `8 204` is one word.
        _BETWEEN_DIGITS.sub("\xa0", escaped(text)),
        max(width(), 2 * _LABEL),
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


def finding(severity: str, text: str, advice: str) -> list[str]:
    """Something to change, in a few lines."""
    mark = {"fail": "FAIL", "warn": "warn"}.get(severity, escaped(severity))
    wide = max(width(), 40)
    said = textwrap.wrap(escaped(text), wide - 6, break_on_hyphens=False, break_long_words=False) or [""]
    told = textwrap.wrap(
        f"-> {escaped(advice)}", wide - 6, subsequent_indent="   ", break_on_hyphens=False, break_long_words=False
    )
    lines = [coloured(mark.ljust(6), severity) + said[0]]
    lines += [" " * 6 + line for line in [*said[1:], *(told if advice else ())]]
    return lines


def counts(figures: Mapping[str, int]) -> str:
    """What was counted, the most frequent first: `peer-unavailable 31, rate-limited 4`."""
    from sigd.ctl.quantities import count

    ordered = sorted(figures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count(number)}" for name, number in ordered if number)
