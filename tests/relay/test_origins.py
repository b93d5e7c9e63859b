"""Addresses: which count as one, which are trusted, how much is done for each."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.origins import HOSTS_METERED, Meter, Origin, Origins, network_key, origin_key

# -- addresses


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("0:0:0:0:0:ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:192.0.2.7%eth0", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:DB8:0:0::", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::2%5", "fe80::/64"),
        ("::1", "::/64"),
        ("::192.0.2.7", "::/64"),
        ("64:ff9b::192.0.2.7", "64:ff9b::/64"),
    ],
)
def test_what_counts_as_one_address_row_49(host, key):
    assert origin_key(host) == key


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_a_subscriber_of_ipv6_has_one_key_whatever_address_it_takes(address, suffix):
    other = ipaddress.IPv6Address((int(address) >> 64 << 64) + suffix)
    if address.ipv4_mapped is None and other.ipv4_mapped is None:
        assert origin_key(str(address)) == origin_key(str(other)) == origin_key(other.exploded)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_has_one_key_in_both_families(address):
    assert origin_key(str(address)) == origin_key(f"::ffff:{address}") == str(address)


def joined(origins: Origins, *hosts: str) -> list[Origin]:
    """Links from these addresses."""
    found = []
    for host in hosts:
        found.append(origins.of(host))
        origins.join(found[-1])
    return found


def test_links_of_one_address_are_counted_together():
    origins = Origins(())
    one, same, other = joined(origins, "192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8")
    assert one is same
    assert one is not other
    assert (one.links, other.links, len(origins)) == (2, 1, 2)
    prefix, neighbour = joined(origins, "2001:db8::1", "2001:db8::2")
    assert prefix is neighbour
    assert prefix.key == "2001:db8::/64"


def test_an_address_is_forgotten_with_its_last_link():
    origins = Origins(())
    one, same = joined(origins, "192.0.2.7", "192.0.2.7")
    origins.leave(one)
    assert origins.of("192.0.2.7") is same
    origins.leave(same)
    assert len(origins) == 0
    assert origins.of("192.0.2.7") is not one


def test_links_of_this_machine_are_counted_and_not_capped():
    origins = Origins(["10.0.0.0/8"])
    origins.join(origins.local)
    origins.trust(["0.0.0.0/1"])
    assert (origins.local.links, origins.local.capped, origins.local.trusted, len(origins)) == (1, False, False, 0)
    origins.leave(origins.local)
    assert origins.local.links == 0


@pytest.mark.parametrize(
    ("trusted", "host", "is_trusted"),
    [
        ([], "10.0.0.1", False),
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.0.0.0/8"], "2001:db8::1", False),
        (["10.0.0.0/8"], "::10.0.0.1", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7/32"], "192.0.2.8", False),
        (["2001:db8::/32"], "2001:db8:5::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["2001:db8::/64"], "2001:db8::5", True),
        (["2001:db8::7"], "2001:db8::7", True),
        (["2001:db8::7"], "2001:db8:0:0::7", True),
        (["2001:db8::7"], "2001:db8::8", False),
        (["2001:db8::/120"], "2001:db8::ff", True),
        (["2001:db8::/120"], "2001:db8::100", False),
        (["fe80::1"], "fe80::1%eth0", True),
        (["fe80::/10"], "fe80::5%2", True),
        (["::1"], "::1", True),
        (["::1"], "127.0.0.1", False),
        (["127.0.0.0/8", "::1"], "::ffff:127.0.0.1", True),
    ],
)
def test_who_is_trusted(trusted, host, is_trusted):
    origin = Origins(trusted).of(host)
    assert (origin.trusted, origin.capped) == (is_trusted, not is_trusted)


def test_a_trusted_address_is_not_its_neighbours():
    """In the /64 of a proxy there may be others."""
    origins = Origins(["2001:db8::7"])
    proxy, other, same = joined(origins, "2001:db8::7", "2001:db8::8", "2001:db8::9")
    assert (proxy.trusted, proxy.key) == (True, "2001:db8::7")
    assert (other.trusted, other.key) == (False, "2001:db8::/64")
    assert other is same
    assert origins.of("2001:db8::7") is proxy


def test_trust_is_given_and_taken_while_links_are_there():
    origins = Origins(())
    proxy, other = joined(origins, "192.0.2.7", "192.0.2.8")
    origins.trust(["192.0.2.7"])
    assert (proxy.trusted, proxy.capped) == (True, False)
    assert (other.trusted, other.capped) == (False, True)
    assert origins.of("192.0.2.7") is proxy
    origins.trust([])
    assert (proxy.trusted, proxy.capped) == (False, True)
    assert origins.of("192.0.2.7") is proxy


def test_trust_in_one_address_of_a_subscriber_is_none_in_the_others():
    origins = Origins(())
    (before,) = joined(origins, "2001:db8::7")
    origins.trust(["2001:db8::7"])
    assert not before.trusted
    (after,) = joined(origins, "2001:db8::7")
    assert after.trusted
    assert after is not before
    origins.leave(before)
    assert not origins.of("2001:db8::8").trusted


def test_trust_in_a_whole_network_is_trust_in_who_is_here_from_there():
    origins = Origins(())
    (prefix,) = joined(origins, "2001:db8::7")
    origins.trust(["2001:db8::/48"])
    assert prefix.trusted


def test_whom_one_trusts_no_more_counts_as_everybody():
    origins = Origins(["2001:db8::7"])
    (proxy,) = joined(origins, "2001:db8::7")
    origins.trust([])
    assert (proxy.trusted, proxy.capped) == (False, True)
    origins.leave(proxy)
    assert origins.of("2001:db8::7").key == "2001:db8::/64"


# -- the meter

IN_ALL, FROM_ONE = "udp_unproven_per_second", "udp_unproven_per_second_per_address"


def test_a_meter_counts_in_all_and_for_each_address():
    meter = Meter()
    assert [meter.hit("192.0.2.1", 3, 2, 0.0) for _ in range(3)] == ["", "", FROM_ONE]
    assert [meter.hit("192.0.2.2", 3, 2, 0.5) for _ in range(2)] == ["", IN_ALL]


def test_after_a_second_it_begins_with_nothing():
    meter = Meter()
    assert [meter.hit("192.0.2.1", 0, 1, now) for now in (10.0, 10.99, 11.0, 11.5, 99.0)] == [
        "",
        FROM_ONE,
        "",
        FROM_ONE,
        "",
    ]


def test_a_meter_without_bounds():
    meter = Meter()
    assert {meter.hit("192.0.2.1", 0, 0, 0.0) for _ in range(1_000)} == {""}


@pytest.mark.parametrize("other", ["2001:db8::2", "2001:db8::ffff:1"])
def test_a_network_of_ipv6_is_one_address(other):
    meter = Meter()
    assert [meter.hit(host, 0, 1, 0.0) for host in ("2001:db8::1", other, "2001:db8:1::1")] == ["", FROM_ONE, ""]


def test_what_was_refused_does_not_count_in_all():
    meter = Meter()
    assert [meter.hit("192.0.2.1", 2, 1, 0.0) for _ in range(5)] == ["", *[FROM_ONE] * 4]
    assert meter.hit("192.0.2.2", 2, 1, 0.0) == ""


def test_a_meter_tells_so_many_addresses_apart_and_no_more():
    meter = Meter()
    for number in range(HOSTS_METERED + 100):
        assert meter.hit(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0, 1, 0.0) == ""
    assert len(meter._by_host) == HOSTS_METERED


# -- links in datagrams


def test_links_in_datagrams_are_counted_beside_the_others():
    origins = Origins(())
    origin = origins.of("192.0.2.1")
    origins.join_by_datagram(origin)
    origins.join(origin)
    assert (origin.links, origin.udp_links, origins.udp_links) == (1, 1, 1)
    origins.leave(origin)
    assert origins.of("192.0.2.1") is origin
    origins.leave_by_datagram(origin)
    assert (origins.udp_links, len(origins._known)) == (0, 0)
    assert origins.of("192.0.2.1") is not origin


@given(st.ip_addresses())
def test_the_network_of_an_origin(address: IPv4Address | IPv6Address) -> None:
    key = origin_key(str(address))
    if ":" in key:
        assert network_key(key) == f"{':'.join(f'{int(group, 16):x}' for group in _groups(key)[:2])}::/32"
    else:
        assert network_key(key) == ".".join(key.split(".")[:2])


def _groups(key: str) -> list[str]:
    return IPv6Network(key).network_address.exploded.split(":")


@pytest.mark.parametrize(
    ("key", "network"), [("::/64", "0:0::/32"), ("2001::/64", "2001:0::/32"), ("2001:db8::1", "2001:db8::/32")]
)
def test_the_network_of_an_origin_that_is_written_short(key: str, network: str) -> None:
    assert network_key(key) == network
