"""Clients that speak DTLS: peers by trio's DTLS and our own `Channel`, and handshakes that are made step by step."""

import contextlib
import json
import math
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from OpenSSL import SSL

from sigd.config import Listener
from sigd.wire import macs
from sigd.wire.datagram import MAX_DATAGRAM, Channel
from tests import certificates
from tests.at_rest import settles
from tests.in_process import PATIENCE, as_json, type_of_message
from tests.net.datagrams import Address, address_of, nonce


def door(url: str = "dtls://127.0.0.1:0") -> Listener:
    """A listener with a certificate for localhost."""
    return certificates.listener(url)


def trusting(authority: str = "servers") -> SSL.Context:
    """What a client needs that trusts this CA."""
    certificates.authority(authority)
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
    context.load_verify_locations(str(certificates.folder() / f"{authority}-ca.pem"))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_options(SSL.OP_NO_QUERY_MTU)  # else OpenSSL thinks of 256 bytes
    return context


def serial_of(connection: SSL.Connection) -> int:
    """The serial number of the certificate that a client was shown."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.serial_number


class DTLSPeer:
    """A peer whose handshake is done. A task of its own acknowledges and repeats.

    Attributes:
        dtls: what carries its datagrams.
        channel: its link, once it is registered.
        closed: whether the daemon has sent close_notify.
        gone: whether it does nothing any more.
        longest: bytes of the longest datagram that has come.
    """

    def __init__(self, dtls: trio.DTLSChannel) -> None:
        self.dtls = dtls
        self.channel: Channel[int] | None = None
        self.closed = False
        self.gone = False
        self.longest = 0
        self._messages: list[bytes] = []
        self._waiting: list[bytes] = []
        self._token = b""
        self._register = b""
        self._alarm = trio.CancelScope()
        self._news = trio.Event()

    @property
    def cid(self) -> bytes:
        """The name of its link."""
        assert self.channel is not None
        return self.channel.cid

    async def registers(self, peer: str, sealed_with: bytes = b"", **members: object) -> type_of_message:
        """Take an ID, with a mac by this token if one is given; the daemon's answer."""
        answer = await self.asks_for(peer, sealed_with, **members)
        assert (answer["type"], answer.get("id")) == ("registered", peer), answer
        return answer

    async def asks_for(self, peer: str, sealed_with: bytes = b"", **members: object) -> type_of_message:
        """The same, whatever the answer is."""
        text = as_json({"type": "register", "id": peer, "nonce": nonce()} | members)
        self._token = sealed_with
        self._register = macs.sealed(sealed_with, macs.REGISTER, text) if sealed_with else text
        await self.dtls.send(self._register)
        answer = await self.hears()
        assert isinstance(answer, dict)
        return answer

    async def says(self, *messages: type_of_message | bytes) -> None:
        """Send messages."""
        self._waiting += [as_json(message) for message in messages]
        self._alarm.cancel()

    async def hears(self) -> Any:
        """The next message."""
        with trio.fail_after(PATIENCE):
            while not self._messages:
                assert not self.over, "closed"
                self._news = trio.Event()
                await self._news.wait()
        return json.loads(self._messages.pop(0))

    async def hears_all(self) -> list[Any]:
        """Every message up to the daemon's close_notify."""
        with trio.fail_after(PATIENCE):
            while not self.closed:
                self._news = trio.Event()
                await self._news.wait()
        found = [json.loads(message) for message in self._messages]
        self._messages.clear()
        return found

    async def is_served(self) -> None:
        """The daemon answers, and has said nothing else meanwhile."""
        await self.says({"type": "ping", "ref": "served?"})
        assert await self.hears() == {"type": "pong", "ref": "served?"}

    @property
    def over(self) -> bool:
        """Whether its link has ended, or the conversation."""
        return self.closed or (self.channel is not None and bool(self.channel.over))

    async def leaves(self) -> None:
        """End the link."""
        if self.channel is not None and not self.over and not self.gone:
            self.channel.leave("left")
            await self._send_what_is_due()

    def vanishes(self) -> None:
        """Never do anything any more."""
        self.gone = True
        self.dtls.close()

    async def run(self) -> None:
        """Acknowledge, repeat and take what comes, until the daemon sends close_notify."""
        while not self.closed:
            await self._send_what_is_due()
            deadline = math.inf if self.channel is None else self.channel.next_deadline()
            with trio.CancelScope(deadline=deadline) as self._alarm:
                try:
                    self._take(await self.dtls.receive())
                except SSL.ZeroReturnError:
                    self.closed = True
                except trio.ClosedResourceError:
                    return
            if self._messages or self.over:
                self._news.set()

    async def _send_what_is_due(self) -> None:
        channel = self.channel
        if channel is None:
            return
        now = trio.current_time()
        channel.expire(now)
        while True:
            for datagram, _ in channel.datagrams_to_send(now):
                await self.dtls.send(datagram)
            if not self._waiting or not channel.room:
                return
            channel.give(self._waiting.pop(0))

    def _take(self, datagram: bytes) -> None:
        self.longest = max(self.longest, len(datagram))
        if self.channel is not None:
            self.channel.receive_untrusted(datagram, 0, trio.current_time())
            self._messages += self.channel.take_whole()
            return
        text = datagram if datagram.endswith(b"}") else macs.split(datagram)[0]
        answer = json.loads(text)
        if answer["type"] == "registered":
            cid, key = answer["cid"].encode(), None
            if self._token:
                key = macs.link_key(self._token, cid, macs.split(self._register)[1])
                assert macs.opened(key, macs.FROM_SERVER, datagram) == text
            self.channel = Channel(cid, 0, server=False, key=key)
        self._messages.append(text)


