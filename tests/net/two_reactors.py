"""Two reactors in this process, one after the other: what one hands over, the other takes up.

Lower than `in_process`: no server around them, so that a test can look at what lies between the two.
"""

import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from sigd.config import Limits, parse_listen
from sigd.net import arrival, handover, listeners
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.ports import DatagramSocket
from sigd.net.reactor import Reactor
from sigd.net.stream import Stream
from sigd.relay.access import Access
from sigd.relay.credentials import Credential
from sigd.relay.ice import Vendor
from sigd.relay.rates import Rates
from sigd.relay.router import Router
from tests import certificates
from tests.at_rest import settles
from tests.in_process import CLIENTS, LOOKS, UNCAPPED, Client

TCP, UDP = "tcp://127.0.0.1:0", "udp://127.0.0.1:0"


class Relay:
    """What serves, and what comes after it.

    Attributes:
        nursery: what its tasks run in.
        reactor, router: of the moment.
        doors: the listeners.
        packed, parcel, taken: of the last handover.
        unix_ahead: what the clock on the wall shows more than trio's.
    """

    def __init__(self, nursery: trio.Nursery, credentials: Sequence[Credential], **limits: Any) -> None:
        self.nursery = nursery
        self._scope = trio.CancelScope()
        self._clients: list[Client] = []
        self.doors: list[ListeningSocket] = []
        self.urls: list[str] = []
        self.unix_ahead = 1_700_000_000.0
        self.packed: handover.Packed
        self.taken: arrival.Taken
        self.begins(credentials, **limits)

    def begins(self, credentials: Sequence[Credential] = (), **limits: Any) -> None:
        """Have a new reactor, which serves nobody yet."""
        configured = msgspec.structs.replace(Limits(), **(UNCAPPED | limits))
        access = Access(credentials, (), Rates.of(configured))
        vendor = Vendor((), (), None, 0.0)
        self.router = Router(configured, access, vendor, lambda: trio.current_time() + self.unix_ahead)
        self.reactor = Reactor(self.router, 20_000)

    def listens(self, *urls: str, speaks_tls: bool = False) -> None:
        """Open listeners; those for streams may speak TLS too."""
        for url in urls:
            listen = parse_listen(url)
            for number, sock in enumerate(listeners.open_listeners(listen)):
                key = (url, number)
                if listen.scheme == "udp":
                    self.doors.append(DatagramSocket(sock, key, self.reactor.datagrams.links))
                else:
                    self.doors.append(StreamListener(sock, key, _context() if speaks_tls else None))
                self.urls.append(self.doors[-1].url)

    def opens(self, url: str, *, speaks_tls: bool = False) -> None:
        """Open one more listener while it serves."""
        self.listens(url, speaks_tls=speaks_tls)
        self.reactor.listen(self.doors[-1])

    def serves(self) -> None:
        """Run the reactor."""
        self._scope = trio.CancelScope()
        self.nursery.start_soon(self._run, self.reactor, self._scope)
        for door in self.doors:
            self.reactor.listen(door)

    async def _run(self, reactor: Reactor, scope: trio.CancelScope) -> None:
        with scope:
            await reactor.run()

    # -- handing over

    async def packs(self) -> None:
        """Pack everything; the old one serves no more."""
        await self.settles()
        await handover.send_away(self.reactor)
        self.packed = handover.pack(self.reactor, self.doors)
        self.stops()

    def stops(self) -> None:
        """End the task of the reactor."""
        self._scope.cancel()

    def unpacks(
        self, credentials: Sequence[Credential] = (), closed: Sequence[str] = (), **limits: Any
    ) -> arrival.Taken:
        """Have another reactor take up what was packed.

        Args:
            credentials: of its rules.
            closed: listeners that are not in its configuration any more.
            limits: of its rules.
        """
        self.begins(credentials, **limits)
        parcel = handover.unpack(self.packed.memfds, self.packed.bags)
        before, self.doors = self.doors, []
        for door in before:
            sock = parcel.doors.pop(door.key)
            if door.key[0] in closed:
                sock.close()
            elif isinstance(door, DatagramSocket):
                self.doors.append(DatagramSocket(sock, door.key, self.reactor.datagrams.links))
            else:
                self.doors.append(StreamListener(listeners.adopt(sock), door.key, door.context))
        self.taken = arrival.take_up(self.reactor, parcel, self.doors)
        parcel.close()
        self.serves()
        return self.taken

    async def hands_over(self, *arguments: Any, **limits: Any) -> arrival.Taken:
        """The whole of it."""
        await self.packs()
        return self.unpacks(*arguments, **limits)

    # -- clients

    def url(self, scheme: str) -> str:
        """Where it listens for that."""
        return next(url for url in self.urls if url.startswith(scheme + ":"))

    async def connect(self, framing: str = "prefixed", *, url: str = "", receive_buffer: int = 0) -> Client:
        """Connect a client that will speak in this framing, by the first listener for it, or whose URL begins so."""
        begin = url or ("udp:" if framing == "udp" else "tcp:")
        listen = parse_listen(next(known for known in self.urls if known.startswith(begin)))
        family, address = socket.AF_INET, (listen.host, listen.port)
        where: Any = address
        if listen.scheme == "unix":
            family, where = socket.AF_UNIX, listen.path
        client = CLIENTS[framing](trio.socket.socket(family, CLIENTS[framing].kind))
        self._clients.append(client)
        if receive_buffer:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if listen.scheme == "tcp":
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as in `in_process`
        await client.sock.connect(where)
        await client.opens()
        self.nursery.start_soon(client.runs)
        return client

    async def peer(self, peer: str, framing: str = "prefixed", *, url: str = "", **members: object) -> Client:
        """Connect a client, and register it."""
        client = await self.connect(framing, url=url)
        await client.registers(peer, **members)
        return client

    def link(self, peer: str) -> Stream:
        """The daemon's end of the connection of a registered peer."""
        link = self.router.registry.find(peer)
        assert isinstance(link, Stream)
        return link

    async def settles(self) -> None:
        """Wait until all that is under way has arrived."""
        await settles()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for something that comes without more input."""
        for _ in range(LOOKS):
            if holds():
                break
            await settles()
        assert holds()

    async def is_left_by_all(self) -> None:
        """Close every connection; nothing of any of them is left then."""
        for client in self._clients:
            client.breaks_off()
        await self.until(lambda: not len(self.reactor))
        router = self.router
        left = (
            len(router.registry),
            router.buffers.of_links,
            len(router.deadlines),
            len(router.admission.unregistered),
        )
        assert left == (0, 0, 0, 0)
        assert len(router.admission.origins) == 0

    def close(self) -> None:
        """Close whatever is left."""
        for client in self._clients:
            client.breaks_off()
        for door in self.doors:
            listeners.close_listener(door.sock)


@asynccontextmanager
async def relaying(*urls: str, credentials: Sequence[Credential] = (), **limits: Any) -> AsyncGenerator[Relay]:
    """A relay on ports that the system picks; it ends with the block, and leaves nothing behind."""
    async with trio.open_nursery() as nursery:
        relay = Relay(nursery, credentials, **limits)
        try:
            relay.listens(*(urls or (TCP, UDP)))
            relay.serves()
            yield relay
            await relay.is_left_by_all()
        finally:
            relay.close()
            nursery.cancel_scope.cancel()


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.files("localhost", "127.0.0.1"))
    return context


def close_all(socks: Sequence[socket.socket]) -> None:
    """Close sockets."""
    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
