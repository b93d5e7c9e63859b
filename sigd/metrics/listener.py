"""HTTP on loopback for monitoring: the minimum that it needs, with no effect on the relay."""

import socket
from collections.abc import Awaitable, Callable, Hashable, Sequence
from email.utils import formatdate
from typing import Final

import h11
import trio

from sigd.config import parse_listen
from sigd.metrics.pages import Answer, Answers
from sigd.net.listeners import open_listeners
from sigd.net.reactor import Reactor

MOST_CONNECTIONS: Final = 16
"""Maximum number of connections; Prometheus keeps one, and a few people look. Beyond it the one that has been idle for
longest is closed, or, if all are within a request, the one whose request began first: idle connections cannot lock out
a supervisor's health check.
"""

REQUEST_SECONDS: Final = 5.0
"""Timeout from a request's first byte to the last byte of its answer."""

IDLE_SECONDS: Final = 30.0
"""Timeout for the next request on a connection: twice the common scrape interval."""

LINGER_SECONDS: Final = 1.0
"""Seconds during which input is still read after a closing answer: an immediate close would reset the connection, and
lose the answer.
"""

DEAF_SECONDS: Final = 1.0
"""Seconds without accepting after a failed accept, which mostly means that no descriptor is left; clients wait
meanwhile.
"""

MOST_HEADER: Final = 8_192
"""Maximum bytes of a request without its body: as in nginx and Apache, and ten times an actual request."""

RECEIVE_BYTES: Final = 4_096


_VERSIONS: Final = {b"1.0", b"1.1"}
"""Versions supported by h11. It also parses first lines of others, such as HTTP/2."""

_LOOPBACK_ONLY: Final = "figures are for this machine alone"


def open_sockets(url: str) -> list[socket.socket]:
    """Open listening sockets for tcp://HOST:PORT, one for each address of the host.

    Raises:
        StartError: an address cannot be bound, or other machines could reach it.
    """
    return open_listeners(parse_listen(url), _LOOPBACK_ONLY)


async def serve(
    sockets: Sequence[socket.socket],
    reactor: Reactor,
    figures: Callable[[], Awaitable[bytes]],
    is_ready: Callable[[], bool],
    task_status: "trio.TaskStatus[list[str]]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, then close the sockets.

    Args:
        sockets: sockets of `open_sockets`, or inherited ones.
        reactor: the daemon's reactor.
        figures: function that makes the text of /metrics.
        is_ready: whether the daemon accepts clients, a stop aside.
        task_status: receives the URLs with the assigned ports.
    """
    answers = Answers(reactor, figures, is_ready)
    # Plain sockets: trio accepts no subclasses.
    listeners = [trio.socket.from_stdlib_socket(socket.socket(fileno=each.detach())) for each in sockets]
    service = _Service(answers, reactor)
    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(service.accept, listener, nursery)
            task_status.started([_url(listener) for listener in listeners])
    finally:
        for listener in listeners:
            listener.close()


def _url(listener: trio.socket.SocketType) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Service:
    """All HTTP connections."""

    def __init__(self, answers: Answers, reactor: Reactor) -> None:
        self._answers = answers
        self._reactor = reactor
        self._open: dict[_Conversation, None] = {}  # connections in the order of their last progress, the oldest first

    async def accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Accept clients of a listening socket."""
        while True:
            try:
                sock, _ = await listener.accept()
            except OSError:
                await trio.sleep(DEAF_SECONDS)
                continue
            if len(self._open) >= MOST_CONNECTIONS:
                self._make_room()
            reserve = self._reactor.router.buffers.reserve
            conversation = _Conversation(trio.SocketStream(sock), self._answers, self.note_progress, reserve)
            self._open[conversation] = None
            nursery.start_soon(self._converse, sock, conversation)

    def note_progress(self, conversation: "_Conversation") -> None:
        """Move a connection to the end of the queue for closing: it has begun a request, or has its answer."""
        if conversation in self._open:
            del self._open[conversation]
            self._open[conversation] = None

    def _make_room(self) -> None:
        idle = (each for each in self._open if each.idle)
        ended = next(idle, None) or next(iter(self._open))
        del self._open[ended]
        ended.end()

    async def _converse(self, sock: trio.socket.SocketType, conversation: "_Conversation") -> None:
        try:
            with sock:
                await conversation.run()
        except (OSError, trio.BrokenResourceError):
            pass  # the client has left
        except Exception as fault:
            self._reactor.say_bug(fault, listener="metrics")
        finally:
            self._open.pop(conversation, None)


class _Conversation:
    """The requests of one client, one after the other.

    Attributes:
        idle: whether no byte of the next request has arrived.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        answers: Answers,
        note_progress: "Callable[[_Conversation], None]",
        reserve: Callable[[Hashable, int], None],
    ) -> None:
        self.idle = True
        self._reserve = reserve
        self._note_progress = note_progress
        self._stream = stream
        self._answers = answers
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER)
        self._scope = trio.CancelScope()
        self._asked_with = b""

    async def run(self) -> None:
        """Serve until the client leaves, times out, or sends an invalid request."""
        with self._scope:
            self._allow(REQUEST_SECONDS)
            try:
                while await self._answer_one():
                    self._http.start_next_cycle()
                    self._allow(IDLE_SECONDS)
                    self._turn(idle=not self._http.trailing_data[0])
            except h11.RemoteProtocolError as fault:
                await self._refuse(fault)
            await self._part()

    def end(self) -> None:
        """Close the connection to make room for another client."""
        self._scope.cancel()

    def _turn(self, *, idle: bool) -> None:
        self.idle = idle
        self._note_progress(self)

    def _allow(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds

    async def _answer_one(self) -> bool:
        """Answer the next request; return whether another may follow."""
        request = await self._next()
        if not isinstance(request, h11.Request):
            return False
        self._allow(REQUEST_SECONDS)
        self._asked_with = request.method
        if request.http_version not in _VERSIONS:
            await self._send(Answer(505, b"only HTTP/1.1 and 1.0\n"), last=True)
            return False
        if not isinstance(self._http.next_event(), h11.EndOfMessage):
            await self._send(Answer(400, b"a request has no body here\n"), last=True)
            return False
        await self._send(await self._answers.to(request.method, request.target))
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            is_first = not self._http.trailing_data[0]
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if is_first:
                self._allow(REQUEST_SECONDS)
                self._turn(idle=False)
            self._http.receive_data(data)
        return event

    async def _refuse(self, fault: h11.RemoteProtocolError) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            # Never h11's own text, which may contain input.
            await self._send(Answer(fault.error_status_hint, b"this is no request that is known here\n"), last=True)

    async def _send(self, answer: Answer, *, last: bool = False) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if last:
            headers.append(("Connection", "close"))
        if answer.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        response = h11.Response(status_code=answer.status, headers=headers)
        data = self._http.send(response) or b""
        if self._asked_with != b"HEAD":
            data += self._http.send(h11.Data(data=answer.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._reserve(self, len(data))
        try:
            await self._stream.send_all(data)
        finally:
            self._reserve(self, 0)

    async def _part(self) -> None:
        await self._stream.send_eof()
        with trio.move_on_after(LINGER_SECONDS):
            while await self._stream.receive_some(RECEIVE_BYTES):
                pass
