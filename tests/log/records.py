"""Events as they come to a form of the log, and entries as the journal reads them."""

import logging
import socket
import struct

from hypothesis import strategies as st

from sigd import log

TEXTS = st.text(st.characters(exclude_categories=()), max_size=200)
HOSTILE = [
    "",
    "a b",
    'say "x"',
    "\n",
    "a\nPRIORITY=0\nSIGD_PEER=root",
    "\n\n",
    "\x00\x1b[31m",
    "\u202e",
    "łó",
    "\ud800",
]


def record_of(event: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    """An event as it comes to whatever writes it."""
    records: list[logging.LogRecord] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, kept = logging.getLogger("sigd"), Keeps()
    before = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    try:
        match level:
            case logging.DEBUG:
                log.debug(event, **fields)
            case logging.WARNING:
                log.warning(event, **fields)
            case _:
                log.info(event, **fields)
    finally:
        logger.removeHandler(kept)
        logger.setLevel(before)
    (record,) = records
    return record


def parsed(datagram: bytes) -> list[tuple[str, str]]:
    """An entry, read as journald does (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: list[tuple[str, str]] = []
    while datagram:
        line, newline, rest = datagram.partition(b"\n")
        assert newline
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert len(value) == length
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found.append((name.decode(), value.decode()))
        datagram = rest
    return found


def heard(journald: socket.socket) -> dict[str, str]:
    """The next entry."""
    pairs = parsed(journald.recv(1_000_000))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
