"""How fast a link may send: what is too much waits, nothing is lost, and who sends too much is told so now and then."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigd.config import Limits
from sigd.relay.rates import Rates
from sigd.wire.times import NEVER
from tests.relay.issued import static
from tests.relay.world import AT_ONCE, World

PING = {"type": "ping"}


# -- bursts and the long run


def test_a_burst_is_read_as_fast_as_it_comes():
    world = World()
    alice = world.peer("alice")
    alice.says(*[PING] * 500)
    assert len(alice.hears_all("pong")) == 500
    assert not alice.held


def test_past_the_burst_it_is_not_read_until_it_may():
    world = World()
    alice = world.peer("alice")
    alice.says(*[PING] * 600)
    heard = alice.hears_all()
    assert [message["type"] for message in heard] == ["pong"] * 512 + ["error"]
    assert (heard[-1]["code"], heard[-1]["retryAfterMs"]) == ("rate-limited", 120)
    assert alice.held
    world.passes(0.25)
    assert len(alice.hears_all("pong")) == 32
    world.passes(5)
    assert len(alice.hears_all("pong")) == 600 - 512 - 32
    assert not alice.held
    assert alice.resumes_at == NEVER


@pytest.mark.parametrize(
    ("peers", "meta", "cost"),
    [(0, None, 1), (30, None, 4), (100, None, 11), (20, {"x": "y" * 1_000}, 1 + 20_800 // 4_096)],
)
def test_a_list_of_peers_costs_what_it_is_worth(peers, meta, cost):
    """A tenth of a message for each entry, or one for each 4 KiB."""
    world = World(max_unregistered_per_address=0, max_per_address=0)
    alice = world.peer("alice")
    for number in range(peers):
        world.peer(f"p{number:03}", **({} if meta is None else {"meta": meta}))
    before = alice.messages_left
    alice.says({"type": "peers", "prefix": "p"})
    [answer] = alice.hears_all("peers")
    assert len(answer["peers"]) == peers
    assert before - alice.messages_left == cost


def test_a_camera_that_answers_30_viewers_at_once_loses_nothing():
    world = World()
    camera, viewers = world.peer("camera"), [world.peer(f"viewer{number}") for number in range(30)]
    answers = [
        {"type": "candidate", "to": viewer.id, "candidate": {"candidate": f"{number} {'x' * 200}"}}
        for number in range(16)
        for viewer in viewers
    ]
    camera.says(*answers)
    for viewer in viewers:
        assert [message["candidate"]["candidate"].split()[0] for message in viewer.hears_all()] == [
            str(number) for number in range(16)
        ]
    assert camera.hears_nothing()
    assert world.router.limits_hit == {}


@settings(max_examples=20)
@given(
    per_second=st.integers(1, 100),
    burst=st.integers(100, 200),
    seconds=st.integers(1, 8),
    began=st.floats(0, 1e6),
)
def test_in_the_long_run_it_is_the_rate_exactly(per_second, burst, seconds, began):
    world = World(messages_per_second=per_second, messages_burst=burst)
    world.now = began
    alice = world.peer("alice")
    alice.says(*[PING] * (burst + per_second * seconds + 100))
    world.passes(seconds)
    allowed = burst + per_second * seconds
    # What was read in one go is acted on whole; and it is read again up to a tick of each clock late.
    assert allowed - per_second * 0.5 - 1 <= len(alice.hears_all("pong")) <= allowed + AT_ONCE


@settings(max_examples=20)
@given(pauses=st.lists(st.tuples(st.floats(0, 4), st.integers(1, 90)), max_size=12), idle=st.floats(0, 50))
def test_however_it_spreads_what_it_sends_it_gets_no_more(pauses, idle):
    world = World(messages_per_second=20, messages_burst=50)
    alice = world.peer("alice", keepaliveMs=300_000)
    world.passes(idle)
    began, answered = world.now, 0
    for pause, count in pauses:
        world.passes(pause)
        alice.says(*[PING] * count)
        answered += len(alice.hears_all("pong"))
        assert answered <= 50 + 20 * (world.now - began) + 2 * AT_ONCE


def test_after_a_pause_it_has_its_burst_again():
    world = World()
    alice = world.peer("alice")
    for _ in range(3):
        alice.says(*[PING] * 500)
        assert len(alice.hears_all("pong")) == 500
        assert not alice.held
        world.passes(5)


def test_what_it_may_have_at_once_does_not_grow_for_ever():
    world = World()
    alice = world.peer("alice", keepaliveMs=300_000)
    world.passes(200)
    alice.says(*[PING] * 1000)
    assert 500 <= len(alice.hears_all("pong")) <= 500 + 2 * AT_ONCE


def test_bytes_are_counted_too():
    world = World()
    alice, _ = world.peer("alice"), world.peer("bob")
    large = {"type": "message", "to": "bob", "data": "x" * 30_000}
    alice.says(*[large] * 17)
    assert alice.hears_nothing()
    alice.says(large)
    answer = alice.hears()
    assert answer["code"] == "rate-limited"
    assert 0 < answer["retryAfterMs"] < 30_100 * 1000 / 131_072
    assert world.router.limits_hit == {"bytes_per_second": 1}
    world.passes(0.25)
    assert not alice.held


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"messages_per_second": 7, "messages_burst": 3, "bytes_per_second": 0}, "messages_per_second"),
        ({"messages_per_second": 0, "bytes_per_second": 7, "bytes_burst": 66_000}, "bytes_per_second"),
    ],
)
@pytest.mark.parametrize("count", range(1, 33))
def test_each_pause_is_counted_by_the_rate_that_it_waits_for(limits, key, count):
    world = World(**limits)
    alice = world.connects("alice")
    padding = b'{"type":"ping","pad":"%s"}' % (b"x" * 66_000)
    alice.says(*[PING] * 3) if "messages_burst" in limits else alice.says(padding)
    alice.says(*[PING] * count)
    assert set(world.router.limits_hit) == {key}


def test_a_rate_of_0_is_no_limit():
    world = World(messages_per_second=0, bytes_per_second=0)
    alice = world.peer("alice")
    for _ in range(10):
        alice.says(*[PING] * 1000)
    assert len(alice.hears_all("pong")) == 10_000
    world.passes(1)
    alice.says(*[PING] * 1000)
    assert len(alice.hears_all("pong")) == 1000
    assert world.router.limits_hit == {}


def test_who_has_not_registered_is_limited_as_well():
    world = World()
    stranger = world.connects("stranger")
    stranger.says(*[PING] * 600)
    assert stranger.held
    assert stranger.hears_all("rate-limited")


# -- the notice


def test_there_is_one_notice_in_ten_seconds():
    world = World()
    alice = world.peer("alice")
    alice.says(*[PING] * 4000)
    notices = 0
    for _ in range(9):
        notices += len(alice.hears_all("rate-limited"))
        world.passes(1)
    assert notices == 1
    assert world.router.limits_hit["messages_per_second"] > 9
    world.passes(1.5)
    assert len(alice.hears_all("rate-limited")) == 1
    world.passes(10)
    assert len(alice.hears_all("rate-limited")) == 1


def test_the_notice_says_when_it_goes_on():
    world = World(messages_per_second=10, messages_burst=32)
    alice = world.connects("alice")
    alice.says(*[PING] * 65)
    (notice,) = alice.hears_all("rate-limited")
    assert notice["retryAfterMs"] == 3200
    assert "reconnect" not in notice
    world.passes(3)
    assert alice.hears_nothing()
    world.passes(0.25)
    assert len(alice.hears_all("pong")) == 1


def test_every_pause_counts_as_a_hit():
    world = World(messages_per_second=16, messages_burst=32)
    alice = world.peer("alice")
    alice.says(*[PING] * (32 + 10 * 32))
    world.passes(25)
    assert len(alice.hears_all("pong")) == 32 + 10 * 32
    assert world.router.limits_hit == {"messages_per_second": 10}
    assert world.router.errors == {"rate-limited": 2}


# -- whose rates


FAST = Rates(1000, 5000, 0, 0)


def test_an_entry_has_rates_of_its_own():
    world = World(credentials=[static("t", file="gateways", rates=FAST), static("u")])
    gateway, alice = world.peer("gateway", token="t"), world.peer("alice", token="u")
    gateway.says(*[PING] * 5000)
    alice.says(*[PING] * 5000)
    assert len(gateway.hears_all("pong")) == 5000
    assert len(alice.hears_all("pong")) == 512
    assert (gateway.held, alice.held) == (False, True)


def test_who_registers_begins_anew():
    world = World(credentials=[static("t", file="gateways", rates=FAST), static("u")])
    gateway, alice = world.connects("gateway"), world.connects("alice")
    for link, token in ((gateway, "t"), (alice, "u")):
        link.says(*[PING] * 400, {"type": "register", "id": link.address, "token": token})
        assert link.hears_all()[-1]["type"] == "registered"
    gateway.says(*[PING] * 5000)
    alice.says(*[PING] * 500)
    assert len(gateway.hears_all("pong")) == 5000
    assert len(alice.hears_all("pong")) == 500
    assert world.router.limits_hit == {}


def test_what_is_read_together_with_the_register_is_forgiven():
    """It was charged to a stranger; with its own rates it may send as much."""
    world = World(credentials=[static("t", rates=FAST)], messages_burst=10)
    gateway = world.connects("gateway")
    gateway.says({"type": "register", "id": "gateway", "token": "t"}, *[PING] * 31)
    assert len(gateway.hears_all("pong")) == 31
    assert not gateway.held
    assert world.router.limits_hit == {}


def test_renewing_does_not_begin_anew():
    world = World(credentials=[static("t")])
    alice = world.peer("alice", token="t")
    for _ in range(30):
        alice.says(*[PING] * 31, {"type": "register", "token": "t"})
    assert alice.held
    assert len(alice.hears_all("registered")) == 512 / 32


SLOW = Rates(10, 50, 0, 0)
UNLIMITED = Rates(0, 0, 0, 0)


def test_a_renewal_may_change_the_rates():
    world = World(credentials=[static("s", file="slow", rates=SLOW), static("u", file="fast", rates=UNLIMITED)])
    alice = world.peer("alice", token="s")
    alice.says(*[PING] * 40, {"type": "register", "token": "u"}, *[PING] * 5000)
    assert len(alice.hears_all("pong")) == 5040
    alice.says({"type": "register", "token": "s"}, *[PING] * 500)
    assert len(alice.hears_all("pong")) <= 50 + 2 * AT_ONCE
    assert alice.held


def test_renewing_with_two_credentials_in_turn_is_no_way_around_them():
    world = World(credentials=[static("s", file="one", rates=SLOW), static("t", file="two", rates=Rates(11, 55, 0, 0))])
    alice = world.peer("alice", token="s")
    for _ in range(50):
        alice.says(*[PING] * 10, {"type": "register", "token": "t"}, *[PING] * 10, {"type": "register", "token": "s"})
    assert alice.held
    assert len(alice.hears_all("pong")) <= 55 + AT_ONCE


# -- new rules


def test_new_rates_hold_at_once():
    world = World()
    alice, stranger = world.peer("alice"), world.connects("stranger")
    for link in (alice, stranger):
        link.says(*[PING] * 100)
    world.changes(messages_per_second=10, messages_burst=50)
    for link in (alice, stranger):
        link.says(*[PING] * 1000)
        assert 100 <= len(link.hears_all("pong")) <= 150 + AT_ONCE
        assert link.held


def test_a_rate_that_is_lifted_is_no_limit_any_more():
    world = World()
    alice, stranger = world.peer("alice"), world.connects("stranger")
    for link in (alice, stranger):
        link.says(*[PING] * 450)
    world.changes(messages_per_second=0, bytes_per_second=0)
    for link in (alice, stranger):
        link.says(*[PING] * 5000)
        assert len(link.hears_all("pong")) == 5450
    assert world.router.limits_hit == {}


def test_a_rate_that_is_new_leaves_the_burst():
    world = World(messages_per_second=0, bytes_per_second=0)
    alice = world.peer("alice")
    alice.says(*[PING] * 5000)
    world.changes()
    alice.says(*[PING] * 500)
    assert len(alice.hears_all("pong")) == 5500
    assert not alice.held
    alice.says(*[PING] * 100)
    assert alice.held


def test_who_waits_by_slow_rates_does_not_wait_by_them_any_more():
    world = World(messages_per_second=1, messages_burst=1)
    alice = world.peer("alice", keepaliveMs=300_000)
    alice.says(*[PING] * 100)
    assert alice.resumes_at == world.now + 31
    world.changes()
    assert 0.25 < alice.resumes_at - world.now < 0.35
    world.passes(2)
    assert len(alice.hears_all("pong")) == 100
    assert not alice.held


def test_the_same_rates_again_change_nothing():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.says(*[PING] * 600)
    bob.says(*[PING] * 450)
    world.changes()
    assert alice.held
    bob.says(*[PING] * 100)
    assert len(bob.hears_all("pong")) == 450 + 2 * AT_ONCE
    assert bob.held


def test_rates_are_those_of_the_limits():
    rates = Rates.of(Limits(messages_per_second=7, messages_burst=8, bytes_per_second=9, bytes_burst=70_000))
    assert (rates.messages_per_second, rates.messages_burst) == (7, 8)
    assert (rates.bytes_per_second, rates.bytes_burst) == (9, 70_000)
