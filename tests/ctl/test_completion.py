"""Which words fit, live peers included, and that shells take the scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sigd
from sigd.admin import questions
from sigd.ctl.completion import SCRIPTS
from sigd.wire.errors import ErrorCode
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import ScriptedDaemon, golden
from tests.daemon import HANG_SECONDS
from tests.needs import lacks, needs

SECONDS = HANG_SECONDS


def fitting(sigctl: Sigctl, *words: str) -> list[str]:
    status, out, err = sigctl("complete", "--", *words)
    assert (status, err) == (0, "")
    return out.splitlines()


def test_commands_and_options(sigctl: Sigctl):
    assert {"status", "why", "token", "send"} <= set(fitting(sigctl, ""))
    assert fitting(sigctl, "st") == ["status"]
    assert fitting(sigctl, "--v") == ["--version"]
    assert fitting(sigctl, "peers", "--re") == ["--reverse"]
    assert fitting(sigctl, "peers", "--sort", "o") == ["out", "outbox"]
    assert fitting(sigctl, "completion", "") == ["bash", "fish", "zsh"]
    assert fitting(sigctl, "errors", "rate") == ["rate-limited"]
    assert set(fitting(sigctl, "errors", "")) == set(ErrorCode)
    assert fitting(sigctl) == fitting(sigctl, "")


def test_where_nothing_fits_the_shell_offers_files(sigctl: Sigctl):
    assert fitting(sigctl, "check", "--config", "") == []
    assert fitting(sigctl, "nonsense", "") == []
    assert fitting(sigctl, "status", "") == []
    assert fitting(sigctl, "errors", "internal", "") == []


def test_peers_are_those_that_are_here(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("peers", golden("peers"))
    assert fitting(sigctl, "show", "") == ["bob", "cam1", "door.7"]
    assert fitting(sigctl, "why", "bob", "ca") == ["cam1"]
    assert fitting(sigctl, "tap", "bob", "cam1", "do") == ["door.7"]
    assert fitting(sigctl, "kick", "--reason", "x", "b") == ["bob"]
    assert daemon.asked[0] == questions.AskPeers(glob="*")
    assert daemon.asked[1] == questions.AskPeers(glob="ca*")
    assert fitting(sigctl, "why", "bob", "cam1", "") == []


def test_another_socket_is_asked_if_it_is_named(daemon: ScriptedDaemon, sigctl: Sigctl, tmp_path: Path):
    assert fitting(sigctl, "show", "--socket", f"{tmp_path}/none", "") == []
    assert fitting(sigctl, "show", "--socket", str(daemon.path), "b") == ["bob"]


@pytest.mark.parametrize("name", ["$(reboot)", "a b", "`x`", "a;b", "\x1b[2J", "-rf*", "a" * 65])
def test_row_14_what_is_no_peer_id_gets_to_no_shell(daemon: ScriptedDaemon, sigctl: Sigctl, name):
    document = golden("peers")
    document["peers"][0]["id"] = name
    daemon.says("peers", document)
    assert fitting(sigctl, "show", "") == ["cam1", "door.7"]
    assert fitting(sigctl, "show", name) == []


@pytest.fixture
def environment(daemon: ScriptedDaemon, sigctl: Sigctl, tmp_path: Path) -> dict[str, str]:
    """Of a shell that finds this sigctl and the daemon, with each shell's script in $SCRIPTS."""
    (tmp_path / "sigctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sigd.ctl "$@"\n')
    (tmp_path / "sigctl").chmod(0o755)
    for shell in SCRIPTS:
        (tmp_path / shell).write_text(sigctl("completion", shell)[1])
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SCRIPTS": str(tmp_path),
        "SIGD_ADMIN": str(daemon.path),
        "PYTHONPATH": str(Path(sigd.__file__).parents[1]),
        "TERM": "dumb",
    }


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_takes_its_script(environment: dict[str, str], shell: str):
    needs(shell)
    command = [shell, "-n", f"{environment['SCRIPTS']}/{shell}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")


# As TAB does it: bash's function is called with the words; fish tells by itself; zsh has to be typed at.
BASH = """
source "$SCRIPTS/bash"
COMP_WORDS=(sigctl show ca); COMP_CWORD=2; _sigctl; echo "${COMPREPLY[@]}"
COMP_WORDS=(sigctl show ""); COMP_CWORD=2; _sigctl; echo "${COMPREPLY[@]}"
"""
FISH = """
source "$SCRIPTS/fish"
echo (complete -C "sigctl show ca")
echo (complete -C "sigctl show ")
"""
ZSH = r"""
zmodload zsh/zpty
zpty typist zsh -f -i
zpty -w typist $1
zpty -w typist 'sigctl() { [[ $1 == complete ]] && command sigctl "$@" || print "ra""n: $*" }'
for typed wanted (ca cam1 door. door.7); do
    zpty -w -n typist "sigctl show $typed"$'\t\n'
    zpty -r -m typist said "*ran: *"$'\r\n*' && print -r -- ${${said##*ran: }%%$'\r'*}
done
"""


@pytest.mark.parametrize(("shell", "program"), [("bash", BASH), ("fish", FISH)])
def test_a_shell_completes_a_live_peer(environment: dict[str, str], shell: str, program: str):
    needs(shell)
    done = subprocess.run([shell, "-c", program], env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.stdout, done.stderr) == ("cam1\nbob cam1 door.7\n", "")


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param('autoload -Uz compinit; compinit -u -D; source "$SCRIPTS/zsh"', id="sourced"),
        pytest.param('fpath=("$SCRIPTS" $fpath); autoload -Uz compinit; compinit -u -D', id="found"),
    ],
)
def test_zsh_completes_a_live_peer(environment: dict[str, str], tmp_path: Path, taken: str):
    needs("zsh")
    tried = subprocess.run(["zsh", "-f", "-c", "zmodload zsh/zpty && zpty tried true"], capture_output=True, text=True)
    if tried.returncode != 0:
        lacks(f"zsh has no terminal to type at: {tried.stderr.strip()}")
    (tmp_path / "_sigctl").hardlink_to(tmp_path / "zsh")
    command = ["zsh", "-f", "-c", ZSH, "zsh", taken]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert (done.stdout, done.stderr) == ("show cam1\nshow door.7\n", "")
