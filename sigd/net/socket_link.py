"""A link with a socket of its own: the bytes before its first message, its turns, its writing, its end."""

import select
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final

from sigd.net.callers import caller_of
from sigd.net.handshakes import FAILED, TIMED_OUT, Handshake, shake_hands
from sigd.net.kernel import hang_up, unread_bytes
from sigd.net.rounds import PolledLink, Rounds
from sigd.net.tls import RECORD_BYTES, TLSSocket
from sigd.wire import framing
from sigd.wire.errors import ProtocolError
from sigd.wire.opening import Opening, Take, Verdict
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.credentials import Caller
    from sigd.relay.origins import Origin

SEND_BYTES: Final = 65_536
"""Bytes that are joined for one system call while a link is stuck: its kernel buffer may take as many."""

SHORT_BYTES: Final = 8_192
"""Bytes up to which unread input may be one message: a browser's offer with all its candidates."""

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT


class SocketLink(PolledLink):
    """A link over TCP or a Unix socket, whose messages a subclass finds in the bytes read.

    Attributes:
        sock: non-blocking; `fd` is its descriptor.
        interest: the events for which the epoll watches it.
        opening: the beginning before its first message, or the TLS handshake, while there may be one.
        tls: its socket again, where it speaks TLS.
    """

    __slots__ = ("_ended", "_reactor", "_shut", "fd", "interest", "opening", "sock", "tls")

    def __init__(
        self,
        reactor: Rounds,
        sock: socket.socket,
        origin: "Origin",
        host: str,
        port: int | None,
        opening: Opening[ssl.SSLContext] | None = None,
    ) -> None:
        super().__init__(reactor.router, origin, host, port, reactor.now, framing.UNDECIDED)
        self._reactor = reactor
        self.opening: Opening[ssl.SSLContext] | Handshake | None = opening
        self.sock = sock
        self.tls: TLSSocket | None = None
        self.fd = sock.fileno()
        self._ended = False  # the client has sent its end of file
        self._shut = False  # the client has been sent ours
        self.busy = False
        self.interest = IN

    # -- reading

    def readable(self, now: float) -> None:
        """Read once, and process the input."""
        raise NotImplementedError

    def process(self, chunk: bytes, now: float) -> None:
        """Act on the next messages, `chunk` being the bytes that came last."""
        raise NotImplementedError

    # -- the opening

    def _look(self, now: float) -> bool:
        """Look at the bytes before the first message; return whether the rest is the link's to read.

        Raises:
            OSError: the connection is lost.
        """
        opening = self.opening
        while isinstance(opening, Opening):
            verdict = opening.look(self.sock.recv(opening.most, socket.MSG_PEEK))
            if isinstance(verdict, Take):
                self._take_header(opening, verdict.size, now)
                if opening.proxied or self.held:
                    return False
                continue
            if verdict is Verdict.TLS and opening.context is not None:
                self._shake_hands(opening.context)
                return False
            self.opening = None
            if verdict is Verdict.BROKEN:
                self.opening = opening  # mute
                self.abort(FAILED)
                return False
            if opening.header:
                self.process(opening.header, now)
                return not self.held
            return True
        return opening is None

    def _take_header(self, opening: "Opening[ssl.SSLContext]", count: int, now: float) -> None:
        """Remove the bytes of a PROXY header, and nothing after it."""
        try:
            header = opening.take(self.sock.recv(count))
        except ProtocolError as fault:
            self.refuse(fault)
            return
        if header is not None and header.host is not None:
            self._reactor.router.admission.move(self, header.host, header.port, now)
            self._reactor.dismiss(self)

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        """Speak TLS, and read again when it is spoken; unless the link ends before, which cancels the handshake."""
        self.opening = handshake = Handshake()
        self._reactor.router.admission.begin(self, self._reactor.now)
        self.rearm()
        self._reactor.start_soon(self._shake, context, handshake)

    async def _shake(self, context: ssl.SSLContext, handshake: Handshake) -> None:
        if handshake.scope.cancel_called or self.over:
            return  # it has ended since its first byte was read: in a crowd it may have had to make way
        limits, before = self.router.limits, self.via
        try:
            self.sock = self.tls = sock = TLSSocket(self.sock, context)
            self._reactor.note_link(self)
            self._reactor.note_end(before)
            seconds = limits.tls_handshake_timeout_ms / 1000
            why = await shake_hands(
                sock, handshake.scope, self._reactor.handshakes, seconds, self.address, self.router.limits_hit
            )
        except Exception as fault:
            self._reactor.fail(self, fault)
            why = FAILED
        self._reactor.intervene(partial(self._has_shaken_hands, why))

    def _has_shaken_hands(self, why_not: str, now: float) -> None:
        if self.over:
            return
        try:
            if why_not == TIMED_OUT:
                self.router.limits_hit["tls_handshake_timeout_ms"] += 1
            if why_not:
                self.abort(why_not)
            else:
                self.opening = None
                self.rearm()
                self.readable(now)  # it may have come with the last of the handshake
        except Exception as fault:
            self._reactor.fail(self, fault)

    # -- what it is

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

    def caller(self) -> "Caller | None":
        """The client's identity from the transport."""
        return caller_of(self.sock)

    @property
    def committed(self) -> int:
        """Bytes at the front of the outbox that may be on their way already, though the system has not said so."""
        return 1 if self.tls is None else RECORD_BYTES

    # -- its turns

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

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet."""
        try:
            # Of the socket below TLS: whether it makes up a message is found out when it is read.
            return self._has_ahead or bool(socket.socket.recv(self.sock, 1, socket.MSG_PEEK))
        except OSError:
            return False

    @property
    def _has_ahead(self) -> bool:
        return self.tls is not None and self.tls.has_ahead

    def rearm(self) -> None:
        """Set epoll's events to those useful to this link now."""
        shaking = isinstance(self.opening, Handshake)  # which waits by itself
        interest = 0 if self._ended or self.busy or shaking or (self.held and not self.closing) else IN
        if self.stuck:
            interest |= OUT
        if interest != self.interest and not self.over:
            self._reactor.watch_for(self.fd, self.interest, interest)
            self.interest = interest

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

    # -- the end

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

    def sever(self) -> None:
        """Release the link's resources in the system and the reactor."""
        if self.over:
            return
        self.router.deadlines.forget(self)
        self._reactor.remove(self.fd, self.interest)
        self._reactor.router.admission.origins.leave(self.origin)
        self.fd = -1
        if isinstance(self.opening, Handshake):
            self.opening.scope.cancel()
        hang_up(self.sock, reset=self._shut and self.patient)

    def let_go(self) -> None:
        """Be served here no more: somebody else has the socket, and the connection goes on."""
        self.fd = -1
        self.sock.close()
