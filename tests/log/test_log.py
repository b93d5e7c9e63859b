"""The log in its forms: lines for people and programs, entries in the journal, and that none of them waits."""

import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigd import log
from sigd.log.forms import MAX_VALUE, JSONFormatter, TextFormatter
from sigd.log.journal import Journal, entry, is_journal

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


@pytest.fixture
def logger() -> logging.Logger:
    """The daemon's logger, for a test to start and change."""
    return logging.getLogger("sigd")


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What listens where the journal does."""
    path = str(tmp_path / "socket")
    monkeypatch.setattr(log, "SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        yield sock


def heard(journald: socket.socket) -> dict[str, str]:
    """The next entry."""
    pairs = parsed(journald.recv(1_000_000))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


class TestText:
    def test_a_line(self) -> None:
        line = TextFormatter().format(record_of("closed", peer="cam1", reason="connection lost", seconds=1.5))
        time, rest = line.split(" ", 1)
        assert rest == 'INFO closed peer=cam1 reason="connection lost" seconds=1.5'
        assert (len(time), time[10], time[-1]) == (20, "T", "Z")

    @given(TEXTS)
    def test_is_one_line_of_printable_ascii(self, value: str) -> None:
        line = TextFormatter().format(record_of("event", value=value))
        assert line.isascii()
        assert line.isprintable()


class TestJSON:
    def test_a_line(self) -> None:
        record = record_of("closed", logging.WARNING, peer="cam1", seconds=1.5, count=3, by=None, at=Path("/x"))
        line = JSONFormatter().format(record)
        members = json.loads(line)
        assert members.pop("time") == TextFormatter().format(record).split(" ")[0]
        assert line.startswith('{"time":"')
        assert members == {
            "level": "warning",
            "event": "closed",
            "peer": "cam1",
            "seconds": 1.5,
            "count": 3,
            "by": None,
            "at": "/x",
        }

    def test_what_json_has_no_number_for(self) -> None:
        line = JSONFormatter().format(record_of("event", inf=float("inf"), nan=float("nan")))
        assert json.loads(line, parse_constant=pytest.fail) | {"time": ""} == {
            "time": "",
            "level": "info",
            "event": "event",
            "inf": "inf",
            "nan": "nan",
        }

    def test_no_field_takes_the_place_of_what_every_line_has(self) -> None:
        fields: dict[str, Any] = {"time": "never", "level": "fine"}
        members = json.loads(JSONFormatter().format(record_of("event", **fields)))
        assert members["level"] == "info"
        assert members["time"] != "never"

    @given(TEXTS, TEXTS)
    def test_is_one_line_that_says_what_was_said(self, event: str, value: str) -> None:
        line = JSONFormatter().format(record_of(event, value=value))
        assert line.isascii()
        assert line.isprintable()
        members = json.loads(line)
        if len(json.dumps(value)) <= MAX_VALUE:
            assert members["value"] == json.loads(json.dumps(value))

    @pytest.mark.parametrize("char", ["x", " ", "\0", "ł", "\U0001f4a5"])
    def test_long_values_are_cut_and_it_stays_json(self, char: str) -> None:
        line = JSONFormatter().format(record_of("event", value=char * 100_000))
        value = json.loads(line)["value"]
        assert set(value) == {char}
        assert MAX_VALUE - 20 < len(json.dumps(value)) <= MAX_VALUE

    def test_to_stderr(self, logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
        log.start("info", "json")
        log.info("ready", version="1")
        log.debug("unheard")
        try:
            raise ValueError("the end")
        except ValueError as fault:
            log.error("bug", fault, peer="alice")
        first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
        assert (first["event"], first["version"]) == ("ready", "1")
        assert (second["level"], second["peer"]) == ("error", "alice")
        assert second["traceback"].endswith("\nValueError: the end\n")


class TestJournal:
    def test_an_entry(self) -> None:
        fields: dict[str, Any] = {"peer": "cam1", "reason": "connection lost", "address": "[::1]:7", "lines.lost": 2}
        assert parsed(entry(record_of("closed", **fields))) == [
            ("MESSAGE", 'closed peer=cam1 reason="connection lost" address=[::1]:7 lines.lost=2'),
            ("PRIORITY", "6"),
            ("SYSLOG_IDENTIFIER", "sigd"),
            ("SIGD_EVENT", "closed"),
            ("SIGD_PEER", "cam1"),
            ("SIGD_REASON", "connection lost"),
            ("SIGD_ADDRESS", "[::1]:7"),
            ("SIGD_LINES_LOST", "2"),
        ]

    @pytest.mark.parametrize(("level", "priority"), [(logging.DEBUG, "7"), (logging.WARNING, "4")])
    def test_how_severe(self, level: int, priority: str) -> None:
        assert dict(parsed(entry(record_of("event", level))))["PRIORITY"] == priority

    @pytest.mark.parametrize("value", HOSTILE)
    def test_row_13_a_value_makes_no_field(self, value: str) -> None:
        pairs = parsed(entry(record_of("event", peer=value)))
        assert [name for name, _ in pairs] == ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SIGD_EVENT", "SIGD_PEER"]
        assert pairs[1][1] == "6"
        assert pairs[4][1] == value.encode(errors="backslashreplace").decode()
        assert "\n" not in pairs[0][1]

    @given(TEXTS)
    def test_any_value_is_whole(self, value: str) -> None:
        assert parsed(entry(record_of("event", x=value)))[-1] == (
            "SIGD_X",
            value.encode(errors="backslashreplace").decode(),
        )

    def test_long_values_are_cut(self) -> None:
        datagram = entry(record_of("event", x="\U0001f4a5" * 100_000))
        assert len(parsed(datagram)[-1][1]) == MAX_VALUE
        assert len(datagram) < 20_000

    def test_names_are_such_as_the_journal_takes(self) -> None:
        fields: dict[str, Any] = {"hit.max_frame": 1, "ł-=": 2, "x" * 100: 3}
        names = [name for name, _ in parsed(entry(record_of("event", **fields)))][4:]
        assert names == ["SIGD_HIT_MAX_FRAME", "SIGD____", "SIGD_" + "X" * 59]

    def test_finds_a_peer(self, logger: logging.Logger, journald: socket.socket) -> None:
        log.start("info", "journal")
        log.info("closed", peer="cam1", reason="left", address="127.0.0.1:1")
        log.debug("unheard")
        assert heard(journald)["SIGD_PEER"] == "cam1"
        with pytest.raises(BlockingIOError):
            journald.recv(1)

    def test_a_traceback_keeps_its_lines(self, logger: logging.Logger, journald: socket.socket) -> None:
        log.start("info", "journal")
        try:
            raise ValueError("x")
        except ValueError as fault:
            log.error("bug", fault)
        fields = heard(journald)
        assert fields["PRIORITY"] == "3"
        assert fields["SIGD_TRACEBACK"].splitlines()[-1] == "ValueError: x"
        assert "\n" not in fields["MESSAGE"]


class TestNobodyReadsTheJournal:
    def test_row_48_costs_entries_which_are_counted(self, logger: logging.Logger, journald: socket.socket) -> None:
        log.start("info", "journal")
        said = 2_000  # net.unix.max_dgram_qlen is 10 to 512
        for number in range(said):
            log.info("event", number=number)
        kept = 0
        while True:
            try:
                assert heard(journald)["SIGD_NUMBER"] == str(kept)
            except BlockingIOError:
                break
            kept += 1
        assert 0 < kept < said
        log.info("event")
        assert heard(journald)["SIGD_LINES_LOST"] == str(said - kept)
        log.info("event")
        assert "SIGD_LINES_LOST" not in heard(journald)

    def test_one_that_is_restarted_is_found_again(self, logger: logging.Logger, journald: socket.socket) -> None:
        log.start("info", "journal")
        path = journald.getsockname()
        os.unlink(path)
        log.info("lost")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
            another.bind(path)
            log.info("event")
            assert heard(another)["SIGD_LINES_LOST"] == "1"

    def test_without_one_it_is_stderr(
        self,
        logger: logging.Logger,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(log, "SOCKET", str(tmp_path / "none"))
        log.start("info", "journal")
        log.info("event")
        first, second = capsys.readouterr().err.splitlines()
        assert " WARNING no journal socket=" in first
        assert second.endswith(" INFO event")
        with pytest.raises(FileNotFoundError):
            Journal(str(tmp_path / "none"))


class TestAuto:
    """`JOURNAL_STREAM` says which file the journal is: stderr may have been redirected since."""

    @pytest.fixture
    def stream(self, tmp_path: Path) -> Iterator[int]:
        descriptor = os.open(tmp_path / "stream", os.O_CREAT | os.O_RDWR)
        yield descriptor
        os.close(descriptor)

    def test_the_same_file(self, stream: int, monkeypatch: pytest.MonkeyPatch) -> None:
        found = os.fstat(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not is_journal(stream)

    @pytest.mark.parametrize("value", ["", ":", "1", "x:y", "1:2:3"])
    def test_no_file(self, stream: int, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert not is_journal(stream)
        assert not is_journal(-1)

    @pytest.mark.parametrize("connected", [True, False])
    def test_goes_where_stderr_goes(
        self,
        logger: logging.Logger,
        journald: socket.socket,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        connected: bool,
    ) -> None:
        found = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + (not connected)}")
        log.start("info")
        log.info("event")
        lines = capsys.readouterr().err.splitlines()
        if connected:
            assert heard(journald)["MESSAGE"] == "event"
            assert lines == []
        else:
            assert [line.split(" ", 1)[1] for line in lines] == ["INFO event"]

    def test_started_again_closes_what_it_had(self, logger: logging.Logger, journald: socket.socket) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            log.start("info", "journal")
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert len(logger.handlers) == 1


@settings(max_examples=20)
@given(st.lists(st.floats(0, 100), max_size=50))
def test_damping_loses_no_count(moments: list[float]) -> None:
    damper = log.Damper()
    told = [damper.lets_through(now) for now in sorted(moments)]
    assert sum(told) + damper.lets_through(1_000) == len(moments) + 1


def test_of_a_crowd_so_many_lines_a_second_are_written_and_the_others_counted():
    budget = log.Budget()
    assert [budget.lets_through(0.0) for _ in range(log.EACH_SECOND + 7)] == [1] * log.EACH_SECOND + [0] * 7
    assert budget.lets_through(0.9) == 0
    assert budget.lets_through(1.0) == 9
    assert budget.lets_through(1.0) == 1
