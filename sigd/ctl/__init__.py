"""`sigctl`, the operator's tool: daemon status, registered peers, and why two peers did not connect.

Each module beside this one describes some commands (`describe`) and runs them. Network modules are imported only when a
command runs.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import sigd
from sigd.ctl import acting, check, codes, completion, looking, setup, talk, tapping, token, top
from sigd.ctl.command_line import PROGRAM, Commands, EndedError, new_parser
from sigd.ctl.token import LONGEST_TTL, token_of, user_name
from sigd.terminal import EXIT_INTERRUPTED, complain, finish_output

__all__ = ["LONGEST_TTL", "main", "parser", "token_of", "user_name"]

MODULES: Final = (looking, top, tapping, acting, check, setup, talk, token, codes, completion)
"""Command modules in the order of the help; each has `describe(commands: Commands) -> None`."""


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and options; the manual is made from its texts."""
    made = new_parser()
    made.add_argument("--version", action="version", version=f"{PROGRAM} {sigd.__version__}")
    commands = Commands(made)
    for module in MODULES:
        module.describe(commands)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run sigctl with these arguments and return its exit status."""
    try:
        return _run(argv)
    finally:
        finish_output()


def _run(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:2] == ["complete", "--"]:  # called by shells; not in the help
        return completion.complete(parser(), arguments[2:])
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except EndedError as error:
        return _end(error, in_json=getattr(options, "json", False))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _end(error: EndedError, *, in_json: bool) -> int:
    """Report the failure on standard error; with `--json` also print the daemon's own answer."""
    for line in error.lines:
        complain(PROGRAM, line)
    if error.frame and in_json:
        from sigd.ctl.printing import put_answer

        put_answer(error.frame)
    return error.status
