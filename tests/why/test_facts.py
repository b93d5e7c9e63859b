"""Facts about peers and ICE servers, as the router has them."""

from sigd.relay.ice import Vendor
from sigd.why.facts import Ended, IceFacts, PeerFacts, ice_facts, peer_facts
from tests.relay.world import Peer, World


def test_what_a_router_knows(monkeypatch):
    monkeypatch.setattr(Peer, "via", "tcp")
    vendor = Vendor(["stun:s"], ["turn:t", "turns:t:443"], b"secret", 600.0)
    world = World(vendor=vendor)
    world.peer("cam1", lines=True)
    left = world.peer("bob")
    world.router.ended.append(left.ending("replaced", None, world.now + 5))
    left.leaves()
    facts = peer_facts(world.router, "cam1", 10.0)
    assert facts == PeerFacts("cam1", "tcp", 1010.0, True, [], 1610.0)
    assert peer_facts(world.router, "bob", 10.0) == PeerFacts("bob", ended=[Ended(world.now + 5 + 10, "replaced", 5.0)])
    assert ice_facts(world.router) == IceFacts(stun=True, turn=True, turn_tcp=True, ttl=600.0)
    assert ice_facts(World().router) == IceFacts()
