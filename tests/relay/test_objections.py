"""Faults of credentials: told to the operator, for the nearest entry, and never with the secret."""

import base64
import hashlib
import hmac
from typing import Any

import pytest

from sigd.relay.access import Access
from sigd.relay.credentials import Caller
from sigd.wire.errors import ErrorCode, Objection
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
    signed,
    static,
    unix,
    user,
    web,
)
from tests.relay.world import World


def objection(*credentials: Any, caller: Caller | None = None, peer: str = "cam", **members: Any) -> Objection:
    """Return the objection of these credentials to a refused `register`."""
    return Access(credentials, ("root*",), RATES).objection(registering(**members), caller, peer, UNIX_NOW)


def made(name: str, how: Any = hashlib.sha256, secret: bytes = NORTH) -> bytes:
    """The digest of a `user`."""
    return hmac.new(secret, name.encode(), how).digest()


RIGHT = f"{UNIX_NOW + 3600}:cam"
BASE64 = base64.b64encode(made(RIGHT)).decode()
NAMES = [f"{UNIX_NOW + number}:cam" for number in range(99)]
URL_NAME = next(name for name in NAMES if b"-" in base64.urlsafe_b64encode(made(name)))

SLIPS: list[tuple[str, dict[str, Any]]] = [
    ("milliseconds", signed(f"{(UNIX_NOW + 3600) * 1000}:cam")),
    ("other-order", signed(f"cam:{UNIX_NOW + 3600}")),
    ("no-id", signed(f"{UNIX_NOW + 3600}")),
    ("malformed", signed(f"{UNIX_NOW}.5:cam")),
    ("sha-1", {"user": RIGHT, "token": base64.b64encode(made(RIGHT, hashlib.sha1)).decode()}),
    ("sha-1", {"user": RIGHT, "token": made(RIGHT, hashlib.sha1).hex()}),
    ("sha-512", {"user": RIGHT, "token": base64.b64encode(made(RIGHT, hashlib.sha512)).decode()}),
    ("hexadecimal", {"user": RIGHT, "token": made(RIGHT).hex()}),
    ("hexadecimal", {"user": RIGHT, "token": made(RIGHT).hex().upper()}),
    ("hexadecimal", {"user": RIGHT, "token": base64.b64encode(made(RIGHT).hex().encode()).decode()}),
    ("no-padding", {"user": RIGHT, "token": BASE64.rstrip("=")}),
    ("url-safe", {"user": URL_NAME, "token": base64.urlsafe_b64encode(made(URL_NAME)).decode()}),
    ("newline", {"user": RIGHT, "token": base64.b64encode(made(RIGHT, secret=NORTH + b"\n")).decode()}),
    ("newline", {"user": RIGHT, "token": base64.b64encode(made(RIGHT + "\n")).decode()}),
    ("white-space", {"user": RIGHT, "token": f" {BASE64}\n"}),
]


@pytest.mark.parametrize(("cause", "shown"), SLIPS)
def test_the_usual_slips_with_expiring_tokens_have_names(cause: str, shown: dict[str, Any]) -> None:
    found = objection(expiring(SOUTH, file="south"), expiring(NORTH, file="north"), **shown)
    assert (found.cause, found.credential, found.is_proven) == (cause, "hmac north", True)
    for secret in (NORTH.decode(), BASE64, shown["token"].strip()):
        assert secret not in str(found)


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("wrong-token", {**signed(RIGHT), "token": "x"}),
        ("wrong-token", signed(RIGHT, SOUTH)),
        ("milliseconds", signed(f"{UNIX_NOW}000:cam", SOUTH)),
        ("wrong-mac", {"user": RIGHT}),
    ],
)
def test_of_a_token_of_another_secret_the_form_is_judged(cause: str, shown: dict[str, Any]) -> None:
    found = objection(expiring(register=["tv"], file="tv"), expiring(register=["cam*"], file="cams"), **shown)
    assert (found.cause, found.credential, found.is_proven) == (cause, "hmac cams", False)


