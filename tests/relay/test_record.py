"""What is kept of conversations: the last of each two peers, within a bound, and taps."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigd.relay.record import (
    BYTES_KEPT,
    MESSAGES_KEPT,
    NO_TALKS,
    RING_BYTES,
    SMALL_BYTES,
    TRIED_BY_ONE,
    Passed,
    Record,
)
from sigd.relay.refusals import KIND_BYTES
from sigd.wire.errors import ErrorCode
from tests.relay.issued import static
from tests.relay.world import World

OFFER = {"type": "offer", "sdp": "v=0\r\n", "session": "k3"}


def told(record: Record, now: float, sender: str, to: str, body: bytes) -> None:
    """Write a message as `Router.relay` does."""
    ring = record.begin(sender, to, now)
    ring.append(now)
    ring.append(body)
    if len(ring) > ring[0] or len(body) > SMALL_BYTES:
        record.settle(ring)


def bodies(record: Record, one: str, other: str) -> list[bytes]:
    """What is kept of two peers."""
    return [passed.body for passed in record.history(one, other, 0.0).passed]


@pytest.fixture
def trio():
    """A world, and alice and bob in it."""
    world = World(messages_per_second=0)
    return world, world.peer("alice"), world.peer("bob")


# -- through the router


def test_what_was_relayed_is_kept_as_it_was_delivered_with_its_time(trio):
    world, alice, bob = trio
    alice.says({**OFFER, "to": "bob"})
    world.passes(0.5)
    bob.says({"type": "bye", "to": "alice"})
    history = world.router.record.history("bob", "alice", 10.0)
    assert history.peers == ("bob", "alice")
    assert history.passed == [
        Passed(1010.0, "alice", "bob", b'{"type":"offer","from":"alice","sdp":"v=0\\r\\n","session":"k3"}', None),
        Passed(1010.5, "bob", "alice", b'{"type":"bye","from":"bob"}', None),
    ]
    assert history.whole_since == 0.0


def test_it_outlives_the_links(trio):
    world, alice, bob = trio
    alice.says({**OFFER, "to": "bob"})
    alice.leaves()
    bob.leaves()
    assert len(bodies(world.router.record, "alice", "bob")) == 1


def test_what_was_refused_is_kept_with_the_code(trio):
    world, alice, bob = trio
    alice.says({**OFFER, "to": "carol"})
    bob.max_frame = 40
    alice.says({**OFFER, "to": "bob"})
    record = world.router.record
    assert [passed.refusal for passed in record.history("alice", "carol", 0).passed] == [ErrorCode.PEER_UNAVAILABLE]
    refused = record.history("alice", "bob", 0).passed
    assert [(passed.sender, passed.refusal) for passed in refused] == [("alice", ErrorCode.TOO_LARGE)]
    assert refused[0].body.startswith(b'{"type":"offer","from":"alice"')


def test_what_a_credential_forbids_is_kept_where_it_names_a_peer():
    world = World(credentials=[static("c", file="c", talk=["v*"])])
    cam = world.peer("cam", token="c")
    cam.says(
        {**OFFER, "to": "w1"},
        {**OFFER, "to": "no ID"},
        {"type": "candidate", "to": "w2", "candidate": 5},
    )
    assert [message["code"] for message in cam.hears_all()] == ["forbidden"] * 3
    assert world.router.record.partners("cam") == ["w1", "w2"]
    w1, nobody = world.router.record.history("cam", "w1", 0.0).passed
    assert (w1.to, w1.refusal, w1.kind) == ("w1", ErrorCode.FORBIDDEN, "offer")
    assert (nobody.to, nobody.refusal, nobody.kind, nobody.body) == ("", ErrorCode.FORBIDDEN, "offer", b"")
    assert world.router.record.history("cam", "w2", 0.0).passed[-1].body == b""  # nobody could have been sent that


def test_a_message_to_oneself_is_there_once(trio):
    world, alice, _ = trio
    alice.says({"type": "message", "to": "alice", "data": 1})
    assert len(bodies(world.router.record, "alice", "alice")) == 1


def test_who_tries_one_id_after_the_other_fills_no_record(trio):
    world, alice, _ = trio
    alice.says(*[{**OFFER, "to": f"nobody{number}"} for number in range(1000)])
    kept = [f"nobody{number}" for number in range(1000 - TRIED_BY_ONE, 1000)]
    assert world.router.record.partners("alice") == kept
    assert world.router.record.history("alice", kept[-1], 0.0).passed[0].refusal is ErrorCode.RATE_LIMITED


def test_partners_are_all_with_whom_a_peer_has_talked(trio):
    world, alice, bob = trio
    world.peer("carol").says({**OFFER, "to": "alice"})
    alice.says({**OFFER, "to": "bob"})
    bob.says({**OFFER, "to": "alice"})
    assert sorted(world.router.record.partners("alice")) == ["bob", "carol"]
    assert world.router.record.partners("bob") == ["alice"]


# -- the bounds


def test_the_last_messages_each_way_are_kept_and_it_is_known_since_when():
    record = Record()
    for number in range(100):
        told(record, float(number), "a", "b", b"%d" % number)
    told(record, 3.0, "b", "a", b"early")
    history = record.history("a", "b", 1000.0)
    assert len(history.passed) == MESSAGES_KEPT + 1
    assert [passed.body for passed in history.passed[:2]] == [b"early", b"68"]
    assert history.whole_since == 1068.0


def test_a_link_that_is_here_still_finds_no_ring_that_was_forgotten(trio):
    world, alice, bob = trio
    record = world.router.record
    alice.says({**OFFER, "to": "bob"})
    assert alice.talks is record.rings["alice"]
    for number in range(3000):
        told(record, world.now + number, f"a{number}", f"b{number}", b"x" * 300)
    assert not alice.talks
    assert "alice" not in record.rings
    alice.says({**OFFER, "to": "bob"})
    assert alice.talks is record.rings["alice"]
    assert len(bodies(record, "alice", "bob")) == 1
    assert record.charge <= BYTES_KEPT
    assert not bob.talks
    assert not NO_TALKS


def test_who_comes_again_goes_on_with_what_was_said(trio):
    world, alice, _ = trio
    alice.says({**OFFER, "to": "bob"})
    alice.leaves()
    again = world.peer("alice")
    again.says({"type": "bye", "to": "bob"})
    assert len(bodies(world.router.record, "alice", "bob")) == 2
    assert again.talks is alice.talks


def test_without_bodies_only_types_and_times_are_kept(trio):
    record = Record(keep_bodies=False)
    told(record, 1.0, "a", "b", b'{"type":"candidate","from":"a","candidate":{"candidate":"secret"}}')
    record.refuse(Passed(2.0, "a", "b", b'{"type":"offer","from":"a","sdp":"secret"}', ErrorCode.PEER_BUSY))
    history = record.history("a", "b", 0.0).passed
    assert [(len(passed.body) <= KIND_BYTES, passed.when, passed.refusal) for passed in history] == [
        (True, 1.0, None),
        (True, 2.0, ErrorCode.PEER_BUSY),
    ]
    assert b"secret" not in b"".join(passed.body for passed in history)


def test_who_tries_a_million_ids_pushes_nobody_out_and_takes_no_more_than_is_allowed():
    record = Record(size=1 << 20)
    for _ in range(20):
        told(record, 1.0, "cam", "bob", b"x" * 300)
    for number in range(10_000):
        record.refuse(
            Passed(2.0 + number, "eve", f"nobody{number}", b"x" * 100, ErrorCode.FORBIDDEN),
        )
    assert record.charge <= 1 << 20
    assert len(bodies(record, "cam", "bob")) == 20
    assert record.partners("eve") == [f"nobody{number}" for number in range(10_000 - TRIED_BY_ONE, 10_000)]


def test_those_who_were_silent_for_longest_go_first_both_ways():
    record = Record(size=1 << 20)
    for number in range(1000):
        told(record, float(number), f"cam{number}", "hub", b"x" * 300)
        told(record, float(number), "hub", f"cam{number}", b"x" * 300)
        told(record, float(number), "cam0", "hub", b"still here")
    kept = [number for number in range(1000) if bodies(record, f"cam{number}", "hub")]
    assert kept == [0, *range(1001 - len(kept), 1000)]
    assert len(kept) > 50
    assert all(len(bodies(record, f"cam{number}", "hub")) == 2 for number in kept[1:])
    assert record.history("cam999", "hub", 0.0).whole_since == 1000 - len(kept)


def test_who_sends_much_pays_for_it_before_others_do():
    record = Record(size=1 << 20)
    told(record, 0.0, "cam", "bob", b"x" * 300)
    for number in range(1000):
        told(record, 1.0 + number, "hog", "bob", b"x" * 40_000)
    assert len(bodies(record, "cam", "bob")) == 1
    assert record.charge <= 1 << 20
    assert record.history("cam", "bob", 0.0).whole_since == 0.0
    assert record.history("hog", "bob", 0.0).whole_since > 900


def test_the_last_message_stays_even_where_it_is_large():
    record = Record(size=1 << 20)
    for number in range(40):
        told(record, 1.0 + number, "hog", "bob", b"x" * 2 * RING_BYTES)
    assert bodies(record, "hog", "bob")


@pytest.mark.parametrize("size", [0, 1000, 70_000])
def test_where_nearly_nothing_may_be_kept_nothing_breaks(size):
    record = Record(size=size)
    for number in range(200):
        told(record, float(number), f"a{number % 7}", "b", b"x" * 60_000)
        assert record.charge <= max(size, 0)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(24, 70_000), st.booleans()), max_size=300),
    st.integers(0, 1 << 20),
)
def test_never_more_than_is_allowed_and_always_in_order(messages, size):
    record = Record(size=size)
    for number, (sender, to, count, is_refused) in enumerate(messages):
        if is_refused:
            record.refuse(Passed(number, f"p{sender}", f"p{to}", bytes(count), ErrorCode.PEER_BUSY))
        else:
            told(record, float(number), f"p{sender}", f"p{to}", bytes(count))
        assert 0 <= record.charge <= size
        held = [ring for talks in record.rings.values() for ring in talks.values()]
        assert sum(len(body) for ring in held for body in ring[4::2]) <= size
    for one in {sender for sender, *_ in messages}:
        for other in record.partners(f"p{one}"):
            times = [passed.when for passed in record.history(f"p{one}", other, 0.0).passed]
            assert times == sorted(times)


@pytest.mark.parametrize("are_refused", [False, True])
def test_what_it_says_that_it_takes_is_what_it_takes(are_refused):
    tracemalloc.start()
    try:
        record = Record(size=2 << 20)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10_000):
            now, sender, to = number * 1.1, f"camera{number % 100}", f"viewer{number % 200}"
            if are_refused:
                record.refuse(Passed(now, sender, to, b"%050d" % number, ErrorCode.PEER_BUSY))
            else:
                told(record, now, sender, to, bytes(200 + number % 200))
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert record.charge <= 2 << 20
    assert record.charge / 4 < real <= record.charge


# -- taps


def test_a_tap_is_told_of_all_that_passes_and_of_what_is_refused(trio):
    world, alice, _ = trio
    seen: list[Passed] = []
    world.router.taps.add(seen.append)
    alice.says({**OFFER, "to": "bob"}, {"type": "bye", "to": "carol"})
    assert [(passed.to, passed.refusal) for passed in seen] == [("bob", None), ("carol", ErrorCode.PEER_UNAVAILABLE)]
    assert seen[0].body == b'{"type":"offer","from":"alice","sdp":"v=0\\r\\n","session":"k3"}'


def test_a_tap_is_told_of_guessing_too(trio):
    world, alice, _ = trio
    seen: list[Passed] = []
    world.router.taps.add(seen.append)
    alice.says(*[{"type": "bye", "to": f"nobody{number}"} for number in range(61)])
    assert [passed.refusal for passed in seen][-2:] == [ErrorCode.PEER_UNAVAILABLE, ErrorCode.RATE_LIMITED]


def test_a_tap_that_raises_is_told_nothing_more_and_nobody_else_notices(trio):
    world, alice, bob = trio
    seen: list[Passed] = []
    fault = ValueError("a bug")

    def broken(passed: Passed) -> None:
        raise fault

    def leaves_and_fails(passed: Passed) -> None:
        world.router.taps.drop(leaves_and_fails)
        raise fault

    for tap in (broken, leaves_and_fails, seen.append):
        world.router.taps.add(tap)
    for _ in range(2):
        alice.says({**OFFER, "to": "bob", "ref": "r"})
        assert bob.hears()["type"] == "offer"
        assert alice.hears() == {"type": "ok", "ref": "r"}
    assert len(seen) == 2
    assert world.router.taps.callbacks == [seen.append]
    assert world.router.taps.fault is fault
