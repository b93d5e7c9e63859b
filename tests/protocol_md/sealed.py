"""A client of section 13.8, made by hand as the text says: it shares nothing with the daemon but the token."""

import contextlib
import hmac
import json
import socket
from collections.abc import Generator
from typing import Any, Final

from tests.daemon import Daemon
from tests.protocol_md.play import LONGEST, WAIT_SECONDS, udp_address

NONCE: Final = "hG3kQ8vT1xYb5mZe"
PAD: Final = "x" * 120


def hmac_sha256(key: bytes, over: bytes) -> str:
    """In small hexadecimal letters; a mac is the first half of it."""
    return hmac.digest(key, over, "sha256").hex()


def mac(key: bytes, direction: str, text: bytes) -> bytes:
    """What stands behind a datagram."""
    return hmac_sha256(key, direction.encode() + text)[:32].encode()


class Sealed:
    """A client in datagrams with macs."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def says(self, key: bytes, direction: str, text: bytes) -> bytes:
        """Send a datagram with a mac behind it; the mac."""
        end = mac(key, direction, text)
        self._sock.send(text + b" " + end)
        return end

    def hears(self) -> bytes:
        """The next datagram."""
        return self._sock.recv(LONGEST)

    def hears_sealed(self, key: bytes, direction: str) -> bytes:
        """The next datagram, which ends in its right mac, without that."""
        datagram = self.hears()
        assert datagram[-33:] == b" " + mac(key, direction, datagram[:-33])
        return datagram[:-33]

    def opens(self, peer: str, user: str, token: bytes) -> bytes:
        """Send both registers, the second with a mac; the mac."""
        register = {"type": "register", "id": peer, "nonce": NONCE, "pad": PAD}
        self._sock.send(json.dumps(register).encode())
        challenge: dict[str, Any] = json.loads(self.hears())
        assert challenge["nonce"] == NONCE
        return self.says(token, "R", json.dumps(register | {"user": user, "cookie": challenge["cookie"]}).encode())


@contextlib.contextmanager
def sealed(daemon: Daemon) -> Generator[Sealed]:
    """A client that has said nothing yet."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(udp_address(daemon))
        sock.settimeout(WAIT_SECONDS)
        yield Sealed(sock)
