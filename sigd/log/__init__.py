"""The daemon's log: events with fields; input from outside is escaped.

On stderr an event is a line, `key=value` or JSON (`forms`); in the journal it is an entry with fields (`journal`).
"""

import logging
import os
import select
import sys
import traceback
from typing import Final, Literal, TextIO

from sigd.log.forms import JSONFormatter, TextFormatter, line
from sigd.log.journal import SOCKET, Journal, is_journal

_logger: Final = logging.getLogger("sigd")

_MAX_TRACEBACK: Final = 2_000
"""Maximum characters of a traceback; its end is kept. It still fits with its newlines escaped."""

REPEAT_SECONDS: Final = 10.0
"""Minimum interval between repetitions of a line."""

EACH_SECOND: Final = 100
"""Maximum number of lines of one kind per second: no load for a journal, and more than anybody reads."""

Format = Literal["auto", "text", "json", "journal"]


def start(level: str, form: Format = "auto") -> None:
    """Start logging.

    Args:
        level: least severe level to log: debug, info, warning or error.
        form: `text` or `json` on stderr; `journal`: to the journal, or on stderr without one; `auto`: to the
            journal if stderr is connected to it, else as text.
    """
    for before in _logger.handlers:
        before.close()
    journal = _journal() if form == "journal" or (form == "auto" and is_journal()) else None
    _logger.handlers[:] = [journal or _stderr(form)]
    _logger.propagate = False
    set_level(level)
    # A full disk or a closed terminal costs only log lines.
    logging.raiseExceptions = False
    if form == "journal" and journal is None:
        warning("no journal", socket=SOCKET, instead="stderr")


def set_level(level: str) -> None:
    """Set the least severe level to log."""
    _logger.setLevel(level.upper())


def _journal() -> Journal | None:
    try:
        return Journal(SOCKET)
    except OSError:
        return None


def _stderr(form: Format) -> logging.Handler:
    # None if it was closed before the start; the null device keeps its descriptor from becoming a client's.
    out = _Stderr(sys.stderr or open(os.devnull, "w"))  # noqa: SIM115 - for as long as the daemon lives
    out.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    return out


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes a line only if that does not block: a pipe without a reader must not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0
        try:
            self._fd: int | None = stream.fileno()
        except OSError:
            self._fd = None  # in memory: there is always room

    def emit(self, record: logging.LogRecord) -> None:
        if self._fd is not None:
            try:
                writable = select.select([], [self._fd], [], 0)[1]
            except (OSError, ValueError):
                return  # closed
            if not writable:
                self._lost += 1
                return
        if self._lost:
            record.__dict__["lost"], self._lost = self._lost, 0
        super().emit(record)


def debug(event: str, **fields: object) -> None:
    """Log details for debugging."""
    _say(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    """Log an ordinary event."""
    _say(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log an event that may require action."""
    _say(logging.WARNING, event, fields)


def error(event: str, fault: BaseException, **fields: object) -> None:
    """Log a bug with its traceback."""
    text = "".join(traceback.format_exception(fault))
    _say(logging.ERROR, event, {**fields, "traceback": text[-_MAX_TRACEBACK:]})


def _say(level: int, event: str, fields: dict[str, object]) -> None:
    if _logger.isEnabledFor(level):
        _logger.log(level, line(event, fields), extra={"event": event, "fields": fields})


def says(level: int) -> bool:
    """Return whether a level of `logging` is logged, to avoid the cost of unused texts."""
    return _logger.isEnabledFor(level)


class Budget:
    """A limit of `EACH_SECOND` lines per second that counts the others, for events that occur in crowds."""

    __slots__ = ("_kept", "_left", "_until")

    def __init__(self) -> None:
        self._until = 0.0
        self._left = 0
        self._kept = 0

    def lets_through(self, now: float) -> int:
        """Return the number of events that the next line stands for; 0: write none."""
        self._kept += 1
        if now >= self._until:
            self._until, self._left = now + 1.0, EACH_SECOND
        if not self._left:
            return 0
        self._left -= 1
        count, self._kept = self._kept, 0
        return count


class Damper:
    """A limit of one line in `REPEAT_SECONDS` that counts the others."""

    def __init__(self) -> None:
        self._next = 0.0
        self._kept = 0

    def lets_through(self, now: float) -> int:
        """Return the number of events that the next line stands for; 0: write none."""
        self._kept += 1
        if now < self._next:
            return 0
        self._next = now + REPEAT_SECONDS
        count, self._kept = self._kept, 0
        return count
