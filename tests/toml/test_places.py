"""Where each key of a TOML text is written, and what is said of a file or an option that holds no TOML."""

import string
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sigd.text import shown
from sigd.toml.places import LARGEST_FILE, Source, dotted, places

Tree = str | list["Tree"] | dict[str, "Tree"]
Place = tuple[str | int, ...]


def located(text: str) -> dict[str, str]:
    """Return the places as people read them."""
    before = {dotted(path): text[:at].split("\n") for path, at in places(text).items()}
    return {path: f"{len(lines)}:{len(lines[-1]) + 1}" for path, lines in before.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# a = 1\n\n  b = 2 # c = 3\n", {"b": "3:3"}),
        ("a . 'b' . \"c\\u0064\" = 1", {"a": "1:1", "a.b": "1:5", "a.b.cd": "1:11"}),
        ("a.b = 1\na.c = 2", {"a": "1:1", "a.b": "1:3", "a.c": "2:3"}),
        (
            "a = [1, [2], # 3\n 'x]',\n]\nb = 1",
            {"a": "1:1", "a[0]": "1:6", "a[1]": "1:9", "a[1][0]": "1:10", "a[2]": "2:2", "b": "4:1"},
        ),
        (
            "a = { b = { c = '}' }, d.e = 1 }",
            {"a": "1:1", "a.b": "1:7", "a.b.c": "1:13", "a.d": "1:24", "a.d.e": "1:26"},
        ),
        ('a = """\nb = 1\n"""""\nc = 1', {"a": "1:1", "c": "4:1"}),
        ("a = '''\nb = '1\n''''\nc = 1", {"a": "1:1", "c": "4:1"}),
        ('a = "\\"b = #"\nc = ""\nd = 1', {"a": "1:1", "c": "2:1", "d": "3:1"}),
        ("a = 1979-05-27 07:32:00 # b = 1\nc = 1", {"a": "1:1", "c": "2:1"}),
        ("[ a . b ]\nc = 1\n[a]\nd = 1", {"a": "1:3", "a.b": "1:7", "a.b.c": "2:1", "a.d": "4:1"}),
        (
            "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a.c]]\n[[a]]\nx = 2\n[[a.c]]\n[[a.c]]\nz = 1",
            {
                "a": "1:3", "a[0]": "1:3", "a[0].x": "2:1", "a[0].b": "3:4", "a[0].b.y": "4:1",
                "a[0].c": "5:5", "a[0].c[0]": "5:5", "a[1]": "6:3", "a[1].x": "7:1", "a[1].c": "8:5",
                "a[1].c[0]": "8:5", "a[1].c[1]": "9:5", "a[1].c[1].z": "10:1",
            },
        ),
    ],
)  # fmt: skip
def test_places(text: str, expected: dict[str, str]) -> None:
    assert located(text) == expected


SCALARS = [
    "1", "-0.5e3", "true", "inf", "0xff", "1979-05-27 07:32:00", "07:32:00",
    '""', "''", '"a\\"]#b"', "'}\"#'", '"tab\\t\\u00e9"',
    '"""\n[x]\ny = 1 # \\""" z"""', '"""a""b"""""', "'''\n] = }\n''''", "''''''", '""""""', '"""\\\\"""',
]  # fmt: skip
BARE = set(string.ascii_letters + string.digits + "-_")

plain_keys = st.text(sorted(BARE), min_size=1, max_size=3)
odd_keys = st.text(st.sampled_from(" .#=[]{},'\u00e9\t"), max_size=3)
keys = plain_keys | odd_keys
blanks = st.sampled_from(["", " ", "\t "])
gaps = st.sampled_from(["", " ", "\n", " # , ] } = 'x\n ", "\n\n\t"])
line_ends = st.sampled_from(["\n", "  # [x] '\n", "\n\n"])
trees: st.SearchStrategy[Tree] = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


