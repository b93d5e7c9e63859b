"""A client's side of the protocol, over one connection after another. No I/O, no clock: `now` is an argument.

Whoever has a socket calls `begin`, connects, fetches credentials (`register`), writes what `take_due` returns, passes
on what comes (`receive`), lets time pass (`expire` at `deadline`), fetches credentials again when they are wanted
(`renewal.wanted`, then `renew`) and says when the connection is gone (`lose`). From `retry_at` on all this begins
again, until `ended`. Where messages travel whole it is one at a time: `next_due`, and `receive_message`.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, assert_never

from msgspec import structs

from sigd.client.backoff import Backoff
from sigd.client.errors import Disconnected, SignalingError
from sigd.client.pending import Answer, Pending
from sigd.client.renewal import Renewal
from sigd.client.wallet import NONE, Credentials
from sigd.wire import messages
from sigd.wire.awake import SLACK_SECONDS
from sigd.wire.datagram import MAX_MESSAGE
from sigd.wire.errors import ErrorCode, Next, ProtocolError
from sigd.wire.framing import Framing, Lines, Prefixed, Splitter, TooLong, framing_of
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

Received = OfferFrom | AnswerFrom | CandidateFrom | ByeFrom | MessageFrom | Error
"""What a program gets: what other peers send, and an `error` that answers none of its requests."""

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
"""What a program says."""

STABLE_SECONDS: Final = 10.0
"""Who was registered for as long as the longest pause begins with short ones again; a server that drops everybody
right after `registered` is not hammered."""

SILENCE: Final = 2.5
"""Keepalives without a byte after which the server is taken for dead: what it allows its clients (`idle-timeout`)."""

LATE_LOOKS: Final = 3
"""Times in a row that a program which stood still looks for an answer once more before it gives a server up: a program
that is always late finds out all the same."""

LATE_LOOK_SECONDS: Final = 1.0
"""Time for each of them: an answer that came while the program stood still is read at once."""

SHORTEST_KEEPALIVE_SECONDS: Final = 0.1
"""Whatever the server says, it is not pinged more often than this."""

BACKLOG_BYTES: Final = 262_144
"""Received and not yet taken by the program; past it nothing is read. What the server keeps for a link, too."""

BACKLOG_BYTES_WHILE_ASKING: Final = 4 * BACKLOG_BYTES
"""The same while a request waits: its answer comes behind what other peers send, and a program that asks between two
messages has to get it. Past this it gets a time-out instead."""

STRUCT_BYTES: Final = 512
"""What a decoded message takes beside its texts, about: many short messages count for what they are."""

DUE_BYTES: Final = 65_536
"""Said and not yet taken by the socket; past it further requests wait. One frame of the default size."""

_ALL: Final = 1 << 30
"""How many frames are taken at once: as many as one read brought."""


class Conversation:
    """What one peer says to a server and hears from it. Times are seconds on the caller's clock.

    Args:
        framing: of what is written to a stream; None: there are no frames, messages travel whole.
        reconnect: whether a lost connection is made again.
        wait: whether the first connection is tried again until there is one.

    Attributes:
        id: the peer ID: as asked for, then as the server gave it, and asked for again with each connection.
        registered: whether the server has registered this peer over this connection.
        terms: what it said when it last did.
        ice_servers: the STUN and TURN servers that it last told of, as RTCConfiguration has them.
        over: nothing more comes over this connection: it is to be closed.
        pinged: whether the server, after a long silence, has to show that it is there; over a stream it was asked.
        fault: why this connection is over, or why this peer was not registered.
        left: this peer wants no further connection.
        ended: why there is to be none.
        retry_at: when the next connection may be made.
        renewal: when credentials are to be renewed.
    """

    def __init__(
        self,
        register: Register,
        framing: Framing | None,
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
        self._backlog: deque[tuple[int, Received]] = deque()
        self._backlog_bytes = 0
        self._heard_at = -math.inf
        self._registered_at = math.inf
        self.pinged = False
        self._answers_by = -math.inf
        self._late_looks = 0

    # -- a connection

    def begin(self, now: float) -> None:
        """A connection is being made."""
        self.over = False
        self.fault = None
        self._split = None
        self.alive(now)

    def register(self, credentials: Credentials = NONE) -> None:
        """Ask for the ID, before anything else is said over a connection."""
        self._say_register(self._register, credentials)

    def renew(self, credentials: Credentials | None) -> None:
        """Register again, to stay for longer; None: there are no fresh credentials now, and it asks again later."""
        self.renewal.wanted = False
        if credentials is not None:
            self._say_register(Register(), credentials)  # what is not said again stays as it was

    def receive(self, chunk: bytes, now: float) -> None:
        """Act on what came. With nothing to follow (`over`) the rest is not looked at."""
        split = self._split
        if split is None:
            # An error before the server knew our framing comes as a line.
            prefixed = framing_of(chunk[0]) is Framing.PREFIXED
            split = self._split = Prefixed(self._max_frame) if prefixed else Lines(self._max_frame)
        self.alive(now)
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
        """Act on a message that came whole."""
        if not self.over:
            self._hear(message, now)

    def lose(self, text: str, now: float) -> None:
        """The connection is gone, or was never made; `text` says why if nothing that came did."""
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
        """Let this connection be the last."""
        self.left = True

    # -- what is said

    @property
    def ready(self) -> bool:
        """Whether a request can be made now."""
        return self.registered and not self.over and self._due_bytes < DUE_BYTES

    def ask(self, message: Asking, expected: type[Answer], settled: Callable[[], None]) -> Pending[Answer]:
        """Say something, once `ready`; `settled` is called when the answer is there.

        Raises:
            SignalingError: `too-large`, found out here: a server closes the link over it.
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
        """Nobody waits for this answer any more."""
        self._pending.pop(pending.ref, None)

    @property
    def has_due(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._due)

    def take_due(self) -> bytes:
        """All that is to be written now."""
        due = b"".join(self._due)
        self._due.clear()
        self._due_bytes = 0
        return due

    def next_due(self) -> bytes:
        """The next message that is to go, where there is one."""
        message = self._due.popleft()
        self._due_bytes -= len(message)
        return message

    def _put(self, data: bytes) -> None:
        self._due.append(data)
        self._due_bytes += len(data)

    def _say_register(self, register: Register, credentials: Credentials) -> None:
        self._register_ref = self._next_ref()
        # A copy, for a moment: nothing keeps the credentials.
        self._say(structs.replace(register, id=self.id, ref=self._register_ref, **credentials))

    def _next_ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    def _say(self, message: ClientMessage) -> None:
        self._put(self._wrap(messages.encode(message)))

    # -- what is heard

    @property
    def wants_more(self) -> bool:
        """Whether more is to be read: not while the program leaves too much lying."""
        return self._backlog_bytes < (BACKLOG_BYTES_WHILE_ASKING if self._pending else BACKLOG_BYTES)

    @property
    def has_messages(self) -> bool:
        """Whether there is a message for the program."""
        return bool(self._backlog)

    def take(self) -> Received | None:
        """The next message for the program."""
        if not self._backlog:
            return None
        size, message = self._backlog.popleft()
        self._backlog_bytes -= size
        return message

    def _hear(self, frame: bytes, now: float) -> None:
        try:
            message = messages.decode_said(frame)
        except ValueError:
            return  # a newer server may say what this version does not know (protocol.md, section 3)
        match message:
            case OfferFrom() | AnswerFrom() | CandidateFrom() | ByeFrom() | MessageFrom():
                self._keep(message, len(frame))
            case Ok() | PongSaid() | PeerList() | IceServerList():
                if isinstance(message, IceServerList):  # which may also come unasked, before the old ones expire
                    self._hear_ice_servers(message.ice_servers)
                pending = self._pending.get(message.ref or "")
                if pending is not None and pending.answer(message):
                    del self._pending[pending.ref]  # or it would fail yet, should the connection be lost now
            case Error():
                self._hear_error(message, len(frame), now)
            case PingSaid():
                if self._due_bytes < DUE_BYTES:  # what is due already says as much
                    self._say(Pong())
            case Registered():
                if message.ref == self._register_ref:
                    self._hear_registered(message, now)
            case GoingAway():
                self._backoff.hold(message.reconnect_after_ms, now)
                self._finish(Disconnected(f"the server is going away: {message.reason}", sent=True))
            case _:
                assert_never(message)

    def _keep(self, message: Received, size: int) -> None:
        self._backlog.append((size + STRUCT_BYTES, message))
        self._backlog_bytes += size + STRUCT_BYTES

    def _hear_registered(self, terms: Registered, now: float) -> None:
        if not self.registered:
            self._registered_at = now
        if terms.ice_servers is not None or not self.registered:  # renewed without: those from before are as good
            self._hear_ice_servers(terms.ice_servers or [])
        self.id = terms.id
        self.terms = terms
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
        elif error.ref is None or error.ref == self._register_ref:  # or the old credentials do, until they expire
            if code is None and error.to is None:
                self._hold(error, now)
                self.fault = fault  # should the connection end now, then because of this
            self._keep(error, size)

    def _is_final(self, error: Error, code: ErrorCode | None) -> bool:
        """Whether an error says, or means, that coming back by itself has no point."""
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
        """When to call `expire`."""
        return min(self.renewal.due_at, self._silent_at)

    def expire(self, now: float) -> None:
        """Do what is due by now: want fresh credentials; ask a silent server whether it is there, or give it up."""
        self.renewal.expire(now)
        late = now - self._silent_at
        if late < 0:
            return
        if not self.pinged:
            # Its own wait begins here: the silence before it may have been ours, if we stood still.
            self.pinged = True
            self._answers_by = now + self.keepalive * (SILENCE - 1)
            if self._framed:
                self._say(Ping())
        elif late > SLACK_SECONDS and self._late_looks < LATE_LOOKS:
            self._late_looks += 1
            self._answers_by = now + LATE_LOOK_SECONDS
        else:
            self._finish(Disconnected("nothing was heard from the server for too long", sent=True))

    @property
    def keepalive(self) -> float:
        """After how many seconds of silence the server asks, once there are terms, and is asked."""
        if self.terms is None:
            return math.inf
        return max(SHORTEST_KEEPALIVE_SECONDS, min(self.terms.keepalive_ms, messages.MAX_KEEPALIVE_MS) / 1000)

    @property
    def _silent_at(self) -> float:
        if not self.registered or self.over:
            return math.inf
        if not self.pinged:
            return self._heard_at + self.keepalive
        return max(self._heard_at + self.keepalive * SILENCE, self._answers_by)

    def alive(self, now: float) -> None:
        """The server has been heard, or the silence was of our own making."""
        self._heard_at = now
        self.pinged = False
        self._late_looks = 0


def _whole(message: bytes) -> bytes:
    return message


_WRAPS: Final[dict[Framing | None, Callable[[bytes], bytes]]] = {
    Framing.PREFIXED: Prefixed.wrap,
    Framing.LINES: Lines.wrap,
    None: _whole,
}


def _known(code: str) -> ErrorCode | None:
    try:
        return ErrorCode(code)
    except ValueError:
        return None  # of a newer server: its `reconnect` and `retryAfterMs` say what to do
