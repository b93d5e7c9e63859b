"""The one count of all buffers, and which link goes first when they take too much."""

import msgspec
import pytest

from sigd.relay.buffers import FREE_PART, SHARES, Buffers, Kind
from sigd.relay.shedding import shed
from tests.relay.world import Peer, World

KIB = 1024


class Held:
    """A link, as far as its buffers go."""

    def __init__(self, kind: Kind = Kind.FRAMES, idle_since: float = 0.0) -> None:
        self.kind = kind
        self.idle_since = idle_since


class Begun(Peer):
    """A client that has begun a frame of 10 KiB."""

    @property
    def unacted(self) -> int:
        return 10 * KIB


def gone(buffers: Buffers[Held], most: int, now: float = 10.0) -> list[Held]:
    """Those who have to go, in order."""
    found: list[Held] = []
    for link in buffers.victims(most, now):
        found.append(link)
        buffers.hold(link, 0)
    return found


class TestCount:
    def test_the_last_word_counts(self) -> None:
        buffers: Buffers[Held] = Buffers()
        one, other = Held(), Held()
        buffers.hold(one, 10)
        buffers.hold(other, 5)
        buffers.hold(one, 7)
        buffers.hold(one, 7)
        assert (buffers.total, buffers.held) == (12, {one: 7, other: 5})
        buffers.hold(one, 0)
        buffers.hold(one, 0)
        assert (buffers.total, buffers.held) == (5, {other: 5})

    def test_what_has_a_bound_of_its_own_counts_and_never_goes(self) -> None:
        buffers: Buffers[Held] = Buffers()
        buffers.reserve("a", 900)
        buffers.reserve("a", 950)
        buffers.hold(link := Held(), 50)
        assert buffers.total == 1000
        assert gone(buffers, 1000) == [link]
        buffers.reserve("a", 0)
        assert (buffers.total, buffers.reserved) == (0, {})

    def test_full_before_anybody_is_refused(self) -> None:
        buffers: Buffers[Held] = Buffers()
        buffers.hold(Held(), 937)
        assert not buffers.is_full(1000)
        buffers.hold(Held(), 1)
        assert buffers.is_full(1000)


class TestVictims:
    def test_the_shares_are_all_there_is(self) -> None:
        assert set(SHARES) == set(Kind)
        assert sum(SHARES.values()) == 1

    def test_nobody_while_there_is_room(self) -> None:
        buffers: Buffers[Held] = Buffers()
        buffers.hold(Held(), round(1000 * FREE_PART))
        assert gone(buffers, 1000) == []

    def test_of_one_kind_the_largest_for_longest(self) -> None:
        buffers: Buffers[Held] = Buffers()
        small_and_old, large_and_young, large_and_old = Held(idle_since=5), Held(idle_since=10), Held(idle_since=5)
        buffers.hold(small_and_old, 10)
        buffers.hold(large_and_young, 500)
        buffers.hold(large_and_old, 500)
        assert gone(buffers, 1000) == [large_and_old]
        assert gone(buffers, 500) == [large_and_young]
        assert gone(buffers, 10) == [small_and_old]

    def test_a_kind_within_its_share_loses_nothing(self) -> None:
        buffers: Buffers[Held] = Buffers()
        ages = dict(zip(Kind, (1.0, 2.0, 3.0, 4.0), strict=True))
        modest = {kind: Held(kind, idle_since=ages[kind]) for kind in Kind}
        for kind, link in modest.items():
            buffers.hold(link, round(800 * SHARES[kind]))
        crowd = [Held(Kind.REPLIES, idle_since=9.9) for _ in range(10)]
        for link in crowd:
            buffers.hold(link, 30)
        assert set(gone(buffers, 1000)) <= {*crowd, modest[Kind.REPLIES]}
        assert all(kind is Kind.REPLIES or buffers.held[link] for kind, link in modest.items())

    def test_a_client_that_was_reading_a_moment_ago_is_no_victim_of_its_senders(self) -> None:
        buffers: Buffers[Held] = Buffers()
        reads, does_not = Held(Kind.MESSAGES, idle_since=9.5), Held(Kind.MESSAGES, idle_since=8.5)
        buffers.hold(reads, 900)
        buffers.hold(does_not, 100)
        assert gone(buffers, 1000) == [does_not]
        assert buffers.is_full(900)


class TestVictimsOverRounds:
    """Some links at a time, and all are looked at once for that."""

    @staticmethod
    def crowd(buffers: Buffers[Held], count: int) -> list[Held]:
        found = [Held(idle_since=number / count) for number in range(count)]
        for link in found:
            buffers.hold(link, 10)
        return found

    @staticmethod
    def first_of(buffers: Buffers[Held], most: int, now: float = 10.0) -> Held:
        link = next(iter(buffers.victims(most, now)))
        buffers.hold(link, 0)
        return link

    def test_the_rest_goes_next_time(self) -> None:
        buffers: Buffers[Held] = Buffers()
        links = self.crowd(buffers, 100)
        assert self.first_of(buffers, 1000) is links[0]
        for _ in range(6):
            self.first_of(buffers, 1000)
        assert not buffers.total > 1000 * 15 / 16
        assert buffers.unfinished
        assert buffers.is_full(1000)
        assert gone(buffers, 1000) == links[7:13]
        assert not buffers.unfinished
        assert not buffers.is_full(1000)

    def test_who_has_gone_on_meanwhile_stays(self) -> None:
        buffers: Buffers[Held] = Buffers()
        links = self.crowd(buffers, 100)
        self.first_of(buffers, 1000)
        links[1].idle_since = 9.0  # it has read something
        buffers.hold(links[2], 9)  # it has less
        links[3].kind = Kind.MESSAGES
        buffers.hold(links[4], 11)
        assert gone(buffers, 1000) == links[4:16]

    def test_all_are_looked_at_again_where_those_found_do_not_suffice(self) -> None:
        buffers: Buffers[Held] = Buffers()
        links = self.crowd(buffers, 95)
        self.first_of(buffers, 1000)
        late = Held()
        buffers.hold(late, 900)
        for link in links[1:]:
            buffers.hold(link, 0)
        buffers.hold(links[1], 10)
        assert gone(buffers, 1000) == [links[1], late]

    def test_after_a_look_in_vain_there_is_a_pause(self) -> None:
        buffers: Buffers[Held] = Buffers()
        reads = Held(Kind.MESSAGES, idle_since=9.5)
        buffers.hold(reads, 950)
        assert gone(buffers, 1000) == []
        buffers.hold(begins := Held(), 40)
        assert gone(buffers, 1000, 10.2) == []
        assert gone(buffers, 1000, 10.25) == [begins]

    def test_the_pause_ends_where_much_has_come(self) -> None:
        buffers: Buffers[Held] = Buffers()
        buffers.hold(Held(Kind.MESSAGES, idle_since=9.5), 950)
        assert gone(buffers, 1000) == []
        buffers.hold(begins := Held(), 63)
        assert gone(buffers, 1000) == [begins]


