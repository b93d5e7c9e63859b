"""Lists that are sorted and cut, the exit status of `status`, and text from outside that steers no terminal."""

import json
from typing import Any

import pytest

from sigd.admin import questions
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import ScriptedDaemon, golden


def ids(out: str) -> list[str]:
    return [peer["id"] for peer in json.loads(out)["peers"]]


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("id", ["bob", "cam1", "door.7"]),
        ("in", ["cam1", "door.7", "bob"]),
        ("out", ["cam1", "door.7", "bob"]),
        ("outbox", ["door.7", "bob", "cam1"]),
        ("rtt", ["door.7", "cam1", "bob"]),
        ("idle", ["door.7", "cam1", "bob"]),
        ("errors", ["door.7", "bob", "cam1"]),
    ],
)
def test_peers_are_sorted_by_what_one_asks_for(daemon: ScriptedDaemon, sigctl: Sigctl, by, order):
    assert ids(sigctl("peers", "--json", "--sort", by)[1]) == order
    lines = sigctl("peers", "--sort", by)[1].splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == order
    reverse = ids(sigctl("peers", "--json", "--sort", by, "--reverse")[1])
    assert reverse[-1] == order[0]


def test_a_list_that_is_cut_says_so(daemon: ScriptedDaemon, sigctl: Sigctl):
    status, out, _ = sigctl("peers", "cam*", "--limit", "1", "--sort", "in")
    assert (status, out.splitlines()[-1]) == (0, "1 peer, and there are more")
    assert daemon.asked == [questions.AskPeers(glob="cam*")]
    document = json.loads(sigctl("peers", "--limit", "1", "--json")[1])
    assert (len(document["peers"]), document["more"]) == (1, True)
    assert len(json.loads(sigctl("closed", "--limit", "1", "--json")[1])["closed"]) == 1
    assert sigctl("closed", "--limit", "0") == (0, "0 ended links\n", "")


def test_nobody_is_no_table(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("peers", {"schema": 1, "type": "peers", "now": 1.0, "peers": []})
    assert sigctl("peers") == (0, "0 peers\n", "")


@pytest.mark.parametrize("limit", ["-1", "1.5", "x", "9" * 30, "\u0661"])
def test_what_is_no_limit(sigctl: Sigctl, limit):
    assert sigctl("peers", f"--limit={limit}")[0] == 2


def test_status_is_0_where_all_is_well(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("status", golden("status") | {"findings": []})
    status, out, _ = sigctl("status")
    assert (status, out.splitlines()[-1]) == (0, "# no findings")
    assert sigctl("status", "--json")[0] == 0


def test_a_daemon_that_has_done_nothing_yet(daemon: ScriptedDaemon, sigctl: Sigctl):
    bare = {"version": "1", "pid": 1, "state": "draining", "now": 9.0, "uptime": 0.4, "configuration": "c"}
    daemon.says(
        "status", {"schema": 1, "type": "status", "listeners": [{"url": "tls://:1", "certificateExpires": 8}], **bare}
    )
    status, out, _ = sigctl("status")
    assert status == 0
    assert out.startswith("sigd 1 DRAINING  pid 1  up 0s\nconfig      c\n")
    assert "listening   tls://:1 (certificate ended 1970-01-01)\n" in out
    assert "\nerrors" not in out
    assert "round not measured yet" in out


STEERING = "\x1b]0;x\x07\x7f\x9b2J\u202e\u2066\u061c\u200e\u2028\n"
STEERS = {character for character in STEERING if not character.isprintable()} - {"\n"}
SPELLED = r"\x1b]0;x\x07\x7f\x9b2J\u202e\u2066\u061c\u200e\u2028\x0a"


KINDS = {"type", "framing", "state", "severity"}


def steering(value: Any) -> Any:
    """The same with every text of it from somebody who means ill, but for words of a closed set."""
    match value:
        case dict():
            return {key: each if key in KINDS else steering(each) for key, each in value.items()}
        case list():
            return [steering(each) for each in value]
        case str():
            return value + STEERING
        case _:
            return value


@pytest.mark.parametrize(
    "command", ["status", "peers", "show cam1", "closed", "kick cam1", "ping cam1", "reload", "metrics", "why a b"]
)
def test_row_14_nothing_from_outside_steers_a_terminal(daemon: ScriptedDaemon, sigctl: Sigctl, command):
    name, *arguments = command.split()
    document = golden(name)
    if name == "why":
        document["steps"] = []
    daemon.says(name, steering(document))
    _, text, err = sigctl(name, *arguments)
    _, in_json, _ = sigctl(name, *arguments, "--json")
    assert err == ""
    for out in (text, in_json):
        assert not STEERS & set(out)
    assert r"\x1b]0;x\x07" in text
    assert r"\u001b]0;x\u0007\u007f\u009b2J\u202e\u2066\u061c\u200e\u2028\n" in in_json
    if name == "kick":
        assert text == f"cam1{SPELLED} at 10.1.2.3:51234{SPELLED}: link ended\n"


def test_row_14_nor_does_what_passes_a_tap(daemon: ScriptedDaemon, sigctl: Sigctl):
    passed = {"schema": 1, "type": "tapped", "at": 1.0, "from": "a", "to": "b", "kind": "message", "bytes": 9}
    told = steering(passed | {"summary": "", "session": "s", "body": {"data": ""}})
    for arguments in ([], ["a", "b"], [f"a{STEERING}", f"b{STEERING}"]):
        daemon.says("tap", {"schema": 1, "type": "tap", "now": 1.0}, told)
        _, out, _ = sigctl("tap", *arguments)
        assert not STEERS & set(out)
        assert r"\x1b]0;x\x07" in out
