"""The kinds of credentials: what each takes for true, and what that is worth. No I/O, no clock.

Times are Unix time, in seconds.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from sigd.config.auth import OVERFLOW_ID
from sigd.relay import objections
from sigd.relay.globs import Globs, glob_matches
from sigd.wire.errors import Objection
from sigd.wire.ids import is_glob, is_peer_id
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.rates import Rates
    from sigd.wire.messages import Register

LEEWAY_SECONDS: Final = 30.0
"""How far clocks may differ: what has expired is taken for so much longer, and its link ends so much later."""


LATEST: Final = 1e12
"""Of times, Unix time: more digits than `user` may have."""

OWN_NAME: Final = "{name}"
"""In a rule for certificates: the very name that matched."""


class Seal:
    """What stands in for a token that is not to be seen: something that only who has the token could have made.

    Attributes:
        token: the token that it was made with, once that is known.
    """

    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = b""

    def made_with(self, token: bytes, register: "Register") -> bool:
        """Whether who sent this `register` has the token."""
        raise NotImplementedError


class Caller:
    """What the transport knows of its client.

    Attributes:
        names: of its certificate: DNS and URI SANs and CNs, or none.
        expires: when that certificate does.
        uid: on a Unix socket.
        groups: all of them.
        seal: instead of the token of `user`.
        sealed_only: no credential that others could have seen counts.
    """

    __slots__ = ("expires", "groups", "names", "seal", "sealed_only", "uid")

    def __init__(
        self,
        names: Sequence[str] = (),
        expires: float = NEVER,
        uid: int | None = None,
        groups: frozenset[int] = frozenset(),
        seal: Seal | None = None,
        *,
        sealed_only: bool = False,
    ) -> None:
        self.names = names
        self.seal = seal
        self.sealed_only = sealed_only
        self.expires = expires
        self.uid = uid
        self.groups = groups


class Proof:
    """What a client has shown to be true, without any secret: kept to judge it again when the rules change.

    Attributes:
        credential: the key of the credential that it was shown to.
        secret: which secret or key of that entry, as a digest.
        fingerprint: equal for "the same credential" (protocol.md, section 4): its kind, and what that goes by.
        register, talk: the globs that the credential itself names; none: it names nothing.
        caller: who is at the other end, for credentials of the transport.
        expires: when it does.
    """

    __slots__ = ("caller", "credential", "expires", "fingerprint", "register", "secret", "talk")

    def __init__(
        self,
        credential: "Credential",
        *fingerprint: str,
        secret: bytes = b"",
        register: tuple[str, ...] | None = None,
        talk: tuple[str, ...] | None = None,
        caller: Caller | None = None,
        expires: float = NEVER,
    ) -> None:
        self.credential = credential.key
        # With the kind, and in parts: a file and a certificate may have one name, and a subject any text.
        self.fingerprint = (credential.key[0], *fingerprint)
        self.secret = secret
        self.register = register
        self.talk = talk
        self.caller = caller
        self.expires = expires


class Rule:
    """What an entry of the configuration grants.

    Attributes:
        register, talk: ID globs.
        discover: may list peers.
        rates: how fast its links may send.
    """

    __slots__ = ("discover", "rates", "register", "talk")

    def __init__(self, register: Sequence[str], talk: Sequence[str], *, discover: bool = False, rates: "Rates") -> None:
        self.register = tuple(register)
        self.talk = tuple(talk)
        self.discover = discover
        self.rates = rates


class Grant:
    """What one link may be and may do.

    Attributes:
        proof: what it rests on; None: no credentials are configured, or none was shown yet.
        register: which IDs; `talk`: to which IDs, None being all of them.
        discover: may list peers.
        rates: how fast it may send.
    """

    __slots__ = ("discover", "proof", "rates", "register", "talk")

    def __init__(
        self, proof: Proof | None, register: Globs, talk: Globs | None, *, discover: bool, rates: "Rates"
    ) -> None:
        self.proof = proof
        self.register = register
        self.talk = talk
        self.discover = discover
        self.rates = rates

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """The same for the same credential."""
        return () if self.proof is None else self.proof.fingerprint


class Credential:
    """One way to show who one is: an entry of the configuration, with the secrets that it names.

    Attributes:
        key: its kind, and for secrets the file that they are in: what stays the same when the rules change.
        rule: what it grants.
    """

    def __init__(self, key: tuple[str, str], rule: Rule) -> None:
        self.key = key
        self.rule = rule

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """What the client has shown, if that is true."""
        raise NotImplementedError

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of a credential that `prove` did not accept."""
        raise NotImplementedError

    def grant(self, proof: Proof) -> Grant | None:
        """What a proof that was given under this entry's key is worth here; None: nothing any more."""
        raise NotImplementedError

    def _granted(self, proof: Proof, register: Sequence[str]) -> Grant:
        talk = _all_of(self.rule.talk, proof.talk)
        return Grant(
            proof,
            _all_of(register, proof.register),
            talk or None,
            discover=self.rule.discover,
            rates=self.rule.rates,
        )


def _all_of(*each: Sequence[str] | None) -> Globs:
    return tuple(tuple(globs) for globs in each if globs is not None and "*" not in globs)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


class _WithSecrets(Credential):
    def __init__(self, kind: str, file: str, rule: Rule, secret_values: Iterable[bytes]) -> None:
        super().__init__((kind, file), rule)
        self._secrets = {_digest(secret): secret for secret in secret_values}

    def grant(self, proof: Proof) -> Grant | None:
        """Something as long as the secret is still there."""
        return self._granted(proof, self.rule.register) if proof.secret in self._secrets else None


