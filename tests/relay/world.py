"""A relay without sockets: peers that say and hear messages, and a clock that a test moves."""

from collections.abc import Sequence
from typing import Any

import msgspec

from sigd.config import Limits
from sigd.relay.access import Access
from sigd.relay.credentials import Caller, Credential
from sigd.relay.expiry import Renewals, follow_wall
from sigd.relay.ice import Vendor
from sigd.relay.link import Link
from sigd.relay.rates import Rates
from sigd.relay.router import Router
from sigd.relay.shedding import is_crowded, shed
from sigd.relay.wall import Shift
from sigd.wire import said
from sigd.wire.errors import ProtocolError
from sigd.wire.framing import LINES, PREFIXED

AT_ONCE = 32
"""Messages that are read in one go, as over a stream."""


class Peer(Link):
    """One client over a transport that takes everything at once, unless it is told to take less."""

    def __init__(self, world: "World", address: str, *, lines: bool) -> None:
        origin = world.router.admission.origins.of(address) if ":" in address or "." in address else world.somewhere
        super().__init__(world.router, origin, address, None, world.now, LINES if lines else PREFIXED)
        self.comes_as: Caller | None = None
        self.world = world
        self.takes: int | None = None
        self.wire = b""
        self.resumed = 0
        self.unread = False
        self.waiting: list[bytes] = []
        self.aborted = ""
        self.ended_by: str | None = None

    @property
    def via(self) -> str:
        """It is no transport of the daemon's."""
        return "memory"

    # -- what a test does

    def says(self, *messages: dict[str, Any] | bytes) -> None:
        """Send messages in one go, each as JSON or as it stands: they wait where the link is not read."""
        self.begins()
        self.waiting += [each if isinstance(each, bytes) else msgspec.json.encode(each) for each in messages]
        self.read()
        self.world.settle()

    def begins(self) -> None:
        """Send the first byte of something."""
        self.world.router.admission.begin(self, self.world.now)

    def registers(self, name: str | None = None, **members: Any) -> dict[str, Any]:
        """Send a `register`; what is answered."""
        self.says({"type": "register", **members} | ({} if name is None else {"id": name}))
        return self.hears()

    def types(self, line: str) -> None:
        """Type one line."""
        self.begins()
        self.world.router.receive_line(self, line.encode(), self.world.now)
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

    def hears_all(self, kind: str = "") -> list[dict[str, Any]]:
        """All that came, or only what is of one type, or an error with this code."""
        heard = []
        while not self.hears_nothing():
            heard.append(self.hears())
        return [message for message in heard if kind in ("", message["type"], message.get("code"))]

    def hears_nothing(self) -> bool:
        """Whether everything that came has been heard."""
        return not self.wire

    def ping(self, now: float) -> None:
        self.reply(said.PingSaid())

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
        if self.closing and not self.aborted and self.ends_at == float("inf"):
            self.ends_at = now + self.router.limits.linger_ms / 1000
            self.router.deadlines.forget(self)
            self.watch()

    def read(self) -> None:
        """Act on what has come, as much as one round does, if the link may be read."""
        now = self.world.now
        if self.waiting and not self.held:
            frames, self.waiting = self.waiting[:AT_ONCE], self.waiting[AT_ONCE:]
            wait = self.heard(len(frames), sum(self.framing.overhead + len(frame) for frame in frames), now)
            while frames and not self.held:
                self.world.router.receive(self, frames.pop(0), now)
            self.waiting = frames + self.waiting
            if wait > 0:
                self.pause(now)
            self.world.router.admission.sign_of_life(self, now)
            self.world.busy.append(self)

    def has_unread(self) -> bool:
        return self.unread or bool(self.waiting)

    def resume(self) -> None:
        self.resumed += 1
        self.world.busy.append(self)

    def admitted(self) -> None:
        pass

    def caller(self) -> Caller | None:
        return self.comes_as

    def sever(self) -> None:
        self.router.deadlines.forget(self)
        self.world.router.admission.origins.leave(self.origin)

    def close(self, reason: str, fault: ProtocolError | None = None) -> None:
        if not self.closing and fault is not None:
            self.ended_by = fault.by
        super().close(reason, fault)

    def abort(self, reason: str) -> None:
        self.close(reason)
        if not self.aborted:
            self.aborted = reason
            self.ends_at = float("inf")
            self.sever()
            self.drop_unsent(self.world.now, keep=0)


