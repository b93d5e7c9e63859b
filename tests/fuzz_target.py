"""What the fuzzer holds against the daemon: any bytes are answered or end a link, and nothing is left behind.

An input is a play: clients who connect, send pieces of good and bad messages, read or do not, stay silent, and leave.
It is played twice over: on links in memory, which take as much as the input says, and on sockets in the real reactor.
"""

import contextlib
import json
import random
import re
import socket
from collections.abc import Callable
from typing import Protocol

from sigd.config import Limits
from sigd.net.listeners import StreamListener
from sigd.net.reactor import Reactor
from sigd.net.stream import Stream
from sigd.relay.access import Access
from sigd.relay.buffers import MESSAGE_BYTES
from sigd.relay.credentials import Credential, ExpiringToken, Permissions, StaticToken, token_for
from sigd.relay.ice import Vendor
from sigd.relay.link import Link
from sigd.relay.rates import Rates
from sigd.relay.router import Router
from sigd.wire import telnet
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import (
    LINES,
    NOT_HTTP,
    PREFIXED,
    TLS_ALERT,
    UNDECIDED,
    Dialect,
    Lines,
    Prefixed,
    Splitter,
    TooLong,
    dialect_of,
)
from sigd.wire.messages import decode_said
from sigd.wire.said import Error, PingSaid
from sigd.wire.times import NEVER

TOKEN = b"a token that nobody guesses"
SECRET = b"a secret that nobody guesses"

PIECES = [
    *(b'{"type":"register","id":"%s"}' % peer for peer in (b"a", b"b", b"c", b"a", b"c")),
    *(b'{"type":"register","id":"%s","token":"%s"}' % (peer, TOKEN) for peer in (b"a", b"b", b"c", b"a", b"x")),
    b'{"type":"register","token":"%s","ref":"r"}' % TOKEN,
    b'{"type":"register","id":"a","token":"Zq7"}',
    b'{"type":"register","id":"b","user":"1700000900:b:a","token":"%s"}' % token_for(SECRET, "1700000900:b:a"),
    b'{"type":"register","id":"b","user":"1700000900:b","token":"\xc3\xa9"}',
    b'{"type":"register","id":"a","meta":{"x":[1]},"keepaliveMs":5000,"maxFrame":1024,"ref":"r"}',
    b'{"type":"unregister","ref":"r"}',
    *(b'{"type":"offer","to":"%s","sdp":"v=0\\r\\n","session":"s"}' % peer for peer in (b"a", b"b", b"c")),
    b'{"type":"answer","to":"a","sdp":"","from":"EVIL"}',
    b'{"type":"candidate","to":"b","candidate":{"candidate":"","sdpMid":"0"},"ref":"r"}',
    b'{"type":"candidate","to":"b","candidate":null}',
    b'{"type":"message","to":"b","data":[\n{"type":"offer","from":"EVIL","sdp":"EVIL"}\r\n]}',
    b'{"type":"message","to":"a","data":"\xe2\x80\xa8\x7f\xc2\x9b","ref":"r"}',
    b'{"type":"message","to":"c","data":' + b"[" * 17 + b"]" * 17 + b"}",
    b'{"type":"message","to":"b","data":"' + b"x" * 900 + b'"}',
    b'{"type":"message","to":"a","data":"' + b"x" * 3_000 + b'"}',
    b'{"type":"bye","to":"a","reason":"\\u0000"}',
    b'{"type":"peers","prefix":"a"}',
    b'{"type":"iceServers","ref":"r"}',
    b'{"type":"ping","ref":"r"}',
    b'{"type":"pong"}',
    b'{"type":"error","ref":"r"}',
    b'{"type":"zzz","ref":"Zq7Zq7"}',
    b'{"type":"Zq7"}',
    b"register c",
    b"send a \\u0000\\ud800 Zq7",
    b"candidate b {",
    b"who a",
    b"Zq7Zq7",
    b"help",
    b"quit",
    b"",
    b"GET / HTTP/1.1\r",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2",
    b"\x16\x03\x01",
    b"\0\0\0\0",
    b"\0\xff\xff\xff",
    b"\xff\xfe",
    b"[" * 2_000,
    b"x" * 5_000,
]

