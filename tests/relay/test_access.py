"""The rules in force: which credential is asked, what it grants, which ID is picked."""

import re

import pytest

from sigd.relay.access import Access
from sigd.relay.credentials import Caller, Proof, Seal
from sigd.relay.globs import allows
from sigd.wire.ids import is_peer_id
from tests.relay.issued import (
    NORTH,
    RATES,
    SOUTH,
    UNIX_NOW,
    certificate,
    claims,
    expiring,
    jwt_of,
    registering,
    static,
    unix,
    user,
    web,
)


def access(*credentials, deny=()) -> Access:
    """Rules with these credentials."""
    return Access(credentials, deny, RATES)


def proves(rules: Access, caller=None, **members) -> Proof | None:
    """What the rules make of what a client shows."""
    return rules.prove(registering(**members), caller, UNIX_NOW)


def grants(rules: Access, peer, caller=None, **members) -> bool:
    """Whether who shows this may be `peer`."""
    return rules.grant(proves(rules, caller, **members), peer) is not None


# -- what is shown


EVERY_KIND = [static("t"), expiring(), web(), certificate(), unix([1000])]
TOKEN = jwt_of(NORTH, claims("alice"))
BY_CERTIFICATE, BY_KERNEL = Caller(["alice"]), Caller(uid=1000)


@pytest.mark.parametrize(
    ("members", "caller", "kind"),
    [
        ({"token": "t"}, None, "token"),
        (user("alice"), None, "hmac"),
        ({"jwt": TOKEN}, None, "jwt"),
        ({}, BY_CERTIFICATE, "certificate"),
        ({}, BY_KERNEL, "unix"),
        ({}, None, None),
        ({}, Caller([]), None),
        ({}, Caller(uid=1001), None),
        ({"token": "t"}, BY_CERTIFICATE, "token"),
        ({"token": "wrong"}, BY_CERTIFICATE, None),
        ({"token": "wrong"}, BY_KERNEL, None),
        ({"token": ""}, BY_KERNEL, None),
        ({"user": ""}, BY_KERNEL, None),
        ({"jwt": ""}, BY_KERNEL, None),
        ({"user": "x", "token": "t"}, None, None),
        ({"jwt": "x", "token": "t"}, None, None),
        ({"jwt": TOKEN, "token": "wrong"}, None, "jwt"),
        ({"jwt": TOKEN, "user": "x", "token": "wrong"}, None, "jwt"),
    ],
    ids=lambda value: f"{value.names or value.uid}" if isinstance(value, Caller) else str(value),
)
def test_what_is_shown_says_which_credential_is_asked(members, caller, kind):
    """And no other: a wrong token is not made good by the certificate below it, nor is it tried as two things."""
    proof = proves(access(*EVERY_KIND), caller, **members)
    assert (proof.credential[0] if proof else None) == kind


@pytest.mark.parametrize("members", [{"token": "t"}, user("alice"), {"jwt": TOKEN}, {}], ids=str)
def test_without_an_entry_of_its_kind_it_is_nothing(members):
    for left_out in EVERY_KIND:
        rules = access(*(entry for entry in EVERY_KIND if entry is not left_out))
        proofs = [proves(rules, caller, **members) for caller in (None, BY_CERTIFICATE, BY_KERNEL)]
        assert left_out.key not in [proof.credential for proof in proofs if proof]


def test_several_entries_of_a_kind_are_all_asked():
    rules = access(
        static("one", file="a", register=["a*"]),
        static("two", file="b", register=["b*"]),
        expiring(NORTH, file="c", register=["c*"]),
        expiring(SOUTH, file="d", register=["d*"]),
    )
    assert grants(rules, "a1", token="one")
    assert grants(rules, "b1", token="two")
    assert not grants(rules, "a1", token="two")
    assert grants(rules, "c1", **user("*", secret=NORTH))
    assert grants(rules, "d1", **user("*", secret=SOUTH))
    assert not grants(rules, "c1", **user("*", secret=SOUTH))


