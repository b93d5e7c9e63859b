"""Every command prints what its golden file says: as text on 80 columns, and as JSON."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sigd.admin import questions, replies
from sigd.ctl import parser, printing
from sigd.why.verdict import Verdict
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import GOLDEN, Document, ScriptedDaemon, golden

ASKED: dict[str, tuple[list[str], int]] = {
    "status": ([], 1),
    "peers": ([], 0),
    "show": (["cam1"], 0),
    "closed": ([], 0),
    "kick": (["cam1"], 0),
    "ping": (["cam1"], 0),
    "reload": ([], 0),
    "drain": ([], 0),
    "metrics": ([], 0),
    "why": (["cam1", "bob"], 0),
    "errors": ([], 0),
    "completion": (["bash"], 0),
}
"""Commands whose one answer is printed, with their arguments and exit status."""


def text_of(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text()


def json_of(name: str) -> str:
    return (GOLDEN / f"{name}.json").read_text()


@pytest.mark.parametrize(("command", "arguments", "status"), [(name, *rest) for name, rest in ASKED.items()])
class TestAnAnswer:
    def test_as_text(self, daemon: ScriptedDaemon, sigctl: Sigctl, command, arguments, status):
        assert sigctl(command, *arguments) == (status, text_of(command), "")

    def test_as_json(self, daemon: ScriptedDaemon, sigctl: Sigctl, command, arguments, status):
        assert sigctl(command, *arguments, "--json") == (status, json_of(command), "")


REPLIES: dict[str, Any] = {
    "status": replies.StatusReply,
    "peers": replies.PeersReply,
    "show": replies.ShowReply,
    "closed": replies.ClosedReply,
    "kick": replies.KickReply,
    "ping": replies.PingReply,
    "reload": replies.ReloadReply,
    "drain": replies.DrainReply,
    "metrics": replies.MetricsReply,
    "why": Verdict,
}


@pytest.mark.parametrize("name", REPLIES)
def test_the_daemon_answers_what_the_golden_file_has(name):
    """Member for member: a change of an answer changes its file, and is seen in review."""
    document = golden(name)
    meta = {name: document.pop(name) for name in ("meta",) if name in document}
    again: Document = msgspec.to_builtins(msgspec.convert(document, REPLIES[name]))
    again = {"schema": 1, "type": name, **again} if name == "why" else again
    assert again | meta == document | meta
    assert document["schema"] == replies.SCHEMA == printing.SCHEMA


def test_every_command_has_both_files():
    commands = next(action for action in vars(parser())["_actions"] if action.metavar == "COMMAND").choices
    elsewhere = {"send", "listen", "token", "setup"}
    for name in set(commands) - elsewhere:
        assert text_of(name), name
        assert json_of(name), name


def test_text_fits_80_columns():
    # A script is no text, and what `why` says is tests/why/test_ladder.py's.
    for name in {*ASKED, "top"} - {"completion", "why"}:
        assert max(map(len, text_of(name).splitlines())) <= 80, name


def test_tap(daemon: ScriptedDaemon, sigctl: Sigctl):
    passed = [json.loads(line) for line in json_of("tap").splitlines()]
    daemon.says("tap", {"schema": 1, "type": "tap", "now": 1.0}, *passed)
    assert sigctl("tap", "cam1", "bob") == (0, text_of("tap"), "")
    assert sigctl("tap", "--since", "10m", "--full", "--json") == (0, json_of("tap"), "")
    assert daemon.asked == [questions.AskTap(peers=["cam1", "bob"]), questions.AskTap(since=600.0, full=True)]


@pytest.mark.parametrize(("arguments", "file"), [([], "top.txt"), (["--json"], "top.json")])
def test_top(daemon: ScriptedDaemon, sigctl: Sigctl, arguments, file):
    later: dict[str, Document] = {name: golden(name) for name in ("peers", "status")}
    for document in later.values():
        document["now"] += 2
    bob, cam1, _ = later["peers"]["peers"]
    bob["received"] += 9
    cam1["received"] += 24
    cam1["delivered"] += 8
    later["status"]["errors"]["peer-unavailable"] += 6
    later["status"]["closed"]["idle-timeout"] += 4
    for name, document in later.items():
        daemon.says(name, golden(name), document)
    assert sigctl("top", "--once", "--interval", "0.1", *arguments) == (0, (GOLDEN / file).read_text(), "")


CONFIG = """\
listen = ["tcp://127.0.0.1:0"]
[limits]
max_fram = 1
[log]
level = 3
"""


@pytest.mark.parametrize(("arguments", "file"), [([], "check.txt"), (["--json"], "check.json")])
def test_check(daemon: ScriptedDaemon, sigctl: Sigctl, monkeypatch, tmp_path: Path, arguments, file):
    monkeypatch.setattr("sigd.ctl.surroundings.is_synchronised", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sigd.toml").write_text(CONFIG)
    status, out, err = sigctl("check", "--config", "sigd.toml", *arguments)
    assert (status, err) == (2, "")
    assert out == (GOLDEN / file).read_text()
