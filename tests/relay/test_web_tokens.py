"""JSON Web Tokens: signed by whom it should be, meant for here, and nothing else about them can hurt."""

import hashlib
import hmac
import json
import math
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.globs import allows
from tests.relay.issued import (
    AUDIENCE,
    ISSUER,
    NORTH,
    SOUTH,
    UNIX_NOW,
    claims,
    expiring,
    grant_of,
    jwt_of,
    proof_of,
    public_pem,
    segment,
    shows,
    static,
    web,
)

EC_KEY, OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_PEM, ED_PEM, RSA_PEM = public_pem(EC_KEY), public_pem(ED_KEY), public_pem(RSA_KEY)


@pytest.mark.parametrize(
    ("algorithm", "key", "signs"),
    [("HS256", NORTH, NORTH), ("ES256", EC_PEM, EC_KEY), ("EdDSA", ED_PEM, ED_KEY)],
    ids=["HS256", "ES256", "EdDSA"],
)
def test_a_web_token_of_each_algorithm(algorithm, key, signs):
    entry = web(algorithm, key)
    proof = proof_of(entry, jwt=jwt_of(signs, claims(), algorithm))
    assert (proof.register, proof.talk, proof.expires) == (("alice",), None, UNIX_NOW + 3600)
    head, body, mac = jwt_of(signs, claims(), algorithm).split(".")
    forged = segment(json.dumps(claims("mallory")).encode()).decode()
    for token in (f"{head}.{forged}.{mac}", f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{mac[:-4]}AAAA"):
        assert shows(entry, jwt=token) is None


def test_a_web_token_of_another_key_is_nothing():
    assert shows(web("HS256", NORTH), jwt=jwt_of(SOUTH, claims())) is None
    assert shows(web("ES256", EC_PEM), jwt=jwt_of(OTHER_EC_KEY, claims(), "ES256")) is None
    another = ed25519.Ed25519PrivateKey.generate()
    assert shows(web("EdDSA", ED_PEM), jwt=jwt_of(another, claims(), "EdDSA")) is None


def hs256(key: bytes, said: dict[str, Any], **header: Any) -> str:
    """A token that somebody signs by hand, with what he takes for the key."""
    text = segment(json.dumps({"alg": "HS256", **header}).encode()) + b"." + segment(json.dumps(said).encode())
    return (text + b"." + segment(hmac.digest(key, text, hashlib.sha256))).decode()


ENTRIES = [web("HS256", NORTH), web("ES256", EC_PEM), web("EdDSA", ED_PEM)]


@pytest.mark.parametrize("entry", ENTRIES, ids=["HS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, "HS384", "RS256", "PS256", ["HS256"], {}, 5])
def test_a_web_token_has_no_say_in_how_it_is_checked(entry, alg):
    body = segment(json.dumps(claims()).encode())
    text = segment(json.dumps({"alg": alg}).encode()) + b"." + body
    for mac in (b"", segment(hmac.digest(NORTH, text, "sha256")), segment(hmac.digest(NORTH, text, "sha384"))):
        assert shows(entry, jwt=(text + b"." + mac).decode()) is None


@pytest.mark.parametrize("pem", [EC_PEM, ED_PEM, RSA_PEM], ids=["ES256", "EdDSA", "RS256"])
def test_what_is_public_signs_nothing(pem):
    """RFC 8725, section 2.1: an HMAC with the text of the public key as its secret."""
    for entry in ENTRIES:
        for key in (pem, pem.strip(), pem.replace(b"\n", b"\r\n"), pem.splitlines()[1]):
            assert shows(entry, jwt=hs256(key, claims())) is None
            assert shows(entry, jwt=hs256(key, claims(), kid="../../dev/null", jwk={"kty": "oct"}, x5u="x")) is None


def test_another_algorithm_of_the_right_key_is_nothing():
    assert shows(web("HS256", NORTH * 2), jwt=jwt_of(NORTH * 2, claims(), "HS512")) is None
    assert shows(web("ES256", EC_PEM), jwt=jwt_of(RSA_KEY, claims(), "RS256")) is None


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("HS256", b""),
        ("HS256", b"k" * 31),
        ("HS256", EC_PEM),
        ("HS256", ED_PEM),
        ("HS256", RSA_PEM),
        ("ES256", NORTH),
        ("ES256", b""),
        ("ES256", ED_PEM),
        ("ES256", RSA_PEM),
        ("ES256", public_pem(ec.generate_private_key(ec.SECP384R1()))),
        ("ES256", EC_PEM[:60] + EC_PEM[80:]),
        ("ES256", b"\xff" * 100),
        ("EdDSA", EC_PEM),
        ("EdDSA", NORTH),
        ("EdDSA", ED_PEM.replace(b"PUBLIC", b"PUBLISHED")),
    ],
)
def test_a_key_of_another_kind_is_refused(algorithm, key):
    with pytest.raises(ValueError, match="key"):
        web(algorithm, key)


def test_a_key_of_32_bytes_is_long_enough():
    assert shows(web("HS256", b"k" * 32), jwt=jwt_of(b"k" * 32, claims()))


@pytest.mark.parametrize(("algorithm", "key"), [("ES256", EC_PEM), ("EdDSA", ED_PEM)])
def test_without_cryptography_public_keys_are_refused(monkeypatch, algorithm, key):
    for name in [name for name in sys.modules if name.partition(".")[0] == "jwt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ImportError, match="cryptography"):
        web(algorithm, key)


def test_without_pyjwt_every_key_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ImportError):
        web()


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://id.example.evil"},
        {"iss": "https://id"},
        {"iss": "id"},
        {"iss": ""},
        {"iss": [ISSUER]},
        {"iss": None},
        {"aud": "sig"},
        {"aud": "sigd2"},
        {"aud": []},
        {"aud": ["other"]},
        {"aud": [AUDIENCE, 5]},
        {"aud": {AUDIENCE: 1}},
        {"aud": None},
        {"sub": None},
        {"sub": 5},
        {"sub": ["alice"]},
        {"sub": ""},
        {"exp": None},
        {"exp": str(UNIX_NOW + 3600)},
        {"exp": True},
        {"exp": False},
        {"exp": [UNIX_NOW + 3600]},
        {"exp": {}},
        {"nbf": UNIX_NOW + 31},
        {"nbf": str(UNIX_NOW)},
        {"nbf": True},
        {"nbf": [0]},
        {"jti": 5},
    ],
    ids=str,
)
def test_what_a_web_token_must_say(more):
    assert shows(web(), jwt=jwt_of(NORTH, claims(**more))) is None