def test_several_keys_of_one_file_are_one_entry():
    rules = access(web(key=NORTH), web(key=SOUTH))
    for key in (NORTH, SOUTH):
        assert grants(rules, "alice", jwt=jwt_of(key, claims("alice")))
    proof = proves(rules, jwt=jwt_of(SOUTH, claims("alice")))
    assert access(web(key=NORTH)).grant(proof, "alice") is None


def test_entries_for_certificates_add_up():
    rules = access(
        certificate("cam*"), certificate("*.example", register=["dvr*"]), certificate("cam1", register=["x"])
    )
    both = Caller(["cam1", "a.example"])
    assert [peer for peer in ("cam1", "dvr1", "x", "cam2") if grants(rules, peer, both)] == ["cam1", "dvr1", "x"]
    assert not grants(rules, "dvr1", Caller(["cam1"]))


def test_entries_for_users_add_up():
    rules = access(unix([1000], register=["a"]), unix(groups=[44], register=["b"], discover=True))
    member = Caller(uid=1000, groups=frozenset({44}))
    assert [peer for peer in ("a", "b", "c") if grants(rules, peer, member)] == ["a", "b"]
    assert not grants(rules, "b", Caller(uid=1000))
    allowed = rules.grant(proves(rules, member), "b")
    assert allowed is not None
    assert allowed.discover


# -- what it is worth


def test_without_credentials_everybody_may_be_anybody():
    rules = access()
    assert rules.open
    assert proves(rules, token="x") is None
    grant = rules.grant(None, "anybody")
    assert grant is rules.stranger
    assert (grant.proof, grant.talk, grant.discover, grant.rates) == (None, None, True, RATES)
    assert allows(grant.register, "anybody")
    assert grant.fingerprint == ()


def test_with_credentials_who_shows_nothing_may_nothing():
    rules = access(static("t"))
    assert not rules.open
    assert rules.grant(None, "anybody") is None
    assert rules.grant(None, None) is None
    assert not rules.stranger.discover


def test_what_is_shown_is_worth_what_its_own_entry_says():
    rules = access(static("t", register=["cam*"]))
    assert grants(rules, "cam1", token="t")
    assert not grants(rules, "dvr1", token="t")
    proof = proves(rules, token="t")
    assert rules.grant(proof, None) is not None
    assert access(static("t", file="elsewhere")).grant(proof, "cam1") is None
    assert access(expiring(b"t", file="static")).grant(proof, "cam1") is None


@pytest.mark.parametrize("credentials", [(), (static("t"),)], ids=["open", "closed"])
def test_who_is_denied_is_nobody(credentials):
    rules = access(*credentials, deny=["admin", "root*"])
    assert [peer for peer in ("admin", "root", "root2", "admin2", "cam") if grants(rules, peer, token="t")] == [
        "admin2",
        "cam",
    ]


# -- which ID is picked


def picked(rules: Access, **members) -> str | None:
    """Which ID who shows this gets, having named none."""
    grant = rules.grant(proves(rules, **members), None)
    assert grant is not None
    return rules.pick(grant)


def test_a_stranger_gets_an_id_that_nobody_guesses():
    ids = {picked(access()) for _ in range(100)}
    assert len(ids) == 100
    assert all(peer and is_peer_id(peer) and len(peer) == 16 for peer in ids)


@pytest.mark.parametrize(
    ("entry", "shown", "pattern"),
    [
        (["*"], "cam1", r"cam1"),
        (["*"], "cam*", r"cam[0-9a-f]{16}"),
        (["*"], "*.cam", r"[0-9a-f]{16}\.cam"),
        (["*"], "a*b", r"a[0-9a-f]{16}b"),
        (["*"], "a*b*c", r"a[0-9a-f]{16}bc"),
        (["*"], "*", r"[0-9a-f]{16}"),
        (["*"], "**", r"[0-9a-f]{16}"),
        (["cam*"], "*", r"cam[0-9a-f]{16}"),
        (["cam*"], "cam1", r"cam1"),
        (["dvr*", "cam*"], "cam1", r"cam1"),
        (["c*"], "cam*", r"cam[0-9a-f]{16}"),
        (["cam1", "cam2"], "*", r"cam1"),
        (["cam1", "cam2"], "*2", r"cam2"),
        (["*"], "a" * 47 + "*", "a" * 47 + r"[0-9a-f]{16}"),
    ],
)
def test_what_is_picked_is_what_the_credential_allows(entry, shown, pattern):
    peer = picked(access(expiring(register=entry)), **user(shown))
    assert peer is not None
    assert re.fullmatch(pattern, peer)
    assert grants(access(expiring(register=entry)), peer, **user(shown))


