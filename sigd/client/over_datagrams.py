"""A datagram connection: one UDP socket and the party that uses it."""

import math
import random
from collections.abc import Callable
from contextlib import suppress
from socket import SOCK_DGRAM
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ConnectedUDPSocket

from sigd.client.datagram_conversation import DatagramLink
from sigd.client.errors import Disconnected
from sigd.client.hello import Greeting
from sigd.client.trust import unreachable
from sigd.wire import macs, messages
from sigd.wire.said import IceServerList

if TYPE_CHECKING:
    from sigd.client.address import Udp
    from sigd.client.reconnector import Reconnector
    from sigd.client.wallet import Credentials

PATIENCE_SECONDS: Final = 2.5
"""Timeout for an address to answer, if the name has others: two datagrams may be lost."""

ICE_SECONDS: Final = 2.0
"""Timeout for STUN and TURN servers that did not fit into `registered`. A faster program requests them itself."""

ICE_SERVERS: Final = "iceServers"
"""Feature of servers that answer requests for them."""


class Party(Protocol):
    """A user of the socket: a `Greeting`, then a `DatagramLink`."""

    @property
    def over(self) -> bool:
        """Whether it is finished."""
        ...

    @property
    def deadline(self) -> float:
        """Return the time of the next `expire` and `datagrams_to_send`."""
        ...

    def receive_untrusted(self, datagram: bytes, now: float) -> None:
        """Process a datagram."""
        ...

    def expire(self, now: float) -> None:
        """Do everything due."""
        ...

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Return the datagrams to send now."""
        ...


async def connect_datagrams(where: "Udp", jitter: random.Random, reconnector: "Reconnector") -> "DatagramConnection":
    """Resolve the server's address; whether it answers shows only later.

    Raises:
        OSError: the name does not resolve.
    """
    try:
        found = await anyio.getaddrinfo(where.host, where.port, type=SOCK_DGRAM)
    except OSError as fault:
        raise unreachable(where, fault) from None
    addresses = dict.fromkeys((str(place[0]), int(place[1])) for *_, place in found)
    return DatagramConnection(reconnector, [*addresses], jitter)


class DatagramConnection:
    """A connection over datagrams; see `Connection` for the interface."""

    def __init__(self, reconnector: "Reconnector", addresses: list[tuple[str, int]], jitter: random.Random) -> None:
        self._reconnector = reconnector
        self._conversation = reconnector.conversation
        self._addresses = addresses
        self._jitter = jitter
        self._socket: ConnectedUDPSocket | None = None
        self._link: DatagramLink | None = None

    # -- registering

    async def register(self, credentials: "Credentials") -> None:
        """Request the ID at each of the server's addresses until one answers; return once it is registered."""
        conversation = self._conversation
        shown = {name: text for name, text in credentials.items() if name != "token" or "user" not in credentials}
        conversation.register(shown)
        register = conversation.next_due()
        token = credentials["token"].encode() if len(shown) < len(credentials) else None
        for host, port in self._addresses:
            greeting = Greeting(conversation.id, register, token, self._jitter, anyio.current_time())
            is_last = (host, port) == self._addresses[-1]
            if await self._greet(greeting, host, port, math.inf if is_last else PATIENCE_SECONDS):
                break
        if not conversation.registered:
            raise conversation.fault or Disconnected("the server does not answer", sent=True)
        await self._ask_for_ice_servers()

    async def _greet(self, greeting: Greeting, host: str, port: int, patience: float) -> bool:
        """Return whether this address answered."""
        try:
            self._socket = await anyio.create_connected_udp_socket(host, port)
        except OSError:
            if patience == math.inf:
                raise
            return False
        try:
            with anyio.move_on_after(patience):
                await self._exchange(greeting, lambda: greeting.challenged)
            if greeting.challenged or greeting.over:
                await self._exchange(greeting, lambda: greeting.over)
        finally:
            greeting.give_up()
            self._take_answer(greeting)
        if greeting.over:
            return True
        await self.hang_up()
        return False

    def _take_answer(self, greeting: Greeting) -> None:
        now = anyio.current_time()
        if greeting.over:
            self._conversation.receive_message(greeting.answer, now)
        if greeting.channel is not None:
            self._link = DatagramLink(self._conversation, greeting.channel, now)

    async def _ask_for_ice_servers(self) -> None:
        """Request the servers of `Peer.ice_servers`: they may have been too long for `registered`."""
        conversation, link = self._conversation, self._link
        terms = conversation.terms
        if link is None or terms is None or terms.ice_servers is not None or ICE_SERVERS not in terms.features:
            return
        pending = conversation.ask(messages.IceServers(), IceServerList, lambda: None)
        with anyio.move_on_after(ICE_SECONDS):
            await self._exchange(link, lambda: pending.settled)
        conversation.forget(pending)

    # -- conversing

    async def converse(self) -> str:
        """Send and receive until the link is over; return the reason unless a message gave it."""
        if self._link is None:
            raise AssertionError("conversing without being registered")
        await self._exchange(self._link, lambda: False)
        return self._link.reason

    def shown(self, credentials: "Credentials") -> "Credentials":
        """Return the part of fresh credentials to send: a proof in place of a token that goes with a `user`."""
        if "user" not in credentials or self._link is None:
            return credentials
        proof = macs.renewal_proof(credentials["token"].encode(), self._link.cid, credentials["user"])
        return {"user": credentials["user"], "proof": proof.decode()}

    async def hang_up(self, *, within: float = 0) -> None:
        """Leave the link, if there is one, and close the socket."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        with anyio.CancelScope(deadline=anyio.current_time() + within, shield=True):
            if self._link is not None:
                await _send(socket, self._link.leave(anyio.current_time()))
        with anyio.CancelScope(shield=True):
            await socket.aclose()

    # -- the socket

    async def _exchange(self, party: Party, done: Callable[[], bool]) -> None:
        """Send and receive for a party until the condition holds or the party is over."""
        if self._socket is None:
            raise AssertionError("no socket")
        reconnector = self._reconnector
        async with anyio.create_task_group() as group:
            group.start_soon(self._receive, self._socket, party)
            while True:
                now = anyio.current_time()
                if now >= party.deadline:
                    reconnector.expire(party.expire)
                    reconnector.tell()
                changed = reconnector.changed
                datagrams = party.datagrams_to_send(now)
                if datagrams:
                    await _send(self._socket, datagrams)
                    reconnector.tell()  # there is room again
                if party.over or done():
                    break
                with anyio.move_on_after(party.deadline - anyio.current_time()):
                    await changed.wait()
            group.cancel_scope.cancel()

    async def _receive(self, socket: ConnectedUDPSocket, party: Party) -> None:
        while not party.over:
            try:
                datagram = await socket.receive()
            except anyio.BrokenResourceError as fault:
                if not isinstance(fault.__cause__, OSError):
                    return  # the socket is broken: missing acknowledgements end the link
                # An ICMP error about one of our datagrams: it counts as lost.
                await anyio.lowlevel.checkpoint()
                continue
            party.receive_untrusted(datagram, anyio.current_time())
            self._reconnector.tell()


async def _send(socket: ConnectedUDPSocket, datagrams: list[bytes]) -> None:
    """Send datagrams; each may be lost, locally as well as on the way."""
    for datagram in datagrams:
        with suppress(anyio.BrokenResourceError):
            await socket.send(datagram)
