"""What may come before a link's first message: a proxy's word on whose connection it is, and a TLS handshake.

Both are only looked at until it is clear where they end: what follows belongs to OpenSSL, or is the first message.
"""

import socket
import ssl
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.parcel import OpeningState
from sigd.net.tls import TLSSocket
from sigd.wire import framing, proxy
from sigd.wire.errors import ProtocolError
from sigd.wire.framing import Framing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sigd.net.rounds import Rounds
    from sigd.net.stream import Stream

FAILED: Final = "tls handshake failed"
TIMED_OUT: Final = "tls handshake timed out"


class Opening:
    """The beginning of one link.

    Attributes:
        shaking: a handshake is under way, to be cancelled when the link ends: nothing else may be read or written.
    """

    __slots__ = ("_context", "_header", "_proxied", "_tls_only", "shaking")

    @property
    def mute(self) -> bool:
        """Nothing can be said to the client: it would take it for TLS."""
        return self.shaking is not None or self._tls_only

    def __init__(self, context: ssl.SSLContext | None, *, tls_only: bool, proxied: bool) -> None:
        self._context = context
        self._tls_only = tls_only
        self._proxied = proxied
        self._header = b""
        self.shaking: trio.CancelScope | None = None

    @property
    def state(self) -> OpeningState:
        """Return the received bytes for another process; the listener knows the rest."""
        return OpeningState(self._header, self._proxied)

    def restore(self, state: OpeningState) -> None:
        """Be as far as it was in another process."""
        self._header, self._proxied = state.header, state.proxied

    def readable(self, link: "Stream", reactor: "Rounds", now: float) -> bool:
        """Look at what has come.

        Returns:
            Whether it is the link's to read.

        Raises:
            OSError: the connection is lost.
        """
        if self._proxied:
            self._read_header(link, reactor, now)
            if self._proxied or link.held:
                return False
        if self._context is None or link.opening is None:
            link.opening = None
            return True
        first = link.sock.recv(1, socket.MSG_PEEK)
        if first and (self._tls_only or framing.framing_of(first[0]) is Framing.TLS):
            self.shaking = trio.CancelScope()
            reactor.shake_hands(link, self._context, self.shaking)
            return False
        link.opening = None
        return True

    def _read_header(self, link: "Stream", reactor: "Rounds", now: float) -> None:
        """Remove the bytes of a PROXY header, and nothing after it."""
        coming = link.sock.recv(proxy.LONGEST, socket.MSG_PEEK)
        known = len(self._header)
        own = proxy.own(self._header + coming) if coming else 0
        if not own:
            self._proxied = False
            if self._header and self._tls_only:
                link.abort(FAILED)
            elif self._header:  # it was the beginning of a line that looks like one
                link.opening = None
                link.process(self._header, now)
            return
        self._header += link.sock.recv(own - known)
        try:
            header = proxy.parse(self._header)
        except ProtocolError as fault:
            link.refuse(fault)
            return
        if header is not None:
            self._proxied = False
            if header.host is not None:
                reactor.router.admission.move(link, header.host, header.port, now)
                reactor.dismiss(link)


async def shake_hands(
    link: "Stream", context: ssl.SSLContext, scope: trio.CancelScope, steps: trio.Semaphore, seconds: float
) -> str:
    """Bring a TLS handshake to its end, and give the link the socket that speaks TLS.

    Args:
        link: whose socket nobody else waits for.
        context: the listener's.
        scope: cancelled by who ends the link.
        steps: how many handshakes may be computed before everybody else has a turn. One that waits for its client
            holds none: else as many silent clients would keep all others out.
        seconds: how long it may take.

    Returns:
        Why it failed; nothing if it did not.
    """
    with scope:
        scope.deadline = trio.current_time() + seconds
        try:
            before = link.via
            link.sock = link.tls = sock = TLSSocket(link.sock, context)
            link.reactor.note_link(link)
            link.reactor.note_end(before)
            while True:
                if not steps.value:
                    link.router.limits_hit["tls_handshakes"] += 1
                async with steps:
                    wait_for = _step(sock)
                    await trio.lowlevel.checkpoint()
                if wait_for is None:
                    return ""
                await wait_for(sock)
        except (OSError, ValueError) as fault:
            log.debug("tls", address=link.address, fault=getattr(fault, "reason", None) or type(fault).__name__)
            return FAILED
    return TIMED_OUT


def _step(sock: TLSSocket) -> "Callable[[socket.socket], Awaitable[None]] | None":
    """Continue a handshake as far as possible, and return the events to wait for."""
    try:
        return None if sock.shake_hands() else _turn
    except BlockingIOError:
        return trio.lowlevel.wait_readable
    except ssl.SSLWantWriteError:
        return trio.lowlevel.wait_writable


async def _turn(_: socket.socket) -> None:
    """Wait for nothing."""
