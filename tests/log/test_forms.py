"""Lines for people and for programs."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from sigd.log.forms import MAX_VALUE, JSONFormatter, TextFormatter
from tests.log.records import TEXTS, record_of


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