@asynccontextmanager
async def connected(url: str, context: SSL.Context | None = None) -> AsyncIterator[DTLSPeer]:
    """A client whose handshake is done; its link ends with the block."""
    address = address_of(url)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with trio.DTLSEndpoint(trio.socket.socket(family, socket.SOCK_DGRAM)) as endpoint:
        await endpoint.socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        where: Any = (*address, 0, 0) if family == socket.AF_INET6 else address  # as it comes back with datagrams
        dtls = endpoint.connect(where, context or trusting())
        dtls.set_ciphertext_mtu(MAX_DATAGRAM)
        with trio.fail_after(PATIENCE):
            await dtls.do_handshake()
        async with trio.open_nursery() as nursery:
            peer = DTLSPeer(dtls)
            nursery.start_soon(peer.run)
            yield peer
            await peer.leaves()
            nursery.cancel_scope.cancel()
    await settles()  # until the daemon has forgotten it


class ByHand:
    """A client that does one step after the other, and whose datagrams can be seen and made.

    Attributes:
        sock: where from.
        tls: its end of the conversation.
    """

    def __init__(self, url: str, context: SSL.Context | None = None, address: Address | None = None) -> None:
        target = address_of(url)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(address or ("127.0.0.1", 0))
        self.sock.connect(target)
        self.start(context)

    def start(self, context: SSL.Context | None = None) -> None:
        """Begin anew, as after a restart."""
        self.tls = SSL.Connection(context or trusting(), None)
        self.tls.set_connect_state()
        self.tls.set_ciphertext_mtu(MAX_DATAGRAM)

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flight(self) -> bytes:
        """What it would send now, in one datagram."""
        with contextlib.suppress(SSL.Error):
            self.tls.do_handshake()
        return self.written()

    def written(self) -> bytes:
        """What OpenSSL has to send."""
        with contextlib.suppress(SSL.WantReadError):
            return self.tls.bio_read(65_536)
        return b""

    async def hears(self) -> list[bytes]:
        """All datagrams that have come, once everything under way has."""
        await settles()
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                found.append(self.sock.recv(65_536))
        return found

    async def shows_itself(self) -> int:
        """Say hello, and again with the daemon's cookie; how many bytes come for that."""
        self.sock.send(self.flight())
        [challenge] = await self.hears()
        self.tls.bio_write(challenge)
        self.sock.send(self.flight())
        answers = await self.hears()
        for answer in answers:
            self.tls.bio_write(answer)
        return sum(map(len, answers))

    async def shakes_hands(self) -> None:
        """Bring the handshake to its end."""
        assert await self.shows_itself()
        self.sock.send(self.flight())
        for answer in await self.hears():
            self.tls.bio_write(answer)
        self.tls.do_handshake()

    def says(self, datagram: bytes) -> None:
        """Send a datagram, encrypted."""
        self.tls.write(datagram)
        self.sock.send(self.written())

    async def asks(self, datagram: bytes) -> list[bytes]:
        """Send a datagram; what comes back, decrypted. After close_notify it is `None`, as a last one."""
        self.says(datagram)
        return await self.takes()

    async def takes(self) -> list[bytes]:
        """What has come, decrypted; an empty one stands for close_notify."""
        found: list[bytes] = []
        for datagram in await self.hears():
            self.tls.bio_write(datagram)
            try:
                found.append(self.tls.read(2_000))
            except SSL.ZeroReturnError:
                found.append(b"")
            except SSL.WantReadError:
                pass
        return found

    async def registers(self, peer: str) -> bytes:
        """Take an ID; the cid."""
        [answer] = await self.asks(register(peer))
        return bytes(json.loads(answer)["cid"].encode())


def register(peer: str, **members: object) -> bytes:
    """A `register` for one datagram, fresh each time."""
    return as_json({"type": "register", "id": peer, "nonce": secrets.token_urlsafe(16)} | members)
