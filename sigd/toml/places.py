"""TOML with places: the raw tables, and the place of each key in the file or on the command line.

Judges syntax only; `tables` judges the meaning of keys. No sockets, no trio.
"""

import errno
import math
import os
import re
import stat
from collections.abc import Sequence
from typing import TypeGuard

import msgspec

from sigd.text import shown

# From the outermost table to a key: `listen[1].url` is ("listen", 1, "url").
Path = tuple[str | int, ...]

# A configuration is a page or two; this bounds a mistaken `--config /dev/zero`.
LARGEST_FILE = 1 << 20
# Linux's PATH_MAX: an editor must be able to open the file that a fault names.
LONGEST_FILE_NAME = 4096

_FILE_FAULTS: dict[type[OSError], str] = {
    FileNotFoundError: "no such file: correct the path, or create it with `sigd --print-config`",
    IsADirectoryError: "is a directory: name the file in it",
    PermissionError: "permission denied: make it readable to the user of sigd (see `ls -l`)",
}
# tomllib's text of a syntax fault. Attributes with the same content exist only since Python 3.14.
_SYNTAX_FAULT = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Three quotes come before one, or they would match as an empty string; two more may precede the last.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
# Numbers, dates and booleans: a date may contain a space, none contains one of these.
_SCALAR = re.compile(r"[^,\]}\n#]*")


class Fault(msgspec.Struct, frozen=True):
    """One fault of a configuration, with its place. Printable ASCII only."""

    where: str
    what: str

    def __str__(self) -> str:
        """Return the line for the terminal; editors jump to its `file:line:column:`."""
        return f"{self.where}: {self.what}"


def dotted(path: Path) -> str:
    """Return a path in dotted form: `listen[1].url`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def is_table(value: object) -> TypeGuard[dict[str, object]]:
    """Return whether a raw value is a table."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Return whether a raw value is an array."""
    return isinstance(value, list)


class Source:
    """The raw tables of a file, overridden by command-line options, with the place of each key."""

    def __init__(self) -> None:
        self.tree: dict[str, object] = {}
        self.faults: list[Fault] = []
        # False if the file cannot be read, so that the other keys are unknown.
        self.is_whole = True
        # The name of faults without a place of their own.
        self._name = "configuration"
        self._text = ""
        self._file_places: dict[Path, int] | None = None
        self._options: dict[Path, str] = {}

    def read_file(self, path: str) -> None:
        """Read the tables of a TOML file, or note why that failed."""
        import tomllib

        self._name = shown(path, LONGEST_FILE_NAME)
        try:
            # A byte order mark is no fault. Line ends as tomllib makes them, so that places agree.
            data = _file_content(path).removeprefix(b"\xef\xbb\xbf")
            self._text = data.decode().replace("\r\n", "\n")
            self.tree = tomllib.loads(self._text)
        except OSError as error:
            self._no_file(self._name, _FILE_FAULTS.get(type(error)) or f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self._text = error.object[: error.start].decode()
            what = f"not UTF-8 (byte 0x{error.object[error.start]:02x}): save the file as UTF-8"
            self._no_file(self._located(len(self._text)), what)
        except RecursionError:
            self._no_file(self._name, "cannot be read: arrays or inline tables are nested too deeply")
        except ValueError as error:
            self._no_file(*self._syntax_fault(str(error)))

    def _no_file(self, where: str, what: str) -> None:
        self.is_whole = False
        self.faults.append(Fault(where, what))

    def _syntax_fault(self, message: str) -> tuple[str, str]:
        match = _SYNTAX_FAULT.fullmatch(message)
        if not match:  # not TOMLDecodeError: a number of thousands of digits, or a NUL in the path
            return self._name, f"cannot be read: {shown(message)}"
        what, line, column = match.groups()
        where = f"{self._name}:{line}:{column}" if line else self._located(len(self._text))
        return where, f"not TOML: {shown(what)}"

    def override(self, setting: str) -> None:
        """Override the file by one KEY=VALUE; VALUE is TOML, or else plain text."""
        label = f"--set {shown(setting)}"
        key, equals, value = setting.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if equals and all(map(_BARE_KEY.fullmatch, path)):
            self.put(path, _toml_or_text(value), label)
        else:
            self.faults.append(Fault(label, "expected KEY=VALUE, as in limits.max_frame=4096"))

    def put(self, path: tuple[str, ...], value: object, label: str) -> None:
        """Set a key, overriding the file; `label` is the place of its faults."""
        table = self.tree
        for depth, part in enumerate(path[:-1], start=1):
            if part not in table:
                table[part] = {}
                self._options[path[:depth]] = label
            inner = table[part]
            if not is_table(inner):
                self.faults.append(Fault(label, f"`{dotted(path[:depth])}` is not a table"))
                return
            table = inner
        table[path[-1]] = value
        self._options = {old: by for old, by in self._options.items() if old[: len(path)] != path}
        self._options[path] = label

    def put_items(self, key: str, items: Sequence[str], option: str) -> None:
        """Set an array of strings, each from an option of its own."""
        self.put((key,), list(items), option)
        self._options |= {(key, number): f"{option} {shown(item)}" for number, item in enumerate(items)}

    def is_option(self, path: Path) -> bool:
        """Return whether this key comes from an option of its own."""
        return path in self._options

    def is_written(self, path: Path) -> bool:
        """Return whether this very key is set; otherwise it has its default."""
        return path in self._options or path in self._places()

    def where(self, path: Path) -> tuple[float, str]:
        """Return the place of a key, or of its parent, after a sort key: options come last."""
        outwards = [path[:depth] for depth in range(len(path), 0, -1)]
        for known in outwards:
            if known in self._options:
                return math.inf, self._options[known]
        for known in outwards:
            if (offset := self._places().get(known)) is not None:
                return offset, self._located(offset)
        return 0, self._name

    def _places(self) -> dict[Path, int]:
        if self._file_places is None:  # only once a fault needs it
            self._file_places = places(self._text) if self.is_whole else {}
        return self._file_places

    def _located(self, offset: int) -> str:
        """Count lines and columns from 1 and in characters, as editors do."""
        line = self._text.count("\n", 0, offset) + 1
        column = offset - self._text.rfind("\n", 0, offset)
        return f"{self._name}:{line}:{column}"


def _file_content(path: str) -> bytes:
    # Opening a FIFO would wait for a writer, and a reload would block all connections meanwhile. The null device counts
    # as an empty file.
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
        found = os.fstat(file.fileno())
        if not (stat.S_ISREG(found.st_mode) or os.path.samestat(found, os.stat(os.devnull))):
            raise OSError(errno.EINVAL, "not a regular file: a reload could not read it again")
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_FILE} bytes; is this the configuration?")
    return data


