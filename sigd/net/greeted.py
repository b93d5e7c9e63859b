"""A `register` that came in a datagram, while it is judged; and proofs of tokens in datagrams."""

import hmac
from typing import TYPE_CHECKING, Final

from sigd.net.places import Place
from sigd.relay.credentials import Seal
from sigd.wire import macs, messages, said
from sigd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from sigd.relay.access import Access
    from sigd.wire.greeting import OpeningDatagram
    from sigd.wire.messages import Register

GREETING_EXTRAS: Final = 200
"""Bytes reserved in the first `registered` for members of datagrams: nonce, cid, mac, and their names."""


class RegisterSeal(Seal):
    """The mac behind a `register`."""

    __slots__ = ("_text", "mac")

    def __init__(self, text: bytes, mac: bytes) -> None:
        super().__init__()
        self._text = text
        self.mac = mac

    def made_with(self, token: bytes, register: "Register") -> bool:
        """Return whether the sender of this `register` has the token."""
        return hmac.compare_digest(macs.mac(token, macs.REGISTER, self._text), self.mac)


class RenewalSeal(Seal):
    """The `proof` in a `register` on a link."""

    __slots__ = ("_cid",)

    def __init__(self, cid: bytes) -> None:
        super().__init__()
        self._cid = cid

    def made_with(self, token: bytes, register: "Register") -> bool:
        """Return whether the sender of this `register` has the token."""
        if register.proof is None or register.user is None:
            return False
        proof = macs.renewal_proof(token, self._cid, register.user)
        return hmac.compare_digest(proof, register.proof.encode("utf-8", "replace"))


class Greeted:
    """The state of a `register` while it is judged.

    Attributes:
        cid: the identifier of its link.
        place: where it came from.
        nonce: the client's own.
        user: the name that it gives, for the mac.
        seal: the mac behind it, where there is one.
        used: the entry of its cookie among those that were used.
        answer: its answer, in one datagram; empty: none yet.
    """

    __slots__ = ("answer", "cid", "nonce", "place", "seal", "used", "user")

    def __init__(self, opening: "OpeningDatagram", cid: bytes, place: Place, used: bytes) -> None:
        self.cid = cid
        self.place = place
        self.used = used
        self.nonce = opening.nonce
        self.user = opening.user
        self.seal = RegisterSeal(opening.text, opening.mac) if opening.mac else None
        self.answer = b""

    @property
    def key(self) -> bytes | None:
        """Of the macs on its link, where it has shown its token; None: there are none."""
        return None if self.seal is None else macs.link_key(self.seal.token, self.cid, self.seal.mac)

    def refusal(self, error: said.Error, access: "Access") -> bytes:
        """An error in one datagram: with a mac where the client has shown that it has the token."""
        error.nonce = self.nonce
        text, seal = messages.encode(error), self.seal
        if seal is None:
            return text
        if not seal.token and error.code != ErrorCode.AUTH_FAILED and self.user is not None:
            access.unseal(self.user, seal)  # it failed before anybody looked at it
        return macs.sealed(seal.token, macs.ERROR, text) if seal.token else text


def greeting(registered: said.Registered, nonce: str, cid: bytes, key: bytes | None) -> bytes:
    """Encode the `registered` that a client without a channel gets, with a mac if its link has a key."""
    registered.nonce, registered.cid = nonce, cid.decode()
    text = messages.encode(registered)
    return text if key is None else macs.sealed(key, macs.FROM_SERVER, text)
