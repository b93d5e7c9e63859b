"""protocol.md taken apart: its sections, and in each the fenced blocks and the tables."""

import re
from pathlib import Path
from typing import Final, NamedTuple

PATH: Final = Path(__file__).parents[2] / "protocol.md"

HOLE: Final = re.compile(
    "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}(.+?)\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
)
"""What varies in an example, with a name for it."""

_HEADING = re.compile(r"#{2,3} (\d+(?:\.\d+)?)\.? (.+)")
_FENCE = re.compile(r"```(\S*)")
_CODE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """A fenced block: `name` is unique, `kind` is its info string, `line` its place in the file."""

    name: str
    kind: str
    lines: list[str]
    line: int


class Table(NamedTuple):
    """A table: each row has the cells under the names of the columns."""

    columns: list[str]
    rows: list[dict[str, str]]


class Section(NamedTuple):
    """A section with a number, without those below it; `prose` is what is neither block nor table, a paragraph each."""

    number: str
    title: str
    prose: list[str]
    blocks: list[Block]
    tables: list[Table]

    def table(self, first_column: str) -> Table:
        found = [table for table in self.tables if table.columns[0] == first_column]
        assert len(found) == 1, f"section {self.number} has {len(found)} tables that begin with {first_column!r}"
        return found[0]


def codes(cell: str) -> list[str]:
    """All that stands between backticks."""
    return _CODE.findall(cell)


def code(cell: str) -> str:
    """What stands between backticks, and is all of the cell."""
    assert _CODE.fullmatch(cell), f"not one word of code: {cell!r}"
    return cell[1:-1]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def parse(text: str) -> dict[str, Section]:
    """The sections by number. What stands before the first one has the number 0."""
    section = Section("0", "", [], [], [])
    sections = {"0": section}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if heading := _HEADING.match(line):
            section = Section(heading[1], heading[2], [], [], [])
            assert section.number not in sections, f"line {number}: section {section.number} stands twice"
            sections[section.number] = section
        elif fence := _FENCE.match(line):
            body: list[str] = []
            for _, inner in lines:
                if inner == "```":
                    break
                body.append(inner)
            else:
                raise AssertionError(f"line {number}: the block has no end")
            name = f"{section.number}-{fence[1]}-{len(section.blocks) + 1}"
            section.blocks.append(Block(name, fence[1], body, number))
        elif line.startswith("|"):
            columns = _cells(line)
            rule = _cells(next(lines)[1])
            assert all(re.fullmatch("-+", cell) for cell in rule), f"line {number}: a table without a head"
            section.tables.append(Table(columns, []))
            for at, row in lines:
                if not row.startswith("|"):
                    break
                cells = _cells(row)
                assert len(cells) == len(columns), f"line {at}: {len(cells)} cells under {len(columns)} columns"
                section.tables[-1].rows.append(dict(zip(columns, cells, strict=True)))
        elif section.prose and section.prose[-1] and line:
            section.prose[-1] += " " + line.strip()
        else:
            section.prose.append(line)
    return sections


SECTIONS: Final = parse(PATH.read_text(encoding="utf-8"))
BLOCKS: Final = [block for section in SECTIONS.values() for block in section.blocks]
