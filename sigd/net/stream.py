"""A link over a byte stream: its first byte, its framing, its buffers, its end."""

import select
import socket
import ssl
from typing import TYPE_CHECKING, Final

from sigd import log
from sigd.net.callers import caller_of
from sigd.net.kernel import hang_up, unread_bytes
from sigd.net.parcel import StreamState
from sigd.net.rounds import PolledLink, Rounds
from sigd.net.tls import RECORD_BYTES, TLSSocket
from sigd.relay.buffers import MESSAGE_BYTES
from sigd.wire import commands, framing, proxy, said
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Framing, Lines, Prefixed, Splitter, TooLong
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sigd.net.opening import Opening
    from sigd.relay.credentials import Caller
    from sigd.relay.link import Link
    from sigd.relay.origins import Origin
    from sigd.relay.snapshot import LinkState

RECEIVE_BYTES: Final = 65_536
"""Bytes of one read: a default frame in one go."""

SEND_BYTES: Final = 65_536
"""Maximum bytes joined for one system call while a link is stuck: the size of its kernel buffer."""

STRANGERS_MESSAGES_PER_ROUND: Final = 2
"""Bytes of one read before `register`: an honest client sends one message, and there may be hundreds of others."""

SHORT_BYTES: Final = 8_192
"""Bytes up to which what waits to be read may be one message: a browser's offer with all its candidates."""

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT


