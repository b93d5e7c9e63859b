"""docs/design.md knows every room of the house, and names no module that is not there."""

import re

from tests.docs.pages import ROOT, read

PACKAGE = ROOT / "sigd"
DESIGN = read("docs/design.md")

ROOMS = {
    path.stem
    for path in PACKAGE.iterdir()
    if (path.is_dir() and (path / "__init__.py").exists()) or (path.suffix == ".py" and path.stem != "__init__")
}


def test_every_room_is_in_the_table():
    table = DESIGN.partition("| room | contents |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)) == ROOMS


def test_every_module_that_is_named_exists():
    rooms = "|".join(sorted(ROOMS))
    named = re.findall(rf"\b((?:{rooms})/[a-z_]+)\b", DESIGN)
    assert len(named) > 10
    assert {name for name in named if not list(PACKAGE.glob(f"{name}.py")) and not (PACKAGE / name).is_dir()} == set()
