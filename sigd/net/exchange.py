"""The exchange of datagrams as a link sees it: sending, timers, and the making of its channel."""

from typing import TYPE_CHECKING

from sigd.net.places import Place, Recipient
from sigd.net.rounds import Rounds
from sigd.net.timers import Timers
from sigd.net.used_cookies import UsedCookies
from sigd.relay.origins import origin_key
from sigd.wire.datagram import Channel, Reassembly

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.relay.router import Router
    from sigd.wire.datagram_state import ChannelState, Where


class Exchange:
    """The part of all links in datagrams that they share.

    Attributes:
        reactor: the rounds that serve them.
        router: the rules.
        timers: the times at which links have something to do.
    """

    def __init__(self, reactor: Rounds) -> None:
        self.reactor = reactor
        self.router = reactor.router
        self.timers = Timers()
        self._used = UsedCookies()
        self._reassembly = CountedReassembly(self.router)

    def send(self, datagram: bytes, place: Place) -> None:
        """Send a datagram, which may be lost."""
        address, carrier, source = place
        self.router.bytes_sent += len(datagram)
        carrier.send(datagram, address, source)

    def channel_for(self, cid: bytes, place: Place, key: bytes | None, used: bytes) -> Channel[Place]:
        """Return the channel of a link that has an ID from now on, and use its cookie up.

        Args:
            cid: the link's name.
            place: the client's place.
            key: the key of macs on the link; None: there are none.
            used: the hash that stands for the cookie.
        """
        self._used.note(used, origin_key(place.address[0]), self.reactor.now)
        return Channel(cid, place, server=True, key=key, reassembly=self._reassembly, moves=place.carrier.moves)

    def channel_again(self, state: "ChannelState", place: "Callable[[Where], Place]", shift: float) -> Channel[Place]:
        """The carrier of messages of a link that another process has served.

        Raises:
            ValueError: there is no such channel.
        """
        where = place(state.where)
        channel = Channel(
            state.cid, where, server=True, key=state.key, reassembly=self._reassembly, moves=where.carrier.moves
        )
        channel.restore(state, place, shift)
        return channel

    def remove(self, link: Recipient, cid: bytes, place: Place) -> None:
        """Forget a link that has ended."""
        place.carrier.forget(cid)
        self.router.admission.origins.leave_by_datagram(link.origin)
        self.reactor.note_end(place.carrier.via)


class CountedReassembly(Reassembly):
    """State shared by all links, with the count of refusals for lack of room."""

    __slots__ = ("_router",)

    def __init__(self, router: "Router") -> None:
        super().__init__(router.limits.udp_reassembly_bytes)
        self._router = router

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more; if so, they are counted."""
        taken = super().take(size)
        if taken:
            self._router.buffers.reserve(self, self.taken)
        else:
            self._router.limits_hit["udp_reassembly_bytes"] += 1
        return taken

    def give_back(self, size: int) -> None:
        """So many of the bytes taken are free again."""
        super().give_back(size)
        self._router.buffers.reserve(self, self.taken)
