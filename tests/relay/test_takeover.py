"""An ID that somebody holds: the same credential takes it over, another does not, and nobody plays ping-pong with it.

What happens where there are no credentials is in `test_router`; here is only how often.
"""

import pytest

from sigd.relay.credentials import Caller
from sigd.relay.link import State
from tests.relay.issued import EACH_KIND, EVERY_KIND, NORTH, SOUTH, claims, expiring, jwt_of, static, unix, user, web
from tests.relay.world import World

# -- with credentials


@pytest.mark.parametrize(("shown", "caller"), EACH_KIND)
def test_the_same_credential_takes_over_at_once_row_20(shown, caller):
    world = World(credentials=EVERY_KIND)
    bob = world.peer("bob", token="tökén")
    old = world.peer("alice", comes_as=caller, **shown)
    new = world.connects("new", comes_as=caller)
    assert new.registers("alice", ref="1", **shown)["type"] == "registered"
    assert old.hears() == {
        "type": "error",
        "code": "replaced",
        "message": "another link with the same credential has taken the ID over",
        "reconnect": False,
    }
    assert old.hears_nothing()
    assert old.closing
    bob.says({"type": "message", "to": "alice", "data": 1, "ref": "r"})
    assert new.hears() == {"type": "message", "from": "bob", "data": 1}
    assert bob.hears() == {"type": "ok", "ref": "r"}
    assert bob.hears_nothing()
    assert old.hears_nothing()


OTHERS = [
    pytest.param({"token": "other"}, None, id="token"),
    pytest.param(user("al*"), None, id="hmac"),
    pytest.param(user("alice:*"), None, id="talk"),
    pytest.param({"jwt": jwt_of(NORTH, claims("al*"))}, None, id="jwt"),
    pytest.param({}, Caller(["other", "alice"]), id="certificate"),
    pytest.param({}, Caller(uid=1001), id="unix"),
]


@pytest.mark.parametrize(("other", "other_caller"), OTHERS)
@pytest.mark.parametrize(("shown", "caller"), EACH_KIND)
def test_another_credential_does_not_row_20(shown, caller, other, other_caller):
    world = World(credentials=[*EVERY_KIND, static("other", file="other"), unix([1001])])
    bob, alice = world.peer("bob", token="tökén"), world.peer("alice", comes_as=caller, **shown)
    mallory = world.connects("mallory", comes_as=other_caller)
    answer = mallory.registers("alice", ref="1", **other)
    assert (answer["code"], answer["ref"]) == ("id-taken", "1")
    assert "retryAfterMs" not in answer
    assert mallory.state is State.NEW
    assert alice.hears_nothing()
    bob.says({"type": "bye", "to": "alice"})
    assert alice.hears() == {"type": "bye", "from": "bob"}
    assert world.router.limits_hit == {}


def test_a_token_of_the_same_entry_is_the_same_credential():
    world = World(credentials=[static("old", "new"), static("other", file="other")])
    before, after = world.peer("alice", token="old"), world.connects("after")
    assert after.registers("alice", token="new")["type"] == "registered"
    assert before.reason == "replaced"


def test_the_same_globs_are_the_same_credential_by_whatever_secret_and_for_however_long():
    world = World(credentials=[expiring(NORTH, SOUTH)])
    before, after = world.peer("alice", **user("a*", seconds=60)), world.connects("after")
    assert after.registers("alice", **user("a*", seconds=600, secret=SOUTH))["expiresMs"] == 630_000
    assert before.reason == "replaced"


def test_the_same_subject_is_the_same_credential_whatever_else_its_token_says():
    world = World(credentials=[web(claim="peers")])
    before = world.peer("alice", jwt=jwt_of(NORTH, claims("u1", peers="alice")))
    assert world.connects("x").registers("alice", jwt=jwt_of(NORTH, claims("u2", peers="*")))["code"] == "id-taken"
    answer = world.connects("x").registers("alice", jwt=jwt_of(NORTH, claims("u1", peers=["a*", "b"])))
    assert answer["type"] == "registered"
    assert before.reason == "replaced"


def test_what_counts_is_what_the_holder_has_now():
    world = World(credentials=[static("t"), expiring()])
    alice = world.peer("alice", token="t")
    alice.registers("alice", **user("alice"))
    assert world.connects("x").registers("alice", token="t")["code"] == "id-taken"
    assert world.connects("x").registers("alice", **user("alice"))["type"] == "registered"


