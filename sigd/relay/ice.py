"""The STUN and TURN servers that a peer is told of, with credentials for TURN that are its own and expire.

No I/O: the TURN server is never asked, it computes the same credentials from the secret that both know.
"""

import hmac
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from sigd.wire.times import NEVER

RENEW_SECONDS: Final = 60.0
"""How long before credentials expire a registered peer is sent new ones: a call that begins with the old ones at that
moment has 39.5 s to reach the TURN server, for as long is a STUN request over UDP repeated and waited for (RFC 8489,
section 6.2.1), and 20 s remain for clocks that differ."""


class IceServer(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One entry of RTCConfiguration's `iceServers` (W3C webrtc-pc, RTCIceServer)."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None

    def __repr__(self) -> str:
        # Whoever reads a log could use the credential until it expires.
        return f"IceServer(urls={self.urls!r}, username={self.username!r})"


class Vendor:
    """Tells each peer of the servers that there are, and makes its TURN credentials.

    They are what coturn's `use-auth-secret` takes (draft-uberti-behave-turn-rest): the user name is the time at which
    they expire and the peer's ID, the credential an HMAC of it.

    Attributes:
        ttl_seconds: lifetime of the credentials that it vends; `NEVER` without TURN, where nothing expires.
    """

    __slots__ = ("_secret", "_stun", "_turn_urls", "ttl_seconds")

    def __init__(
        self, stun_urls: Sequence[str], turn_urls: Sequence[str], secret: bytes | None, ttl_seconds: float
    ) -> None:
        # An empty key would be one that everybody knows.
        if turn_urls and not secret:
            raise ValueError("TURN needs the secret that it shares with the TURN server")
        self._stun = (IceServer(urls=tuple(stun_urls)),) if stun_urls else ()
        self._turn_urls = tuple(turn_urls)
        self._secret = secret or b""
        self.ttl_seconds = ttl_seconds if turn_urls else NEVER

    @property
    def empty(self) -> bool:
        """Whether there are no servers to tell of."""
        return not self._stun and not self._turn_urls

    def for_peer(self, peer: str, unix_now: float) -> list[IceServer]:
        """The servers as this peer's RTCConfiguration takes them; good for `ttl_seconds` from now on.

        Args:
            peer: its ID.
            unix_now: seconds since 1970: the TURN server compares with its own clock.
        """
        if not self._turn_urls:
            return [*self._stun]
        # Whole seconds on the wire; upwards, so that nothing expires earlier than the peer was told.
        username = f"{math.ceil(unix_now + self.ttl_seconds)}:{peer}"
        # SHA-1 is what the scheme says; as an HMAC it is not broken.
        credential = b64encode(hmac.digest(self._secret, username.encode(), "sha1")).decode()
        return [*self._stun, IceServer(urls=self._turn_urls, username=username, credential=credential)]
