"""Messages to absent peers: whoever tries one ID after the other is stopped."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relay.world import World

PING = {"type": "ping"}


def misses(peer, count) -> list[str]:
    """What is answered to so many messages to peers that are not here."""
    peer.says(*[{"type": "message", "to": f"nobody{number}", "data": 1} for number in range(count)])
    return [message["code"] for message in peer.hears_all()]


def test_who_tries_one_id_after_the_other_is_stopped_row_28():
    world = World(messages_per_second=0)
    alice, bob = world.peer("alice"), world.peer("bob")
    codes = misses(alice, 1000)
    assert codes == ["peer-unavailable"] * 60 + ["rate-limited"] * 940
    assert world.router.limits_hit == {"misses_per_minute": 940}
    assert misses(bob, 1) == ["peer-unavailable"]
    alice.says({"type": "message", "to": "bob", "data": 1})
    assert bob.hears()["data"] == 1


def test_the_refusal_says_when_to_try_again_and_says_nothing_of_who_is_here():
    world = World()
    alice = world.peer("alice")
    misses(alice, 60)
    alice.says({"type": "message", "to": "nobody", "data": 1, "ref": "r"})
    answer = alice.hears()
    assert (answer["code"], answer["to"], answer["ref"], answer["retryAfterMs"]) == (
        "rate-limited",
        "nobody",
        "r",
        1000,
    )
    world.passes(1)
    assert misses(alice, 2) == ["peer-unavailable", "rate-limited"]


@settings(max_examples=25)  # each sends hundreds of messages
@given(per_minute=st.integers(1, 200), began=st.floats(0, 1e7))
def test_so_many_are_allowed_exactly(per_minute, began):
    world = World(misses_per_minute=per_minute, messages_per_second=0, auth_failures_per_minute=0)
    world.now = began
    alice = world.peer("alice")
    assert misses(alice, per_minute + 2) == ["peer-unavailable"] * per_minute + ["rate-limited"] * 2
    alice.says({"type": "message", "to": "nobody", "data": 1})
    assert math.isclose(alice.hears()["retryAfterMs"], 60_000 / per_minute, abs_tol=1)


def test_without_a_limit_misses_are_not_counted():
    world = World(misses_per_minute=0, messages_per_second=0)
    alice = world.peer("alice")
    assert set(misses(alice, 1000)) == {"peer-unavailable"}
    assert alice.offences is not None
    assert alice.offences.missed_until == 0


def test_a_minute_later_all_are_allowed_again():
    world = World()
    alice = world.peer("alice", keepaliveMs=300_000)
    misses(alice, 61)
    world.passes(60)
    assert misses(alice, 61) == ["peer-unavailable"] * 60 + ["rate-limited"]


def test_misses_and_notices_are_kept_apart():
    world = World()
    alice = world.peer("alice")
    misses(alice, 60)
    alice.says(*[PING] * 600)
    assert alice.hears_all("rate-limited")
    assert world.router.limits_hit == {"messages_per_second": 1}
