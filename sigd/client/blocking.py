"""The blocking client: `connect` and a `BlockingPeer`. Needs only msgspec.

For example:

    with connect("tcp://host:7337", id="cam1") as peer:
        peer.request(Offer(to="bob", sdp=sdp))
        while (message := peer.receive()) is not None:
            ...
"""

import logging
import math
import random
import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from selectors import PollSelector
from time import monotonic
from types import TracebackType
from typing import Any, Final

from sigd.client import address
from sigd.client.address import Udp
from sigd.client.backlog import Received
from sigd.client.conversation import Asking, Conversation
from sigd.client.errors import Disconnected, NoCredentials, SignalingError
from sigd.client.registration import Registration, requested
from sigd.client.sockets import Connection, Turns, Wait, connect_socket, why
from sigd.client.suspended import Suspensions
from sigd.client.trust import context_for
from sigd.client.wallet import NONE, Credentials, checked
from sigd.wire import messages
from sigd.wire.framing import Dialect
from sigd.wire.said import IceServerList, Ok, PeerList, PongSaid

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

_log: Final = logging.getLogger(__name__)

LONGEST_NAP_SECONDS: Final = 3600.0
"""Maximum seconds of one system call, whose range is limited; longer waits repeat it."""

Answered = Ok | PeerList | IceServerList | PongSaid
"""Answers to requests."""


def connect(
    url: str,
    *,
    id: str | None = None,  # noqa: A002 - the word of the wire
    meta: Mapping[str, Any] | None = None,
    credentials: Credentials | Callable[[], Credentials] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    reconnect: bool = True,
    wait: bool = False,
    timeout: float = CONNECT_SECONDS,
    jitter: random.Random | None = None,
) -> "BlockingPeer":
    """Connect, register, and return the peer.

    A connection lost later is restored as by `sigd.client.connect`, during `request` and `receive`: between these calls
    nothing happens at all. If a program spends longer outside of them than 2.5 times the server's keepalive (30 s by
    default), the server takes it for dead; over UDP, 30 s are too long.

    Args:
        url: `tls://host[:port]`, `tcp://host[:port]`, `udp://host[:port]` or `unix:/path`.
        id: the peer ID; None: the server assigns one.
        meta: metadata shown to other peers: a JSON object of at most 1 KiB.
        credentials: members of `register`: `{"token": ...}`, `{"user": ..., "token": ...}` or `{"jwt": ...}`; or a
            function that returns such a mapping, called for each `register`. Only a function permits renewal.
        ssl_context: for `tls://`: trusted authorities and the client's certificate; None: the system's authorities.
        reconnect: False: do not restore a lost connection.
        wait: True: wait for a server that is unreachable or full instead of raising; the first cause is
            logged.
        timeout: seconds for one attempt, including the server's answer. A name lookup may take longer.
        jitter: source of randomness for pauses.

    Raises:
        OSError: no connection; its subclass `TimeoutError` after `timeout`.
        SignalingError: the server refused to register; its subclass `NoCredentials`: `credentials` raised the exception
            in its cause.
        ValueError: the URL or the credentials are invalid, or the `ssl_context` has no use.
    """
    where = address.parse(url)
    context = context_for(where, ssl_context)
    chance = jitter or random.Random()
    register = requested(id, meta)
    conversation = Conversation(
        register,
        None if isinstance(where, Udp) else Dialect.PREFIXED,
        chance,
        reconnect=reconnect,
        wait=wait,
        max_frame=MAX_FRAME,
        renewable=callable(credentials),
    )
    dial = partial(connect_socket, where, context, conversation, chance)
    peer = BlockingPeer(conversation, dial, _maker(credentials), timeout, wait=wait)
    peer.start()
    return peer


