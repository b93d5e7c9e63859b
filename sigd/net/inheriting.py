"""Sockets that systemd has opened already, and the configuration: which listener each of them is."""

import socket
from collections.abc import Iterable
from typing import Final

import msgspec

from sigd.config import (
    Config,
    ConfigError,
    Fault,
    Listen,
    Listener,
    StartError,
    is_loopback,
    parse_listen,
)
from sigd.config.endpoints import Endpoint, addresses_of, fit, is_part_of, url_of_key

ADVICE: Final = "`sudo sigctl setup` has sigd.socket open what the configuration names"

_UNIT: Final = "a socket that systemd hands over"


def url_of(sock: socket.socket) -> str:
    """Where an inherited socket listens, as the URL of a plain listener.

    Raises:
        StartError: it is none that sigd can serve on.
    """
    name = sock.getsockname()
    if sock.type == socket.SOCK_STREAM and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise StartError(_UNIT, "is a connection: write Accept=no into its unit")
    match sock.family, sock.type:
        case socket.AF_UNIX, socket.SOCK_STREAM:
            url = f"unix:{name!s}"
        case socket.AF_INET, (socket.SOCK_STREAM | socket.SOCK_DGRAM):
            url = f"{_scheme(sock)}://{name[0]}:{name[1]}"
        case socket.AF_INET6, (socket.SOCK_STREAM | socket.SOCK_DGRAM):
            url = f"{_scheme(sock)}://[{name[0]}]:{name[1]}"
            if name[0] == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                raise StartError(url, "takes IPv4 as well: write BindIPv6Only=ipv6-only into its socket unit")
        case _:
            raise StartError(_UNIT, "is neither TCP, nor UDP, nor a Unix stream socket: take it out of its unit")
    try:
        parse_listen(url)
    except ValueError as fault:
        raise StartError(_UNIT, f"cannot be served on: {fault}") from None
    return url


def _scheme(sock: socket.socket) -> str:
    return "tcp" if sock.type == socket.SOCK_STREAM else "udp"


def by_address(socks: Iterable[socket.socket]) -> dict[Endpoint, socket.socket]:
    """Inherited sockets by where they listen, for `open_listeners`.

    Raises:
        StartError: one of them is none that sigd can serve on.
    """
    return {parse_listen(url_of(sock)).socket_key: sock for sock in socks}


class Unnamed(Listener, frozen=True):
    """A plain listener for an inherited socket that the configuration does not name."""


def with_inherited(config: Config, inherited: Iterable[Endpoint]) -> Config:
    """The configuration, and a plain listener for each inherited socket that none of its own is on the address of.

    So a socket that only its unit knows is served, by the same rules as if the configuration had it. A socket on one
    address of a listener that is on all of them belongs to that listener.

    Args:
        config: as it was read.
        inherited: where the inherited sockets listen: at each reload the same as at the start.

    Raises:
        ConfigError: the configuration would not allow such a listener.
    """
    added = [Unnamed(url_of_key(key)) for key in fit(config.listen, list(inherited)).unnamed]
    if not added:
        return config
    faults = [
        Fault(each.url, f"systemd hands this socket over, and no [[listen]] is for it: {ADVICE}; or {advice}")
        for each in added
        if not _is_local(each.address) and (advice := config.why_loopback_only(each))
    ]
    if faults:
        raise ConfigError(faults)
    return msgspec.structs.replace(config, listen=(*config.listen, *added))


def as_read(config: Config) -> Config:
    """Return the configuration without the additions of `with_inherited`."""
    own = tuple(each for each in config.listen if not isinstance(each, Unnamed))
    return config if len(own) == len(config.listen) else msgspec.structs.replace(config, listen=own)


def _is_local(at: Listen) -> bool:
    return at.scheme == "unix" or is_loopback(at.host)


def take_inherited(key: Endpoint, inherited: dict[Endpoint, socket.socket]) -> list[socket.socket]:
    """Take the sockets out that were handed over for an address: itself, or those on a part of it."""
    if (ours := inherited.pop(key, None)) is not None:
        return [ours]
    return [inherited.pop(each) for each in sorted(inherited) if is_part_of(each, key)]


def in_the_way(listen: Listen, inherited: Iterable[Endpoint]) -> str:
    """Return the inherited socket that keeps this listener from being opened, as text; empty if none does."""
    wholes = [key for key in inherited for address in addresses_of(listen) if is_part_of(address, key)]
    return url_of_key(wholes[0]) if wholes else ""


def narrowed(config: Config, inherited: Iterable[Endpoint]) -> list[str]:
    """Return the listeners on all addresses that have only some, since systemd has opened no more."""
    return [
        f"{listener.url} is open on {', '.join(url_of_key(key).partition('//')[2] for key in keys)} alone,"
        " since sigd.socket opens no other address of it"
        for listener, keys in fit(config.listen, list(inherited)).narrowed
    ]
