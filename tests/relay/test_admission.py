"""Registering with a credential: who gets in, under which ID, and whom it may talk to."""

import pytest

from sigd.relay.credentials import Caller
from sigd.relay.link import State
from tests.relay.issued import (
    EACH_KIND,
    EVERY_KIND,
    NORTH,
    certificate,
    claims,
    expiring,
    jwt_of,
    segment,
    signed,
    static,
    user,
)
from tests.relay.world import World

# -- getting in


@pytest.mark.parametrize("lines", [False, True], ids=["prefixed", "lines"])
@pytest.mark.parametrize(("shown", "caller"), EACH_KIND)
def test_each_kind_lets_its_owner_in(shown, caller, lines):
    world = World(credentials=EVERY_KIND)
    alice, bob = world.connects("alice", comes_as=caller, lines=lines), world.peer("bob", token="tökén")
    answer = alice.registers("alice", ref="1", **shown)
    assert (answer["type"], answer["id"], answer["ref"]) == ("registered", "alice", "1")
    assert alice.state is State.REGISTERED
    alice.says({"type": "message", "to": "bob", "data": 1})
    assert bob.hears() == {"type": "message", "from": "alice", "data": 1}


@pytest.mark.parametrize(
    ("shown", "caller"),
    [
        ({}, None),
        ({"token": "token"}, None),
        ({"token": "t\u00f6ke\u0301n"}, None),
        ({"token": ""}, None),
        ({"user": user("alice")["user"]}, None),
        ({"token": user("alice")["token"]}, None),
        (user("alice", secret=b"guessed"), None),
        (signed("alice"), None),
        ({"jwt": jwt_of(b"guessed" * 5, claims("alice"))}, None),
        ({"jwt": jwt_of(NORTH, claims("alice", aud="another"))}, None),
        ({"jwt": f"{segment(b'{}')!r}.."}, None),
        ({"jwt": "\u0000"}, None),
        ({}, Caller([])),
        ({}, Caller(uid=1001)),
        ({}, Caller(uid=65534, groups=frozenset({65534}))),
        ({"token": "wrong"}, Caller(["alice"])),
    ],
)
def test_whatever_is_wrong_the_answer_is_the_same_row_17(shown, caller):
    world = World(credentials=EVERY_KIND)
    mallory = world.connects("mallory", comes_as=caller)
    answer = mallory.registers("alice", ref="1", **shown)
    assert answer == {
        "type": "error",
        "code": "auth-failed",
        "message": "the credential is not accepted for this ID",
        "ref": "1",
        "reconnect": False,
    }
    assert mallory.closing
    assert world.router.registry.find("alice") is None


@pytest.mark.parametrize(
    ("shown", "caller"),
    [
        (user("alice"), None),
        (user("al*"), None),
        ({"jwt": jwt_of(NORTH, claims("alice"))}, None),
        ({}, Caller(["alice"])),
    ],
    ids=["hmac", "glob", "jwt", "certificate"],
)
def test_the_credential_of_another_id_is_none_row_19(shown, caller):
    world = World(credentials=EVERY_KIND)
    assert world.connects("x", comes_as=caller).registers("bob", **shown)["code"] == "auth-failed"
    assert world.connects("x", comes_as=caller).registers("alice", **shown)["type"] == "registered"


@pytest.mark.parametrize("member", ["token", "user", "jwt"])
@pytest.mark.parametrize("value", [5, True, ["t"], {"t": 1}])
def test_a_credential_is_a_string(member, value):
    world = World(credentials=EVERY_KIND)
    alice = world.connects("alice")
    assert alice.registers("alice", **{member: value})["code"] == "bad-message"
    assert not alice.closing
    assert alice.registers("alice", token="tökén")["type"] == "registered"


def test_a_credential_that_is_null_is_none():
    world = World(credentials=EVERY_KIND)
    alice = world.connects("alice", comes_as=Caller(uid=1000))
    assert alice.registers("alice", token=None, user=None, jwt=None)["type"] == "registered"


def test_half_a_surrogate_pair_is_no_token():
    world = World(credentials=EVERY_KIND)
    alice = world.connects("alice")
    alice.says(b'{"type":"register","id":"alice","token":"\\ud800"}')
    assert alice.hears()["code"] == "bad-message"


def test_whoever_is_not_registered_may_nothing():
    world = World(credentials=EVERY_KIND)
    stranger, bob = world.connects("stranger"), world.peer("bob", token="tökén")
    for message in (
        {"type": "message", "to": "bob", "data": 1},
        {"type": "peers"},
        {"type": "iceServers"},
    ):
        stranger.says({**message, "ref": "r"})
        assert stranger.hears()["code"] == "not-registered"
    assert bob.hears_nothing()


