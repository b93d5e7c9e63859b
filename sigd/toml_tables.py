"""From raw TOML tables to frozen Structs, with every fault located, and back to TOML that explains itself.

Knows no key of sigd: keys, types, bounds and descriptions come from the Structs. No sockets, no trio.
"""

from collections.abc import Callable, Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeGuard, TypeVar, Union, cast, get_args, get_origin

import msgspec

from sigd.toml_places import LONGEST_QUOTE, Fault, Path, Source, dotted, is_array, is_table, shown

# Keys that disagree, the one to look at first in front, and why.
Conflict = tuple[tuple[Path, ...], str]

# With "# " before it, a line of a comment fits 80 columns.
_COMMENT_WIDTH = 76

# Per plain type: one value of it in words, and several.
_WORDS: dict[object, tuple[str, str]] = {
    str: ("a string", "strings"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "booleans"),
}


class ConfigError(Exception):
    """The configuration cannot be used: `faults` holds all that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Table(msgspec.Struct, frozen=True):
    """A TOML table: the fields are its keys, each documented by a `msgspec.Meta`.

    `Meta.extra` may hold `unit`, a word for people, and `check`, whose ValueError when called is a fault.
    """

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what no key shows alone. Faulty keys have their default here; what names them is dropped."""
        return iter(())


AnyTable = TypeVar("AnyTable", bound=Table)


class _Kind(msgspec.Struct):
    """What an annotation says: a table, an array of `item`, or a plain type with its bounds."""

    bare: object
    table: type[Table] | None = None
    item: object = None
    least: float | None = None
    most: float | None = None
    min_length: int | None = None
    description: str = ""
    unit: str = ""
    check: Callable[[object], object] | None = None


