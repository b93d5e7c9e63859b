"""Differences between two Structs of one kind, key by key, as a reload reports them."""

from collections.abc import Iterator
from typing import Any

import msgspec

from sigd.text import LONGEST_QUOTE, shown
from sigd.toml.places import Path, dotted
from sigd.toml.tables import Table, kind_of, toml_text


class Change(msgspec.Struct, frozen=True):
    """A changed key, or an added or removed table of an array. Printable ASCII only.

    Attributes:
        path: the key, as in `auth.token[0].register`.
        old: its former value as TOML, cut short; None if a table was added.
        new: its new value; None if a table was removed.
        needs_restart: a running daemon cannot change it.
    """

    path: str
    old: str | None
    new: str | None
    needs_restart: bool = False

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"{self.path} {'added' if self.old is None else 'removed'}"
        return f"{self.path} {self.old} -> {self.new}"


def changes(old: Table, new: Table) -> Iterator[Change]:
    """Yield the differences between two tables of one kind, in the order of their keys."""
    yield from _in_table(old, new, ())


def _in_table(old: Table, new: Table, path: Path) -> Iterator[Change]:
    for field in msgspec.structs.fields(new):
        kind, inside = kind_of(field.type), (*path, field.encode_name)
        before: Any = getattr(old, field.name)
        after: Any = getattr(new, field.name)
        if before == after:
            continue
        if kind_of(kind.item).table:
            yield from _in_array(before, after, inside, needs_restart=kind.restart)
        elif isinstance(before, Table) and isinstance(after, Table):
            yield from _in_table(before, after, inside)
        elif kind.table:
            yield Change(dotted(inside), _presence(before), _presence(after), kind.restart)
        else:
            yield Change(dotted(inside), _text(before), _text(after), kind.restart)


def _in_array(old: tuple[Table, ...], new: tuple[Table, ...], path: Path, *, needs_restart: bool) -> Iterator[Change]:
    """Yield the differences between arrays of tables; equal tables match wherever they stand."""
    import difflib

    for _, low, high, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        pairs = min(high - low, end - start)
        for offset in range(pairs):
            yield from _in_table(old[low + offset], new[start + offset], (*path, start + offset))
        for number in range(low + pairs, high):
            yield Change(dotted((*path, number)), _presence(old[number]), None, needs_restart)
        for number in range(start + pairs, end):
            yield Change(dotted((*path, number)), None, _presence(new[number]), needs_restart)


def _presence(table: Table | None) -> str | None:
    # The content of an added or removed table would fill lines; its path is enough to find it.
    return None if table is None else "{...}"


def _text(value: object) -> str:
    return shown(toml_text(value), LONGEST_QUOTE)
