"""Addresses are judged by IANA's registries, whatever this Python's `ipaddress` thinks of them."""

import csv
import ipaddress
from pathlib import Path

import pytest

from sigd.why import addresses
from sigd.why.addresses import network, place

REGISTRY = Path(__file__).parent / "iana_special_registries.csv"

with REGISTRY.open() as file:
    ROWS = [(row[0], row[1] == "True") for row in csv.reader(line for line in file if not line.startswith("#"))]


def test_the_table_is_of_the_registries_date():
    assert f"Registries, {addresses.REGISTRIES_UPDATED}." in REGISTRY.read_text().splitlines()[0]
    assert len(ROWS) == 51


@pytest.mark.parametrize(("block", "reachable"), ROWS)
def test_each_entry_of_the_registries(block, reachable):
    """First and last address of each; both ends of NAT64's prefix hold an IPv4 address that is not reachable."""
    ends = ipaddress.ip_network(block)
    for address in {ends[0], ends[-1]}:
        is_public = place(str(address))[0] == "public"
        assert is_public == (reachable and block != "64:ff9b::/96"), address


@pytest.mark.parametrize(
    ("address", "where"),
    [
        *(("8.8.8.8", "public"), ("172.32.0.1", "public"), ("100.128.0.1", "public"), ("198.20.0.1", "public")),
        *(("2a00::1", "public"), ("2606:4700::1111", "public"), ("::ffff:8.8.8.8", "public")),
        *(("192.168.1.9", "private"), ("172.31.0.1", "private"), ("fd12::1", "private"), ("fec0::1", "private")),
        *(("100.64.0.1", "CGNAT"), ("100.127.255.255", "CGNAT"), ("127.0.0.1", "loopback"), ("::1", "loopback")),
        *(("169.254.3.4", "link-local"), ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local")),
        *(("192.0.0.4", "464XLAT"), ("192.0.0.8", "protocol assignment"), ("192.0.0.9", "public")),
        *(("198.18.0.1", "benchmarking"), ("240.0.0.1", "reserved"), ("255.255.255.255", "reserved")),
        *(("203.0.113.9", "documentation"), ("2001:db8::1", "documentation"), ("3fff::1", "documentation")),
        *(("64:ff9b::8.8.8.8", "public"), ("64:ff9b::10.0.0.1", "private"), ("64:ff9b:1::1", "NAT64")),
        *(("2002:808:808::1", "6to4"), ("192.88.99.1", "6to4"), ("2001:0:4136:e378::1", "Teredo")),
        *(("2001:20::1", "public"), ("5f00::1", "SRv6"), ("4000::1", "reserved"), ("224.0.0.251", "multicast")),
        *(("::ffff:10.0.0.1", "private"), ("::", "unspecified"), ("0.0.0.0", "unspecified")),
        *(("box.example.net", "name"), ("BOX.LOCAL", ".local"), ("box.local.", ".local"), ("999.1.1.1", "name")),
        *(("010.0.0.1", "name"), ("", "name"), ("1.2.3.4/8", "name")),
    ],
)
def test_where_an_address_is(address, where):
    assert place(address)[0] == where


def test_the_version_of_ip():
    found = [place(address)[1] for address in ("8.8.8.8", "::ffff:8.8.8.8", "2a00::1", "64:ff9b::8.8.8.8", "x.local")]
    assert found == [4, 4, 6, 6, 0]


def test_the_network_of_an_address():
    assert network("192.168.1.7") == network("::ffff:192.168.1.200") == "192.168.1.0/24"
    assert network("192.168.1.7") != network("192.168.2.7")
    assert network("fd00::1") == network("fd00::ffff:1") == "fd00::/64"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("x.local") is None


def test_pythons_own_tables_are_not_asked(monkeypatch):
    for name in ("is_global", "is_private", "is_reserved", "is_link_local"):
        for cls in (ipaddress.IPv4Address, ipaddress.IPv6Address):
            monkeypatch.setattr(cls, name, property(lambda self: pytest.fail("asked")))
    assert place("192.0.0.8") == ("protocol assignment", 4)
    assert place("2001:20::1") == ("public", 6)