@pytest.mark.parametrize(
    ("entry", "shown", "deny"),
    [
        (["*"], "a" * 49 + "*", []),
        (["a*"], "b*", []),
        (["*"], "cam1", ["cam1"]),
        (["*"], "cam*", ["c*"]),
        (["*"], "*", ["*"]),
    ],
)
def test_sometimes_there_is_none_to_pick(entry, shown, deny):
    assert picked(access(expiring(register=entry), deny=deny), **user(shown)) is None


def test_a_list_of_ids_is_tried_in_order():
    rules = access(web(claim="peers"), deny=["cam1"])
    assert picked(rules, jwt=jwt_of(NORTH, claims(peers=["cam1", "cam2", "cam3"]))) == "cam2"
    assert picked(rules, jwt=jwt_of(NORTH, claims(peers=[]))) is None


# -- seals: what stands in for a token that is not to be seen


class Made(Seal):
    """A seal that was made with this token."""

    def __init__(self, token: bytes) -> None:
        super().__init__()
        self._token = token

    def made_with(self, token: bytes, register) -> bool:
        return token == self._token


def sealed(shown, *, only: bool = True) -> Caller:
    """Who has the token of what is shown, and does not show it."""
    return Caller(seal=Made(shown["token"].encode()), sealed_only=only)


def test_a_seal_stands_in_for_the_token():
    shown = user("alice")
    caller = sealed(shown)
    assert grants(access(expiring()), "alice", caller, user=shown["user"])
    assert caller.seal is not None
    assert caller.seal.token == shown["token"].encode()
    assert not grants(access(expiring()), "bob", caller, user=shown["user"])


def test_a_seal_with_another_token_proves_nothing():
    caller = sealed(user("alice", secret=SOUTH))
    assert proves(access(expiring()), caller, user=user("alice")["user"]) is None
    assert caller.seal is not None
    assert caller.seal.token == b""


def test_a_seal_does_not_stand_beside_a_token():
    shown = user("alice")
    assert proves(access(expiring()), sealed(shown), **shown) is None
    assert proves(access(expiring()), sealed(shown, only=False), **shown | {"token": "wrong"}) is None


@pytest.mark.parametrize(
    "members",
    [
        {"token": "a-good-long-token"},
        {"jwt": jwt_of(NORTH, claims("alice"))},
        user("alice"),
        {"user": user("alice")["user"]},
        {},
    ],
    ids=["token", "jwt", "hmac in plain text", "user alone", "nothing"],
)
def test_where_only_seals_count_nothing_else_does(members):
    rules = access(static("a-good-long-token"), expiring(), web())
    assert proves(rules, Caller(sealed_only=True), **members) is None
    assert proves(rules, Caller(seal=Made(b"another"), sealed_only=True), **members) is None


def test_nor_a_web_token_behind_a_user():
    """Else who shows one beside any `user` would have a link whose datagrams nobody has authenticated."""
    rules = access(expiring(), web())
    members = {"user": user("alice")["user"], "jwt": jwt_of(NORTH, claims("alice"))}
    assert proves(rules, Caller(sealed_only=True), **members) is None


def test_which_token_a_seal_was_made_with_can_be_found_out_alone():
    shown = user("alice")
    seal = Made(shown["token"].encode())
    access(static("a-good-long-token"), expiring()).unseal(shown["user"], seal)
    assert seal.token == shown["token"].encode()
    seal = Made(b"another")
    access(expiring()).unseal(shown["user"], seal)
    assert seal.token == b""
