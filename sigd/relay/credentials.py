"""The kinds of credentials: the proof that each accepts, and the rights that it gives. No I/O, no clock.

Times are Unix time, in seconds.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from sigd.config.auth import OVERFLOW_ID
from sigd.relay import objections
from sigd.relay.globs import Globs, glob_matches
from sigd.wire.errors import Objection
from sigd.wire.ids import is_peer_id
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.rates import Rates
    from sigd.wire.messages import Register

LEEWAY_SECONDS: Final = 30.0
"""Tolerated clock difference: expired credentials stay valid for so long, and their links end so much later."""


OWN_NAME: Final = "{name}"
"""In permissions of certificates: the very name that matched."""


class Seal:
    """Proof of a token that is not sent: only a client that has the token could have made it.

    Attributes:
        token: the token that it was made with, once that is known.
    """

    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = b""

    def made_with(self, token: bytes, register: "Register") -> bool:
        """Return whether the sender of this `register` has the token."""
        raise NotImplementedError


class Caller:
    """The client's identity from the transport.

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
    """A client's proof, without any secret: kept to judge it again when the rules change.

    Attributes:
        credential: the key of the credential that it was shown to.
        secret: which secret or key of that entry, as a digest.
        fingerprint: equal for "the same credential" (protocol.md, section 4): its kind, and what that goes by.
        register, talk: the globs that the credential itself names; none: it names nothing.
        caller: the client's identity, for credentials of the transport.
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


class Permissions:
    """The rights that an entry of the configuration grants.

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
    """The rights of one link.

    Attributes:
        proof: its basis; None: no credentials are configured, or none was shown yet.
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
    """One way to authenticate: an entry of the configuration, with the secrets that it names.

    Attributes:
        key: its kind, and for secrets the file that they are in: what stays the same when the rules change.
        permissions: the rights that it grants.
    """

    def __init__(self, key: tuple[str, str], permissions: Permissions) -> None:
        self.key = key
        self.permissions = permissions

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """Return the client's credential if it is valid."""
        raise NotImplementedError

    def objection(self, register: "Register", caller: Caller | None, unix_now: float) -> Objection:
        """Return the fault of a credential that `prove` did not accept."""
        raise NotImplementedError

    def grant(self, proof: Proof) -> Grant | None:
        """Return the grant of a proof made with this entry's key; None: no longer any."""
        raise NotImplementedError

    def _granted(self, proof: Proof, register: Sequence[str]) -> Grant:
        talk = _all_of(self.permissions.talk, proof.talk)
        return Grant(
            proof,
            _all_of(register, proof.register),
            talk or None,
            discover=self.permissions.discover,
            rates=self.permissions.rates,
        )


def _all_of(*each: Sequence[str] | None) -> Globs:
    return tuple(tuple(globs) for globs in each if globs is not None and "*" not in globs)


def digest_of(secret: bytes) -> bytes:
    """Return the digest by which a secret is known to be the same as before."""
    return hashlib.sha256(secret).digest()


class _WithSecrets(Credential):
    def __init__(self, kind: str, file: str, permissions: Permissions, secret_values: Iterable[bytes]) -> None:
        super().__init__((kind, file), permissions)
        self._secrets = {digest_of(secret): secret for secret in secret_values}

    def grant(self, proof: Proof) -> Grant | None:
        """Something as long as the secret is still there."""
        return self._granted(proof, self.permissions.register) if proof.secret in self._secrets else None


class StaticToken(_WithSecrets):
    """A secret that is its own credential; with several of them any will do."""

    def __init__(self, file: str, permissions: Permissions, tokens: Iterable[bytes]) -> None:
        super().__init__("token", file, permissions, tokens)

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
    """`user` names expiry, IDs and partners; `token` is its HMAC, as for TURN servers."""

    def __init__(self, file: str, permissions: Permissions, secret_values: Iterable[bytes]) -> None:
        super().__init__("hmac", file, permissions, secret_values)

    def prove(self, register: "Register", caller: Caller | None, unix_now: float) -> Proof | None:
        """Return the content of `user`, if `token` is its HMAC or a seal was made with it."""
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


class ClientCertificate(Credential):
    """A certificate that the listener's own CA has signed, by its names."""

    def __init__(self, names: Sequence[str], permissions: Permissions) -> None:
        super().__init__(("certificate", ""), permissions)
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
        own = [glob for glob in self.permissions.register if glob != OWN_NAME]
        # Its own name stands for itself: a `*` in it, as certificates for whole domains have, is no glob.
        own += [name for name in names if OWN_NAME in self.permissions.register and is_peer_id(name)]
        return self._granted(proof, own) if names else None

    def _matching(self, caller: Caller) -> list[str]:
        return [name for name in caller.names if any(glob_matches(glob, name) for glob in self._names)]


class UnixCaller(Credential):
    """The user at the other end of a Unix socket, according to the kernel."""

    def __init__(self, users: frozenset[int], groups: frozenset[int], permissions: Permissions) -> None:
        super().__init__(("unix", ""), permissions)
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
        return self._granted(proof, self.permissions.register) if matches else None

    def _matches(self, caller: Caller) -> bool:
        if caller.uid == OVERFLOW_ID:
            return False  # in a listed group it would still be the same credential as everybody else there
        return caller.uid in self._users or not self._groups.isdisjoint(caller.groups)
