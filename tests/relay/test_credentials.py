"""Each kind of credential by itself: what it takes for true, and what that is worth. Web tokens: `test_web_tokens`."""

import hmac
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.credentials import Caller, Proof, token_for
from sigd.relay.globs import allows
from sigd.wire.times import NEVER
from tests.relay.issued import (
    NORTH,
    SOUTH,
    UNIX_NOW,
    certificate,
    claims,
    expiring,
    grant_of,
    jwt_of,
    proof_of,
    shows,
    signed,
    static,
    unix,
    user,
    web,
)

# -- static tokens


def test_a_static_token_is_one_of_the_file():
    entry = static("first", "second")
    assert shows(entry, token="first")
    assert shows(entry, token="second")
    for wrong in ("", "firs", "first ", "First", "firstsecond", "é", "\x00", "ﬁrst", "first\n"):
        assert shows(entry, token=wrong) is None


def test_a_static_token_may_be_any_unicode():
    entry = static("zażółć", "🔑")
    assert shows(entry, token="zażółć")
    assert shows(entry, token="🔑")
    assert shows(entry, token="zaz\u0307ółć") is None


def test_all_tokens_of_an_entry_are_one_credential():
    entry = static("first", "second", file="cameras")
    one, two = proof_of(entry, token="first"), proof_of(entry, token="second")
    third = proof_of(static("third", file="viewers"), token="third")
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != third.fingerprint
    assert one.expires == NEVER


def test_an_entry_without_a_secret_takes_nothing():
    assert shows(static(), token="") is None
    assert shows(static(), token="x") is None


def test_no_proof_holds_the_secret():
    proof = proof_of(static("hunter2-hunter2"), token="hunter2-hunter2")
    assert not any(b"hunter2" in repr(getattr(proof, name)).encode() for name in Proof.__slots__)


# -- expiring tokens


def test_an_expiring_token_is_what_turn_servers_compute():
    """printf 1700004600:cam1 | openssl dgst -sha256 -hmac north -binary | base64."""
    assert token_for(b"north", "1700004600:cam1") == b"FwVuRPQsGRcn6eXKZvopp2JQTGSo1K+zE2u0XbE2ykQ="
    proof = proof_of(expiring(b"north"), user="1700004600:cam1", token="FwVuRPQsGRcn6eXKZvopp2JQTGSo1K+zE2u0XbE2ykQ=")
    assert (proof.register, proof.talk, proof.expires) == (("cam1",), None, 1_700_004_600.0)


def test_what_user_says_is_what_is_shown():
    proof = proof_of(expiring(), **user("cam*:viewer*", seconds=60))
    assert (proof.register, proof.talk, proof.expires) == (("cam*",), ("viewer*",), UNIX_NOW + 60)


def test_whether_it_has_expired_is_not_judged_here():
    proof = proof_of(expiring(), **user("cam1", seconds=-9999))
    assert proof.expires < UNIX_NOW


def test_several_secrets_hold_at_once():
    entry = expiring(NORTH, SOUTH)
    north, south = proof_of(entry, **user("a", secret=NORTH)), proof_of(entry, **user("a", secret=SOUTH))
    assert north.fingerprint == south.fingerprint
    assert north.secret != south.secret
    assert shows(entry, **user("a", secret=b"west")) is None


def test_the_same_globs_are_the_same_credential_however_long_they_hold():
    entry = expiring()
    first, renewed = proof_of(entry, **user("a:b")), proof_of(entry, **user("a:b", seconds=9000))
    others = [proof_of(entry, **user(name)) for name in ("a", "a:c", "b:b", "a*:b")]
    assert first.fingerprint == renewed.fingerprint
    assert all(other.fingerprint != first.fingerprint for other in others)


@pytest.mark.parametrize(
    "members",
    [
        {"user": signed("1700004600:cam1")["user"]},
        {**signed("1700004600:cam1"), "token": ""},
        {**signed("1700004600:cam1"), "user": "1700004600:cam2"},
        {**signed("1700004600:cam1"), "user": "1700004601:cam1"},
        {**signed("1700004600:cam1"), "user": "1700004600:cam1:*"},
        {**signed("1700004600:cam1"), "token": "é"},
        {**signed("1700004600:cam1"), "token": hmac.digest(NORTH, b"1700004600:cam1", "sha256").hex()},
        {**signed("1700004600:cam1"), "token": b64encode(hmac.digest(NORTH, b"1700004600:cam1", "sha1")).decode()},
        signed("1700004600:cam1", b""),
    ],
    ids=["no token", "empty", "id", "time", "talk", "not ascii", "hex", "sha1", "no secret"],
)
def test_what_is_not_signed_is_nothing(members):
    assert shows(expiring(), **members) is None


@given(spoil=st.integers(0, 43), by=st.sampled_from("\n =!A+/b_-"))
def test_a_token_has_one_spelling(spoil, by):
    """A decoder would take several for the same: junk is skipped, and spare bits are ignored."""
    members = user("cam1")
    token = members["token"]
    for other in (token[:spoil] + by + token[spoil:], token[:spoil] + by + token[spoil + 1 :]):
        assert (shows(expiring(), **{**members, "token": other}) is None) is (other != token)


