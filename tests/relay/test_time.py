"""The rules for time together: a daemon whose clock freezes, and whose wall clock is set, at any point."""

from typing import Any, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sigd.relay.credentials import LEEWAY_SECONDS
from sigd.relay.deadlines import TICK
from sigd.relay.timeouts import GONE_AFTER
from sigd.relay.wall import STEP_SECONDS
from sigd.wire.awake import SLACK_SECONDS, Awake
from sigd.wire.datagram import Channel
from tests.relay.issued import expiring, user
from tests.relay.test_ice_servers import turn
from tests.relay.world import Peer, World

LOOK_SECONDS: Final = 1.0
"""Longest planned wait, as in the daemon."""

KEEPALIVE: Final = 5.0
ANSWERS_AFTER: Final = 0.5
CREDENTIAL_SECONDS: Final = 60

LATE: Final = TICK + SLACK_SECONDS + LOOK_SECONDS
"""How late anything may be, in awake time."""

Moves = list[tuple[str, float]]

MOVES: st.SearchStrategy[Moves] = st.lists(
    st.one_of(
        st.tuples(st.just("runs"), st.floats(0, 20)),
        st.tuples(st.just("freezes"), st.floats(0, 400)),
        st.tuples(st.just("is set"), st.floats(-500, 500)),
    ),
    max_size=12,
)


class Daemon:
    """A router on a clock that its machine stops.

    Attributes:
        reading: of the kernel's monotonic clock, which goes on meanwhile.
        live: answers every ping within half a second; `shown`: too, and has a credential; `dead`: says nothing more.
    """

    def __init__(self) -> None:
        self.world = World(credentials=[expiring()], vendor=turn(ttl=600))
        self.reading = self.world.now
        self.awake = Awake()
        self.world.now = self.awake.look(self.reading)
        self._planned = self.reading
        self._answers: list[tuple[float, Peer]] = []
        long = user("*", seconds=10**6)
        self.live = self.world.peer("live", keepaliveMs=5000, **long)
        self.dead = self.world.peer("dead", keepaliveMs=5000, **long)
        self.shown = self.world.peer("shown", keepaliveMs=5000, **user("shown", seconds=CREDENTIAL_SECONDS))
        self.expires = self.world.unix_now + CREDENTIAL_SECONDS + LEEWAY_SECONDS
        self.born, self.overdue = self.world.now, 0.0

    def runs(self, seconds: float) -> None:
        """Let it run: it waits as long as it plans to, and then acts."""
        until = self.reading + seconds
        while self.reading < until:
            planned = min(self.world.router.deadlines.earliest, self.world.now + LOOK_SECONDS)
            # At least a millisecond, as in a kernel: less might vanish in the rounding of large numbers.
            wait = max(0.001, self.awake.wait(planned, self.reading))
            if self.reading + wait > until:
                self._pass(until - self.reading)
                return  # whatever comes next comes in the middle of a wait
            self._pass(wait)
            self._round()

    def freezes(self, seconds: float) -> None:
        """Stop it; everybody else goes on."""
        self._pass(seconds)
        if seconds > LOOK_SECONDS:
            self._round()

    def is_set(self, seconds: float) -> None:
        """Set the wall clock."""
        self.world.unix_ahead += seconds

    def _pass(self, seconds: float) -> None:
        self.reading += seconds
        self.world.unix_ahead += seconds  # until the daemon looks, and its own clock has gone on as well

    def _round(self) -> None:
        world = self.world
        before, slept = world.now, self.awake.slept
        world.now = self.awake.look(self.reading)
        world.unix_ahead -= world.now - before
        world.slept += self.awake.slept - slept
        for at, peer in self._answers[:]:
            if at <= self.reading:
                self._answers.remove((at, peer))
                peer.waiting.append(b'{"type":"pong"}')
        for peer in (self.live, self.shown):
            peer.read()
        world.router.expire(world.now, self._failed)
        world.looks_at_the_wall()
        world.settle()
        for peer in (self.live, self.shown):
            self._answers += [(self.reading + ANSWERS_AFTER, peer) for heard in peer.hears_all("ping") if heard]
        self.overdue = self.overdue + world.now - before if world.unix_now >= self.expires else 0.0

    def _failed(self, link: Any, fault: Exception) -> None:
        raise fault

    def check(self) -> None:
        """Check the invariants that hold at any time."""
        assert self.live.reason == ""
        assert self.shown.reason in ("", "auth-expired")
        if self.overdue > 2 * LATE + STEP_SECONDS:
            assert self.shown.reason == "auth-expired"
        age = self.world.now - self.born
        if self.dead.reason:
            assert self.dead.reason == "idle-timeout"
            assert age >= GONE_AFTER * KEEPALIVE
        else:
            assert age <= GONE_AFTER * KEEPALIVE + 2 * LATE


@settings(max_examples=80)
@given(MOVES)
@example([("freezes", 13.5), ("runs", 3.0)])
@example([("runs", 5.1), ("freezes", 400.0), ("runs", 0.1), ("freezes", 400.0), ("runs", 10.0)])
@example([("runs", 1.0), ("is set", 500.0), ("runs", 5.0)])
@example([("runs", 1.0), ("is set", -500.0), ("runs", 20.0), ("runs", 20.0), ("runs", 20.0), ("runs", 20.0)])
@example([("freezes", 200.0), ("is set", 300.0), ("is set", -300.0), ("runs", 5.0)])
def test_it_freezes_and_is_set_at_any_point(moves: Moves) -> None:
    """No live link ends, a dead one ends within its bound of awake time, and credentials go by the wall clock."""
    daemon = Daemon()
    ended_early = False
    for what, seconds in moves:
        {"runs": daemon.runs, "freezes": daemon.freezes, "is set": daemon.is_set}[what](seconds)
        daemon.check()
        ended_early = ended_early or daemon.world.unix_now >= daemon.expires - STEP_SECONDS
        assert ended_early or daemon.shown.reason == ""
    daemon.runs(20)
    daemon.check()
    assert daemon.dead.reason == "idle-timeout"


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 6), st.floats(0, 90)), max_size=15))
def test_no_client_over_udp_is_given_up_that_has_acknowledged(moves: list[tuple[float, float]]) -> None:
    """However little the daemon runs, and though time is judged before what has come is read."""
    awake, reading = Awake(), 100.0
    server: Channel[str] = Channel(b"0123456789abcdef", "s", server=True, key=bytes(32))
    client: Channel[str] = Channel(b"0123456789abcdef", "c", server=False, key=bytes(32))
    in_socket: list[bytes] = []
    now = awake.look(reading)

    def sends() -> None:
        """Send what is due; the client answers at once, and its answer waits in the daemon's socket."""
        if server.room:
            server.give(b'{"type":"bye","from":"bob"}')
        for datagram, _ in server.datagrams_to_send(now):
            client.receive_untrusted(datagram, "s", reading)
            client.take_whole()
            in_socket.extend(answer for answer, _ in client.datagrams_to_send(reading + 1))

    for runs, freezes in moves:
        until = reading + runs
        while reading < until:
            sends()
            wait = awake.wait(min(server.next_deadline(), now + LOOK_SECONDS), reading)
            reading += max(0.01, min(wait, until - reading))
            now = awake.look(reading)
            server.expire(now)
            while in_socket:
                server.receive_untrusted(in_socket.pop(0), "s", now)
        sends()
        reading += freezes
        now = awake.look(reading)
        server.expire(now)
        assert not server.over
