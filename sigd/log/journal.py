"""Entries in systemd's journal, with a journal field for each field: `journalctl SIGD_PEER=cam1` finds a peer.

The protocol is one datagram per entry (systemd.io/JOURNAL_NATIVE_PROTOCOL).
"""

import logging
import os
import re
import socket
import struct
from typing import Final

from sigd.log.forms import MAX_VALUE, fields_of, line

SOCKET: Final = "/run/systemd/journal/socket"

_PREFIX: Final = "SIGD_"

_MAX_NAME: Final = 64
"""Maximum characters of a journal field's name (journal_field_valid)."""

_FORBIDDEN: Final = re.compile("[^A-Z0-9_]")

_MOST_SEVERE: Final = 3

_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: _MOST_SEVERE}
"""Priorities of syslog(3): debug, info, warning, err."""

_STDERR: Final = 2

_length: Final = struct.Struct("<Q")


def is_journal(descriptor: int = _STDERR) -> bool:
    """Return whether a descriptor, by default stderr, is connected to the journal, according to JOURNAL_STREAM."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


class Journal(logging.Handler):
    """Sends each event to the journal unless that would block; lost events are counted.

    Raises:
        OSError: there is no journal.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._lost = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(path)
        except OSError:
            self._sock.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send an event."""
        if self._lost:
            record.__dict__["lost"] = self._lost
        try:
            # By path each time: the journal may have been restarted.
            self._sock.sendto(entry(record), self._path)
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
        super().close()


def entry(record: logging.LogRecord) -> bytes:
    """Return an event as a journal entry; values are cut as in lines, so it always fits a datagram."""
    event, fields = fields_of(record)
    parts = [
        _field("MESSAGE", line(event, fields)),
        _field("PRIORITY", str(_PRIORITIES.get(record.levelno, _MOST_SEVERE))),
        _field("SYSLOG_IDENTIFIER", "sigd"),
        _field(_PREFIX + "EVENT", event),
    ]
    for key, value in fields.items():
        name = _FORBIDDEN.sub("_", (_PREFIX + key).upper())[:_MAX_NAME]
        parts.append(_field(name, str(value)[:MAX_VALUE]))
    return b"".join(parts)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%s\n%s%s\n" % (name.encode(), _length.pack(len(data)), data)
    return b"%s=%s\n" % (name.encode(), data)
