"""Which client that has not registered makes room for a newcomer, and that a fleet gets in by that."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from sigd.client.backoff import Backoff
from sigd.relay.strangers import BEGUN_SECONDS, HEARD_PART, SILENT_SECONDS
from tests.relay.world import Peer, World

HERE, THERE = "192.0.2.1", "198.51.100.1"


def crowd_of(world: World, many: int, address: str = HERE, *, begun: bool = True) -> list[Peer]:
    """Connect so many clients that have begun, or are silent."""
    crowd = [world.connects(address) for _ in range(many)]
    for each in crowd:
        if begun:
            each.begins()
    return crowd


def world_with(cap: str, most: int, **limits: Any) -> World:
    """Make a world with a low cap for one address, and maybe for all of them."""
    return World(**{"max_unregistered_per_address": most, cap: most, **limits})


def gone(crowd: list[Peer]) -> list[int]:
    """Return which of them had to go, as numbers."""
    return [number for number, each in enumerate(crowd) if each.closing]


@pytest.mark.parametrize("cap", ["max_unregistered", "max_unregistered_per_address"])
class TestOrder:
    def test_a_silent_one_goes_before_those_that_have_begun(self, cap: str) -> None:
        world = world_with(cap, 3)
        crowd = [*crowd_of(world, 1), *crowd_of(world, 1, begun=False), *crowd_of(world, 1)]
        newcomer = world.connects(HERE)
        assert gone([*crowd, newcomer]) == [1]
        assert crowd[1].hears()["code"] == "server-full"
        assert crowd[1].aborted, "it takes no place while it lingers"

    def test_the_newcomer_goes_where_all_have_begun(self, cap: str) -> None:
        world = world_with(cap, 3)
        crowd = crowd_of(world, 3)
        for _ in range(5):
            newcomer = world.connects(HERE)
            assert newcomer.hears()["code"] == "server-full"
        assert gone(crowd) == []
        assert crowd[0].registers("first")["type"] == "registered"
        assert not world.connects(HERE).closing

    def test_one_that_had_its_time_goes_first(self, cap: str) -> None:
        world = world_with(cap, 3, register_timeout_ms=60_000)
        crowd = [*crowd_of(world, 2), *crowd_of(world, 1, begun=False)]
        world.now += SILENT_SECONDS
        crowd += [world.connects(HERE)]
        crowd[3].begins()
        assert gone(crowd) == [2]
        world.now += BEGUN_SECONDS - SILENT_SECONDS
        crowd += [world.connects(HERE), world.connects(HERE)]
        assert gone(crowd) == [0, 1, 2]
        crowd += [world.connects(HERE)]
        assert gone(crowd) == [0, 1, 2, 5], "the one that has begun just now stays"

    def test_bytes_now_and_then_win_no_time(self, cap: str) -> None:
        world = world_with(cap, 3, register_timeout_ms=60_000)
        crowd = crowd_of(world, 3)
        for _ in range(int(BEGUN_SECONDS)):
            assert world.connects(HERE).closing
            world.now += 1
            for each in crowd:
                each.begins()
        assert not world.connects(HERE).closing
        assert gone(crowd) == [0]

    def test_most_silent_ones_keep_their_places_and_newcomers_are_heard_for_a_moment(self, cap: str) -> None:
        world = world_with(cap, 40)
        crowd = [world.connects(HERE) for _ in range(140)]
        heard = 40 // HEARD_PART
        assert gone(crowd) == [*range(40 - heard, 140 - heard)]


class TestAddresses:
    def test_an_address_with_many_makes_room_for_one_with_few(self) -> None:
        world = World(max_unregistered=8, max_unregistered_per_address=8)
        many = crowd_of(world, 8)
        few = [world.connects(THERE) for _ in range(4)]
        assert gone(many) == [6, 7], "as long as few are silent"
        assert gone(few) == [1, 2], "and then they pay themselves"
        for each in (few[0], few[3]):
            each.begins()
        world.connects(THERE)
        assert gone(many) == [6, 7], "as long as it has more than twice as many"

    def test_its_silent_ones_first(self) -> None:
        world = World(max_unregistered=8, max_unregistered_per_address=8)
        many = [*crowd_of(world, 2, begun=False), *crowd_of(world, 6)]
        few = [world.connects(THERE) for _ in range(2)]
        assert gone([*many, *few]) == [0, 1]

    def test_a_silent_one_of_another_goes_before_those_that_have_begun(self) -> None:
        world = World(max_unregistered=8, max_unregistered_per_address=8)
        many = [each for number in range(6) for each in crowd_of(world, 1, f"203.0.113.{number}")]
        silent = [world.connects("203.0.113.7"), world.connects("203.0.113.8")]
        assert not world.connects(THERE).closing
        assert gone([*many, *silent]) == [6]

    def test_where_all_addresses_have_about_the_same_the_newcomer_goes(self) -> None:
        world = World(max_unregistered=8)
        crowd = [each for number in range(8) for each in crowd_of(world, 1, f"192.0.2.{number}")]
        assert world.connects("192.0.3.1").closing
        assert gone(crowd) == []

    @pytest.mark.parametrize(
        ("address", "there"), [("203.0.{}.1", THERE), ("2001:db8:{}::1", "2001:db9::1"), ("2001:db8:{}::1", THERE)]
    )
    def test_a_network_with_many_makes_room_for_one_with_few(self, address: str, there: str) -> None:
        """However many addresses it has, and even though all of them have begun."""
        world = World(max_unregistered=8)
        many = [each for number in range(8) for each in crowd_of(world, 1, address.format(number))]
        few = world.connects(there)
        assert gone(many) == [7]
        for number in range(10, 20):
            assert world.connects(address.format(number)).closing, "it pushes out nobody of another network"
        assert not few.closing

    @pytest.mark.parametrize("address", ["unix", "10.0.0.1"])
    def test_those_without_a_cap_do_not_pay_for_having_many(self, address: str) -> None:
        world = World(max_unregistered=8, max_unregistered_per_address=2, trusted=("10.0.0.0/8",))
        crowd = crowd_of(world, 8, address)
        assert world.connects(THERE).closing
        assert gone(crowd) == []


# -- whole fleets, on a clock that jumps


class Fleet:
    """Clients that come back as protocol.md, section 12, says, each of which takes its time to register.

    Attributes:
        done: the seconds after which each has registered.
    """

    def __init__(self, world: World, seed: int = 1) -> None:
        self.world = world
        self.done: list[float] = []
        self._began = world.now
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._watched: list[tuple[Peer, Callable[[], None]]] = []

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._due, (self.world.now + seconds, next(self._numbers), act))

    def joins(self, address: str, silent: float, begun: float) -> None:
        """Add a client that says nothing for a while, and begins, and registers after another one."""
        name, backoff = f"device-{next(self._numbers)}", Backoff(self._random)

        def again() -> None:
            self.after(backoff.next(self.world.now) - self.world.now, connects)

        def connects() -> None:
            peer = self.world.connects(address)
            step(peer, lambda: begins(peer), silent)

        def begins(peer: Peer) -> None:
            peer.begins()
            step(peer, lambda: registers(peer), begun)

        def registers(peer: Peer) -> None:
            assert peer.registers(name)["type"] == "registered"
            self.done.append(self.world.now - self._began)

        def step(peer: Peer, act: Callable[[], None], seconds: float) -> None:
            self.after(0.05 if peer.closing else seconds, lambda: again() if peer.closing else act())

        self.after(0, connects)

    def holds(self, address: str, places: int, *, begun: bool, again: float = 0.25) -> None:
        """Add strangers that never register: each that is sent away comes again after `again` seconds."""

        def comes() -> None:
            peer = self.world.connects(address)
            if begun:
                peer.begins()
            self._watched.append((peer, comes))

        def look() -> None:
            ended = [act for peer, act in self._watched if peer.closing]
            self._watched = [(peer, act) for peer, act in self._watched if not peer.closing]
            for act in ended:
                act()
            self.after(again, look)

        if not self._watched:
            self.after(again, look)
        for _ in range(places):
            comes()

    def runs(self, seconds: float) -> None:
        """Let time pass, with all deadlines kept."""
        world, end = self.world, self.world.now + seconds

        def tick() -> None:
            world.router.expire(world.now, world.failed)
            world.settle()
            self.after(0.25, tick)

        tick()
        while self._due and self._due[0][0] <= end:
            world.now, _, act = heapq.heappop(self._due)
            act()


EIGHTH: dict[str, Any] = {"max_unregistered": 128, "max_unregistered_per_address": 32}
"""An eighth of the places that there are by default: a crowd for which they do not suffice is soon there."""


class TestFleets:
    """Clients that are 2 s from connecting to `register`, half of them silent; by all places, or an eighth."""

    def test_250_behind_one_address(self) -> None:
        fleet = Fleet(World())
        for _ in range(250):
            fleet.joins(HERE, 1, 1)
        fleet.runs(30)
        assert len(fleet.done) == 250
        assert max(fleet.done) < 5

    def test_1000_behind_one_address(self) -> None:
        fleet = Fleet(World())
        for _ in range(1_000):
            fleet.joins(HERE, 1, 1)
        fleet.runs(20)
        assert len(fleet.done) == 1_000

    @pytest.mark.parametrize(
        ("many", "limits"), [(1_000, EIGHTH), pytest.param(8_000, {}, marks=pytest.mark.long)], ids=["1000", "8000"]
    )
    def test_many_behind_40_addresses(self, many: int, limits: dict[str, Any]) -> None:
        fleet = Fleet(World(**limits))
        for number in range(many):
            fleet.joins(f"192.0.2.{number % 40}", 1, 1)
        fleet.runs(60)
        assert len(fleet.done) == many
        assert max(fleet.done) < 40

    @pytest.mark.parametrize("begun", [False, True], ids=["silent", "slow"])
    def test_strangers_elsewhere_hold_every_place(self, begun: bool) -> None:
        fleet = Fleet(World(**EIGHTH))
        for number in range(8):
            fleet.holds(f"203.0.113.{number}", 32, begun=begun)
        fleet.runs(1)
        for _ in range(12):
            fleet.joins(HERE, 1, 1)
        fleet.runs(10)
        assert len(fleet.done) == 12

    @pytest.mark.parametrize("address", ["203.0.{}.{}", "2001:db8:{}:{}::1"])
    def test_slow_strangers_of_one_network_hold_every_place(self, address: str) -> None:
        """Each of them has an address of its own."""
        fleet = Fleet(World(**EIGHTH))
        for number in range(140):
            fleet.holds(address.format(number // 250, number % 250), 1, begun=True)
        fleet.runs(1)
        for _ in range(20):
            fleet.joins(HERE, 1, 1)
        fleet.runs(10)
        assert len(fleet.done) == 20

    def test_silent_strangers_behind_the_same_address(self) -> None:
        """A client that says at once what it has to say gets in at once, however many come again and again."""
        fleet = Fleet(World(**EIGHTH))
        fleet.holds(HERE, 50, begun=False, again=0.02)
        fleet.runs(1)
        for _ in range(4):
            fleet.joins(HERE, 0.01, 0.5)
        fleet.runs(5)
        assert len(fleet.done) == 4

    def test_slow_strangers_behind_the_same_address_lose_their_places(self) -> None:
        """They hold all of them, and come again some time after they have lost one."""
        fleet = Fleet(World(register_timeout_ms=60_000))
        fleet.holds(HERE, 256, begun=True, again=5)
        fleet.runs(1)
        for _ in range(20):
            fleet.joins(HERE, 0.5, 1)
        fleet.runs(30)
        assert len(fleet.done) == 20

    def test_strangers_from_more_addresses_than_places(self) -> None:
        """Silent ones leave newcomers a moment to begin, and then those stay."""
        fleet = Fleet(World(**EIGHTH))
        for number in range(140):
            fleet.holds(f"203.0.{number // 250}.{number % 250}", 1, begun=False)
        fleet.runs(2)
        for _ in range(20):
            fleet.joins(HERE, 0.05, 1)
        fleet.runs(30)
        assert len(fleet.done) == 20


def test_a_client_that_is_not_here_leaves_nothing_changed() -> None:
    """One that was made to go leaves, and then ends: that counts once."""
    world = World()
    stays, leaves = crowd_of(world, 2)
    strangers = world.router.admission.unregistered
    for _ in range(2):
        strangers.leave(leaves, leaves.origin)
    assert [*strangers] == [stays]
    assert strangers.count(stays.origin) == 1
