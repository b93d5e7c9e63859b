"""Whatever clients say, in whatever order, and whatever an operator changes meanwhile: what holds all the time."""

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sigd.relay.buffers import MESSAGE_BYTES, Kind
from sigd.relay.credentials import Credential
from sigd.relay.deadlines import TICK
from sigd.relay.ice import Vendor
from sigd.relay.link import CLAIM_BYTES, State
from sigd.relay.record import _CHARGE, _TALKS
from sigd.relay.shedding import is_crowded
from sigd.wire.times import NEVER
from tests.relay.issued import NORTH, SOUTH, expiring, signed, static
from tests.relay.world import Peer, World

NAMES = st.sampled_from(["a", "b", "admin"])
LIMITS: dict[str, Any] = {
    "messages_per_second": 4,
    "messages_burst": 8,
    "max_unregistered": 6,
    "max_unregistered_per_address": 4,
    "misses_per_minute": 2,
    "outbox_bytes_own": 300,
    "buffer_bytes_total": 5_000,
}
CREDENTIALS: dict[str, list[Credential]] = {
    "open": [],
    "tokens": [static("t", "u"), static("v", file="other")],
    "one": [static("t")],
    "secrets": [static("t"), expiring(NORTH)],
    "rotated": [static("t", "u"), expiring(SOUTH, NORTH, discover=True, register=["a", "admin"])],
}


def holds(peer: Peer) -> int:
    """Return the bytes that the buffers of a link take."""
    waiting = sum(map(len, peer.outbox)) + MESSAGE_BYTES * len(peer.outbox) if peer.stuck else 0
    if peer.claim is None:
        return waiting
    said = peer.claim.message
    return waiting + CLAIM_BYTES + sum(len(each or "") for each in (said.ref, said.id, said.user, said.token))