class BlockingPeer(Registration):
    """A registered peer, made by `connect`. For one thread, and for `with`.

    Nothing happens between two calls: `request` and `receive` read, answer pings and reconnect.
    """

    def __init__(
        self,
        conversation: Conversation,
        dial: Callable[[float], Turns[Connection]],
        make_credentials: Callable[[], Credentials],
        timeout: float,
        *,
        wait: bool = False,
    ) -> None:
        super().__init__(conversation)
        self._dial = dial
        self._make_credentials = make_credentials
        self._timeout = timeout
        self._wait = wait
        self._connection: Connection | None = None
        self._life = self._live()
        self._left_at = math.inf
        self._suspensions = Suspensions()

    def __enter__(self) -> "BlockingPeer":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def trouble(self) -> str:
        """The reason why there is no connection; empty if there is one."""
        fault = self._conversation.fault
        return "" if self.connected or fault is None else why(fault)

    # -- interface

    def start(self) -> None:
        """Make the first connection, for `connect`."""
        try:
            self._attend(lambda: self.connected, math.inf)
        except BaseException:
            self._life.close()
            raise
        if self._conversation.terms is None and self._conversation.ended is not None:
            raise self._conversation.ended

    def request(self, message: Asking, *, within: float = ANSWER_SECONDS) -> Answered:
        """Send a request and return the server's answer, waiting for a connection if needed.

        Raises:
            SignalingError: the server's refusal; its subclass `Disconnected`: there was no connection.
            TimeoutError: no answer came in time; the request may have been executed.
        """
        conversation, until = self._conversation, monotonic() + within
        self._attend(lambda: conversation.ready, until)
        if conversation.ended is not None:
            raise Disconnected(why(conversation.ended), sent=False)
        if not conversation.ready:
            raise Disconnected(self.trouble or f"no connection for {within:g} s: nothing was sent", sent=False)
        pending = conversation.ask(message, _answer_of(message), _nothing)
        try:
            self._attend(lambda: pending.settled, until)
        finally:
            conversation.forget(pending)
        if not pending.settled:
            raise TimeoutError(f"no answer for {within:g} s")
        return pending.result()

    def receive(self, timeout: float = math.inf) -> Received | None:
        """Return the next message of another peer, or an `error` that answers no request; None after the timeout.

        Also returns None once this peer has left.

        Raises:
            SignalingError: the conversation has ended for good: `replaced`, `kicked`, ...; its subclass `Disconnected`:
                the connection is lost and will not be restored.
        """
        conversation = self._conversation
        self._attend(lambda: conversation.has_messages, monotonic() + timeout)
        message = conversation.take()
        if message is None and conversation.ended is not None and not conversation.left:
            raise conversation.ended.with_traceback(None)
        return message

    def close(self) -> None:
        """Leave, which frees the ID."""
        conversation = self._conversation
        if not conversation.left:
            conversation.leave()
            if conversation.ready:
                with suppress(SignalingError, TimeoutError):
                    self.request(messages.Unregister(), within=LEAVE_SECONDS)
        self._life.close()

    # -- waiting

    def _attend(self, done: Callable[[], bool], until: float) -> None:
        """Process events until the condition holds, the conversation has ended, or the time is up."""
        conversation, silence = self._conversation, self._conversation.silence
        absent = monotonic() - self._left_at
        if absent >= silence.keepalive:
            silence.restart(monotonic() - silence.keepalive)  # we did not listen: ping the server before giving it up
        while True:
            self._suspensions.tell(conversation.renewal)
            wait = next(self._life, None)
            if conversation.renewal.wanted:
                self._renew()
            elif wait is None or done() or monotonic() >= until:
                break
            else:
                _pause(wait, until)
        self._left_at = monotonic()

    def _renew(self) -> None:
        try:
            credentials = self._fresh()
        except NoCredentials:
            self._conversation.renew(None)  # the old ones are still valid
        else:
            shown = credentials if self._connection is None else self._connection.shown(credentials)
            self._conversation.renew(shown)

    def _fresh(self) -> Credentials:
        try:
            return self._make_credentials()
        except Exception as fault:
            raise NoCredentials(fault) from fault

    # -- one connection after another

    def _live(self) -> Generator[Wait, None, None]:
        """Connect, converse, and reconnect after each loss, until the conversation has ended."""
        conversation = self._conversation
        try:
            connection = yield from (self._establish_or_wait() if self._wait else self._establish())
            while connection is not None:
                reason = yield from connection.converse()
                self._hang_up()
                conversation.lose(reason, monotonic())
                connection = yield from self._establish_again()
        finally:
            self._hang_up()
            if conversation.ended is None:
                conversation.leave()
                conversation.lose("", monotonic())

    def _establish(self) -> Turns[Connection | None]:
        """Connect and register.

        Raises:
            OSError: no connection, or (`TimeoutError`) no answer.
            SignalingError: the server refused to register.
        """
        until = monotonic() + self._timeout
        self._conversation.begin(monotonic())
        connection = self._connection = yield from self._dial(until)
        # Only once there is a connection: their source may serve thousands of peers.
        yield from connection.register(self._fresh(), until)
        return connection

    def _establish_or_wait(self) -> Turns[Connection | None]:
        try:
            return (yield from self._establish())
        except (OSError, SignalingError) as fault:
            self._hang_up()
            self._conversation.lose(why(fault), monotonic())
            if self._conversation.ended is None:
                _log.warning("%s; trying again", why(fault))
        return (yield from self._establish_again())

    def _establish_again(self) -> Turns[Connection | None]:
        conversation = self._conversation
        while conversation.ended is None:
            while monotonic() < conversation.retry_at:
                yield Wait(None, 0, conversation.retry_at)
            try:
                return (yield from self._establish())
            except (OSError, SignalingError) as fault:
                self._hang_up()
                conversation.lose(why(fault), monotonic())
        return None

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.hang_up()


def _maker(source: Credentials | Callable[[], Credentials] | None) -> Callable[[], Credentials]:
    """Return a function that makes valid credentials for each `register`.

    Raises:
        ValueError: they are of an unknown kind.
    """
    if source is None:
        return lambda: NONE
    if callable(source):
        return lambda: checked(source())
    given = checked(source)
    return lambda: given


def _answer_of(message: Asking) -> type[Answered]:
    """Return the type of the server's regular answer."""
    match message:
        case messages.Peers():
            return PeerList
        case messages.IceServers():
            return IceServerList
        case messages.Ping():
            return PongSaid
        case _:
            return Ok


def _nothing() -> None:
    """Do nothing: the caller polls."""


def _pause(wait: Wait, until: float) -> None:
    seconds = max(0.0, min(LONGEST_NAP_SECONDS, min(wait.at, until) - monotonic()))
    if wait.socket is None or not wait.events:
        time.sleep(seconds)
        return
    with PollSelector() as selector:
        selector.register(wait.socket, wait.events)
        selector.select(seconds)