@pytest.mark.parametrize(
    "more",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": UNIX_NOW + 0.5},
        {"exp": UNIX_NOW - 9999},
        {"exp": 0},
        {"nbf": UNIX_NOW + 29},
        {"nbf": 0},
        {"iat": UNIX_NOW + 9999},
        {"iat": "yesterday"},
        {"whatever": [[["x"]]]},
    ],
    ids=str,
)
def test_what_a_web_token_may_say(more):
    """Whether it has expired is judged where the link is, by the same clock for every kind."""
    proof = proof_of(web(), jwt=jwt_of(NORTH, claims(**more)))
    assert proof.expires == claims(**more)["exp"]


@pytest.mark.parametrize("member", ["exp", "nbf"])
@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e300", "1" + "0" * 400, "1" + "0" * 5000]
)
def test_times_are_times(member, number):
    body = json.dumps(claims(**{member: "TIME"})).replace('"TIME"', number).encode()
    assert shows(web(), jwt=jwt_of(NORTH, body)) is None


@pytest.mark.parametrize(
    ("claim", "said", "globs"),
    [
        ("sub", {"sub": "cam*"}, ("cam*",)),
        ("peers", {"peers": "cam1"}, ("cam1",)),
        ("peers", {"peers": ["cam1", "dvr*"]}, ("cam1", "dvr*")),
        ("peers", {"peers": []}, ()),
        ("https://example.org/ids", {"https://example.org/ids": ["~"]}, ("~",)),
    ],
)
def test_a_claim_names_the_ids(claim, said, globs):
    proof = proof_of(web(claim=claim), jwt=jwt_of(NORTH, claims(**said)))
    assert proof.register == globs


def test_a_claim_that_names_none_allows_none():
    entry = web(claim="peers")
    grant = grant_of(entry, jwt=jwt_of(NORTH, claims(peers=[])))
    assert not allows(grant.register, "alice")


@pytest.mark.parametrize(
    "peers",
    [
        *(None, "", "a b", "a\n", "cäm", "a" * 65, 5, True, {"a": "b"}, [[]], [["cam1"]]),
        *(["cam1", ""], ["cam1", None], ["cam1", 5], ["cam1", "a b"], [{"cam1": 1}]),
    ],
)
def test_a_claim_that_is_no_globs_is_nothing(peers):
    assert shows(web(claim="peers"), jwt=jwt_of(NORTH, claims(peers=peers))) is None


