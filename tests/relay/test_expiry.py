"""Credentials that expire: for how long a link has one, how it is renewed, and which clock says so."""

import pytest

from sigd.relay.credentials import Caller
from sigd.relay.expiry import Renewals, follow_wall
from sigd.wire.times import NEVER
from tests.relay.issued import (
    EACH_KIND,
    EVERY_KIND,
    NORTH,
    UNIX_NOW,
    certificate,
    claims,
    expiring,
    jwt_of,
    signed,
    static,
    user,
    web,
)
from tests.relay.world import World

# -- expiry


def test_expires_ms_counts_to_the_end_of_the_link_row_18():
    world = World(credentials=[expiring()])
    alice = world.connects("alice")
    answer = alice.registers("alice", **user("alice", seconds=60))
    assert answer["expiresMs"] == 90_000
    for _ in range(3):
        world.passes(29.75)
        alice.says({"type": "pong"})
    assert not alice.closing
    world.passes(1)
    while (said := alice.hears())["type"] == "ping":
        pass
    assert said["code"] == "auth-expired"
    assert "reconnect" not in said
    assert alice.closing
    world.passes(5.25)
    assert alice.aborted == "auth-expired"


@pytest.mark.parametrize(
    ("seconds", "taken"), [(1, True), (0, True), (-29, True), (-30, False), (-31, False), (-UNIX_NOW, False)]
)
@pytest.mark.parametrize("kind", ["hmac", "jwt", "certificate"])
def test_clocks_may_differ_by_30_seconds_row_18(kind, seconds, taken):
    world = World(credentials=EVERY_KIND)
    shown, caller = {
        "hmac": (user("alice", seconds=seconds), None),
        "jwt": ({"jwt": jwt_of(NORTH, claims("alice", exp=UNIX_NOW + seconds))}, None),
        "certificate": ({}, Caller(["alice"], expires=UNIX_NOW + seconds)),
    }[kind]
    alice = world.connects("alice", comes_as=caller)
    answer = alice.registers("alice", ref="1", **shown)
    if taken:
        assert (answer["type"], answer["expiresMs"]) == ("registered", (seconds + 30) * 1000)
    else:
        assert (answer["code"], answer["ref"]) == ("auth-expired", "1")
        assert alice.closing
        assert "reconnect" not in answer


def test_what_has_expired_says_nothing_about_whether_it_was_true():
    world = World(credentials=[expiring()])
    wrong = world.connects("x").registers("alice", **user("alice", seconds=-99, secret=b"guessed"))
    assert wrong["code"] == "auth-failed"
    others = world.connects("x").registers("bob", **user("alice", seconds=-99))
    assert others["code"] == "auth-expired"


def test_what_has_expired_is_no_guess():
    world = World(credentials=[expiring()])
    for _ in range(9):
        answer = world.connects("x").registers("alice", **user("alice", seconds=-99))
        assert answer["code"] == "auth-expired"
    assert world.connects("x").registers("alice", **user("alice"))["type"] == "registered"


@pytest.mark.parametrize(("shown", "caller"), [*EACH_KIND[:1], *EACH_KIND[4:]])
def test_what_does_not_expire_has_no_expires_ms(shown, caller):
    world = World(credentials=EVERY_KIND)
    alice = world.connects("alice", comes_as=caller)
    assert "expiresMs" not in alice.registers("alice", **shown)
    assert alice.expires_at == NEVER


def test_the_farthest_expiry_that_can_be_written():
    world = World(credentials=[expiring()])
    alice = world.connects("alice")
    answer = alice.registers("alice", **signed("999999999999:alice"))
    assert answer["expiresMs"] == (999_999_999_999 + 30 - UNIX_NOW) * 1000