class Stream(PolledLink):
    """A link over TCP or a Unix socket. See `Link` for what is not here.

    Attributes:
        sock: non-blocking; `fd` is its descriptor.
        interest: what epoll watches it for.
        opening: what comes before its first message, while there may be something.
        tls: its socket again, where it speaks TLS.
    """

    __slots__ = (
        "_backlog",
        "_ended",
        "_reactor",
        "_receive",
        "_shut",
        "_split",
        "fd",
        "interest",
        "opening",
        "sock",
        "tls",
    )

    def __init__(
        self,
        reactor: Rounds,
        sock: socket.socket,
        origin: "Origin",
        host: str,
        port: int | None,
        opening: "Opening | None" = None,
    ) -> None:
        super().__init__(reactor.router, origin, host, port, reactor.now, framing.UNDECIDED)
        self._reactor = reactor
        self.opening = opening
        self.sock = sock
        self.tls: TLSSocket | None = None
        self.fd = sock.fileno()
        self._split: Splitter | None = None
        self._receive: Callable[[Link, bytes, float], None] = reactor.receive
        self._backlog: Sequence[bytes] = framing.NO_FRAMES
        self._ended = False  # the client has sent its end of file
        self._shut = False  # the client has been sent ours
        self.busy = False
        self.interest = IN

    # -- reading

    def readable(self, now: float) -> None:
        """Read once, and process the input."""
        if self.busy:
            self.rearm()  # it has its turn, and takes up no more room among those that have something new
            return
        if self.held and not self.closing:
            self.rearm()  # held since it was last read, by something else than what it sent
            return
        try:
            if self.opening is not None and not self.closing and not self.opening.readable(self, self._reactor, now):
                return
            data = self.sock.recv(RECEIVE_BYTES)
            self.router.bytes_received += len(data)
        except BlockingIOError:
            if self.tls is not None:
                self.account()  # a part of a record
            return
        except ssl.SSLWantReadError:
            if self.heard(1, 0, now) > 0:  # it costs as much as a message, or more
                self.pause(now)
            self._unfinished(False, now)
            return
        except OSError:
            self.abort("connection lost")
            return
        if not data:
            self._end_of_file()
        elif not self.closing:
            self.process(data, now)
            if self.challenge is not None:
                self._reactor.router.admission.sign_of_life(self, now)

    def take_turn(self, now: float) -> None:
        """Process more input."""
        if self._is_waiting:
            self.process(b"", now)
        else:
            self.readable(now)

    def process(self, chunk: bytes, now: float) -> None:
        """Act on the next messages, `chunk` being what came after all that was given before."""
        split = self._split
        if split is None:
            split = self._begin(chunk)
            if split is None:
                return
        frames, fresh = self._backlog, 0
        kept = split.rest or frames
        if not frames:
            try:
                frames = split.take(chunk, STRANGERS_MESSAGES_PER_ROUND if self.id is None else self._reactor.most)
            except ProtocolError as fault:
                self._misframed(split, fault, now)
            fresh = len(frames)
        elif chunk:
            raise AssertionError("a link with a backlog was read")
        wait = self.heard(fresh, len(chunk), now)
        remaining = iter(frames)
        for frame in remaining:
            self._receive(self, frame, now)
            if self.held:
                break
        if wait > 0:
            self.pause(now)
        self._backlog = list(remaining) if self.held and not self.closing else framing.NO_FRAMES
        if (
            kept  # has been accounted for
            or split.rest
            or split.skipping
            or self._backlog
            or self.frame_since != NEVER
            or self.held
            or self.tls
        ):
            self._unfinished(bool(frames), now)

    def _begin(self, chunk: bytes) -> Splitter | None:
        """Take the framing that the first byte chooses; None for a link that is over with it."""
        self._reactor.router.admission.begin(self, self._reactor.now)
        limit = self.router.limits.max_frame_unregistered
        if chunk.startswith(proxy.SIGNATURES):
            text = "a PROXY header is read first of all, and from the addresses in `limits.trusted` alone"
            self.refuse(ProtocolError(ErrorCode.BAD_FRAME, text))
            return None
        match framing.framing_of(chunk[0]):
            case Framing.PREFIXED:
                self._split = Prefixed(limit)
                self.framing = framing.PREFIXED
                if self.bucket:  # it was looked at while it was silent: it has less time now
                    self.watch()
            case Framing.LINES:
                self._split = Lines(limit)
                self.framing = framing.LINES
                self._receive = self._reactor.receive_first_line
            case Framing.TLS:
                if self.tls is None:
                    self.reply_text(framing.TLS_ALERT)
                self.close("tls where none is spoken")
        return self._split

    def _misframed(self, split: Splitter, fault: ProtocolError, now: float) -> None:
        fault.limit = "max_frame" if self.id is not None else "max_frame_unregistered"
        if not isinstance(fault, TooLong):
            self.router.refuse(self, fault, now)
        elif self.id is None:
            text = fault.text + " before register"
            strict = ProtocolError(ErrorCode.BAD_FRAME, text, limit=fault.limit)
            self.router.refuse(self, strict, now, fault.head, fault.length)
        elif fault.is_known:  # else it comes again, when its beginning says what it is, and who waits for the answer
            split.skip()
            # As much as would be a frame has the time of one, and holds nothing.
            more_seconds = split.skipping // split.limit * self.frame_timeout_ms / 1000
            self.frame_since = min(self.frame_since, now) + more_seconds
            self.watch()
            self.router.refuse(self, fault, now, self._as_json(fault.head), fault.length)

    def _as_json(self, head: bytes) -> bytes:
        return commands.as_json(head) if self.patient and not head.lstrip().startswith(b"{") else head

    @property
    def begun(self) -> bytes:
        """The beginning of a message that is not whole yet, as far as it is at hand."""
        rest = b"" if self._split is None else bytes(self._split.rest[: framing.PREFIX_BYTES + framing.HEAD_BYTES])
        return self._as_json(rest if self.patient else rest[framing.PREFIX_BYTES :])

    def _unfinished(self, progress: bool, now: float) -> None:
        """Schedule the rest of the input: a turn in the next round, or a deadline."""
        self.account()
        if progress:
            self.frame_since = NEVER
        if self.held:
            self.rearm()
        elif not self.busy and (self._is_waiting or self._has_ahead):
            self.busy = True
            self._reactor.busy.append(self)
        split = self._split
        if split is None or self._is_waiting or self.held or not (split.rest or split.skipping):
            self.frame_since = NEVER
        elif self.frame_since == NEVER:
            self.frame_since = now
            self.watch()

    @property
    def unacted(self) -> int:
        """Bytes that have come and were not acted on yet: a frame that is begun, a backlog, what TLS has read ahead."""
        split = self._split
        size = 0 if split is None else len(split.rest)
        for frame in self._backlog:
            size += len(frame) + MESSAGE_BYTES
        return size if self.tls is None or self.over else size + self.tls.held

    @property
    def _is_waiting(self) -> bool:
        """Return whether the unread input may contain a message."""
        return bool(self._backlog) or (self._split is not None and self._split.more)

    @property
    def _has_ahead(self) -> bool:
        return self.tls is not None and self.tls.has_ahead

    def _end_of_file(self) -> None:
        self._ended = True
        if self._split is not None and self.patient and self._split.rest and not self.closing:
            self.refuse(ProtocolError(ErrorCode.BAD_MESSAGE, "the last line has no end: it was not read"))
        self.close("left")
        self.router.due.append(self)
        self.rearm()

    def speaks_lines(self) -> None:
        """Its first line was none of HTTP's: what follows is not looked at for that."""
        self._receive = self._reactor.receive_line

    def resume(self) -> None:
        """Read again after having been held."""
        if not self.busy:
            self.busy = True
            self._reactor.busy.append(self)
        self.rearm()

    def wait_for_turn(self) -> None:
        """Queue the link to be read in a later round. Links with little to read come first."""
        if not self.busy:
            self.busy = True
            queue = self._reactor.busy if unread_bytes(self.fd) > SHORT_BYTES else self._reactor.unread
            queue.append(self)
        self.rearm()

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        self.reply(said.PingSaid())

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet."""
        try:
            # Of the socket below TLS: whether it makes up a message is found out when it is read.
            return self._has_ahead or bool(socket.socket.recv(self.sock, 1, socket.MSG_PEEK))
        except OSError:
            return False

    def caller(self) -> "Caller | None":
        """The client's identity from the transport."""
        return caller_of(self.sock)

    @property
    def committed(self) -> int:
        """Bytes at the front of the outbox that may be on their way already, though the system has not said so."""
        return 1 if self.tls is None else RECORD_BYTES

    def admitted(self) -> None:
        """The link has an ID now: longer messages are taken from it."""
        if self._split is not None:
            self._split.limit = self.router.limits.max_frame
        log.debug("registered", peer=self.id, address=self.address)

    # -- writing

    def push(self) -> None:
        """Write as much as the kernel accepts; the rest waits for `writable`."""
        outbox = self.outbox
        self._write(outbox[0] if len(outbox) == 1 else b"".join(outbox))
        if self.queued and not self.over:
            self.get_stuck(self._reactor.now)
            self.rearm()

    def writable(self, now: float) -> None:
        """Write more, after the kernel had taken all it could."""
        if self.stuck:
            self._write(self._front())
            if not self.queued:
                self.router.due.append(self)
            self.rearm()

    def _write(self, data: bytes) -> None:
        try:
            count = self.sock.send(data)
        except BlockingIOError:
            return
        except OSError:
            self.abort("connection lost")
            return
        self.router.bytes_sent += count
        self.sent(count, self._reactor.now)

    def _front(self) -> bytes:
        size = count = 0
        for data in self.outbox:
            size += len(data)
            count += 1
            if size >= SEND_BYTES:
                break
        return b"".join(self.outbox[:count])

    def rearm(self) -> None:
        """Set epoll's events to those useful to this link now."""
        shaking = self.opening is not None and self.opening.shaking is not None  # the handshake waits by itself
        interest = 0 if self._ended or self.busy or shaking or (self.held and not self.closing) else IN
        if self.stuck:
            interest |= OUT
        if interest != self.interest and not self.over:
            self._reactor.watch_for(self.fd, self.interest, interest)
            self.interest = interest

    # -- the end

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        """End the conversation: nothing more that has come is acted on."""
        super().close(reason, fault)
        self.forget_unacted()
        self.account()

    def forget_unacted(self) -> None:
        """Free unprocessed input; `fill` restores it."""
        self._backlog = framing.NO_FRAMES
        if self._split is not None:
            self._split.clear()

    def attend(self, now: float) -> None:
        """Write waiting output, and bring a closing link further to its end."""
        if self.opening is not None and self.opening.mute:
            if self.closing:
                self._finish()
            return
        if self.queued and not self.stuck:
            self.push()
        if self.closing and not self.over:
            self._wind_up(now)

    def _wind_up(self, now: float) -> None:
        if self.ends_at == NEVER:
            self.ends_at = now + self.linger_seconds
            self.router.deadlines.forget(self)
            self.watch()
        if not self.queued:
            if not self._shut:
                # Closing now would reset the connection and throw away what the client has not read yet.
                self._shut = True
                try:
                    self.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self._finish()
                    return
            if self._ended:
                self._finish()
                return
        self.rearm()

    @property
    def reactor(self) -> Rounds:
        """The reactor that serves it."""
        return self._reactor

    @property
    def via(self) -> str:
        """Its transport: `tcp`, `tls` or `unix`."""
        if self.tls is not None:
            return "tls"
        return "unix" if self.port is None else "tcp"

    @property
    def over(self) -> bool:
        """Whether nothing is held for it any more."""
        return self.fd < 0

    def sever(self) -> None:
        """Release the link's resources in the system and the reactor."""
        if self.over:
            return
        self.router.deadlines.forget(self)
        self._reactor.remove(self.fd, self.interest)
        self._reactor.router.admission.origins.leave(self.origin)
        self.fd = -1
        if self.opening is not None and self.opening.shaking is not None:
            self.opening.shaking.cancel()
        hang_up(self.sock, reset=self._shut and self.patient)
        # Others may hold the link for a while, as the sender of what is in their outboxes.
        self._split = None
        self._backlog = framing.NO_FRAMES
        self.router.buffers.hold(self, 0)

    # -- handing over

    def snapshot(self, link: "LinkState") -> StreamState:
        """All of it, its part as any link given; its socket aside."""
        split = self._split
        return StreamState(
            link=link,
            framing=0 if split is None else 2 if self.patient else 1,
            rest=b"" if split is None else bytes(split.rest),
            more=split is not None and split.more,
            skipping=0 if split is None else split.skipping,
            backlog=list(self._backlog),
            has_spoken=self._receive != self._reactor.receive_first_line,
            ended=self._ended,
            shut=self._shut,
            busy=self.busy,
            opening=None if self.opening is None else self.opening.state,
        )

    def fill(self, state: StreamState) -> None:
        """Restore received input."""
        self._backlog = state.backlog or framing.NO_FRAMES
        if self._split is not None:
            self._split.rest, self._split.more = state.rest, state.more

    def restore(self, state: StreamState) -> None:
        """Have its own part, but for buffers, be what it was in another process; that as any link is already."""
        limits, reactor = self.router.limits, self._reactor
        if state.framing:
            limit = limits.max_frame if self.id is not None else limits.max_frame_unregistered
            self._split = split = Lines(limit) if state.framing == 2 else Prefixed(limit)
            split.skipping = state.skipping
        if state.framing == 2:
            self.framing = framing.LINES
            self._receive = reactor.receive_line if state.has_spoken else reactor.receive_first_line
        elif state.framing:
            self.framing = framing.PREFIXED
        self._ended = state.ended
        self._shut = state.shut
        self.interest = 0

    def go_on_here(self, *, busy: bool, now: float) -> None:
        """Be served from now on: what is due to it, and what has come of it; `busy`: it had its turn next."""
        if self.stuck and self.stalled_since == NEVER:
            self.stalled_since = now
        if (busy or self._is_waiting) and not self.held:
            self.resume()
        else:
            self.rearm()
        self.account()
        if self.closing:
            self.router.due.append(self)

    def let_go(self) -> None:
        """Be served here no more: somebody else has the socket, and the connection goes on."""
        self.fd = -1
        self.sock.close()
