"""The house: which room may know which, and that the rules need neither network nor clock."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sigd
from tests.daemon import HANG_SECONDS

PACKAGE = Path(sigd.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "text": set(),
    "wire": {"text"},
    "admin": set(),
    "log": set(),
    "toml": {"text"},
    "config": {"text", "toml", "wire"},
    "terminal": {"text"},
    "relay": {"wire", "config"},
    "net": {"wire", "relay", "config", "log"},
    "metrics": {"wire", "relay", "net", "config"},
    "rules": {"text", "relay", "net", "config", "metrics"},
    "why": {"text", "wire", "relay", "admin"},
    "control": {"wire", "relay", "net", "rules", "why", "admin", "metrics", "config", "log"},
    "server": {"relay", "net", "rules", "config", "admin", "toml", "log", "metrics", "control", "terminal"},
    "client": {"wire"},
    "ctl": {"wire", "relay", "rules", "why", "admin", "client", "config", "terminal", "text"},
    "cli": {"server", "rules", "config", "terminal", "ctl", "text"},
}
"""Every room, and what it may know beside itself (and the version in `sigd`): the arrows go one way."""

OF_THE_WORLD = {
    *("asyncio", "anyio", "trio", "socket", "ssl", "select", "selectors", "signal", "subprocess", "threading"),
    *("os", "io", "pathlib", "time", "datetime", "logging"),
}
"""What does something outside, waits, or looks at a clock: for `net` and above."""

THIRD_PARTY = {
    "msgspec": None,
    "trio": {"net", "server", "metrics", "control"},
    "prometheus_client": {"metrics"},
    "h11": {"metrics"},
    "jwt": {"relay"},
    "OpenSSL": {"net"},
    "anyio": {"client"},
    "aiortc": {"client"},
    "av": {"client"},
}
"""What is not Python's own, and the rooms that may know it; None: all of them."""


