"""New rules hold at once, for those too who are here: whose credential is gone goes, and nobody else notices."""

from typing import Any

import pytest

from sigd.relay.access import Access
from sigd.relay.credentials import Caller
from sigd.relay.ice import Vendor
from sigd.relay.rates import Rates
from sigd.wire.errors import ErrorCode
from sigd.wire.messages import Register
from tests.relay.issued import (
    EACH_KIND,
    EVERY_KIND,
    NORTH,
    SOUTH,
    UNIX_NOW,
    certificate,
    claims,
    expiring,
    jwt_of,
    static,
    unix,
    user,
    web,
)
from tests.relay.world import Peer, World


def everybody(world: World) -> list[Peer]:
    """A peer of each kind of credential."""
    shown: list[tuple[dict[str, Any], Caller | None]] = [
        ({"token": "tökén"}, None),
        (user("b"), None),
        ({"jwt": jwt_of(NORTH, claims("c"))}, None),
        ({}, Caller(["d"], expires=UNIX_NOW + 3600)),
        ({}, Caller(uid=1000)),
    ]
    return [
        world.peer(name, lines=True, comes_as=caller, **members)
        for name, (members, caller) in zip("abcde", shown, strict=True)
    ]


def gone(peers) -> str:
    """Who of them was closed for its credential."""
    closed = [peer for peer in peers if peer.closing]
    for peer in closed:
        answer = peer.hears()
        assert (answer["code"], answer["reconnect"]) == ("auth-failed", False)
    assert all(peer.hears_nothing() for peer in peers)
    return "".join(peer.id for peer in closed)


@pytest.mark.parametrize(
    ("credentials", "leave"),
    [
        ([static("tökén"), expiring(), web(), certificate(), unix([1000])], ""),
        ([unix([1000]), certificate(), web(), expiring(), static("tökén")], ""),
        ([static("tökén", "new"), expiring(SOUTH, NORTH), web(), certificate("d", "x"), unix([1000, 1001])], ""),
        ([static("new"), *EVERY_KIND[1:]], "a"),
        ([static("tökén", register=["b*"]), *EVERY_KIND[1:]], "a"),
        ([static("tökén", file="moved"), *EVERY_KIND[1:]], "a"),
        ([EVERY_KIND[0], expiring(SOUTH), *EVERY_KIND[2:]], "b"),
        ([EVERY_KIND[0], expiring(register=["cam*"]), *EVERY_KIND[2:]], "b"),
        ([*EVERY_KIND[:2], web(key=SOUTH), *EVERY_KIND[3:]], "c"),
        ([*EVERY_KIND[:2], web(key=SOUTH), web(key=NORTH), *EVERY_KIND[3:]], ""),
        ([*EVERY_KIND[:2], web(issuer="https://b"), *EVERY_KIND[3:]], "c"),
        ([*EVERY_KIND[:3], certificate("x*"), EVERY_KIND[4]], "d"),
        ([*EVERY_KIND[:3], certificate(register=["x"]), EVERY_KIND[4]], "d"),
        ([*EVERY_KIND[:4], unix([1001])], "e"),
        ([*EVERY_KIND[:4], unix(groups=[44])], "e"),
        ([static("unrelated", file="unrelated")], "abcde"),
    ],
)
def test_whose_credential_is_gone_goes_and_nobody_else_notices(credentials, leave):
    world = World(credentials=EVERY_KIND)
    peers = everybody(world)
    assert "".join(world.would_end(credentials)) == leave
    assert world.changes(credentials=credentials) == len(leave)
    assert gone(peers) == leave
    for peer in peers:
        assert (world.router.registry.find(str(peer.id)) is peer) is (peer.id not in leave)
    assert world.router.errors[ErrorCode.AUTH_FAILED] == len(leave)


def test_who_stays_is_still_its_credential():
    world = World(credentials=[expiring(NORTH)])
    old = world.peer("alice", **user("alice"))
    world.changes(credentials=[expiring(SOUTH, NORTH)])
    assert world.connects("x").registers("alice", **user("alice", secret=SOUTH))["type"] == "registered"
    assert old.reason == "replaced"