@pytest.mark.parametrize(
    ("cause", "credential", "shown", "caller"),
    [
        ("wrong-token", static("right"), {"token": "wrong"}, None),
        ("white-space", static("right"), {"token": "right "}, None),
        ("outside", static("right", register=["tv"]), {"token": "right"}, None),
        ("outside", expiring(register=["tv"]), user("*"), None),
        ("outside", expiring(), user("tv"), None),
        ("no-entry", expiring(), {"token": "right"}, None),
        ("none-shown", expiring(), {}, None),
        ("not-sealed", expiring(), {"token": "right"}, Caller(sealed_only=True)),
        ("wrong-name", certificate("tv"), {}, Caller(["cam"])),
        ("no-name", certificate("tv"), {}, Caller()),
        ("wrong-user", unix([1]), {}, Caller(uid=1000)),
        ("malformed", web(), {"jwt": "x"}, None),
        ("malformed", web(), {"jwt": jwt_of(NORTH, claims(5))}, None),
        ("wrong-signature", web(), {"jwt": jwt_of(SOUTH, claims("cam"))}, None),
        ("wrong-algorithm", web(), {"jwt": jwt_of(NORTH * 2, claims("cam"), "HS512")}, None),
        ("wrong-issuer", web(), {"jwt": jwt_of(NORTH, claims("cam", iss="x"))}, None),
        ("wrong-audience", web(), {"jwt": jwt_of(NORTH, claims("cam", aud="x"))}, None),
        ("no-claim", web(), {"jwt": jwt_of(NORTH, claims("cam", exp=None))}, None),
        ("malformed", web(), {"jwt": jwt_of(NORTH, claims("cam", exp=1e300))}, None),
        ("too-early", web(), {"jwt": jwt_of(NORTH, claims("cam", nbf=UNIX_NOW + 99))}, None),
        ("no-id", web(), {"jwt": jwt_of(NORTH, claims("no ID"))}, None),
    ],
)
def test_every_kind_says_what_is_wrong(
    cause: str, credential: Any, shown: dict[str, Any], caller: Caller | None
) -> None:
    found = objection(credential, caller=caller, **shown)
    assert found.cause == cause
    assert found.text.isprintable()
    assert "right" not in found.credential


def test_an_id_that_nobody_may_have_is_said_before_all_else() -> None:
    assert objection(static("right"), peer="root1", token="right").cause == "denied"


def test_the_client_learns_nothing_and_the_record_has_it() -> None:
    world = World(credentials=[expiring(file="f", register=["cam*"])])
    client = world.connects("192.0.2.7")
    answer = client.registers("cam", **SLIPS[0][1])
    assert answer == {
        "type": "error",
        "code": "auth-failed",
        "message": "the credential is not accepted for this ID",
        "reconnect": False,
    }
    (attempt,) = world.router.record.history("bob", "cam", world.unix_ahead).attempts
    assert (attempt.claimed, attempt.address, attempt.code) == ("cam", "192.0.2.7", ErrorCode.AUTH_FAILED)
    assert (attempt.when, attempt.times, attempt.kind) == (world.unix_now, 1, "register")
    assert attempt.objection is not None
    assert (attempt.objection.cause, attempt.objection.credential) == ("milliseconds", "hmac f")


@pytest.mark.parametrize(("seconds", "cause"), [(-60.0, "expired"), (3600.0 - UNIX_NOW, "duration")])
def test_of_an_expired_credential_it_is_known_when(seconds: float, cause: str) -> None:
    world = World(credentials=[expiring(file="f")])
    assert world.connects("192.0.2.7").registers("cam", **user("cam", seconds=seconds))["code"] == "auth-expired"
    (attempt,) = world.router.record.attempts.of("cam")
    assert attempt.objection is not None
    assert (attempt.objection.cause, attempt.objection.credential) == (cause, "hmac f")


def test_what_was_not_looked_at_is_said() -> None:
    world = World(credentials=[static("right")], auth_failures_per_minute=1)
    for _ in range(3):
        assert world.connects("192.0.2.7").registers("cam", token="wrong")["code"] == "auth-failed"
    wrong, locked = world.router.record.attempts.of("cam")
    assert wrong.objection is not None
    assert locked.objection is not None
    assert (wrong.objection.cause, locked.objection.cause, locked.times) == ("wrong-token", "locked", 2)


def test_a_credential_that_leaves_no_id() -> None:
    world = World(credentials=[static("right")], deny=["*"])
    assert world.connects("192.0.2.7").registers(token="right")["code"] == "auth-failed"
    (attempt,) = world.router.record.attempts.of()
    assert attempt.objection is not None
    assert (attempt.claimed, attempt.objection.cause) == ("", "no-id")