def test_lines_end_with_their_credential_too():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    world.passes(89.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["code"] == "auth-expired"


# -- the clock on the wall


def test_a_clock_that_is_set_forward_ends_what_has_expired_by_it():
    """A credential ends by the wall clock, once somebody has noticed that it was set."""
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    bob = world.peer("bob", lines=True, **user("bob", seconds=600))
    world.sets_clock(500)
    world.passes(0.25)
    assert alice.hears()["code"] == "auth-expired"
    assert bob.registers("bob")["expiresMs"] == (600 - 500 + 30) * 1000 - 250
    world.passes(129.5)
    assert bob.hears_nothing()
    world.passes(0.5)
    assert bob.hears()["code"] == "auth-expired"


@pytest.mark.parametrize("noticed", [True, False])
def test_a_clock_that_is_set_back_leaves_the_rest_of_its_time(noticed):
    """Also where its old end comes before anybody has noticed."""
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    world.unix_ahead -= 1000
    if noticed:
        world.looks_at_the_wall()
    world.passes(1089.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["code"] == "auth-expired"


def test_a_credential_goes_on_while_the_daemon_sleeps():
    """The clock of links stands still, and the credential's does not."""
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    world.sleeps(100)
    assert alice.hears_nothing()
    world.looks_at_the_wall()
    world.passes(0.25)
    assert alice.hears()["code"] == "auth-expired"


def test_new_credentials_are_judged_by_the_new_clock_row_43():
    world = World(credentials=[expiring()])
    world.unix_ahead += 86_400
    assert world.connects("x").registers("alice", **user("alice"))["code"] == "auth-expired"
    assert world.connects("x").registers("alice", **user("alice", seconds=86_460))["expiresMs"] == 90_000
    world.unix_ahead -= 2 * 86_400
    assert world.connects("x").registers("bob", **user("bob"))["expiresMs"] == (86_400 + 3630) * 1000


def test_a_web_token_begins_by_the_clock_on_the_wall():
    world = World(credentials=[web()])
    shown = {"jwt": jwt_of(NORTH, claims("alice", nbf=UNIX_NOW + 100, exp=UNIX_NOW + 200))}
    assert world.connects("x").registers("alice", **shown)["code"] == "auth-failed"
    world.passes(70)
    assert world.connects("x").registers("alice", **shown)["type"] == "registered"


# -- renewal


def test_a_new_credential_on_the_same_link_renews_it():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, meta={"a": 1}, **user("alice", seconds=60))
    world.passes(50)
    answer = alice.registers("alice", ref="2", **user("alice", seconds=600))
    assert (answer["type"], answer["expiresMs"], answer["ref"]) == ("registered", (600 - 50 + 30) * 1000, "2")
    world.passes(579.5)
    assert alice.hears_nothing()
    world.passes(1)
    assert alice.hears()["code"] == "auth-expired"


def test_the_id_need_not_be_said_again():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", **user("alice", seconds=60))
    answer = alice.registers(**user("alice", seconds=600))
    assert (answer["id"], answer["expiresMs"]) == ("alice", 630_000)


def test_without_a_credential_the_old_one_is_kept():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice:b*", seconds=60))
    world.passes(10)
    answer = alice.registers("alice", meta={"x": 1})
    assert (answer["type"], answer["expiresMs"]) == ("registered", 80_000)
    alice.says({"type": "bye", "to": "carol"})
    assert alice.hears()["code"] == "forbidden"
    world.passes(80.25)
    assert alice.hears()["code"] == "auth-expired"


def test_a_renewal_may_come_earlier_than_what_it_replaces():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=3600))
    assert alice.registers(**user("alice", seconds=0))["expiresMs"] == 30_000
    world.passes(30.25)
    assert alice.hears()["code"] == "auth-expired"


def test_a_renewal_changes_what_it_may():
    world = World(credentials=[expiring(discover=False), static("t", discover=True)])
    alice, bob = world.peer("alice", **user("alice:carol")), world.peer("bob", token="t")
    alice.says({"type": "bye", "to": "bob"}, {"type": "peers"})
    assert [alice.hears()["code"] for _ in range(2)] == ["forbidden", "forbidden"]
    assert "expiresMs" not in alice.registers(token="t")
    alice.says({"type": "bye", "to": "bob"}, {"type": "peers"})
    assert bob.hears() == {"type": "bye", "from": "alice"}
    assert alice.hears()["type"] == "peers"


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        ({"token": "guessed"}, "auth-failed"),
        ({"user": "x"}, "auth-failed"),
        ({"jwt": "x"}, "auth-failed"),
        (user("bob"), "auth-failed"),
        (user("alice", seconds=-31), "auth-expired"),
    ],
    ids=["token", "user", "jwt", "anothers", "expired"],
)
def test_a_bad_credential_ends_the_link(shown, code):
    world = World(credentials=[expiring(), static("t")])
    alice = world.peer("alice", token="t")
    answer = alice.registers("alice", ref="2", **shown)
    assert (answer["code"], answer["ref"]) == (code, "2")
    assert alice.closing
    assert world.router.registry.find("alice") is None


def test_a_renewal_is_for_the_same_id():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", **user("a*"))
    assert alice.registers("anne", **user("a*"))["code"] == "already-registered"
    assert not alice.closing
    assert alice.registers(**user("anne"))["code"] == "auth-failed"


def test_a_client_certificate_needs_no_renewal_and_is_not_asked_again():
    world = World(credentials=[certificate()])
    alice = world.peer("alice", lines=True, comes_as=Caller(["alice"], expires=UNIX_NOW + 60))
    alice.comes_as = None
    assert alice.registers(meta={})["expiresMs"] == 90_000
    world.passes(90.25)
    assert alice.hears()["code"] == "auth-expired"


def test_between_its_end_and_the_tick_that_ends_it_nothing_is_negative():
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    world.passes(89.75)
    world.now += 0.375
    assert alice.registers("alice")["expiresMs"] == 0
    world.passes(0.25)
    assert alice.hears()["code"] == "auth-expired"


def test_a_link_that_ends_before_it_is_judged_is_left_alone():
    """Links are judged some at a time, between messages of others."""
    world = World(credentials=[expiring()])
    alice = world.peer("alice", lines=True, **user("alice", seconds=60))
    stranger = world.connects("bob", lines=True)
    before = alice.expires_at
    alice.close("left")
    world.unix_ahead += 1000
    follow_wall([alice, stranger], 1000.0, Renewals(world.now), world.now)
    assert (alice.expires_at, stranger.expires_at) == (before, NEVER)
    assert alice.hears_nothing()
