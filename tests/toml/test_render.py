"""Structs back to TOML: every key explained, in the file's own words, also where there is no table to print."""

from pathlib import Path
from typing import Annotated

import msgspec

from sigd.toml.places import Source
from sigd.toml.render import render
from sigd.toml.tables import Table, read


class Server(Table, frozen=True):
    url: Annotated[str, msgspec.Meta(description="Where.", extra={"restart": True})]
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
    ready: Annotated[bool, msgspec.Meta(description="Go.")] = False


FULL = """\
# Go.
# Takes true or false; default false.
ready = true

# Servers.
[ice]

# One per server.
[[ice.servers]]

# Where.
# Takes a string; no default. A change needs a restart.
url = "a"

# How often.
# Takes a number, at least 0; default 1.0.
weight = 1.0

# Words.
# Takes an array of strings; default [].
tags = ["\\u001b\\U0001f600"]

[[ice.servers]]
url = "b"
weight = 1.0
tags = []

# Further in.
[ice.deep]

# Anything.
# Takes a string; default none.
# note =

# If all fail.
# [ice.spare]
# url =
# weight = 1.0
# tags = []
"""


def read_back(tmp_path: Path, text: str) -> Root:
    file = tmp_path / "ice.toml"
    file.write_text(text)
    source = Source()
    source.read_file(str(file))
    return read(Root, source)


def test_every_key_is_explained_once_and_the_plain_ones_come_first(tmp_path: Path) -> None:
    root = Root(Ice((Server("a", tags=("\x1b\U0001f600",)), Server("b"))), ready=True)
    assert render(root) == FULL
    assert read_back(tmp_path, FULL) == root


def test_an_array_without_tables_is_a_table_to_fill_in(tmp_path: Path) -> None:
    text = render(Root())
    assert "\n# One per server.\n# [[ice.servers]]\n\n# Where.\n" in text
    assert read_back(tmp_path, text) == Root()
    # Taking the signs away, and filling in what has no default, makes one.
    filled = text.replace("# [[ice.servers]]", "[[ice.servers]]").replace("# url =", 'url = "x"', 1)
    assert read_back(tmp_path, filled) == Root(Ice((Server("x"),)))


def test_no_line_is_longer_than_a_terminal_is_wide() -> None:
    class Wordy(Table, frozen=True):
        key: Annotated[int, msgspec.Meta(description="Many words, of which each is short enough. " * 9)] = 0

    lines = render(Wordy()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "key = 0"
    assert all(line.startswith("# ") for line in lines[:-1])
