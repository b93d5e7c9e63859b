"""Tables of names that are locked for a while."""

from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.strikes import LOCK_SECONDS, STRIKES_KEPT, Strikes


def test_the_last_that_is_allowed_within_a_minute_locks_for_30_s():
    strikes: Strikes[str] = Strikes()
    for second in range(4):
        strikes.add("mallory", second, 5)
        assert not strikes.locked("mallory", second)
    strikes.add("mallory", 4, 5)
    assert strikes.locked("mallory", 4) == LOCK_SECONDS == 30
    assert strikes.locked("mallory", 33.5) == 0.5
    assert not strikes.locked("mallory", 34)
    assert not strikes.locked("alice", 4)


def test_what_was_more_than_a_minute_ago_is_forgotten():
    strikes: Strikes[str] = Strikes()
    for second in (0, 1, 2, 3, 60.5, 61.5, 62.5):
        strikes.add("slips", second, 5)
        assert not strikes.locked("slips", second)
    strikes.add("slips", 62.75, 5)
    assert strikes.locked("slips", 62.75)


def test_after_a_lock_it_is_counted_anew():
    strikes: Strikes[str] = Strikes()
    for second in range(5):
        strikes.add("mallory", second, 5)
    for second in range(35, 39):
        strikes.add("mallory", second, 5)
        assert not strikes.locked("mallory", second)
    strikes.add("mallory", 39, 5)
    assert strikes.locked("mallory", 39)


def test_one_may_be_all_that_is_allowed():
    strikes: Strikes[str] = Strikes()
    strikes.add("mallory", 0, 1)
    assert strikes.locked("mallory", 0)


def test_repetitions_of_one_attempt_count_once_in_a_minute():
    strikes: Strikes[str] = Strikes()
    for second in (0.0, 1.0, 3.0, 7.0, 11.0):
        strikes.add("slips", second, 3, b"first")
    strikes.add("slips", 12, 3, b"second")
    for second in (13.0, 59.5):
        strikes.add("slips", second, 3, b"first")
        assert not strikes.locked("slips", second)
    strikes.add("slips", 60, 3, b"first")
    assert not strikes.locked("slips", 60), "the first one is forgotten"
    strikes.add("slips", 61, 3, b"third")
    assert strikes.locked("slips", 61)


def test_what_cannot_be_repeated_counts_each_time():
    strikes: Strikes[str] = Strikes()
    strikes.add("mallory", 0, 2)
    strikes.add("mallory", 0, 2)
    assert strikes.locked("mallory", 0)


def test_without_a_limit_nobody_is_locked_or_kept():
    strikes: Strikes[str] = Strikes()
    for _ in range(100):
        strikes.add("mallory", 0, 0)
    assert not strikes.locked("mallory", 0)
    assert len(strikes) == 0


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 3)), max_size=80), st.integers(1, 6))
def test_nobody_gets_through_more_than_twice_as_often(pauses, per_minute):
    """A client that adds only when not locked gets through at most twice what is allowed in any minute."""
    strikes: Strikes[str] = Strikes()
    now, through = 0.0, []
    for pause, times in pauses:
        now += pause
        for _ in range(times):
            if not strikes.locked("mallory", now):
                strikes.add("mallory", now, per_minute)
                through.append(now)
    for first in through:
        assert sum(first <= when < first + 60 for when in through) <= 2 * per_minute


def test_the_table_has_a_fixed_size_and_forgets_who_was_quiet_longest():
    strikes: Strikes[str] = Strikes()
    for name in ("quiet", "busy"):
        for _ in range(4):
            strikes.add(name, 0, 5)
    for number in range(STRIKES_KEPT - 1):
        strikes.add(f"name {number}", 1, 5)
        if number == 5:
            strikes.add("busy", 1, 5)
    assert len(strikes) == STRIKES_KEPT
    assert strikes.locked("busy", 2)
    strikes.add("quiet", 2, 5)
    assert not strikes.locked("quiet", 2)
    for number in range(3 * STRIKES_KEPT):
        strikes.add(f"other {number}", 2, 5)
    assert len(strikes) == STRIKES_KEPT


def test_a_full_table_still_counts_those_in_it():
    strikes: Strikes[int] = Strikes()
    for number in range(STRIKES_KEPT):
        strikes.add(number, 0, 2)
    strikes.add(0, 0, 2)
    assert strikes.locked(0, 0)
    assert len(strikes) == STRIKES_KEPT
    strikes.add(1, 0, 2)
    assert strikes.locked(1, 0)