def test_spare_bits_padding_and_the_other_alphabet_are_refused():
    members = user("cam1")
    token = members["token"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    assert token.endswith("=")
    last = alphabet[alphabet.index(token[-2]) ^ 1]  # 256 bits leave two of its six
    same_bits = token[:-2] + last + "="
    assert b64decode(same_bits) == b64decode(token)
    for other in (same_bits, token.rstrip("="), token + "=", token + "\n", " " + token):
        assert shows(expiring(), **{**members, "token": other}) is None


@given(name=st.from_regex(r"[0-9]{1,12}:[A-Za-z0-9_.~*-]{1,64}(:[A-Za-z0-9_.~*-]{1,64})?", fullmatch=True))
def test_every_user_of_the_grammar_is_taken(name):
    proof = shows(expiring(), **signed(name))
    expires, *globs = name.split(":")
    assert proof is not None
    assert proof.expires == int(expires)
    assert [proof.register, proof.talk] == ([(globs[0],), (globs[1],)] if len(globs) > 1 else [(globs[0],), None])


@given(
    name=st.one_of(
        st.text(max_size=40),
        st.text("0123:a*-\n .é", max_size=20),
        st.from_regex(r"\A[0-9]{1,13}:[a-z*]{0,66}(:[a-z* ]{0,2}){0,2}[\n]?\Z"),
    )
)
def test_no_other_user_is_taken_however_well_signed(name):
    """Signed by an operator's script that did not look at what it was asked to sign."""
    fields = name.split(":")
    written = (
        2 <= len(fields) <= 3
        and 1 <= len(fields[0]) <= 12
        and all(c in "0123456789" for c in fields[0])
        and all(1 <= len(glob) <= 64 for glob in fields[1:])
        and all(c.isascii() and (c.isalnum() or c in "_.~*-") for glob in fields[1:] for c in glob)
    )
    assert (shows(expiring(), **signed(name)) is not None) is written


@pytest.mark.parametrize(
    "name",
    [
        *("", ":", "x", "1700004600", "1700004600:", ":cam1", "1700004600::", "1700004600:cam1:", "1700004600::x"),
        *("1700004600:a:b:c", "1700004600:cam1\n", " 1700004600:cam1", "-1:cam1", "+1:cam1", "1.5:cam1", "1e9:cam1"),
        *("1_000:cam1", "٣:cam1", "1700004600:cäm", "1700004600:a b", "1700004600:a\x00", "0x10:cam1", "inf:cam1"),
        *("1000000000000:cam1", "1700004600:" + "a" * 65, "1700004600:a:" + "b" * 65),
    ],
)
def test_what_user_may_not_be(name):
    assert shows(expiring(), **signed(name)) is None


def test_a_secret_that_is_gone_is_worth_nothing():
    before, rotated, gone = expiring(NORTH), expiring(SOUTH, NORTH), expiring(SOUTH)
    proof = proof_of(before, **user("cam1"))
    assert rotated.grant(proof)
    assert gone.grant(proof) is None


# -- client certificates


def test_the_first_name_that_matches_is_the_credential():
    entry = certificate("*.cams.example")
    assert shows(entry, Caller(["dvr.example"])) is None
    assert shows(entry, Caller([])) is None
    proof = proof_of(entry, Caller(["dvr.example", "c1.cams.example", "c2.cams.example"], expires=5e9))
    same = proof_of(entry, Caller(["c1.cams.example"], expires=6e9))
    other = proof_of(entry, Caller(["c2.cams.example"]))
    assert proof.expires == 5e9
    assert proof.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("register", "names", "may", "may_not"),
    [
        (["{name}"], ["cam1"], ["cam1"], ["cam2", "{name}", "*"]),
        (["{name}"], ["cam1", "cam2"], ["cam1", "cam2"], ["cam3"]),
        (["{name}", "dvr*"], ["cam1"], ["cam1", "dvr7"], ["cam2"]),
        (["dvr*"], ["cam1"], ["dvr7"], ["cam1"]),
        (["{name}"], ["urn:uuid:5"], [], ["urn:uuid:5", "urn"]),
        (["{name}"], ["*.example.org"], [], ["a.example.org", "*.example.org", ".example.org"]),
        (["{name}"], ["*"], [], ["anybody"]),
        (["{name}"], ["cam*"], [], ["cam1", "cam"]),
        (["{name}", "dvr"], ["*"], ["dvr"], ["anybody"]),
        (["*"], ["cam1"], ["anybody"], []),
    ],
)
def test_a_name_stands_for_itself(register, names, may, may_not):
    """Certificates of whole domains have a `*` in their names: it is no glob of IDs."""
    entry = certificate(register=register)
    grant = grant_of(entry, Caller(names))
    assert [peer for peer in [*may, *may_not] if allows(grant.register, peer)] == may


def test_names_that_do_not_match_are_no_ids():
    entry = certificate("cam*")
    grant = grant_of(entry, Caller(["cam1", "admin"]))
    assert allows(grant.register, "cam1")
    assert not allows(grant.register, "admin")


