"""A peer for scenarios: lines of JSON over a blocking socket, with nothing but the standard library."""

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

HERE = ("127.0.0.1", 7337)

WAIT_SECONDS = 10.0
"""For each answer."""


class Peer:
    """One connection.

    Attributes:
        sock: over which it goes.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._read = b""

    def says(self, **message: object) -> None:
        """Send a message; `sender` is not said, `type` is."""
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def hears(self) -> dict[str, Any]:
        """The next message; nothing when the connection has ended."""
        while b"\n" not in self._read:
            data = self.sock.recv(65_536)
            if not data:
                return {}
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        heard = json.loads(line)
        assert isinstance(heard, dict)
        return heard

    def registers(self, peer_id: str, **credentials: str) -> dict[str, Any]:
        """Claim an ID; the answer."""
        self.says(type="register", id=peer_id, **credentials)
        return self.hears()


@contextlib.contextmanager
def connected(
    address: tuple[str, int] | str = HERE, context: ssl.SSLContext | None = None, name: str | None = None
) -> Iterator[Peer]:
    """A connection to an address, or to the path of a Unix socket; with TLS to a server of this name."""
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(kind) as sock:
        sock.settimeout(WAIT_SECONDS)
        sock.connect(address)
        if context is None:
            yield Peer(sock)
        else:
            with context.wrap_socket(sock, server_hostname=name) as sealed:
                yield Peer(sealed)


def serves(address: tuple[str, int] = HERE, peer_id: str = "alice") -> bool:
    """Whether somebody is registered who asks for it there."""
    with connected(address) as peer:
        return peer.registers(peer_id).get("type") == "registered"
