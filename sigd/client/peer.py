"""The client for trio and asyncio: `connect`, and a `Peer` with a method for each request."""

import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import anyio
import anyio.lowlevel
import msgspec
from msgspec import UNSET, Raw, UnsetType

from sigd.client import address
from sigd.client.backlog import Received
from sigd.client.conversation import Asking, Conversation
from sigd.client.errors import Disconnected, SignalingError
from sigd.client.over_datagrams import connect_datagrams
from sigd.client.over_stream import connect_stream
from sigd.client.reconnector import Connection, Reconnector
from sigd.client.registration import Registration, requested
from sigd.client.trust import context_for
from sigd.client.wallet import CredentialsSource, Wallet
from sigd.wire import messages
from sigd.wire.framing import Dialect
from sigd.wire.said import IceServerList, Ok, PeerList, PongSaid, Said

if TYPE_CHECKING:
    from sigd.client.pending import Pending

MAX_FRAME: Final = 1_048_576
"""Maximum bytes of a received message. Servers accept 65 536 by default, and their limit counts then."""

CONNECT_SECONDS: Final = 10.0
"""Timeout for one attempt, including the answer to `register`: that may take 3 s while the server pings the ID's
holder.
"""

ANSWER_SECONDS: Final = 10.0
"""Timeout for one request, including the wait for a connection: as long as the longest pause between attempts."""

LEAVE_SECONDS: Final = 1.0
"""Timeout for the farewell: it frees the ID, and nothing else depends on it."""

Answer = TypeVar("Answer", bound=Said)


@asynccontextmanager
async def connect(
    url: str,
    *,
    id: str | None = None,  # noqa: A002 - the word of the wire
    meta: Mapping[str, Any] | None = None,
    credentials: CredentialsSource | None = None,
    ssl_context: ssl.SSLContext | None = None,
    framing: Literal["prefixed", "lines"] = "prefixed",
    keepalive_ms: int | None = None,
    max_frame: int = MAX_FRAME,
    reconnect: bool = True,
    wait: bool = False,
    connect_timeout: float = CONNECT_SECONDS,
    jitter: random.Random | None = None,
) -> AsyncGenerator["Peer", None]:
    """Connect and register for the duration of the `async with`.

    Failures of the first connection are raised, such as a wrong address or an ID in use. With `wait` they are retried
    like a lost connection, and only a refusal that no retry changes is raised.

    A connection lost later is restored, after pauses with full jitter, and with the same ID. An ID in use is then a
    reason to retry, since its holder may be this peer's own old link. So is an untrusted server, whose certificate may
    be repaired. The server can end this (`replaced`, `auth-failed`).

    Expiring credentials are renewed in time if a function makes them. Without one `auth-expired` ends the conversation.

    Args:
        url: `tls://host[:port]`, `tcp://host[:port]`, `udp://host[:port]` or `unix:/path`.
        id: the peer ID; None: the server assigns one (`Peer.id`).
        meta: metadata shown to other peers: a JSON object of at most 1 KiB.
        credentials: members of `register`: `{"token": ...}`, `{"user": ..., "token": ...}` or `{"jwt": ...}`; or a
            function that returns such a mapping, called for each `register`. It must not block, but may be async. Once
            connected, a function that raises is called again later.
        ssl_context: for `tls://`: trusted authorities and the client's certificate; None: the system's authorities. The
            name in the URL is checked against the server's certificate, as the context says.
        framing: length-prefixed, or lines of JSON, which are easier to read in a trace; datagrams need neither.
        keepalive_ms: silence after which each side pings the other; None: the server's choice.
        max_frame: maximum bytes of a received message.
        reconnect: False: do not restore a lost connection.
        wait: True: wait for a server that is unreachable or full instead of raising; the first cause is
            logged.
        connect_timeout: seconds for one attempt, including the server's answer.
        jitter: source of randomness for pauses.

    Raises:
        OSError: no connection; its subclasses `TimeoutError` after `connect_timeout`, and
            `ssl.SSLCertVerificationError` if the server is not the expected one.
        SignalingError: the server refused to register: `id-taken`, `auth-failed`, `server-full`, ...; its subclass
            `NoCredentials`: `credentials` raised the exception in its cause.
        ValueError: the URL or the credentials are invalid, or the `ssl_context` has no use.
    """
    where = address.parse(url)
    context = context_for(where, ssl_context)
    chance = jitter or random.Random()
    wallet = Wallet(credentials)
    register = requested(id, meta, keepalive_ms=keepalive_ms, max_frame=max_frame)
    dial: Callable[[Reconnector], Awaitable[Connection]]
    if isinstance(where, address.Udp):
        dial, frames = partial(connect_datagrams, where, chance), None
    else:
        dial = partial(connect_stream, where, context)
        frames = Dialect.LINES if framing == "lines" else Dialect.PREFIXED
    conversation = Conversation(
        register,
        frames,
        chance,
        reconnect=reconnect,
        wait=wait,
        max_frame=max_frame,
        renewable=wallet.renewable,
    )
    reconnector = Reconnector(conversation, dial, wallet, connect_timeout, where.url)
    connection = await (reconnector.establish_or_wait() if wait else reconnector.establish())
    fault: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(reconnector.run, connection)
        peer = Peer(reconnector)
        try:
            yield peer
        except Exception as raised:
            fault = raised
        await peer.leave()
    if fault is not None:
        raise fault  # not inside, where it would be wrapped in a group


