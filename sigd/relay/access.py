"""Credentials and permissions: from a client's credential to its IDs and rights. No I/O, no clock.

Two steps. `Access.prove` looks at the credential, once, and leaves a `Proof`. `Access.grant` says what a proof is worth
under the rules in force, at `register` and again whenever the rules change. Times are Unix time, in seconds.
"""

import secrets
from typing import TYPE_CHECKING, Final

from sigd.relay import objections
from sigd.relay.credentials import (
    Caller,
    ClientCertificate,
    Credential,
    ExpiringToken,
    Grant,
    Proof,
    Seal,
    StaticToken,
    UnixCaller,
)
from sigd.relay.globs import allows, glob_matches
from sigd.relay.web_tokens import WebToken
from sigd.wire.errors import Objection
from sigd.wire.ids import is_peer_id
from sigd.wire.messages import Register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sigd.relay.rates import Rates

RANDOM_ID_BYTES: Final = 8
"""Of an ID that the server picks: nobody guesses 64 bits, and two links never get the same."""


class Access:
    """The rules in force.

    Args:
        credentials: none: everybody may be anybody.
        deny: globs of IDs that nobody may have.
        rates: of links without a credential yet, and of all links where none are configured.
    """

    def __init__(self, credentials: "Sequence[Credential]", deny: "Sequence[str]", rates: "Rates") -> None:
        self._credentials = credentials
        self._by_key: dict[tuple[str, str], list[Credential]] = {}
        for credential in credentials:
            self._by_key.setdefault(credential.key, []).append(credential)
        self._deny = tuple(deny)
        self.open = not credentials
        self.stranger = Grant(None, (), None, discover=self.open, rates=rates)
        """Permissions of a link without credentials."""

    def prove(self, register: Register, caller: Caller | None, unix_now: float) -> Proof | None:
        """The client's verified credential; None: none, or an invalid one."""
        if caller is not None and caller.sealed_only and _names_more_than_a_user(register):
            return None
        kind = _kind(register, caller)
        for credential in self._credentials:
            if kind is not None and isinstance(credential, kind):
                proof = credential.prove(register, caller, unix_now)
                if proof is not None:
                    return proof
        return None

    def objection(self, register: Register, caller: Caller | None, peer: str | None, unix_now: float) -> Objection:
        """Return the fault of a refused credential, judged by the entry that came nearest to accepting it.

        Args:
            register: its message.
            caller: its identity from the transport.
            peer: the ID that it wants; None: any.
            unix_now: Unix time.
        """
        if peer is not None and self.denies(peer):
            return objections.DENIED
        if caller is not None and caller.sealed_only and _names_more_than_a_user(register):
            return objections.NOT_SEALED
        kind = _kind(register, caller)
        if kind is None:
            return objections.NONE_SHOWN
        found = [
            (self._objection_of(credential, register, caller, peer, unix_now), credential)
            for credential in self._credentials
            if isinstance(credential, kind)
        ]
        if not found:
            return Objection("no-entry", f"there is no [[auth.{_ENTRIES[kind]}]] to take what it shows")
        best, credential = max(found, key=lambda each: (each[0].is_proven, _is_for(each[1], peer)))
        return best._replace(credential=" ".join(filter(None, credential.key)))

    def _objection_of(
        self, credential: Credential, register: Register, caller: Caller | None, peer: str | None, unix_now: float
    ) -> Objection:
        proof = credential.prove(register, caller, unix_now)
        if proof is None:
            return credential.objection(register, caller, unix_now)
        own = proof.register is not None and peer is not None and not allows((proof.register,), peer)
        return (objections.OUTSIDE_OWN if own else objections.OUTSIDE)._replace(is_proven=True)

    def unseal(self, user: str, seal: Seal) -> None:
        """Find out which token of this `user` a seal was made with, if any of them."""
        caller = Caller(seal=seal)
        register = Register(user=user)
        for credential in self._credentials:
            if isinstance(credential, ExpiringToken):
                credential.prove(register, caller, 0.0)

    def grant(self, proof: Proof | None, peer: str | None) -> Grant | None:
        """Return the current grant of a proof for the ID `peer` (None: any ID); None: no grant."""
        if self._deny and peer is not None and self.denies(peer):
            return None
        if self.open:
            return self.stranger
        if proof is None:
            return None
        for credential in self._by_key.get(proof.credential, ()):
            grant = credential.grant(proof)
            if grant is not None and (peer is None or allows(grant.register, peer)):
                return grant
        return None

    def denies(self, peer: str) -> bool:
        """Whether nobody may have this ID."""
        return any(glob_matches(glob, peer) for glob in self._deny)

    def pick(self, grant: Grant) -> str | None:
        """An ID for a client that has named none; None: this grant leaves no room for one."""
        for globs in grant.register or (("*",),):
            for glob in globs:
                head, star, rest = glob.partition("*")
                peer = head + secrets.token_hex(RANDOM_ID_BYTES) + rest.replace("*", "") if star else glob
                if is_peer_id(peer) and allows(grant.register, peer) and not self.denies(peer):
                    return peer
        return None


_ENTRIES: Final[dict[type[Credential], str]] = {
    WebToken: "jwt",
    ExpiringToken: "hmac",
    StaticToken: "token",
    ClientCertificate: "certificate",
    UnixCaller: "unix",
}
"""Places of the kinds in the configuration."""


def _kind(register: Register, caller: Caller | None) -> type[Credential] | None:
    """Return the kind of the credential that a client presents; None: it presents none."""
    if register.jwt is not None:
        return WebToken
    if register.user is not None:
        return ExpiringToken
    if register.token is not None:
        return StaticToken
    if caller is None:
        return None
    return ClientCertificate if caller.uid is None else UnixCaller


def _is_for(credential: Credential, peer: str | None) -> bool:
    return peer is None or any(glob_matches(glob, peer) for glob in credential.permissions.register)


def _names_more_than_a_user(register: Register) -> bool:
    """Whether it shows something that does not need the seal."""
    return register.user is None or register.token is not None or register.jwt is not None
