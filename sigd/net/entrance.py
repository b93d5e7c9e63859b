"""Accept of connections, or refusal with a reason, even without free resources."""

import contextlib
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Final

import trio

from sigd import log
from sigd.net.listeners import StreamListener, close_listener
from sigd.net.rounds import REFUSALS, Rounds
from sigd.net.socket_link import IN
from sigd.net.stream import Stream
from sigd.relay.lobby import too_many_of_address
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines
from sigd.wire.opening import Opening

if TYPE_CHECKING:
    from sigd.net.places import Address
    from sigd.relay.origins import Origin

ACCEPTS_PER_ROUND: Final = 16
"""Maximum number of connections accepted per listener and round: a crowd must not delay existing links."""

RESERVED_DESCRIPTORS: Final = 64
"""Descriptors that are not for clients: listeners, epoll, trio, logs, refusals, and those that a library may open."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_DEAF_SECONDS: Final = 1.0
"""How long a listener is left alone when not even a refusal is possible."""

_FULL: Final = ProtocolError(ErrorCode.SERVER_FULL, "the server is full: try again later", limit="max_connections")


class Entrance:
    """The listeners of a reactor, and the connections that they accept.

    Attributes:
        doors: by descriptor.
    """

    def __init__(self, rounds: Rounds, streams: dict[int, Stream], max_connections: int) -> None:
        self.doors: dict[int, StreamListener] = {}
        self._rounds = rounds
        self._router = rounds.router
        self._epoll = rounds.epoll
        self._streams = streams
        self._max_connections = max_connections
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._full = log.Damper()
        self._exhausted = log.Damper()
        self._begun = log.Budget()

    def open(self, door: StreamListener) -> None:
        """Accept clients of a listening, non-blocking socket."""
        self.doors[door.sock.fileno()] = door
        self._epoll.register(door.sock.fileno(), IN)

    def close(self) -> None:
        """Take nobody in any more."""
        for fd, door in self.doors.items():
            self._epoll.unregister(fd)
            close_listener(door.sock)
        self.doors.clear()

    def give_up(self) -> None:
        """Close the descriptors reserved for refusals."""
        if self._spare is not None:
            os.close(self._spare)

    def accept(self, doors: list[StreamListener]) -> None:
        """Accept waiting clients, a few per round and listener."""
        for door in doors:
            self._accept(door, max(1, ACCEPTS_PER_ROUND // len(doors)))

    def _accept(self, door: StreamListener, most: int) -> None:
        if door.context is not None and not self._rounds.may_shake_hands:
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

    def _welcome(self, sock: socket.socket, address: "Address | str", door: StreamListener) -> None:
        rounds, admission = self._rounds, self._router.admission
        host, port = ("unix", None) if isinstance(address, str) else (address[0], address[1])
        origin = admission.origins.local if port is None else admission.origins.of(host)
        if len(self._streams) >= self._max_connections + REFUSALS:
            self._say_full(self._full, "max_connections", self._max_connections)
            self._refuse_at_once(sock, door, _FULL)
            return
        if admission.excess(origin) >= REFUSALS:
            self._refuse_at_once(sock, door, too_many_of_address())
            return
        try:
            sock.setblocking(False)
            link = self.add(sock, origin, host, port, door)
        except Exception as fault:
            rounds.say_bug(fault, address=host)
            self._abandon(sock)
            return
        try:
            if len(self._streams) > self._max_connections:
                self._say_full(self._full, "max_connections", self._max_connections)
                admission.make_way(link, _FULL, rounds.now)
            elif admission.is_full_for(origin):
                if admission.excess(origin) <= 0:
                    link.readable(rounds.now)  # a client that registers at once takes nobody's place
                admission.make_room(link, rounds.now)
        except Exception as fault:
            rounds.fail(link, fault)

    def add(self, sock: socket.socket, origin: "Origin", host: str, port: int | None, door: StreamListener) -> Stream:
        """Take a connected, non-blocking socket in."""
        opening = None
        if door.context is not None or origin.trusted:
            opening = Opening(door.context, tls_only=door.tls_only, proxied=origin.trusted)
        # Where both say the same, one string is enough for all that come from there.
        link = Stream(self._rounds, sock, origin, origin.key if origin.key == host else host, port, opening)
        self._epoll.register(link.fd, IN)
        self._streams[link.fd] = link
        self._rounds.note_link(link)
        self._router.welcome(link)
        if log.says(logging.DEBUG) and (count := self._begun.lets_through(self._rounds.now)):
            log.debug("connected", address=link.address, to=door.url, count=count)
        return link

    def _abandon(self, sock: socket.socket) -> None:
        """Give up a connection that could not be taken in."""
        link = self._streams.pop(sock.fileno(), None)
        if link is not None:
            self._rounds.note_end(link.via)
        sock.close()

    def _refuse_exhausted(self, door: StreamListener, fault: OSError) -> None:
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
            self._rounds.start_soon(self._listen_again, door.sock)

    def _refuse_at_once(self, sock: socket.socket, door: StreamListener, fault: ProtocolError) -> None:
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
            self._epoll.modify(listener.fileno(), IN)

    def _say_full(self, damper: log.Damper, what: str, limit: object) -> None:
        count = damper.lets_through(self._rounds.now)
        if count:
            log.warning("server-full", limit=what, at=limit, links=len(self._streams), refused=count)