class Peer(Registration):
    """A registered peer, made by `connect`. Iterate over it to receive the messages of other peers.

    A request returns once the server has answered it. For relayed messages this means that the message is in the
    recipient's outbox. Without a connection, requests wait for the next one. Each raises

    - `SignalingError`: the server's reason, such as `peer-unavailable` or `too-large`;
    - `Disconnected`, its subclass: there was no connection in time, or it was lost before the answer came;
    - `TimeoutError`: no answer came, though there is a connection.

    `within` is the timeout for all of it, in seconds. Messages wait for the program up to a bound; beyond it nothing
    more is read, so a program that sends requests must also take messages.
    """

    def __init__(self, reconnector: Reconnector) -> None:
        super().__init__(reconnector.conversation)
        self._reconnector = reconnector

    @property
    def ice_servers(self) -> list[dict[str, Any]]:
        """The latest STUN and TURN servers, in the form of RTCConfiguration.

        The server sends new ones before they expire: read them again for each call. After a long time without a
        connection they may have expired; `request_ice_servers` waits for fresh ones.
        """
        return self._conversation.ice_servers.copy()

    # -- requests

    async def offer(self, to: str, sdp: str, *, session: str | None = None, within: float = ANSWER_SECONDS) -> None:
        """Send an SDP offer."""
        await self._ask(messages.Offer(to=to, sdp=sdp, session=session), Ok, within)

    async def answer(self, to: str, sdp: str, *, session: str | None = None, within: float = ANSWER_SECONDS) -> None:
        """Send an SDP answer."""
        await self._ask(messages.Answer(to=to, sdp=sdp, session=session), Ok, within)

    async def candidate(
        self,
        to: str,
        candidate: Mapping[str, Any],
        *,
        session: str | None = None,
        within: float = ANSWER_SECONDS,
    ) -> None:
        """Send an ICE candidate, an RTCIceCandidateInit: `candidate`, `sdpMid`, `sdpMLineIndex`."""
        body = Raw(msgspec.json.encode(dict(candidate)))
        await self._ask(messages.Candidate(to=to, candidate=body, session=session), Ok, within)

    async def end_of_candidates(self, to: str, *, session: str | None = None, within: float = ANSWER_SECONDS) -> None:
        """Signal the end of candidates."""
        await self._ask(messages.Candidate(to=to, candidate=Raw(b"null"), session=session), Ok, within)

    async def bye(
        self, to: str, reason: str | None = None, *, session: str | None = None, within: float = ANSWER_SECONDS
    ) -> None:
        """End a session."""
        await self._ask(messages.Bye(to=to, reason=reason, session=session), Ok, within)

    async def send(self, to: str, data: object, *, session: str | None = None, within: float = ANSWER_SECONDS) -> None:
        """Send any other JSON value."""
        body = Raw(msgspec.json.encode(data))
        await self._ask(messages.Message(to=to, data=body, session=session), Ok, within)

    async def peers(self, prefix: str = "", *, within: float = ANSWER_SECONDS) -> dict[str, dict[str, Any]]:
        """Return the registered peers with their metadata; with a prefix, those whose IDs begin with it."""
        found: dict[str, dict[str, Any]] = {}
        until = anyio.current_time() + within
        after, more = "", True
        while more:
            rest = max(0, until - anyio.current_time())
            page = await self._ask(messages.Peers(prefix=prefix, after=after), PeerList, rest)
            found |= {entry.id: _object(entry.meta) for entry in page.peers}
            more = page.more and bool(page.peers)
            after = page.peers[-1].id if page.peers else ""
        return found

    async def request_ice_servers(self, *, within: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
        """Return `ice_servers` with fresh credentials."""
        await self._ask(messages.IceServers(), IceServerList, within)
        return self.ice_servers

    async def ping(self, *, within: float = ANSWER_SECONDS) -> float:
        """Ping the server; return the round trip in seconds."""
        asked = anyio.current_time()
        await self._ask(messages.Ping(), PongSaid, within)
        return anyio.current_time() - asked

    async def leave(self) -> None:
        """Leave, which frees the ID; the iteration ends once all received messages are taken."""
        if self._conversation.left:
            return
        self._conversation.leave()
        if self._conversation.ready:
            with suppress(SignalingError, TimeoutError):
                await self._ask(messages.Unregister(), Ok, LEAVE_SECONDS)
        self._reconnector.stop()

    async def _ask(self, message: Asking, expected: type[Answer], within: float) -> Answer:
        conversation = self._conversation
        settled = anyio.Event()
        pending: Pending[Answer] | None = None
        try:
            with anyio.move_on_after(within):
                await self._reconnector.wait_for(lambda: conversation.ready or conversation.ended is not None)
                if conversation.ended is not None:
                    raise _unsent(conversation.ended, within)
                pending = conversation.ask(message, expected, settled.set)
                self._reconnector.tell()
                await settled.wait()
        finally:
            if pending is not None:
                conversation.forget(pending)
        if pending is None:
            raise _unsent(conversation.fault, within)
        if not pending.settled:
            raise TimeoutError(f"no answer for {within:g} s")
        return pending.result()

    # -- messages

    def __aiter__(self) -> AsyncIterator[Received]:
        return self

    async def __anext__(self) -> Received:
        conversation = self._conversation
        await anyio.lowlevel.checkpoint()
        while True:
            await self._reconnector.wait_for(lambda: conversation.has_messages or conversation.ended is not None)
            message = conversation.take()
            if message is not None:
                self._reconnector.tell()  # there is room again
                return message
            if conversation.ended is not None:  # otherwise another iterator was faster
                break
        if conversation.left:
            raise StopAsyncIteration
        raise conversation.ended.with_traceback(None)


def _unsent(fault: SignalingError | None, within: float) -> Disconnected:
    """Return the exception for a request that was never sent; `fault` is the reason for the missing connection."""
    if fault is None:
        return Disconnected(f"no connection for {within:g} s: nothing was sent", sent=False)
    return Disconnected(fault.text if isinstance(fault, Disconnected) else str(fault), sent=False)


def _object(meta: Raw | UnsetType) -> dict[str, Any]:
    """Return a peer's metadata; empty if there is none, or none that is readable."""
    if meta is UNSET:
        return {}
    try:
        return msgspec.json.decode(meta, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {}
