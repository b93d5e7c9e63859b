import string

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from sigd.relay.link import Link
from sigd.relay.registry import MAX_LISTED, Registry
from tests.relay.world import Peer, World

IDS = st.text(string.ascii_letters[:6] + "_.~-09", min_size=1, max_size=3)


class AgainstADict(RuleBasedStateMachine):
    """The registry does what a dict does, whatever the order of claims and late releases."""

    links = Bundle("links")

    def __init__(self) -> None:
        super().__init__()
        self.registry: Registry[Link] = Registry()
        self.model: dict[str, Peer] = {}
        self.world = World()

    @rule(target=links, peer=IDS)
    def claim(self, peer: str) -> tuple[str, Peer]:
        link = self.world.connects(peer)
        self.registry.claim(peer, link)
        self.model[peer] = link
        return peer, link

    @rule(held=consumes(links))
    def release(self, held: tuple[str, Peer]) -> None:
        peer, link = held
        was_holder = self.model.get(peer) is link
        assert self.registry.release(peer, link) is was_holder
        if was_holder:
            del self.model[peer]

    @rule(prefix=st.text("abcAB_", max_size=2), after=st.text("abcAB_", max_size=2))
    def list_some(self, prefix: str, after: str) -> None:
        expected = sorted(peer for peer in self.model if peer.startswith(prefix) and peer > after)
        found, more = self.registry.listed(prefix, after)
        assert [entry.id for entry in found] == expected[:MAX_LISTED]
        assert more is (len(expected) > MAX_LISTED)

    @invariant()
    def same_holders(self) -> None:
        assert self.registry.holders == self.model
        assert len(self.registry) == len(self.model)
        assert all(self.registry.find(peer) is link for peer, link in self.model.items())


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=30)


def test_a_page_ends_at_100_and_says_that_there_are_more():
    world, registry = World(), Registry[Link]()
    for number in range(150):
        registry.claim(f"cam{number:03}", world.connects("x"))
    registry.claim("zebra", world.connects("x"))
    first, more = registry.listed("cam", "")
    assert (first[0].id, first[-1].id, len(first), more) == ("cam000", "cam099", 100, True)
    second, more = registry.listed("cam", first[-1].id)
    assert (second[0].id, second[-1].id, len(second), more) == ("cam100", "cam149", 50, False)


def test_order_is_that_of_the_bytes():
    world, registry = World(), Registry[Link]()
    for peer in ("a", "B", "~", "-", "9"):
        registry.claim(peer, world.connects("x"))
    assert [entry.id for entry in registry.listed("", "")[0]] == ["-", "9", "B", "a", "~"]


def test_who_has_lost_an_id_frees_nothing():
    world, registry = World(), Registry[Link]()
    old, new = world.connects("x"), world.connects("x")
    registry.claim("a", old)
    registry.claim("a", new)
    assert not registry.release("a", old)
    assert registry.find("a") is new
    assert registry.release("a", new)
    assert not registry.release("a", new)
