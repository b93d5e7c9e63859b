"""Taps: callbacks that see every message."""

from sigd.relay.record import Passed
from sigd.relay.taps import Taps

PASSED = Passed(1.0, "alice", "bob", b"", None)


def test_each_tap_sees_each_message_until_it_is_dropped() -> None:
    taps, one, two = Taps(), [Passed(0.0, "", "", b"", None)], list[Passed]()
    taps.add(one.append)
    taps.add(two.append)
    taps.tell(PASSED)
    taps.drop(one.append)
    taps.drop(one.append)  # it may have left by itself
    taps.tell(PASSED)
    assert (len(taps), one[1:], two) == (1, [PASSED], [PASSED, PASSED])
    assert taps.fault is None
