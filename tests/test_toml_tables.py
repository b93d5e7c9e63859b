"""Raw tables to Structs and back, with tables that sigd does not have: nested ones, and arrays of them."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from sigd.toml_places import Source
from sigd.toml_tables import ConfigError, Table, read, render


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


def test_nested_tables_are_read_and_printed(file: Path) -> None:
    two = '[[ice.servers]]\nurl = "a"\ntags = ["\\u001b\\U0001f600"]\n[[ice.servers]]\nurl = "b"'
    root = read_root(file, two)
    assert root == Root(Ice((Server("a", tags=("\x1b\U0001f600",)), Server("b"))))
    text = render(root)
    assert read_root(file, text) == root
    assert text == (
        "# Servers.\n[ice]\n# One per server.\n"
        '[[ice.servers]]\n# Where.\n# Takes a string; no default.\nurl = "a"\n\n'
        "# How often.\n# Takes a number, at least 0; default 1.0.\nweight = 1.0\n\n"
        '# Words.\n# Takes an array of strings; default [].\ntags = ["\\u001b\\U0001f600"]\n\n'
        '[[ice.servers]]\n# Where.\n# Takes a string; no default.\nurl = "b"\n\n'
        "# How often.\n# Takes a number, at least 0; default 1.0.\nweight = 1.0\n\n"
        "# Words.\n# Takes an array of strings; default [].\ntags = []\n\n"
        "# Further in.\n[ice.deep]\n# Anything.\n# Takes a string; default none.\n# note =\n\n"
        "# If all fail.\n# [ice.spare]\n"
    )