class Relay(RuleBasedStateMachine):
    """Some clients, an operator, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(**LIMITS, vendor=Vendor(["stun:a"], ["turn:b"], b"s", 70))
        self.peers: list[Peer] = []
        self.deny: tuple[str, ...] = ()

    def some(self, which: int) -> list[Peer]:
        """One of those who are not gone, if there is any."""
        here = [peer for peer in self.peers if not peer.aborted]
        return [here[which % len(here)]] if here else []

    @rule(lines=st.booleans(), address=st.sampled_from(["unix", "192.0.2.1", "192.0.2.2"]))
    def connects(self, lines: bool, address: str) -> None:
        self.peers.append(self.world.connects(address, lines=lines))

    @precondition(lambda self: self.peers)
    @rule(
        which=st.integers(0, 9),
        name=NAMES | st.none(),
        token=st.sampled_from(["t", "u", "v", "wrong"]) | st.none(),
        seconds=st.integers(-40, 100) | st.none(),
        keepalive_ms=st.sampled_from([5_000, 30_000]) | st.none(),
    )
    def registers(
        self, which: int, name: str | None, token: str | None, seconds: int | None, keepalive_ms: int | None
    ) -> None:
        shown: dict[str, Any] = {} if token is None else {"token": token}
        if seconds is not None:
            shown = signed(f"{math.floor(self.world.unix_now) + seconds}:{name or 'a*'}")
        named = {} if name is None else {"id": name}
        asked = {} if keepalive_ms is None else {"keepaliveMs": keepalive_ms}
        for peer in self.some(which):
            peer.says({"type": "register", **named, **shown, **asked})

    @precondition(lambda self: self.peers)
    @rule(which=st.integers(0, 9), to=NAMES, count=st.integers(1, 40))
    def sends(self, which: int, to: str, count: int) -> None:
        for peer in self.some(which):
            peer.says(*[{"type": "message", "to": to, "data": "x" * 40}] * count)

    @precondition(lambda self: self.peers)
    @rule(which=st.integers(0, 9), kind=st.sampled_from(["ping", "pong", "peers", "iceServers", "ok"]))
    def says(self, which: int, kind: str) -> None:
        for peer in self.some(which):
            peer.says({"type": kind})

    @precondition(lambda self: self.peers)
    @rule(which=st.integers(0, 9))
    def unregisters(self, which: int) -> None:
        for peer in self.some(which):
            peer.says({"type": "unregister"})

    @precondition(lambda self: self.peers)
    @rule(which=st.integers(0, 9))
    def leaves(self, which: int) -> None:
        for peer in self.some(which):
            peer.leaves()

    @precondition(lambda self: self.peers)
    @rule(which=st.integers(0, 9), takes=st.sampled_from([0, 100, 1_000, None]))
    def reads(self, which: int, takes: int | None) -> None:
        for peer in self.some(which):
            peer.takes = takes
            if peer.queued:
                peer.push()
            self.world.settle()

    @rule(seconds=st.sampled_from([0.25, 1, 3.25, 12, 40]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @rule(seconds=st.sampled_from([-1000, 1000]))
    def the_clock_on_the_wall_jumps(self, seconds: float) -> None:
        self.world.unix_ahead += seconds

    @rule(
        credentials=st.sampled_from([*CREDENTIALS]),
        deny=st.sampled_from([(), ("admin",), ("a*",)]),
        per_second=st.sampled_from([0, 1, 4, 100]),
        vendor=st.sampled_from([Vendor([], [], None, 0), Vendor([], ["turn:c"], b"s", 70)]) | st.none(),
    )
    def new_rules(self, credentials: str, deny: tuple[str, ...], per_second: int, vendor: Vendor | None) -> None:
        limits = LIMITS | {"messages_per_second": per_second}
        self.deny = deny
        self.world.changes(credentials=CREDENTIALS[credentials], deny=deny, vendor=vendor, **limits)

    @invariant()
    def an_id_has_one_holder_who_may_have_it(self) -> None:
        router = self.world.router
        registered = [peer for peer in self.peers if peer.state is State.REGISTERED]
        assert router.registry.holders == {peer.id: peer for peer in registered}
        for peer in registered:
            grant = router.admission.access.grant(peer.grant.proof, peer.id)
            assert grant is not None
            assert (peer.grant.proof is None) is router.admission.access.open
            assert peer.grant.rates is grant.rates

    @invariant()
    def a_claim_is_one_link_that_waits_for_one_other(self) -> None:
        for peer in self.peers:
            if peer.claim is not None:
                assert peer.state is State.CLAIMING
                assert peer.held
                assert peer.claim.link is peer
                assert peer.claim.holder.challenge is peer.claim
            if peer.challenge is not None:
                assert peer.state is State.REGISTERED
                assert peer.challenge.holder is peer
                assert peer.challenge.link.claim is peer.challenge

    @invariant()
    def nobody_is_held_without_a_reason(self) -> None:
        for peer in self.peers:
            full = peer.own > self.world.router.limits.outbox_bytes_own
            reasons = (peer.closing, peer.claim is not None, peer.resumes_at != NEVER, full)
            assert peer.held is any(reasons)
            assert peer.held or not peer.waiting

    @invariant()
    def nobody_is_forgotten(self) -> None:
        deadlines = self.world.router.deadlines
        for peer in self.peers:
            due = self.world.router.next_deadline(peer)
            if peer.aborted:
                assert not peer.bucket
                assert peer not in deadlines._new
            elif due < NEVER:
                looked_at = min(
                    NEVER if peer.bucket is None else peer.bucket.tick * TICK, deadlines._new.get(peer, NEVER)
                )
                assert looked_at < due + TICK
                assert deadlines.earliest <= looked_at

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        router = self.world.router
        assert set(router.admission.unregistered) == {
            peer for peer in self.peers if peer.state in {State.NEW, State.CLAIMING}
        }
        assert router.buffers.held == {peer: held for peer in self.peers if (held := holds(peer))}
        record = router.record
        kept = sum(_TALKS + sum(ring[_CHARGE] for ring in talks.values()) for talks in record.rings.values())
        assert router.buffers.record == kept + record.attempts.charge
        assert router.buffers.total == sum(router.buffers.held.values()) + router.buffers.record
        # After a look at all links in vain, a sixteenth more may come before the next one.
        assert (
            not is_crowded(router)
            or router.buffers.total <= router.limits.buffer_bytes_total * 17 / 16
            or all(peer.kind is Kind.MESSAGES for peer in router.buffers.held)
        )

    def teardown(self) -> None:
        for peer in self.peers:
            peer.leaves()
        router = self.world.router
        assert not router.registry.holders
        assert not router.admission.unregistered
        assert len(router.admission.origins) == 0
        assert len(router.deadlines) == 0
        assert router.buffers.of_links == 0


TestRelay = Relay.TestCase
TestRelay.settings = settings(max_examples=60, stateful_step_count=40)
