"""From raw TOML tables to frozen Structs, with every fault located.

Knows no key of sigd: keys, types, bounds and descriptions come from the Structs. No sockets, no trio.
"""

from collections.abc import Callable, Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeGuard, TypeVar, Union, cast, get_args, get_origin

import msgspec

from sigd.text import LONGEST_QUOTE, shown
from sigd.toml.places import Fault, Path, Source, dotted, is_array, is_table

# Conflicting keys, the first to check in front, and the reason.
Conflict = tuple[tuple[Path, ...], str]

# Words for each plain type, singular and plural.
_WORDS: dict[object, tuple[str, str]] = {
    str: ("a string", "strings"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "booleans"),
}


class ConfigError(Exception):
    """An invalid configuration; `faults` holds all its faults."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Table(msgspec.Struct, frozen=True):
    """A TOML table: its fields are the keys, each documented by a `msgspec.Meta`.

    `Meta.extra` may hold `unit`, a word for people; `check`, a function whose ValueError is a fault; on a table
    `short`, the key for which a plain string may stand in place of the table; and `restart`, if a reload cannot change
    the key.
    """

    def conflicts(self) -> Iterator[Conflict]:
        """Yield conflicts between keys. Faulty keys have their default here; conflicts that name them are dropped."""
        return iter(())


AnyTable = TypeVar("AnyTable", bound=Table)


class Kind(msgspec.Struct):
    """The content of an annotation: a table, an array of `item`, or a plain type with its bounds.

    Attributes:
        bare: the annotation without bounds and texts.
        short: the key of a table for which a plain string may stand.
        restart: a running daemon cannot change it.
    """

    bare: object
    table: type[Table] | None = None
    item: object = None
    least: float | None = None
    most: float | None = None
    min_length: int = 0
    description: str = ""
    unit: str = ""
    short: str = ""
    restart: bool = False
    check: Callable[[object], object] | None = None


def kind_of(annotation: object) -> Kind:
    """Resolve `Annotated[...]` and `... | None` (TOML has no null: such a key may be absent).

    Arrays are `tuple[X, ...]`: a list would make a frozen Struct mutable.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metas = get_args(annotation)
        kind = kind_of(inner)
        for meta in metas:
            _note(meta, kind)
        return kind
    if origin in {Union, UnionType}:
        present = [choice for choice in get_args(annotation) if choice is not NoneType]
        return kind_of(present[0]) if len(present) == 1 else Kind(annotation)
    if origin is tuple:
        return Kind(annotation, item=get_args(annotation)[0])
    return Kind(annotation, table=annotation if _is_table_type(annotation) else None)


def _is_table_type(annotation: object) -> TypeGuard[type[Table]]:
    return isinstance(annotation, type) and issubclass(annotation, Table)


