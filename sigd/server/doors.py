"""The listeners of a daemon, as configured."""

import contextlib
import grp
import os
import socket
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from sigd.config import Admin, StartError, parse_listen
from sigd.net import listeners
from sigd.net.listeners import ListeningSocket, StreamListener
from sigd.net.ports import DatagramSocket
from sigd.rules.made import ListenerKey, Rules, listeners_of

if TYPE_CHECKING:
    from sigd.config.endpoints import Endpoint
    from sigd.net.reactor import Reactor


ADMIN_MODE: Final = 0o660
"""Default mode of the admin socket: for its owner and its group."""


@contextlib.contextmanager
def listening(
    rules: Rules, reactor: "Reactor", inherited: "dict[Endpoint, socket.socket]"
) -> Generator[list[ListeningSocket]]:
    """Listen according to the rules, for the duration of the block.

    Args:
        rules: the rules with the listeners.
        reactor: the reactor for links over datagrams.
        inherited: sockets already listening, by address; those used are removed.

    Raises:
        StartError: an address cannot be bound.
    """
    doors: list[ListeningSocket] = []
    config = rules.config
    try:
        for key, listener in listeners_of(config):
            for sock in listeners.open_listeners(listener.address, config.why_loopback_only(listener), inherited):
                if listener.address.scheme == "dtls":
                    doors.append(_dtls_port(sock, key, rules, reactor))
                elif sock.type == socket.SOCK_DGRAM:
                    doors.append(
                        DatagramSocket(sock, key, reactor.datagrams.links, sealed_only=config.needs_seal(listener))
                    )
                else:
                    doors.append(StreamListener(sock, key, rules.contexts[key]))
        yield doors
    finally:
        for door in doors:
            listeners.close_listener(door.sock)


@contextlib.contextmanager
def asked_at(admin: Admin, inherited: Sequence[socket.socket]) -> Generator[list[socket.socket]]:
    """Open the admin socket for the duration of the block.

    Raises:
        StartError: the socket cannot be opened.
    """
    socks = [listeners.adopt(sock) for sock in inherited]
    try:
        if admin.listen is not None and not socks:
            at = parse_listen(admin.listen)
            at = at if at.mode is not None else msgspec.structs.replace(at, mode=ADMIN_MODE)
            socks += listeners.open_listeners(at)
            _give_to_group(at.path, admin.group)
        yield socks
    finally:
        for sock in socks:
            listeners.close_listener(sock)


def _give_to_group(path: str, group: str) -> None:
    """Give a socket file to the group, if the group exists and we may."""
    with contextlib.suppress(OSError, KeyError):
        os.chown(path, -1, grp.getgrnam(group).gr_gid)


def _dtls_port(sock: socket.socket, key: ListenerKey, rules: Rules, reactor: "Reactor") -> DatagramSocket:
    # Needs an extra, which `Rules` has found installed.
    from sigd.net.dtls import DTLSSocket
    from sigd.net.dtls_session import Sessions

    try:
        port = DTLSSocket(sock, key, rules.dtls_contexts[key])
    except StartError:
        sock.close()
        raise
    if reactor.sessions is None:
        reactor.sessions = Sessions(reactor.datagrams)
    reactor.sessions.ports.append(port)
    return port
