"""A peer in datagrams, with the face of `Client`, and datagrams that are made by hand.

The peer has a task of its own that acknowledges, answers pings and sends again, as the kernel does for streams.
"""

import contextlib
import json
import math
import secrets
import socket
from typing import Any

import msgspec
import trio

from sigd.config import parse_listen
from sigd.wire import greeting, macs
from sigd.wire.datagram import Channel
from tests.at_rest import settles
from tests.in_process import CLIENTS, PATIENCE, Client, as_json, type_of_message

AGAIN_SECONDS = 1.0
"""How long a register waits for its answer before it is sent again."""

PAD = "x" * 120
"""Makes every register long enough for a challenge."""

Address = tuple[str, int]


def address_of(url: str) -> Address:
    """Where a listener takes datagrams."""
    listen = parse_listen(url)
    return listen.host, listen.port


def nonce() -> str:
    """A fresh one, as short as it may be."""
    return secrets.token_urlsafe(12)


def register(**members: object) -> bytes:
    """A `register` that is long enough for an answer, with a nonce unless one is given."""
    return as_json({"type": "register", "nonce": nonce(), "pad": PAD} | members)


def data(cid: bytes, seq: int, mid: int, piece: bytes, *, ack: int = 0, part: str = "0/1") -> bytes:
    """A D."""
    return b"D %b %d %d %d %b %b" % (cid, seq, ack, mid, part.encode(), piece)


