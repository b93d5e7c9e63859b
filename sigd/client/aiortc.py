"""A signaling class for programs written for aiortc's own (`aiortc.contrib.signaling`): one line changes.

    signaling = TcpSocketSignaling("127.0.0.1", 1234)                               # before
    signaling = Signaling("tcp://127.0.0.1:7337", id="alice", to="bob")             # after

and, for the server's STUN and TURN servers, another one: `RTCPeerConnection(signaling.configuration)`.

Runs on asyncio, as aiortc does.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal, cast

import aiortc
from aiortc.contrib.signaling import BYE, BaseSignaling, SignalingBye
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from sigd.client import candidates
from sigd.client.backlog import Received
from sigd.client.backoff import Backoff
from sigd.client.errors import SignalingError
from sigd.client.peer import Peer, connect
from sigd.client.wallet import CredentialsSource
from sigd.wire.errors import ErrorCode
from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, OfferFrom

__all__ = ["BYE", "END_OF_CANDIDATES", "EndOfCandidates", "Signaling", "configuration"]

LONGEST_WAIT_SECONDS: Final = 4.0
"""Maximum interval between attempts to reach an absent peer: 2 s on average, half of the 60 misses per minute that a
server allows.
"""

BYE_SECONDS: Final = 1.0
"""Timeout for the farewell on `close`: the other peer notices in any case, by its ICE."""

MOST_LOGGED: Final = 5
"""Maximum number of log lines for candidates left out between two descriptions: they mostly have the same fault."""

_log: Final = logging.getLogger(__name__)


class EndOfCandidates:
    """The type of `END_OF_CANDIDATES`, for `isinstance`."""

    def __repr__(self) -> str:
        return "END_OF_CANDIDATES"


END_OF_CANDIDATES: Final = EndOfCandidates()
"""The other peer has no more candidates: `await pc.addIceCandidate(None)`. Programs that do not know it ignore it; None
would tell them that the connection is closed.
"""

Sent = aiortc.RTCSessionDescription | aiortc.RTCIceCandidate | SignalingBye | EndOfCandidates


class Signaling(BaseSignaling):
    """Signaling with one other peer through sigd.

    As with TcpSocketSignaling, sending an offer waits for the other peer. A lost connection is restored in the
    background.

    Candidates are read as leniently as a browser reads them. One that aiortc cannot use, trickled or in a description,
    is left out and logged.

    aiortc answers an offer without any address among its candidates (a browser's, with mDNS names only) without
    candidates of its own once it knows their end. That end is therefore held back until a candidate with an address has
    come, or the answer was sent.

    Args:
        url, id, credentials, ssl_context, framing, wait: as for `sigd.client.connect`.
        to: the other peer's ID; None: that of the first peer that sends an offer.
        dtls_server: True: be the DTLS server in calls of others, by answering `a=setup:passive`. Peers that share no
            cipher suite with aiortc's DTLS client (GStreamer's webrtcbin) connect then.

    Attributes:
        to: the other peer's ID; None until the first offer comes.
    """

    def __init__(
        self,
        url: str,
        *,
        id: str | None = None,  # noqa: A002 - the word of the wire
        to: str | None = None,
        credentials: CredentialsSource | None = None,
        ssl_context: ssl.SSLContext | None = None,
        framing: Literal["prefixed", "lines"] = "prefixed",
        wait: bool = False,
        dtls_server: bool = False,
    ) -> None:
        self.to = to
        self._connect = partial(
            connect, url, id=id, credentials=credentials, ssl_context=ssl_context, framing=framing, wait=wait
        )
        self._dtls_server = dtls_server
        self._end_may_pass = asyncio.Event()
        self._end_may_pass.set()
        self._end_held = False
        self._left_out = 0
        self._ready: asyncio.Future[Peer] | None = None
        self._holder: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    # -- aiortc's interface

    async def connect(self) -> None:
        """Connect and register.

        Raises:
            OSError: there is no connection.
            SignalingError: the server did not register this peer.
        """
        await self._connected()

    async def send(self, descr: Sent | None) -> None:
        """Send a session description, a candidate, the end of candidates (or None), or `BYE`.

        Raises:
            SignalingError: the server's reason why the message was not delivered.
        """
        peer = await self._connected()
        if self.to is None:
            raise RuntimeError("nobody to send to: construct with `to`, or receive an offer first")
        match descr:
            case aiortc.RTCSessionDescription(type="offer"):
                await self._offer(peer, self.to, descr.sdp)
            case aiortc.RTCSessionDescription(type="answer"):
                await peer.answer(self.to, descr.sdp)
                self._end_may_pass.set()
            case aiortc.RTCIceCandidate():
                await peer.candidate(self.to, _to_init(descr))
            case None | EndOfCandidates():
                await peer.end_of_candidates(self.to)
            case SignalingBye():
                await peer.bye(self.to)
            case _:
                raise ValueError(f"neither offer, answer, candidate nor bye: {descr!r}")

    async def receive(self) -> Sent | None:  # type: ignore[override]  # aiortc has no mark for the end of candidates
        """Return the other peer's next message; None after `close`.

        Raises:
            SignalingError: the conversation with the server has ended for good: `replaced`, `kicked`, ...
        """
        if self._closing.is_set():
            return None
        peer = await self._connected()
        while True:
            if self._end_held and self._end_may_pass.is_set():
                self._end_held = False
                return END_OF_CANDIDATES
            try:
                message = await self._heard(peer)
            except StopAsyncIteration:
                return None
            found = None if message is None else self._read(message)
            if found is not None:
                return found

    async def close(self) -> None:
        """Say goodbye, and leave the server."""
        peer = None
        if self._ready is not None and self._ready.done() and not (self._ready.cancelled() or self._closing.is_set()):
            peer = self._ready.result()
        if peer is not None and peer.connected and self.to is not None:
            with suppress(SignalingError, TimeoutError):
                async with asyncio.timeout(BYE_SECONDS):
                    await self.send(BYE)
        self._closing.set()
        if self._holder is not None:
            if peer is None:
                self._holder.cancel()
            await asyncio.wait([self._holder])

    @property
    def configuration(self) -> aiortc.RTCConfiguration:
        """The latest STUN and TURN servers of the server; read it after connecting, and for each call again.

        Raises:
            RuntimeError: not connected yet, or closed.
        """
        if self._ready is None or not self._ready.done() or self._closing.is_set():
            raise RuntimeError("not connected: nobody has told of any servers")
        return configuration(self._ready.result().ice_servers)

    # -- implementation

    async def _connected(self) -> Peer:
        if self._closing.is_set():
            raise RuntimeError("this signaling is closed")
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._holder = asyncio.create_task(self._hold(self._ready))
        return await asyncio.shield(self._ready)

    async def _hold(self, ready: "asyncio.Future[Peer]") -> None:
        """Stay connected until closed, in a separate task: a program may close from another task than it connects."""
        try:
            async with self._connect() as peer:
                ready.set_result(peer)
                await self._closing.wait()
        except (OSError, SignalingError, ValueError) as fault:
            self._ready = None  # another attempt is possible
            ready.set_exception(fault)
        finally:
            ready.cancel()

    async def _heard(self, peer: Peer) -> Received | None:
        """Return the next message; None if a held-back end of candidates is due before it."""
        if not self._end_held:
            return await anext(peer)
        hearing = asyncio.ensure_future(peer.__anext__())
        passing = asyncio.ensure_future(self._end_may_pass.wait())
        try:
            await asyncio.wait({hearing, passing}, return_when=asyncio.FIRST_COMPLETED)
            return hearing.result() if hearing.done() else None
        finally:
            hearing.cancel()  # a message that comes now stays with the peer
            passing.cancel()

    async def _offer(self, peer: Peer, to: str, sdp: str) -> None:
        backoff = Backoff(random.Random(), LONGEST_WAIT_SECONDS)
        now = asyncio.get_running_loop().time
        while True:
            try:
                return await peer.offer(to, sdp)
            except SignalingError as fault:
                if fault.code not in {ErrorCode.PEER_UNAVAILABLE, ErrorCode.RATE_LIMITED}:
                    raise
                if fault.retry_after_ms is not None:
                    backoff.hold(fault.retry_after_ms, now())
            await asyncio.sleep(backoff.next(now()) - now())

    def _read(self, message: Received) -> Sent | None:
        """Return the program's view of a message; None for none."""
        if isinstance(message, Error):
            _log.warning("%s: %s", message.code, message.message)
            return None
        if self.to is None and isinstance(message, OfferFrom):
            self.to = message.sender
        if message.sender != self.to:
            return None
        match message:
            case OfferFrom():
                return aiortc.RTCSessionDescription(sdp=self._read_offer(message.sdp), type="offer")
            case AnswerFrom():
                return aiortc.RTCSessionDescription(sdp=self._without_faulty(message.sdp), type="answer")
            case CandidateFrom(candidate=None) if not self._end_may_pass.is_set():
                self._end_held = True
                return None
            case CandidateFrom():
                return END_OF_CANDIDATES if message.candidate is None else self._from_init(message.candidate)
            case ByeFrom():
                return BYE
            case _:
                return None

    def _read_offer(self, sdp: str) -> str:
        sdp = self._without_faulty(sdp)
        self._end_held = False
        if candidates.names_an_address(sdp):
            self._end_may_pass.set()
        else:
            sdp, self._end_held = candidates.without_end(sdp)
            self._end_may_pass.clear()
        return sdp.replace("a=setup:actpass", "a=setup:active") if self._dtls_server else sdp

    def _without_faulty(self, sdp: str) -> str:
        sdp, faults = candidates.without_faulty(sdp)
        self._left_out = 0
        for fault in faults:
            self._leave_out(fault)
        return sdp

    def _from_init(self, init: dict[str, Any]) -> aiortc.RTCIceCandidate | None:
        """Return the candidate; None for one that aiortc cannot use.

        An empty candidate is such a one: it ends the candidates of one media section, and aiortc only knows the end of
        all.
        """
        try:
            read = candidates.read(init)
        except ValueError as fault:
            self._leave_out(str(fault))
            return None
        if read is None:
            _log.debug("left out the end of one media section's candidates: aiortc only knows that of all")
            return None
        candidate = candidate_from_sdp(read.text)
        candidate.sdpMid, candidate.sdpMLineIndex = read.mid, read.line_index
        if not read.is_hidden:
            self._end_may_pass.set()
        return candidate

    def _leave_out(self, fault: str) -> None:
        self._left_out += 1
        if self._left_out <= MOST_LOGGED:
            _log.warning("left a candidate out: %s", fault)
        elif self._left_out == MOST_LOGGED + 1:
            _log.warning("left more candidates out, and logs no more of them until the next description")


