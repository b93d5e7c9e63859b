"""Timeouts of a link, by its state: which comes first, and what follows."""

import pytest

from sigd.relay.ice import Vendor
from sigd.wire.framing import LINES, PREFIXED, UNDECIDED
from sigd.wire.times import NEVER
from tests.relay.issued import expiring, user
from tests.relay.world import World


def test_a_ping_that_goes_out_late_has_its_whole_wait():
    """As after a sleep: the silence before it may have been the daemon's own."""
    world = World()
    alice = world.peer("alice", keepaliveMs=10_000)
    world.now += 24
    world.router.expire(world.now, lambda _, fault: pytest.fail(str(fault)))
    world.settle()
    assert alice.hears() == {"type": "ping"}
    assert world.router.next_deadline(alice) == world.now + 15
    world.passes(14.75)
    assert not alice.closing
    world.passes(0.5)
    assert alice.reason == "idle-timeout"


def test_a_link_with_something_unread_is_not_silent():
    """A daemon that is behind with reading does not end a link that has answered."""
    world = World()
    alice = world.peer("alice", keepaliveMs=10_000)
    world.passes(11)
    alice.unread = True
    world.passes(15)
    assert not alice.closing
    alice.unread = False
    world.passes(25.5)
    assert alice.reason == "idle-timeout"


@pytest.mark.parametrize(
    ("framing", "expected_ms"),
    [(PREFIXED, 10_000), (LINES, 60_000), (UNDECIDED, 60_000)],
    ids=["prefixed", "lines", "silent"],
)
def test_people_and_who_has_said_nothing_have_longer_to_register(framing, expected_ms):
    link = World().connects("a")
    link.framing = framing
    assert link.register_timeout_ms == expected_ms


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ({}, 1030),
        ({"expires_at": 1020.0}, 1020),
        ({"renews_at": 1020.0}, 1020),
        ({"expires_at": 1020.0, "renews_at": 1010.0}, 1010),
        ({"stalled_since": 1005.0}, 1015),
        ({"frame_since": 1005.0}, 1015),
        ({"resumes_at": 1200.0}, 1200),
        ({"resumes_at": 1200.0, "expires_at": 1100.0}, 1100),
        ({"resumes_at": 1200.0, "renews_at": 1100.0}, 1100),
        ({"resumes_at": 1200.0, "stalled_since": 1005.0}, 1015),
        ({"pinged_at": 1001.0}, 1075),
        ({"pinged_at": 1001.0, "resumes_at": 1200.0}, 1200),
        ({"framing": LINES}, NEVER),
        ({"framing": LINES, "expires_at": 1100.0}, 1100),
        ({"closing": True, "ends_at": 1005.0, "expires_at": 1001.0}, 1005),
    ],
    ids=str,
)
def test_what_is_due_first(due, expected):
    world = World()
    alice = world.peer("alice")
    for name, value in due.items():
        setattr(alice, name, value)
    assert world.router.next_deadline(alice) == expected


@pytest.mark.parametrize(
    ("ttl", "seconds", "keepalive_ms", "first", "heard"),
    [
        (3600, 3600, 30_000, 30, "ping"),
        (3600, 70, 300_000, 100, "auth-expired"),
        (80, 300, 30_000, 20, "iceServers"),
    ],
)
def test_what_is_due_first_after_register_is_known_from_then_on(ttl, seconds, keepalive_ms, first, heard):
    world = World(credentials=[expiring()], vendor=Vendor([], ["turn:a"], b"s", ttl))
    alice = world.peer("alice", keepaliveMs=keepalive_ms, **user("alice", seconds=seconds))
    assert world.router.next_deadline(alice) == world.now + first
    world.passes(first - 0.25)
    assert alice.hears_nothing()
    world.passes(0.25)
    assert alice.hears_all(heard)
