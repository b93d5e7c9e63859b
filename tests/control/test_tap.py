"""Every message as it passes: what is told of it, and that who does not read it is cut, and never the relay."""

import logging
import statistics
import time
from pathlib import Path

import msgspec
import pytest
import trio

from sigd.admin import replies
from sigd.admin.replies import TappedReply
from sigd.control.tap import OUTBOX_BYTES, recorded, tapped
from sigd.relay.record import Passed, Record
from sigd.wire.errors import ErrorCode
from tests.conftest import Serving
from tests.control.asking import Asking, asking
from tests.in_process import PLAIN, Client, Daemon, error

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

OFFER = {"type": "offer", "to": "bob", "sdp": "v=0\r\na=ice-pwd:verysecret\r\n", "session": "k3"}


async def tap(desk: Asking, *peers: str, framing: str = "prefixed", **members: object) -> Client:
    """Who is told of what passes from now on."""
    operator = await desk.operator(framing)
    await operator.says({"type": "tap", "peers": list(peers), **members})
    assert (await operator.hears())["type"] == "tap"
    return operator


@pytest.mark.parametrize("framing", PLAIN)
async def test_every_message_is_told_of(desk: Asking, daemon: Daemon, framing: str) -> None:
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    operator = await tap(desk, framing=framing)
    await alice.says(OFFER)
    frame = await operator.hears_frame()
    assert b"verysecret" not in frame
    told = msgspec.json.decode(frame)
    at, summary = told.pop("at"), told.pop("summary")
    assert at == pytest.approx(time.time(), abs=60)
    assert summary.startswith("offer ")
    body = await bob.hears_frame()
    assert told == {
        "type": "tapped",
        "schema": 1,
        "from": "alice",
        "to": "bob",
        "kind": "offer",
        "session": "k3",
        "bytes": len(body),
        "refusal": None,
        "why": "",
        "times": 1,
    }


