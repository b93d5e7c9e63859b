"""When credentials are renewed: with time as a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.client.renewal import AHEAD_SECONDS, SHORTEST_SECONDS, Renewal

NEVER = float("inf")


def granted(expires_ms: int | None, *, renewable: bool = True) -> Renewal:
    renewal = Renewal(renewable=renewable)
    renewal.grant(expires_ms, 1000)
    return renewal


@pytest.mark.parametrize(
    ("expires_ms", "seconds"),
    [
        (None, NEVER),
        (3_630_000, 3_570),  # an hour, and the server's 30 s
        (121_000, 61),
        (120_000, 60),
        (60_000, 30),  # what is short is renewed half way
        (20_000, 10),
        (8_000, 5),  # and what is too short not in a tight loop
        (1, 5),
        (0, 5),
        (-(10**40), 5),
    ],
)
def test_a_minute_before_the_end_or_half_way(expires_ms: int | None, seconds: float):
    renewal = granted(expires_ms)
    assert renewal.due_at == 1000 + seconds
    if seconds < NEVER:
        renewal.expire(renewal.due_at - 0.1)
        assert not renewal.wanted
        renewal.expire(renewal.due_at)
        assert renewal.wanted
        assert renewal.due_at >= 1000 + seconds + SHORTEST_SECONDS


def test_what_cannot_be_renewed_is_not():
    renewal = granted(60_000, renewable=False)
    renewal.expire(10**9)
    assert (renewal.due_at, renewal.wanted) == (NEVER, False)


def test_as_long_as_nothing_comes_of_it_it_is_tried_again_when_half_of_the_rest_is_over():
    renewal = granted(630_000)
    seconds: list[float] = []
    while (now := renewal.due_at) < 1630:
        seconds.append(now - 1000)
        renewal.expire(now)
    assert seconds == [570, 600, 615, 622.5, 627.5]


def test_a_suspended_machine_brings_it_nearer():
    renewal = granted(3_630_000)
    renewal.suspended(3_000)
    assert renewal.due_at == 1000 + 570
    renewal.expire(1570)
    assert renewal.due_at == 1600
    never = granted(None)
    never.suspended(3_000)
    assert never.due_at == NEVER


def test_a_new_grant_begins_anew_and_the_end_of_the_link_ends_it():
    renewal = granted(630_000)
    renewal.expire(1570)
    renewal.grant(630_000, 1571)
    assert (renewal.due_at, renewal.wanted) == (1571 + 570, False)
    renewal.grant(None, 1572)
    assert renewal.due_at == NEVER
    renewal.grant(20_000, 1573)
    renewal.expire(1583)
    renewal.stop()
    assert (renewal.due_at, renewal.wanted) == (NEVER, False)


@given(st.lists(st.none() | st.integers(), min_size=1, max_size=20))
def test_whatever_a_server_grants_there_are_seconds_between_two_tries(grants: list[int | None]):
    renewal = Renewal(renewable=True)
    now = 1000.0
    for expires_ms in grants:
        renewal.grant(expires_ms, now)
        assert renewal.due_at >= now + SHORTEST_SECONDS
        if expires_ms is not None and expires_ms > 2000 * AHEAD_SECONDS:
            assert renewal.due_at >= now + expires_ms / 2000 or expires_ms > 10**12
        if renewal.due_at < NEVER:
            now = renewal.due_at
            renewal.expire(now)
            assert renewal.wanted
            assert renewal.due_at >= now + SHORTEST_SECONDS
