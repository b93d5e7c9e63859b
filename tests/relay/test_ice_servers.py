"""Which STUN and TURN servers a peer is told of, and when: what is in them is in `test_ice`."""

import pytest

from sigd.relay.ice import Vendor
from sigd.wire.times import NEVER
from tests.relay.issued import UNIX_NOW, expiring, user
from tests.relay.world import World

STUN = {"urls": ["stun:stun.example.org"]}


def turn(*, ttl: float = 3600, urls: int = 1) -> Vendor:
    """A STUN server and TURN servers, their credentials good for `ttl` seconds."""
    return Vendor(STUN["urls"], [f"turn:turn{number}.example.org" for number in range(urls)], b"shared", ttl)


def expiry(answer) -> int:
    """Until when the TURN credentials in an answer are good, Unix time."""
    return int(answer["iceServers"][-1]["username"].partition(":")[0])


def test_registered_carries_them():
    world = World(vendor=turn())
    answer = world.connects("alice").registers("alice")
    stun, relay = answer["iceServers"]
    assert stun == STUN
    assert relay["urls"] == ["turn:turn0.example.org"]
    assert relay["username"] == f"{UNIX_NOW + 3600}:alice"
    assert relay["credential"]
    assert "expiresMs" not in answer


def test_where_there_are_none_nothing_is_said_of_them():
    assert "iceServers" not in World().connects("alice").registers("alice")


def test_expires_ms_of_registered_is_that_of_the_registration():
    world = World(vendor=turn(), credentials=[expiring()])
    answer = world.connects("alice").registers("alice", **user("alice", seconds=60))
    assert answer["expiresMs"] == 90_000
    assert expiry(answer) == UNIX_NOW + 3600


def test_a_peer_asks_for_fresh_ones():
    world = World(vendor=turn())
    alice = world.peer("alice", keepaliveMs=300_000)
    world.passes(100)
    alice.says({"type": "iceServers", "ref": "1"})
    answer = alice.hears()
    assert (answer["type"], answer["ref"], answer["expiresMs"]) == ("iceServers", "1", 3_600_000)
    assert expiry(answer) == UNIX_NOW + 3700
    alice.says({"type": "iceServers"})
    assert "ref" not in alice.hears()


def test_servers_that_never_expire_do_not_say_when():
    world = World(vendor=Vendor(STUN["urls"], [], None, 0))
    alice = world.connects("alice")
    assert alice.registers("alice")["iceServers"] == [STUN]
    assert alice.renews_at == NEVER
    alice.says({"type": "iceServers", "ref": "1"})
    assert alice.hears() == {"type": "iceServers", "ref": "1", "iceServers": [STUN]}


def test_new_ones_come_60_s_before_the_old_expire():
    world = World(vendor=turn(ttl=600))
    alice = world.connects("alice", lines=True)
    before = alice.registers("alice")
    for _ in range(3):
        world.passes(539.75)
        assert alice.hears_nothing()
        world.passes(0.25)
        answer = alice.hears()
        assert (answer["type"], answer["expiresMs"], "ref" in answer) == ("iceServers", 600_000, False)
        assert expiry(answer) == expiry(before) + 540
        before = answer
    world.passes(300)
    assert alice.hears_nothing()


def test_who_asks_gets_the_next_ones_later():
    world = World(vendor=turn(ttl=600))
    alice = world.peer("alice", lines=True)
    world.passes(500)
    alice.says({"type": "iceServers"})
    alice.hears()
    world.passes(539.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["type"] == "iceServers"


def test_a_renewal_of_the_registration_brings_new_ones():
    world = World(vendor=turn(ttl=600))
    alice = world.peer("alice", lines=True)
    world.passes(500)
    assert expiry(alice.registers("alice")) == UNIX_NOW + 1100
    world.passes(539.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert alice.hears()["type"] == "iceServers"


def test_the_clock_on_the_wall_is_the_turn_servers():
    world = World(vendor=turn(ttl=600))
    alice = world.peer("alice", lines=True)
    world.unix_ahead += 86_400
    world.passes(539.75)
    assert alice.hears_nothing()
    world.passes(0.5)
    assert expiry(alice.hears()) == UNIX_NOW + 86_400 + 1140


@pytest.mark.parametrize("fits", [True, False])
def test_what_does_not_fit_into_registered_comes_when_asked_for(fits):
    world = World(vendor=turn(ttl=600, urls=50))
    other = world.peer("other", lines=True)
    other.says({"type": "iceServers", "ref": "1"})
    size = len(other.wire) - 1
    alice = world.connects("alice", lines=True)
    answer = alice.registers("alice", maxFrame=size if fits else size - 1)
    assert answer["type"] == "registered"
    assert "iceServers" not in answer
    alice.says({"type": "iceServers", "ref": "1"})
    answer = alice.hears()
    assert (answer["ref"], answer.get("code")) == ("1", None if fits else "too-large")
    assert not alice.closing
    assert world.router.limits_hit == {}


def test_where_new_ones_do_not_fit_either_none_come():
    world = World(vendor=turn(ttl=600, urls=50))
    alice = world.peer("alice", lines=True, maxFrame=1024)
    world.passes(1200)
    assert alice.hears_nothing()
    assert alice.renews_at == NEVER
    assert alice.registers("alice", maxFrame=65_536)["iceServers"]
    world.passes(540.25)
    assert alice.hears()["type"] == "iceServers"


def test_they_come_while_a_peer_sends_too_fast():
    world = World(vendor=turn(ttl=600), messages_per_second=1, messages_burst=1)
    alice = world.connects("alice", lines=True)
    alice.registers("alice")
    world.passes(530)
    alice.says(*[{"type": "pong"}] * 64)
    assert alice.hears()["code"] == "rate-limited"
    world.passes(10.25)
    assert alice.held
    assert alice.hears()["type"] == "iceServers"


def test_who_takes_a_contested_id_gets_its_own():
    world = World(vendor=turn())
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    alice.leaves()
    assert claimant.hears()["iceServers"][-1]["username"].endswith(":alice")


def test_who_has_left_is_sent_nothing():
    world = World(vendor=turn(ttl=600))
    alice = world.peer("alice", lines=True)
    alice.says({"type": "unregister"})
    world.passes(600)
    assert alice.hears_nothing()
    assert len(world.router.deadlines) == 0
