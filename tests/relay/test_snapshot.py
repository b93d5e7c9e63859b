"""What is kept of links, credentials and the door: in another process all of it is as it was."""

import math
from typing import Any

import msgspec
import pytest

from sigd.relay import snapshot
from sigd.relay.credentials import Caller, ClientCertificate, Permissions, StaticToken, UnixCaller
from sigd.relay.link import Link, State
from sigd.relay.rates import Rates
from sigd.relay.snapshot import LinkState
from sigd.relay.strikes import STRIKES_KEPT, STRIKES_SECONDS, Strikes, StrikesState
from sigd.wire.framing import LINES, PREFIXED, UNDECIDED, LinkFraming
from sigd.wire.times import NEVER
from tests.relay.world import Peer, World

AHEAD = 5_000.0
"""How much more the other clock shows."""

TIMES = (
    *("opened", "last_seen", "pinged_at", "frame_since", "stalled_since", "resumes_at"),
    *("expires_at", "renews_at", "ends_at", "settled_at"),
)

SAME = (
    *("id", "host", "port", "max_frame", "keepalive", "messages_left", "bytes_left", "received", "delivered", "rtt"),
    *("closing", "reason", "held", "outbox", "queued", "own", "state", "pinged"),
)


def token(secret: bytes = b"secret", **members: Any) -> StaticToken:
    """A credential that lets its owner be anybody."""
    return StaticToken("token", Permissions(("*",), ("*",), rates=Rates(0, 0, 0, 0), **members), [secret])


def states(*peers: Link) -> list[LinkState]:
    """What travels of these."""
    numbers = {peer: at for at, peer in enumerate(peers, 1)}
    data = msgspec.msgpack.encode([snapshot.state_of(peer, numbers) for peer in peers])
    return msgspec.msgpack.decode(data, type=list[LinkState])


def other_world(world: World, **options: Any) -> World:
    """Where they go on."""
    other = World(**options)
    other.now = world.now + AHEAD
    other.unix_ahead = world.unix_ahead - AHEAD
    return other


def arrived(world: World, peers: list[LinkState], passed: float = 0.0, shift: float = AHEAD) -> list[Peer]:
    """Links there that are what those were; they are not looked at yet."""
    links: list[Peer] = []
    for state in peers:
        link = Peer(world, state.host, lines=False)
        snapshot.restore(link, state, shift, passed)
        world.router.admission.origins.join(link.origin)
        links.append(link)
    for link, state in zip(links, peers, strict=True):
        snapshot.fill(link, state, links)
    return links


def handed_over(world: World, *peers: Peer, **options: Any) -> tuple[World, list[Peer]]:
    """These in another process."""
    other = other_world(world, **options)
    links = arrived(other, states(*peers))
    for link in links:
        assert other.router.admission.take_up(link, other.now)
    other.settle()
    return other, links


