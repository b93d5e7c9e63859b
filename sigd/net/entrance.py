"""Who connects: taken in, or told why not, whatever the daemon is out of."""

import contextlib
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.listeners import Door, close_listener
from sigd.relay.room import is_full_for, make_room, make_way, too_many_of_address
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines

if TYPE_CHECKING:
    from sigd.net.listeners import Address
    from sigd.net.reactor import Reactor

ACCEPTS_PER_ROUND: Final = 16
"""Connections taken per listener and round: a crowd at the door does not delay those who are in."""

REFUSALS: Final = 32
"""Connections above the limit that are refused with time to read why; further ones get one line and a close."""

RESERVED_DESCRIPTORS: Final = 64
"""Descriptors that are not for clients: listeners, epoll, trio, logs, refusals, and what a library may open."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_DEAF_SECONDS: Final = 1.0
"""How long a listener is left alone when not even a refusal is possible."""

_FULL: Final = ProtocolError(ErrorCode.SERVER_FULL, "the server is full: try again later", limit="max_connections")


class Entrance:
    """The listeners of a reactor.

    Attributes:
        doors: by descriptor.
    """

    def __init__(self, reactor: "Reactor", epoll: select.epoll, max_connections: int) -> None:
        self.doors: dict[int, Door] = {}
        self._reactor = reactor
        self._router = reactor.router
        self._epoll = epoll
        self._max_connections = max_connections
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._full = log.Damper()
        self._exhausted = log.Damper()

    def open(self, door: Door) -> None:
        """Take in who connects to a listening, non-blocking socket."""
        self.doors[door.sock.fileno()] = door
        self._epoll.register(door.sock.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Take nobody in any more."""
        for fd, door in self.doors.items():
            self._epoll.unregister(fd)
            close_listener(door.sock)
        self.doors.clear()

    def give_up(self) -> None:
        """Close what is kept for refusing."""
        if self._spare is not None:
            os.close(self._spare)

    def accept(self, doors: list[Door]) -> None:
        """Take in those who wait, a few per round and door."""
        for door in doors:
            self._accept(door, max(1, ACCEPTS_PER_ROUND // len(doors)))

    def _accept(self, door: Door, most: int) -> None:
        if door.context is not None and not self._reactor.may_shake_hands:
            return  # those who come wait outside: inside they would push out those who are still shaking hands
        for _ in range(most):
            try:
                sock, address = door.sock.accept()
            except BlockingIOError:
                return
            except OSError as fault:
                if fault.errno in _EXHAUSTED:
                    self._refuse_exhausted(door, fault)
                # Anything else concerns the one connection, which is gone (accept(2)).
                return
            self._welcome(sock, address, door)

    def _welcome(self, sock: socket.socket, address: "Address", door: Door) -> None:
        reactor, admission = self._reactor, self._router.admission
        host, port = ("unix", None) if isinstance(address, str) else (address[0], address[1])
        origin = admission.origins.local if port is None else admission.origins.of(host)
        if reactor.streams >= self._max_connections + REFUSALS:
            self._say_full(self._full, "max_connections", self._max_connections)
            self._refuse_at_once(sock, door, _FULL)
            return
        if admission.excess(origin) >= REFUSALS:
            self._refuse_at_once(sock, door, too_many_of_address())
            return
        try:
            sock.setblocking(False)
            link = reactor.add(sock, origin, host, port, door)
        except Exception as fault:
            reactor.say_bug(fault, address=host)
            reactor.abandon(sock)
            return
        try:
            if reactor.streams > self._max_connections:
                self._say_full(self._full, "max_connections", self._max_connections)
                make_way(self._router, link, _FULL, reactor.now)
            elif is_full_for(self._router, origin):
                if admission.excess(origin) <= 0:
                    link.readable(reactor.now)  # a client that registers at once takes nobody's place
                make_room(self._router, link, reactor.now)
        except Exception as fault:
            reactor.fail(link, fault)

    def _refuse_exhausted(self, door: Door, fault: OSError) -> None:
        """Out of descriptors: give one up to tell the client so, instead of leaving it to wait for ever."""
        self._say_full(self._exhausted, "descriptors", os.strerror(fault.errno or 0))
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            with contextlib.suppress(OSError):  # gone meanwhile, or somebody else took the descriptor: see below
                self._refuse_at_once(door.sock.accept()[0], door, _FULL)
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._epoll.modify(door.sock.fileno(), 0)
            self._reactor.start_soon(self._listen_again, door.sock)

    def _refuse_at_once(self, sock: socket.socket, door: Door, fault: ProtocolError) -> None:
        """Say why as far as it goes in one call, if it can be said: nobody waits for this client to read it."""
        self._router.count(fault)
        with sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            if not door.tls_only:
                sock.send(Lines.wrap(messages.encode(messages.error_of(fault))))
                sock.shutdown(socket.SHUT_WR)

    async def _listen_again(self, listener: socket.socket) -> None:
        await trio.sleep(_DEAF_SECONDS)
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if listener.fileno() in self.doors:
            self._epoll.modify(listener.fileno(), select.EPOLLIN)

    def _say_full(self, damper: log.Damper, what: str, limit: object) -> None:
        count = damper.lets_through(self._reactor.now)
        if count:
            log.warning("server-full", limit=what, at=limit, links=self._reactor.streams, refused=count)
