"""A client on a blocking socket, for a daemon in another process."""

import json
import socket
from typing import Any

from tests.daemon import HANG_SECONDS, Daemon
from tests.in_process import CLIENTS, as_json

SECONDS = HANG_SECONDS


class Plain:
    """A client on a blocking socket, for a daemon in another process."""

    def __init__(self, address: str | tuple[str, int], framing: str = "lines") -> None:
        self.framed = CLIENTS[framing].framed
        self.prefixed = framing == "prefixed"
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.sock = socket.socket(family)
        self.sock.settimeout(SECONDS)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.stream = self.sock.makefile("rb")

    def says(self, *messages: Any) -> None:
        self.sock.sendall(b"".join(self.framed(as_json(message)) for message in messages))

    def hears(self) -> Any:
        """The next message; None for the end of file."""
        if not self.prefixed:
            line = self.stream.readline()
            return json.loads(line) if line else None
        head = self.stream.read(4)
        return json.loads(self.stream.read(int.from_bytes(head, "big"))) if head else None

    def registers(self, peer: str, **members: object) -> None:
        self.says({"type": "register", "id": peer, **members})
        assert self.hears()["id"] == peer

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.sock.close()


def loopback(daemon: Daemon) -> tuple[str, int]:
    """Where to connect to a daemon on 127.0.0.1."""
    return "127.0.0.1", daemon.port


def they_talk(alice: Plain, bob: Plain) -> None:
    """Two registered peers hear each other, and nothing else."""
    for speaking, hearing, sender, recipient in ((alice, bob, "alice", "bob"), (bob, alice, "bob", "alice")):
        speaking.says({"type": "message", "to": recipient, "data": 1})
        assert hearing.hears() == {"type": "message", "from": sender, "data": 1}
