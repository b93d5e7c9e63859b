"""The documents, and the blocks in them that tests run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "clients/**/*.md", "bench/*.md")
    for path in ROOT.glob(pattern)
)
"""Every document in the tree, by its path."""


def read(page: str) -> str:
    """Return a document's text."""
    return (ROOT / page).read_text()


def blocks(page: str, kind: str) -> list[str]:
    """Return the text of each fenced block of this kind, its last newline included."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Return a document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
