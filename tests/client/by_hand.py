"""A conversation whose other end is the test."""

import json
import random
from typing import Any

import pytest
from msgspec import Raw

from sigd.client import conversation as rules
from sigd.client.backlog import Received
from sigd.client.conversation import Conversation
from sigd.client.pending import Pending
from sigd.client.wallet import NONE, Credentials
from sigd.wire import messages
from sigd.wire.framing import Dialect, Lines, Prefixed
from sigd.wire.said import Ok

KEEPALIVE = 30
TERMS: dict[str, Any] = {"type": "registered", "server": "test/1", "protocol": 1, "features": [], "maxFrame": 2000}


class NoJitter(random.Random):
    """Draws no pause at all: what remains are the server's own bounds."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Bench:
    """A conversation, and the server's end of it by hand."""

    def __init__(
        self,
        *,
        framing: Dialect = Dialect.PREFIXED,
        peer: str | None = "alice",
        reconnect: bool = True,
        jitter: random.Random | None = None,
        max_frame: int = 100_000,
        renewable: bool = False,
    ) -> None:
        self.now = 1000.0
        self.framing = framing
        register = messages.Register(id=peer, meta=Raw(b'{"kind":"test"}'), max_frame=max_frame)
        self.client = Conversation(
            register, framing, jitter or NoJitter(), reconnect=reconnect, max_frame=max_frame, renewable=renewable
        )

    def wrap(self, message: dict[str, Any]) -> bytes:
        data = json.dumps(message).encode()
        return Lines.wrap(data) if self.framing is Dialect.LINES else Prefixed.wrap(data)

    def hears(self, *said: dict[str, Any]) -> None:
        self.client.receive(b"".join(map(self.wrap, said)), self.now)

    def says(self) -> list[dict[str, Any]]:
        split = Lines(100_000) if self.framing is Dialect.LINES else Prefixed(100_000)
        return [json.loads(frame) for frame in split.take(self.client.take_due(), 1000)]

    def begins(self, credentials: Credentials = NONE) -> None:
        self.client.begin(self.now)
        self.client.register(credentials)

    def registers(self, peer: str = "alice", credentials: Credentials = NONE, **terms: Any) -> "Bench":
        self.begins(credentials)
        (register,) = self.says()
        self.hears(TERMS | {"id": peer, "ref": register["ref"], "keepaliveMs": KEEPALIVE * 1000} | terms)
        return self

    def asks(self, message: rules.Asking | None = None, expected: Any = Ok) -> Pending[Any]:
        return self.client.ask(message or messages.Bye(to="bob"), expected, lambda: None)

    def received(self) -> list[Received]:
        return list(iter(self.client.take, None))


BOTH = pytest.mark.parametrize("framing", [Dialect.PREFIXED, Dialect.LINES])
