"""The reference of the commands: `sigd`, and every command of `sigctl`."""

import argparse
import textwrap
from collections.abc import Iterator

from docs.made.markdown import fence, page, table
from man.parsers import commands as commands_of
from man.parsers import options, sections, usage
from sigd import cli, ctl

INTRODUCTION = """\
`sigd --help`, `sigctl --help` and `sigctl COMMAND --help` print the same texts, and `man sigd` and `man sigctl` have
them as well."""


def commands() -> str:
    """Return the page."""
    sigd, sigctl = cli.parser(), ctl.parser()
    lines = ["# Commands", "", INTRODUCTION, *_described(sigd, "## sigd"), *_described(sigctl, "## sigctl")]
    for command in commands_of(sigctl):
        lines += _described(command, f"### {command.prog}", "examples")
    return page(*lines)


def _described(parser: argparse.ArgumentParser, heading: str, only: str = "") -> Iterator[str]:
    """Yield heading, usage, description, options and the sections behind them, or only one of these."""
    yield from ("", heading, "", *fence("text", usage(parser)))
    for paragraph in (parser.description or "").strip().split("\n\n"):
        yield from ("", *textwrap.wrap(" ".join(paragraph.split()), 120, break_on_hyphens=False))
    rows = [
        (f"`{' '.join(filter(None, [', '.join(option.names), option.taken]))}`", option.text)
        for option in options(parser)
        if "--help" not in option.names
    ]
    if rows:
        yield from ("", *table(("option", "effect"), rows))
    for title, body in sections(parser.epilog):
        if not only or title == only:
            yield from ("", f"{title.capitalize()}:", "", *fence("text", textwrap.dedent(body).strip("\n")))
