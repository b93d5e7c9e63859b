"""`sigctl errors`: the meaning of each error code of the protocol."""

import argparse
import textwrap
from typing import TYPE_CHECKING

from sigd.ctl.command_line import Commands
from sigd.ctl.printing import put, put_json, row, table, width

if TYPE_CHECKING:
    from sigd.wire.errors import ErrorCode

TEXT = """\
Lists the error codes of the protocol: whether the error ends the link, the
client's next step, and its meaning. Works without a daemon.
"""

EXAMPLES = """\
  sigctl errors
  sigctl errors peer-unavailable
"""

_NEXT = {
    "mend": "send something else: the same message would fail again",
    "back off": "try again later, with a longer pause each time",
    "never": "do not reconnect without human help",
}

_OTHER_COLUMNS = len("already-registered  goes on  back off  ")


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    errors = commands.add(
        "errors", _errors, summary="explain an error code", text=TEXT, examples=EXAMPLES, writes=None, asks=False
    )
    errors.add_argument("code", metavar="CODE", nargs="?", type=_code, help="only this one")


def _code(written: str) -> "ErrorCode":
    from sigd.wire.errors import ErrorCode

    try:
        return ErrorCode(written)
    except ValueError:
        import difflib

        near = difflib.get_close_matches(written, list(ErrorCode), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f'unknown error code "{written}"{hint}') from None


def _errors(options: argparse.Namespace) -> int:
    from sigd.wire.errors import ErrorCode

    codes = [options.code] if options.code else list(ErrorCode)
    if options.json:
        return put_json({"type": "errors", "errors": [_object(code) for code in codes]})
    if options.code:
        return put(_lines(options.code))
    rows = [
        (code.value if line == 0 else "", _link(code) if line == 0 else "", code.next.value if line == 0 else "", text)
        for code in codes
        for line, text in enumerate(textwrap.wrap(code.meaning, max(width() - _OTHER_COLUMNS, 20)))
    ]
    return put(table(("CODE", "LINK", "THEN", "MEANING"), rows))


def _link(code: "ErrorCode") -> str:
    return "ends" if code.closes else "goes on"


def _object(code: "ErrorCode") -> dict[str, object]:
    return {"code": code.value, "closes": code.closes, "next": code.next.value, "meaning": code.meaning}


def _lines(code: "ErrorCode") -> list[str]:
    return [
        code.value,
        *row("meaning", code.meaning),
        *row("link", "ends with it" if code.closes else "goes on"),
        *row("then", _NEXT[code.next.value]),
    ]
