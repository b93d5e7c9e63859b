"""Load shedding: what a client hears that is ended for the memory it takes."""

from sigd.relay.shedding import is_crowded, shed
from tests.relay.world import World


def test_a_client_that_reads_is_told_that_there_is_no_memory_left() -> None:
    """It is ended for what it has begun to send: it can read an answer, and try again later."""
    world = World()
    alice = world.peer("alice")
    world.router.buffers.hold(alice, world.router.limits.buffer_bytes_total)
    assert is_crowded(world.router)
    assert shed(world.router, world.now, world.failed, lambda: False) == 1
    world.settle()
    answer = alice.hears()
    assert (answer["code"], alice.reason) == ("server-full", "server-full")
    assert world.router.limits_hit == {"buffer_bytes_total": 1}
    assert not is_crowded(world.router)
