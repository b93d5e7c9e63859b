"""Output of commands: JSON, tables, labelled rows, and colours on a terminal."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from sigd.ctl.command_line import PROGRAM
from sigd.terminal import put_out
from sigd.text import escaped

SCHEMA = 1
"""Of everything that `--json` prints; that of sigd.admin.replies, which a test compares."""

_COLOURS = {"fail": "31", "warn": "33", "ok": "32", "head": "1"}

_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d{3}\b)")

_LABEL = 12
"""Columns of a row's label: `limits hit` and two spaces."""


def put(lines: Iterable[str]) -> int:
    """Print lines that are already safe to print; return the exit status."""
    return put_out(PROGRAM, "".join(f"{line}\n" for line in lines))


def put_json(document: Mapping[str, object]) -> int:
    """Print an object, with its schema first, in printable ASCII; return the exit status."""
    return put_out(PROGRAM, dumped({"schema": SCHEMA, **document}) + "\n")


def put_answer(frame: bytes, **instead: object) -> int:
    """Print the daemon's answer as received, with the given members replaced; return the exit status."""
    return put_out(PROGRAM, dumped({**json.loads(frame), **instead}) + "\n")


def dumped(document: object, *, pretty: bool = True) -> str:
    """Return a value as JSON in printable ASCII, which cannot steer a terminal."""
    text = json.dumps(document, indent=2) if pretty else json.dumps(document, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")


def is_colourful() -> bool:
    """Return whether standard output is a terminal and colours are wanted (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(sys.stdout) and sys.stdout.isatty()


def coloured(text: str, kind: str) -> str:
    """Return a text of kind `fail`, `warn`, `ok` or `head` in its colour, if colours are on."""
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if kind in _COLOURS and is_colourful() else text


def width() -> int:
    """Return the columns of the terminal; 80 without one."""
    return shutil.get_terminal_size().columns


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Format rows under their heads, each column as wide as its content.

    Args:
        heads: the heads of the columns.
        rows: texts from any source.
        right: heads of right-aligned columns (figures), joined by a space.
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
    """Format a text from any source behind its label, wrapped; no lines for an empty text."""
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
    """Format a finding and its advice."""
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
    """Format counters, the highest first: `peer-unavailable 31, rate-limited 4`."""
    from sigd.ctl.quantities import count

    ordered = sorted(figures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count(number)}" for name, number in ordered if number)
