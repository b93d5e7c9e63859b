"""Markdown: cells, tables and fences."""

from collections.abc import Iterable, Iterator, Sequence


def cell(text: str) -> str:
    """Return text that fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for row in (headings, ["---"] * len(headings), *rows):
        yield f"| {' | '.join(map(cell, row))} |"


def fence(kind: str, text: str) -> Iterator[str]:
    """Yield a fenced block."""
    yield from (f"```{kind}", text.rstrip("\n"), "```")


def page(*lines: str) -> str:
    """Return a page of these lines."""
    return "\n".join(lines).rstrip("\n") + "\n"
