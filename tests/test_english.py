"""A ratchet on the prose: sentences with a free "who" or "what" may only become fewer.

Such a clause stands where English puts a noun ("members of group sigd", not "who is in group sigd"). An indirect
question ("prints what has changed") is correct, so the goal is a small share and not zero. Each bound below is the
number of today. A test fails above the bound, and also well below it: then lower the bound, so that it holds from now
on.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sigd
from docs.made.pages import pages
from sigd import cli, ctl

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).parent.parent
PACKAGE = Path(sigd.__file__).parent

BOUNDS = {
    "documents": 0,
    "help": 0,
    "manual": 3,
    "docstrings": 66,
    "first lines": 0,
}
"""The largest number of hits in each kind of text."""

SLACK = 10
"""A bound may be too high by this much: small enough to follow the text, large enough that not each edit meets it."""

FREE = re.compile(r"\b(?:who|whoever|whom|what|whatever)\b", re.IGNORECASE)
BEGINS = re.compile(r"(?:who|whoever|whom|what|whatever|have)\b", re.IGNORECASE)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a paragraph, each on one line."""
    yield from filter(None, re.split(r"(?<=[.!?])\s+", " ".join(text.split())))


def paragraphs(markdown: str) -> Iterator[str]:
    """The paragraphs, headings and list items of a document: no fences, tables, comments and code spans."""
    prose = re.sub(r"^( *)(```+|~~~+).*?^ *\2 *$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"<!--.*?-->", "", prose, flags=re.DOTALL)
    prose = re.sub(r"^ *\|.*$", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "x", prose, flags=re.DOTALL)
    prose = re.sub(r"^(#+ .*)$", r"\n\1\n", prose, flags=re.MULTILINE)
    yield from re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", prose)


def documents() -> Iterator[tuple[str, str]]:
    """Each sentence of the documents, after its place; pages made from the code are counted where it stands there."""
    written = {*(ROOT / "docs").rglob("*.md")} - {ROOT / name for name in pages()}
    for path in [ROOT / "README.md", ROOT / "protocol.md", *sorted(written)]:
        for paragraph in paragraphs(path.read_text()):
            for sentence in sentences(paragraph):
                yield str(path.relative_to(ROOT)), sentence


def helps() -> Iterator[tuple[str, str]]:
    """Each sentence of the help texts, after its command."""
    waiting = [cli.parser(), ctl.parser()]
    while waiting:
        parser = waiting.pop()
        texts = [parser.description, parser.epilog]
        actions: list[argparse.Action] = vars(parser)["_actions"]
        for action in actions:
            summaries: list[argparse.Action] = vars(action).get("_choices_actions", [])
            commands: dict[str, argparse.ArgumentParser] = vars(action)["choices"] if summaries else {}
            texts += [each.help for each in (action, *summaries)]
            waiting += commands.values()
        for text in texts:
            for sentence in sentences(text or ""):
                yield parser.prog, sentence


def manual() -> Iterator[tuple[str, str]]:
    """Each sentence of the man pages, after its page: no examples, no tags."""
    for path in sorted((ROOT / "man").glob("*.[0-9]")):
        prose = re.sub(r"^\.nf$.*?^\.fi$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^\.TP\n.*$", ".", prose, flags=re.MULTILINE)
        for paragraph in re.split(r"^\..*$", prose, flags=re.MULTILINE):
            for sentence in sentences(paragraph):
                yield path.name, sentence


def docstrings() -> Iterator[tuple[str, str]]:
    """Each docstring after its place, those of constants and fields included."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value.value


def test_finds_them() -> None:
    text = "# What\n\nWho calls?\nWho calls `x`\nends. A camera calls.\n\n- whom it calls\n\n```\nwhat\n```\n| what |\n"
    found = [sentence for paragraph in paragraphs(text) for sentence in sentences(paragraph)]
    assert found == ["# What", "Who calls?", "Who calls x ends.", "A camera calls.", "- whom it calls"]
    assert [sentence for sentence in found if hit(sentence)] == ["# What", "Who calls x ends.", "- whom it calls"]


def hit(sentence: str) -> bool:
    """Whether it holds one of the words and is no question."""
    return bool(FREE.search(sentence)) and not sentence.endswith("?")


@pytest.mark.parametrize("kind", BOUNDS)
def test_falls(kind: str) -> None:
    texts = {
        "documents": documents,
        "help": helps,
        "manual": manual,
        "docstrings": docstrings,
        "first lines": docstrings,
    }
    every = list(texts[kind]())
    if kind == "first lines":
        hits = [(place, text.strip()) for place, text in every if BEGINS.match(text.strip())]
    else:
        hits = [(place, text) for place, text in every if hit(text)]
    assert every
    worst = sorted(hits, key=lambda found: len(FREE.findall(found[1])), reverse=True)
    share = f"{len(hits)} of {len(every)} {kind}, bound {BOUNDS[kind]}"
    listed = "\n".join(f"{place}: {text}" for place, text in worst[:20])
    assert len(hits) <= BOUNDS[kind], f"{share}; the worst:\n{listed}"
    assert len(hits) >= BOUNDS[kind] - SLACK, f"{share}: lower the bound"
