"""Many links over few datagram sockets: challenges, admission, and the link of each datagram."""

import hashlib
import secrets
import sys
from typing import TYPE_CHECKING, Final, cast

from sigd.net.datagram_link import DatagramLink
from sigd.net.exchange import Exchange
from sigd.net.greeted import Greeted
from sigd.net.parcel import DatagramsState
from sigd.net.places import Place, Recipient
from sigd.net.ports import DatagramSocket
from sigd.net.rounds import Rounds
from sigd.net.timers import Timers
from sigd.net.used_cookies import KEY_BYTES
from sigd.relay.origins import Meter, origin_key
from sigd.wire import greeting, messages
from sigd.wire.cookies import Cookies
from sigd.wire.datagram import MAX_DATAGRAM
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.net.places import Address

DATAGRAMS_PER_ROUND: Final = 32
"""Datagrams of one socket that are acted on before the others have their turn: 0.7 ms of work."""

CID_BYTES: Final = 8
"""64 random bits name a link: without a mac nobody guesses them, and no two links share them."""

SECRET_BYTES: Final = 32
"""Bytes of the key from which cids are made: half of the longest that the hash takes."""

_BRACE: Final = b"{"
_HEADS_WITH_ANSWER: Final = (b"D ", b"P ")
_CID: Final = slice(2, 18)
_SHORTEST: Final = 18