SMALL = Rates(3, 5, 2_000, 4_000)
PERMISSIONS = Permissions(["a", "b", "c*"], ["a", "b"], discover=True, rates=SMALL)

SETTINGS: list[tuple[Limits, list[Credential]]] = [
    (Limits(), []),
    (
        Limits(
            max_frame=4_096,
            max_frame_unregistered=1_024,
            outbox_bytes=5_000,
            outbox_bytes_per_sender=1_000,
            outbox_bytes_own=1_000,
            buffer_bytes_total=8_000,
            messages_per_second=3,
            messages_burst=5,
            misses_per_minute=2,
            takeovers_per_minute=2,
        ),
        [],
    ),
    (Limits(outbox_bytes_own=1, outbox_bytes_per_sender=1, max_depth=1, linger_ms=1, stall_timeout_ms=1_000), []),
    (
        Limits(max_unregistered=2, max_unregistered_per_address=1, auth_failures_per_minute=2, takeovers_per_minute=2),
        [StaticToken("tokens", PERMISSIONS, [TOKEN]), ExpiringToken("secrets", PERMISSIONS, [SECRET])],
    ),
    (Limits(trusted=("192.0.2.0/24",), max_per_address=2, max_unregistered_per_address=1), []),
]
"""What the first byte of an input chooses from."""


def router_for(limits: Limits, credentials: list[Credential], stage: "Stage") -> Router:
    """The rules under which a play is played; TURN credentials last for two minutes."""
    vendor = Vendor(("stun:192.0.2.9",), ("turn:192.0.2.9",), SECRET, 120)
    return Router(limits, Access(credentials, ["Zq7*"], Rates.of(limits)), vendor, lambda: stage.now + 1_700_000_000)


MOST_ACTS = 60
"""Acts of one play: the state that a play can build up is small, and short plays are told apart faster."""


class Script:
    """Choices made by the bytes of an input; when they are used up, each is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def is_over(self) -> bool:
        return self._place >= len(self._data)

    def below(self, most: int) -> int:
        """A number from 0 up to, but not including, `most`, which is at most 256."""
        self._place += 1
        return 0 if self._place > len(self._data) else self._data[self._place - 1] % most

    def some(self, most: int) -> bytes:
        """Some bytes as they stand in the input."""
        size = self.below(most)
        start, self._place = self._place, self._place + size
        return self._data[start : self._place]


class Memory(Link):
    """A link in memory: it writes as much as there is `room` for."""

    def __init__(self, router: Router, now: float) -> None:
        super().__init__(router, router.admission.origins.of("192.0.2.1"), "192.0.2.1", None, now, UNDECIDED)
        self.rules = router
        self.now = now
        self.room = 0
        self.written = b""
        self.over = False
        self._split: Splitter | None = None
        self._receive: Callable[[Link, bytes, float], None] = router.receive
        self._chunks: list[bytes] = []
        self._backlog: list[bytes] = []
        self._wait = 0.0

    def takes(self, chunk: bytes, now: float) -> None:
        """Act on what came."""
        self.now = now
        if self.closing:
            return
        self._wait = self.heard(0, len(chunk), now)
        if self._split is None and not self._begin(chunk[0]):
            return
        self._chunks.append(chunk)
        self.act()
        self.rules.admission.sign_of_life(self, now)

    def _begin(self, first: int) -> bool:
        limit = self.router.limits.max_frame_unregistered
        match dialect_of(first):
            case Dialect.PREFIXED:
                self._split, self.framing = Prefixed(limit), PREFIXED
            case Dialect.LINES:
                self._split, self.framing = Lines(limit), LINES
                self._receive = self.rules.receive_line
            case Dialect.TLS:
                self.close("tls")
        return self._split is not None

    def ping(self, now: float) -> None:
        self.reply(PingSaid())

    def has_unread(self) -> bool:
        return bool(self._chunks)

    def resume(self) -> None:
        """Go on at the next turn: whoever calls this is in the middle of something."""

    @property
    def via(self) -> str:
        """It is no transport of the daemon's."""
        return "memory"

    def caller(self) -> None:
        """Nobody knows who it is."""

    def act(self) -> None:
        """Act on what has come."""
        split = self._split
        while split is not None and not self.held and (self._chunks or self._backlog or split.more):
            try:
                if not self._backlog:
                    chunk = b"" if split.more else self._chunks.pop(0)
                    self._backlog = list(split.take(chunk, 32))
                    self._wait = max(self._wait, self.heard(len(self._backlog), 0, self.now))
                while self._backlog and not self.held:
                    self._receive(self, self._backlog.pop(0), self.now)
            except TooLong as fault:
                split.skip()
                self.router.refuse(self, fault, self.now, fault.head, fault.length)
            except ProtocolError as fault:
                self.router.refuse(self, fault, self.now)
            if self._wait and not self._backlog:
                self._wait = 0.0
                self.pause(self.now)

    def push(self) -> None:
        data = b"".join(self.outbox)[: self.room]
        self.room -= len(data)
        self.written += data
        self.sent(len(data), self.now)
        if self.queued and not self.stuck:
            self.get_stuck(self.now)

    def attend(self, now: float) -> None:
        if self.queued and not self.stuck:
            self.push()
        if self.closing and self.ends_at == NEVER and not self.over:
            self.ends_at = now + 5
            self.router.deadlines.forget(self)
            self.watch()
        if self.closing and not self.queued:
            self.abort(self.reason)

    def admitted(self) -> None:
        if self._split is not None:
            self._split.limit = self.router.limits.max_frame

    def sever(self) -> None:
        self.abort("severed")

    def abort(self, reason: str) -> None:
        self.close(reason)
        if not self.over:
            self.over = True
            self.ends_at = NEVER
            self.router.deadlines.forget(self)
            self.rules.admission.origins.leave(self.origin)
            self.drop_unsent(0.0, keep=0)


