"""How long something takes says how busy the machine is: only tests that are alone on it may fail by that."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS

FOLDER = Path(__file__).parent

CLOCKS = frozenset({"monotonic", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns", "thread_time"})
"""Functions of `time` that tell how long something takes, or how much CPU."""

WAITS = {"settimeout": 0, "create_connection": 1, "run": None, "communicate": 0, "wait_until": None}
"""Calls that give up after some real seconds, and the place of these among the arguments, if they may have one."""

HANG = "wait_for"
"""The function of tests/daemon.py that waits in all the others' stead."""

ELSEWHERE = frozenset({"systemd", "why/calls", "soak.py", "hostile.py", "crowd.py", "pairs.py", "fuzz.py"})
"""Folders and files of which only tests that are alone make use, or no test at all."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_alone(node: ast.AST) -> bool:
    """Whether a function or class is marked `alone`, or made a trial that is."""
    return any("alone" in ast.unparse(each) for each in getattr(node, "decorator_list", ()))


def functions_beside_others(tree: ast.AST) -> Iterator[Function]:
    """Yield all functions but those that are alone on the machine."""
    for node in ast.iter_child_nodes(tree):
        if is_alone(node):
            continue
        if isinstance(node, Function):
            yield node
        yield from functions_beside_others(node)


def is_alone_as_a_whole(tree: ast.Module) -> bool:
    """Whether the mark is the module's."""
    return any(
        isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0]) and "alone" in ast.unparse(node)
        for node in tree.body
    )


def measured(function: Function) -> set[str]:
    """Return the names in a function that hold what a clock has shown, or were reckoned from that."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and shows_time(node.value, names):
            names |= {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return names


def shows_time(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression depends on a clock."""
    return any(
        (isinstance(each, ast.Attribute) and each.attr in CLOCKS and ast.unparse(each.value) == "time")
        or (isinstance(each, ast.Name) and each.id in names)
        for each in ast.walk(node)
    )


def bounds(function: Function) -> Iterator[int]:
    """Yield the lines of assertions that fail because something took long."""
    names = measured(function)
    for node in ast.walk(function):
        if not isinstance(node, ast.Assert):
            continue
        for each in ast.walk(node.test):
            if isinstance(each, ast.Compare):
                sides = [each.left, *each.comparators]
                for left, operator, right in zip(sides, each.ops, sides[1:], strict=False):
                    longer = left if isinstance(operator, ast.Lt | ast.LtE) else right
                    if isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) and shows_time(longer, names):
                        yield node.lineno


def impatient(function: Function) -> Iterator[int]:
    """Yield the lines of calls that give up earlier than only a hang takes."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            place = WAITS[node.func.attr]
            given = [each.value for each in node.keywords if each.arg == "timeout"]
            given += node.args[place : place + 1] if place is not None else []
            for each in given:
                if isinstance(each, ast.Constant) and isinstance(each.value, int | float) and each.value < HANG_SECONDS:
                    yield node.lineno


def faults(source: str) -> list[int]:
    """Return the lines of a module that would fail on a busy machine."""
    tree = ast.parse(source)
    if is_alone_as_a_whole(tree):
        return []
    found: set[int] = set()
    for function in functions_beside_others(tree):
        if function.name != HANG:
            found |= {*bounds(function), *impatient(function)}
    return sorted(found)


def test_no_test_beside_others_fails_because_something_took_long() -> None:
    found: list[str] = []
    for path in sorted(FOLDER.rglob("*.py")):
        name = path.relative_to(FOLDER).as_posix()
        if not any(name == each or name.startswith(f"{each}/") for each in ELSEWHERE):
            found += [f"tests/{name}:{line}" for line in faults(path.read_text())]
    assert not found, "bound what is done, not how long it takes; or mark the test `alone`"


@pytest.mark.parametrize(
    ("body", "is_fault"),
    [
        ("began = time.monotonic()\n    assert time.monotonic() - began < 1", True),
        ("a = time.perf_counter()\n    b = time.perf_counter() - a\n    assert 3 > b, 'slow'", True),
        ("longest = max(0, time.thread_time())\n    assert 0 < longest <= 0.03", True),
        ("began = time.monotonic()\n    assert time.monotonic() - began >= 1", False),
        ("assert trio.current_time() < 1", False),
        ("sock.settimeout(4)", True),
        ("sock.settimeout(HANG_SECONDS)", False),
        ("subprocess.run(command, timeout=60)", True),
        ("socket.create_connection(address, 10)", True),
    ],
)
def test_faults_are_found(body: str, is_fault: bool) -> None:
    assert bool(faults(f"def test():\n    {body}")) is is_fault
    assert bool(faults(f"class Test:\n  def test():\n    {body}")) is is_fault
    for alone in ("@pytest.mark.alone", "@trial('x', alone=True)"):
        assert not faults(f"{alone}\ndef test():\n    {body}")
    assert not faults(f"pytestmark = [pytest.mark.alone]\ndef test():\n    {body}")