def _note(meta: msgspec.Meta, kind: Kind) -> None:
    """Apply one `Meta`; msgspec itself refuses two that set the same bound."""
    extra = meta.extra or {}
    kind.least = kind.least if meta.ge is None else meta.ge
    kind.most = kind.most if meta.le is None else meta.le
    kind.min_length = meta.min_length or kind.min_length
    kind.description = meta.description or kind.description
    kind.unit = extra.get("unit", kind.unit)
    kind.short = extra.get("short", kind.short)
    kind.restart = extra.get("restart", kind.restart)
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

    A method that returns None has noted the fault: no value of TOML becomes None.
    """

    def __init__(self, source: Source, root: type[Table]) -> None:
        self.source = source
        self.root = root
        self.faults: list[tuple[float, Fault]] = []
        self.bad: set[Path] = set()
        # Array -> the indices of its valid items; faulty ones are left out of the tuple.
        self.kept: dict[Path, list[int]] = {}

    def table(self, raw: object, kind: type[AnyTable], path: Path) -> AnyTable | None:
        """Convert a table; defaults replace faulty keys, so that the others can be judged together."""
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
        kind = kind_of(annotation)
        if kind.table:
            return self.shortened(raw, kind, path) if kind.short else self.table(raw, kind.table, path)
        if not kind.item or not is_array(raw):
            return self.converted(raw, annotation, kind, path)
        items = [self.value(item, kind.item, (*path, number)) for number, item in enumerate(raw)]
        self.kept[path] = [number for number, item in enumerate(items) if item is not None]
        if len(items) < kind.min_length:
            self.fault(path, f"expected {expected(kind)}, got {_got(raw)}")
            return None
        return tuple(item for item in items if item is not None)

    def shortened(self, raw: object, kind: Kind, path: Path) -> object | None:
        """Convert a table, or the plain string in its place."""
        assert kind.table
        if is_table(raw):
            return self.table(raw, kind.table, path)
        if not isinstance(raw, str):
            self.fault(path, f"expected {expected(kind)}, got {_got(raw)}")
            return None
        field = next(field for field in msgspec.structs.fields(kind.table) if field.encode_name == kind.short)
        # Its faults are those of the string, the only part written.
        is_sound = self.converted(raw, field.type, kind_of(field.type), path) is not None
        return self.table({kind.short: raw}, kind.table, path) if is_sound else None

    def converted(self, raw: object, annotation: object, kind: Kind, path: Path) -> object | None:
        """Convert by msgspec, then ask the key's own check."""
        try:
            value: object = msgspec.convert(raw, annotation)
            if kind.check:
                kind.check(value)
        except msgspec.ValidationError:
            self.fault(path, f"expected {expected(kind)}, got {_got(raw)}")
            return None
        except ValueError as error:
            self.fault(path, str(error))
            return None
        return value

    def raw_path(self, path: Path) -> Path:
        """Return the path in the source for one in the Struct, which lacks faulty items."""
        raw: Path = ()
        for part in path:
            raw = (*raw, self.kept[raw][part] if isinstance(part, int) and raw in self.kept else part)
        return raw

    def fault(self, path: Path, what: str) -> None:
        """Note a fault in the value of a key."""
        self.bad.add(path)
        is_named = not path or self.source.is_option(path)  # `--set limits.max_frame=0: ` names it already
        self.add(path, what if is_named else f"{dotted(path)}: {what}")

    def conflict(self, keys: list[Path], what: str) -> None:
        """Note a conflict between keys, at the first one that is set."""
        # Skip conflicts with a faulty key, its parents or its children: their intended values are unknown.
        pairs = ((bad, key) for bad in self.bad for key in keys)
        if self.source.is_whole and not any(bad[: len(key)] == key[: len(bad)] for bad, key in pairs):
            self.add(next(filter(self.source.is_written, keys), keys[0]), what)

    def unknown(self, key: str, kind: type[Table], path: Path) -> None:
        """Note an unknown key with the nearest known one, in this table or else in another."""
        import difflib

        def nearest(names: Iterable[str]) -> str | None:
            return next(iter(difflib.get_close_matches(key[:LONGEST_QUOTE].lower(), names, n=1)), None)

        elsewhere = dict(reversed(list(_known_keys(self.root, ()))))  # the first of a name wins
        hint = "`sigd --print-config` prints all keys"
        if here := nearest(field.encode_name for field in msgspec.structs.fields(kind)):
            hint = f"did you mean `{here}`?"
        elif there := nearest(elsewhere):
            hint = f"did you mean `{there}` {_place(elsewhere[there])}?"
        self.bad.add((*path, key))
        self.add((*path, key), f"unknown key `{shown(key)}` {_place(path)}; {hint}")

    def add(self, path: Path, what: str) -> None:
        """Note a fault at the place of a key."""
        order, where = self.source.where(path)
        self.faults.append((order, Fault(where, what)))


def _known_keys(kind: type[Table], path: Path) -> Iterator[tuple[str, Path]]:
    """Yield every key there is, with the table it belongs to."""
    for field in msgspec.structs.fields(kind):
        yield field.encode_name, path
        value, inside = kind_of(field.type), (*path, field.encode_name)
        if value.table:
            yield from _known_keys(value.table, inside)
        elif item := kind_of(value.item).table:
            yield from _known_keys(item, (*inside, 0))


def _place(table: Path) -> str:
    if not table:
        return "at the top level"
    return f"in [[{dotted(table[:-1])}]]" if isinstance(table[-1], int) else f"in [{dotted(table)}]"


def expected(kind: Kind) -> str:
    """Describe valid values of a key in TOML's words, bounds included."""
    if get_origin(kind.bare) is Literal:
        return f"one of {', '.join(map(toml_text, get_args(kind.bare)))}"
    if kind.item:
        item = kind_of(kind.item)
        of = ("strings or tables" if item.short else "tables") if item.table else _WORDS[item.bare][1]
        words = f"an array of {of}"
        return f"{words}, at least {kind.min_length}" if kind.min_length else words
    words = "a string or a table" if kind.short else _WORDS[kind.bare][0]
    if kind.least is not None and kind.most is not None:
        words = f"{words} from {kind.least} to {kind.most}"
    elif kind.least is not None:
        words = f"{words}, at least {kind.least}"
    return f"{words} ({kind.unit})" if kind.unit else words


def _got(raw: object) -> str:
    """Describe an actual value in TOML's words."""
    match raw:
        case bool() | float():
            return toml_text(raw)
        case int():
            # Python refuses to format integers of thousands of digits, which hexadecimal TOML allows.
            return str(raw) if raw.bit_length() <= 64 else "an integer of more than 64 bits"
        case str():
            return f'"{shown(raw)}"'
        case dict():
            return "a table"
        case list():
            return "an array" if raw else "an empty array"
        case _:
            return "a date or a time"


def toml_text(value: object) -> str:
    """Return a value as TOML, in ASCII and so safe for a terminal."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case tuple():
            return f"[{', '.join(map(toml_text, cast('tuple[object, ...]', value)))}]"
        case _:
            return repr(value)


def _escaped(character: str) -> str:
    if " " <= character <= "~" and character not in '"\\':
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