class TestLinks:
    def test_everything_is_as_it_was(self) -> None:
        world = World(misses_per_minute=2)
        alice = world.peer("alice", meta={"a": 1}, keepaliveMs=10_000, maxFrame=2_000)
        bob = world.peer("bob")
        for _ in range(3):
            alice.says({"type": "message", "to": "nobody", "data": 1})
        bob.takes = 3
        alice.says({"type": "message", "to": "bob", "data": 1}, {"type": "message", "to": "bob", "data": 2})
        bob.says({"type": "ping"})
        assert bob.stuck
        _, (alice_again, bob_again) = handed_over(world, alice, bob, misses_per_minute=2)
        for before, after in ((alice, alice_again), (bob, bob_again)):
            assert [getattr(after, name) for name in SAME] == [getattr(before, name) for name in SAME]
            assert [getattr(after, name) for name in TIMES] == [
                pytest.approx(getattr(before, name) + AHEAD) for name in TIMES
            ]
        assert alice_again.meta is not None
        assert bytes(alice_again.meta) == b'{"a":1}'
        assert alice.offences is not None
        assert alice_again.offences is not None
        assert alice_again.offences.errors == alice.offences.errors == 3
        assert alice_again.offences.missed_until == pytest.approx(alice.offences.missed_until + AHEAD)
        assert list(bob_again.owners) == [alice_again, alice_again, None]
        assert bob_again.router.buffers.of_links == bob_again.holding
        assert alice_again.outbox is Peer(world, "x", lines=False).outbox

    def test_time_has_passed_for_credentials_alone(self) -> None:
        world = World(credentials=[token()])
        alice = world.peer("alice", token="secret")
        alice.expires_at, alice.renews_at, alice.pinged_at = world.now + 60, world.now + 50, world.now - 1
        other = other_world(world, credentials=[token()])
        [again] = arrived(other, states(alice), passed=7.0)
        assert (again.expires_at, again.renews_at) == (other.now + 53, other.now + 43)
        assert (again.last_seen, again.pinged_at) == (other.now, other.now - 1)

    def test_numbers_that_many_have_are_kept_once(self) -> None:
        world = World()
        peers = [world.peer(f"p{number}", keepaliveMs=12_345, maxFrame=54_321) for number in range(2)]
        _, (one, another) = handed_over(world, *peers)
        assert one.keepalive is another.keepalive
        assert one.max_frame is another.max_frame
        assert one.resumes_at is one.ends_at == NEVER
        assert one.pinged_at is another.pinged_at

    def test_whose_message_it_is_who_has_left(self) -> None:
        world = World()
        alice, carol, bob = world.peer("alice"), world.peer("carol"), world.peer("bob")
        bob.takes = 0
        for sender in (alice, carol):
            sender.says({"type": "message", "to": "bob", "data": 1})
        other = other_world(world)
        alice_state, bob_state = states(alice, bob)
        assert bob_state.senders == [1, snapshot.GONE]
        _, bob_again = arrived(other, [alice_state, bob_state])
        assert bob_again.owners[1] is bob_again
        # Nor is anybody told whose own link got lost on the way.
        alone = Peer(other, "alone", lines=False)
        snapshot.restore(alone, bob_state, AHEAD, 0.0)
        snapshot.fill(alone, bob_state, [None])
        assert list(alone.owners) == [alone, alone]
        assert alone.own == 0
        alone.drop_unsent(0.0, keep=0)
        assert other.router.buffers.of_links == bob_again.holding

    def test_who_is_unregistered_is_counted(self) -> None:
        world = World()
        first, second = world.connects("192.0.2.1"), world.connects("192.0.2.1")
        other, (one, two) = handed_over(world, first, second)
        assert set(other.router.admission.unregistered) == {one, two}
        assert other.router.admission.unregistered.count(one.origin) == 2
        assert one.state is State.NEW
        other.passes(70)
        assert one.hears()["code"] == "register-timeout"

    def test_who_is_closing_still_ends(self) -> None:
        world = World()
        alice = world.peer("alice")
        alice.says({"type": "unregister"})
        other, [again] = handed_over(world, alice)
        assert again.closing
        assert not other.router.registry
        other.passes(20)
        assert again.aborted == "unregistered"

    def test_deadlines_are_kept(self) -> None:
        world = World()
        world.peer("alice", keepaliveMs=10_000)
        alice = world.peer("bob", keepaliveMs=10_000)
        world.passes(6)
        other, [again] = handed_over(world, alice)
        other.passes(3.5)
        assert again.hears_nothing()
        other.passes(1)
        assert again.hears()["type"] == "ping"

    def test_claims_are_refused(self) -> None:
        world = World()
        alice, another, third = world.peer("alice"), world.connects("another"), world.connects("third")
        another.says({"type": "register", "id": "alice"})
        assert alice.hears()["type"] == "ping"
        world.router.admission.refuse_claims(world.now)
        world.settle()
        assert another.hears()["code"] == "id-taken"
        assert third.hears_nothing()
        assert alice.challenge is another.claim is None


class TestNoSuchLink:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("id", "no such ID"),
            ("keepalive", 0.0),
            ("keepalive", math.nan),
            ("outbox", [b"x"]),
            ("senders", [0]),
            ("opened", math.nan),
            ("rtt", math.nan),
            ("rates", (0, 5.0, 0, math.inf)),
            ("rates", (5, math.inf, 0, math.inf)),
            ("rates", (5, 0.0, 0, math.inf)),
            ("messages_left", -math.inf),
            ("messages_left", math.nan),
            ("bytes_left", math.nan),
        ],
    )
    def test_is_not_made(self, name: str, value: object) -> None:
        world = World()
        [state] = states(world.peer("alice"))
        setattr(state, name, value)
        with pytest.raises(ValueError, match=r"no|such"):
            snapshot.restore(Peer(world, "x", lines=False), state, 0.0, 0.0)

    def test_nor_one_with_empty_messages(self) -> None:
        world = World()
        [state] = states(world.peer("alice"))
        state.outbox, state.senders = [b""], [0]
        with pytest.raises(ValueError, match="no link"):
            snapshot.restore(Peer(world, "x", lines=False), state, 0.0, 0.0)

    def test_an_id_has_one_holder(self) -> None:
        world = World()
        alice = world.peer("alice")
        [again] = arrived(world, states(alice), shift=0.0)
        with pytest.raises(ValueError, match="one holder"):
            world.router.admission.take_up(again, world.now)
        assert world.router.registry.find("alice") is alice