async def test_what_is_refused_is_told_of_with_the_code(desk: Asking, daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    operator = await tap(desk)
    await alice.says({"type": "bye", "to": "nobody"})
    assert await alice.hears() == error("peer-unavailable", to="nobody")
    told = await operator.hears()
    assert (told["kind"], told["to"], told["refusal"]) == ("bye", "nobody", "peer-unavailable")


async def test_what_could_not_be_read_is_told_of_with_what_it_names(desk: Asking, daemon: Daemon) -> None:
    alice, stranger = await daemon.peer("alice"), await daemon.connect()
    operator = await tap(desk)
    await alice.says({"type": "offer", "to": "bob", "sdp": {"sdp": "v=0"}})
    told = await operator.hears()
    assert (told["from"], told["to"], told["kind"], told["refusal"]) == ("alice", "bob", "offer", "bad-message")
    assert (told["summary"], told["why"]) == ("offer 47 B", "Expected `str`, got `object` - at `$.sdp`")
    await alice.says(b"{")
    told = await operator.hears()
    assert (told["to"], told["kind"], told["summary"]) == ("", "unknown", "unknown 1 B")
    await stranger.says({"type": "bye", "to": "alice"})
    told = await operator.hears()
    assert (told["from"], told["to"], told["kind"], told["refusal"]) == ("", "alice", "bye", "not-registered")


async def test_full_tells_the_message_as_it_was_delivered(
    desk: Asking, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log tells who has asked for that."""
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    with caplog.at_level(logging.INFO, "sigd"):
        operator = await tap(desk, full=True)
    assert caplog.messages[0].startswith('admin command="tap --full" uid=0 pid=')
    await alice.says(OFFER)
    assert (await operator.hears())["body"] == await bob.hears()


async def test_only_of_these_peers(desk: Asking, daemon: Daemon) -> None:
    clients = {peer: await daemon.peer(peer) for peer in ("alice", "bob", "carol", "dave")}
    operator = await tap(desk, "alice", "bob")
    for sender, to in (("carol", "dave"), ("carol", "alice"), ("bob", "dave"), ("dave", "carol"), ("alice", "bob")):
        await clients[sender].says({"type": "bye", "to": to})
        await daemon.settles()
    told = [await operator.hears() for _ in range(3)]
    assert [(each["from"], each["to"]) for each in told] == [("carol", "alice"), ("bob", "dave"), ("alice", "bob")]
    await operator.hears_nothing()


async def test_what_is_remembered_comes_first_and_nothing_twice(desk: Asking, daemon: Daemon) -> None:
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    await alice.says({"type": "bye", "to": "bob", "reason": "long ago"})
    await daemon.settles()
    await trio.sleep(20)
    for sender, to in ((alice, "bob"), (bob, "alice"), (alice, "nobody")):
        await sender.says({"type": "bye", "to": to})
        await daemon.settles()
        await trio.sleep(1)
    operator = await tap(desk, since=10)
    await alice.says({"type": "message", "to": "bob", "data": 1})
    told = [await operator.hears() for _ in range(4)]
    assert [(each["from"], each["to"]) for each in told] == [
        *(("alice", "bob"), ("bob", "alice")),
        *(("alice", "nobody"), ("alice", "bob")),
    ]
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)
    assert (told[2]["refusal"], told[3]["kind"]) == ("peer-unavailable", "message")
    await operator.hears_nothing()


async def test_a_tap_ends_when_its_reader_leaves(desk: Asking, daemon: Daemon) -> None:
    for end in ("finishes", "leaves"):
        operator = await tap(desk)
        assert len(daemon.router.taps) == 1
        getattr(operator, end)()
        await daemon.settles()
        assert not daemon.router.taps


async def test_what_is_said_to_a_tap_is_not_looked_at(desk: Asking, daemon: Daemon) -> None:
    alice = await daemon.peer("alice")
    operator = await tap(desk)
    await operator.sends(b"\xff" * 10_000)
    await alice.says({"type": "bye", "to": "alice"})
    assert (await operator.hears())["kind"] == "bye"


@pytest.mark.alone
async def test_a_reader_that_does_not_read_is_cut_and_the_relay_does_not_notice(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """10 MB pass by it: it keeps 1 MiB at most, and the others hear every message as fast as before."""
    async with serving() as daemon, asking(daemon, tmp_path) as desk:
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
        before = [await _ping_pong(alice, bob, 16_384) for _ in range(100)]
        with caplog.at_level(logging.INFO, "sigd"):
            lazy = await tap(desk, full=True)
            reader = await tap(desk, "nobody")
            during = [await _ping_pong(alice, bob, 16_384) for _ in range(640)]
            assert len(daemon.router.taps) == 1
        assert [line.split(" uid=")[0] for line in caplog.messages if line.startswith("tap")] == [
            'tap ended reason="does not read"'
        ]
        # What it was told is in the kernel, and then comes the end.
        assert len(await lazy.hears_bytes()) < OUTBOX_BYTES
        await alice.says({"type": "bye", "to": "nobody"})
        assert (await reader.hears())["to"] == "nobody"
        assert statistics.median(during) < 10 * statistics.median(before) + 0.005


async def _ping_pong(alice: Client, bob: Client, size: int) -> float:
    began = time.perf_counter()
    await alice.says({"type": "message", "to": "bob", "data": "x" * size})
    await bob.hears_frame()
    return time.perf_counter() - began


async def test_a_reader_that_stands_still_is_cut_too(desk: Asking, daemon: Daemon) -> None:
    """Though nothing more passes: its socket is full."""
    alice, bob = await daemon.peer("alice"), await daemon.peer("bob")
    await tap(desk, full=True)
    for _ in range(40):
        await _ping_pong(alice, bob, 16_384)
    assert daemon.router.taps
    assert 16_384 < daemon.router.buffers.of_links < OUTBOX_BYTES, "it counts among all buffers"
    await trio.sleep(11)
    assert not daemon.router.taps
    assert daemon.router.buffers.of_links == 0


# -- what is told of a message


def test_of_a_message_that_was_not_kept_its_type_is_told() -> None:
    passed = Passed(1.0, "a", "b", b'{"type":"candidate","fr', None)
    told = tapped(passed, 100.0, full=True)
    assert (told.kind, told.at, told.session) == ("candidate", 101.0, None)
    assert told.body is msgspec.UNSET


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"[" * 5000, b'{"type":1}', b'{"type":"\xff"}'])
def test_whatever_a_body_is_it_can_be_told(body: bytes) -> None:
    told = tapped(Passed(1.0, "a", "b", body, ErrorCode.PEER_BUSY), 0.0, full=True)
    assert (told.kind, told.refusal) == ("", "peer-busy")
    assert told.body is msgspec.UNSET
    assert msgspec.json.decode(replies.encode(told))["bytes"] == len(body)


async def test_the_record_is_told_in_the_order_of_time() -> None:
    record = Record()
    for when, sender, to in ((1, "a", "b"), (2, "b", "a"), (3, "c", "d"), (4, "a", "b"), (5, "d", "a")):
        ring = record.rings.get(sender, {}).get(to)
        if ring is None:
            ring = record.begin(sender, to, float(when))
        ring.append(float(when))
        ring.append(b"{}")
    record.refuse(Passed(6.0, "a", "x", b"{}", ErrorCode.PEER_UNAVAILABLE))
    assert [passed.when for passed in await recorded(record.one_way(()), 0)] == [1, 2, 3, 4, 5, 6]
    assert [passed.when for passed in await recorded(record.one_way(["b"]), 0)] == [1, 2, 4]
    ways = record.one_way(["a"])
    record.rings.clear()
    assert [(passed.when, passed.refusal) for passed in await recorded(ways, 2.5)] == [
        (4, None),
        (5, None),
        (6, "peer-unavailable"),
    ]


async def test_others_have_their_turn_while_the_record_is_read() -> None:
    """However much there is, some hundred messages are put in order at once."""
    record = Record()
    for number in range(1_000):
        ring = record.begin(f"a{number}", "b", float(number))
        ring += [float(number), b"{}", float(number), b"{}"]
    turns = 0

    async def counts() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(counts)
        found = await recorded(record.one_way(()), 0)
        nursery.cancel_scope.cancel()
    assert [passed.when for passed in found] == [number // 2 for number in range(2_000)]
    assert turns


@pytest.mark.parametrize(("length", "said"), [(30_000, "no media, 0 candidates"), (60_000, "offer 60 kB")])
async def test_what_is_very_long_is_told_of_by_type_and_size(
    desk: Asking, daemon: Daemon, length: int, said: str
) -> None:
    """To read it would take longer than anybody else may wait."""
    alice, _ = await daemon.peer("alice"), await daemon.peer("bob")
    operator = await tap(desk)
    await alice.says({"type": "offer", "to": "bob", "sdp": "v=0\r\n" + "x" * length})
    told = await operator.hears()
    assert said in told["summary"]
    assert (told["summary"] == said) == (length == 60_000)


def test_a_body_stands_in_the_answer_as_it_is() -> None:
    body = b'{"type":"message","from":"a","data":{"b" : [1,2]}}'
    told = tapped(Passed(1.0, "a", "b", body, None), 0.0, full=True)
    assert isinstance(told, TappedReply)
    assert b'"body":' + body in replies.encode(told)