class End(Protocol):
    """A client's end of a link."""

    def send(self, data: bytes) -> None: ...
    def read(self, most: int) -> bytes: ...
    def leave(self, how: int) -> None: ...


class Stage(Protocol):
    """Where a play is played."""

    router: Router

    @property
    def now(self) -> float: ...
    def connect(self) -> End: ...
    def turn(self) -> None: ...
    def passes(self, seconds: float) -> None: ...
    def close(self) -> None: ...
    def links(self) -> list[Link]: ...


class MemoryEnd:
    def __init__(self, stage: "MemoryStage", link: Memory) -> None:
        self._stage = stage
        self._link = link

    def send(self, data: bytes) -> None:
        if data and not self._link.over:
            self._link.takes(data, self._stage.now)

    def read(self, most: int) -> bytes:
        link = self._link
        link.room = most
        if link.queued:
            link.push()
        data, link.written = link.written, b""
        return data

    def leave(self, how: int) -> None:
        if how:
            self._link.close("left")
        else:
            self._link.abort("connection lost")


def failed(link: Link, fault: Exception) -> None:
    """A bug is to be seen."""
    raise fault


class MemoryStage:
    def __init__(self, limits: Limits, credentials: list[Credential]) -> None:
        self.now = 1_000.0
        self.router = router_for(limits, credentials, self)
        self._links: list[Memory] = []

    def connect(self) -> MemoryEnd:
        link = Memory(self.router, self.now)
        self._links.append(link)
        self.router.welcome(link)
        self.router.admission.make_room(link, self.now)
        return MemoryEnd(self, link)

    def turn(self) -> None:
        for memory in self._links:
            memory.now = self.now
            memory.act()
        for link in self.router.due:  # grows while it is walked
            link.attend(self.now)
        self.router.due.clear()

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.router.expire(self.now, failed)

    def close(self) -> None:
        for link in self._links:
            link.abort("over")
        self.turn()

    def links(self) -> list[Link]:
        return [link for link in self._links if not link.over]


class SocketEnd:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def read(self, most: int) -> bytes:
        try:
            return self.sock.recv(most) if most else b""
        except OSError:
            return b""

    def leave(self, how: int) -> None:
        if how:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        else:
            self.sock.close()


class _Reactor(Reactor):
    """The reactor without its safety net: a bug is to be seen."""

    def fail(self, link: Link, fault: Exception) -> None:
        raise fault


