"""Tables of names and addresses: who is locked, who counts as one address, who is trusted."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.config import Limits
from sigd.relay.limits import (
    HOSTS_METERED,
    LOCK_SECONDS,
    STRIKES_KEPT,
    Meter,
    Origin,
    Origins,
    Rates,
    Strikes,
    network_key,
    origin_key,
)

# -- strikes


def test_the_last_that_is_allowed_within_a_minute_locks_for_30_s():
    strikes: Strikes[str] = Strikes()
    for second in range(4):
        strikes.add("mallory", second, 5)
        assert not strikes.locked("mallory", second)
    strikes.add("mallory", 4, 5)
    assert strikes.locked("mallory", 4) == LOCK_SECONDS == 30
    assert strikes.locked("mallory", 33.5) == 0.5
    assert not strikes.locked("mallory", 34)
    assert not strikes.locked("alice", 4)


def test_what_was_more_than_a_minute_ago_is_forgotten():
    strikes: Strikes[str] = Strikes()
    for second in (0, 1, 2, 3, 60.5, 61.5, 62.5):
        strikes.add("slips", second, 5)
        assert not strikes.locked("slips", second)
    strikes.add("slips", 62.75, 5)
    assert strikes.locked("slips", 62.75)


def test_after_a_lock_it_is_counted_anew():
    strikes: Strikes[str] = Strikes()
    for second in range(5):
        strikes.add("mallory", second, 5)
    for second in range(35, 39):
        strikes.add("mallory", second, 5)
        assert not strikes.locked("mallory", second)
    strikes.add("mallory", 39, 5)
    assert strikes.locked("mallory", 39)


def test_one_may_be_all_that_is_allowed():
    strikes: Strikes[str] = Strikes()
    strikes.add("mallory", 0, 1)
    assert strikes.locked("mallory", 0)


def test_repetitions_of_one_attempt_count_once_in_a_minute():
    strikes: Strikes[str] = Strikes()
    for second in (0.0, 1.0, 3.0, 7.0, 11.0):
        strikes.add("slips", second, 3, b"first")
    strikes.add("slips", 12, 3, b"second")
    for second in (13.0, 59.5):
        strikes.add("slips", second, 3, b"first")
        assert not strikes.locked("slips", second)
    strikes.add("slips", 60, 3, b"first")
    assert not strikes.locked("slips", 60), "the first one is forgotten"
    strikes.add("slips", 61, 3, b"third")
    assert strikes.locked("slips", 61)


def test_what_cannot_be_repeated_counts_each_time():
    strikes: Strikes[str] = Strikes()
    strikes.add("mallory", 0, 2)
    strikes.add("mallory", 0, 2)
    assert strikes.locked("mallory", 0)


def test_without_a_limit_nobody_is_locked_or_kept():
    strikes: Strikes[str] = Strikes()
    for _ in range(100):
        strikes.add("mallory", 0, 0)
    assert not strikes.locked("mallory", 0)
    assert len(strikes) == 0


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 3)), max_size=80), st.integers(1, 6))
def test_nobody_gets_through_more_than_twice_as_often(pauses, per_minute):
    """Whoever adds only when not locked gets through at most twice what is allowed in any minute."""
    strikes: Strikes[str] = Strikes()
    now, through = 0.0, []
    for pause, times in pauses:
        now += pause
        for _ in range(times):
            if not strikes.locked("mallory", now):
                strikes.add("mallory", now, per_minute)
                through.append(now)
    for first in through:
        assert sum(first <= when < first + 60 for when in through) <= 2 * per_minute


def test_the_table_has_a_fixed_size_and_forgets_who_was_quiet_longest():
    strikes: Strikes[str] = Strikes()
    for name in ("quiet", "busy"):
        for _ in range(4):
            strikes.add(name, 0, 5)
    for number in range(STRIKES_KEPT - 1):
        strikes.add(f"name {number}", 1, 5)
        if number == 5:
            strikes.add("busy", 1, 5)
    assert len(strikes) == STRIKES_KEPT
    assert strikes.locked("busy", 2)
    strikes.add("quiet", 2, 5)
    assert not strikes.locked("quiet", 2)
    for number in range(3 * STRIKES_KEPT):
        strikes.add(f"other {number}", 2, 5)
    assert len(strikes) == STRIKES_KEPT


def test_a_full_table_still_counts_those_in_it():
    strikes: Strikes[int] = Strikes()
    for number in range(STRIKES_KEPT):
        strikes.add(number, 0, 2)
    strikes.add(0, 0, 2)
    assert strikes.locked(0, 0)
    assert len(strikes) == STRIKES_KEPT
    strikes.add(1, 0, 2)
    assert strikes.locked(1, 0)


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


# -- rates


def test_rates_are_those_of_the_limits():
    rates = Rates.of(Limits(messages_per_second=7, messages_burst=8, bytes_per_second=9, bytes_burst=70_000))
    assert (rates.messages_per_second, rates.messages_burst) == (7, 8)
    assert (rates.bytes_per_second, rates.bytes_burst) == (9, 70_000)


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
