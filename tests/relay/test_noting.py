"""Refusals on their way into the record: an answer names what its frame does, where that is valid."""

import gc

import pytest

from sigd.wire.errors import ErrorCode, ProtocolError
from tests.relay.world import World


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (b'{"type":"offer","ref":"r","to":"bob","sdp":"xxx', {"ref": "r", "to": "bob"}),
        (b'{"type":"offer","ref":"\\u0007","to":"bob","sdp":"xxx', {"to": "bob"}),
        (b'{"type":"offer","ref":"r","to":"no ID","sdp":"xxx', {"ref": "r"}),
        (b'{"type":"offer","sdp":"xxx', {}),
        (b"xxx", {}),
    ],
)
def test_what_is_too_long_to_be_read_is_answered_by_its_beginning(frame: bytes, named: dict[str, str]) -> None:
    world = World()
    alice = world.peer("alice")
    world.router.refuse(alice, ProtocolError(ErrorCode.TOO_LARGE, "too long"), world.now, frame, 100_000)
    world.settle()
    answer = alice.hears()
    assert {key: value for key, value in answer.items() if key in ("ref", "to")} == named
    (passed,) = world.router.record.history("alice", "bob", 0.0).passed
    assert (passed.to, passed.length, passed.refusal) == (named.get("to", ""), 100_000, ErrorCode.TOO_LARGE)


def test_a_refusal_leaves_no_cycle_that_keeps_its_message() -> None:
    world = World(misses_per_minute=1)
    alice = world.peer("alice")
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):  # peer-unavailable, then rate-limited
            alice.says({"type": "message", "to": "bob", "data": "x"})
        assert [message["code"] for message in alice.hears_all()] == ["peer-unavailable", "rate-limited"]
        assert gc.collect() == 0
    finally:
        gc.enable()