def test_what_it_may_is_what_the_new_rules_say():
    world = World(credentials=[static("t")])
    alice, bob = world.peer("alice", token="t"), world.peer("bob", token="t")
    alice.says({"type": "bye", "to": "bob"}, {"type": "peers"})
    assert bob.hears()["from"] == "alice"
    assert alice.hears()["code"] == "forbidden"
    world.changes(credentials=[static("t", talk=["carol"], discover=True)])
    alice.says({"type": "bye", "to": "bob"}, {"type": "peers"})
    assert alice.hears()["code"] == "forbidden"
    assert alice.hears()["type"] == "peers"
    assert bob.hears_nothing()


def test_who_has_not_registered_yet_is_judged_by_the_new_rules():
    world = World(credentials=[static("old")])
    early = [world.connects("early"), world.connects("early")]
    world.changes(credentials=[static("new")])
    assert early[0].registers("alice", token="old")["code"] == "auth-failed"
    assert early[1].registers("alice", token="new")["type"] == "registered"


@pytest.mark.parametrize("credentials", [(), (static("t"),)], ids=["open", "closed"])
def test_who_is_denied_now_goes(credentials):
    world = World(credentials=credentials)
    cam, admin = world.peer("cam", token="t"), world.peer("admin1", token="t")
    assert world.changes(credentials=credentials, deny=["admin*"]) == 1
    assert gone([cam, admin]) == "admin1"
    assert world.connects("x").registers("admin1", token="t")["code"] == "auth-failed"
    world.changes(credentials=credentials)
    assert world.connects("x").registers("admin1", token="t")["type"] == "registered"


# -- from open to closed, and back


def test_with_the_first_credentials_all_go_who_have_shown_none():
    world = World()
    peers, stranger = [world.peer("alice"), world.peer("bob", token="t")], world.connects("stranger")
    assert world.changes(credentials=[static("t")]) == 2
    assert gone(peers) == "alicebob"
    stranger.says({"type": "peers"})
    assert stranger.hears()["code"] == "not-registered"
    assert stranger.registers("alice", token="t")["type"] == "registered"


def test_without_credentials_any_more_nobody_goes_and_nothing_expires():
    world = World(credentials=EVERY_KIND)
    peers = everybody(world)
    assert world.changes() == 0
    assert gone(peers) == ""
    world.passes(3700)
    assert not any(peer.closing for peer in peers)
    assert "expiresMs" not in peers[1].registers("b")
    peers[1].says({"type": "peers", "prefix": "a"})
    assert peers[1].hears()["peers"] == [{"id": "a"}]


def test_a_claim_that_waits_is_refused_when_credentials_are_needed():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice", "ref": "c"})
    alice.hears()
    world.changes(credentials=[static("t")])
    assert claimant.hears()["ref"] == "c"
    assert claimant.hears_nothing()
    assert alice.reason == "auth-failed"
    assert world.router.registry.find("alice") is None
    assert not claimant.held
    assert claimant.registers("alice", token="t")["type"] == "registered"


def test_a_claim_that_waits_does_not_get_what_is_denied_now():
    world = World()
    admin, claimant = world.peer("admin"), world.connects("claimant")
    claimant.says({"type": "register", "id": "admin", "ref": "c"})
    admin.hears()
    assert world.changes(deny=["admin"]) == 1
    assert gone([admin]) == "admin"
    answer = claimant.hears()
    assert (answer["code"], answer["ref"]) == ("id-taken", "c")
    assert world.router.registry.find("admin") is None
    assert claimant.registers("admin")["code"] == "auth-failed"


def test_a_claim_that_waits_goes_on_waiting_where_nothing_changes_for_it():
    world = World()
    alice, claimant = world.peer("alice"), world.connects("claimant")
    claimant.says({"type": "register", "id": "alice"})
    alice.hears()
    world.changes(deny=["bob"])
    assert claimant.hears_nothing()
    assert claimant.claim is not None
    world.passes(3.25)
    assert claimant.hears()["type"] == "registered"


# -- time


@pytest.mark.parametrize(("shown", "caller"), EACH_KIND[1:4])
def test_new_rules_leave_the_time_that_it_has(shown, caller):
    world = World(credentials=EVERY_KIND)
    alice = world.peer("alice", lines=True, comes_as=caller, **shown)
    world.passes(600)
    world.changes(credentials=EVERY_KIND)
    assert alice.registers("alice")["expiresMs"] == 3_030_000
    world.passes(3030.25)
    assert alice.hears()["code"] == "auth-expired"


