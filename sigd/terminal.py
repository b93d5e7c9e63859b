"""Terminal code common to `sigd` and `sigctl`: exit statuses, faults on one line, output that may fail."""

import argparse
import os
import re
import sys
from collections.abc import Iterable
from typing import NoReturn, cast

from sigd.text import shown

# Usage or configuration: nothing was started, and a retry without a change is pointless.
EXIT_FAULT = 2
# A shell's status of a program ended by SIGINT: 128 + 2.
EXIT_INTERRUPTED = 130
# An exception from the system is printed on one line of a terminal, not on a page.
LONGEST_LINE = 1024
# No typo is longer, and comparing words takes the product of their lengths.
LONGEST_WORD = 64


class Parser(argparse.ArgumentParser):
    """Argparse with its faults on one line, free of characters that steer a terminal."""

    def error(self, message: str) -> NoReturn:
        """Report a fault in the arguments and exit."""
        program, *command = self.prog.split()
        said = ": ".join([program, *command, shown(self._with_nearest(message), LONGEST_LINE)])
        self.exit(EXIT_FAULT, f"{said}; see `{self.prog} --help`\n")

    def _with_nearest(self, message: str) -> str:
        """Return a message of argparse with the nearest word instead of all choices."""
        choice = _NO_CHOICE.fullmatch(message)
        option = _NO_OPTION.fullmatch(message)
        if choice is not None:
            near = nearest(choice["word"], re.findall(r"[\w-]+", choice["words"]))
            return f"{choice['what']}unknown word: {choice['word']}; the nearest is {near}" if near else message
        if option is not None:
            near = nearest(option["word"], _options_of(self))
            return f"unknown option: {option['word']}; the nearest is {near}" if near else message
        return message


_NO_CHOICE = re.compile(r"(?P<what>.*)invalid choice: '(?P<word>[^']*)' \(choose from (?P<words>.*)\)", re.DOTALL)

_NO_OPTION = re.compile(r"unrecognized arguments: (?P<word>--[\w-]+)(=.*| .*)?", re.DOTALL)


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser and of those of its commands."""
    # argparse tells them by members that are private in name alone: nothing else has them.
    found: list[str] = []
    actions: list[argparse.Action] = vars(parser)["_actions"]
    for action in actions:
        found += action.option_strings
        choices: object = vars(action)["choices"]
        if isinstance(choices, dict):
            commands = cast("dict[str, argparse.ArgumentParser]", choices)
            found += [option for command in commands.values() for option in _options_of(command)]
    return found


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the word that somebody may have meant; nothing if none is near."""
    import difflib  # for slips of the finger alone

    known = list(words)
    beginning = [each for each in known if word and each.startswith(word)]
    return next(iter(beginning or difflib.get_close_matches(word[:LONGEST_WORD], known, n=1)), "")


def say(line: str) -> None:
    """Print a line on standard error."""
    if sys.stderr:  # None if whoever started us has closed it; `print` would take standard output instead
        print(line, file=sys.stderr)


def complain(program: str, what: object) -> int:
    """Say on one line why a program cannot do its task; return the exit status."""
    say(f"{program}: {shown(str(what), LONGEST_LINE)}")
    return EXIT_FAULT


def finish_output() -> None:
    """Flush the standard streams, and put the null device in the place of one that cannot be written.

    Python flushes them once more when it ends, and makes the exit status 120 where that fails. Up to 3.13.4 this
    concerned standard output alone; later versions take a log on a full disk for a failure of the program.
    """
    for stream in (sys.stdout, sys.stderr):
        if not stream:
            continue
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def put_out(program: str, text: str) -> int:
    """Write to standard output and return the exit status."""
    if not sys.stdout:
        say(f"{program}: standard output: closed")
        return 1
    # A terminal that cannot show a character (LANG=C) gets its number.
    encoding = sys.stdout.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # `sigd --print-config | head -1`, a full disk: what is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            say(f"{program}: standard output: {error.strerror}")
        return 1
    return 0


def has_terminal() -> bool:
    """Return whether a terminal controls this process: there is none any more once that is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
