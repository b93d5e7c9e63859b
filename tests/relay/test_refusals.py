"""Refusals in the record: counted, bounded, and never at the expense of others."""

import pytest

from sigd.relay import refusals
from sigd.relay.record import MESSAGES_KEPT, SMALL_BYTES, Passed, Record
from sigd.relay.refusals import ATTEMPT_BYTES, REFUSED_KEPT, Attempt, Attempts, Refused
from sigd.wire.errors import ErrorCode, Objection
from tests.relay.issued import static
from tests.relay.test_record import told
from tests.relay.world import World

GUESSED = Objection("wrong-token", "none of those")
PROVEN = Objection("expired", "an hour ago", is_proven=True)


def attempt(claimed: str, now: float = 0.0, objection: Objection = GUESSED) -> Attempt:
    """A refused `register`."""
    return Attempt(now, ErrorCode.AUTH_FAILED, "register", "", claimed=claimed, objection=objection)


def kept(attempts: Attempts) -> list[str]:
    """The IDs of all that are kept."""
    return [each.claimed for each in attempts.of()]


def refused(record: Record, now: float, to: str = "bob", kind: str = "offer", why: str = "") -> None:
    """Refuse a message of alice's that could not be read."""
    record.refuse(Passed(now, "alice", to, b"", ErrorCode.BAD_MESSAGE, kind, None, 5, why))


# -- between two peers


def test_the_same_again_is_counted() -> None:
    record = Record()
    for number in range(1_000):
        refused(record, float(number))
    (passed,) = record.history("bob", "alice", 0.0).passed
    assert (passed.when, passed.times, passed.kind, passed.length) == (999.0, 1_000, "offer", 5)


def test_another_fault_is_another_refusal() -> None:
    record = Record()
    for number in range(6):
        refused(record, float(number), kind=("offer", "answer")[number % 2], why="abc"[number % 3])
    assert [passed.times for passed in record.history("bob", "alice", 0.0).passed] == [1] * 6


def test_they_push_out_no_more_than_a_few_messages_of_their_own_sender() -> None:
    record = Record()
    for number in range(MESSAGES_KEPT):
        told(record, float(number), "alice", "bob", b"%d" % number)
        told(record, float(number), "bob", "alice", b"%d" % number)
    for number in range(10_000):
        refused(record, 100.0 + number, why=f"{number}")
    passed = record.history("alice", "bob", 0.0).passed
    assert sum(each.refusal is not None for each in passed) == REFUSED_KEPT
    assert sum(each.sender == "alice" and each.refusal is None for each in passed) >= MESSAGES_KEPT - REFUSED_KEPT
    assert sum(each.sender == "bob" for each in passed) == MESSAGES_KEPT


def test_an_offer_outlives_the_candidates_that_are_refused_after_it() -> None:
    record = Record()
    refused(record, 0.0)
    for number in range(100):
        refused(record, 1.0 + number, kind="candidate", why=f"{number}")
    kinds = [passed.kind for passed in record.history("alice", "bob", 0.0).passed]
    assert kinds == ["offer", *["candidate"] * (REFUSED_KEPT - 1)]


def test_what_names_no_recipient_is_known_of_its_sender() -> None:
    record = Record()
    refused(record, 1.0, to="")
    assert [passed.to for passed in record.history("alice", "bob", 0.0).passed] == [""]
    assert [passed.to for passed in record.history("alice", "alice", 0.0).passed] == [""]
    assert record.history("bob", "carol", 0.0).passed == []
    assert record.partners("alice") == []


def test_a_long_one_is_accounted_for() -> None:
    record = Record(size=1 << 20)
    record.refuse(Passed(1.0, "a", "b", bytes(50_000), ErrorCode.PEER_BUSY, "offer"))
    assert record.charge > 50_000
    assert len(Refused(ErrorCode.PEER_BUSY, "offer", 5, "", None, bytes(SMALL_BYTES))) > SMALL_BYTES


# -- of clients without an ID


def test_the_same_attempt_again_is_counted() -> None:
    attempts = Attempts(10 * ATTEMPT_BYTES)
    for now in range(5):
        attempts.add(attempt("cam", float(now)), "192.0.2.7")
    attempts.add(attempt("cam", 9.0), "192.0.2.8")
    assert [(each.when, each.times) for each in attempts.of("cam")] == [(4.0, 5), (9.0, 1)]
    assert attempts.charge == 2 * ATTEMPT_BYTES


def test_those_of_others_are_not_told() -> None:
    attempts = Attempts(10 * ATTEMPT_BYTES)
    for name in ("cam", "door", "cam"):
        attempts.add(attempt(name), "192.0.2.7")
    assert [each.claimed for each in attempts.of("cam", "desk")] == ["cam"]
    assert list(attempts.of("desk")) == []


def test_an_address_has_a_part_of_them() -> None:
    attempts = Attempts(40 * ATTEMPT_BYTES)
    attempts.add(attempt("cam"), "192.0.2.7")
    for number in range(1_000):
        attempts.add(attempt(f"guess{number}"), "198.51.100.4")
    assert kept(attempts) == ["cam", *(f"guess{number}" for number in range(990, 1_000))]


@pytest.mark.parametrize("address", ["198.51.{}.4", "2001:db8:{}::/64", "2001:db8:{}::1"])
def test_a_network_of_attackers_pushes_out_its_own(address: str) -> None:
    attempts = Attempts(40 * ATTEMPT_BYTES)
    attempts.add(attempt("cam"), "192.0.2.7")
    for number in range(200):
        attempts.add(attempt(f"guess{number}"), address.format(number))
    assert kept(attempts) == ["cam", *(f"guess{number}" for number in range(161, 200))]


