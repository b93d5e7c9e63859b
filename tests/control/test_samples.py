"""The rates of the last seconds, from the counters."""

from sigd.control.samples import LATELY_SECONDS, Samples
from sigd.wire.errors import ErrorCode
from tests.relay.world import World


def test_the_rate_is_that_of_ten_seconds() -> None:
    world, samples = World(), Samples()
    assert samples.relayed_per_second == 0
    samples.take(world.router, 0.0)
    assert samples.relayed_per_second == 0
    for second in range(1, 31):
        world.router.relayed += 5 if second > 20 else 100
        samples.take(world.router, float(second))
        if second == 4:
            assert samples.relayed_per_second == 100
    assert samples.relayed_per_second == 5


def test_what_has_risen_is_known_for_a_minute() -> None:
    world, samples = World(), Samples()
    world.router.limits_hit["max_frame"] += 1
    samples.take(world.router, 0.0)
    world.router.limits_hit["max_per_address"] += 1
    world.router.errors[ErrorCode.AUTH_FAILED] += 1
    samples.look(world.router, 30.0)
    samples.look(world.router, 40.0)
    assert samples.limits.lately(40.0) == ["max_frame", "max_per_address"]
    assert samples.errors.lately(40.0) == ["auth-failed"]
    assert samples.limits.lately(LATELY_SECONDS) == ["max_per_address"]
    assert samples.limits.lately(30.0 + LATELY_SECONDS) == []