class SocketStage:
    def __init__(self, limits: Limits, credentials: list[Credential]) -> None:
        self.router = router_for(limits, credentials, self)
        self._door = StreamListener(socket.socket(), ("tcp:", 0))
        self._reactor = _Reactor(self.router, 100)
        self._reactor.now = 1_000.0
        self._links: list[Stream] = []
        self._ends: list[SocketEnd] = []

    def connect(self) -> SocketEnd:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        end = SocketEnd(ours)
        self._ends.append(end)
        origin = self.router.admission.origins.of("192.0.2.1")
        self._links.append(self._reactor.entrance.add(theirs, origin, "192.0.2.1", 1, self._door))
        self.router.admission.make_room(self._links[-1], self._reactor.now)
        return end

    def turn(self) -> None:
        for _ in range(1_000):
            events = self._reactor.epoll.poll(0)
            if not events and not self._reactor.busy and not self.router.due:
                return
            self._reactor._round(events)
        raise AssertionError("the reactor never comes to rest")

    def passes(self, seconds: float) -> None:
        self._reactor.now += seconds
        self.router.expire(self._reactor.now, failed)

    def close(self) -> None:
        for end in self._ends:
            end.sock.close()
        self.turn()
        self.passes(1_000)  # who sent too fast is read only now
        self.turn()
        self._reactor._close()
        self._door.sock.close()

    @property
    def now(self) -> float:
        return self._reactor.now

    def links(self) -> list[Link]:
        return [link for link in self._links if link.fd >= 0]


class Player:
    """A client, what it has still to send, and what it has heard."""

    def __init__(self, end: End, *, prefixed: bool) -> None:
        self.end = end
        self.prefixed = prefixed
        self.framing: Dialect | None = None
        self._unsent = b""
        self._heard = b""

    def register(self, peer: bytes) -> None:
        """Take an ID."""
        message = b'{"type":"register","id":"%s"}' % peer
        self._say(Prefixed.wrap(message) if self.prefixed else message + b"\n", 1_000)

    def speak(self, script: Script) -> None:
        """Add a message, good or bad, to what is to be sent, and send a part of that, or all."""
        piece = PIECES[script.below(len(PIECES))]
        match script.below(8):
            case 0:
                piece = script.some(64)
            case 1:
                place = script.below(max(1, min(256, len(piece))))
                piece = piece[:place] + script.some(8) + piece[place + script.below(4) :]
            case 2:
                piece *= 1 + script.below(40)
            case _:
                pass
        if script.below(16):
            piece = Prefixed.wrap(piece) if self.prefixed else piece + b"\n"
        self._say(piece, 1_000_000 if script.below(4) else script.below(256))

    def _say(self, data: bytes, most: int) -> None:
        self._unsent += data
        data, self._unsent = self._unsent[:most], self._unsent[most:]
        if data:
            self.framing = self.framing or dialect_of(data[0])
            self.end.send(data)

    def listen(self, most: int) -> None:
        """Read, and see that everything is a message of the server."""
        self._heard += self.end.read(most)
        while (frame := self._next()) is not None:
            said = decode_said(frame)
            assert getattr(said, "sender", "") in {"", "a", "b", "c"} or len(said.sender) == 16  # type: ignore[union-attr]
            if isinstance(said, Error):
                assert said.code in set(ErrorCode) - {ErrorCode.INTERNAL}
                assert said.message.isascii()
                assert said.message.isprintable()
                assert 0 < len(said.message) <= 128
                assert "Zq7" not in said.message

    def _next(self) -> bytes | None:
        if self._heard.startswith(b"{"):
            pass  # an error from before the first byte came is a line
        elif self.framing is Dialect.PREFIXED:
            end = 4 + int.from_bytes(self._heard[:4], "big")
            if len(self._heard) < max(5, end):
                return None
            frame, self._heard = self._heard[4:end], self._heard[end:]
            return frame
        elif self.framing is Dialect.TLS:
            assert TLS_ALERT.startswith(self._heard)
            return None
        while self._heard.startswith(telnet.IAC):  # a refusal of an option
            self._heard = self._heard[3:]
        line, newline, rest = self._heard.partition(b"\n")
        if not newline:
            return None
        self._heard = rest
        assert _STEERING.search(line.decode()) is None
        if line.startswith(b"#"):
            assert line + b"\n" == NOT_HTTP or len(line) < 100
            return self._next()
        assert "EVIL" not in str(json.loads(line).get("from"))
        return line


