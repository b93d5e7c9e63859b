"""The reference of the error codes."""

from docs.made.markdown import page, table
from sigd.wire.errors import ErrorCode, Next

INTRODUCTION = """\
An `error` has a `code` for programs and a `message` for people. The codes are stable, the messages are not. `sigctl
errors CODE` explains a code on the command line; section 7 of [the protocol](../../protocol.md#7-errors) has the rules
and the exceptions."""

NEXT = {
    Next.MEND: "The same message gets the same answer again: report the error, and go on.",
    Next.BACK_OFF: "Try again, each time after a longer pause. `retryAfterMs` is the least pause.",
    Next.NEVER: "Do not reconnect without help: report the error, and wait for a person or a new configuration.",
}


def errors() -> str:
    """Return the page."""
    codes = [
        (f"`{code.value}`", "ends" if code.closes else "goes on", code.next.value, code.meaning) for code in ErrorCode
    ]
    return page(
        *("# Errors", "", INTRODUCTION, ""),
        *table(("code", "the link", "then", "meaning"), codes),
        *("", "## Reactions", ""),
        *table(("then", "a client does"), [(each.value, text) for each, text in NEXT.items()]),
    )
