"""Sockets of a listen URL, and the match between a systemd socket unit and the listeners."""

import socket
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from sigd.config.listen import DATAGRAM_SCHEMES, Listen, Listener

Endpoint = tuple[bool, str, int, str]
"""A listening address, as in `Listen.socket_key`: datagrams or not, host, port, path."""

EVERYWHERE: Final = {False: "0.0.0.0", True: "::"}
"""All IPv4 addresses, and all IPv6 addresses."""


def addresses_of(listen: Listen) -> set[Endpoint]:
    """Return every address of a listen URL; its own key if the host name has none."""
    if listen.scheme == "unix":
        return {listen.socket_key}
    kind = socket.SOCK_DGRAM if listen.scheme in DATAGRAM_SCHEMES else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(listen.host or None, listen.port, type=kind, flags=socket.AI_PASSIVE)
    except OSError:
        return {listen.socket_key}  # opening it will report the fault
    datagrams = kind == socket.SOCK_DGRAM
    return {(datagrams, str(address[0]), listen.port, "") for *_, address in found}


def url_of_key(key: Endpoint) -> str:
    """Return an address as the URL of a plain listener."""
    datagrams, host, port, path = key
    if path:
        return f"unix:{path}"
    return f"{'udp' if datagrams else 'tcp'}://{f'[{host}]' if ':' in host else host}:{port}"


def is_part_of(key: Endpoint, whole: Endpoint) -> bool:
    """Return whether an address is contained in a wildcard address of its family."""
    datagrams, host, port, path = key
    everywhere = EVERYWHERE[":" in host]
    return not path and host != everywhere and whole == (datagrams, everywhere, port, "")


class Fit(NamedTuple):
    """The match between the sockets of a unit and the listeners.

    Attributes:
        narrowed: listeners on all addresses for which the unit has only some, each with those.
        unopened: listeners with an address missing from the unit that could be opened beside its sockets.
        blocked: listeners with an address blocked by a socket of the unit, each with that.
        unnamed: sockets of the unit without a listener.
    """

    narrowed: Sequence[tuple[Listener, Sequence[Endpoint]]]
    unopened: Sequence[Listener]
    blocked: Sequence[tuple[Listener, Endpoint]]
    unnamed: Sequence[Endpoint]


def fit(listeners: Sequence[Listener], sockets: Collection[Endpoint]) -> Fit:
    """Compare listeners with the sockets that systemd opens for them."""
    named: set[Endpoint] = set()
    narrowed: list[tuple[Listener, Sequence[Endpoint]]] = []
    unopened: list[Listener] = []
    blocked: list[tuple[Listener, Endpoint]] = []
    for listener in listeners:
        for address in sorted(addresses_of(listener.address)):
            named.add(address)
            if address in sockets or not (address[2] or address[3]):  # the system picks port 0
                continue
            parts = [key for key in sorted(sockets) if is_part_of(key, address)]
            wholes = [key for key in sockets if is_part_of(address, key)]
            if parts:
                narrowed.append((listener, parts))
                named.update(parts)
            elif wholes:
                blocked.append((listener, wholes[0]))
            else:
                unopened.append(listener)
    return Fit(narrowed, unopened, blocked, [key for key in sockets if key not in named])
