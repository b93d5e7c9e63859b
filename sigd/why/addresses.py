"""Reach of an address, by IANA's special-purpose registries.

`ipaddress.is_global` and `is_private` do not serve here: their tables differ between Python versions and lag behind the
registries. Python 3.11.7 calls 192.0.0.8, 3fff::/20 and 5f00::/16 global, and 2001:20::/28, which is global, not.
"""

import ipaddress
from typing import Final

PUBLIC: Final = "public"
"""Reachable from everywhere, judging by the address."""

REGISTRIES_UPDATED: Final = "2025-10-09"
"""Date of the registries that `_BLOCKS` follows: iana-ipv4-special-registry and iana-ipv6-special-registry."""

_REGISTERED: Final = {
    # iana-ipv4-special-registry. A block is `public` where the registry calls it globally reachable.
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "CGNAT",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignment",
    "192.0.0.0/29": "464XLAT",  # IPv4 Service Continuity Prefix: the inner side of a translator, in every phone
    "192.0.0.9/32": PUBLIC,  # Port Control Protocol Anycast
    "192.0.0.10/32": PUBLIC,  # TURN Anycast
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": PUBLIC,  # AS112-v4
    "192.52.193.0/24": PUBLIC,  # AMT
    "192.88.99.0/24": "6to4",  # terminated 2015-03
    "192.168.0.0/16": "private",
    "192.175.48.0/24": PUBLIC,  # Direct Delegation AS112 Service
    "198.18.0.0/15": "benchmarking",  # that proxies for phones and desktops give their tunnels, too
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "240.0.0.0/4": "reserved",
    # iana-ipv6-special-registry. IPv4 in IPv6 is judged by the IPv4 address in it.
    "::/128": "unspecified",
    "::1/128": "loopback",
    "64:ff9b::/96": PUBLIC,  # NAT64
    "64:ff9b:1::/48": "NAT64",  # local-use
    "100::/64": "discard-only",
    "100:0:0:1::/64": "dummy",
    "2001::/23": "protocol assignment",
    "2001::/32": "Teredo",  # not applicable, says the registry: reachable as long as its relay and server are
    "2001:1::1/128": PUBLIC,  # Port Control Protocol Anycast
    "2001:1::2/128": PUBLIC,  # TURN Anycast
    "2001:1::3/128": PUBLIC,  # DNS-SD Service Registration Protocol Anycast
    "2001:2::/48": "benchmarking",
    "2001:3::/32": PUBLIC,  # AMT
    "2001:4:112::/48": PUBLIC,  # AS112-v6
    "2001:10::/28": "ORCHID",  # terminated 2014-03
    "2001:20::/28": PUBLIC,  # ORCHIDv2
    "2001:30::/28": PUBLIC,  # Drone Remote ID
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",  # not applicable, says the registry; its relays are gone (RFC 7526)
    "2620:4f:8000::/48": PUBLIC,  # Direct Delegation AS112 Service
    "3fff::/20": "documentation",
    "5f00::/16": "SRv6",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    # From other registries: iana-multicast-addresses, and the unassigned blocks of iana-ipv6-address-space.
    "224.0.0.0/4": "multicast",
    "ff00::/8": "multicast",
    "fec0::/10": "private",  # site-local, RFC 3879
    "2000::/3": PUBLIC,
    "::/0": "reserved",
}

Block = ipaddress.IPv4Network | ipaddress.IPv6Network

_BLOCKS: Final[list[tuple[Block, str]]] = sorted(
    ((ipaddress.ip_network(block), place) for block, place in _REGISTERED.items()),
    key=lambda entry: -entry[0].prefixlen,
)
"""Longest prefix first: an entry within another one is more specific (RFC 6890, section 2.2.1)."""

HIDDEN: Final = frozenset({"private", "CGNAT", "link-local", "loopback", "464XLAT", "unspecified"})
"""Places behind a translator or within a machine; a server that reports such an address is itself inside."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def place(address: str) -> tuple[str, int]:
    """Return the place of an address and its IP version.

    The place is `public`, `.local` for an mDNS name, `name` for any other name, or the name of the special-purpose
    block. The version is 0 for names.
    """
    if address.lower().rstrip(".").endswith(".local"):
        return ".local", 0
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "name", 0
    if isinstance(ip, ipaddress.IPv4Address):
        return _block(ip), 4
    if ip.ipv4_mapped is not None:
        return _block(ip.ipv4_mapped), 4
    if ip in _NAT64:
        return _block(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)), 6
    return _block(ip), 6


def network(address: str) -> str | None:
    """Return the typical network of an address, its /24 or /64; None for a name."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(ip) >> 64 << 64, 64)))
        ip = ip.ipv4_mapped
    return str(ipaddress.IPv4Network((int(ip) >> 8 << 8, 24)))


def _block(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return next((place for block, place in _BLOCKS if block.version == ip.version and ip in block), PUBLIC)
