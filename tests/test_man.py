"""The man pages are what the parsers and the configuration say, and roff has nothing against them."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from man.pages import pages
from sigd import cli, ctl
from sigd.config import Config
from sigd.toml.tables import Table, kind_of
from tests.daemon import HANG_SECONDS
from tests.needs import needs

FOLDER = Path(__file__).parent.parent / "man"
PAGES = pages()


def keys(shape: type[Table]) -> set[str]:
    """Every key of a table, and of the tables inside."""
    found: set[str] = set()
    for field in msgspec.structs.fields(shape):
        kind = kind_of(field.type)
        inner = kind.table or kind_of(kind.item).table
        found |= keys(inner) if inner else {field.encode_name}
    return found


@pytest.mark.parametrize("name", PAGES)
def test_is_not_stale(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name], "run `make man`"


def test_there_are_no_others() -> None:
    assert {path.name for path in FOLDER.glob("*.[0-9]")} == set(PAGES)


def test_every_key_is_explained() -> None:
    text = PAGES["sigd.toml.5"].replace("\\-", "-")
    assert keys(Config) == set(re.findall(r"^\.TP\n\\fB(\w+)\\fR\n\w", text, flags=re.MULTILINE))


@pytest.mark.parametrize(("name", "parser"), [("sigd.8", cli.parser()), ("sigctl.1", ctl.parser())])
def test_every_option_of_the_help_is_there(name, parser) -> None:
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", parser.format_help()))
    text = PAGES[name].replace("\\-", "-")
    assert options
    assert {option for option in options if f"\\fB{option}\\fR" not in text} == set()


def rendered(name: str) -> str:
    """A page as a terminal shows it; roff has found nothing wrong with it."""
    command = [needs("groff"), "-man", "-Tutf8", "-ww", "-rLL=78n", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG_SECONDS)
    assert done.stderr == ""
    return re.sub("\x1b\\[[0-9;]*m|.\x08", "", done.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_roff_takes_it(name: str) -> None:
    text = rendered(name)
    assert name.partition(".")[0].upper() in text
    assert "SEE ALSO" in text


def test_what_one_copies_into_a_shell_is_ascii() -> None:
    assert "sigd --config sigd.toml --check" in rendered("sigd.8")
