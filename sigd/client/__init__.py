"""The Python client: the same code under trio and under asyncio. Needs the extra `client` (anyio).

    async with connect("tcp://host:7337", id="cam1") as peer:
        await peer.offer("bob", sdp)
        async for message in peer:
            ...

Reading order: errors, conversation (the rules, without I/O) with pending, renewal and backoff; credentials; greeting
and datagram_link (the same over UDP); dial, stream, datagrams and carrier (sockets and tasks); peer (the face). aiortc,
for programs written for its own signaling classes, is imported only by who wants it.
"""

from sigd.client.conversation import Received
from sigd.client.credentials import Credentials, CredentialsSource
from sigd.client.errors import Disconnected, NoCredentials, SignalingError
from sigd.client.peer import Peer, connect
from sigd.wire.errors import ErrorCode
from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, MessageFrom, OfferFrom, Registered

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