def test_without_credentials_what_is_shown_does_not_matter():
    world = World()
    answer = world.connects("alice").registers("alice", token="x", user="y", jwt="z")
    assert answer["type"] == "registered"
    assert "expiresMs" not in answer


@pytest.mark.parametrize("credentials", [(), (static("t"),)], ids=["open", "closed"])
def test_a_denied_id_is_nobodys(credentials):
    world = World(credentials=credentials, deny=["admin*"])
    alice = world.connects("alice")
    answer = alice.registers("admin1", token="t")
    assert (answer["code"], answer["reconnect"]) == ("auth-failed", False)
    assert alice.closing
    assert world.connects("alice").registers("alice", token="t")["type"] == "registered"


# -- without an id


@pytest.mark.parametrize(
    ("shown", "caller", "expected"),
    [
        (user("cam7"), None, "cam7"),
        ({"jwt": jwt_of(NORTH, claims("cam7"))}, None, "cam7"),
        ({}, Caller(["cam7"]), "cam7"),
        (user("cam*"), None, "cam"),
        ({"token": "tökén"}, None, ""),
        ({}, Caller(uid=1000), ""),
    ],
)
def test_who_names_no_id_gets_the_one_of_its_credential_or_a_new_one(shown, caller, expected):
    world = World(credentials=EVERY_KIND)
    answer = world.connects("x", comes_as=caller).registers(**shown)
    assert answer["type"] == "registered"
    assert answer["id"].startswith(expected)
    assert len(answer["id"]) == (4 if expected == "cam7" else len(expected) + 16)


def test_who_names_no_id_takes_its_own_over():
    world = World(credentials=EVERY_KIND)
    old, new = world.peer("cam7", **user("cam7")), world.connects("new")
    assert new.registers(**user("cam7"))["id"] == "cam7"
    assert old.hears()["code"] == "replaced"


def test_where_there_is_none_to_pick_it_has_to_name_one():
    world = World(credentials=[certificate("*.example")])
    link = world.connects("x", comes_as=Caller(["*.example"]))
    answer = link.registers(ref="1")
    assert (answer["code"], answer["ref"]) == ("auth-failed", "1")
    assert "name one" in answer["message"]


# -- to whom it may talk


def test_whom_it_may_not_talk_to_might_be_here_or_not_row_28():
    world = World(credentials=[expiring(), static("t")])
    viewer, _ = world.peer("viewer", **user("viewer:cam*")), world.peer("dvr1", token="t")
    cam = world.peer("cam1", token="t")
    answers = []
    for to in ("dvr1", "nobody", "viewer", "no id at all\n", ""):
        viewer.says({"type": "offer", "to": to, "sdp": "", "ref": "1"})
        answer = viewer.hears()
        assert answer.pop("to", None) == (to if to.isalnum() else None)
        answers.append(answer)
    assert answers == 5 * [
        {
            "type": "error",
            "code": "forbidden",
            "message": "your credential does not allow this recipient",
            "ref": "1",
        }
    ]
    viewer.says({"type": "offer", "to": "cam1", "sdp": ""})
    assert cam.hears()["from"] == "viewer"
    viewer.says({"type": "offer", "to": "cam2", "sdp": ""})
    assert viewer.hears()["code"] == "peer-unavailable"
    assert world.router.limits_hit == {}


def test_what_is_forbidden_counts_as_no_miss():
    world = World(credentials=[expiring()], misses_per_minute=1)
    viewer = world.peer("viewer", **user("viewer:cam*"))
    viewer.says(*[{"type": "bye", "to": "dvr"}] * 5, {"type": "bye", "to": "cam1"}, {"type": "bye", "to": "cam1"})
    assert [viewer.hears()["code"] for _ in range(7)] == [*["forbidden"] * 5, "peer-unavailable", "rate-limited"]


def test_talking_is_allowed_one_way():
    """A camera may answer everybody; nobody but viewers may call it."""
    world = World(credentials=[static("c", file="c", talk=["*"]), static("v", file="v", talk=["v*"])])
    cam, viewer = world.peer("cam", token="c"), world.peer("v1", token="v")
    viewer.says({"type": "bye", "to": "cam"})
    assert viewer.hears()["code"] == "forbidden"
    cam.says({"type": "bye", "to": "v1"})
    assert viewer.hears() == {"type": "bye", "from": "cam"}


@pytest.mark.parametrize("discover", [True, False])
def test_who_may_list_peers(discover):
    world = World(credentials=[static("t", discover=discover)])
    alice = world.peer("alice", token="t")
    alice.says({"type": "peers", "ref": "1"})
    answer = alice.hears()
    if discover:
        assert answer == {"type": "peers", "ref": "1", "peers": [{"id": "alice"}], "more": False}
    else:
        assert (answer["code"], answer["ref"]) == ("forbidden", "1")
    assert not alice.closing