class World:
    """A router, its clock, and its peers."""

    def __init__(
        self,
        *,
        credentials: Sequence[Credential] = (),
        deny: Sequence[str] = (),
        vendor: Vendor | None = None,
        **limits: Any,
    ) -> None:
        self.now = 1000.0
        self.unix_ahead = 1_700_000_000.0
        self.slept = 0.0
        configured = Limits(**limits)
        access = Access(credentials, deny, Rates.of(configured))
        vendor = vendor or Vendor((), (), None, 0.0)
        self.router = Router(configured, access, vendor, lambda: self.unix_now)
        self.somewhere = self.router.admission.origins.local
        self.busy: list[Peer] = []
        self.looks_at_the_wall()

    @property
    def unix_now(self) -> float:
        """What the clock on the wall says; `unix_ahead` sets it."""
        return self.now + self.unix_ahead

    # -- clocks

    def looks_at_the_wall(self) -> Shift | None:
        """Judge all links again if the wall clock has moved, as the daemon does every second."""
        router = self.router
        shift = router.wall.look(self.now, self.now + self.slept)
        if shift is not None:
            follow_wall([*router.registry.holders.values()], shift.ahead, Renewals(self.now), self.now)
            self.settle()
        return shift

    def sets_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock by so many seconds, and the daemon notices."""
        self.looks_at_the_wall()
        self.unix_ahead += seconds
        assert self.looks_at_the_wall() is not None

    def sleeps(self, seconds: float) -> None:
        """The daemon does not run, and time passes for everybody else; it was awake until now."""
        self.looks_at_the_wall()
        self.slept += seconds
        self.unix_ahead += seconds

    # -- peers

    def connects(self, address: str, *, lines: bool = False, comes_as: Caller | None = None) -> Peer:
        """A new link."""
        peer = Peer(self, address, lines=lines)
        peer.comes_as = comes_as
        self.router.welcome(peer)
        self.router.admission.make_room(peer, self.now)
        self.settle()
        return peer

    def peer(
        self,
        name: str,
        *,
        address: str | None = None,
        lines: bool = False,
        comes_as: Caller | None = None,
        **members: Any,
    ) -> Peer:
        """A registered peer."""
        peer = self.connects(address or name, lines=lines, comes_as=comes_as)
        peer.says({"type": "register", "id": name, **members})
        assert peer.hears()["type"] == "registered"
        return peer

    def would_end(self, credentials: Sequence[Credential]) -> list[str]:
        """Return the IDs whose links would end under these credentials, sorted."""
        return sorted(self.router.admission.would_end(Access(credentials, (), Rates.of(self.router.limits))))

    def changes(
        self,
        *,
        credentials: Sequence[Credential] = (),
        deny: Sequence[str] = (),
        vendor: Vendor | None = None,
        **limits: Any,
    ) -> int:
        """New rules hold, as after a reload; how many links end by them."""
        self.router.limits = configured = Limits(**limits)
        admission = self.router.admission
        access = Access(credentials, deny, Rates.of(configured))
        ended = sum(admission.change(access, vendor or admission.vendor, self.now))
        self.settle()
        return ended

    def settle(self) -> None:
        """What a reactor does at the end of a round, and in those that follow at once."""
        while self.router.due or self.busy or self.router.chores:
            for link in self.router.due:
                link.attend(self.now)
            self.router.due.clear()
            if is_crowded(self.router):
                shed(self.router, self.now, self.failed, lambda: False)
            if self.router.chores:
                self.router.chores.step()
            busy, self.busy = self.busy, []
            for peer in busy:
                peer.read()

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
