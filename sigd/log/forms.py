"""An event as a line: for people, `key=value`, and for programs, JSON."""

import json
import logging
import math
import re
import time
from typing import Final, cast

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/~@+,?=%\[\]-]+\Z")

MAX_VALUE: Final = 3_000
"""Characters of one value: the end of a traceback fits, and a line stays below PIPE_BUF, the 4096 bytes that a pipe
that is writable at all takes without waiting."""

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

LOST: Final = "lines.lost"
"""The field that says how many lines could not be written before this one."""


def line(event: str, fields: dict[str, object]) -> str:
    """The event for people: one line, whatever the values are."""
    return " ".join([event, *(f"{key}={_escaped(str(value))}" for key, value in fields.items())])


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """What was logged: the event, and its fields, the number of lines lost before it among them."""
    event = cast("str", getattr(record, "event", "")) or record.getMessage()
    fields = cast("dict[str, object]", getattr(record, "fields", {}))
    lost = getattr(record, "lost", 0)
    return event, {**fields, LOST: lost} if lost else fields


class TextFormatter(logging.Formatter):
    """Time, level, event, `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        event, fields = fields_of(record)
        return f"{_time(record)} {record.levelname} {line(event, fields)}"


class JSONFormatter(logging.Formatter):
    """One JSON object in ASCII: `time` (ISO 8601, UTC), `level`, `event`, and the fields as they are called."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        event, fields = fields_of(record)
        members = {"time": _time(record), "level": record.levelname.lower(), "event": event}
        named = {**fields, **members}  # no field ever takes the place of one of these
        return json.dumps({key: _cut(named[key]) for key in (*members, *fields)}, separators=(",", ":"))


def _time(record: logging.LogRecord) -> str:
    return time.strftime(_TIME, time.gmtime(record.created))


def _escaped(value: str) -> str:
    if _PLAIN.match(value):
        return value[:MAX_VALUE]
    return json.dumps(value).replace("\x7f", "\\u007f")[:MAX_VALUE]


def _cut(value: object) -> object:
    """What JSON has no form of its own for, as text; the beginning of it that is as long as a value may be."""
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)[:MAX_VALUE]
    while (length := len(json.dumps(text))) > MAX_VALUE:
        text = text[: len(text) * MAX_VALUE // length]
    return text
