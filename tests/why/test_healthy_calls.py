"""Calls that real stacks made, and that connected, pass without a warning: rules must keep quiet about them.

The data are in `calls`, with the versions of the stacks; `calls/record.py` makes them.
"""

import functools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sigd.relay.record import PairHistory, Passed
from sigd.why import flaws
from sigd.why.bodies import read
from sigd.why.facts import IceFacts, PeerFacts
from sigd.why.judge import judge
from sigd.why.verdict import Verdict
from tests.why.staged import AT

FILES = sorted((Path(__file__).parent / "calls").glob("*.json"))
STACKS = {"aiortc", "chromium", "firefox", "node-datachannel", "werift"}

RELAYED = [path for path in FILES if path.stem.endswith("_relay")]
"""Those with relayed candidates alone."""

LAN = "192.168.1.20"
"""Where all of them were: `record.py` makes one network of one machine."""


@functools.cache
def recorded(path: Path) -> dict[str, Any]:
    call: dict[str, Any] = json.loads(path.read_text())
    return call


def judged(path: Path, *, session: str | None = None, hosts: tuple[str, str] = (LAN, LAN), now: float = 60) -> Verdict:
    """The verdict on a recorded call, as if it had been relayed."""
    passed = []
    for each in recorded(path)["messages"]:
        sender, to = ("alice", "bob") if each["sender"] == "caller" else ("bob", "alice")
        message = {"type": each["message"]["type"], "from": sender, **each["message"]}
        if session is not None:
            message["session"] = session
        passed.append(Passed(AT + each["after"], sender, to, msgspec.json.encode(message), None))
    facts = {
        peer: PeerFacts(peer, via="tls", since=AT - 60, host=host)
        for peer, host in zip(("alice", "bob"), hosts, strict=True)
    }
    return judge(PairHistory(("alice", "bob"), passed, 0.0), facts, IceFacts(), AT + now)


def took(way: str, media: str) -> set[tuple[str, str]]:
    """The stacks that called each other in this way."""
    calls = [call for call in map(recorded, FILES) if (call["way"], call["media"]) == (way, media)]
    return {(call["caller"]["stack"], call["callee"]["stack"]) for call in calls}


def test_every_stack_called_every_stack():
    all_pairs = {(one, other) for one in STACKS for other in STACKS}
    assert took("direct", "dc") == took("direct", "av") == took("relay", "dc") == all_pairs
    assert took("relay", "av") == {(stack, stack) for stack in STACKS}
    assert took("restart", "dc") == {
        *(("chromium", other) for other in ("chromium", "firefox", "werift")),
        *(("firefox", other) for other in ("chromium", "firefox", "werift")),
        ("werift", "chromium"),
    }
    assert took("restart", "av") == {("chromium", "chromium"), ("firefox", "firefox")}
    assert all(call[end]["version"] for call in map(recorded, FILES) for end in ("caller", "callee"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("session", [None, "k3"])
def test_a_healthy_call_in_one_network(path, session):
    verdict = judged(path, session=session)
    assert verdict.rule == "complete", verdict.likely
    assert [step.level for step in verdict.steps] == ["ok"] * 4, verdict.steps
    assert (verdict.sender, verdict.to) == ("alice", "bob")


@pytest.mark.parametrize("path", RELAYED, ids=lambda path: path.stem)
def test_a_healthy_call_by_relays_between_two_networks(path):
    verdict = judged(path, hosts=("8.8.4.4", "9.9.9.9"))
    assert verdict.rule == "complete", verdict.likely
    assert [step.level for step in verdict.steps] == ["ok"] * 4, verdict.steps
    for step in verdict.steps[2:]:
        assert "0 host, 0 srflx, " in step.text
        assert "0 relay" not in step.text.removeprefix("0 host, 0 srflx")


@pytest.mark.parametrize("path", [path for path in FILES if "restart" in path.stem], ids=lambda path: path.stem)
def test_a_healthy_restart(path):
    """Candidates of the generation before count no more. werift writes a new `o=`, as of a new call."""
    verdict = judged(path)
    is_one_call = recorded(path)["caller"]["stack"] != "werift"
    assert ("1 ICE restart since" in verdict.steps[1].text) is is_one_call
    for step in verdict.steps[2:]:
        assert ("from before the ICE restart" in step.text) is is_one_call


@pytest.mark.parametrize("path", [path for path in FILES if path not in RELAYED], ids=lambda path: path.stem)
def test_the_same_addresses_in_two_networks(path):
    """The neighbour: the same messages from two places, of which neither can reach the other."""
    verdict = judged(path, hosts=("8.8.4.4", "9.9.9.9"))
    assert verdict.rule in {"private-only", "mdns-only"}
    assert judged(path, hosts=("127.0.0.1", "127.0.0.1")).rule == verdict.rule


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_stack_is_known_by_its_descriptions(path):
    """Rules about single stacks must not take one for another."""
    families = {"chromium": "libwebrtc", "firefox": "Firefox", "node-datachannel": "libdatachannel"}
    call = recorded(path)
    for each in call["messages"]:
        said = read(msgspec.json.encode(each["message"])).description
        if said is not None:
            stack = call[each["sender"]]["stack"]
            assert said.stack == families.get(stack, stack)
            assert said.flaw is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_candidate_of_every_stack_can_be_read(path):
    for each in recorded(path)["messages"]:
        body = read(msgspec.json.encode(each["message"]))
        if body.kind == "candidate":
            # Firefox gathers for RTCP too, until it knows that the other side multiplexes.
            assert body.flaw is None or (body.flaw is flaws.RTCP and path.stem.startswith("firefox"))
            assert body.candidate is not None or body.ends or body.flaw


def test_nobody_of_this_machine_is_in_the_data():
    for path in FILES:
        for word in path.read_text().replace('"', " ").split():
            assert "/home" not in word
            assert "/tmp" not in word
