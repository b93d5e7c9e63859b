"""An event as a line: `key=value` for people, JSON for programs."""

import json
import logging
import math
import re
import time
from typing import Final, cast

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/~@+,?=%\[\]-]+\Z")

MAX_VALUE: Final = 3_000
"""Maximum characters of a value: the end of a traceback fits, and a line stays below PIPE_BUF, the 4096 bytes that a
writable pipe takes without blocking.
"""

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"

LOST: Final = "lines.lost"
"""Field with the number of lines lost before this one."""


def line(event: str, fields: dict[str, object]) -> str:
    """Format an event for people, always on one line."""
    return " ".join([event, *(f"{key}={_escaped(str(value))}" for key, value in fields.items())])


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Return the event and its fields, including the number of lines lost before it."""
    event = cast("str", getattr(record, "event", "")) or record.getMessage()
    fields = cast("dict[str, object]", getattr(record, "fields", {}))
    lost = getattr(record, "lost", 0)
    return event, {**fields, LOST: lost} if lost else fields


class TextFormatter(logging.Formatter):
    """Time, level, event, `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        event, fields = fields_of(record)
        return f"{_time(record)} {record.levelname} {line(event, fields)}"


class JSONFormatter(logging.Formatter):
    """One JSON object in ASCII: `time` (ISO 8601, UTC), `level`, `event`, and the fields under their names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        event, fields = fields_of(record)
        members = {"time": _time(record), "level": record.levelname.lower(), "event": event}
        named = {**fields, **members}  # fields never override these members
        return json.dumps({key: _cut(named[key]) for key in (*members, *fields)}, separators=(",", ":"))


def _time(record: logging.LogRecord) -> str:
    return time.strftime(_TIME, time.gmtime(record.created))


def _escaped(value: str) -> str:
    if _PLAIN.match(value):
        return value[:MAX_VALUE]
    return json.dumps(value).replace("\x7f", "\\u007f")[:MAX_VALUE]


def _cut(value: object) -> object:
    """Return a value as JSON can hold it, cut to the maximum length."""
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)[:MAX_VALUE]
    while (length := len(json.dumps(text))) > MAX_VALUE:
        text = text[: len(text) * MAX_VALUE // length]
    return text