class TestCredentials:
    def test_it_counts_by_the_rules_in_force(self) -> None:
        world = World(credentials=[token()])
        alice = world.peer("alice", token="secret")
        _, [again] = handed_over(world, alice, credentials=[token(discover=True)])
        assert again.grant.discover
        assert again.grant.fingerprint == alice.grant.fingerprint
        other = other_world(world, credentials=[token(b"another")])
        [again] = arrived(other, states(alice))
        assert not other.router.admission.take_up(again, other.now)
        other.settle()
        assert again.hears()["code"] == "auth-failed"
        assert again.closing
        assert not other.router.registry

    def test_where_nobody_needs_any_nothing_expires(self) -> None:
        world = World(credentials=[token()])
        alice = world.peer("alice", token="secret")
        alice.expires_at = world.now + 10
        _, [again] = handed_over(world, alice)
        assert again.expires_at == NEVER

    def test_who_the_kernel_says_that_one_is(self) -> None:
        permissions = Permissions(("*",), ("*",), rates=Rates(0, 0, 0, 0))
        credential = UnixCaller(frozenset({1}), frozenset({7}), permissions)
        world = World(credentials=[credential])
        alice = world.peer("alice", comes_as=Caller(uid=5, groups=frozenset({7, 8})))
        _, [again] = handed_over(world, alice, credentials=[credential])
        assert again.grant.proof is not None
        assert again.grant.proof.caller is not None
        assert (again.grant.proof.caller.uid, again.grant.proof.caller.groups) == (5, frozenset({7, 8}))

    def test_a_certificate(self) -> None:
        permissions = Permissions(("{name}",), ("bob",), rates=Rates(0, 0, 0, 0))
        credential = ClientCertificate(["*"], permissions)
        world = World(credentials=[credential])
        caller = Caller(["alice"], expires=world.unix_now + 100)
        alice = world.peer("alice", comes_as=caller)
        _, [again] = handed_over(world, alice, credentials=[credential])
        assert again.grant.talk == alice.grant.talk
        assert again.expires_at == pytest.approx(alice.expires_at + AHEAD)

    def test_of_its_rates_the_same_part_is_left(self) -> None:
        world = World(messages_per_second=1, messages_burst=100)
        alice = world.peer("alice")
        alice.says(*({"type": "ping"} for _ in range(50)))
        left = alice.messages_left
        _, [again] = handed_over(world, alice, messages_per_second=1, messages_burst=200)
        assert again.messages_left == pytest.approx(2 * left, abs=2)


class TestStrangers:
    @pytest.mark.parametrize("framing", [UNDECIDED, LINES, PREFIXED])
    def test_a_client_that_has_sent_nothing_is_silent_there_too(self, framing: LinkFraming) -> None:
        world = World()
        guest = Peer(world, "192.0.2.1", lines=False)
        guest.framing = framing
        admission = world.router.admission
        admission.origins.join(guest.origin)
        assert admission.take_up(guest, world.now)
        assert [*admission.unregistered] == [guest]
        assert admission.unregistered.has_begun(guest) is (framing is not UNDECIDED)


class TestStrikes:
    def test_they_are_kept(self) -> None:
        strikes: Strikes[str] = Strikes()
        strikes.add("alice", 10.0, 1)
        strikes.add("bob", 11.0, 2)
        again: Strikes[str] = Strikes()
        again.restore(strikes.state, 100.0)
        assert again.locked("alice", 110.0) == strikes.locked("alice", 10.0) > 0
        assert again.locked("bob", 111.0) == 0
        again.add("bob", 111.0 + STRIKES_SECONDS / 2, 2)
        assert again.locked("bob", 111.0 + STRIKES_SECONDS / 2) > 0

    def test_a_repetition_is_known_to_the_next_process(self) -> None:
        strikes: Strikes[str] = Strikes()
        strikes.add("alice", 10.0, 2, b"attempt")
        again: Strikes[str] = Strikes()
        again.restore(strikes.state, 100.0)
        again.add("alice", 112.0, 2, b"attempt")
        assert again.locked("alice", 112.0) == 0
        again.add("alice", 112.0, 2, b"another")
        assert again.locked("alice", 112.0) > 0

    def test_no_more_than_there_may_be(self) -> None:
        strikes: Strikes[str] = Strikes()
        strikes.restore([(str(number), [], 0.0) for number in range(STRIKES_KEPT + 5)], 0.0)
        assert len(strikes) == STRIKES_KEPT

    def test_those_of_the_door(self) -> None:
        world = World(credentials=[token()], auth_failures_per_minute=1, takeovers_per_minute=1)
        guest = world.connects("192.0.2.1")
        guest.says({"type": "register", "id": "alice", "token": "wrong"})
        data = msgspec.msgpack.encode(world.router.admission.strikes)
        other = other_world(world, credentials=[token()], auth_failures_per_minute=1)
        other.router.admission.restore_strikes(msgspec.msgpack.decode(data, type=StrikesState), AHEAD)
        guest = other.connects("192.0.2.1")
        assert guest.registers("alice", token="secret")["retryAfterMs"] > 0
