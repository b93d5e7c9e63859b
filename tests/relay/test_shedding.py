"""Load shedding: what a client hears that is ended for the memory it takes."""

import msgspec

from sigd.relay.record import Record
from sigd.relay.refusals import Attempt
from sigd.relay.shedding import is_crowded, shed
from sigd.wire.errors import ErrorCode
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


def test_the_record_gives_way_before_any_link() -> None:
    world = World(messages_per_second=0)
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.says({"type": "message", "to": "bob", "data": "x"})
    most = world.router.buffers.record
    assert most == world.router.record.charge > 0
    world.router.limits = msgspec.structs.replace(world.router.limits, buffer_bytes_total=most)
    world.router.buffers.hold(bob, most // 2)
    assert is_crowded(world.router)
    assert shed(world.router, world.now + 2, world.failed, lambda: False) == 0
    assert (world.router.buffers.record, world.router.buffers.total, bob.aborted) == (0, most // 2, "")
    assert not is_crowded(world.router)


def test_refused_attempts_never_give_way() -> None:
    record = Record()
    record.attempt(Attempt(1.0, ErrorCode.AUTH_FAILED, "register", "", claimed="alice"), "192.0.2.1")
    kept = record.charge
    record.make_way(1 << 30)
    assert record.charge == record.attempts.charge == kept > 0
