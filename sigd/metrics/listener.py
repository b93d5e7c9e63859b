"""HTTP on loopback for who watches the daemon: as little of it as that takes, and nothing in it hurts the relay."""

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
longest is closed, or, where all are in the middle of a request, the one that began its own first: idle connections keep
no probe of a supervisor out."""

REQUEST_SECONDS: Final = 5.0
"""From a request's first byte to the last of its answer."""

IDLE_SECONDS: Final = 30.0
"""Until the next request on a connection: twice as long as there commonly is between two."""

LINGER_SECONDS: Final = 1.0
"""How long a client may go on sending after an answer that ends the connection: closed at once, it would be reset, and
the answer lost."""

DEAF_SECONDS: Final = 1.0
"""How long nobody is accepted after that has failed, for want of descriptors mostly: those who wait still do then."""

MOST_HEADER: Final = 8_192
"""Bytes of a request without its body: what nginx and Apache take too, and ten times what anybody sends here."""

RECEIVE_BYTES: Final = 4_096


_VERSIONS: Final = {b"1.0", b"1.1"}
"""What h11 speaks. It reads the first lines of others too, as of who begins with HTTP/2."""

_LOOPBACK_ONLY: Final = "figures are for this machine alone"


def open_sockets(url: str) -> list[socket.socket]:
    """Listening sockets for tcp://HOST:PORT, one for each address of the host.

    Raises:
        StartError: it cannot be listened on, or other machines would reach it.
    """
    return open_listeners(parse_listen(url), _LOOPBACK_ONLY)


async def serve(
    sockets: Sequence[socket.socket],
    reactor: Reactor,
    figures: Callable[[], Awaitable[bytes]],
    is_ready: Callable[[], bool],
    task_status: "trio.TaskStatus[list[str]]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled, and close the sockets then.

    Args:
        sockets: of `open_sockets`, or inherited ones.
        reactor: what is asked about.
        figures: makes the text of /metrics.
        is_ready: whether clients are taken in, a stop aside.
        task_status: told the URLs, their ports as the system has picked them.
    """
    answers = Answers(reactor, figures, is_ready)
    # By trio's sockets, which take no subclasses.
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
    """Everybody who asks."""

    def __init__(self, answers: Answers, reactor: Reactor) -> None:
        self._answers = answers
        self._reactor = reactor
        self._open: dict[_Conversation, None] = {}  # the one that has waited longest for its client first

    async def accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Take in who comes to a listening socket."""
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
        """Let others make room first: a client has begun a request, or has its answer."""
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
    """One client's requests, one after the other.

    Attributes:
        idle: whether nothing of the next request has come.
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
        """Answer until the client leaves, or takes too long, or sends what is no request."""
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
        """Make room for another client."""
        self._scope.cancel()

    def _turn(self, *, idle: bool) -> None:
        self.idle = idle
        self._note_progress(self)

    def _allow(self, seconds: float) -> None:
        self._scope.deadline = trio.current_time() + seconds

    async def _answer_one(self) -> bool:
        """Answer the next request; whether another may follow."""
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
            # Never what h11 says of it, which may hold what came.
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
