"""A link that sends too fast is not read for a while: what goes on meanwhile, and when it is held for two reasons."""

from sigd.wire.times import NEVER
from tests.relay.world import World

PING = {"type": "ping"}


# -- what goes on meanwhile


def test_what_waits_is_not_lost_and_keeps_its_order():
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.says(*[{"type": "message", "to": "bob", "data": number} for number in range(1500)])
    world.passes(15)
    assert [message["data"] for message in bob.hears_all()] == list(range(1500))


def test_who_waits_still_gets_what_is_sent_to_it():
    world = World(messages_per_second=1, messages_burst=10)
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.says(*[PING] * 30)
    alice.hears_all()
    bob.says({"type": "message", "to": "alice", "data": 1})
    assert alice.hears() == {"type": "message", "from": "bob", "data": 1}


def test_others_do_not_wait():
    world = World()
    mallory, alice = world.peer("mallory"), world.peer("alice")
    mallory.says(*[PING] * 5000)
    alice.says(PING)
    assert alice.hears() == {"type": "pong"}


def test_who_is_not_read_is_neither_pinged_nor_taken_for_dead():
    world = World(messages_per_second=1, messages_burst=1)
    alice = world.peer("alice", keepaliveMs=5_000)
    alice.says(*[PING] * 32)
    alice.hears_all()
    world.passes(30)
    assert alice.hears_nothing()
    world.passes(1)
    assert not alice.held
    world.passes(4.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears() == {"type": "ping"}


def test_a_ping_that_went_out_before_is_no_reason_to_close():
    world = World(messages_per_second=1, messages_burst=1)
    alice = world.peer("alice", keepaliveMs=5_000)
    world.passes(5.25)
    assert alice.hears() == {"type": "ping"}
    alice.says(*[{"type": "pong"}] * 30)
    assert alice.hears_all("rate-limited")
    world.passes(25)
    assert not alice.held
    assert alice.hears_nothing()


def test_a_claim_on_an_id_whose_holder_waits_is_refused():
    """What it answers is not read; that something has come is enough."""
    world = World(messages_per_second=1, messages_burst=1)
    alice, claimant = world.peer("alice"), world.connects("claimant")
    alice.says(*[PING] * 30)
    claimant.says({"type": "register", "id": "alice"})
    alice.says({"type": "pong"})
    assert claimant.hears_nothing()
    world.passes(3.25)
    assert claimant.hears()["code"] == "id-taken"


def test_a_holder_that_waits_and_says_nothing_loses_its_id():
    world = World(messages_per_second=1, messages_burst=1)
    alice, claimant = world.peer("alice"), world.connects("claimant")
    alice.says(*[PING] * 30)
    claimant.says({"type": "register", "id": "alice"})
    world.passes(3.25)
    assert alice.reason == "idle-timeout"
    assert claimant.hears()["type"] == "registered"


def test_a_stranger_that_waits_still_has_to_register_in_time():
    world = World(messages_per_second=1, messages_burst=1)
    stranger = world.connects("stranger")
    stranger.says(*[PING] * 32)
    world.passes(10.25)
    assert stranger.hears_all()[-1]["code"] == "register-timeout"


def test_who_closes_in_what_was_read_is_not_told():
    world = World(messages_per_second=1, messages_burst=10)
    alice = world.peer("alice")
    alice.says(*[PING] * 20, {"type": "unregister"}, *[PING] * 5)
    assert [message["type"] for message in alice.hears_all()] == ["pong"] * 20
    assert alice.resumes_at == NEVER
    assert world.router.limits_hit == {}
    world.passes(5.25)
    assert alice.aborted == "unregistered"


def test_who_waits_may_be_closed():
    world = World(messages_per_second=1, messages_burst=1)
    alice = world.peer("alice")
    alice.says(*[PING] * 32)
    alice.close("kicked")
    world.settle()
    world.passes(5.25)
    assert alice.aborted == "kicked"
    assert len(world.router.deadlines) == 0


# -- held for two reasons


def frozen_asker(**limits):
    """A peer that sends too fast and reads nothing: it is held for both."""
    world = World(outbox_bytes_own=2_000, messages_per_second=16, messages_burst=100, **limits)
    alice = world.peer("alice")
    alice.takes = 0
    alice.says(*[PING] * 200)
    assert alice.held
    assert alice.own > 2_000
    assert alice.resumes_at < NEVER
    assert world.router.limits_hit == {"messages_per_second": 1, "outbox_bytes_own": 1}
    return world, alice


def test_who_reads_again_and_still_sent_too_much_waits():
    world, alice = frozen_asker()
    alice.takes_more(10**9)
    assert alice.held
    assert alice.resumed == 0
    world.passes(2)
    assert alice.resumed == 1
    world.passes(10)
    assert len(alice.hears_all("pong")) == 200
    assert not alice.held


def test_who_has_waited_and_still_does_not_read_is_not_read():
    world, alice = frozen_asker()
    world.passes(2)
    assert alice.resumes_at == NEVER
    assert alice.held
    assert alice.resumed == 0
    alice.takes_more(10**9)
    assert alice.resumed == 1
    world.passes(10)
    assert len(alice.hears_all("pong")) == 200
    assert not alice.held


def claiming(world):
    """A link whose claim waits, and that has sent too much with it."""
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says(*[PING] * 20, {"type": "register", "id": "alice"}, *[PING] * 11)
    assert len(claimant.hears_all("pong")) == 20
    assert claimant.claim is not None
    assert claimant.resumes_at < NEVER
    return alice, claimant


def test_a_claim_that_is_refused_still_waits_for_what_it_sent():
    world = World(messages_per_second=8, messages_burst=10)
    alice, claimant = claiming(world)
    world.passes(1)
    alice.says({"type": "pong"})
    assert claimant.hears_all("id-taken")
    assert claimant.held
    assert claimant.resumed == 0
    world.passes(2)
    assert claimant.resumed == 1
    assert len(claimant.hears_all("pong")) == 11


def test_a_claim_waits_when_what_was_sent_is_paid_for():
    world = World(messages_per_second=16, messages_burst=10)
    alice, claimant = claiming(world)
    world.passes(2)
    assert claimant.resumes_at == NEVER
    assert claimant.held
    assert claimant.resumed == 0
    assert claimant.state.name == "CLAIMING"
    alice.leaves()
    assert claimant.resumed == 1
    assert [message["type"] for message in claimant.hears_all()] == ["registered", *["pong"] * 11]
