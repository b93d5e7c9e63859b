"""Each module has a test file of its name, in the folder of its room."""

from pathlib import Path

import sigd

PACKAGE = Path(sigd.__file__).parent
TESTS = Path(__file__).parent

AS_A_WHOLE = {
    "net": "tested over sockets: a stream, a link in datagrams, a handover",
    "relay": "tested by what clients say and hear: tests/relay/world.py",
}
"""Rooms whose modules are mostly tested together, and how."""

OWED = {
    *("client/over_stream", "client/sockets"),
    *("config/watching", "control/operated"),
    *("ctl/__main__", "ctl/calling", "ctl/command_line"),
    *("server/daemon", "server/service", "server/serving"),
    *("why/verdict", "wire/said"),
}
"""Modules without one: their tests lie in files of other names. None may be added."""


def test_each_module_has_a_test_file_of_its_name() -> None:
    without = set()
    for path in PACKAGE.rglob("*.py"):
        *rooms, module = path.relative_to(PACKAGE).with_suffix("").parts
        is_seen = module == "__init__" or any(room in AS_A_WHOLE for room in rooms)
        if not is_seen and not TESTS.joinpath(*rooms, f"test_{module}.py").exists():
            without.add("/".join([*rooms, module]))
    assert without == OWED