@pytest.mark.parametrize("jump", [86_400, -86_400])
def test_a_reload_judges_who_is_here_by_the_wall_clock(jump):
    world = World(credentials=EVERY_KIND)
    peers = everybody(world)
    world.unix_ahead += jump
    assert world.changes(credentials=EVERY_KIND) == 0
    world.passes(0.25)
    expired = ["", "auth-expired", "auth-expired", "auth-expired", ""]
    assert [peer.reason for peer in peers] == (expired if jump > 0 else [""] * 5)
    world.passes(3600 - min(jump, 0) + 30.25)
    assert [peer.reason for peer in peers] == expired


# -- caps


def test_new_caps_hold_for_who_comes_next():
    world = World()
    crowd = [world.connects("192.0.2.7") for _ in range(10)]
    world.changes(max_unregistered_per_address=5)
    assert not any(link.closing for link in crowd)
    newcomer = world.connects("192.0.2.7")
    assert [link.closing for link in crowd].count(True) == 1
    assert not newcomer.closing


def test_who_is_trusted_now_is_not_counted_and_who_is_not_any_more_is():
    world = World(max_unregistered_per_address=2, trusted=("10.0.0.0/8",))
    crowd = [world.connects("10.0.0.1") for _ in range(4)]
    assert not any(link.closing for link in crowd)
    world.changes(max_unregistered_per_address=2)
    crowd.append(world.connects("10.0.0.1"))
    assert [link.closing for link in crowd] == [False, False, False, True, False]
    world.changes(max_unregistered_per_address=2, trusted=("10.0.0.1",))
    crowd.append(world.connects("10.0.0.1"))
    assert [link.closing for link in crowd] == [False, False, False, True, False, False]


def test_locks_and_strikes_outlive_new_rules():
    world = World(credentials=[static("t")])
    for _ in range(5):
        world.connects("192.0.2.7").registers("alice", token="guessed")
    world.changes(credentials=[static("t")])
    assert "retryAfterMs" in world.connects("192.0.2.7").registers("alice", token="t")


# -- STUN and TURN


def test_news_of_servers_go_to_every_peer_and_to_nobody_twice():
    world = World(vendor=Vendor(["stun:old"], [], None, 0))
    alice, stranger = world.connects("alice"), world.connects("stranger", lines=True)
    assert alice.registers("alice")["iceServers"] == [{"urls": ["stun:old"]}]
    world.changes()
    world.passes(0.5)
    assert alice.hears_nothing()
    world.changes(vendor=Vendor(["stun:new"], [], None, 0))
    world.passes(0.5)
    assert alice.hears() == {"type": "iceServers", "iceServers": [{"urls": ["stun:new"]}]}
    world.changes(vendor=Vendor([], [], None, 0))
    world.passes(0.5)
    assert alice.hears() == {"type": "iceServers", "iceServers": []}
    world.passes(20)
    assert alice.hears_nothing()
    assert stranger.hears_nothing()


def test_whose_credential_is_gone_hears_no_news():
    world = World(credentials=[static("t")])
    alice = world.peer("alice", token="t")
    world.changes(credentials=[static("u")], vendor=Vendor(["stun:new"], [], None, 0))
    world.passes(1)
    assert alice.hears()["code"] == "auth-failed"
    assert alice.hears_nothing()


def test_a_claim_over_datagrams_is_refused_by_rules_that_forbid_it():
    """Its link is not counted as one that has not registered until it waits: rules have to find it all the same."""
    world = World()
    alice, claims = world.peer("alice"), Peer(world, "192.0.2.7", lines=False)
    world.router.admission.origins.join(claims.origin)
    world.router.admission.register(claims, Register(id="alice"), world.now)
    assert [*world.router.admission.unregistered] == [claims]
    assert claims.hears_nothing()
    world.changes(credentials=[static("t")])
    assert claims.hears()["code"] == "id-taken"
    assert alice.closing


def test_a_link_that_ends_while_others_are_judged_is_not_judged():
    """Rules hold link by link, between messages of others: one that says goodbye meanwhile is not refused for them."""
    world = World(credentials=[static("t")])
    alice, bob = world.peer("alice", token="t"), world.peer("bob", token="t")
    access = Access([static("other")], (), Rates.of(world.router.limits))
    judged = world.router.admission.change(access, world.router.admission.vendor, world.now)
    assert next(judged)
    bob.close("left")
    assert [*judged] == []
    assert (alice.reason, bob.reason) == ("auth-failed", "left")
