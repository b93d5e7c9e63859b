"""Raw tables to Structs, with tables that sigd does not have: nested ones, arrays of them, and short forms."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from sigd.toml.places import Source
from sigd.toml.tables import ConfigError, Conflict, Table, read


class Server(Table, frozen=True):
    url: Annotated[str, msgspec.Meta(description="Where.")]
    weight: Annotated[float, msgspec.Meta(ge=0, description="How often.")] = 1.0
    tags: Annotated[tuple[str, ...], msgspec.Meta(description="Words.")] = ()


class Deep(Table, frozen=True):
    note: Annotated[str | None, msgspec.Meta(description="Anything.")] = None


class Ice(Table, frozen=True):
    servers: Annotated[tuple[Server, ...], msgspec.Meta(description="One per server.")] = ()
    deep: Annotated[Deep, msgspec.Meta(description="Further in.")] = msgspec.field(default_factory=Deep)
    spare: Annotated[Server | None, msgspec.Meta(description="If all fail.")] = None


class Root(Table, frozen=True):
    ice: Annotated[Ice, msgspec.Meta(description="Servers.")] = msgspec.field(default_factory=Ice)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ice.toml"


def read_root(file: Path, text: str) -> Root:
    file.write_text(text)
    source = Source()
    source.read_file(str(file))
    return read(Root, source)


def faults_of(file: Path, text: str) -> list[str]:
    """Return the faults of a file with this text, its path written `F`."""
    with pytest.raises(ConfigError) as refused:
        read_root(file, text)
    return [str(fault).replace(str(file), "F") for fault in refused.value.faults]


NESTED = """\
[[ice.servers]]
url = "stun:a"
[[ice.servers]]
weight = -1
tags = ["x", 1]
[[ice.servers]]
ulr = "b"
[ice.deep]
note = 5
[ice.spare]
uri = "c"
"""


def test_faults_in_arrays_of_tables_and_nested_tables(file: Path) -> None:
    assert faults_of(file, NESTED) == [
        "F:3:7: ice.servers[1]: the key `url` is missing",
        "F:4:1: ice.servers[1].weight: expected a number, at least 0, got -1",
        "F:5:14: ice.servers[1].tags[1]: expected a string, got 1",
        "F:6:7: ice.servers[2]: the key `url` is missing",
        "F:7:1: unknown key `ulr` in [[ice.servers]]; did you mean `url`?",
        "F:9:1: ice.deep.note: expected a string, got 5",
        "F:10:6: ice.spare: the key `url` is missing",
        "F:11:1: unknown key `uri` in [ice.spare]; did you mean `url`?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ice.servers = {}", "F:1:5: ice.servers: expected an array of tables, got a table"),
        ("ice.servers = [3]", "F:1:16: ice.servers[0]: expected a table, got 3"),
        ("[[ice]]", "F:1:3: ice: expected a table, got an array"),
        ("urls = 1", "F:1:1: unknown key `urls` at the top level; did you mean `url` in [[ice.servers]]?"),
    ],
)
def test_tables_where_others_belong(file: Path, text: str, expected: str) -> None:
    assert faults_of(file, text) == [expected]


def test_nested_tables_are_read(file: Path) -> None:
    two = '[[ice.servers]]\nurl = "a"\ntags = ["\\u001b\\U0001f600"]\n[[ice.servers]]\nurl = "b"'
    assert read_root(file, two) == Root(Ice((Server("a", tags=("\x1b\U0001f600",)), Server("b"))))


# A string that stands for a table, and conflicts between what is in it


def lower_case(name: str) -> None:
    if name != name.lower():
        raise ValueError("write it in small letters")


class Port(Table, frozen=True):
    name: Annotated[str, msgspec.Meta(description="Which.", extra={"check": lower_case})]
    speed: Annotated[int, msgspec.Meta(ge=0, description="How fast.")] = 0

    def conflicts(self) -> Iterator[Conflict]:
        if self.name == "slow" and self.speed:
            yield (("speed",), ("name",)), "slow ports have no speed"


Short = Annotated[Port, msgspec.Meta(extra={"short": "name"})]


class Switch(Table, frozen=True):
    ports: Annotated[tuple[Short, ...], msgspec.Meta(min_length=1, description="All.")] = (Port("a"),)
    uplink: Annotated[Short | None, msgspec.Meta(description="To others.")] = None
    fans: Annotated[tuple[int, ...], msgspec.Meta(min_length=2, description="Cold air.")] = (1, 2)

    def conflicts(self) -> Iterator[Conflict]:
        for number, port in enumerate(self.ports):
            if self.uplink and port.name == self.uplink.name:
                yield (("ports", number), ("uplink",)), f"{port.name} is the uplink"


def read_switch(file: Path, text: str) -> Switch:
    file.write_text(text)
    source = Source()
    source.read_file(str(file))
    return read(Switch, source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Switch()),
        ('ports = ["a", {name = "b", speed = 1}, "c"]', Switch((Port("a"), Port("b", 1), Port("c")))),
        ('[[ports]]\nname = "b"\nspeed = 1', Switch((Port("b", 1),))),
        ('uplink = "u"', Switch(uplink=Port("u"))),
        ('uplink = {name = "u"}', Switch(uplink=Port("u"))),
        ('[uplink]\nname = "u"\nspeed = 2', Switch(uplink=Port("u", 2))),
    ],
)
def test_a_string_may_stand_for_a_table(file: Path, text: str, expected: Switch) -> None:
    assert read_switch(file, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ports = []", ["F:1:1: ports: expected an array of strings or tables, at least 1, got an empty array"]),
        ('ports = "a"', ['F:1:1: ports: expected an array of strings or tables, at least 1, got "a"']),
        ("ports = [1]", ["F:1:10: ports[0]: expected a string or a table, got 1"]),
        ("uplink = 1", ["F:1:1: uplink: expected a string or a table, got 1"]),
        ("uplink = {}", ["F:1:1: uplink: the key `name` is missing"]),
        ('ports = ["a", "B"]', ["F:1:15: ports[1]: write it in small letters"]),
        ('ports = ["a", {name = "B"}]', ["F:1:16: ports[1].name: write it in small letters"]),
        ("fans = [1]", ["F:1:1: fans: expected an array of integers, at least 2, got an array"]),
        ('ports = [{name = "slow", speed = 1}]', ["F:1:26: slow ports have no speed"]),
        ('ports = [1, "x", "u"]\nuplink = "u"',
         ["F:1:10: ports[0]: expected a string or a table, got 1", "F:1:18: u is the uplink"]),
        ('ports = ["u"]\n[uplink]\nname = "u"\nspeed = -1',
         ["F:4:1: uplink.speed: expected an integer, at least 0, got -1"]),
        ('ports = ["u"]\n[uplink]\nname = "u"\nsped = 1',
         ["F:4:1: unknown key `sped` in [uplink]; did you mean `speed`?"]),
        ('ports = [{name = "u", sped = 1}]\nuplink = "u"',
         ["F:1:23: unknown key `sped` in [[ports]]; did you mean `speed`?"]),
        ('sped = 1\nports = ["u"]\nuplink = "u"',
         ["F:1:1: unknown key `sped` at the top level; did you mean `speed` in [[ports]]?", "F:2:10: u is the uplink"]),
    ],
)  # fmt: skip
def test_faults_of_short_forms_and_conflicts(file: Path, text: str, expected: list[str]) -> None:
    """A conflict is told unless something in what it names is faulty: nobody knows what that should say."""
    with pytest.raises(ConfigError) as refused:
        read_switch(file, text)
    assert [str(fault).replace(str(file), "F") for fault in refused.value.faults] == expected
