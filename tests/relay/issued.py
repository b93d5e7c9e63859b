"""Credentials as an operator configures them, and what a client shows of each."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sigd.config import Limits
from sigd.relay.credentials import (
    Caller,
    ClientCertificate,
    Credential,
    ExpiringToken,
    Grant,
    Permissions,
    Proof,
    StaticToken,
    UnixCaller,
)
from sigd.relay.rates import Rates
from sigd.relay.web_tokens import WebToken
from sigd.wire.messages import Register

RATES = Rates.of(Limits())

NORTH = b"north-north-north-north-north-north"
SOUTH = b"south-south-south-south-south-south"

UNIX_NOW = 1_700_001_000
"""What a new world's clock on the wall says."""

ISSUER, AUDIENCE = "https://id.example", "sigd"

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def rule(
    register: Sequence[str] = ("*",), talk: Sequence[str] = ("*",), *, discover: bool = False, rates: Rates = RATES
) -> Permissions:
    """What an entry grants: everything, unless it says otherwise."""
    return Permissions(register, talk, discover=discover, rates=rates)


def static(*tokens: str, file: str = "static", **granted: Any) -> StaticToken:
    """An entry of static tokens."""
    return StaticToken(file, rule(**granted), [token.encode() for token in tokens])


def expiring(*secrets: bytes, file: str = "expiring", **granted: Any) -> ExpiringToken:
    """An entry of expiring tokens."""
    return ExpiringToken(file, rule(**granted), secrets or (NORTH,))


def user(peers: str, *, seconds: float = 3600, secret: bytes = NORTH) -> dict[str, Any]:
    """What a client shows that may be `peers` (and talk to the glob behind a colon) for so long from now on."""
    return signed(f"{UNIX_NOW + seconds:.0f}:{peers}", secret)


def signed(name: str, secret: bytes = NORTH) -> dict[str, Any]:
    """What a client shows with this `user`, computed as protocol.md says and not as the server does it."""
    mac = hmac.new(secret, name.encode(), hashlib.sha256).digest()
    return {"user": name, "token": base64.b64encode(mac).decode()}


def web(algorithm: str = "HS256", key: bytes = NORTH, **more: Any) -> WebToken:
    """An entry of web tokens."""
    named = {"file": "jwt", "issuer": ISSUER, "audience": AUDIENCE, "claim": "sub"}
    named |= {member: more.pop(member) for member in named.keys() & more.keys()}
    file = named.pop("file")
    return WebToken(file, rule(**more), algorithm=algorithm, key=key, **named)


def claims(sub: Any = "alice", **more: Any) -> dict[str, Any]:
    """What a good web token says; members that are None it does not say."""
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": sub, "exp": UNIX_NOW + 3600, **more}
    return {member: value for member, value in said.items() if value is not None}


def jwt_of(key: bytes | PrivateKey, said: Any, algorithm: str = "HS256", **header: Any) -> str:
    """A web token, whatever it says: PyJWT would refuse to make some of these."""
    head = msgspec.json.encode({"typ": "JWT", "alg": algorithm, **header})
    body = said if isinstance(said, bytes) else msgspec.json.encode(said)
    text = segment(head) + b"." + segment(body)
    made = jwt.get_algorithm_by_name(algorithm)
    return (text + b"." + segment(made.sign(text, made.prepare_key(key)))).decode()


def segment(data: bytes) -> bytes:
    """Bytes as a web token carries them."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def public_pem(key: PrivateKey) -> bytes:
    """What the issuer publishes."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def certificate(*names: str, register: Sequence[str] = ("{name}",), **granted: Any) -> ClientCertificate:
    """An entry for client certificates."""
    return ClientCertificate(names or ("*",), rule(register, **granted))


def unix(users: Sequence[int] = (), groups: Sequence[int] = (), **granted: Any) -> UnixCaller:
    """An entry for users of this machine."""
    return UnixCaller(frozenset(users), frozenset(groups), rule(**granted))


def registering(**members: Any) -> Register:
    """A `register`."""
    return msgspec.convert({"type": "register", **members}, Register)


def shows(credential: Credential, caller: Caller | None = None, **members: Any) -> Proof | None:
    """What a credential makes of what a client shows."""
    return credential.prove(registering(**members), caller, UNIX_NOW)


def proof_of(credential: Credential, caller: Caller | None = None, **members: Any) -> Proof:
    """The same, which has to be something."""
    proof = shows(credential, caller, **members)
    assert proof is not None
    return proof


def grant_of(credential: Credential, caller: Caller | None = None, **members: Any) -> Grant:
    """What that is worth, which has to be something."""
    grant = credential.grant(proof_of(credential, caller, **members))
    assert grant is not None
    return grant


EVERY_KIND: Final = (static("tökén"), expiring(), web(), certificate(), unix([1000]))
"""An entry of each kind."""

EACH_KIND: Final = [
    pytest.param({"token": "tökén"}, None, id="token"),
    pytest.param(user("alice"), None, id="hmac"),
    pytest.param({"jwt": jwt_of(NORTH, claims("alice"))}, None, id="jwt"),
    pytest.param({}, Caller(["alice"], expires=UNIX_NOW + 3600), id="certificate"),
    pytest.param({}, Caller(uid=1000), id="unix"),
]
"""What alice shows of each, and what her transport knows of her."""