def test_a_line_link_is_taken_over_as_well():
    world = World(credentials=[static("t")])
    old, new = world.peer("alice", lines=True, token="t"), world.connects("new", lines=True)
    assert new.registers("alice", token="t")["type"] == "registered"
    assert old.hears()["code"] == "replaced"


def test_what_was_due_to_the_old_link_is_still_written_to_it():
    world = World(credentials=[static("t")])
    bob, old = world.peer("bob", token="t"), world.peer("alice", token="t")
    old.takes = 0
    bob.says({"type": "message", "to": "alice", "data": 1})
    world.peer("alice", token="t")
    old.takes_more(10_000)
    assert old.hears()["data"] == 1
    assert old.hears()["code"] == "replaced"


def test_the_log_is_told_who_took_over():
    world = World(credentials=[static("t")])
    old = world.peer("alice", address="192.0.2.7", token="t")
    world.peer("alice", address="2001:db8::7", token="t")
    assert (old.reason, old.ended_by) == ("replaced", "2001:db8::7")


def test_the_late_end_of_the_old_link_frees_nothing_of_its_successors():
    world = World(credentials=[static("t")])
    bob = world.peer("bob", token="t")
    old, new = world.peer("alice", token="t"), world.peer("alice", token="t")
    newest = world.peer("alice", token="t")
    for late in (new, old):
        late.leaves()
        assert world.router.registry.find("alice") is newest
    bob.says({"type": "message", "to": "alice", "data": 1})
    assert newest.hears()["data"] == 1


def test_what_the_old_link_still_says_is_not_heard():
    world = World(credentials=[static("t")])
    bob, old = world.peer("bob", token="t"), world.peer("alice", token="t")
    world.peer("alice", token="t")
    old.says({"type": "message", "to": "bob", "data": 1}, {"type": "unregister"})
    assert bob.hears_nothing()
    assert world.router.registry.find("alice") is not None


def test_the_successor_begins_with_nothing_of_its_predecessors():
    world = World(credentials=[static("t")])
    world.peer("alice", token="t", meta={"role": "cam"}, keepaliveMs=60_000, maxFrame=2000)
    new = world.connects("new")
    assert new.registers("alice", token="t")["keepaliveMs"] == 30_000
    assert (new.meta, new.max_frame) == (None, 65_536)


def test_a_link_that_failed_to_take_over_may_register_another_id():
    world = World(credentials=[static("t"), static("u", file="u")])
    world.peer("alice", token="t")
    other = world.connects("other")
    assert other.registers("alice", token="u")["code"] == "id-taken"
    assert other.registers("bob", token="u")["type"] == "registered"


def test_whose_credential_has_expired_is_taken_over_by_a_fresh_one():
    world = World(credentials=[expiring()])
    old = world.peer("alice", **user("alice", seconds=-20))
    assert world.connects("x").registers("alice", **user("alice"))["type"] == "registered"
    assert old.reason == "replaced"


# -- ping-pong


def test_two_clients_with_one_credential_do_not_throw_each_other_out_for_ever_row_21():
    world = World(credentials=[static("t")])
    links = [world.peer("alice", token="t")]
    for _ in range(5):
        links.append(world.connects("next"))
        assert links[-1].registers("alice", token="t")["type"] == "registered"
    assert [link.reason for link in links] == ["replaced"] * 5 + [""]
    world.passes(1)
    late = world.connects("late")
    answer = late.registers("alice", ref="1", token="t")
    assert (answer["code"], answer["ref"], answer["retryAfterMs"]) == ("id-taken", "1", 29_000)
    assert not late.closing
    assert not links[-1].closing
    assert world.router.limits_hit == {"takeovers_per_minute": 1}
    world.passes(10)
    assert late.hears()["code"] == "register-timeout"
    world.passes(19)
    assert world.connects("later").registers("alice", token="t")["type"] == "registered"


def test_slow_ping_pong_goes_on():
    world = World(credentials=[static("t")])
    world.peer("alice", token="t")
    for _ in range(20):
        world.passes(15.25)
        assert world.connects("next").registers("alice", token="t")["type"] == "registered"


def test_other_ids_are_not_locked_and_neither_is_a_free_one():
    world = World(credentials=[static("t")])
    for name in ("alice", "alice", "alice", "alice", "alice", "alice", "bob", "bob"):
        holder = world.peer(name, token="t")
    assert world.connects("x").registers("alice", token="t")["code"] == "id-taken"
    assert holder.id == "bob"
    alice = world.router.registry.find("alice")
    assert alice is not None
    alice.close("left")
    assert world.connects("x").registers("alice", token="t")["type"] == "registered"


