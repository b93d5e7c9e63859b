"""Faults of credentials, for the operator: the reason of a refusal, and never the secret.

Looked for only after a refusal, and told to nobody but the log and the record. Times are Unix time, in seconds.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import Final

from sigd.wire.errors import Objection
from sigd.wire.ids import GLOB

LATEST_DURATION: Final = 1e9
"""Seconds below which a number is a duration, 31 years at most, and no time of this century."""

NAMES_SHOWN: Final = 3
"""Names of a certificate that are shown; each is cut to 64 characters."""

_MILLISECONDS: Final = re.compile(r"[0-9]{13}:")
_OTHER_ORDER: Final = re.compile(rf"{GLOB}:[0-9]{{9,13}}\Z")
_NO_ID: Final = re.compile(r"[0-9]{1,13}:?\Z")

NONE_SHOWN: Final = Objection("none-shown", "no credential was shown")
NOT_SEALED: Final = Objection("not-sealed", "in these datagrams a `user` with its mac counts, and nothing else")
DENIED: Final = Objection("denied", "the ID is among those of auth.deny")
LOCKED: Final = Objection("locked", "too many failures of this ID from this address: the credential was not looked at")
NO_ID: Final = Objection("no-id", "the credential is right, and neither it nor the client names an ID", is_proven=True)
OUTSIDE: Final = Objection("outside", "the credential is right, and not for this ID: see `register` of the entry")
OUTSIDE_OWN: Final = Objection("outside", "the credential is right, and names other IDs than this one")


def of_token(secrets: Iterable[bytes], token: str) -> Objection:
    """Return the fault of a static token."""
    stripped = token.strip().encode()
    if any(hmac.compare_digest(secret, stripped) for secret in secrets):
        return Objection("white-space", "`token` is right but for white space around it", is_proven=True)
    return Objection("wrong-token", "`token` is none of those in this file")


def of_user(secrets: Iterable[bytes], user: str, token: str | None) -> Objection:
    """Return the fault of an expiring token (protocol.md, section 4)."""
    malformed = _of_form(user)
    if token is None:
        return malformed or Objection("wrong-mac", "the mac was not made with the token of this `user`")
    shown = token.strip().encode()
    for secret in secrets:
        for made, objection in _slips(secret, user.encode()):
            if hmac.compare_digest(made, shown):
                return (objection or malformed or _WHITE_SPACE)._replace(is_proven=True)
    return malformed or Objection("wrong-token", "`token` was made with another secret, or of another `user`")


_WHITE_SPACE: Final = Objection("white-space", "`token` is right but for white space around it")


def _of_form(user: str) -> Objection | None:
    """Return the fault in the form of a `user`, which is EXPIRY:ID or EXPIRY:ID:TALK."""
    if _MILLISECONDS.match(user):
        return Objection("milliseconds", "the expiry in `user` is in milliseconds: it has to be in seconds")
    if _OTHER_ORDER.match(user):
        return Objection("other-order", "`user` has the ID before the expiry: it has to be EXPIRY:ID")
    if _NO_ID.match(user):
        return Objection("no-id", "`user` names no ID: it has to be EXPIRY:ID")
    if USER.match(user) is None:
        return Objection("malformed", "`user` is not of the form EXPIRY:ID or EXPIRY:ID:TALK")
    return None


USER: Final = re.compile(rf"([0-9]{{1,12}}):({GLOB})(?::({GLOB}))?\Z")
"""The form of a `user`."""


def _slips(secret: bytes, user: bytes) -> Iterator[tuple[bytes, Objection | None]]:
    """The right token, and those that are made of the right secret by the usual slips."""
    digest = hmac.digest(secret, user, "sha256")
    right = base64.b64encode(digest)
    yield right, None
    yield right.rstrip(b"="), Objection("no-padding", "`token` lacks the = at the end of its base64")
    url_safe = base64.urlsafe_b64encode(digest)
    url_safe_text = "`token` is base64 for URLs: it has to be the ordinary one, with + and /"
    for each in (url_safe, url_safe.rstrip(b"=")):
        yield each, Objection("url-safe", url_safe_text)
    hexadecimal = digest.hex().encode()
    for each in (hexadecimal, hexadecimal.upper(), base64.b64encode(hexadecimal)):
        yield each, Objection("hexadecimal", "`token` is hexadecimal: it has to be the base64 of the digest")
    for name, hashed in (("sha-1", hashlib.sha1), ("sha-512", hashlib.sha512)):
        other = hmac.digest(secret, user, hashed)
        text = f"`token` was made with {name.upper()}: it has to be HMAC-SHA256"
        for each in (base64.b64encode(other), other.hex().encode()):
            yield each, Objection(name, text)
    for place, made in (("secret", (secret + b"\n", user)), ("user", (secret, user + b"\n"))):
        text = f"`token` was made with a newline behind the {place}: echo adds one, printf does not"
        yield base64.b64encode(hmac.digest(*made, "sha256")), Objection("newline", text)


def of_expiry(expires: float, unix_now: float) -> Objection:
    """Return the objection to an expired credential."""
    if expires < LATEST_DURATION:
        return Objection("duration", "the expiry is a duration: it has to be Unix time, in seconds", is_proven=True)
    return Objection("expired", f"the credential expired {unix_now - expires:.0f} s ago", is_proven=True)


def of_certificate(names: Iterable[str]) -> Objection:
    """Return the fault of a client certificate."""
    shown = ", ".join(name[:64] for name, _ in zip(names, range(NAMES_SHOWN), strict=False))
    if not shown:
        return Objection("no-name", "the certificate has no name")
    return Objection("wrong-name", f"the names of the certificate match none of `names`: {shown}", is_proven=True)


def of_caller(uid: int | None) -> Objection:
    """Return the objection to a user at a Unix socket."""
    return Objection("wrong-user", f"user {uid} is not among `users`, and in none of `groups`", is_proven=True)
