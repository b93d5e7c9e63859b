"""The wall clock beside the relay's: what has moved them apart, and what past times are called."""

from collections.abc import Callable
from typing import Any

import pytest

from sigd.relay.wall import NAPS_KEPT, Shift, Wall
from tests.relay.issued import UNIX_NOW, expiring, user
from tests.relay.test_ice_servers import expiry, turn
from tests.relay.world import World


class Clocks:
    """Three clocks; `wall` compares them."""

    def __init__(self) -> None:
        self.now, self.elapsed, self.unix = 50.0, 1_050.0, 1_700_000_000.0
        self.wall = Wall(lambda: self.unix)
        assert self.looks() is None

    def looks(self) -> Shift | None:
        """Compare."""
        return self.wall.look(self.now, self.elapsed)

    def passes(self, seconds: float) -> None:
        """Awake."""
        self.now += seconds
        self.elapsed += seconds
        self.unix += seconds

    def sleeps(self, seconds: float) -> None:
        """Not awake: the relay's clock stands still."""
        self.elapsed += seconds
        self.unix += seconds

    def is_set(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.unix += seconds


def test_time_that_passes_moves_nothing() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.passes(37)
        assert clocks.looks() is None
    assert (clocks.wall.slept, clocks.wall.steps) == (0, 0)


@pytest.mark.parametrize("seconds", [1, 3_456_000, -1, -3_456_000])
def test_a_step_is_noticed_once(seconds: float) -> None:
    clocks = Clocks()
    clocks.unix += seconds
    clocks.passes(1)
    assert clocks.looks() == Shift(0, seconds)
    clocks.passes(1)
    assert clocks.looks() is None
    assert (clocks.wall.steps, clocks.wall.last_step, clocks.wall.last_sleep) == (1, (51, seconds), None)


def test_a_sleep_is_none_of_the_clocks() -> None:
    """A process that was stopped, and a machine that was suspended, look the same."""
    clocks = Clocks()
    clocks.sleeps(600)
    clocks.passes(1)
    assert clocks.looks() == Shift(600, 0)
    assert (clocks.wall.steps, clocks.wall.slept, clocks.wall.last_sleep) == (0, 600, (51, 600))


def test_both_at_once_are_told_apart() -> None:
    clocks = Clocks()
    clocks.sleeps(600)
    clocks.unix -= 90
    shift = clocks.looks()
    assert shift == Shift(600, -90)
    assert shift.ahead == 510


@pytest.mark.parametrize("move", [Clocks.sleeps, Clocks.is_set])
def test_little_by_little_is_noticed_when_it_is_a_second(move: Callable[[Clocks, float], None]) -> None:
    clocks = Clocks()
    shifts: list[Shift | None] = []
    for _ in range(8):
        move(clocks, 0.25)
        clocks.passes(1)
        shifts.append(clocks.looks())
    assert [shift is not None for shift in shifts] == 2 * [False, False, False, True]
    assert sum(shift.ahead for shift in shifts if shift is not None) == 2


def test_what_was_before_a_sleep_is_longer_ago() -> None:
    clocks = Clocks()
    before = clocks.now
    at = clocks.unix
    clocks.passes(10)
    clocks.sleeps(3_600)
    clocks.looks()
    clocks.passes(10)
    ahead = clocks.wall.ahead(clocks.now)
    assert before + ahead == at
    assert clocks.now + ahead == clocks.unix
    assert clocks.wall.elapsed(before, clocks.now) == 3_620
    assert clocks.wall.elapsed(clocks.now - 5, clocks.now) == 5


def test_what_was_before_a_step_is_told_by_the_clock_as_it_is_now() -> None:
    clocks = Clocks()
    before = clocks.now
    clocks.unix += 1_000
    clocks.passes(10)
    clocks.looks()
    assert before + clocks.wall.ahead(clocks.now) == clocks.unix - 10


def test_only_so_many_sleeps_are_told_apart() -> None:
    """Moments before all of them keep their age."""
    clocks = Clocks()
    before, at = clocks.now, clocks.unix
    for _ in range(3 * NAPS_KEPT):
        clocks.sleeps(5)
        clocks.passes(1)
        clocks.looks()
    assert before + clocks.wall.ahead(clocks.now) == at
    assert clocks.wall.elapsed(before, clocks.now) == 3 * NAPS_KEPT * 6


class TestTurn:
    def having(self, **more: Any) -> World:
        return World(vendor=turn(ttl=600), **more)

    def test_a_clock_that_is_set_forward_brings_new_ones_at_once(self) -> None:
        """They are dead by the TURN server's clock, whatever this daemon's was when it made them."""
        world = self.having()
        alice = world.peer("alice", lines=True)
        world.sets_clock(40 * 86_400)
        world.passes(0.25)
        assert expiry(alice.hears()) == pytest.approx(UNIX_NOW + 40 * 86_400 + 600, abs=1)

    def test_a_small_step_brings_them_as_much_sooner(self) -> None:
        world = self.having()
        alice = world.peer("alice", lines=True)
        world.sets_clock(100)
        world.passes(439.75)
        assert alice.hears_nothing()
        world.passes(0.5)
        assert alice.hears()["type"] == "iceServers"

    @pytest.mark.parametrize("seconds", [-100, -86_400])
    def test_a_clock_that_is_set_back_changes_nothing(self, seconds: float) -> None:
        """The client was told for how long they are good."""
        world = self.having()
        alice = world.peer("alice", lines=True)
        world.sets_clock(seconds)
        world.passes(539.75)
        assert alice.hears_nothing()
        world.passes(0.5)
        assert alice.hears()["type"] == "iceServers"

    def test_a_sleep_is_time_for_them(self) -> None:
        world = self.having()
        alice = world.peer("alice", lines=True)
        world.sleeps(600)
        world.looks_at_the_wall()
        world.passes(0.25)
        assert alice.hears()["type"] == "iceServers"

    def test_a_crowd_is_renewed_over_time(self) -> None:
        """A thousand a second, each once."""
        world = self.having()
        peers = [world.peer(f"cam{number}", lines=True) for number in range(1_500)]
        world.sets_clock(86_400)
        world.passes(1)
        early = sum(peer.hears_nothing() for peer in peers)
        assert 250 <= early <= 750
        world.passes(1)
        assert [peer.wire.count(b'"iceServers"') for peer in peers] == [1 + 1] * 1_500

    def test_who_has_left_meanwhile_is_left_alone(self) -> None:
        world = World(vendor=turn(ttl=600), credentials=[expiring()])
        alice = world.peer("alice", lines=True, **user("alice", seconds=600))
        alice.close("left")
        world.sets_clock(86_400)
        world.passes(1)
        assert alice.hears_nothing()


def test_it_tells_how_far_unix_time_is_ahead() -> None:
    world = World()
    wall = world.router.wall
    assert wall.judged_by(world.now) == pytest.approx(world.unix_now - world.now)
    world.sets_clock(86_400)
    world.passes(1)
    assert wall.judged_by(world.now) == pytest.approx(world.unix_now - world.now)