def _toml_or_text(written: str) -> object:
    """Return the TOML value, or the text itself, so that `--set log.level=debug` needs no quotes."""
    import tomllib

    try:
        tables = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    return tables["value"] if len(tables) == 1 else written


def places(text: str) -> dict[Path, int]:
    """Return the offset of every key, table and array item of a text accepted by tomllib, with LF line ends."""
    scan = _Scan(text)
    scan.document()
    return scan.places


class _Scan:
    """One pass over a valid text: values are skipped, not judged. `at` is the current offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: dict[Path, int] = {}
        # Array of tables -> the index of its newest element, to which headers with the array's name refer.
        self.newest: dict[Path, int] = {}

    def document(self) -> None:
        """Scan the statements: headers, which change the current table, and key = value pairs."""
        table: Path = ()
        while following := self.next_after(_BLANK_LINES):
            if following == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Path:
        """Read `[a.b]`, or `[[a.b]]`, which opens a new element; return the path of that table."""
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        parts = self.dotted_key()
        self.at += brackets
        table: Path = ()
        for number, (key, offset) in enumerate(parts, start=1):
            table = (*table, key)
            self.places.setdefault(table, offset)
            if brackets == 2 and number == len(parts):
                self.newest[table] = self.newest.get(table, -1) + 1
                self.places[*table, self.newest[table]] = offset
            if table in self.newest:
                table = (*table, self.newest[table])
        return table

    def pair(self, table: Path) -> None:
        """Read `a.b = value`."""
        for key, offset in self.dotted_key():
            table = (*table, key)
            self.places.setdefault(table, offset)
        self.at += len("=")
        self.value(table)

    def dotted_key(self) -> list[tuple[str, int]]:
        """Read the parts of a key, each with its offset, up to the `=` or `]` after them."""
        parts = [self.simple_key()]
        while self.next_after(_BLANK) == ".":
            self.at += len(".")
            parts.append(self.simple_key())
        return parts

    def simple_key(self) -> tuple[str, int]:
        """Read one bare or quoted part of a key."""
        quoted = self.next_after(_BLANK) in {'"', "'"}
        start = self.at
        self.skip(_STRING if quoted else _BARE_KEY)
        key = self.text[start : self.at]
        return (str(_toml_or_text(key)) if quoted else key), start

    def value(self, path: Path) -> None:
        """Skip a value, noting the places inside arrays and inline tables."""
        match self.next_after(_BLANK):
            case "[":
                self.inside("]", path)
            case "{":
                self.inside("}", path)
            case '"' | "'":
                self.skip(_STRING)
            case _:
                self.skip(_SCALAR)

    def inside(self, closing: str, path: Path) -> None:
        """Skip an array or an inline table; TOML 1.1 allows newlines and a trailing comma in both."""
        self.at += 1
        number = 0
        while self.next_after(_BLANK_LINES) not in {closing, ""}:
            if closing == "]":
                self.places[*path, number] = self.at
                self.value((*path, number))
                number += 1
            else:
                self.pair(path)
            if self.next_after(_BLANK_LINES) != ",":
                break
            self.at += 1
        self.at += 1

    def next_after(self, blank: re.Pattern[str]) -> str:
        """Skip matches of `blank` and return the next character, empty at the end."""
        self.skip(blank)
        return self.text[self.at : self.at + 1]

    def skip(self, what: re.Pattern[str]) -> None:
        """Skip a match of the pattern, which may be empty."""
        if match := what.match(self.text, self.at):
            self.at = match.end()