def test_subject_and_issuer_are_the_credential():
    entry = web(claim="peers")
    first = proof_of(entry, jwt=jwt_of(NORTH, claims("u1", peers="*")))
    same = proof_of(entry, jwt=jwt_of(NORTH, claims("u1", peers="cam1", exp=UNIX_NOW + 60)))
    other = proof_of(entry, jwt=jwt_of(NORTH, claims("u2", peers="*")))
    of_b = jwt_of(NORTH, claims("u1", peers="*", iss="https://b"))
    elsewhere = proof_of(web(claim="peers", issuer="https://b"), jwt=of_b)
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, other.fingerprint, elsewhere.fingerprint}) == 3


def test_another_key_issuer_audience_or_claim_leaves_nothing_of_it():
    proof = proof_of(web(), jwt=jwt_of(NORTH, claims()))
    assert web().grant(proof)
    for other in (web(key=SOUTH), web(issuer="https://b"), web(audience="b"), web(claim="peers")):
        assert other.grant(proof) is None


NESTED = b"[" * 3000 + b"]" * 3000


@pytest.mark.parametrize(
    "token",
    [
        *("", ".", "..", "...", "a.b.c", "a.b.c.d", "é.é.é", "\x00.\x00.\x00", "e30.e30.", "e30.e30.e30", "W10.W10."),
        *("bnVsbA.bnVsbA.", "MQ.MQ.MQ", "////.////.////", "====.====.====", "e" * 4000, "." * 4000, "eyJ.eyJ.eyJ"),
        (segment(NESTED) + b"." + segment(b"{}") + b".").decode(),
        (segment(b'{"alg":' + NESTED + b"}") + b"." + segment(b"{}") + b".").decode(),
        (segment(b'{"alg":"HS256","kid":5}') + b"." + segment(b"{}") + b".").decode(),
        (segment(b'{"alg":"HS256","b64":false,"crit":["b64"]}') + b".." + segment(b"x")).decode(),
        (segment(b'{"alg":"HS256"}\xff') + b"." + segment(b"{}") + b".").decode(),
        jwt_of(NORTH, NESTED),
        jwt_of(NORTH, b'{"iss":' + NESTED + b"}"),
        jwt_of(NORTH, b'{"exp":' + NESTED + b"}"),
        jwt_of(NORTH, b"[]"),
        jwt_of(NORTH, b"null"),
        jwt_of(NORTH, b"\xff"),
        jwt_of(NORTH, b""),
        jwt_of(NORTH, claims(), kid=5),
        jwt_of(NORTH, claims(), crit=["exp"]),
        jwt_of(NORTH, claims(), crit="exp"),
        jwt_of(NORTH, claims()) + "\n",
        " " + jwt_of(NORTH, claims()),
        jwt_of(NORTH, claims()).replace(".", "..", 1),
    ],
)
def test_what_is_no_web_token_is_nothing(token):
    assert all(shows(entry, jwt=token) is None for entry in ENTRIES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(UNIX_NOW),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(said=JSON | st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "peers"]), JSON))
def test_whatever_a_web_token_says_it_is_taken_or_not(said):
    good = claims(peers="*")
    for body in (said, good | said if isinstance(said, dict) else good):
        token = jwt_of(NORTH, json.dumps(body).encode())
        proof = shows(web(claim="peers"), jwt=token)
        assert proof is None or math.isfinite(proof.expires)


@given(header=JSON | st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "b64", "zip", "cty"]), JSON))
def test_whatever_its_header_says_it_is_taken_or_not(header):
    head = segment(json.dumps(header).encode())
    text = head + b"." + segment(json.dumps(claims()).encode())
    for entry in ENTRIES:
        proof = shows(entry, jwt=(text + b"." + segment(hmac.digest(NORTH, text, "sha256"))).decode())
        assert proof is None or header.get("alg") == "HS256"


@given(token=st.text(max_size=60) | st.from_regex(r"\A[A-Za-z0-9_=-]{0,9}(\.[A-Za-z0-9_=-]{0,9}){0,4}\Z"))
def test_whatever_somebody_makes_up_is_nothing(token):
    assert all(shows(entry, jwt=token) is None for entry in ENTRIES)


def test_the_repr_of_an_entry_tells_no_secret():
    for entry in (static("hunter2-hunter2"), expiring(NORTH), web("HS256", NORTH)):
        assert "hunter2" not in repr(entry)
        assert NORTH.decode() not in repr(entry)


def test_a_private_key_is_none_that_tokens_are_checked_with():
    """Whoever put it there would have the server know what the issuer alone should."""
    private = EC_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="key"):
        web("ES256", private)