def _kind(annotation: object) -> _Kind:
    """Look through `Annotated[...]` and `... | None` (TOML has no null: such a key may be absent).

    Arrays are `tuple[X, ...]`, since a frozen Struct with a list in it would not be frozen.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metas = get_args(annotation)
        kind = _kind(inner)
        for meta in metas:
            _note(meta, kind)
        return kind
    if origin in {Union, UnionType}:
        present = [choice for choice in get_args(annotation) if choice is not NoneType]
        return _kind(present[0]) if len(present) == 1 else _Kind(annotation)
    if origin is tuple:
        return _Kind(annotation, item=get_args(annotation)[0])
    return _Kind(annotation, table=annotation if _is_table_type(annotation) else None)


def _is_table_type(annotation: object) -> TypeGuard[type[Table]]:
    return isinstance(annotation, type) and issubclass(annotation, Table)


def _note(meta: msgspec.Meta, kind: _Kind) -> None:
    """Take over what one `Meta` says; msgspec itself refuses two that set the same bound."""
    extra = meta.extra or {}
    kind.least = kind.least if meta.ge is None else meta.ge
    kind.most = kind.most if meta.le is None else meta.le
    kind.min_length = meta.min_length or kind.min_length
    kind.description = meta.description or kind.description
    kind.unit = extra.get("unit", kind.unit)
    kind.check = extra.get("check", kind.check)


def read(kind: type[AnyTable], source: Source) -> AnyTable:
    """Return the tables as a Struct.

    Raises:
        ConfigError: with every fault, in the file's order, then the command line's.
    """
    reading = _Reading(source, kind)
    table = reading.table(source.tree, kind, ())
    placed = sorted(reading.faults, key=lambda fault: fault[0])
    faults = [*source.faults, *(fault for _, fault in placed)]
    if table is None or faults:
        raise ConfigError(faults)
    return table


class _Reading:
    """One pass over the raw tables, key by key, since msgspec stops at the first fault.

    A method that returns None has noted why: no value of TOML becomes None.
    """

    def __init__(self, source: Source, root: type[Table]) -> None:
        self.source = source
        self.root = root
        self.faults: list[tuple[float, Fault]] = []
        self.bad: set[Path] = set()
        # Array -> the indices of its usable items: the faulty ones are left out of the tuple.
        self.kept: dict[Path, list[int]] = {}

    def table(self, raw: object, kind: type[AnyTable], path: Path) -> AnyTable | None:
        """Convert a table; defaults stand in for faulty keys, so that the others can be judged together."""
        if not is_table(raw):
            self.fault(path, f"expected a table, got {_got(raw)}")
            return None
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, object] = {}
        for key, item in raw.items():
            if key not in fields:
                self.unknown(key, kind, path)
            elif (value := self.value(item, fields[key].type, (*path, key))) is not None:
                values[fields[key].name] = value
        required = {field.encode_name: field.name for field in fields.values() if field.required}
        for key in required:
            if key not in raw and self.source.is_whole:
                self.fault(path, f"the key `{key}` is missing")
        if not values.keys() >= set(required.values()):
            self.bad.add(path)
            return None
        table = kind(**values)
        for keys, what in table.conflicts():
            self.conflict([self.raw_path((*path, *key)) for key in keys], what)
        return table

    def value(self, raw: object, annotation: object, path: Path) -> object | None:
        """Convert a value of any kind."""
        kind = _kind(annotation)
        if kind.table:
            return self.table(raw, kind.table, path)
        if not kind.item or not is_array(raw):
            return self.converted(raw, annotation, kind, path)
        items = [self.value(item, kind.item, (*path, number)) for number, item in enumerate(raw)]
        self.kept[path] = [number for number, item in enumerate(items) if item is not None]
        if len(self.kept[path]) == len(items) and self.converted(raw, annotation, kind, path) is None:
            return None
        return tuple(item for item in items if item is not None)

    def converted(self, raw: object, annotation: object, kind: _Kind, path: Path) -> object | None:
        """Convert by msgspec, then ask the key's own check."""
        try:
            value: object = msgspec.convert(raw, annotation)
            if kind.check:
                kind.check(value)
        except msgspec.ValidationError:
            self.fault(path, f"expected {_expected(kind)}, got {_got(raw)}")
        except ValueError as error:
            self.fault(path, str(error))
        else:
            return value
        return None

    def raw_path(self, path: Path) -> Path:
        """Return the path in the source of one in the Struct, where faulty items are missing."""
        raw: Path = ()
        for part in path:
            raw = (*raw, self.kept[raw][part] if isinstance(part, int) and raw in self.kept else part)
        return raw

    def fault(self, path: Path, what: str) -> None:
        """Note what is wrong with the value of a key."""
        self.bad.add(path)
        is_named = not path or self.source.is_option(path)  # `--set limits.max_frame=0: ` names it already
        self.add(path, what if is_named else f"{dotted(path)}: {what}")

    def conflict(self, keys: list[Path], what: str) -> None:
        """Note what is wrong between keys, at the first of them that somebody wrote."""
        concerned = {key[:depth] for key in keys for depth in range(len(key) + 1)}
        if self.source.is_whole and self.bad.isdisjoint(concerned):
            self.add(next(filter(self.source.is_written, keys), keys[0]), what)

    def unknown(self, key: str, kind: type[Table], path: Path) -> None:
        """Note a key that no field has, and the nearest that one has: in this table, else in another."""
        import difflib

        def nearest(names: Iterable[str]) -> str | None:
            return next(iter(difflib.get_close_matches(key[:LONGEST_QUOTE].lower(), names, n=1)), None)

        elsewhere = dict(reversed(list(_known_keys(self.root, ()))))  # the first of a name wins
        hint = "`sigd --print-config` prints all keys"
        if here := nearest(field.encode_name for field in msgspec.structs.fields(kind)):
            hint = f"did you mean `{here}`?"
        elif there := nearest(elsewhere):
            hint = f"did you mean `{there}` {_place(elsewhere[there])}?"
        self.add((*path, key), f"unknown key `{shown(key)}` {_place(path)}; {hint}")

    def add(self, path: Path, what: str) -> None:
        """Note a fault at the place of a key."""
        order, where = self.source.where(path)
        self.faults.append((order, Fault(where, what)))


