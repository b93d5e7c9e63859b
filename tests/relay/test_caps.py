"""How many may be here: by address, and without an ID; registered peers stay."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.relay.issued import static
from tests.relay.world import Peer, World


def alive(peers) -> list[int]:
    """Which of them are still here."""
    return [number for number, peer in enumerate(peers) if not peer.closing]


# -- who has not registered


def test_the_257th_of_an_address_makes_a_silent_one_go_row_6():
    world = World()
    alice = world.peer("alice", address="192.0.2.7")
    crowd = [world.connects("192.0.2.7") for _ in range(258)]
    gone = [crowd[number] for number in range(258) if number not in alive(crowd)]
    assert gone == [crowd[192], crowd[193]]
    for each in gone:
        answer = each.hears()
        assert answer["code"] == "server-full"
        assert "reconnect" not in answer
    assert crowd[-1].registers("newcomer")["type"] == "registered"
    assert alice.hears_nothing()
    assert world.router.limits_hit == {"max_unregistered_per_address": 2}


def test_the_1025th_of_all_makes_a_silent_one_go():
    world = World()
    alice = world.peer("alice")
    crowd = [world.connects(f"10.0.{number // 16}.1") for number in range(1026)]
    assert len(alive(crowd)) == 1024
    assert not crowd[-1].closing
    assert world.router.limits_hit == {"max_unregistered": 2}
    assert not alice.closing


def test_another_address_is_not_made_to_pay():
    world = World(max_unregistered_per_address=2)
    early = world.connects("192.0.2.1")
    crowd = [world.connects("192.0.2.7") for _ in range(5)]
    assert alive(crowd) == [0, 4]
    assert not early.closing


@pytest.mark.parametrize("addresses", [["2001:db8::1", "2001:db8::2"], ["192.0.2.7", "::ffff:192.0.2.7"]])
def test_neighbours_count_as_one_address_row_49(addresses):
    world = World(max_unregistered_per_address=3)
    crowd = [world.connects(addresses[number % 2]) for number in range(5)]
    assert alive(crowd) == [0, 1, 4]


def test_who_registers_does_not_count_any_more():
    world = World(max_unregistered_per_address=2, max_unregistered=3)
    peers = [world.connects("192.0.2.7") for _ in range(2)]
    for number in range(10):
        assert peers[-2].registers(f"cam{number}")["type"] == "registered"
        peers.append(world.connects("192.0.2.7"))
    assert alive(peers) == [*range(12)]
    assert world.router.limits_hit == {}


def test_who_has_left_does_not_count_any_more():
    world = World(max_unregistered_per_address=2)
    for _ in range(10):
        world.connects("192.0.2.7").leaves()
    crowd = [world.connects("192.0.2.7") for _ in range(2)]
    assert alive(crowd) == [0, 1]


def test_who_is_ending_does_not_count_as_unregistered():
    world = World(max_unregistered_per_address=2)
    crowd = [world.connects("192.0.2.7") for _ in range(2)]
    crowd[0].says({"type": "unregister"})
    crowd.append(world.connects("192.0.2.7"))
    assert alive(crowd) == [1, 2]


def test_one_may_be_all_and_it_is_the_newcomer():
    world = World(max_unregistered=1)
    crowd = [world.connects("192.0.2.7"), world.connects("192.0.2.8"), world.connects("unix")]
    assert alive(crowd) == [2]


def test_a_cap_of_0_is_none():
    world = World(max_unregistered_per_address=0)
    crowd = [world.connects("192.0.2.7") for _ in range(512)]
    assert len(alive(crowd)) == 512


def test_unix_sockets_and_trusted_networks_have_the_cap_of_all_alone():
    world = World(max_unregistered=60, trusted=("10.0.0.0/8",))
    crowd = [world.connects("unix") for _ in range(30)] + [world.connects("10.0.0.1") for _ in range(30)]
    assert len(alive(crowd)) == 60
    crowd.append(world.connects("10.0.0.1"))
    assert len(alive(crowd)) == 60
    assert not crowd[-1].closing


def test_whoever_had_to_go_may_come_again():
    world = World(max_unregistered_per_address=1)
    first = world.connects("192.0.2.7")
    world.connects("192.0.2.7")
    assert first.hears()["code"] == "server-full"
    assert world.connects("192.0.2.7").registers("alice")["type"] == "registered"


# -- who is here at all


def test_links_of_an_address_are_counted_until_they_are_gone():
    world = World(max_per_address=3)
    peers = [world.peer(f"cam{number}", address="192.0.2.7") for number in range(3)]
    admission = world.router.admission
    origin = peers[0].origin
    assert admission.excess(origin) == 0
    further = world.connects("::ffff:192.0.2.7")
    assert further.hears()["code"] == "server-full"
    assert admission.excess(origin) == 1
    peers[0].says({"type": "unregister"})
    assert admission.excess(origin) == 1
    world.passes(5.25)
    assert peers[0].aborted
    assert further.aborted
    assert admission.excess(origin) < 0


def test_a_link_that_had_its_time_makes_room_at_its_own_address():
    world = World(max_per_address=2)
    silent, elsewhere = world.connects("192.0.2.7"), world.connects("192.0.2.8")
    world.peer("alice", address="192.0.2.7")
    assert world.connects("192.0.2.7").hears()["code"] == "server-full"
    world.passes(4)
    assert world.connects("192.0.2.7").registers("bob")["type"] == "registered"
    assert silent.aborted
    assert not elsewhere.closing


@pytest.mark.parametrize(
    ("address", "limits"),
    [("unix", {}), ("10.0.0.1", {"trusted": ("10.0.0.0/8",)}), ("192.0.2.7", {"max_per_address": 0})],
)
def test_where_there_is_no_cap_nobody_is_too_many(address, limits):
    world = World(**{"max_per_address": 1, **limits})
    peers = [world.peer(f"cam{number}", address=address) for number in range(5)]
    assert world.router.admission.excess(peers[0].origin) <= 0


# -- behind a proxy


def moved(world: World, peer: Peer, host: str, port: int = 5000) -> Peer:
    """The proxy says that this link is from elsewhere."""
    world.router.admission.move(peer, host, port, world.now)
    world.settle()
    return peer


def proxied(**limits) -> World:
    """A world with a proxy."""
    return World(trusted=("10.0.0.0/8",), **limits)


def test_a_proxied_link_counts_where_it_comes_from():
    world = proxied(max_unregistered_per_address=2)
    crowd = [moved(world, world.connects("10.0.0.1"), "192.0.2.7") for _ in range(3)]
    assert alive(crowd) == [0, 2]
    direct = world.connects("192.0.2.7")
    assert alive([*crowd, direct]) == [0, 3]
    assert world.router.limits_hit == {"max_unregistered_per_address": 2}


def test_the_log_has_its_own_address():
    world = proxied()
    alice = world.connects("10.0.0.1")
    assert alice.address == "10.0.0.1"
    moved(world, alice, "192.0.2.7", 4711)
    assert (alice.address, alice.origin.key) == ("192.0.2.7:4711", "192.0.2.7")
    bob = moved(world, world.connects("10.0.0.1"), "2001:db8::7", 4711)
    assert (bob.address, bob.origin.key) == ("[2001:db8::7]:4711", "2001:db8::/64")


def test_too_many_behind_a_proxy_are_refused():
    world = proxied(max_per_address=2)
    peers = []
    for number in range(3):
        peers.append(moved(world, world.connects("10.0.0.1"), "192.0.2.7"))
        if not peers[-1].closing:
            peers[-1].registers(f"cam{number}")
    assert alive(peers) == [0, 1]
    assert peers[2].hears()["code"] == "server-full"
    assert world.router.limits_hit == {"max_per_address": 1}
    peers[2].leaves()
    assert not moved(world, world.connects("10.0.0.1"), "192.0.2.8").closing


def test_what_has_moved_is_counted_once_and_forgotten():
    world = proxied()
    admission = world.router.admission
    peers = [world.connects("10.0.0.1"), world.connects("10.0.0.1")]
    proxy = peers[0].origin
    assert (proxy.links, admission.unregistered.count(proxy)) == (2, 2)
    moved(world, peers[0], "192.0.2.7")
    assert (proxy.links, admission.unregistered.count(proxy), len(admission.origins)) == (1, 1, 2)
    moved(world, peers[1], "192.0.2.7")
    assert (proxy.links, len(admission.origins)) == (0, 1)
    for peer in peers:
        peer.leaves()
    assert (len(admission.origins), len(admission.unregistered)) == (0, 0)


def test_a_proxy_may_speak_for_another_or_for_itself():
    world = proxied(max_unregistered_per_address=1)
    crowd = [moved(world, world.connects("10.0.0.1"), host) for host in ("10.0.0.2", "10.0.0.2", "10.0.0.1")]
    assert alive(crowd) == [0, 1, 2]
    assert len(world.router.admission.origins) == 2


def test_guesses_behind_a_proxy_are_those_of_who_guesses():
    world = World(trusted=("10.0.0.0/8",), credentials=[static("t")])
    for _ in range(5):
        moved(world, world.connects("10.0.0.1"), "192.0.2.7").registers("alice", token="guessed")
    locked = moved(world, world.connects("10.0.0.1"), "192.0.2.7")
    assert "retryAfterMs" in locked.registers("alice", token="t")
    fine = moved(world, world.connects("10.0.0.1"), "192.0.2.8")
    assert fine.registers("alice", token="t")["type"] == "registered"


# -- all of it together


class Crowds(RuleBasedStateMachine):
    """Clients come, begin, register, move and go: no cap is passed, no link that has begun is pushed out while a silent
    one is there, and everything is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_unregistered=5, max_unregistered_per_address=2, trusted=("10.0.0.0/8",))
        self.peers: list[Peer] = []
        self.named = 0

    @rule(
        address=st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "10.0.0.1", "2001:db8::1", "unix"])
    )
    def comes(self, address: str) -> None:
        here = [peer for peer in self.peers if not peer.closing]
        strangers = self.world.router.admission.unregistered
        silent = [peer for peer in here if peer in strangers and not strangers.has_begun(peer)]
        self.peers.append(self.world.connects(address))
        ended = [peer for peer in (*here, self.peers[-1]) if peer.closing]
        assert len(ended) <= 1
        assert not any(peer.id for peer in ended)
        if ended and ended[0] not in silent:  # the newcomer, or a second client of an address with three times as many
            same = [peer for peer in silent if peer.origin is self.peers[-1].origin]
            assert not (same if ended[0] is self.peers[-1] else silent)

    @rule(which=st.integers(0, 20))
    def begins(self, which: int) -> None:
        for peer in self.peers[which : which + 1]:
            peer.begins()

    @rule(which=st.integers(0, 20))
    def registers(self, which: int) -> None:
        for peer in self.peers[which : which + 1]:
            if peer.id is None and not peer.closing:
                self.named += 1
                assert peer.registers(f"p{self.named}")["type"] == "registered"

    @rule(which=st.integers(0, 20), host=st.sampled_from(["192.0.2.1", "192.0.2.9", "10.0.0.2"]))
    def moves(self, which: int, host: str) -> None:
        for peer in self.peers[which : which + 1]:
            if peer.id is None and not peer.closing:
                moved(self.world, peer, host)

    @rule(which=st.integers(0, 20))
    def leaves(self, which: int) -> None:
        for peer in self.peers[which : which + 1]:
            peer.leaves()
            self.peers.remove(peer)

    @rule(trusted=st.sampled_from([(), ("10.0.0.0/8",), ("192.0.2.0/24",), ("2001:db8::1/128",)]))
    def trusts(self, trusted: tuple[str, ...]) -> None:
        self.world.changes(max_unregistered=5, max_unregistered_per_address=2, trusted=trusted)

    @invariant()
    def all_is_counted(self) -> None:
        admission = self.world.router.admission
        strangers = admission.unregistered
        assert set(strangers) == {peer for peer in self.peers if peer.id is None and not peer.closing}
        assert len(strangers) == len(set(strangers))
        assert len(admission.unregistered) <= 5
        here = [peer for peer in self.peers if not peer.aborted]
        for origin in {peer.origin for peer in self.peers}:
            assert origin.links == sum(peer.origin is origin for peer in here)
            assert strangers.count(origin) == sum(each.origin.key == origin.key for each in strangers)
        assert len(admission.origins) == len({peer.origin.key for peer in here} - {"unix"})


TestCrowds = Crowds.TestCase
TestCrowds.settings = settings(max_examples=40, stateful_step_count=40)
