"""Seamless restart: links go to systemd's descriptor store, and from there to the next process."""

import contextlib
import os
from typing import TYPE_CHECKING

from sigd import log
from sigd.net import arrival, handover
from sigd.net.handover import HandoverError, Parcel
from sigd.net.inheriting import by_address

if TYPE_CHECKING:
    from sigd.net.reactor import Reactor
    from sigd.server.daemon import Server
    from sigd.server.service import Service


async def hand_over(server: "Server", service: "Service") -> bool:
    """Store all links in systemd for the next process; return whether this one can exit."""
    if server.reactor.stopping or not service.listens():
        log.warning("handover failed: no descriptor store of systemd, or no answer from it")
        return False
    told = await handover.send_away(server.reactor)
    if server.reactor.stopping:  # a stop began meanwhile
        return False
    try:
        packed = handover.pack(server.reactor, server.doors, service.descriptors)
    except OSError as fault:
        log.warning("handover failed", why=os.strerror(fault.errno or 0))
        return False
    if service.keep(packed.memfds, packed.bags):
        log.info("handed over", links=packed.links, told_to_come_back=told, left_behind=packed.left_behind)
        for memfd in packed.memfds:
            os.close(memfd)
        for each in packed.bags:
            each.close()
    else:
        log.warning("handover failed: systemd did not store the links")
        with contextlib.suppress(HandoverError):
            handover.unpack(packed.memfds, packed.bags).close()
    return True


def left_by_another(service: "Service") -> Parcel | None:
    """Return the state left by the previous process and take over its listeners; None: none, or incomplete."""
    if not service.snapshot:
        return None
    memfds, service.snapshot = service.snapshot, []
    bags, service.bags = service.bags, []
    service.forget_kept()
    try:
        parcel = handover.unpack(memfds, bags)
    except HandoverError as fault:
        log.warning("handover failed: clients must reconnect", why=str(fault))
        return None
    service.listeners = by_address(parcel.doors.values()) | service.listeners
    parcel.doors.clear()
    return parcel


def take_up(server: "Server", reactor: "Reactor", parcel: Parcel) -> None:
    """Serve the links of the previous process."""
    try:
        taken = arrival.take_up(reactor, parcel, server.doors)
    except HandoverError as fault:
        log.warning("handover failed: clients must reconnect", why=str(fault))
    else:
        log.info("taken up", streams=taken.streams, datagrams=taken.datagrams, refused=taken.refused, lost=taken.lost)