def _known_keys(kind: type[Table], path: Path) -> Iterator[tuple[str, Path]]:
    """Yield every key there is, with the table it belongs to."""
    for field in msgspec.structs.fields(kind):
        yield field.encode_name, path
        value, inside = _kind(field.type), (*path, field.encode_name)
        if value.table:
            yield from _known_keys(value.table, inside)
        elif item := _kind(value.item).table:
            yield from _known_keys(item, (*inside, 0))


def _place(table: Path) -> str:
    if not table:
        return "at the top level"
    return f"in [[{dotted(table[:-1])}]]" if isinstance(table[-1], int) else f"in [{dotted(table)}]"


def _expected(kind: _Kind) -> str:
    """Say in TOML's words what a key takes, its bounds included."""
    if get_origin(kind.bare) is Literal:
        return f"one of {', '.join(map(_toml, get_args(kind.bare)))}"
    if kind.item:
        item = _kind(kind.item)
        words = f"an array of {'tables' if item.table else _WORDS[item.bare][1]}"
        return f"{words}, at least {kind.min_length}" if kind.min_length else words
    words = _WORDS[kind.bare][0]
    if kind.least is not None and kind.most is not None:
        words = f"{words} from {kind.least} to {kind.most}"
    elif kind.least is not None:
        words = f"{words}, at least {kind.least}"
    return f"{words} ({kind.unit})" if kind.unit else words


def _got(raw: object) -> str:
    """Say in TOML's words what is there instead."""
    match raw:
        case bool() | float():
            return _toml(raw)
        case int():
            # Python refuses to spell integers of thousands of digits, which hexadecimal TOML may give.
            return str(raw) if raw.bit_length() <= 64 else "an integer of more than 64 bits"
        case str():
            return f'"{shown(raw)}"'
        case dict():
            return "a table"
        case list():
            return "an array" if raw else "an empty array"
        case _:
            return "a date or a time"


def render(table: Table) -> str:
    """Return the table as TOML that explains every key: what it is for, what it takes, its default."""
    return "\n".join(_rendered(table, ())).strip("\n") + "\n"


def _rendered(table: Table, path: Path) -> Iterator[str]:
    """Yield the lines of a table: its own keys first, as TOML wants it, then the tables inside."""
    inner: list[str] = []
    for field in msgspec.structs.fields(table):
        key, kind, value = field.encode_name, _kind(field.type), getattr(table, field.name)
        if kind.table or _kind(kind.item).table:
            inner.extend(_headed(value, kind, (*path, key)))
            continue
        default = "no default" if field.required else f"default {_toml(field.default)}"
        yield from _comment(kind.description)
        yield from _comment(f"Takes {_expected(kind)}; {default}.")
        yield f"# {key} =" if value is None else f"{key} = {_toml(value)}"
        yield ""
    yield from inner


def _headed(value: Table | tuple[Table, ...] | None, kind: _Kind, path: Path) -> Iterator[str]:
    """Yield the lines of a table or of an array of tables, under headers."""
    header = f"[{dotted(path)}]" if kind.table else f"[[{dotted(path)}]]"
    yield from _comment(kind.description)
    if not value:
        yield from (f"# {header}", "")
    for table in (value,) if isinstance(value, Table) else value or ():
        yield from (header, *_rendered(table, path))


def _comment(text: str) -> list[str]:
    import textwrap

    lines = textwrap.wrap(text, _COMMENT_WIDTH, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def _toml(value: object) -> str:
    """Return a value as TOML, ASCII only, so that a terminal may show it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case tuple():
            return f"[{', '.join(map(_toml, cast('tuple[object, ...]', value)))}]"
        case _:
            return repr(value)


def _escaped(character: str) -> str:
    if " " <= character <= "~" and character not in '"\\':
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