class Writer:
    """Writes a tree as TOML, in ways that hypothesis chooses, and notes where everything went."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.text = ""
        self.places: dict[Place, int] = {}

    def flip(self) -> bool:
        return self.data.draw(st.booleans())

    def write(self, *pieces: str | st.SearchStrategy[str]) -> None:
        for piece in pieces:
            self.text += piece if isinstance(piece, str) else self.data.draw(piece)

    def key(self, key: str) -> int:
        """Write a key and return its offset."""
        self.write(blanks)
        at = len(self.text)
        if key and set(key) <= BARE and self.flip():
            self.write(key)
        elif "'" not in key and self.flip():
            self.write(f"'{key}'")
        else:
            self.write('"', key.replace("\t", "\\t"), '"')
        self.write(blanks)
        return at

    def pair(self, key: str, value: Tree, path: Place) -> None:
        path = (*path, key)
        self.places[path] = self.key(key)
        while isinstance(value, dict) and len(value) == 1 and self.flip():
            ((key, value),) = value.items()
            path = (*path, key)
            self.write(".")
            self.places[path] = self.key(key)
        self.write("=", blanks)
        self.value(value, path)

    def value(self, value: Tree, path: Place) -> None:
        if isinstance(value, str):
            self.write(value)
        elif isinstance(value, list):
            self.write("[", gaps)
            for number, item in enumerate(value):
                self.places[*path, number] = len(self.text)
                self.value(item, (*path, number))
                self.write(gaps, "," if number < len(value) - 1 or self.flip() else "", gaps)
            self.write("]")
        else:
            self.write("{", blanks)
            for number, (key, item) in enumerate(value.items()):
                self.write("," if number else "")
                self.pair(key, item, path)
                self.write(blanks)
            self.write("}")

    def table(self, tree: dict[str, Tree], path: Place, names: list[str]) -> None:
        """Write the keys of a table, and then what gets a header of its own."""
        headed: list[tuple[str, dict[str, Tree] | list[Tree]]] = []
        for key, value in tree.items():
            if not isinstance(value, str) and value and all_tables(value) and self.flip():
                headed.append((key, value))
            else:
                self.pair(key, value, path)
                self.write(line_ends)
        for key, value in headed:
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                array: Place = (*path, key)
                inside = (*array, number) if isinstance(value, list) else array
                brackets = len(inside) - len(path)
                self.write(blanks, "[" * brackets)
                for name in names:
                    self.key(name)
                    self.write(".")
                self.places[inside] = self.key(key)
                self.places.setdefault(array, self.places[inside])
                self.write("]" * brackets, line_ends)
                assert isinstance(item, dict)
                self.table(item, inside, [*names, key])


def all_tables(value: dict[str, Tree] | list[Tree]) -> bool:
    return isinstance(value, dict) or all(isinstance(item, dict) for item in value)


def paths_in(value: object, path: Place = ()) -> Iterator[Place]:
    """Yield the paths of all that tomllib found."""
    inner: dict[str | int, object] = {}
    if isinstance(value, dict):
        inner.update(value)  # pyright: ignore[reportUnknownArgumentType] - keys of TOML are strings
    elif isinstance(value, list):
        inner.update(enumerate(value))  # pyright: ignore[reportUnknownArgumentType]
    for key, item in inner.items():
        yield (*path, key)
        yield from paths_in(item, (*path, key))


@given(st.data(), st.dictionaries(keys, trees, max_size=4))
def test_places_are_where_the_keys_were_written(data: st.DataObject, tree: dict[str, Tree]) -> None:
    writer = Writer(data)
    writer.table(tree, (), [])
    assert set(writer.places) == set(paths_in(tomllib.loads(writer.text)))
    assert places(writer.text) == writer.places


@given(st.lists(st.sampled_from([*SCALARS, *"[]{}=,.#'\"\n ab"])).map("".join))
def test_even_nonsense_comes_to_an_end(text: str) -> None:
    for path, at in places(text).items():
        assert path
        assert 0 <= at <= len(text)


@given(st.text(), st.integers(4, 300))
@example("\x1b[2J\x7f\x9b\u202e\u2028\U000e0001", 128)
@example("a" * 129, 128)
def test_shown_text_is_printable_ascii_and_short(text: str, limit: int) -> None:
    safe = shown(text, limit)
    assert safe.isascii()
    assert safe.isprintable()
    assert len(safe) <= limit
    if text.isascii() and text.isprintable() and len(text) <= limit:
        assert safe == text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[limits]\nmax_depth 3", ":2:11: not TOML: Expected '=' after a key in a key/value pair"),
        (b"\r\n\r\na = 1 2", ":3:7: not TOML: Expected newline or end of document after a statement"),
        (b"[a]\nb = [1,", ":2:8: not TOML: Invalid value"),
        (b"a = 1\x1b[31m", ":1:6: not TOML: Expected newline or end of document after a statement"),
        (b'a = "\x1b[31m"', ":1:6: not TOML: Illegal character '\\x1b'"),
        (b"[\"\\u202e\"]\n['\xe2\x80\xae']", ":2:5: not TOML: Cannot declare ('\\u202e',) twice"),
        (b"a = " + b"[" * 100_000, ": cannot be read: arrays or inline tables are nested too deeply"),
        (b"# \xc3\xa9\na = '\xc3\xa9\xff'", ":2:7: not UTF-8 (byte 0xff): save the file as UTF-8"),
        (b"\xef\xbb\xbf\xff", ":1:1: not UTF-8 (byte 0xff): save the file as UTF-8"),
        (bytes(LARGEST_FILE + 1), ": cannot be read: larger than 1048576 bytes; is this the configuration?"),
    ],
    ids=range(10),
)
def test_file_that_holds_no_toml(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "sigd.toml"
    file.write_bytes(content)
    source = Source()
    source.read_file(str(file))
    assert [str(fault) for fault in source.faults] == [f"{file}{expected}"]
    assert not source.is_whole


def test_digits_beyond_pythons_patience(tmp_path: Path) -> None:
    file = tmp_path / "sigd.toml"
    file.write_text(f"a = {'9' * 5000}")
    source = Source()
    source.read_file(str(file))
    (fault,) = source.faults
    assert str(fault).startswith(f"{file}: cannot be read: Exceeds the limit (4300 digits)")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("a=1", 1),
        ("a = [1, 'x'] # why", [1, "x"]),
        ("a=text", "text"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=tcp://127.0.0.1:1#x", "tcp://127.0.0.1:1#x"),
        ("a=1\nb = 2", "1\nb = 2"),
        ("a=1\n[b]", "1\n[b]"),
        ("a=" + "[" * 100_000, "[" * 100_000),
        ("a=\udcff", "\udcff"),
    ],
    ids=range(10),
)
def test_value_of_a_setting_is_toml_or_else_text(setting: str, value: object) -> None:
    source = Source()
    source.override(setting)
    assert source.tree == {"a": value}


def test_settings_keep_what_they_do_not_name(tmp_path: Path) -> None:
    file = tmp_path / "sigd.toml"
    file.write_text("a = {b = 1, c = 2}\nd = 3")
    source = Source()
    source.read_file(str(file))
    source.override("a.b=4")
    source.override("e.f.g=5")
    source.override("d.x=6")
    assert source.tree == {"a": {"b": 4, "c": 2}, "d": 3, "e": {"f": {"g": 5}}}
    assert [str(fault) for fault in source.faults] == ["--set d.x=6: `d` is not a table"]
    where: dict[Place, str] = {
        ("a",): f"{file}:1:1",
        ("a", "b"): "--set a.b=4",
        ("a", "c"): f"{file}:1:13",
        ("a", "c", 0): f"{file}:1:13",
        ("d",): f"{file}:2:1",
        ("e",): "--set e.f.g=5",
        ("e", "f", "g"): "--set e.f.g=5",
        ("x",): str(file),
    }
    assert {path: source.where(path)[1] for path in where} == where


def test_a_later_setting_takes_the_place_of_an_earlier_one() -> None:
    source = Source()
    for setting in ("a.b=1", "a={c=2}", "a.d=3"):
        source.override(setting)
    assert source.tree == {"a": {"c": 2, "d": 3}}
    assert [source.where(("a", key))[1] for key in "bcd"] == ["--set a={c=2}", "--set a={c=2}", "--set a.d=3"]
