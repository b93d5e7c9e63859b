"""The admin socket's server: checks permissions, bounds connections, and confines faults to one connection."""

import contextlib
import grp
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from sigd import log
from sigd.admin.questions import MAX_TAPPED, Asked, AskTap, UnknownQuestion, decode_question
from sigd.admin.replies import Refused
from sigd.config.auth import OVERFLOW_ID
from sigd.control import typed
from sigd.control.answers import Answers, Refusal
from sigd.control.asker import FRAME_SECONDS, Asker, Gone
from sigd.control.samples import SAMPLE_SECONDS
from sigd.control.tap import Tap
from sigd.net.callers import Process, process_of
from sigd.wire import framing
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.control.operated import Operated

MOST_ASKERS: Final = 16
"""Maximum number of connections served at once: an operator has a few windows open, and some scripts. Beyond it the one
idle for longest is closed; if all have taps or wait for answers, the new one is refused.
"""

MOST_REFUSED: Final = 16
"""Maximum number of connections that receive a reason for their refusal; others are closed silently."""

MOST_OPEN: Final = 64
"""Maximum number of connections in all, including those whose user is not yet known."""

DEAF_SECONDS: Final = 1.0
"""Seconds without accepting after a failed accept, which mostly means that no descriptor is left."""


class Desk:
    """The server of the admin socket. No request can stop the relay."""

    def __init__(self, server: "Operated") -> None:
        self._server = server
        self._answers = Answers(server)
        self._open = 0  # all connections; `_here` counts those served, `_refused` those being refused
        self._here = 0
        self._idle: dict[trio.CancelScope, None] = {}  # connections waiting for a request, the longest first
        self._refused = 0
        self._refusals = log.Damper()
        self._deaf = log.Damper()

    async def serve(self, listeners: Sequence[socket.socket]) -> None:
        """Serve clients of these listening, non-blocking Unix sockets until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sample)
            for listener in listeners:
                nursery.start_soon(self._accept, listener, nursery)

    async def _sample(self) -> None:
        while True:
            self._answers.state.samples.take(self._server.router, trio.current_time())
            taps = self._server.router.taps
            if taps.fault is not None:
                self._server.reactor.say_bug(taps.fault, listener="tap")
                taps.fault = None
            await trio.sleep(SAMPLE_SECONDS)

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError as fault:
                count = self._deaf.lets_through(trio.current_time())
                if count:
                    log.warning("admin deaf", reason=os.strerror(fault.errno or 0), count=count)
                await trio.sleep(DEAF_SECONDS)
                continue
            if self._open >= MOST_OPEN:
                sock.close()
            else:
                self._open += 1
                nursery.start_soon(self._attend, sock)

    async def _attend(self, sock: socket.socket) -> None:
        """Serve one connection; no exception leaves it."""
        with sock:
            try:
                sock.setblocking(False)
                process = process_of(sock)
                reserve = self._server.router.buffers.reserve
                await self._serve_one(Asker(trio.socket.from_stdlib_socket(sock), process, reserve))
            except Gone as gone:
                log.debug("admin left", reason=gone)
            except Exception as fault:
                self._server.reactor.say_bug(fault)
            finally:
                self._open -= 1

    async def _serve_one(self, asker: Asker) -> None:
        refused = await self._why_not(asker.process)
        if refused is None:
            self._here += 1
            try:
                await self._converse(asker)
            finally:
                self._here -= 1
        elif self._refused < MOST_REFUSED:
            self._refused += 1
            try:
                await _refuse(asker, refused)
            finally:
                self._refused -= 1

    # -- permissions

    async def _why_not(self, process: Process) -> Refused | None:
        """Return the reason to refuse a process; None to serve it."""
        if not await self._may_ask(process):
            count = self._refusals.lets_through(trio.current_time())
            if count:
                log.warning("admin refused", uid=process.uid, pid=process.pid, count=count)
            group = self._server.rules.config.admin.group
            text = f"only root and members of group {group} may ask: sudo usermod -aG {group} $USER, then log in again"
            return Refused(code="not-allowed", message=text)
        if self._here >= MOST_ASKERS and not self._end_idle():
            return Refused(code="too-many", message=f"{MOST_ASKERS} other connections are open: close some of them")
        return None

    def _end_idle(self) -> bool:
        """Close the connection that has been idle for longest; return whether there was one."""
        for scope in self._idle:
            scope.cancel()
            del self._idle[scope]
            return True
        return False

    async def _may_ask(self, process: Process) -> bool:
        # Users of another user namespace appear as nobody (user_namespaces(7)), so uid nobody never counts as our own.
        if process.uid == 0 or process.uid == os.geteuid() != OVERFLOW_ID:
            return True
        # In a thread: group lookup may use the network.
        group = await trio.to_thread.run_sync(_number_of, self._server.rules.config.admin.group)
        return group in process.groups - {OVERFLOW_ID}

    # -- requests

    async def _converse(self, asker: Asker) -> None:
        first = True
        while True:
            try:
                frame = await self._next_frame(asker)
                if first and asker.lines and framing.is_http_request(frame):
                    await asker.send(framing.NOT_HTTP)
                    return
                first = False
                asked = _read(frame, lines=bool(asker.lines))
            except ProtocolError as fault:
                await asker.say(Refused(code="bad-question", message=fault.text))
                if fault.code is ErrorCode.BAD_FRAME:
                    return
            except UnknownQuestion as fault:
                await asker.say(Refused(code="unknown-question", message=str(fault)))
            except ValueError as fault:
                await asker.say(Refused(code="bad-question", message=str(fault)))
            else:
                if isinstance(asked, AskTap):
                    await Tap(asked, asker, self._server.router).run()
                    return
                if isinstance(asked, bytes):
                    await asker.send(asked)
                else:
                    await asker.say(await self._answer(asked, asker.process))

    async def _next_frame(self, asker: Asker) -> bytes:
        """Return the next request.

        Raises:
            Gone: the client has gone, or its place is needed.
            ProtocolError: see `Asker.next_frame`.
        """
        with trio.CancelScope() as scope:
            self._idle[scope] = None
            try:
                return await asker.next_frame()
            finally:
                self._idle.pop(scope, None)
        text = f"{MOST_ASKERS} other connections are open, and this one was idle for longest"
        await asker.say(Refused(code="too-many", message=text))
        raise Gone("idle for longest")

    async def _answer(self, asked: Asked, process: Process) -> Struct:
        try:
            return await self._answers.to(asked, process)
        except Refusal as refusal:
            return refusal.reply
        except Exception as fault:
            self._server.reactor.say_bug(fault, question=type(asked).__name__)
            return Refused(code="internal", message="a bug in the server: see its log")


def _read(frame: bytes, *, lines: bool) -> Asked | bytes:
    """Decode a request; return bytes for one answered at once.

    Raises:
        ValueError: it is no request.
    """
    if not lines:
        asked: Asked | None = decode_question(frame)
    elif frame.lstrip().startswith(b"#"):
        return b""
    else:
        asked = typed.parse(frame.strip())
    if isinstance(asked, AskTap) and len(asked.peers) > MAX_TAPPED:
        raise ValueError(f"a tap names at most {MAX_TAPPED} peers: name fewer, or none to see all")
    return typed.HELP if asked is None else asked


async def _refuse(asker: Asker, refused: Refused) -> None:
    # The first input shows the framing to answer in.
    with contextlib.suppress(Gone, ProtocolError):
        await asker.next_frame(FRAME_SECONDS)
    await asker.say(refused)


def _number_of(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, OSError):
        return None