class Datagrams(Exchange):
    """All links in datagrams.

    Attributes:
        links: those over UDP, by cid.
    """

    def __init__(self, reactor: Rounds) -> None:
        super().__init__(reactor)
        self.links: dict[bytes, Recipient] = {}
        self._cookies = Cookies()
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._meter = Meter()
        self._proven = Meter()

    def change(self) -> None:
        """Apply new limits."""
        self._reassembly.most = self.router.limits.udp_reassembly_bytes

    # -- what comes

    def readable(self, port: DatagramSocket, now: float) -> bool:
        """Process input of a socket; return whether there may be more."""
        for _ in range(DATAGRAMS_PER_ROUND):
            try:
                datagram, place = port.receive()
            except BlockingIOError:
                return False
            except OSError:
                continue  # of a datagram that went out, and could not: the channel finds out by itself
            self.router.bytes_received += len(datagram)
            self.take_untrusted(datagram, place, now)
        return True

    def take_untrusted(self, datagram: bytes, place: Place, now: float) -> None:
        """Act on one datagram, from anybody."""
        link = place.carrier.links.get(datagram[_CID])
        try:
            if link is not None:
                link.take_untrusted(datagram, place, now)
            elif datagram.startswith(_BRACE):
                self._greet_untrusted(datagram, place, now)
            elif datagram.startswith(_HEADS_WITH_ANSWER):
                self._deny_untrusted(datagram, place, now)
        except Exception as fault:
            if link is not None:
                self.reactor.fail(link, fault)
            else:
                self.reactor.say_bug(fault, address=place.address[0])

    def _greet_untrusted(self, datagram: bytes, place: Place, now: float) -> None:
        opening = greeting.open_untrusted(datagram) if len(datagram) <= MAX_DATAGRAM + 2 else None
        if opening is None:
            return
        host, port = place.address[:2]
        where = f"{host} {port}"
        if opening.cookie is not None and self._cookies.fits_untrusted(opening.cookie, where, opening.nonce, now):
            if self._may_ask(host, now):
                self.greet(opening, place, now)
            return
        cookie = self._cookies.make_untrusted(where, opening.nonce, now)
        challenge = greeting.challenge_untrusted(opening, len(datagram), cookie)
        if challenge and self.may_answer(host, now):
            self.send(challenge, place)

    def _deny_untrusted(self, datagram: bytes, place: Place, now: float) -> None:
        """Answer a datagram of an unknown link: the daemon may have restarted."""
        cid = datagram[_CID]
        if len(datagram) > _SHORTEST and _is_cid(cid) and self.may_answer(place.address[0], now):
            self.send(b"Z " + cid, place)

    def may_answer(self, host: str, now: float) -> bool:
        """Return whether an unproven sender gets an answer; if so, count it."""
        limits = self.router.limits
        most, most_per_host = limits.udp_unproven_per_second, limits.udp_unproven_per_second_per_address
        hit = self._meter.hit(host, most, most_per_host, now)
        if hit:
            self.router.limits_hit[hit] += 1
        return not hit

    def _may_ask(self, host: str, now: float) -> bool:
        """Return whether a `register` is judged that shows a good cookie: one cookie is good for any number of them."""
        admission, most = self.router.admission, self.router.limits.udp_registers_per_second_per_address
        if not most or not self._proven.hit(host, 0, most, now) or not admission.origins.of(host).capped:
            return True
        self.router.limits_hit["udp_registers_per_second_per_address"] += 1
        return False

    # -- registering

    def greet(self, opening: greeting.OpeningDatagram, place: Place, now: float) -> None:
        """Process a `register` from a proven address."""
        if opening.cookie is not None and place.carrier.serial:
            return  # recorded elsewhere: in DTLS there are no cookies
        cid = self._cid_for(opening, place)
        known = place.carrier.links.get(cid)
        if known is not None:
            known.greet_again(opening, place, now)
        elif not self.reactor.stopping:  # else it asks again, and finds the next process
            used = self._key_for(opening, place)
            if not self._used.has(used, origin_key(place.address[0]), now):
                self._greet_new(opening, cid, used, place, now)

    def _cid_for(self, opening: greeting.OpeningDatagram, place: Place) -> bytes:
        """The name of the link that a `register` asks for: the same for the same one, so that none counts twice.

        With a mac, which nobody else could have made, it stands for all of it: who saw it gains nothing by changing the
        rest. Without one the place does too.
        """
        what = opening.mac or f"{place.address} {place.carrier.serial} ".encode() + opening.text
        return hashlib.blake2b(what, digest_size=CID_BYTES, key=self._secret).hexdigest().encode()

    def _key_for(self, opening: greeting.OpeningDatagram, place: Place) -> bytes:
        """Return the entry among used cookies for a cookie at the place that it was made for: each opens one link."""
        what = f"{place.address} {place.carrier.serial} {opening.nonce} {opening.cookie}".encode("utf-8", "replace")
        return hashlib.blake2b(what, digest_size=KEY_BYTES, key=self._secret).digest()

    def _greet_new(self, opening: greeting.OpeningDatagram, cid: bytes, used: bytes, place: Place, now: float) -> None:
        admission = self.router.admission
        host, *others = place.address
        origin = admission.origins.of(host)
        if origin.key == host:
            # One string is enough for all who come from there.
            place = place._replace(address=cast("Address", (origin.key, *others)))
        greeted = Greeted(opening, cid, place, used)
        try:
            self._check(opening)
            admission.enter_by_datagram(origin)
        except ProtocolError as fault:
            self.router.count(fault)
            self.send(greeted.refusal(messages.error_of(fault), admission.access), place)
            return
        link = DatagramLink(self, origin, greeted)
        place.carrier.links[cid] = link
        self.reactor.note_link(link)
        try:
            self.reactor.receive(link, opening.text, now)
        except Exception as fault:
            self.reactor.fail(link, fault)

    def _check(self, opening: greeting.OpeningDatagram) -> None:
        if opening.mac and self.router.admission.access.open:
            text = "this server knows no credentials, and so cannot authenticate anything"
            raise ProtocolError(ErrorCode.AUTH_FAILED, text)

    # -- what is due

    def expire(self, now: float, most: int = sys.maxsize) -> bool:
        """Do everything due by now, for about so many links at most; return whether there are more."""
        for link in self.timers.due(now, most):
            try:
                link.expire(now)
            except Exception as fault:
                self.reactor.fail(link, fault)
        return self.timers.earliest <= now

    # -- handing over

    def state(self, ports: list[tuple[str, int]]) -> DatagramsState:
        """All of it without links, its times on this clock, and the keys of the sockets that they come by."""
        return DatagramsState(self._secret, self._cookies.state, self._used.state, ports)

    def restore(self, state: DatagramsState, shift: float) -> None:
        """Be as in another process, whose clock shows `shift` seconds less; its links are taken up one by one.

        Raises:
            ValueError: there is no such state.
        """
        self._cookies.restore(state.cookies, shift)
        self._used.restore(state.used, shift)
        self._secret = state.secret

    def let_go(self) -> None:
        """Serve nobody from now on, and tell nobody: another process does."""
        for link in self.links.values():
            link.let_go()
        self.links.clear()
        self.timers = Timers()

    def take_up(self, link: DatagramLink) -> None:
        """Take in a link that another process has served.

        Raises:
            ValueError: there is one with its name.
        """
        assert link.channel is not None
        links, cid = link.channel.place.carrier.links, link.channel.cid
        if cid in links:
            raise ValueError("a name has one link")
        links[cid] = link
        self.reactor.note_link(link)
        self.router.admission.origins.join_by_datagram(link.origin)


def _is_cid(cid: bytes) -> bool:
    return len(cid) == 2 * CID_BYTES and not cid.strip(b"0123456789abcdef")
