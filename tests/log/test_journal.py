"""Entries in the journal, and that none of them waits."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from sigd import log
from sigd.log.forms import MAX_VALUE
from sigd.log.journal import Journal, entry, is_journal
from tests.log.records import HOSTILE, TEXTS, heard, parsed, record_of


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
