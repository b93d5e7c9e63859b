"""Origins: the addresses and networks that links come from, and the work that is done for each. No sockets, no clock.

Times are seconds on the caller's clock.
"""

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that one subscriber cannot change."""

HOSTS_METERED: Final = 20_000
"""Addresses that are told apart within one second: as many as are answered in it, unless the bound was raised."""


class Meter:
    """The work done within a second for clients without proof: in all, and for each address.

    Whole seconds, each beginning with nothing: what was done is forgotten with them, and so has a fixed size.
    """

    __slots__ = ("_by_host", "_ends", "_total")

    def __init__(self) -> None:
        self._ends = 0.0
        self._total = 0
        self._by_host: dict[str, int] = {}

    def hit(self, host: str, most: int, most_per_host: int, now: float) -> str:
        """Count one more, or say which bound is reached.

        Args:
            host: an IP address.
            most: in all; 0: no bound.
            most_per_host: for one address; 0: no bound.
            now: seconds.

        Returns:
            The key of the limit that was hit; nothing if there is room.
        """
        if now >= self._ends:
            self._ends = now + 1
            self._total = 0
            self._by_host = {}
        if most and self._total >= most:
            return "udp_unproven_per_second"
        if most_per_host:
            key = origin_key(host)
            count = self._by_host.get(key, 0)
            if count >= most_per_host:
                return "udp_unproven_per_second_per_address"
            if count or len(self._by_host) < HOSTS_METERED:
                self._by_host[key] = count + 1
        self._total += 1
        return ""


class Origin:
    """Where links come from: one IPv4 address, one IPv6 /64, or a place without per-address caps.

    Attributes:
        key: the address or network, for logs and tables.
        capped: whether the per-address caps hold.
        trusted: whether its PROXY headers are believed.
        links: how many there are, those included that are ending; `udp_links`: the same over UDP.
    """

    __slots__ = ("capped", "key", "links", "trusted", "udp_links")

    def __init__(self, key: str, *, capped: bool, trusted: bool) -> None:
        self.key = key
        self.capped = capped
        self.trusted = trusted
        self.links = 0
        self.udp_links = 0


class Origins:
    """Every address that a link comes from at this moment.

    Attributes:
        local: where links over Unix sockets come from: only this machine, so that there are no caps.
        udp_links: how many links over UDP there are.
    """

    __slots__ = ("_known", "_trusted", "local", "udp_links")

    def __init__(self, trusted: "Sequence[str]") -> None:
        self._known: dict[str, Origin] = {}
        self.udp_links = 0
        self.local = Origin("unix", capped=False, trusted=False)
        self.trust(trusted)

    def __len__(self) -> int:
        return len(self._known)

    def trust(self, networks: "Sequence[str]") -> None:
        """Trust these networks (CIDR) from now on, and no others."""
        self._trusted = [ipaddress.ip_network(network) for network in networks]
        for origin in self._known.values():
            origin.trusted = self._is_trusted(origin.key)
            origin.capped = not origin.trusted

    def of(self, host: str) -> Origin:
        """The origin that an IP address belongs to; `join` makes it known."""
        origin = self._known.get(host)
        if origin is not None:
            return origin
        trusted = self._is_trusted(host)
        key = host if trusted else origin_key(host)  # of a /64, one address alone may be trusted
        origin = self._known.get(key)
        return Origin(key, capped=not trusted, trusted=trusted) if origin is None else origin

    def join(self, origin: Origin) -> None:
        """One more link comes from there."""
        origin.links += 1
        if origin is not self.local:
            self._known[origin.key] = origin

    def leave(self, origin: Origin) -> None:
        """A link that came from there is gone."""
        origin.links -= 1
        self._forget(origin)

    def join_by_datagram(self, origin: Origin) -> None:
        """One more link over UDP comes from there."""
        origin.udp_links += 1
        self.udp_links += 1
        self._known[origin.key] = origin

    def leave_by_datagram(self, origin: Origin) -> None:
        """A link over UDP that came from there is gone."""
        origin.udp_links -= 1
        self.udp_links -= 1
        self._forget(origin)

    def _forget(self, origin: Origin) -> None:
        if not origin.links and not origin.udp_links:
            self._known.pop(origin.key, None)

    def _is_trusted(self, key: str) -> bool:
        if not self._trusted:
            return False
        network = ipaddress.ip_network(key if "/" in key else _canonical(key))
        return any(_within(network, trusted) for trusted in self._trusted)


def origin_key(host: str) -> str:
    """The unit of the per-address caps: an IPv4 address, `::ffff:a.b.c.d` too, or the /64 of an IPv6 one.

    One subscriber has at least a /64 (RFC 6177): by single addresses it would never reach a cap.
    """
    if ":" not in host:
        return host
    address = _canonical(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def network_key(key: str) -> str:
    """The network that one party is likely to have all of, of an origin's key: an IPv4 /16, an IPv6 /32.

    It is cut out of the text: to compute it takes ten times as long, and each stranger is asked for it.
    """
    if ":" not in key:
        return ".".join(key.split(".")[:2])
    groups = [*key.partition("::")[0].split(":"), "0", "0"][:2]
    return ":".join(group or "0" for group in groups) + "::/32"


def _canonical(host: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address":
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _within(network: "Network", trusted: "Network") -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(trusted, ipaddress.IPv4Network) and network.subnet_of(trusted)
    return isinstance(trusted, ipaddress.IPv6Network) and network.subnet_of(trusted)