def test_a_certificate_whose_name_is_none_any_more_is_worth_nothing():
    proof = proof_of(certificate("cam*"), Caller(["cam1"]))
    assert certificate("c*").grant(proof)
    assert certificate("dvr*").grant(proof) is None
    assert certificate("*").grant(Proof(certificate(), "?")) is None


# -- users of this machine


@pytest.mark.parametrize(
    ("users", "groups", "caller", "taken"),
    [
        ([1000], [], Caller(uid=1000), True),
        ([1000], [], Caller(uid=1001), False),
        ([1000], [], Caller(uid=1001, groups=frozenset({1000})), False),
        ([0], [], Caller(uid=0), True),
        ([], [44], Caller(uid=1001, groups=frozenset({1001, 44})), True),
        ([], [44], Caller(uid=44, groups=frozenset({1001})), False),
        ([], [44], Caller(uid=1001), False),
        ([], [], Caller(uid=0, groups=frozenset({0})), False),
        ([65534], [], Caller(uid=65534), False),
        ([65534, 1000], [65534], Caller(uid=65534, groups=frozenset({65534})), False),
        ([1000], [65534], Caller(uid=1001, groups=frozenset({65534})), False),
        ([1000], [44], Caller(uid=65534, groups=frozenset({44})), False),
        ([1000], [65534], Caller(uid=1000, groups=frozenset({65534})), True),
    ],
)
def test_users_and_groups(users, groups, caller, taken):
    """65534 stands for all users of everybody from another user namespace: nobody in particular."""
    assert (shows(unix(users, groups), caller) is not None) is taken


def test_the_uid_is_the_credential_whichever_group_let_it_in():
    entry = unix([1000], [44])
    one, same = proof_of(entry, Caller(uid=1000)), proof_of(entry, Caller(uid=1000, groups=frozenset({44})))
    other = proof_of(entry, Caller(uid=1001, groups=frozenset({44})))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_user_that_is_listed_no_more_is_worth_nothing():
    proof = proof_of(unix([1000]), Caller(uid=1000))
    assert unix([1000]).grant(proof)
    assert unix([1001]).grant(proof) is None
    assert unix([1000]).grant(Proof(unix(), "?")) is None


# -- what a proof is worth


@pytest.mark.parametrize(
    ("entry", "shown", "may", "may_not"),
    [
        (["*"], "cam1", ["cam1"], ["cam2"]),
        (["cam*"], "*", ["cam1"], ["dvr1"]),
        (["cam*", "dvr*"], "*1", ["cam1", "dvr1"], ["cam2", "x1"]),
        (["*"], "*", ["anybody"], []),
        ([], "*", [], ["anybody"]),
    ],
)
def test_entry_and_credential_both_have_to_allow_an_id(entry, shown, may, may_not):
    credential = expiring(register=entry)
    grant = grant_of(credential, **user(shown))
    assert [peer for peer in [*may, *may_not] if allows(grant.register, peer)] == may


@pytest.mark.parametrize(
    ("entry", "shown", "may", "may_not"),
    [
        (["*"], "x", ["anybody"], []),
        (["*"], "x:*", ["anybody"], []),
        (["*"], "x:v*", ["v1"], ["w1"]),
        (["v*"], "x", ["v1"], ["w1"]),
        (["v*"], "x:*1", ["v1"], ["v2", "w1"]),
        (["v*"], "x:*", ["v1"], ["w1"]),
        ([], "x:*", [], ["anybody"]),
    ],
)
def test_entry_and_credential_both_have_to_allow_a_recipient(entry, shown, may, may_not):
    credential = expiring(talk=entry)
    grant = grant_of(credential, **user(shown))
    assert [peer for peer in [*may, *may_not] if grant.talk is None or allows(grant.talk, peer)] == may


@pytest.mark.parametrize("discover", [True, False])
def test_an_entry_says_the_rest(discover):
    credential = static("t", discover=discover)
    grant = grant_of(credential, token="t")
    assert (grant.discover, grant.rates) == (discover, credential.permissions.rates)


def test_different_kinds_are_different_credentials_whatever_they_are_called():
    """A token in a file `cam1`, a certificate for `cam1`, a user whose number it is: each is another client's."""
    proofs = [
        proof_of(static("t", file="cam1"), token="t"),
        proof_of(certificate(), Caller(["cam1"])),
        proof_of(certificate(), Caller(["uid 1000"])),
        proof_of(unix([1000]), Caller(uid=1000)),
        proof_of(web(issuer="uid", claim="peers"), jwt=jwt_of(NORTH, claims("1000", iss="uid", peers="*"))),
        proof_of(web(issuer="a b", claim="peers"), jwt=jwt_of(NORTH, claims("c", iss="a b", peers="*"))),
        proof_of(web(issuer="a", claim="peers"), jwt=jwt_of(NORTH, claims("b c", iss="a", peers="*"))),
        proof_of(static("t", file="f a:"), token="t"),
        proof_of(expiring(file="f"), **user("a")),
    ]
    assert len({proof.fingerprint for proof in proofs}) == len(proofs)
