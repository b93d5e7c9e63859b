"""Answers to each question, and their effects."""

import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.config import StartError
from sigd.control import answers
from sigd.control.answers import ENDS_AT_ONCE
from sigd.relay.endings import ENDINGS_KEPT
from tests.conftest import Serving
from tests.control.asking import Asking, asking, refused
from tests.in_process import FRAMINGS, Daemon, error, within
from tests.net import datagrams
from tests.why.staged import HOST, RELAY, answer, sdp

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

OFFER = {"type": "offer", "to": "bob", "sdp": "v=0\r\n", "session": "k3"}


# -- peers


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*", ["Zoe", "alice", "cam1", "cam10", "cam2"]),
        ("cam*", ["cam1", "cam10", "cam2"]),
        ("cam1", ["cam1"]),
        ("*1*", ["cam1", "cam10"]),
        ("cam", []),
        ("", []),
    ],
)
async def test_peers_are_found_by_globs_in_order(desk: Asking, daemon: Daemon, glob: str, found: list[str]) -> None:
    for peer in ("cam2", "alice", "cam10", "Zoe", "cam1"):
        await daemon.peer(peer)
    answer = await desk.asks("peers", glob=glob)
    assert [row["id"] for row in answer["peers"]] == found
    assert answer["more"] is False


