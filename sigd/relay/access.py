"""Who may be whom: from what a client shows to what it may be and may do. No I/O, no clock.

Two steps. `Access.prove` looks at the credential, once, and leaves a `Proof`. `Access.grant` says what a proof is worth
under the rules in force, at `register` and again whenever the rules change. Times are Unix time, in seconds.
"""

import secrets
from typing import TYPE_CHECKING, Final

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
    WebToken,
)
from sigd.relay.globs import allows, glob_matches
from sigd.wire.messages import Register, is_peer_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sigd.relay.limits import Rates

RANDOM_ID_BYTES: Final = 8
"""Of an ID that the server picks: nobody guesses 64 bits, and two links never get the same."""


class Access:
    """The rules in force.

    Args:
        credentials: none: everybody may be anybody.
        deny: globs of IDs that nobody may have.
        rates: of who has shown nothing yet, and of everybody where there are no credentials.
    """

    def __init__(self, credentials: "Sequence[Credential]", deny: "Sequence[str]", rates: "Rates") -> None:
        self._credentials = credentials
        self._by_key: dict[tuple[str, str], list[Credential]] = {}
        for credential in credentials:
            self._by_key.setdefault(credential.key, []).append(credential)
        self._deny = tuple(deny)
        self.open = not credentials
        self.stranger = Grant(None, (), None, discover=self.open, rates=rates)
        """What a link may that has shown nothing."""

    def prove(self, register: Register, caller: Caller | None, unix_now: float) -> Proof | None:
        """What the client has shown; None: nothing that is true, or nothing at all."""
        kind: type[Credential]
        if caller is not None and caller.sealed_only and _names_more_than_a_user(register):
            return None
        if register.jwt is not None:
            kind = WebToken
        elif register.user is not None:
            kind = ExpiringToken
        elif register.token is not None:
            kind = StaticToken
        elif caller is None:
            return None
        else:
            kind = ClientCertificate if caller.uid is None else UnixCaller
        for credential in self._credentials:
            if isinstance(credential, kind):
                proof = credential.prove(register, caller, unix_now)
                if proof is not None:
                    return proof
        return None

    def unseal(self, user: str, seal: Seal) -> None:
        """Find out which token of this `user` a seal was made with, if any of them."""
        caller = Caller(seal=seal)
        register = Register(user=user)
        for credential in self._credentials:
            if isinstance(credential, ExpiringToken):
                credential.prove(register, caller, 0.0)

    def grant(self, proof: Proof | None, peer: str | None) -> Grant | None:
        """What a proof is worth now for who wants to be `peer` (None: anybody); None: nothing."""
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


def _names_more_than_a_user(register: Register) -> bool:
    """Whether it shows something that does not need the seal."""
    return register.user is None or register.token is not None or register.jwt is not None
