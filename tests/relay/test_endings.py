"""What is kept of a peer whose link has ended and of what it has said, and who is counted where over UDP."""

import pytest

from sigd.wire.errors import ErrorCode, ProtocolError
from tests.relay.world import World


def test_an_ending_is_what_the_link_was() -> None:
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    alice.says({"type": "message", "to": "bob", "data": 1})
    world.now += 7
    ending = bob.ending("left", "10.0.0.1:5", world.now)
    assert (ending.id, ending.via, ending.address, ending.reason, ending.by) == (
        *("bob", "memory", bob.address, "left", "10.0.0.1:5"),
    )
    assert (ending.seconds, ending.received, ending.delivered) == (7, 1, 1)
    assert ending.when == world.now


def test_links_over_udp_have_caps_in_all_and_for_one_address() -> None:
    admission = World(udp_links=3, udp_links_per_address=2).router.admission
    here, there = admission.origins.of("192.0.2.1"), admission.origins.of("192.0.2.2")
    admission.enter_by_datagram(here)
    admission.enter_by_datagram(here)
    with pytest.raises(ProtocolError) as refused:
        admission.enter_by_datagram(here)
    assert (refused.value.code, refused.value.limit) == (ErrorCode.SERVER_FULL, "udp_links_per_address")
    admission.enter_by_datagram(there)
    with pytest.raises(ProtocolError) as refused:
        admission.enter_by_datagram(admission.origins.of("192.0.2.3"))
    assert (refused.value.code, refused.value.limit) == (ErrorCode.SERVER_FULL, "udp_links")
    assert admission.origins.udp_links == 3


def test_the_record_tells_each_way_of_some_peers_or_of_all() -> None:
    world = World()
    alice, bob = world.peer("alice"), world.peer("bob")
    world.peer("carol")
    alice.says({"type": "message", "to": "bob", "data": 1})
    bob.says({"type": "message", "to": "carol", "data": 2})
    record = world.router.record
    for peers, expected in (
        ((), {("alice", "bob"), ("bob", "carol")}),
        (("alice",), {("alice", "bob")}),
        (("carol",), {("bob", "carol")}),
        (("dave",), set[tuple[str, str]]()),
    ):
        assert {(one.sender, one.to) for way in record.one_way(frozenset(peers)) for one in way} == expected
