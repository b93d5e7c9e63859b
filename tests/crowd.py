"""Many clients who come at once, each from an address of its own, and come again as they are told; one loop plays all.

They are on loopback, where 127.0.0.0/8 has addresses enough for the caps per address to hold as they do elsewhere.
"""

import contextlib
import heapq
import json
import random
import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sigd.client.backoff import Backoff
from tests.in_process import PrefixedClient, as_json

ADDRESSES = 500
"""Addresses that a crowd comes from: 10 000 clients stay below the 256 that may come from one of them."""

RECEIVE_BYTES = 65_536

DIALS_AT_ONCE = 64
"""Clients that connect before those are read who did: on machines of their own they would not wait for each other."""


def address(number: int) -> str:
    """A client's own address, or that of a few; nobody who behaves comes from there."""
    number %= ADDRESSES
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def connected(source: str, port: int) -> socket.socket:
    """A connection from this address."""
    sock = socket.socket()
    try:
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def reset(sock: socket.socket) -> None:
    """Close a connection as one that breaks."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Crypt:
    """A client's side of TLS, with its first words said before there is a connection: they cost computing."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._coming, self._going, server_hostname="localhost")
        self.done = False
        self.takes(b"")

    def takes(self, data: bytes) -> bytes:
        """What the server's bytes say, decrypted; none as long as hands are shaken."""
        self._coming.write(data)
        said = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            if not self.done:
                self.tls.do_handshake()
                self.done = True
            while more := self.tls.read(RECEIVE_BYTES):
                said += more
        return said

    def gives(self, data: bytes = b"") -> bytes:
        """What is to be sent, with this in it."""
        if data:
            self.tls.write(data)
        return self._going.read()


class Crowd:
    """Peers who want to be registered, all of them.

    Attributes:
        here: how many of them are.
        heard: what they were told instead, and how they ended.
    """

    def __init__(
        self,
        port: int,
        size: int,
        *,
        name: str = "crowd",
        context: ssl.SSLContext | None = None,
        shows: Callable[[str], dict[str, Any]] = lambda _: {},
        seed: int = 0,
        dials_at_once: int = DIALS_AT_ONCE,
    ) -> None:
        """Gather them, `name`-0 and on.

        Args:
            port: where the daemon is.
            size: how many they are.
            name: what their IDs begin with.
            context: for those who speak TLS.
            shows: the credentials of an ID, as `register` has them.
            seed: of the pauses that they make.
            dials_at_once: how many connect before any of them reads.
        """
        self.port = port
        self.context = context
        self.here = 0
        self.heard: Counter[str] = Counter()
        self._members = [
            _Member(self, number, f"{name}-{number}", shows(f"{name}-{number}"), random.Random(f"{seed} {number}"))
            for number in range(size)
        ]
        self._dials_at_once = dials_at_once
        self._due: list[tuple[float, int]] = []
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, _Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def come(self, seconds: float) -> float:
        """Connect all of them now, and go on until they are registered or time is up; how long it took."""
        began = time.monotonic()
        for member in self._members:
            member.prepare()
        self._due = [(began, member.number) for member in self._members]
        while self.here < len(self) and (left := began + seconds - time.monotonic()) > 0:
            self.turn(min(left, 1.0))
        return time.monotonic() - began

    def turn(self, seconds: float) -> None:
        """Do what is due now: wait for it for so long."""
        now = time.monotonic()
        for _ in range(self._dials_at_once):
            if not self._due or self._due[0][0] > now:
                break
            self._dial(self._members[heapq.heappop(self._due)[1]])
        pause = min(seconds, self._due[0][0] - now) if self._due else seconds
        for descriptor, _ in self._epoll.poll(max(0.0, pause)):
            member = self._by_descriptor[descriptor]
            try:
                again = member.reads()
            except (OSError, ValueError) as fault:  # TLS that ends too early is an OSError, half a message a ValueError
                self.heard[type(fault).__name__] += 1
                again = True
            if again:
                self._dismiss(member)
                self._comes_again(member)

    def leave(self) -> None:
        """Break all connections at once."""
        for member in self._members:
            self._dismiss(member)
        self._due.clear()

    def close(self) -> None:
        """Leave, for good."""
        self.leave()
        self._epoll.close()

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dial(self, member: "_Member") -> None:
        try:
            member.dials()
        except OSError as fault:
            self.heard[type(fault).__name__] += 1
            self._dismiss(member)
            self._comes_again(member)
            return
        assert member.sock is not None
        self._by_descriptor[member.sock.fileno()] = member
        self._epoll.register(member.sock.fileno(), select.EPOLLIN)

    def _dismiss(self, member: "_Member") -> None:
        if member.sock is not None:
            self._by_descriptor.pop(member.sock.fileno(), None)
            reset(member.sock)  # which epoll notices by itself
            member.sock = None
        if member.here:
            member.here = False
            self.here -= 1

    def _comes_again(self, member: "_Member") -> None:
        member.prepare()
        heapq.heappush(self._due, (member.backoff.next(time.monotonic()), member.number))


class _Member:
    """One of a crowd: registers, and answers pings from then on."""

    def __init__(self, crowd: Crowd, number: int, name: str, shows: dict[str, Any], jitter: random.Random) -> None:
        self.number = number
        self.backoff = Backoff(jitter)
        self.sock: socket.socket | None = None
        self.here = False
        self._crowd = crowd
        self._register = PrefixedClient.framed(as_json({"type": "register", "id": name, **shows}))
        self._crypt: Crypt | None = None
        self._came = b""

    def prepare(self) -> None:
        """Do what can be done before there is a connection."""
        self._came = b""
        if self._crowd.context is not None:
            self._crypt = Crypt(self._crowd.context)

    def dials(self) -> None:
        """Connect, and say what comes first at once."""
        self.sock = connected(address(self.number), self._crowd.port)
        self.sock.setblocking(False)
        self.sock.send(self._register if self._crypt is None else self._crypt.gives())

    def reads(self) -> bool:
        """Act on what came; whether this connection is over."""
        assert self.sock is not None
        data = self.sock.recv(RECEIVE_BYTES)
        if not data:
            self._crowd.heard["end of file"] += 1
            return True
        if self._crypt is not None:
            was_done = self._crypt.done
            data = self._crypt.takes(data)
            more = self._crypt.gives(self._register if self._crypt.done and not was_done else b"")
            if more:
                self.sock.send(more)
        self._came += data
        while (message := self._first()) is not None:
            if self._is_end(message):
                return True
        return False

    def _first(self) -> Any:
        if self._came.startswith(b"{"):  # a line: nothing had come from here when it was said
            message, newline, rest = self._came.partition(b"\n")
            whole = bool(newline)
        else:
            end = 4 + int.from_bytes(self._came[:4], "big")
            message, rest = self._came[4:end], self._came[end:]
            whole = len(self._came) >= 4 and len(message) == end - 4
        if not whole:
            return None
        self._came = rest
        return json.loads(message)

    def _is_end(self, message: Any) -> bool:
        kind = message["type"]
        if kind == "registered":
            self.here = True
            self._crowd.here += 1
            self.backoff.reset()
            return False
        if kind == "ping":
            assert self.sock is not None
            pong = PrefixedClient.framed(b'{"type":"pong"}')
            self.sock.send(pong if self._crypt is None else self._crypt.gives(pong))
            return False
        self._crowd.heard[message.get("code", kind)] += 1
        self.backoff.hold(message.get("retryAfterMs", message.get("reconnectAfterMs", 0)), time.monotonic())
        return True