def test_who_is_refused_for_its_credential_does_not_count():
    world = World(credentials=[static("t"), static("u", file="u")])
    world.peer("alice", token="t")
    for _ in range(20):
        assert world.connects("x").registers("alice", token="u")["code"] == "id-taken"
    assert world.connects("x").registers("alice", token="t")["type"] == "registered"
    assert world.router.limits_hit == {}


def test_without_a_limit_it_may_go_on_for_ever():
    world = World(credentials=[static("t")], takeovers_per_minute=0)
    for _ in range(50):
        world.peer("alice", token="t")
    assert world.router.limits_hit == {}


# -- without credentials


def test_probes_are_counted():
    world = World()
    alice = world.peer("alice")
    for number in range(5):
        claimant = world.connects("claimant")
        claimant.says({"type": "register", "id": "alice"})
        assert alice.hears() == {"type": "ping"}
        alice.says({"type": "pong"})
        answer = claimant.hears()
        assert (answer["code"], "retryAfterMs" in answer) == ("id-taken", False), number
    claimant = world.connects("claimant")
    answer = claimant.registers("alice", ref="1")
    assert (answer["code"], answer["ref"], answer["retryAfterMs"]) == ("id-taken", "1", 30_000)
    assert claimant.state is State.NEW
    assert alice.hears_nothing()
    assert world.router.limits_hit == {"takeovers_per_minute": 1}


def test_nobody_is_made_to_ping_more_often_than_five_times_a_minute():
    world = World()
    alice = world.peer("alice", keepaliveMs=300_000)
    pings = 0
    for _ in range(120):
        claimant = world.connects("claimant")
        claimant.says({"type": "register", "id": "alice"})
        while not alice.hears_nothing():
            assert alice.hears() == {"type": "ping"}
            pings += 1
        alice.says({"type": "pong"})
        claimant.leaves()
        world.passes(0.5)
    assert pings == 10


def test_what_needs_no_probe_is_not_counted():
    world = World()
    alice, typist = world.peer("alice"), world.peer("typist", lines=True)
    first = world.connects("first")
    first.says({"type": "register", "id": "alice"})
    for _ in range(20):
        assert world.connects("x").registers("alice")["code"] == "id-taken"
        assert world.connects("x").registers("typist")["code"] == "id-taken"
    assert world.router.limits_hit == {}
    alice.leaves()
    assert first.hears()["type"] == "registered"
    assert typist.hears_nothing()


def test_a_claim_that_succeeds_counts_as_one():
    world = World()
    world.peer("alice")
    for _ in range(5):
        claimant = world.connects("claimant")
        claimant.says({"type": "register", "id": "alice"})
        world.passes(3.25)
        assert claimant.hears()["type"] == "registered"
    assert world.connects("claimant").registers("alice")["retryAfterMs"] < 30_000


def test_a_claimant_that_is_thrown_out_leaves_the_holder_its_id():
    """It counts as one that has not registered: that of an address with many others may have to go."""
    world = World(max_unregistered=3)
    alice, claimant = world.peer("alice"), world.connects("192.0.2.7")
    for each in (world.connects("192.0.2.7"), world.connects("192.0.2.7")):
        each.begins()
    claimant.says({"type": "register", "id": "alice"})
    world.connects("192.0.2.8")
    assert claimant.hears()["code"] == "server-full"
    assert alice.challenge is None
    world.passes(5)
    assert world.router.registry.find("alice") is alice


def test_a_claim_keeps_what_its_register_said():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice", "ref": "c", "meta": {"a": 1}, "maxFrame": 2000})
    alice.leaves()
    assert claimant.hears()["ref"] == "c"
    assert claimant.max_frame == 2000
    assert claimant.meta is not None


def test_row_25_a_flood_does_not_cost_its_victim_the_id():
    """The ping that would ask it for a sign of life stands behind the flood."""
    world = World()
    victim, mallory = world.peer("victim"), world.peer("mallory")
    victim.takes = 0
    for _ in range(70):
        mallory.says({"type": "message", "to": "victim", "data": "x" * 1_000})
    assert victim.stuck
    claimant = world.connects("claimant")
    claimant.says({"type": "register", "id": "victim"})
    assert claimant.hears()["code"] == "id-taken"
    world.passes(9)
    victim.takes_more(1_000_000)
    world.passes(29)
    assert not victim.aborted
    assert world.router.registry.find("victim") is victim
