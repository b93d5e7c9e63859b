"""The Python client: the same code under trio and asyncio, and a blocking client for programs without either.

    async with connect("tcp://host:7337", id="cam1") as peer:
        await peer.offer("bob", sdp)
        async for message in peer:
            ...

`connect` and `Peer` need the extra `client` (anyio), and are imported on first use; the rest needs nothing.

Reading order: errors, conversation (the rules, without I/O) with pending, renewal and backoff; wallet; hello and
datagram_conversation (the same over UDP); dial, over_stream, over_datagrams and reconnector (sockets and tasks);
registration (shared by the interfaces); peer (the interface). Without tasks: sockets and blocking (the interface).
aiortc serves programs written for its own signaling classes, and must be imported explicitly.
"""

from typing import TYPE_CHECKING

from sigd.client.backlog import Received
from sigd.client.errors import Disconnected, NoCredentials, SignalingError
from sigd.client.wallet import Credentials, CredentialsSource
from sigd.wire.errors import ErrorCode
from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, MessageFrom, OfferFrom, Registered

if TYPE_CHECKING:
    from sigd.client.peer import Peer, connect

__all__ = [
    "AnswerFrom",
    "ByeFrom",
    "CandidateFrom",
    "Credentials",
    "CredentialsSource",
    "Disconnected",
    "Error",
    "ErrorCode",
    "MessageFrom",
    "NoCredentials",
    "OfferFrom",
    "Peer",
    "Received",
    "Registered",
    "SignalingError",
    "connect",
]


def __getattr__(name: str) -> object:
    """Import on first use the names that need anyio (PEP 562)."""
    if name not in {"Peer", "connect"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sigd.client import peer

    return getattr(peer, name)