def test_a_flood_from_as_many_networks_as_are_kept_is_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the networks of all that are kept made out each time, a refusal took as long as 1 000 messages."""
    looked: list[str] = []

    def counted(origin: str) -> str:
        looked.append(origin)
        return origin

    monkeypatch.setattr(refusals, "network_key", counted)
    attempts = Attempts(40 * ATTEMPT_BYTES)
    for number in range(100):
        attempts.add(attempt("cam"), f"2001:{number}::/64")
    assert looked == [f"2001:{number}::/64" for number in range(100)]


def test_a_client_that_has_shown_a_secret_is_remembered_longest() -> None:
    attempts = Attempts(40 * ATTEMPT_BYTES)
    attempts.add(attempt("cam", objection=PROVEN), "192.0.2.7")
    for number in range(1_000):
        attempts.add(attempt(f"guess{number}"), f"{number % 200}.{number % 7}.0.1")
        attempts.add(attempt(f"near{number}"), "192.0.2.7")
    assert kept(attempts)[0] == "cam"
    for number in range(1_000):
        attempts.add(attempt(f"fleet{number}", objection=PROVEN), f"10.{number}.0.1")
    assert len(kept(attempts)) == 40
    assert kept(attempts)[-1] == "fleet999"


def test_they_count_within_the_record() -> None:
    record = Record(size=1 << 20)
    for number in range(1_000):
        told(record, float(number), f"a{number}", "b", bytes(300))
        record.attempt(attempt(f"cam{number}"), f"10.{number}.0.1")
        assert record.charge <= 1 << 20
    assert record.attempts.charge == (1 << 20) // 16 // ATTEMPT_BYTES * ATTEMPT_BYTES


def test_in_a_full_record_an_attempt_takes_the_place_of_what_was_said() -> None:
    record = Record(size=1 << 20)
    sender = 0
    while record.charge + ATTEMPT_BYTES <= 1 << 20:
        told(record, float(sender), f"a{sender}", "b", bytes(300))
        sender += 1
    record.attempt(attempt("cam"), "192.0.2.7")
    record.attempt(attempt("door"), "192.0.2.7")
    assert kept(record.attempts) == ["cam", "door"]
    assert record.charge <= 1 << 20
    assert record.partners("a0") == []


@pytest.mark.parametrize("size", [0, 1_000, 20_000])
def test_where_nearly_nothing_may_be_kept_nothing_breaks(size: int) -> None:
    record = Record(size=size)
    for number in range(50):
        record.attempt(attempt(f"cam{number}"), "unix")
        refused(record, float(number), to=f"bob{number}")
        assert 0 <= record.charge <= size


# -- through the router


def test_what_a_stranger_sends_to_a_peer_is_known_of_that_peer() -> None:
    world = World()
    world.peer("bob")
    stranger = world.connects("192.0.2.7")
    stranger.says({"type": "offer", "to": "bob", "sdp": ""}, {"type": "offer", "to": "carol", "sdp": ""}, b"{")
    assert [message["code"] for message in stranger.hears_all()] == ["not-registered", "not-registered", "bad-message"]
    (found,) = world.router.record.history("alice", "bob", 0.0).attempts
    assert (found.to, found.kind, found.code, found.address) == ("bob", "offer", "not-registered", "192.0.2.7")
    assert found.length == len(b'{"type":"offer","to":"bob","sdp":""}')


def test_a_pause_and_what_was_perhaps_not_delivered_are_known() -> None:
    world = World(messages_per_second=1, messages_burst=2)
    alice, bob = world.peer("alice"), world.peer("bob")
    bob.takes = 0
    alice.says(*[{"type": "message", "to": "bob", "data": number} for number in range(4)])
    bob.leaves()
    passed = [each for each in world.router.record.history("alice", "bob", 0.0).passed if each.refusal]
    assert {(each.to, each.refusal, each.kind) for each in passed} == {
        ("", ErrorCode.RATE_LIMITED, ""),
        ("bob", ErrorCode.PEER_UNAVAILABLE, ""),
    }


def test_a_claim_that_is_refused_is_known() -> None:
    world = World()
    alice, again = world.peer("alice"), world.connects("192.0.2.7")
    again.says({"type": "register", "id": "alice"})
    alice.says({"type": "pong"})
    assert again.hears()["code"] == "id-taken"
    (found,) = world.router.record.attempts.of("alice")
    assert (found.claimed, found.code, found.objection) == ("alice", "id-taken", None)


def test_a_line_that_is_a_command_names_its_peer() -> None:
    world = World()
    alice = world.peer("alice", lines=True)
    alice.types("offer bob")
    alice.types("nonsense bob")
    passed = world.router.record.history("alice", "bob", 0.0).passed
    assert [(each.to, each.kind, each.refusal, each.length) for each in passed] == [
        ("bob", "offer", ErrorCode.BAD_MESSAGE, 9),
        ("", "", ErrorCode.UNKNOWN_TYPE, 12),
    ]


def test_a_renewal_that_fails_is_an_attempt() -> None:
    world = World(credentials=[static("right")])
    alice = world.peer("alice", token="right")
    alice.says({"type": "register", "token": "wrong"})
    (found,) = world.router.record.attempts.of("alice")
    assert (found.claimed, found.code) == ("alice", ErrorCode.AUTH_FAILED)


def test_the_taps_are_told_of_refused_registers() -> None:
    world = World(credentials=[static("right")])
    heard: list[Passed] = []
    world.router.taps.add(heard.append)
    world.connects("192.0.2.7").registers("cam", token="wrong")
    assert [(each.sender, each.to, each.kind, each.refusal) for each in heard] == [
        ("cam", "", "register", ErrorCode.AUTH_FAILED)
    ]
    assert heard[0].why == "`token` is none of those in this file"
