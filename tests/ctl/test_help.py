"""Help: narrow enough for any terminal, with examples and exit statuses, and what it shows is so."""

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from sigd import cli
from sigd.ctl import parser
from tests.ctl.conftest import Sigctl


def commands() -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = next(
        action for action in vars(parser())["_actions"] if action.metavar == "COMMAND"
    ).choices
    return found


NAMES = list(commands())


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(sigctl: Sigctl, name):
    status, out, err = sigctl(name, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "\nexit status:\n  0  done\n" in out
    assert "\nexamples:\n  s" in out
    assert "--json" in out


def test_help_of_all(sigctl: Sigctl):
    status, out, _ = sigctl("--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    listed = re.findall(r"^    ([a-z]+)\s", out, re.MULTILINE)
    assert listed == NAMES
    writing = [name for name in NAMES if re.search(rf"^    {name} .*\(rw\)$", out, re.MULTILINE)]
    assert writing == ["kick", "reload", "drain"]


def examples() -> Iterator[tuple[str, str]]:
    for name, command in commands().items():
        for line in (command.epilog or "").splitlines():
            for part in re.split(r" && | \| | > |    ", line.strip()):
                if part.startswith(("sigctl ", "sudo sigctl ")):
                    yield name, part.removeprefix("sudo ").removeprefix("sigctl ")


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_examples_can_be_typed(name, example):
    options = parser().parse_args(shlex.split(example))
    assert callable(options.run)


def test_every_command_has_an_example_of_its_own():
    assert {name for name, example in examples() if example.split()[0] == name} == set(NAMES)


def test_the_daemon_describes_itself_alike(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, cli.parser().format_help().splitlines())) <= 80
