"""What the daemon says to its operator: one line per event on stderr, `key=value`, nothing unescaped from outside."""

import json
import logging
import os
import re
import select
import sys
import time
import traceback
from typing import Final, TextIO

_logger: Final = logging.getLogger("sigd")

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/~@+,?=%\[\]-]+\Z")

_MAX_VALUE: Final = 3_000
"""Characters of one value: the end of a traceback fits, and a line stays below PIPE_BUF, the 4096 bytes that a pipe
that is writable at all takes without waiting."""

_MAX_TRACEBACK: Final = 2_000
"""Characters of a traceback, its end: with its newlines escaped it is still whole."""

REPEAT_SECONDS: Final = 10.0
"""How often at most the same thing is said again."""


def start(level: str) -> None:
    """Log to stderr from now on, from `level` (debug, info, warning or error) up."""
    # None where it was closed before the start; a file of nothing keeps its descriptor from becoming a client's.
    out = _Stderr(sys.stderr or open(os.devnull, "w"))  # noqa: SIM115 - for as long as the daemon lives
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    out.setFormatter(formatter)
    _logger.handlers[:] = [out]
    _logger.propagate = False
    set_level(level)
    # A full disk or a closed terminal costs log lines, nothing else.
    logging.raiseExceptions = False


def set_level(level: str) -> None:
    """Log from this level up from now on."""
    _logger.setLevel(level.upper())


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes a line only where it can be written without waiting: a pipe that nobody reads must not stop the daemon."""

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
            record.msg, self._lost = f"{record.msg} lines.lost={self._lost}", 0
        super().emit(record)


def debug(event: str, **fields: object) -> None:
    """Say what only somebody who looks for a fault wants to know."""
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug(_line(event, fields))


def info(event: str, **fields: object) -> None:
    """Say what happened in the ordinary course of things."""
    if _logger.isEnabledFor(logging.INFO):
        _logger.info(_line(event, fields))


def warning(event: str, **fields: object) -> None:
    """Say what an operator may want to change."""
    _logger.warning(_line(event, fields))


def error(event: str, fault: BaseException, **fields: object) -> None:
    """Say that there is a bug, with its traceback."""
    text = "".join(traceback.format_exception(fault))
    _logger.error(_line(event, {**fields, "traceback": text[-_MAX_TRACEBACK:]}))


class Damper:
    """Lets one line through in `REPEAT_SECONDS`, and counts the others."""

    def __init__(self) -> None:
        self._next = 0.0
        self._kept = 0

    def lets_through(self, now: float) -> int:
        """How many events the line to be written now stands for; 0: write none."""
        self._kept += 1
        if now < self._next:
            return 0
        self._next = now + REPEAT_SECONDS
        count, self._kept = self._kept, 0
        return count


def _line(event: str, fields: dict[str, object]) -> str:
    return " ".join([event, *(f"{key}={_escaped(str(value))}" for key, value in fields.items())])


def _escaped(value: str) -> str:
    if _PLAIN.match(value):
        return value[:_MAX_VALUE]
    return json.dumps(value).replace("\x7f", "\\u007f")[:_MAX_VALUE]