def frozen(world: World, name: str) -> Peer:
    """A peer that reads nothing any more."""
    peer = world.peer(name)
    peer.takes = 0
    return peer


class TestLinks:
    def test_own_replies_that_nobody_reads_do_not_keep_messages_out(self) -> None:
        world = World(messages_per_second=0, buffer_bytes_total=512 * KIB)
        alice, slow = world.peer("alice"), frozen(world, "slow")
        alice.says({"type": "message", "to": "slow", "data": "x" * 1000})
        askers = [frozen(world, f"asker{number}") for number in range(20)]
        for asker in askers:
            asker.says(*[{"type": "ping", "ref": "x" * 60}] * 500)
            world.passes(0.25)
        assert [asker.aborted for asker in askers[:5]] == ["slow-consumer"] * 5
        assert not askers[-1].aborted
        assert world.router.limits_hit["buffer_bytes_total"] == sum(bool(asker.aborted) for asker in askers)
        alice.says({"type": "message", "to": "slow", "data": "x" * 1000})
        assert alice.hears_nothing()
        assert not slow.closing

    def test_the_reader_that_takes_nothing_for_longest_goes(self) -> None:
        world = World(buffer_bytes_total=290 * KIB)
        alice, others = world.peer("alice"), [frozen(world, f"bob{number}") for number in range(7)]
        for other in others:
            alice.says({"type": "message", "to": other.id, "data": "x" * 40 * KIB})
            world.passes(0.5)
        assert [other.aborted for other in others] == ["slow-consumer"] + [""] * 6
        assert alice.hears()["to"] == "bob0"

    def test_some_at_a_time_once_the_limit_is_kept(self) -> None:
        world = World(buffer_bytes_total=1024 * KIB, messages_per_second=0, bytes_per_second=0)
        alice, others = world.peer("alice"), [frozen(world, f"bob{number}") for number in range(15)]
        for other in others:
            alice.says({"type": "message", "to": other.id, "data": "x" * 60 * KIB})
        world.router.limits = msgspec.structs.replace(world.router.limits, buffer_bytes_total=800 * KIB)
        assert shed(world.router, world.now + 2, world.failed, lambda: True) == 2
        assert shed(world.router, world.now + 2, world.failed, lambda: True) == 1
        assert [bool(bob.aborted) for bob in others] == [True] * 3 + [False] * 12

    def test_a_claim_counts_while_it_waits(self) -> None:
        world = World()
        bob = world.peer("bob")
        claimant = world.connects("192.0.2.1")
        bob.takes = 10**6
        claimant.says({"type": "register", "id": "bob", "meta": {"m": "x" * 900}})
        assert claimant.claim is not None
        assert 900 < claimant.claim.size == world.router.buffers.held[claimant] < 2000
        bob.says({"type": "pong"})
        assert claimant.hears()["code"] == "id-taken"
        assert world.router.buffers.of_links == 0

    def test_a_link_counts_as_the_largest_part_of_what_it_holds(self) -> None:
        world = World()
        alice, bob = Begun(world, "alice", lines=False), frozen(world, "bob")
        world.router.welcome(alice)
        kinds = [alice.kind]
        alice.registers("alice")
        kinds.append(alice.kind)
        alice.says({"type": "message", "to": "bob", "data": "x" * 60 * KIB})
        alice.takes = 0
        alice.says(*[{"type": "peers"}] * 3)  # replies that are shorter than the frame that is begun
        kinds.append(alice.kind)
        alice.says(*[{"type": "ping", "ref": "r" * 60}] * 300)
        kinds.append(alice.kind)
        assert kinds == [Kind.STRANGERS, Kind.FRAMES, Kind.FRAMES, Kind.REPLIES]
        assert bob.kind is Kind.MESSAGES

    def test_a_link_that_cannot_even_end_holds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(buffer_bytes_total=100 * KIB)
        alice, carol, bob = world.peer("alice"), world.peer("carol"), frozen(world, "bob")
        alice.says({"type": "message", "to": "bob", "data": "x" * 60 * KIB})

        def fails(reason: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(bob, "abort", fails)
        carol.says({"type": "message", "to": "bob", "data": "x" * 38 * KIB})
        faults: list[tuple[object, type[Exception]]] = []

        def failed(link: object, fault: Exception) -> None:
            faults.append((link, type(fault)))

        assert shed(world.router, world.now + 2, failed, lambda: False) == 1
        assert faults == [(bob, ZeroDivisionError)]
        assert world.router.buffers.of_links == 0
