import pytest

from sigd.config import Limits
from sigd.relay.deadlines import TICK, Deadlines, next_deadline, register_timeout_ms
from sigd.relay.ice import Vendor
from sigd.wire.times import NEVER
from tests.relay.issued import expiring, user
from tests.relay.world import World


def unwatched():
    world = World()
    link = world.connects("a")
    world.router.deadlines.forget(link)
    return link


def test_a_link_is_due_at_most_one_tick_late_and_never_early():
    deadlines, link = Deadlines(), unwatched()
    deadlines.watch(link, 1003.1)
    assert deadlines.earliest == pytest.approx(1003.25)
    assert deadlines.due(1003.1) == []
    assert deadlines.due(1003.1 + TICK) == [link]
    assert len(deadlines) == 0
    assert deadlines.earliest == NEVER


def test_what_is_due_at_once_is_looked_at_in_parts():
    deadlines, links = Deadlines(), [unwatched() for _ in range(5)]
    for link in links:
        deadlines.watch(link, 1003)
    found = deadlines.due(1003, 2)
    assert (len(found), len(deadlines), deadlines.earliest) == (2, 3, 1003)
    found += deadlines.due(1003, 2)
    found += deadlines.due(1003, 2)
    assert {*found} == {*links}
    assert deadlines.earliest == NEVER


def test_a_later_deadline_moves_nothing_and_an_earlier_one_does():
    deadlines, link = Deadlines(), unwatched()
    deadlines.watch(link, 1010)
    deadlines.watch(link, 1060)
    assert deadlines.earliest == 1010
    deadlines.watch(link, 1002)
    assert deadlines.earliest == 1002
    assert len(deadlines) == 1
    assert deadlines.due(1002) == [link]
    assert deadlines.due(1010) == []


def test_a_ping_that_goes_out_late_has_its_whole_wait():
    """As after a sleep: the silence before it may have been the daemon's own."""
    world = World()
    alice = world.peer("alice", keepaliveMs=10_000)
    world.now += 24
    world.router.expire(world.now, lambda _, fault: pytest.fail(str(fault)))
    world.settle()
    assert alice.hears() == {"type": "ping"}
    assert next_deadline(alice, world.router.limits) == world.now + 15
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


def test_what_never_comes_due_is_not_kept():
    deadlines, link = Deadlines(), unwatched()
    deadlines.watch(link, NEVER)
    assert len(deadlines) == 0
    deadlines.watch(link, 1001)
    deadlines.forget(link)
    deadlines.forget(link)
    assert len(deadlines) == 0
    assert deadlines.due(2000) == []


def test_signs_of_life_cost_nothing_and_are_looked_at_when_the_bucket_comes_due():
    world = World()
    alice = world.peer("alice")
    assert next_deadline(alice, world.router.limits) == 1030
    world.passes(29)
    alice.last_seen = world.now
    assert len(world.router.deadlines) == 1
    world.passes(2)
    assert alice.hears_nothing()
    assert next_deadline(alice, world.router.limits) == 1059


@pytest.mark.parametrize(
    ("overhead", "expected_ms"),
    [(4, 10_000), (1, 60_000), (0, 60_000)],
    ids=["prefixed", "lines", "silent"],
)
def test_people_and_who_has_said_nothing_have_longer_to_register(overhead, expected_ms):
    link = World().connects("a")
    link.overhead = overhead
    assert register_timeout_ms(link, Limits()) == expected_ms


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
        ({"overhead": 1}, NEVER),
        ({"overhead": 1, "expires_at": 1100.0}, 1100),
        ({"closing": True, "ends_at": 1005.0, "expires_at": 1001.0}, 1005),
    ],
    ids=str,
)
def test_what_is_due_first(due, expected):
    world = World()
    alice = world.peer("alice")
    for name, value in due.items():
        setattr(alice, name, value)
    assert next_deadline(alice, world.router.limits) == expected


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
    assert next_deadline(alice, world.router.limits) == world.now + first
    world.passes(first - 0.25)
    assert alice.hears_nothing()
    world.passes(0.25)
    assert alice.hears_all(heard)
