"""The client's side of the protocol, across connections. No I/O, no clock: `now` is an argument.

The owner of the socket calls `begin`, connects, gets credentials (`register`), writes the bytes of `take_due`, passes
input to `receive`, lets time pass (`expire` at `deadline`), gets fresh credentials when wanted (`renewal.wanted`, then
`renew`) and reports a lost connection (`lose`). At `retry_at` this begins again, until `ended`. Transports of whole
messages use `next_due` and `receive_message`.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, assert_never

from msgspec import structs

from sigd.client.backlog import Backlog, Received
from sigd.client.backoff import Backoff
from sigd.client.errors import Disconnected, SignalingError
from sigd.client.pending import Answer, Pending
from sigd.client.renewal import Renewal
from sigd.client.silence import Silence
from sigd.client.wallet import NONE, Credentials
from sigd.wire import messages
from sigd.wire.datagram import MAX_MESSAGE
from sigd.wire.errors import ErrorCode, Next, ProtocolError
from sigd.wire.framing import Dialect, Lines, Prefixed, Splitter, TooLong, dialect_of
from sigd.wire.messages import ClientMessage, Ping, Pong, Register, Relayed
from sigd.wire.said import (
    AnswerFrom,
    ByeFrom,
    CandidateFrom,
    Error,
    GoingAway,
    IceServerList,
    MessageFrom,
    OfferFrom,
    Ok,
    PeerList,
    PingSaid,
    PongSaid,
    Registered,
)

Asking = (
    messages.Offer
    | messages.Answer
    | messages.Candidate
    | messages.Bye
    | messages.Message
    | messages.Peers
    | messages.IceServers
    | messages.Ping
    | messages.Unregister
)
"""Requests of the program."""

STABLE_SECONDS: Final = 10.0
"""Time after registration that resets the pauses, as long as the longest pause; a server that drops clients right after
`registered` is not hammered.
"""

DUE_BYTES: Final = 65_536
"""Maximum bytes waiting for the socket; beyond it requests wait. One frame of the default size."""

_ALL: Final = 1 << 30
"""Maximum number of frames taken at once: all of one read."""


class Conversation:
    """One peer's conversation with a server. Times are seconds on the caller's clock.

    Args:
        framing: framing of written frames; None: messages travel whole.
        reconnect: whether to restore a lost connection.
        wait: whether to retry the first connection until it succeeds.

    Attributes:
        id: the peer ID: as requested, then as assigned by the server, and requested again with each connection.
        registered: whether the server has registered this peer over this connection.
        terms: the server's latest `registered`.
        ice_servers: the latest STUN and TURN servers, in the form of RTCConfiguration.
        over: whether the connection is finished and must be closed.
        fault: the reason for the end of this connection, or for a refused registration.
        left: whether this peer wants no further connection.
        ended: the reason for the end of the conversation.
        retry_at: time of the next connection.
        renewal: times of credential renewal.
        silence: time since the server was last heard.
    """

    def __init__(
        self,
        register: Register,
        framing: Dialect | None,
        jitter: random.Random,
        *,
        reconnect: bool,
        wait: bool = False,
        max_frame: int,
        renewable: bool = False,
    ) -> None:
        self.id = register.id
        self.registered = False
        self.terms: Registered | None = None
        self.ice_servers: list[dict[str, Any]] = []
        self.over = True
        self.fault: SignalingError | None = None
        self.left = False
        self.ended: SignalingError | None = None
        self.retry_at = -math.inf
        self.renewal = Renewal(renewable=renewable)
        self.silence = Silence()
        self._register = register
        self._register_ref = ""
        self._framed = framing is not None
        self._wrap = _WRAPS[framing]
        self._overhead = len(self._wrap(b""))
        self._reconnect = reconnect
        self._wait = wait
        self._max_frame = max_frame
        self._backoff = Backoff(jitter)
        self._split: Splitter | None = None
        self._refs = 0
        self._pending: dict[str, Pending[Any]] = {}
        self._due: deque[bytes] = deque()
        self._due_bytes = 0
        self._backlog = Backlog()
        self._registered_at = math.inf

    # -- a connection

    def begin(self, now: float) -> None:
        """Begin a new connection."""
        self.over = False
        self.fault = None
        self._split = None
        self.silence.restart(now)

    def register(self, credentials: Credentials = NONE) -> None:
        """Request the ID, as the first message of a connection."""
        self._say_register(self._register, credentials)

    def renew(self, credentials: Credentials | None) -> None:
        """Register again with fresh credentials; None: there are none now, and `renewal` asks again later."""
        self.renewal.wanted = False
        if credentials is not None:
            self._say_register(Register(), credentials)  # omitted members stay unchanged

    def receive(self, chunk: bytes, now: float) -> None:
        """Process input. Once `over`, the rest is ignored."""
        split = self._split
        if split is None:
            # An error that the server sends before it knows our framing comes as a line.
            prefixed = dialect_of(chunk[0]) is Dialect.PREFIXED
            split = self._split = Prefixed(self._max_frame) if prefixed else Lines(self._max_frame)
        self.silence.restart(now)
        more = True
        while more and not self.over:
            try:
                frames = split.take(chunk, _ALL)
            except ProtocolError as fault:
                frames = ()
                if isinstance(fault, TooLong):
                    split.skip()
                else:
                    self._finish(Disconnected(f"the server sent what is no frame: {fault.text}", sent=True))
            for frame in frames:
                if not self.over:
                    self._hear(frame, now)
            chunk = b""
            more = split.more

    def receive_message(self, message: bytes, now: float) -> None:
        """Process a whole message."""
        if not self.over:
            self._hear(message, now)

    def lose(self, text: str, now: float) -> None:
        """Note the loss of the connection, or a failure to make one; `text` is the reason unless a message gave it."""
        if self.left:
            self.fault = Disconnected("this peer has left", sent=True)
        elif self.fault is None:
            self.fault = Disconnected(text, sent=True)
        if now - self._registered_at >= STABLE_SECONDS:
            self._backoff.reset()
        self.registered = False
        self._registered_at = math.inf
        self.renewal.stop()
        self.over = True
        self._due.clear()
        self._due_bytes = 0
        pending, self._pending = self._pending, {}
        for request in pending.values():
            request.fail(Disconnected(f"lost while the answer was awaited ({self.fault})", sent=True))
        if self.ended is None and (self.left or not (self._reconnect or (self._wait and self.terms is None))):
            self.ended = self.fault
        self.retry_at = self._backoff.next(now)

    def leave(self) -> None:
        """Make this connection the last one."""
        self.left = True

    # -- output

    @property
    def ready(self) -> bool:
        """Whether a request is possible now."""
        return self.registered and not self.over and self._due_bytes < DUE_BYTES

    def ask(self, message: Asking, expected: type[Answer], settled: Callable[[], None]) -> Pending[Answer]:
        """Send a request once `ready`; `settled` is called when its answer is there.

        Raises:
            SignalingError: `too-large`, checked here because a server closes the link over it.
        """
        if self.terms is None or not self.registered:
            raise AssertionError("asked without being registered")
        message.ref = self._next_ref()
        data = self._wrap(messages.encode(message))
        size = len(data) - self._overhead
        most = self.terms.max_frame if self._framed else min(self.terms.max_frame, MAX_MESSAGE)
        if size > most:
            text = f"{size} bytes: this server takes {most}"
            raise SignalingError(ErrorCode.TOO_LARGE, text, to=message.to if isinstance(message, Relayed) else None)
        pending = self._pending[message.ref] = Pending(message.ref, expected, settled)
        self._put(data)
        return pending

    def forget(self, pending: Pending[Any]) -> None:
        """Abandon a request: no task waits for its answer any more."""
        self._pending.pop(pending.ref, None)

    @property
    def has_due(self) -> bool:
        """Whether there is output."""
        return bool(self._due)

    def take_due(self) -> bytes:
        """Take all output."""
        due = b"".join(self._due)
        self._due.clear()
        self._due_bytes = 0
        return due

    def next_due(self) -> bytes:
        """Take the next output message; there must be one."""
        message = self._due.popleft()
        self._due_bytes -= len(message)
        return message

    def _put(self, data: bytes) -> None:
        self._due.append(data)
        self._due_bytes += len(data)

    def _say_register(self, register: Register, credentials: Credentials) -> None:
        self._register_ref = self._next_ref()
        # A short-lived copy, so that no credentials are kept.
        self._say(structs.replace(register, id=self.id, ref=self._register_ref, **credentials))

    def _next_ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    def _say(self, message: ClientMessage) -> None:
        self._put(self._wrap(messages.encode(message)))

    # -- input

    @property
    def wants_more(self) -> bool:
        """Whether to read more: not while the program leaves too much unread."""
        return self._backlog.has_room(asking=bool(self._pending))

    @property
    def has_messages(self) -> bool:
        """Whether there is a message for the program."""
        return bool(self._backlog)

    def take(self) -> Received | None:
        """Take the next message for the program."""
        return self._backlog.take()

    def _hear(self, frame: bytes, now: float) -> None:
        try:
            message = messages.decode_said(frame)
        except ValueError:
            return  # a newer server may send messages unknown to this version (protocol.md, section 3)
        match message:
            case OfferFrom() | AnswerFrom() | CandidateFrom() | ByeFrom() | MessageFrom():
                self._backlog.put(message, len(frame))
            case Ok() | PongSaid() | PeerList() | IceServerList():
                if isinstance(message, IceServerList):  # also sent unasked, before the old ones expire
                    self._hear_ice_servers(message.ice_servers)
                pending = self._pending.get(message.ref or "")
                if pending is not None and pending.answer(message):
                    del self._pending[pending.ref]  # otherwise a connection lost now would fail it again
            case Error():
                self._hear_error(message, len(frame), now)
            case PingSaid():
                if self._due_bytes < DUE_BYTES:  # waiting output shows life as well
                    self._say(Pong())
            case Registered():
                if message.ref == self._register_ref:
                    self._hear_registered(message, now)
            case GoingAway():
                self._backoff.hold(message.reconnect_after_ms, now)
                self._finish(Disconnected(f"the server is going away: {message.reason}", sent=True))
            case _:
                assert_never(message)

    def _hear_registered(self, terms: Registered, now: float) -> None:
        if not self.registered:
            self._registered_at = now
        if (
            terms.ice_servers is not None or not self.registered
        ):  # renewed without new ones: the former ones remain valid
            self._hear_ice_servers(terms.ice_servers or [])
        self.id = terms.id
        self.terms = terms
        self.silence.agree(terms.keepalive_ms)
        self.registered = True
        self.renewal.grant(terms.expires_ms, now)

    def _hear_ice_servers(self, servers: list[Any]) -> None:
        self.ice_servers = [server for server in servers if isinstance(server, dict)]

    def _hear_error(self, error: Error, size: int, now: float) -> None:
        fault = SignalingError.of(error)
        code = _known(error.code)
        pending = self._pending.pop(error.ref or "", None)
        if pending is not None:
            pending.fail(fault)
        if self._is_final(error, code):
            self.ended = fault
            self._finish(fault)
        elif not self.registered or (code is not None and code.closes):
            self._hold(error, now)
            self._finish(fault)
        elif error.ref is None or error.ref == self._register_ref:  # else the old credentials serve until they expire
            if code is None and error.to is None:
                self._hold(error, now)
                self.fault = fault  # the reason, if the connection ends now
            self._backlog.put(error, size)

    def _is_final(self, error: Error, code: ErrorCode | None) -> bool:
        """Return whether an error rules out an automatic reconnection."""
        if error.reconnect is False:
            return True
        if code is ErrorCode.AUTH_EXPIRED:
            return not self.renewal.renewable
        if code is not None and code.next is Next.NEVER:
            return error.reconnect is None and error.retry_after_ms is None
        return code is not None and code.next is Next.MEND and not self.registered

    def _hold(self, error: Error, now: float) -> None:
        if error.retry_after_ms is not None:
            self._backoff.hold(error.retry_after_ms, now)

    def _finish(self, fault: SignalingError) -> None:
        self.renewal.stop()
        self.fault = fault
        self.over = True

    # -- time

    @property
    def deadline(self) -> float:
        """Return the time of the next `expire`."""
        return min(self.renewal.due_at, self._silent_at)

    def expire(self, now: float) -> None:
        """Do everything due: request fresh credentials, ping a silent server, or give it up."""
        self.renewal.expire(now)
        if now < self._silent_at:
            return
        if not self.silence.pinged:
            self.silence.ping(now)
            if self._framed:
                self._say(Ping())
        elif not self.silence.look_again(now):
            self._finish(Disconnected("nothing was heard from the server for too long", sent=True))

    @property
    def _silent_at(self) -> float:
        return self.silence.due_at if self.registered and not self.over else math.inf


def _whole(message: bytes) -> bytes:
    return message


_WRAPS: Final[dict[Dialect | None, Callable[[bytes], bytes]]] = {
    Dialect.PREFIXED: Prefixed.wrap,
    Dialect.LINES: Lines.wrap,
    None: _whole,
}


def _known(code: str) -> ErrorCode | None:
    try:
        return ErrorCode(code)
    except ValueError:
        return None  # of a newer server: its `reconnect` and `retryAfterMs` say what to do