class StaticToken(_WithSecrets):
    """A secret that is its own credential; with several of them any will do."""

    def __init__(self, file: str, rule: Rule, tokens: Iterable[bytes]) -> None:
        super().__init__("token", file, rule, tokens)

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """The entry, if the token is one of its own."""
        assert register.token is not None
        shown, proved = register.token.encode(), b""
        for digest, secret in self._secrets.items():
            if hmac.compare_digest(secret, shown):
                proved = digest
        return Proof(self, self.key[1], secret=proved) if proved else None

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of the token."""
        return objections.of_token(self._secrets.values(), register.token or "")


class ExpiringToken(_WithSecrets):
    """`user` says until when, for which IDs and towards whom; `token` is its HMAC. What TURN servers do too."""

    def __init__(self, file: str, rule: Rule, secret_values: Iterable[bytes]) -> None:
        super().__init__("hmac", file, rule, secret_values)

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """What `user` says, if `token` is its HMAC, or there is a seal that was made with it."""
        assert register.user is not None
        seal = caller.seal if caller is not None and register.token is None else None
        shown = (register.token or "").encode()
        proved = b""
        for digest, secret in self._secrets.items():
            token = token_for(secret, register.user)
            if seal is not None and seal.made_with(token, register):
                seal.token = token
                proved = digest
            elif hmac.compare_digest(token, shown):
                proved = digest
        parts = objections.USER.match(register.user)
        if not proved or parts is None:
            return None
        expires, peers, talk = parts.groups()
        return Proof(
            self,
            self.key[1],
            peers,
            talk or "",
            secret=proved,
            register=(peers,),
            talk=None if talk is None else (talk,),
            expires=float(expires),
        )

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of `user` and `token`."""
        return objections.of_user(self._secrets.values(), register.user or "", register.token)


def token_for(secret: bytes, user: str) -> bytes:
    """The `token` that goes with a `user` (protocol.md, section 4)."""
    return base64.b64encode(hmac.digest(secret, user.encode(), "sha256"))


class WebToken(Credential):
    """A JSON Web Token (RFC 7519) by PyJWT, the extra `jwt`: of one issuer, for one audience, with one algorithm.

    Args:
        file: where the key is from.
        rule: what it grants, at most.
        algorithm: `HS256`, `EdDSA` or `ES256`: the token has no say in it.
        key: the secret, or a public key in PEM.
        issuer, audience: what `iss` and `aud` must say.
        claim: which claim names the ID globs: a string, or a list of them.

    Raises:
        ImportError: PyJWT, or for a public key `cryptography`, is not installed.
        ValueError: the key is none for this algorithm.
    """

    MIN_SECRET: Final = 32
    """Bytes of an HS256 key: as long as the hash (RFC 7518, section 3.2)."""

    def __init__(
        self, file: str, rule: Rule, *, algorithm: str, key: bytes, issuer: str, audience: str, claim: str
    ) -> None:
        import jwt

        super().__init__(("jwt", file), rule)
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
        self._digest = _digest(b"\0".join((key, *(part.encode() for part in named))))

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """What the token says, if it is signed, and meant for here."""
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
        return self._granted(proof, self.rule.register) if proof.secret == self._digest else None


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


class ClientCertificate(Credential):
    """A certificate that the listener's own CA has signed, by its names."""

    def __init__(self, names: Sequence[str], rule: Rule) -> None:
        super().__init__(("certificate", ""), rule)
        self._names = names

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """The first of the certificate's names that matches."""
        assert caller is not None
        for name in self._matching(caller):
            return Proof(self, name, caller=caller, expires=caller.expires)
        return None

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of the certificate's names."""
        return objections.of_certificate(() if caller is None else caller.names)

    def grant(self, proof: Proof) -> Grant | None:
        """Something as long as a name matches."""
        if proof.caller is None:
            return None
        names = self._matching(proof.caller)
        own = [glob for glob in self.rule.register if glob != OWN_NAME]
        # Its own name stands for itself: a `*` in it, as certificates for whole domains have, is no glob.
        own += [name for name in names if OWN_NAME in self.rule.register and is_peer_id(name)]
        return self._granted(proof, own) if names else None

    def _matching(self, caller: Caller) -> list[str]:
        return [name for name in caller.names if any(glob_matches(glob, name) for glob in self._names)]


class UnixCaller(Credential):
    """Who is at the other end of a Unix socket, as the kernel says."""

    def __init__(self, users: frozenset[int], groups: frozenset[int], rule: Rule) -> None:
        super().__init__(("unix", ""), rule)
        self._users = users
        self._groups = groups - {OVERFLOW_ID}

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """The user, if it or one of its groups is listed."""
        assert caller is not None
        return Proof(self, str(caller.uid), caller=caller) if self._matches(caller) else None

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of the Unix user: it is not listed."""
        return objections.of_caller(None if caller is None else caller.uid)

    def grant(self, proof: Proof) -> Grant | None:
        """Something as long as the user or one of its groups is listed."""
        matches = proof.caller is not None and self._matches(proof.caller)
        return self._granted(proof, self.rule.register) if matches else None

    def _matches(self, caller: Caller) -> bool:
        if caller.uid == OVERFLOW_ID:
            return False  # in a listed group it would still be the same credential as everybody else there
        return caller.uid in self._users or not self._groups.isdisjoint(caller.groups)
