"""Credentials that are JSON Web Tokens (RFC 7519), read by PyJWT. No I/O, no clock: times are Unix time, in seconds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from sigd.relay.credentials import LEEWAY_SECONDS, Caller, Credential, Grant, Permissions, Proof, digest_of
from sigd.wire.errors import Objection
from sigd.wire.ids import is_glob

if TYPE_CHECKING:
    from sigd.wire.messages import Register

LATEST: Final = 1e12
"""Of times, Unix time: more digits than `user` may have."""


class WebToken(Credential):
    """A JSON Web Token (RFC 7519) by PyJWT, the extra `jwt`: of one issuer, for one audience, with one algorithm.

    Args:
        file: where the key is from.
        permissions: the rights that it grants, at most.
        algorithm: `HS256`, `EdDSA` or `ES256`: the token has no say in it.
        key: the secret, or a public key in PEM.
        issuer, audience: the required `iss` and `aud`.
        claim: which claim names the ID globs: a string, or a list of them.

    Raises:
        ImportError: PyJWT, or for a public key `cryptography`, is not installed.
        ValueError: the key is none for this algorithm.
    """

    MIN_SECRET: Final = 32
    """Bytes of an HS256 key: as long as the hash (RFC 7518, section 3.2)."""

    def __init__(
        self, file: str, permissions: Permissions, *, algorithm: str, key: bytes, issuer: str, audience: str, claim: str
    ) -> None:
        import jwt

        super().__init__(("jwt", file), permissions)
        if algorithm == "HS256" and len(key) < self.MIN_SECRET:
            raise ValueError(f"a key for HS256 has at least {self.MIN_SECRET} bytes")
        if b"PRIVATE KEY-----" in key:
            raise ValueError("this is a private key: the public one that goes with it says enough")
        try:
            self._key: Any = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
        except NotImplementedError as fault:
            raise ImportError("cryptography is not installed") from fault
        except Exception as fault:  # `cryptography` has faults of its own, with nothing in common
            raise ValueError(f"this is no key for {algorithm}") from fault
        self._decode = jwt.decode
        self._faults = (jwt.PyJWTError, ValueError, TypeError, RecursionError)
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._claim = claim
        named = (algorithm, issuer, audience, claim)
        self._digest = digest_of(b"\0".join((key, *(part.encode() for part in named))))

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """Return the claims of the token, if it is signed and meant for this server."""
        try:
            claims = self._claims(register)
        except self._faults:
            return None
        expires, begins = claims["exp"], claims.get("nbf", 0)
        if not _is_time(expires) or not _is_time(begins) or begins > unix_now + LEEWAY_SECONDS:
            return None
        globs = _globs_in(claims.get(self._claim))
        if globs is None:
            return None
        subject: str = claims["sub"]
        return Proof(self, self._issuer, subject, secret=self._digest, register=globs, expires=float(expires))

    def _claims(self, register: "Register") -> Mapping[str, Any]:
        assert register.jwt is not None
        claims: Mapping[str, Any] = self._decode(
            register.jwt,
            self._key,
            algorithms=[self._algorithm],
            issuer=self._issuer,
            audience=self._audience,
            # Times are judged by the caller's clock.
            options={
                "require": ["exp", "sub", "iss", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        return claims

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of the token: PyJWT looks at its signature before its claims."""
        try:
            claims = self._claims(register)
        except self._faults as fault:
            return self._objection_of(fault)
        begins = claims.get("nbf", 0)
        if not _is_time(claims["exp"]) or not _is_time(begins):
            return Objection("malformed", "`exp` and `nbf` have to be Unix time, in seconds", is_proven=True)
        if begins > unix_now + LEEWAY_SECONDS:
            return Objection("too-early", f"`nbf` is {begins - unix_now:.0f} s ahead", is_proven=True)
        return Objection("no-id", f"the claim `{self._claim}` is no ID glob, and no list of some", is_proven=True)

    def _objection_of(self, fault: Exception) -> Objection:
        match type(fault).__name__:
            case "InvalidSignatureError":
                return Objection("wrong-signature", "the signature does not verify with this key")
            case "InvalidAlgorithmError":
                return Objection("wrong-algorithm", f"it is not signed with {self._algorithm}")
            case "InvalidIssuerError":
                return Objection("wrong-issuer", f"`iss` is not {self._issuer}", is_proven=True)
            case "InvalidAudienceError":
                return Objection("wrong-audience", f"`aud` is not {self._audience}", is_proven=True)
            case "MissingRequiredClaimError":
                return Objection("no-claim", "one of `exp`, `sub`, `iss` and `aud` is missing", is_proven=True)
            case "DecodeError":
                return Objection("malformed", "it is no JSON Web Token")
            case _:
                return Objection("malformed", "it is no JSON Web Token as RFC 7519 has them")

    def grant(self, proof: Proof) -> Grant | None:
        """Something as long as the key is still there, for the same issuer and audience."""
        return self._granted(proof, self.permissions.register) if proof.secret == self._digest else None


def _globs_in(claim: object) -> tuple[str, ...] | None:
    """The globs that a claim names, one or a list of them; None: it is something else."""
    found: list[str] = []
    for glob in cast("list[object]", claim) if isinstance(claim, list) else [claim]:
        if not isinstance(glob, str) or not is_glob(glob):
            return None
        found.append(glob)
    return tuple(found)


def _is_time(value: object) -> bool:
    # A number of any length is JSON: none that a float, or a client's `expiresMs`, could not hold.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LATEST
