"""Sockets that systemd has opened already, and the configuration: which listener each of them is."""

import socket
from collections.abc import Iterable
from typing import Final

import msgspec

from sigd.config import (
    DATAGRAM_SCHEMES,
    Config,
    ConfigError,
    Fault,
    Listen,
    Listener,
    StartError,
    is_loopback,
    parse_listen,
)

Key = tuple[bool, str, int, str]
"""An address to listen on, as `Listen.socket_key` has it: datagrams or not, host, port, path."""

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


def by_address(socks: Iterable[socket.socket]) -> dict[Key, socket.socket]:
    """Inherited sockets by where they listen, for `open_listeners`.

    Raises:
        StartError: one of them is none that sigd can serve on.
    """
    return {parse_listen(url_of(sock)).socket_key: sock for sock in socks}


def with_inherited(config: Config, inherited: Iterable[Key]) -> Config:
    """The configuration, and a plain listener for each inherited socket that none of its own is on the address of.

    So a socket that only its unit knows is served, by the same rules as if the configuration had it.

    Args:
        config: as it was read.
        inherited: where the inherited sockets listen: at each reload the same as at the start.

    Raises:
        ConfigError: the configuration would not allow such a listener.
    """
    named = {key for listener in config.listen for key in addresses_of(listener.address)}
    added = [Listener(_url(key)) for key in inherited if key not in named]
    if not added:
        return config
    faults = [
        Fault(each.url, f"systemd hands this socket over, and no [[listen]] is for it: {advice}")
        for each in added
        if not _is_local(each.address) and (advice := config.why_loopback_only(each))
    ]
    if faults:
        raise ConfigError(faults)
    return msgspec.structs.replace(config, listen=(*config.listen, *added))


def _is_local(at: Listen) -> bool:
    return at.scheme == "unix" or is_loopback(at.host)


def _url(key: Key) -> str:
    datagrams, host, port, path = key
    if path:
        return f"unix:{path}"
    return f"{'udp' if datagrams else 'tcp'}://{f'[{host}]' if ':' in host else host}:{port}"


def addresses_of(listen: Listen) -> set[Key]:
    """Every address that a listen URL stands for; its own key where its host name has none."""
    if listen.scheme == "unix":
        return {listen.socket_key}
    kind = socket.SOCK_DGRAM if listen.scheme in DATAGRAM_SCHEMES else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(listen.host or None, listen.port, type=kind, flags=socket.AI_PASSIVE)
    except OSError:
        return {listen.socket_key}  # who opens it will say so
    datagrams = kind == socket.SOCK_DGRAM
    return {(datagrams, str(address[0]), listen.port, "") for *_, address in found}