def configuration(ice_servers: Iterable[Mapping[str, Any]]) -> aiortc.RTCConfiguration:
    """Return an RTCConfiguration with these servers (`Peer.ice_servers`), without those that aiortc cannot use."""
    servers: list[aiortc.RTCIceServer] = []
    for server in ice_servers:
        urls, username, credential = server.get("urls"), server.get("username"), server.get("credential")
        listed = cast("list[object]", urls) if isinstance(urls, list) else [urls]
        usable = [url for url in listed if isinstance(url, str) and _is_usable(url)]
        if usable:
            servers.append(aiortc.RTCIceServer(urls=usable, username=username, credential=credential))
    return aiortc.RTCConfiguration(iceServers=servers)  # a list even if empty: without one aiortc uses Google's servers


def _is_usable(url: str) -> bool:
    try:
        parse_stun_turn_uri(url)
    except ValueError:
        _log.warning("aiortc cannot use this STUN or TURN server: %a", url)  # IPv6 addresses, for example
        return False
    return True


def _to_init(candidate: aiortc.RTCIceCandidate) -> dict[str, Any]:
    return {
        "candidate": "candidate:" + candidate_to_sdp(candidate),
        "sdpMid": candidate.sdpMid,
        "sdpMLineIndex": candidate.sdpMLineIndex,
    }
