"""How a command of `sigctl` is described: its place in the help, its examples, the options that all have."""

import argparse
import os
from collections.abc import Callable

from sigd.terminal import Parser

PROGRAM = "sigctl"

DEFAULT_CONFIG = "/etc/sigd/sigd.toml"

DEFAULT_SOCKET = "/run/sigd/admin.sock"

SOCKET_VARIABLE = "SIGD_ADMIN"
"""Of the environment: another admin socket than the default."""

EXIT_REFUSED = 1
"""Something is not as it should be, or what was asked for was refused."""

EXIT_NO_DAEMON = 3

EXIT_TIMED_OUT = 4

EXIT_STATUS = """\
exit status:
  0  done
  1  something was found that an operator may want to change, or the daemon
     refuses; or anything else
  2  the options or the configuration are at fault
  3  no daemon answers
  4  it took too long
"""


class EndedError(Exception):
    """Why sigctl does not do what it was asked to, in lines for people.

    Attributes:
        status: what it exits with.
        lines: what it says; safe for terminals once they have gone through `complain`.
        frame: what the daemon has answered, where it was that which refused.
    """

    def __init__(self, status: int, *lines: str, frame: bytes = b"") -> None:
        super().__init__("\n".join(lines))
        self.status = status
        self.lines = lines
        self.frame = frame


class Commands:
    """The commands, as they are described one after the other."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        self,
        name: str,
        run: Callable[[argparse.Namespace], int],
        *,
        summary: str,
        text: str,
        examples: str = "",
        writes: bool | None = False,
        asks: bool = True,
    ) -> argparse.ArgumentParser:
        """Describe one, with `--json`, and return its parser for what else it takes.

        Args:
            name: what is typed.
            run: does it, and returns the exit status.
            summary: a few words for the list of commands.
            text: what it does, for its own help and the manual; lines of at most 80 columns.
            examples: lines of at most 80 columns, each with two spaces before.
            writes: whether it changes anything in the daemon; None: it has nothing to do with one.
            asks: whether it asks on the admin socket, and so takes `--socket`.
        """
        tag = {True: " (rw)", False: " (ro)", None: ""}[writes]
        described = self._parsers.add_parser(
            name,
            help=summary + tag,
            description=text,
            epilog="\n".join(filter(None, [examples and f"examples:\n{examples}", EXIT_STATUS])),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        described.set_defaults(run=run)
        described.add_argument("--json", action="store_true", help="print JSON, with the number of its schema")
        if asks:
            described.add_argument(
                "--socket",
                metavar="PATH",
                default=os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET,
                help=f"the daemon's admin socket ({DEFAULT_SOCKET}, or ${SOCKET_VARIABLE})",
            )
        return described


def new_parser() -> argparse.ArgumentParser:
    """What takes the arguments, without any command yet."""
    return Parser(
        prog=PROGRAM,
        description="Helps the people who run sigd, the WebRTC signaling daemon.",
        epilog="(ro) only looks, (rw) changes something in the running daemon.\n\n" + EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that no later option changes what an old script means
    )
