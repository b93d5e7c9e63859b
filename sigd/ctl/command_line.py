"""Description of a `sigctl` command: its place in the help, its examples, the options common to all."""

import argparse
import os
from collections.abc import Callable

from sigd.terminal import Parser

PROGRAM = "sigctl"

DEFAULT_CONFIG = "/etc/sigd/sigd.toml"

DEFAULT_SOCKET = "/run/sigd/admin.sock"

SOCKET_VARIABLE = "SIGD_ADMIN"
"""Environment variable with the path of another admin socket."""

EXIT_REFUSED = 1
"""Exit status: a finding, or a refused request."""

EXIT_NO_DAEMON = 3

EXIT_TIMED_OUT = 4

EXIT_STATUS = """\
exit status:
  0  done
  1  findings, a refusal by the daemon, or any other failure
  2  invalid options or configuration
  3  no daemon answers
  4  timeout
"""


class EndedError(Exception):
    """The reason why sigctl failed, in lines for people.

    Attributes:
        status: its exit status.
        lines: its error message; `complain` makes them safe for terminals.
        frame: the daemon's refusal, if there was one.
    """

    def __init__(self, status: int, *lines: str, frame: bytes = b"") -> None:
        super().__init__("\n".join(lines))
        self.status = status
        self.lines = lines
        self.frame = frame


class Commands:
    """The parsers of all commands, built as each is described."""

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
        """Describe a command with `--json`, and return its parser so that further arguments can be added.

        Args:
            name: the word typed.
            run: function that runs it and returns the exit status.
            summary: a few words for the list of commands.
            text: description for its own help and the manual; lines of at most 80 columns.
            examples: lines of at most 80 columns, each indented by two spaces.
            writes: whether it changes anything in the daemon; None: it does not involve a daemon.
            asks: whether it uses the admin socket, and so takes `--socket`.
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
        described.add_argument("--json", action="store_true", help="print JSON, including its schema number")
        if asks:
            described.add_argument(
                "--socket",
                metavar="PATH",
                default=os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET,
                help=f"the daemon's admin socket ({DEFAULT_SOCKET}, or ${SOCKET_VARIABLE})",
            )
        return described


def new_parser() -> argparse.ArgumentParser:
    """Build the argument parser, without any command yet."""
    return Parser(
        prog=PROGRAM,
        description="Inspects and controls sigd, the WebRTC signaling daemon.",
        epilog="(ro) reads only, (rw) changes the running daemon.\n\n" + EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that no later option changes what an old script means
    )
