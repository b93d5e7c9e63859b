"""The registration of a peer, as programs with tasks and programs without see it. No I/O."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from sigd.client.conversation import Conversation
from sigd.wire.messages import Register
from sigd.wire.said import Registered


def requested(
    peer: str | None, meta: Mapping[str, Any] | None, *, keepalive_ms: int | None = None, max_frame: int | None = None
) -> Register:
    """Return the `register` that asks for an ID; without one the server picks it."""
    return Register(
        id=peer,
        meta=UNSET if meta is None else Raw(msgspec.json.encode(dict(meta))),
        keepalive_ms=keepalive_ms,
        max_frame=max_frame,
    )


class Registration:
    """The state of a peer that `connect` has registered: its ID, and whether the server can reach it now."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @property
    def id(self) -> str:
        """The peer ID."""
        return self.registered.id

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and this peer is registered over it."""
        return self._conversation.registered

    @property
    def registered(self) -> Registered:
        """The server's last answer to `register`."""
        if self._conversation.terms is None:
            raise AssertionError("a peer was handed out before it was registered")
        return self._conversation.terms
