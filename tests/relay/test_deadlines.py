"""Links by the time at which each is looked at again."""

import pytest

from sigd.relay.deadlines import TICK, Deadlines
from sigd.relay.link import Link
from sigd.wire.times import NEVER
from tests.relay.world import World


def unwatched():
    world = World()
    link = world.connects("a")
    world.router.deadlines.forget(link)
    return link


def test_a_link_is_due_at_most_one_tick_late_and_never_early():
    deadlines, link = Deadlines[Link](), unwatched()
    deadlines.watch(link, 1003.1)
    assert deadlines.earliest == pytest.approx(1003.25)
    assert deadlines.due(1003.1) == []
    assert deadlines.due(1003.1 + TICK) == [link]
    assert len(deadlines) == 0
    assert deadlines.earliest == NEVER


def test_what_is_due_at_once_is_looked_at_in_parts():
    deadlines, links = Deadlines[Link](), [unwatched() for _ in range(5)]
    for link in links:
        deadlines.watch(link, 1003)
    found = deadlines.due(1003, 2)
    assert (len(found), len(deadlines), deadlines.earliest) == (2, 3, 1003)
    found += deadlines.due(1003, 2)
    found += deadlines.due(1003, 2)
    assert {*found} == {*links}
    assert deadlines.earliest == NEVER


def test_a_later_deadline_moves_nothing_and_an_earlier_one_does():
    deadlines, link = Deadlines[Link](), unwatched()
    deadlines.watch(link, 1010)
    deadlines.watch(link, 1060)
    assert deadlines.earliest == 1010
    deadlines.watch(link, 1002)
    assert deadlines.earliest == 1002
    assert len(deadlines) == 1
    assert deadlines.due(1002) == [link]
    assert deadlines.due(1010) == []


def test_what_never_comes_due_is_not_kept():
    deadlines, link = Deadlines[Link](), unwatched()
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
    assert world.router.next_deadline(alice) == 1030
    world.passes(29)
    alice.last_seen = world.now
    assert len(world.router.deadlines) == 1
    world.passes(2)
    assert alice.hears_nothing()
    assert world.router.next_deadline(alice) == 1059
