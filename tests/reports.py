"""Reports of tests as they go from one process to another: `pytest -n` sends them in UTF-8."""

from typing import Any

import pytest


def escaped(value: Any) -> Any:
    r"""Return a report's data with every lone surrogate written as `\ud800`, since UTF-8 has no bytes for it.

    One in a failed comparison, an example of hypothesis or a captured line would end the whole run otherwise.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {escaped(key): escaped(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(escaped, value))
    return value


def reason_within(skipped: BaseException) -> str:
    """Return the reason of the exception that this one was raised after, a group of one, if that skips a test."""
    found = skipped.__context__
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return str(found.msg) if isinstance(found, pytest.skip.Exception) else ""
