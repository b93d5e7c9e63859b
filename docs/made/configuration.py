"""The reference of the configuration: every key, with what it takes, its default and its effect."""

from collections.abc import Iterator

import msgspec

from docs.made.markdown import page, table
from sigd.config import Config
from sigd.toml.tables import Kind, Table, expected, kind_of, toml_text

INTRODUCTION = """\
A configuration is one file in TOML. Every key has a default unless it says otherwise, so an empty file is a
configuration. An unknown key is a fault, and with any fault the daemon does not start, or nothing changes at a reload.
`sigd --print-config` prints all keys with these texts, and `sigd --config FILE --check` finds all faults, each with
line and column. `man sigd.toml` has the same.

SIGHUP, `systemctl reload sigd` and `sigctl reload` apply a changed file, except for keys that are marked *restart*."""


def configuration() -> str:
    """Return the page."""
    lines = ["# Configuration", "", INTRODUCTION]
    lines += _tables(Config, "", "The top of the file.")
    return page(*lines)


def _tables(shape: type[Table], path: str, description: str, heading: str = "Top level") -> Iterator[str]:
    """Yield the section of a table, then those of the tables inside."""
    rows: list[tuple[str, str, str, str]] = []
    inner: list[tuple[str, Kind]] = []
    for field in msgspec.structs.fields(shape):
        kind = kind_of(field.type)
        if kind.table or kind_of(kind.item).table:
            inner.append((f"{path}.{field.encode_name}" if path else field.encode_name, kind))
        else:
            rows.append(_row(field, kind))
    if path or rows:
        yield from ("", f"## {heading}", "", description, "")
        yield from table(("key", "takes", "default", "effect"), rows)
    for name, kind in inner:
        each = kind.table or kind_of(kind.item).table
        assert each
        yield from _tables(each, name, kind.description, f"`[{name}]`" if kind.table else f"`[[{name}]]`")


def _row(field: msgspec.structs.FieldInfo, kind: Kind) -> tuple[str, str, str, str]:
    default = "required" if field.required else "none" if field.default is None else f"`{toml_text(field.default)}`"
    effect = f"{kind.description}{' *Restart.*' if kind.restart else ''}"
    return f"`{field.encode_name}`", expected(kind), default, effect
