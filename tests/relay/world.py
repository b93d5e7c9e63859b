"""A relay without sockets: peers that say and hear messages, and a clock that a test moves."""

from typing import Any

import msgspec

from sigd.config import Limits
from sigd.relay.link import Link
from sigd.relay.router import Router
from sigd.wire.framing import Lines, Prefixed


class Peer(Link):
    """One client over a transport that takes everything at once, unless it is told to take less."""

    def __init__(self, world: "World", address: str, *, lines: bool) -> None:
        super().__init__(world.router, address, world.now, Lines.wrap if lines else Prefixed.wrap)
        self.world = world
        self.overhead = 1 if lines else 4
        self.patient = lines
        self.takes: int | None = None
        self.wire = b""
        self.resumed = 0
        self.unread = False
        self.aborted = ""

    # -- what a test does

    def says(self, message: dict[str, Any] | bytes) -> None:
        """Send one message, as JSON or as it stands."""
        self.router.heard(self, self.world.now)
        frame = message if isinstance(message, bytes) else msgspec.json.encode(message)
        self.router.receive(self, frame, self.world.now)
        self.router.sign_of_life(self, self.world.now)
        self.world.settle()

    def types(self, line: str) -> None:
        """Type one line."""
        self.router.receive_line(self, line.encode(), self.world.now)
        self.world.settle()

    def hears(self) -> dict[str, Any]:
        """The next message that came, whole."""
        if self.patient:
            line, found, self.wire = self.wire.partition(b"\n")
            assert found, f"{self.address} heard nothing"
            return msgspec.json.decode(line, type=dict[str, Any])
        assert len(self.wire) >= 4, f"{self.address} heard nothing"
        end = 4 + int.from_bytes(self.wire[:4], "big")
        frame, self.wire = self.wire[4:end], self.wire[end:]
        return msgspec.json.decode(frame, type=dict[str, Any])

    def hears_nothing(self) -> bool:
        """Whether everything that came has been heard."""
        return not self.wire

    def leaves(self) -> None:
        """Close the connection."""
        self.abort("left")
        self.world.settle()

    # -- a transport

    def push(self) -> None:
        if self.takes is not None and self.takes < 0:
            self.abort("connection lost")
            return
        data = b"".join(self.outbox)
        count = len(data) if self.takes is None else min(self.takes, len(data))
        if self.takes is not None:
            self.takes -= count
        self.wire += data[:count]
        self.sent(count, self.world.now)
        if self.queued and not self.stuck:
            self.get_stuck(self.world.now)

    def takes_more(self, count: int) -> None:
        """Read again, `count` bytes, after having read nothing."""
        self.takes = count
        self.push()
        self.world.settle()

    def attend(self, now: float) -> None:
        if self.queued and not self.stuck:
            self.push()
        if self.closing and self.ends_at == float("inf"):
            self.ends_at = now + self.router.limits.linger_ms / 1000
            self.router.deadlines.forget(self)
            self.router.watch(self)

    def has_unread(self) -> bool:
        return self.unread

    def resume(self) -> None:
        self.resumed += 1

    def admitted(self) -> None:
        pass

    def sever(self) -> None:
        self.router.deadlines.forget(self)

    def abort(self, reason: str) -> None:
        self.close(reason)
        self.aborted = self.aborted or reason
        self.ends_at = float("inf")
        self.router.deadlines.forget(self)
        self.drop_unsent(keep_first=False)


class World:
    """A router, its clock, and its peers."""

    def __init__(self, **limits: int) -> None:
        self.now = 1000.0
        self.router = Router(Limits(**limits))

    def connects(self, address: str, *, lines: bool = False) -> Peer:
        """A new link."""
        peer = Peer(self, address, lines=lines)
        self.router.welcome(peer)
        return peer

    def peer(self, name: str, *, lines: bool = False, **members: Any) -> Peer:
        """A registered peer."""
        peer = self.connects(name, lines=lines)
        peer.says({"type": "register", "id": name, **members})
        assert peer.hears()["type"] == "registered"
        return peer

    def settle(self) -> None:
        """What a reactor does at the end of a round."""
        for link in self.router.due:
            link.attend(self.now)
        self.router.due.clear()

    def failed(self, link: Link, fault: Exception) -> None:
        """There is no bug that a link may meet."""
        raise fault

    def passes(self, seconds: float) -> None:
        """Let time pass, a tick at a time."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            self.router.expire(self.now, self.failed)
            self.settle()
