"""Addresses of two peers beside each other: what leads where."""

import pytest

from sigd.why.facts import IceFacts
from tests.why.staged import AT, HOST, HOST6, MDNS, PUBLIC, RELAY, SRFLX, Stage, answer, sdp


def at(address: str) -> str:
    return HOST.replace("10.1.2.3", address)


@pytest.fixture
def stage():
    return Stage()


@pytest.mark.parametrize(
    ("address", "name"),
    [("192.0.0.4", "464XLAT"), ("198.18.0.1", "benchmarking"), ("240.0.0.1", "reserved"), ("100.72.1.1", "CGNAT")],
)
def test_an_address_that_looks_public_and_is_not(stage, address, name):
    stage.call([at(address)], [HOST])
    verdict = stage.judged()
    assert verdict.rule == "private-only"
    assert name in verdict.likely
    assert name in verdict.steps[2].text


@pytest.mark.parametrize("address", ["8.8.8.8", "192.0.0.9", "2a00::9"])
def test_an_address_that_is_public(stage, address):
    stage.call([at(address)], [HOST, HOST6.replace("2a00::9", "fd00::1")])
    assert stage.judged().rule == "complete"


def test_versions_of_ip_that_do_not_meet(stage):
    stage.call([HOST6], [HOST])
    assert "One has IPv4 alone, the other one IPv6." in stage.judged().likely


# -- one network


@pytest.mark.parametrize(
    ("cam1", "bob", "rule"),
    [
        ("8.8.4.4", "8.8.4.4", "complete"),  # behind one NAT
        ("8.8.4.4", "8.8.4.5", "private-only"),
        ("192.168.1.5", "192.168.1.6", "complete"),  # the daemon is in it too
        ("192.168.1.5", "192.168.2.6", "private-only"),
        ("127.0.0.1", "127.0.0.1", "private-only"),  # a proxy may stand there
        ("fd00::5", "fd00::6", "complete"),
        ("", "", "private-only"),
        ("8.8.4.4", "", "private-only"),
    ],
)
def test_where_the_links_come_from(stage, cam1, bob, rule):
    stage.at(cam1, bob)
    stage.call([HOST], [at("10.1.2.77")])
    verdict = stage.judged()
    assert verdict.rule == rule
    assert {step.level for step in verdict.steps[2:]} == ({"ok"} if rule == "complete" else {"fail"})


def test_two_networks_behind_one_nat(stage):
    stage.at("8.8.4.4", "8.8.4.4")
    stage.call([HOST], [at("10.1.3.77")])
    assert stage.judged().rule == "private-only"


@pytest.mark.parametrize(("ours", "theirs"), [([MDNS], [MDNS]), ([MDNS], [HOST]), ([HOST6], [HOST6])])
def test_names_and_ipv6_in_one_network(stage, ours, theirs):
    stage.at("8.8.4.4", "8.8.4.4")
    stage.call(ours, theirs)
    assert stage.judged().rule == "complete"


# -- STUN and TURN


def test_a_stun_server_within_the_network_maps_nothing(stage):
    stage.call([HOST, SRFLX.replace("8.8.4.5", "10.1.2.3")], [HOST, SRFLX.replace("8.8.4.5", "100.64.1.1")])
    assert stage.judged().rule == "private-only"


@pytest.mark.parametrize("address", ["10.0.0.2", "172.17.0.2", "127.0.0.1", "169.254.1.1", "100.64.0.9"])
def test_a_turn_server_that_does_not_know_its_address(stage, address):
    stage.call([HOST, SRFLX, RELAY.replace("9.9.9.4", address)], [HOST, SRFLX])
    assert stage.judged().rule == "relay-hidden"
    stage.trickles("bob", RELAY)
    assert stage.judged().rule == "complete"


@pytest.mark.parametrize("address", ["9.9.9.4", "203.0.113.4", "2a00::4"])
def test_a_turn_server_that_does(stage, address):
    stage.call([HOST, SRFLX, RELAY.replace("9.9.9.4", address)], [HOST, SRFLX])
    assert stage.judged().rule == "complete"


@pytest.mark.parametrize(("expires", "rule"), [(AT - 1, "ice-expired"), (AT + 1, "no-relay"), (None, "no-relay")])
def test_credentials_by_the_wall_clock(stage, expires, rule):
    stage.ice = IceFacts(stun=True, turn=True)
    stage.facts["bob"].ice_expires = expires
    stage.call([HOST, SRFLX], [HOST, SRFLX])
    assert stage.judged().rule == rule


def test_credentials_that_expired_between_offer_and_restart(stage):
    stage.ice = IceFacts(stun=True, turn=True)
    for facts in stage.facts.values():
        facts.ice_expires = AT + 60
    stage.call([HOST, SRFLX], [HOST, SRFLX])
    assert stage.judged().rule == "no-relay"
    stage.says("cam1", "offer", sdp=sdp(version=4004357075, ufrag="nEw1"), after=120)
    stage.says("bob", "answer", sdp=answer(version=4004357075, ufrag="nEw2"))
    stage.trickles("cam1", HOST, SRFLX)
    stage.trickles("bob", HOST, SRFLX)
    assert stage.judged().rule == "ice-expired"


@pytest.mark.parametrize(
    ("since", "ttl", "words"),
    [
        (AT - 7200, 3600.0, "Those that bob got at first have expired meanwhile"),
        (AT - 60, 3600.0, "the TURN server is not reached, or has another secret or another time"),
    ],
)
def test_what_is_known_of_a_turn_server_that_gave_no_relay(stage, since, ttl, words):
    stage.ice = IceFacts(stun=True, turn=True, ttl=ttl)
    for facts in stage.facts.values():
        facts.ice_expires = AT + 3600
    stage.facts["bob"].since = since
    stage.call([HOST, SRFLX], [HOST, SRFLX])
    verdict = stage.judged()
    assert verdict.rule == "no-relay"
    assert words in verdict.likely


def test_aiortc_says_nothing_of_a_turn_server_that_does_not_answer(stage):
    stage.ice = IceFacts(turn=True)
    aiortc = ("a=group:BUNDLE 0 1\r\n", "a=group:BUNDLE 0 1\r\na=msid-semantic:WMS *\r\n")
    stage.says("cam1", "offer", sdp=sdp(HOST, SRFLX).replace(*aiortc))
    stage.says("bob", "answer", sdp=answer(HOST))
    assert "aiortc says nothing" in stage.judged().advice[-1]


def test_a_public_address_of_one_side_suffices(stage):
    stage.ice = IceFacts(stun=True, turn=True)
    stage.call([PUBLIC], [MDNS])
    assert stage.judged().rule == "complete"
