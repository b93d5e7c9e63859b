"""Conversations in DTLS: one is to its links what a datagram socket is to those over UDP. See `ports.Carrier`.

Trio does the cookies, the handshakes and their repetitions. Here is the rest: how many there may be and for
how long, whose fault ends what, and that nobody has to wait for anybody.
"""

import contextlib
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import trio
from OpenSSL import SSL

from sigd import log
from sigd.net.dtls import DTLSSocket, Resends
from sigd.net.handshakes import FAILED, TIMED_OUT, wait_for_turn
from sigd.net.places import Address, Place, Recipient
from sigd.relay.strangers import Strangers
from sigd.wire import greeting
from sigd.wire.datagram import MAX_DATAGRAM

if TYPE_CHECKING:
    from sigd.net.udp import Datagrams
    from sigd.relay.origins import Origin

QUEUE: Final = 32
"""Datagrams that wait to be encrypted: four windows. Any more are lost, as they might be on the way."""

STOP_SECONDS: Final = 0.5
"""How long farewells may take when the daemon stops: a few datagrams that nobody waits for."""

_LOST: Final = (SSL.Error, trio.BrokenResourceError, trio.ClosedResourceError)
"""Exceptions of trio when OpenSSL gives up, the client starts anew, or the socket is closed."""

_LEFT: Final = "left"
_CONNECTION_LOST: Final = "connection lost"
_INTERNAL: Final = "internal"

_serials: Final = itertools.count(1)


class Sessions:
    """All conversations in DTLS, of all listeners.

    Attributes:
        datagrams: their links.
        reactor: the rounds between which they are served.
        ports: where clients come from.
        turn: held by the session that computes a handshake, which takes up to a millisecond: one, then everybody else.
    """

    def __init__(self, datagrams: "Datagrams") -> None:
        self.datagrams = datagrams
        self.reactor = datagrams.reactor
        self.ports: list[DTLSSocket] = []
        self.turn = trio.Lock()
        self._all: set[Session] = set()
        # Those that had no ID at the last look: silent until the handshake is done, and begun from then on.
        self._young: Strangers[Session] = Strangers()
        self._empty = trio.Event()

    def __len__(self) -> int:
        return len(self._all)

    async def run(self) -> None:
        """Serve all clients until cancelled."""
        async with trio.open_nursery() as nursery:
            for port in self.ports:
                nursery.start_soon(port.serve, self.serve, self.datagrams.may_answer)

    def change(self, contexts: "dict[tuple[str, int], SSL.Context]") -> None:
        """Show these certificates from now on, by the listener's key."""
        for port in self.ports:
            port.context = contexts.get(port.key, port.context)

    async def serve(self, channel: trio.DTLSChannel, port: DTLSSocket) -> None:
        """Serve one client, which has shown that it receives where it sends from, until it has left."""
        try:
            session = Session(self, channel, port)
            try:
                if self._enter(session):
                    await session.run()
            finally:
                self._leave(session)
        except Exception as fault:
            self.reactor.say_bug(fault, address=channel.peer_address[0][0])

    def all_links(self) -> list[Recipient]:
        """All links over DTLS, also while they are judged or closing."""
        return [link for session in self._all for link in session.links.values()]

    async def stop(self) -> None:
        """End all, after their links, and wait until each client was told."""
        for session in self._all:
            session.end()
        with trio.move_on_after(STOP_SECONDS):
            while self._all:
                self._empty = trio.Event()
                await self._empty.wait()

    # -- how many

    def _enter(self, session: "Session") -> bool:
        """Count a session, if there is room: its client tries again otherwise, as if we had not heard it."""
        limits, hits = self.reactor.router.limits, self.reactor.router.limits_hit
        if self.reactor.stopping:
            return False
        if len(self._all) >= limits.dtls_sessions:
            hits["dtls_sessions"] += 1
            return False
        for other in [other for other in self._young if other.registered]:
            self._young.leave(other, other.origin)
        self._all.add(session)
        self._young.enter(session, session.origin, session.began)
        limit, gone = self._in_the_way_of(session)
        if gone is not None:
            hits[limit] += 1
            self._young.leave(gone, gone.origin)
            gone.end()
        return gone is not session

    def _in_the_way_of(self, session: "Session") -> "tuple[str, Session | None]":
        """Return the limit that a session exceeds, and the one that makes room for it: maybe itself."""
        limits, young, now = self.reactor.router.limits, self._young, session.began
        cap, most = limits.max_unregistered_per_address, limits.dtls_handshakes
        if cap and session.origin.capped and young.count(session.origin) > cap:
            return "max_unregistered_per_address", young.in_the_way(session, session.origin, cap, now)
        if len(young) > most:
            return "dtls_handshakes", young.in_the_way_of_all(session, session.origin, most, now)
        return "", None

    def has_shaken_hands(self, session: "Session") -> None:
        """Note that a client goes on, which keeps its place for longer (see `strangers`)."""
        self._young.begin(session, session.origin, trio.current_time())

    def _leave(self, session: "Session") -> None:
        self._all.discard(session)
        self._young.leave(session, session.origin)
        if not self._all:
            self._empty.set()


