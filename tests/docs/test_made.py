"""Pages, pictures and vectors that are made from the code are what the code says now."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from docs.made.pages import pages
from docs.made.picture import ARROWS, BOXES, HEIGHT, WIDTH
from man.parsers import commands, options
from sigd import cli, ctl
from sigd.config import Config
from sigd.toml.tables import Table, kind_of
from sigd.wire.errors import ErrorCode
from tests.docs.pages import ROOT

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_it_is_not_stale(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name], "run `make docs`"


def keys(shape: type[Table], path: str = "") -> set[str]:
    """Return every key of a table, and of the tables inside, each with its table."""
    found: set[str] = set()
    for field in msgspec.structs.fields(shape):
        kind = kind_of(field.type)
        inner = kind.table or kind_of(kind.item).table
        name = f"{path}.{field.encode_name}".lstrip(".")
        found |= keys(inner, name) if inner else {name}
    return found


def test_every_key_has_a_row_with_default_and_effect() -> None:
    found: set[str] = set()
    section = ""
    for line in PAGES["docs/reference/configuration.md"].splitlines():
        if heading := re.match(r"## (?:`\[+([\w.]+)\]+`|Top level)$", line):
            section = heading[1] or ""
        if row := re.match(r"\| `(\w+)` \| (.+) \| (required|none|`.*`) \| (.{10,}) \|$", line):
            found.add(f"{section}.{row[1]}".lstrip("."))
    assert found == keys(Config)


def test_every_error_has_a_row() -> None:
    found = re.findall(r"^\| `([\w-]+)` \| (?:ends|goes on) \| ", PAGES["docs/reference/errors.md"], re.MULTILINE)
    assert found == [code.value for code in ErrorCode]


def test_every_command_and_option_is_there() -> None:
    text = PAGES["docs/reference/commands.md"]
    for parser in (cli.parser(), ctl.parser(), *commands(ctl.parser())):
        assert re.search(rf"^##+ {parser.prog}$", text, re.MULTILINE)
        for option in options(parser):
            assert all(name in text for name in option.names)


def test_the_picture_is_xml_and_nothing_leaves_its_frame() -> None:
    root = ElementTree.fromstring(PAGES["docs/picture.svg"])
    texts = {element.text for element in root.iter() if element.tag.endswith("}text")}
    assert {box.title for box in BOXES} <= texts
    for box in BOXES:
        assert box.x > 0
        assert box.x + box.width < WIDTH
        assert box.y + box.height < HEIGHT
    for arrow in ARROWS:
        assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in (arrow.start, arrow.end, arrow.label_at))


def test_every_recorded_call_is_in_the_table_of_stacks() -> None:
    head, _, *rows = [line for line in PAGES["docs/reference/stacks.md"].splitlines() if line[:1] == "|"][:7]
    callees = [cell.strip() for cell in head.strip("|").split("|")][1:]
    cells = {
        (re.sub(r"\*\*([\w-]+)\*\*.*", r"\1", caller.strip()), callee): ways.split(", ")
        for caller, *all_ways in (row.strip("|").split("|") for row in rows)
        for callee, ways in zip(callees, map(str.strip, all_ways), strict=True)
    }
    for path in (ROOT / "tests/why/calls").glob("*.json"):
        caller, callee, media, *way = path.stem.split("_")
        expected = {"relay": "TURN", "restart": "restart"}[way[0]] if way else {"dc": "data", "av": "media"}[media]
        assert expected in cells[caller, callee], path.name
