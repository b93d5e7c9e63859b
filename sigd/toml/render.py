"""Structs as commented TOML: `sigd --print-config`."""

from collections.abc import Iterator

import msgspec

from sigd.toml.places import Path, dotted
from sigd.toml.tables import Kind, Table, expected, kind_of, toml_text

# With "# " before it, a line of a comment fits 80 columns.
_COMMENT_WIDTH = 76


def render(table: Table) -> str:
    """Return the table as TOML with a comment for every key: purpose, values, default."""
    return "\n".join(_rendered(type(table), table, (), set())).strip("\n") + "\n"


def _rendered(kind: type[Table], table: Table | None, path: Path, explained: set[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table: its own keys first, as TOML requires, then the tables inside.

    The keys of an absent table are commented out, ready to be filled in.
    """
    inner: list[str] = []
    was_explained = False
    for field in msgspec.structs.fields(kind):
        key, inside = field.encode_name, kind_of(field.type)
        if inside.table or kind_of(inside.item).table:
            inner.extend(_headed(getattr(table, field.name, None), inside, (*path, key), explained))
            continue
        explanation = (key, *_comment(inside.description), *_comment(taken(field, inside)))
        is_news = explanation not in explained
        explained.add(explanation)
        if is_news or was_explained:
            yield ""
        if is_news:
            yield from explanation[1:]
        was_explained = is_news
        value = getattr(table, field.name, None if field.required else field.default)
        line = f"{key} =" if value is None else f"{key} = {toml_text(value)}"
        yield f"# {line}" if table is None or value is None else line
    yield from inner


def taken(field: msgspec.structs.FieldInfo, kind: Kind) -> str:
    """Describe a key's values, its default, and whether a change needs a restart."""
    default = "no default" if field.required else f"default {toml_text(field.default)}"
    return f"Takes {expected(kind)}; {default}.{' A change needs a restart.' if kind.restart else ''}"


def _headed(
    value: Table | tuple[Table, ...] | None, kind: Kind, path: Path, explained: set[tuple[str, ...]]
) -> Iterator[str]:
    """Yield the lines of a table or of an array of tables, under headers."""
    header = f"[{dotted(path)}]" if kind.table else f"[[{dotted(path)}]]"
    shape = kind.table or kind_of(kind.item).table
    assert shape
    yield from ("", *_comment(kind.description))
    if not value:
        yield from (f"# {header}", *_rendered(shape, None, path, explained))
    for number, table in enumerate((value,) if isinstance(value, Table) else value or ()):
        yield from ("", header) if number else (header,)
        yield from _rendered(shape, table, path, explained)


def _comment(text: str) -> list[str]:
    import textwrap

    lines = textwrap.wrap(text, _COMMENT_WIDTH, break_on_hyphens=False)
    return [f"# {line}" for line in lines]