_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def holds(link: Link) -> int:
    """Return the bytes that the buffers of a link take."""
    waiting, begun = list(link.outbox) if link.stuck else [], 0
    if isinstance(link, Stream):
        waiting += link._backlog
        begun = 0 if link._split is None else len(link._split.rest)
    claim = 0 if link.claim is None else link.claim.size
    return begun + claim + sum(len(each) + MESSAGE_BYTES for each in waiting)


def check(stage: Stage) -> None:
    """The books are right."""
    router = stage.router
    links = stage.links()
    for link in links:
        owned = list(zip(link.outbox, link.owners, strict=True))
        assert link.queued == sum(len(data) for data, _ in owned)
        assert link.own == sum(len(data) for data, owner in owned if owner is None)
        assert not link.stuck or link.queued
        assert (link.stalled_since == NEVER) == (not link.stuck)
        watched = link.bucket or link in router.deadlines._new
        assert watched or link.closing or link.patient or link.claim or router.due
        if link.challenge is not None:
            assert link.challenge.holder is link
            assert link.challenge.link.claim is link.challenge
    assert router.buffers.held == {link: held for link in links if (held := holds(link))}
    assert router.buffers.of_links == sum(router.buffers.held.values())
    admission = router.admission
    assert set(admission.unregistered) == {link for link in links if link.id is None and not link.closing}
    assert len(admission.unregistered) <= router.limits.max_unregistered
    for origin in {link.origin for link in links}:
        assert origin.links == sum(link.origin is origin for link in links)
        assert admission.unregistered.count(origin) == sum(link.origin is origin for link in admission.unregistered)
    holders = router.registry.holders
    assert {link.id for link in links if link.id is not None and not link.closing} == set(holders)
    assert all(link.id == peer for peer, link in holders.items())


def play(data: bytes, stage: Stage) -> None:
    """Play an input, to its end and to the end of everybody in it."""
    script = Script(data)
    players = [Player(stage.connect(), prefixed=prefixed) for prefixed in (True, False, True)]
    for player, peer in zip(players, (b"a", b"b", b"c")[: script.below(4)], strict=False):
        player.register(peer)
    for _ in range(MOST_ACTS):
        if script.is_over:
            break
        number = script.below(256)
        player = players[number % len(players)]
        match number // 32:
            case 0 if len(players) < 7:
                players.append(Player(stage.connect(), prefixed=number % 2 == 0))
            case 0 | 1:
                player.end.leave(script.below(3))
            case 2:
                stage.passes((0.25, 1, 3, 10, 31, 80)[script.below(6)])
            case 3:
                player.listen(script.below(256) * 40)
            case _:
                player.speak(script)
        stage.turn()
        check(stage)
    for player in players:
        player.listen(100_000)
        stage.turn()
    check(stage)


STAGES: tuple[Callable[[Limits, list[Credential]], Stage], ...] = (MemoryStage, SocketStage)


def run(data: bytes) -> None:
    """Play one input on every stage: nothing but an answer or a close comes of it, and nothing is left of it."""
    settings = SETTINGS[data[0] % len(SETTINGS)] if data else SETTINGS[0]
    for kind in STAGES:
        stage = kind(*settings)
        try:
            play(data[1:], stage)
        finally:
            stage.close()
        router = stage.router
        admission = router.admission
        left = (stage.links(), len(router.registry), len(router.deadlines), router.buffers.of_links, router.due)
        assert left == ([], 0, 0, 0, []), left
        assert (len(admission.unregistered), len(admission.origins)) == (0, 0)


def generated(seed: int) -> bytes:
    """An input like those that a fuzzer comes up with, always the same for the same seed."""
    chance = random.Random(seed)
    return chance.randbytes(chance.choice((10, 40, 150, 400)))
