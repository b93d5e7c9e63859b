"""Room for a newcomer: whether somebody has to go for it, and that nobody goes for a client that needs none."""

from typing import Any

import pytest

from tests.relay.world import Peer, World

HERE, THERE = "192.0.2.1", "198.51.100.1"


def arrives(world: World, address: str) -> Peer:
    """Count a link for which nobody has made room yet."""
    newcomer = Peer(world, address, lines=False)
    world.router.welcome(newcomer)
    return newcomer


@pytest.mark.parametrize(
    ("cap", "concerns_all"),
    [("max_per_address", False), ("max_unregistered_per_address", False), ("max_unregistered", True)],
)
def test_it_is_full_for_whom_the_cap_concerns(cap: str, concerns_all: bool) -> None:
    caps: dict[str, Any] = {"max_unregistered_per_address": 2, cap: 2}
    world = World(**caps)
    here, there = world.connects(HERE).origin, Peer(world, THERE, lines=False).origin
    world.connects(HERE)
    assert not world.router.admission.is_full_for(here)
    arrives(world, HERE)
    assert world.router.admission.is_full_for(here)
    assert world.router.admission.is_full_for(there) is concerns_all


def test_nobody_goes_for_a_client_that_needs_no_room() -> None:
    """It may have left or registered before its turn to be looked at."""
    world = World(max_unregistered_per_address=1)
    guest = world.connects(HERE)
    left, registered, waits = (arrives(world, HERE) for _ in range(3))
    left.close("left")
    assert registered.registers("alice")["type"] == "registered"
    for newcomer in (left, registered):
        world.router.admission.make_room(newcomer, world.now)
    assert [guest.closing, registered.closing, waits.closing] == [False] * 3
    world.router.admission.make_room(waits, world.now)
    assert guest.closing
