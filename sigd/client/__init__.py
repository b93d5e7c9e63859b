"""The Python client: the same code under trio and under asyncio. Needs the extra `client` (anyio).

    async with connect("tcp://host:7337", id="cam1") as peer:
        await peer.offer("bob", sdp)
        async for message in peer:
            ...

Reading order: errors, conversation (the rules, without I/O), backoff, carrier (sockets and tasks), peer (the face);
aiortc, which is imported only by who wants it, for programs written for aiortc's own signaling classes.
"""

from sigd.client.conversation import Received
from sigd.client.errors import Disconnected, SignalingError
from sigd.client.peer import Peer, connect
from sigd.wire.errors import ErrorCode
from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, IceServerList, MessageFrom, OfferFrom, Registered

__all__ = [
    "AnswerFrom",
    "ByeFrom",
    "CandidateFrom",
    "Disconnected",
    "Error",
    "ErrorCode",
    "IceServerList",
    "MessageFrom",
    "OfferFrom",
    "Peer",
    "Received",
    "Registered",
    "SignalingError",
    "connect",
]