class ByHand:
    """A socket that sends what a test makes, and keeps what comes.

    Attributes:
        sock: bound, not connected.
        target: where it sends to.
    """

    def __init__(self, url: str, source: str = "") -> None:
        self.target = address_of(url)
        self.sock = socket.socket(socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((source or ("::1" if ":" in self.target[0] else "127.0.0.1"), 0))

    def __enter__(self) -> "ByHand":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def address(self) -> Address:
        """Where it is."""
        host, port = self.sock.getsockname()[:2]
        return host, port

    def says(self, *datagrams: bytes) -> None:
        """Send datagrams."""
        for datagram in datagrams:
            self.sock.sendto(datagram, self.target)

    async def hears(self) -> list[bytes]:
        """All that has come, once everything under way has."""
        await settles()
        return [datagram for datagram, _ in self.takes()]

    def takes(self) -> list[tuple[bytes, Address]]:
        """What has come by now, and from where."""
        found: list[tuple[bytes, Address]] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram, address = self.sock.recvfrom(2_000)
                found.append((datagram, (address[0], address[1])))
        return found

    async def asks(self, *datagrams: bytes) -> list[bytes]:
        """Send datagrams; all that comes back."""
        self.says(*datagrams)
        return await self.hears()

    async def cookie(self, of: str) -> str:
        """The cookie for a nonce."""
        [challenge] = await self.asks(register(nonce=of))
        answer = json.loads(challenge)
        assert answer == {"type": "challenge", "nonce": of, "cookie": answer["cookie"]}
        cookie: str = answer["cookie"]
        return cookie

    async def shows(self, key: bytes = b"", /, **members: object) -> bytes:
        """A register with a cookie that is right, and a mac with this key if there is one; it is not sent yet."""
        of = nonce()
        text = register(nonce=of, cookie=await self.cookie(of), **members)
        return macs.sealed(key, macs.REGISTER, text) if key else text

    async def registers(self, **members: object) -> bytes:
        """Take an ID; the cid."""
        [answer] = await self.asks(await self.shows(**members))
        message = json.loads(answer)
        assert message["type"] == "registered", message
        return bytes(message["cid"].encode())


class DatagramClient(Client):
    """Speaks in datagrams; it is registered before it says anything else.

    Attributes:
        token: of an HMAC credential: its registers end in a mac instead of showing it. Set before it registers.
        channel: the link, once there is one.
        bare: what came before that, each datagram as it was.
        deaf: it neither reads nor acknowledges anything.
        place: which of our sockets is used: another one for each move.
    """

    framing = "udp"
    kind = socket.SOCK_DGRAM

    def __init__(self, sock: trio.socket.SocketType) -> None:
        super().__init__(sock)
        self.token = b""
        self.channel: Channel[int] | None = None
        self.bare: list[bytes] = []
        self.deaf = False
        self.place = 0
        self._messages: list[bytes] = []
        self._waiting: list[bytes] = []
        self._register: type_of_message | None = None
        self._sent = b""
        self._again_at = math.inf
        self._news = trio.Event()
        self._alarm = trio.CancelScope()

    @property
    def cid(self) -> bytes:
        """The name of its link."""
        assert self.channel is not None
        return self.channel.cid

    # -- what it says

    async def says(self, *messages: type_of_message | bytes) -> None:
        """Send messages; the first of all is a register."""
        for message in messages:
            if self.channel is None and not self._sent:
                members = json.loads(message) if isinstance(message, bytes) else message
                assert members["type"] == "register", "nothing but a register opens a link"
                self._opens(members)
            else:
                self._waiting.append(as_json(message))
        self.goes_on()

    def _opens(self, members: type_of_message) -> None:
        self._register = {"nonce": nonce(), "pad": PAD} | members
        bare = {key: value for key, value in self._register.items() if key not in {"token", "user", "jwt"}}
        self._send_bare(as_json(bare))

    def _send_bare(self, datagram: bytes) -> None:
        self._sent = datagram
        self._again_at = trio.current_time() + AGAIN_SECONDS
        self._send(datagram)

    async def sends(self, data: bytes) -> None:
        """Send one datagram as it is."""
        self._send(data)

    def _send(self, datagram: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody listens there any more, or we have left
            self.sock._sock.send(datagram)  # type: ignore[attr-defined]  # trio's socket always waits

    def moves(self, source: str = "") -> None:
        """Go on from another port, as behind a NAT that has forgotten us."""
        raw = socket.socket(self.sock.family, socket.SOCK_DGRAM)
        raw.setblocking(False)
        raw.bind((source or self.sock.getsockname()[0], 0))
        raw.connect(self.sock.getpeername())
        self.sock.close()
        self.sock = trio.socket.from_stdlib_socket(raw)
        self.place += 1
        self.goes_on()

    def finishes(self) -> None:
        """There is no end of file: it leaves."""
        self.leaves()

    def leaves(self) -> None:
        """End the link, and close the socket."""
        if self.channel is not None:
            self.channel.leave("left")
            self.goes_on()
        self.vanishes()

    def breaks_off(self) -> None:
        """The same: there are no resets."""
        if self.sock.fileno() >= 0:
            self.leaves()

    def vanishes(self) -> None:
        """Close the socket without a word."""
        self.sock.close()

    # -- what it does by itself

    async def runs(self) -> None:
        """Acknowledge, answer and repeat until the socket is closed."""
        while self.sock.fileno() >= 0:
            self._alarm = trio.CancelScope(deadline=self._next_deadline())
            # Closed, or exchanged for another: it is waited for no longer.
            with self._alarm, contextlib.suppress(trio.ClosedResourceError, ValueError):
                await trio.lowlevel.wait_readable(self.sock)
            if self.deaf:
                await trio.sleep_forever()
            if self.sock.fileno() >= 0:
                self.goes_on()

    def _next_deadline(self) -> float:
        return min(self._again_at, math.inf if self.channel is None else self.channel.next_deadline())

    def goes_on(self) -> None:
        """Read what has come, and send what is due."""
        if self.deaf:
            return
        while (datagram := self._read_datagram()) is not None:
            self.takes_untrusted(datagram)
        now = trio.current_time()
        if now >= self._again_at:
            self._send_bare(self._sent)
        channel = self.channel
        if channel is not None:
            channel.expire(now)
            while True:
                for out, _ in channel.datagrams_to_send(now):
                    self._send(out)
                if not self._waiting or not channel.room:
                    break
                channel.give(self._waiting.pop(0))
            if channel.whole:
                self._comes(*channel.take_whole())
            if channel.over and not self._ended:
                self._ended = True
                self._news.set()
        self._alarm.deadline = self._next_deadline()

    def _read_datagram(self) -> bytes | None:
        with contextlib.suppress(OSError):
            data: bytes = self.sock._sock.recv(2_000)  # type: ignore[attr-defined]  # trio's socket always waits
            return data
        return None

    def takes_untrusted(self, datagram: bytes) -> None:
        """Act on a datagram from the daemon."""
        if self.channel is not None:
            self.channel.receive_untrusted(datagram, 0, trio.current_time())
            return
        self.bare.append(datagram)
        challenge = greeting.read_challenge(datagram)
        if challenge is not None and self._register is not None:
            if challenge.nonce == self._register["nonce"]:
                self._answers(self._register, challenge.cookie)
            return
        text = datagram if datagram.endswith(b"}") else macs.split(datagram)[0]
        with contextlib.suppress(ValueError):
            answer = json.loads(text)
            if self._register is not None and answer.get("nonce") == self._register["nonce"]:
                self._is_answered(answer, text, datagram)

    def _answers(self, members: type_of_message, cookie: str) -> None:
        shown = {key: value for key, value in members.items() if key != "token" or not self.token}
        text = as_json(shown | {"cookie": cookie})
        self._send_bare(macs.sealed(self.token, macs.REGISTER, text) if self.token else text)

    def _is_answered(self, answer: Any, text: bytes, datagram: bytes) -> None:
        if answer["type"] == "registered":
            cid, key = answer["cid"].encode(), None
            if self.token:
                key = macs.link_key(self.token, cid, macs.split(self._sent)[1])
                assert macs.opened(key, macs.FROM_SERVER, datagram) == text
            self.channel = Channel(cid, 0, server=False, key=key)
        elif self.token and text != datagram:
            assert macs.opened(self.token, macs.ERROR, datagram) == text
        self._sent, self._again_at = b"", math.inf
        self._comes(text)

    def _comes(self, *messages: bytes) -> None:
        self._messages += messages
        self._news.set()

    # -- what it hears

    async def hears_frame(self) -> bytes:
        """The next message as it came."""
        with trio.fail_after(PATIENCE):
            while not self._messages:
                assert not self._ended, f"closed: {self.channel and self.channel.over}"
                await self._hears_news()
        return self._messages.pop(0)

    async def _hears_news(self) -> None:
        self._news = trio.Event()
        await self._news.wait()

    async def hears_all(self) -> list[Any]:
        """Every message up to the daemon's X."""
        with trio.fail_after(PATIENCE):
            while not self._ended:
                await self._hears_news()
        found = [json.loads(message) for message in self._messages]
        self._messages.clear()
        return found

    async def hears_bytes(self) -> bytes:
        """The same, as it came."""
        return b"".join([msgspec.json.encode(message) for message in await self.hears_all()])

    def has_heard(self) -> bytes:
        """What has come by now, without waiting for more; not even an X has."""
        self.goes_on()
        assert not self._ended, "closed"
        found = b"".join(self._messages)
        self._messages.clear()
        return found


CLIENTS[DatagramClient.framing] = DatagramClient