async def test_only_so_many_are_listed(desk: Asking, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_ROWS", 3)
    for number in range(4):
        await daemon.peer(f"cam{number}")
    answer = await desk.asks("peers")
    assert [row["id"] for row in answer["peers"]] == ["cam0", "cam1", "cam2"]
    assert answer["more"] is True
    answer = await desk.asks("peers", glob="*3")
    assert ([row["id"] for row in answer["peers"]], answer["more"]) == (["cam3"], False)


# -- closed


async def test_closed_lists_the_last_one_first(desk: Asking, daemon: Daemon) -> None:
    for peer in ("cam1", "bob", "cam2"):
        client = await daemon.peer(peer)
        await client.says({"type": "unregister"})
        await client.hears_close()
    await desk.asks("closed")
    answer = await desk.asks("closed", glob="cam*")
    assert [row["id"] for row in answer["closed"]] == ["cam2", "cam1"]
    assert {row["reason"] for row in answer["closed"]} == {"unregistered"}
    assert answer["closed"][0]["address"].startswith("127.0.0.1:")
    assert answer["now"] - answer["closed"][0]["at"] == pytest.approx(0, abs=5)


async def test_closed_lets_others_have_their_turn(desk: Asking, daemon: Daemon) -> None:
    client = await daemon.peer("cam")
    await client.says({"type": "unregister"})
    await client.hears_close()
    await desk.asks("closed")
    router, turns = daemon.router, 0
    router.ended.extend([router.ended[0]] * ENDINGS_KEPT)

    async def counts() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(counts)
        assert len((await desk.asks("closed"))["closed"]) == ENDINGS_KEPT
        nursery.cancel_scope.cancel()
    assert turns >= ENDINGS_KEPT / ENDS_AT_ONCE


# -- kick


@pytest.mark.parametrize("framing", [*FRAMINGS, datagrams.DatagramClient.framing])
async def test_kick_ends_a_link_with_the_reason(
    desk: Asking, daemon: Daemon, framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    cam = await daemon.peer("cam1", framing)
    with caplog.at_level(logging.INFO, "sigd"):
        answer = await desk.asks("kick", peer="cam1", reason="firmware is too old")
    assert (answer["type"], answer["peer"]) == ("kick", "cam1")
    assert await cam.hears() == error("kicked", message="firmware is too old", reconnect=False)
    assert any(line.startswith("admin command=kick peer=cam1 uid=0 pid=") for line in caplog.messages)
    assert await desk.asks("show", peer="cam1") == refused("no-such-peer")
    (row,) = (await desk.asks("closed"))["closed"]
    assert (row["reason"], row["by"]) == ("kicked", "uid 0")


@pytest.mark.parametrize("reason", ["", "x" * 129, "b\u00e4r", "a\nb"])
async def test_a_reason_that_no_client_should_see_is_refused(desk: Asking, daemon: Daemon, reason: str) -> None:
    cam = await daemon.peer("cam1")
    assert await desk.asks("kick", peer="cam1", reason=reason) == refused("bad-question")
    await cam.is_served()


async def test_kick_of_nobody(desk: Asking) -> None:
    assert await desk.asks("kick", peer="cam1") == refused("no-such-peer")


async def test_kick_by_words(desk: Asking, daemon: Daemon) -> None:
    cam = await daemon.peer("cam1")
    (answer,) = await desk.types(b"kick cam1 out of order\n")
    assert answer["type"] == "kick"
    assert await cam.hears() == error("kicked", message="out of order", reconnect=False)


# -- ping


async def test_ping_measures_the_way_to_a_peer_and_back(desk: Asking, daemon: Daemon) -> None:
    cam = await daemon.peer("cam1")
    await trio.sleep(1)
    operator = await desk.operator()
    await operator.says({"type": "ping", "peer": "cam1"})
    assert await cam.hears() == {"type": "ping"}
    await trio.sleep(0.2)
    await cam.says({"type": "pong"})
    answer = await operator.hears()
    assert answer["type"] == "ping"
    assert answer["rtt"] == pytest.approx(0.2, abs=0.01)
    (row,) = (await desk.asks("peers"))["peers"]
    assert row["rtt"] == pytest.approx(answer["rtt"])


async def test_ping_by_datagram(desk: Asking, daemon: Daemon) -> None:
    await daemon.peer("cam1", datagrams.DatagramClient.framing)
    await trio.sleep(1)
    answer = await desk.asks("ping", peer="cam1")
    assert answer["type"] == "ping"
    assert answer["rtt"] < 0.5


async def test_ping_without_an_answer_is_no_fault_of_the_peer(desk: Asking, daemon: Daemon) -> None:
    """The link lives as long as if nobody had asked."""
    cam = await daemon.peer("cam1")
    began = trio.current_time()
    assert await desk.asks("ping", peer="cam1", timeout=1) == refused("no-answer")
    assert await cam.hears() == {"type": "ping"}
    assert within(trio.current_time() - began, 1)
    assert not daemon.link("cam1").pinged
    assert await cam.hears() == {"type": "ping"}
    assert within(trio.current_time() - began, 30)


async def test_ping_of_a_person(desk: Asking, daemon: Daemon) -> None:
    await daemon.peer("cam1", "lines")
    answer = await desk.asks("ping", peer="cam1", timeout=1)
    assert answer == refused("no-answer")
    assert "netcat does not answer" in answer["message"]


async def test_ping_of_who_does_not_read(desk: Asking, daemon: Daemon) -> None:
    cam = await daemon.connect(receive_buffer=4096)
    await cam.registers("cam1")
    alice = await daemon.peer("alice")
    while not daemon.link("cam1").stuck:
        await alice.says({"type": "message", "to": "cam1", "data": "x" * 50_000})
        await daemon.settles()
    answer = await desk.asks("ping", peer="cam1", timeout=0.1)
    assert answer == refused("no-answer")
    assert "does not read" in answer["message"]


async def test_ping_of_who_is_not_read(serving: Serving, tmp_path: Path) -> None:
    async with serving(messages_per_second=1, messages_burst=2) as daemon, asking(daemon, tmp_path) as desk:
        cam = await daemon.peer("cam1")
        await cam.says(*[{"type": "ping"}] * 20)
        await daemon.settles()
        answer = await desk.asks("ping", peer="cam1", timeout=0.1)
        assert answer == refused("no-answer")
        assert "it sent too much" in answer["message"]
        await trio.sleep(30)  # until it is read again: only then it is seen that it has left


async def test_ping_of_who_leaves(desk: Asking, daemon: Daemon) -> None:
    cam = await daemon.peer("cam1")
    operator = await desk.operator()
    await operator.says({"type": "ping", "peer": "cam1"})
    assert await cam.hears() == {"type": "ping"}
    cam.leaves()
    assert await operator.hears() == refused("no-answer", "its link ended meanwhile: left")


@pytest.mark.parametrize(("asked", "waited"), [(-1, 0), (1e9, 3)])
async def test_ping_waits_within_bounds(
    desk: Asking, daemon: Daemon, asked: float, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST_PING_SECONDS", 3.0)
    await daemon.peer("cam1", "lines")
    began = trio.current_time()
    assert await desk.asks("ping", peer="cam1", timeout=asked) == refused("no-answer")
    assert within(trio.current_time() - began, waited)


async def test_ping_of_nobody(desk: Asking) -> None:
    assert await desk.asks("ping", peer="cam1") == refused("no-such-peer")


# -- what the daemon does by itself


async def test_reload_and_drain_are_logged_and_done(desk: Asking, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sigd"):
        assert await desk.asks("reload") == {
            "type": "reload",
            "schema": 1,
            "faults": [],
            "reloaded": [],
            "needsRestart": [],
            "ended": 0,
            "wouldEnd": 0,
            "wouldEndPeers": [],
            "before": "5c1e0a11",
            "after": "5c1e0a11",
            "shown": "",
        }
        for _ in range(3):
            assert await desk.asks("drain") == {"type": "drain", "schema": 1, "links": 0, "drain": 0.0}
    assert (desk.server.reloaded, desk.server.drained) == (1, 1), "told twice it would not drain, but end"
    assert [" ".join(line.split()[:3]) for line in caplog.messages] == [
        "admin command=reload uid=0",
        "admin command=drain uid=0",
    ]


async def test_metrics(desk: Asking) -> None:
    assert await desk.asks("metrics") == {"type": "metrics", "schema": 1, "text": "sigd_links 3\n"}
    desk.server.figures = StartError("metrics", "prometheus-client is not installed")
    assert await desk.asks("metrics") == refused("not-here", "prometheus-client is not installed")


# -- why


async def test_why_judges_what_was_said(desk: Asking, daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    await daemon.peer("bob")
    await alice.says({**OFFER, "sdp": sdp()})
    await daemon.settles()
    answer = await desk.asks("why", first="alice", second="bob")
    assert (answer["type"], answer["schema"], answer["from"], answer["to"]) == ("why", 1, "alice", "bob")
    assert (answer["session"], answer["rule"]) == ("k3", "no-answer")
    (typed,) = await desk.types(b"why bob alice\n")
    assert typed["rule"] == "no-answer"


async def why(desk: Asking, daemon: Daemon, *said: tuple[Any, Any]) -> Any:
    """The verdict on what peers said, one message after the other, through the daemon."""
    for peer, message in said:
        await peer.says(message)
        await daemon.settles()
    return await desk.asks("why", first="alice", second="bob")


async def test_why_names_an_offer_that_could_not_be_read(desk: Asking, daemon: Daemon) -> None:
    alice, _ = await daemon.peer("alice"), await daemon.peer("bob")
    verdict = await why(desk, daemon, (alice, {**OFFER, "sdp": {"type": "offer", "sdp": sdp()}}))
    assert verdict["rule"] == "offer-refused"
    assert "(bad-message): Expected `str`, got `object` - at `$.sdp`" in verdict["likely"]


async def test_why_names_an_offer_that_was_too_long(desk: Asking, daemon: Daemon) -> None:
    alice, _ = await daemon.peer("alice"), await daemon.peer("bob")
    verdict = await why(desk, daemon, (alice, {**OFFER, "sdp": sdp() + "a=x\r\n" * 15_000}))
    assert verdict["rule"] == "offer-refused"
    assert "(too-large)" in verdict["likely"]


async def test_why_names_candidates_that_nobody_can_read(desk: Asking, daemon: Daemon) -> None:
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    candidate = {"type": "candidate", "to": "alice", "session": "k3", "candidate": {"sdp": HOST, "sdpMid": "0"}}
    reply = {"type": "answer", "to": "alice", "session": "k3", "sdp": answer()}
    verdict = await why(desk, daemon, (alice, {**OFFER, "sdp": sdp(HOST)}), (bob, reply), (bob, candidate))
    assert verdict["rule"] == "unreadable-candidates"
    assert "`sdp`, the name that iOS has for it" in verdict["likely"]


async def test_why_judges_by_the_last_generation(desk: Asking, daemon: Daemon) -> None:
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    reply = {"type": "answer", "to": "alice", "session": "k3"}
    first = [(alice, {**OFFER, "sdp": sdp(RELAY)}), (bob, {**reply, "sdp": answer(RELAY)})]
    new: list[Any] = [{"version": 1 << 32, "ufrag": ufrag} for ufrag in ("nEw1", "nEw2")]
    then = [(alice, {**OFFER, "sdp": sdp(HOST, **new[0])}), (bob, {**reply, "sdp": answer(HOST, **new[1])})]
    assert (await why(desk, daemon, *first))["rule"] == "no-end-of-candidates"
    verdict = await why(desk, daemon, *then)
    assert verdict["rule"] == "private-only"
    assert "1 from before the ICE restart" in verdict["steps"][2]["text"]


async def test_why_of_nobody(desk: Asking) -> None:
    assert (await desk.asks("why", first="\u202e", second=""))["rule"] == "not-registered"