class Session:
    """One client's conversation in DTLS.

    Attributes:
        address: where the client is.
        origin: the same as far as per-address caps go.
        began: when it was taken in, in seconds on trio's clock.
        links: those that are reached here, by cid.
        serial: no other has the same.
    """

    __slots__ = (
        "_channel",
        "_datagrams",
        "_due",
        "_port",
        "_reactor",
        "_registers_by",
        "_resends",
        "_room",
        "_scope",
        "_sessions",
        "_source",
        "_to_write",
        "address",
        "began",
        "links",
        "origin",
        "serial",
    )

    def __init__(self, sessions: Sessions, channel: trio.DTLSChannel, port: DTLSSocket) -> None:
        self._datagrams = sessions.datagrams
        self._reactor = sessions.reactor
        self._sessions = sessions
        self._channel = channel
        self._port = port
        self.address: Address
        self.address, self._source = channel.peer_address
        self.origin: Origin = self._reactor.router.admission.origins.of(self.address[0])
        self.began = trio.current_time()
        self.links: dict[bytes, Recipient] = {}
        self._resends = Resends()
        self.serial = next(_serials)
        self._room = 0  # bytes that a datagram may have; 0: the handshake is not done
        self._registers_by = math.inf
        self._scope = trio.CancelScope()
        self._due, self._to_write = trio.open_memory_channel[bytes](QUEUE)

    # -- as a carrier

    @property
    def via(self) -> str:
        """The name of the transport."""
        return "dtls"

    @property
    def moves(self) -> bool:
        """A client that has another address shakes hands again: nothing in DTLS 1.2 says that it is the same."""
        return False

    @property
    def sealed_only(self) -> bool:
        """All datagrams are authenticated, by DTLS itself."""
        return False

    def send(self, data: bytes, address: Address, source: bytes) -> None:
        """Send a datagram. One that is too long, or beyond the bound of the queue, is dropped: nobody waits here."""
        if len(data) <= self._room:
            with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
                self._due.send_nowait(data)

    def forget(self, cid: bytes) -> None:
        """Forget a link that has ended; with it the session ends, unless it has others, or may still register."""
        link = self.links.pop(cid)
        if self.links:
            return
        if link.id is not None:
            self.end()
        else:
            self._scope.deadline = self._registers_by

    # -- its life

    @property
    def registered(self) -> bool:
        """Whether one of its links has an ID."""
        return any(link.id is not None for link in self.links.values())

    def end(self) -> None:
        """End it, once all that is due has been written."""
        self._scope.cancel()

    async def run(self) -> None:
        """Shake hands, and then serve the client until it leaves."""
        limits = self._reactor.router.limits
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            reason = ""
            with self._scope:
                self._scope.deadline = self.began + limits.tls_handshake_timeout_ms / 1000
                if await self._shake_hands():
                    self._port.resends[self._channel.peer_address] = self._resends
                    self._registers_by = trio.current_time() + limits.register_timeout_ms / 1000
                    self._scope.deadline = self._registers_by
                    reason = await self._read()
            self._reactor.intervene(functools.partial(self._give_up_links, reason))
            self._due.close()
        if self._scope.cancelled_caught and trio.current_time() >= self._scope.deadline:
            self._note_time_out()
        resends = self._port.resends
        if resends.get(self._channel.peer_address) is self._resends:
            del resends[self._channel.peer_address]

    def _note_time_out(self) -> None:
        router = self._reactor.router
        if self._room:
            router.limits_hit["register_timeout_ms"] += 1
        else:
            router.limits_hit["tls_handshake_timeout_ms"] += 1
            router.closed[TIMED_OUT] += 1

    async def _shake_hands(self) -> bool:
        channel = self._channel
        channel.set_ciphertext_mtu(MAX_DATAGRAM)
        try:
            await wait_for_turn(self._sessions.turn, self._scope)
            try:
                await trio.lowlevel.checkpoint()
            finally:
                self._sessions.turn.release()
            await channel.do_handshake()
        except _LOST as fault:
            log.debug("dtls", address=self.address[0], fault=type(fault).__name__)
            self._reactor.router.closed[FAILED] += 1
            return False
        self._room = channel.get_cleartext_mtu()
        self._sessions.has_shaken_hands(self)
        return True

    async def _read(self) -> str:
        """Process input until there is no more; return the reason."""
        while True:
            try:
                datagram = await self._channel.receive()
            except SSL.ZeroReturnError:
                return _LEFT
            except _LOST:
                return _CONNECTION_LOST
            try:
                self._reactor.intervene(functools.partial(self._take_untrusted, datagram))
            except Exception as fault:
                self._reactor.say_bug(fault, address=self.address[0])
                return _INTERNAL
            if self.links:
                self._scope.deadline = math.inf  # its link has deadlines of its own

    def _take_untrusted(self, datagram: bytes, now: float) -> None:
        # A new tuple each time: a link that finds its own one again takes that for a move.
        place = Place(self.address, self, self._source)
        datagrams = self._datagrams
        self._reactor.router.bytes_received += len(datagram)
        if not datagram.startswith(b"{"):
            datagrams.take_untrusted(datagram, place, now)
        elif len(datagram) <= MAX_DATAGRAM and not self._reactor.stopping:
            opening = greeting.open_untrusted(datagram)
            if opening is not None:
                datagrams.greet(opening, place, now)  # DTLS has had its own cookie

    def _give_up_links(self, reason: str, now: float) -> None:
        for link in list(self.links.values()):
            try:
                link.abort(reason or _CONNECTION_LOST)
            except Exception as fault:
                self._reactor.fail(link, fault)
        self.links = {}  # the other knows us, and what holds itself is freed late

    # -- what goes

    async def _write(self) -> None:
        async for datagram in self._to_write:
            try:
                await self._channel.send(datagram)
            except _LOST:
                self.end()
                return
        if self._room:
            self._say_close_notify()

    def _say_close_notify(self) -> None:
        # Trio has no call for it. Nobody waits for the client's, which is nothing to us any more.
        undocumented: Any = self._channel
        connection: SSL.Connection = undocumented._ssl
        with contextlib.suppress(SSL.Error):
            connection.shutdown()
            self._port.send(connection.bio_read(MAX_DATAGRAM), self.address, self._source)