def room_of(path: Path) -> str:
    """The room that a module belongs to."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text())


def imports(path: Path, *, running: bool = False) -> Iterator[str]:
    """Everything that a module imports, wherever in it, as dotted names; but for type checkers alone, if running."""
    tree = parsed(path)
    unread: set[ast.AST] = set()
    for node in ast.walk(tree):
        if running and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unread.update(inner for line in node.body for inner in ast.walk(line))
    for node in ast.walk(tree):
        match None if node in unread else node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{path}: a relative import hides which room it is from"
                yield from (f"{module}.{alias.name}" for alias in names)
            case _:
                pass


def rooms_known(path: Path) -> set[str]:
    """The rooms of sigd that a module imports from, its own excepted."""
    own = room_of(path)
    parts = [name.split(".") for name in imports(path)]
    return {part[1] for part in parts if part[0] == "sigd" and len(part) > 1 and part[1] in MAY_IMPORT} - {own}


def named(paths: list[Path]) -> list[str]:
    """Modules as a report names them."""
    return [str(path.relative_to(PACKAGE)) for path in paths]


@pytest.mark.parametrize("path", MODULES, ids=named(MODULES))
class TestEveryModule:
    def test_is_in_a_room_and_knows_only_those_below(self, path: Path) -> None:
        assert room_of(path) in MAY_IMPORT, "a new room: say above what it may know"
        assert rooms_known(path) <= MAY_IMPORT[room_of(path)]

    def test_knows_the_outside_only_where_it_may(self, path: Path) -> None:
        room = room_of(path)
        tops = {name.partition(".")[0] for name in imports(path)} - {"sigd"}
        for top in (
            {name.partition(".")[0] for name in imports(path, running=True)} - sys.stdlib_module_names - {"sigd"}
        ):
            assert top in THIRD_PARTY, f"another dependency: {top}"
            rooms = THIRD_PARTY[top]
            assert rooms is None or room in rooms
        if room in {"wire", "relay"}:
            assert not tops & OF_THE_WORLD

    def test_has_a_plain_name_and_one_purpose(self, path: Path) -> None:
        words = set(path.stem.split("_")) | set(path.relative_to(PACKAGE).parts[:-1])
        vague = {"util", "base", "manager", "handler", "misc", "helper", "core", "common"}
        assert not {word.removesuffix("s") for word in words} & vague
        text = path.read_text()
        assert text.count("\n") < 500, "would two rooms be clearer?"
        assert ast.get_docstring(parsed(path)), "what is it for?"


def test_no_room_may_import_more_than_it_does() -> None:
    used: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for path in MODULES:
        used[room_of(path)] |= rooms_known(path)
    assert {room: allowed - used[room] for room, allowed in MAY_IMPORT.items() if allowed - used[room]} == {}


def test_the_arrows_go_one_way() -> None:
    """From each room one gets to others only, never back."""
    for start in MAY_IMPORT:
        reached: set[str] = set()
        ahead = set(MAY_IMPORT[start])
        while ahead:
            room = ahead.pop()
            reached.add(room)
            ahead |= MAY_IMPORT[room] - reached
        assert start not in reached


def modules_known(path: Path) -> set[Path]:
    """The modules of sigd that a module imports from, annotations included."""
    known: set[Path] = set()
    for name in imports(path):
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            at = PACKAGE.parent.joinpath(*parts[:end])
            found = [each for each in (at.with_suffix(".py"), at / "__init__.py") if each.is_file()]
            if found and parts[0] == "sigd":
                known.add(found[0])
                break
    return known - {path}


def circle_in(known: dict[str, set[str]]) -> list[str]:
    """A circle of names each of which knows the next; empty if there is none."""
    free: set[str] = set()  # no way from there leads back
    for start in known:
        way: list[str] = []
        ahead = [iter([start])]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                ahead.pop()
                if way:
                    free.add(way.pop())
            elif name in way:
                return [*way[way.index(name) :], name]
            elif name not in free:
                way.append(name)
                ahead.append(iter(sorted(known[name])))
    return []


def test_no_circle_of_files() -> None:
    """Not even for type checkers: a file is understood by those that it imports."""
    known = {path: modules_known(path) & set(MODULES) for path in MODULES}
    found = circle_in({named([path])[0]: set(named(list(of))) for path, of in known.items()})
    assert not found, " -> ".join(found)


@pytest.mark.parametrize(
    ("known", "circle"),
    [
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"c"}, "b": {"a"}, "c": {"b"}}, ["a", "c", "b", "a"]),
    ],
)
def test_a_circle_is_found(known: dict[str, set[str]], circle: list[str]) -> None:
    assert circle_in(known) == circle


def test_imports_for_type_checkers_count() -> None:
    assert PACKAGE / "relay" / "ledger.py" in modules_known(PACKAGE / "relay" / "outbox.py")


LOADS = "import sys, {module}; print(*sorted(set({unwanted}) & set(sys.modules)))"


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("sigd.relay.router", ["trio", "socket", "ssl", "select", "asyncio", "logging", "sigd.log", "sigd.net"]),
        ("sigd.wire.commands", ["trio", "socket", "ssl", "select", "asyncio", "logging", "difflib", "sigd.relay"]),
        ("sigd.config", ["trio", "socket", "ssl", "asyncio", "sigd.relay"]),
        ("sigd.rules.secret_files", ["trio", "socket", "ssl", "asyncio", "pwd", "shlex", "sigd.relay"]),
        ("sigd.cli", ["trio", "ssl", "asyncio", "sigd.server", "sigd.net", "sigd.rules", "jwt"]),
        ("sigd.ctl", ["trio", "socket", "ssl", "asyncio", "hmac", "sigd.config", "sigd.relay", "jwt"]),
    ],
)
def test_importing_loads_nothing_of_the_network(module: str, unwanted: list[str]) -> None:
    program = LOADS.format(module=module, unwanted=unwanted)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=HANG_SECONDS
    )
    assert done.stdout.split() == []
