"""A link over a byte stream: its first byte, its framing, its buffers, its end."""

import socket
import ssl
from typing import TYPE_CHECKING, Final

from sigd import log
from sigd.net.parcel import OpeningState, StreamState
from sigd.net.rounds import Rounds
from sigd.net.socket_link import SocketLink
from sigd.relay.buffers import MESSAGE_BYTES
from sigd.wire import commands, framing, said
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines, Prefixed, Splitter, TooLong
from sigd.wire.opening import FirstLine, Foreign, Opening, Verdict, protocol_of, refusal_of
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sigd.relay.link import Link
    from sigd.relay.origins import Origin
    from sigd.relay.snapshot import LinkState

RECEIVE_BYTES: Final = 65_536
"""Bytes that one system call reads: a default frame in one go."""

STRANGERS_MESSAGES_PER_ROUND: Final = 2
"""The same before `register`: an honest newcomer says one thing, and there may be hundreds of others."""


class Stream(SocketLink):
    """A link over TCP or a Unix socket. See `SocketLink` and `Link` for the rest."""

    __slots__ = ("_backlog", "_receive", "_split")

    def __init__(
        self,
        reactor: Rounds,
        sock: socket.socket,
        origin: "Origin",
        host: str,
        port: int | None,
        opening: Opening[ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(reactor, sock, origin, host, port, opening)
        self._split: Splitter | None = None
        self._receive: Callable[[Link, bytes, float], None] = reactor.receive
        self._backlog: Sequence[bytes] = framing.NO_FRAMES

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
            if self.opening is not None and not self.closing and not self._look(now):
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
        """Act on the next messages, `chunk` being the bytes after all that were given before."""
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
        verdict = protocol_of(chunk)
        if verdict is Verdict.PROXY:
            text = "a PROXY header is read first of all, and from the addresses in `limits.trusted` alone"
            self.refuse(ProtocolError(ErrorCode.BAD_FRAME, text))
            return None
        if chunk[0] == 0:
            self._split = Prefixed(limit)
            self.framing = framing.PREFIXED
            if self.bucket:  # it was looked at while it was silent: it has less time now
                self.watch()
        else:
            self._split = FirstLine(limit) if verdict is Verdict.WAIT else Lines(limit)
            self._receive = self._reactor.receive_line
            if verdict in {Verdict.WAIT, Verdict.LINK, Verdict.HTTP}:
                self.framing = framing.LINES
        if verdict not in {Verdict.WAIT, Verdict.LINK}:
            self._split.rest = chunk
            self._turn_away(verdict)
            return None
        return self._split

    def _turn_away(self, verdict: Verdict) -> None:
        """Refuse a client of another protocol, unless there is a gateway for it."""
        gateway = self._reactor.gateways.get(verdict)
        if gateway is not None:
            gateway(self)
            return
        answer, reason = refusal_of(verdict, b"" if self._split is None else bytes(self._split.rest))
        if self.tls is None or verdict is not Verdict.TLS:
            self.reply_text(answer)
        self.close(reason)

    def _misframed(self, split: Splitter, fault: ProtocolError, now: float) -> None:
        if isinstance(fault, Foreign):
            self._turn_away(fault.verdict)
            return
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
        """Bytes that have come and were not acted on yet: a begun frame, a backlog, bytes that TLS has read ahead."""
        split = self._split
        size = 0 if split is None else len(split.rest)
        for frame in self._backlog:
            size += len(frame) + MESSAGE_BYTES
        return size if self.tls is None or self.over else size + self.tls.held

    @property
    def _is_waiting(self) -> bool:
        """Return whether the unread input may contain a message."""
        return bool(self._backlog) or (self._split is not None and self._split.more)

    def _end_of_file(self) -> None:
        self._ended = True
        if self._split is not None and self.patient and self._split.rest and not self.closing:
            self.refuse(ProtocolError(ErrorCode.BAD_MESSAGE, "the last line has no end: it was not read"))
        self.close("left")
        self.router.due.append(self)
        self.rearm()

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        self.reply(said.PingSaid())

    def admitted(self) -> None:
        """The link has an ID now: longer messages are taken from it."""
        if self._split is not None:
            self._split.limit = self.router.limits.max_frame
        log.debug("registered", peer=self.id, address=self.address)

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

    def sever(self) -> None:
        """Release the link's resources in the system and the reactor."""
        if self.over:
            return
        super().sever()
        # Others may hold the link for a while, as the sender of what is in their outboxes.
        self._split = None
        self._backlog = framing.NO_FRAMES
        self.router.buffers.hold(self, 0)

    # -- handing over

    def snapshot(self, link: "LinkState") -> StreamState:
        """All of it, its part as any link given; its socket aside."""
        split, opening = self._split, self.opening
        return StreamState(
            link=link,
            framing=0 if split is None else 2 if self.patient else 1,
            rest=b"" if split is None else bytes(split.rest),
            more=split is not None and split.more,
            skipping=0 if split is None else split.skipping,
            backlog=list(self._backlog),
            has_spoken=not (isinstance(split, FirstLine) and split.pending),
            ended=self._ended,
            shut=self._shut,
            busy=self.busy,
            opening=OpeningState(opening.header, opening.proxied) if isinstance(opening, Opening) else None,
        )

    def fill(self, state: StreamState) -> None:
        """Restore received input."""
        self._backlog = state.backlog or framing.NO_FRAMES
        if self._split is not None:
            self._split.rest, self._split.more = state.rest, state.more

    def restore(self, state: StreamState) -> None:
        """Restore its own part, but for buffers, from another process; the part of any link is restored already."""
        limits, reactor = self.router.limits, self._reactor
        if state.framing:
            limit = limits.max_frame if self.id is not None else limits.max_frame_unregistered
            lines = Lines if state.has_spoken else FirstLine
            self._split = split = lines(limit) if state.framing == 2 else Prefixed(limit)
            split.skipping = state.skipping
        if state.framing == 2:
            self.framing = framing.LINES
            self._receive = reactor.receive_line
        elif state.framing:
            self.framing = framing.PREFIXED
        self._ended = state.ended
        self._shut = state.shut
        self.interest = 0

    def go_on_here(self, *, busy: bool, now: float) -> None:
        """Be served from now on: its outbox and its input; `busy`: it had its turn next."""
        if self.stuck and self.stalled_since == NEVER:
            self.stalled_since = now
        if (busy or self._is_waiting) and not self.held:
            self.resume()
        else:
            self.rearm()
        self.account()
        if self.closing:
            self.router.due.append(self)

    def eject(self) -> tuple[socket.socket, bytes]:
        """Give up the connection, alive. See `Reactor.eject`."""
        assert self.id is None, "a link that has registered has a peer to serve"
        data = b"" if self._split is None else bytes(self._split.rest)
        self.closing = self.held = True
        self._reactor.router.admission.release(self)
        self.router.deadlines.forget(self)
        self._reactor.remove(self.fd, self.interest)
        self.fd = -1
        self._split = None
        self.router.buffers.hold(self, 0)
        return self.sock, data
