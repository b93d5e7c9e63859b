"""The rules for each message of a client. No I/O, no clock; nothing here blocks."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from sigd.relay import timeouts
from sigd.relay.admission import Admission
from sigd.relay.endings import UNREGISTERED
from sigd.relay.globs import allows
from sigd.relay.ledger import Ledger
from sigd.relay.link import Link
from sigd.relay.noting import note, noted
from sigd.relay.rates import Offences
from sigd.relay.record import SMALL_BYTES, Passed
from sigd.relay.strikes import STRIKES_SECONDS
from sigd.wire import commands, messages, said, telnet
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.ids import is_peer_id
from sigd.wire.messages import (
    Answer,
    Bye,
    Candidate,
    ClientMessage,
    IceServers,
    Message,
    Offer,
    Peers,
    Ping,
    Pong,
    Register,
    Relayed,
    Request,
    Unanswered,
    Unregister,
)
from sigd.wire.said import PeerEntry

if TYPE_CHECKING:
    from sigd.config import Limits
    from sigd.relay.access import Access
    from sigd.relay.ice import Vendor
    from sigd.relay.record import Record

_LIST_OVERHEAD: Final = 200
"""Bytes of a `peers` answer that are not its entries: type, `ref`, `more`, and the framing, rounded up."""

ENTRIES_PER_MESSAGE: Final = 10
BYTES_PER_MESSAGE: Final = 4_096
"""Parts of a `peers` answer that cost as much as relaying a message: a full answer costs ten or sixteen of them, and
the asker pays for each."""

_ROUNDING_SECONDS: Final = 0.001
"""A wait that is as short is none: the sum of sixty parts of a minute is not a minute exactly."""

GOING_AWAY_SPREAD_MS: Final = 2_000
"""Clients come back at random within this time after a stop: 10 000 of them at 80 us each take 0.8 s of CPU."""


Verb = Callable[[Link, Any, float], None]
"""A method for messages of one type; it raises a `ProtocolError` that the client is to be told."""


class Router(Ledger[Link]):
    """The relay: the registered peers, the messages between them, and the timeouts of links.

    Attributes:
        admission: the rules by which clients get in, and their IDs.
    """

    def __init__(
        self,
        limits: "Limits",
        access: "Access",
        vendor: "Vendor",
        unix_time: Callable[[], float],
        record: "Record | None" = None,
    ) -> None:
        super().__init__(limits, access.stranger, unix_time, record)
        self.admission = Admission(self, access, vendor)
        self.verbs: dict[type[ClientMessage], Verb] = {
            Register: self.register,
            Unregister: self.unregister,
            Offer: self.relay,
            Answer: self.relay,
            Candidate: self.relay,
            Bye: self.relay,
            Message: self.relay,
            Ping: self.ping,
            Pong: self.pong,
            **{kind: self.ignore for kind in self.received if issubclass(kind, Unanswered)},
        }
        self.switch_on(IceServers, self.ice_servers)
        self.switch_on(Peers, self.peers)

    # -- what comes from a link

    def receive(self, link: Link, frame: bytes, now: float) -> None:
        """Act on one message as a program sends it."""
        try:
            self.act(link, messages.decode(frame, self.limits.max_depth), now)
        except ProtocolError as fault:
            self.refuse(link, fault, now, frame)

    def receive_line(self, link: Link, line: bytes, now: float) -> None:
        """Act on one line: a message as a program sends it, or a command that a person typed."""
        if line.startswith(telnet.IAC) and (refusals := telnet.refusals(line)):
            link.reply_text(refusals)
            return
        line = line.strip()
        if line.startswith(b"{"):
            self.receive(link, line, now)
        elif line.startswith(b"#"):
            self.unanswered += 1
        else:
            try:
                message = commands.parse(line, self.limits.max_depth)
                if message is None:
                    link.reply_text(commands.HELP)
                else:
                    self.act(link, message, now)
            except ProtocolError as fault:
                self.refuse(link, fault, now, commands.as_json(line), len(line))

    def refuse(self, link: Link, fault: ProtocolError, now: float, frame: bytes = b"", length: int = 0) -> None:
        """Answer with an `error`, and record the refusal; see `Ledger.refuse`."""
        if not fault.is_recorded:
            note(self, link, fault, now, frame, length or len(frame))
        link.refuse(fault)

    def act(self, link: Link, message: ClientMessage, now: float) -> None:
        """Act on one message.

        Raises:
            ProtocolError: the error to send to the client.
        """
        kind = message.__class__
        self.received[kind] += 1
        self.verbs[kind](link, message, now)

    def switch_on(self, kind: type[ClientMessage], act: "Verb") -> None:
        """Answer an optional kind of message from now on, and say so to each client that registers."""
        self.verbs[kind] = act
        self.features.append(str(kind.__struct_config__.tag))

    # -- verbs, as on the wire

    def ping(self, link: Link, message: Ping, now: float) -> None:
        """Answer with a `pong`."""
        link.reply(said.PongSaid(ref=message.ref))

    def pong(self, link: Link, message: Pong, now: float) -> None:
        """Confirm a sign of life, if asked to."""
        _confirm(link, message)

    def register(self, link: Link, message: Register, now: float) -> None:
        """Give the link an ID, or renew its registration.

        Raises:
            ProtocolError: `already-registered`, `id-taken`, `auth-failed` or `auth-expired`.
        """
        self.admission.register(link, message, now)

    def unregister(self, link: Link, message: Unregister, now: float) -> None:
        """Take leave."""
        _confirm(link, message)
        link.close(UNREGISTERED)

    def ice_servers(self, link: Link, message: IceServers, now: float) -> None:
        """Tell of the STUN and TURN servers.

        Raises:
            ProtocolError: `not-registered`, or `too-large` for the client's `maxFrame`.
        """
        if message.ice_servers is not UNSET:
            self.ignore(link, message, now)
            return
        _need_registered(link, message)
        self.admission.ice_servers(link, message, now)

    def ignore(self, link: Link, message: ClientMessage, now: float) -> None:
        """Answer nothing to a message that only servers send: two that were wired together must fall silent."""
        self.unanswered += 1

    def relay(self, link: Link, message: Relayed, now: float) -> None:
        """Pass a message on to the peer that it names.

        Raises:
            ProtocolError: `not-registered`, `forbidden`, or why the recipient cannot have it.
        """
        sender = link.id
        if sender is None:
            raise _not_registered(message)
        talk = link.grant.talk
        if talk is not None and not allows(talk, message.to):
            # Before the look-up: it says nothing about who is here.
            text = "your credential does not allow this recipient"
            if not is_peer_id(message.to):
                raise ProtocolError(ErrorCode.FORBIDDEN, text, ref=message.ref)
            raise noted(
                self, sender, message, ProtocolError(ErrorCode.FORBIDDEN, text, ref=message.ref, to=message.to), now
            )
        to = message.to
        recipient = self.registry.holders.get(to)
        if recipient is None:
            self.absent(link, message, now)
            return  # it has been passed on: the answer comes later
        body = message.delivered(sender.encode())
        refusal = recipient.deliver(body, link)
        if refusal is not None:
            raise noted(self, sender, message, ProtocolError(refusal, _REFUSALS[refusal], ref=message.ref, to=to), now)
        self.relayed += 1
        if self.taps.callbacks:
            self.taps.tell(Passed(now, sender, to, body, None))
        # Here and not in a method of the record's: that would cost half as much again.
        try:
            ring = link.talks[to]
        except KeyError:
            ring = self.record.begin(sender, to, now)
            link.talks = self.record.rings[sender]
        ring.append(now)
        ring.append(body)
        if len(ring) > ring[0] or len(body) > SMALL_BYTES:
            self.record.settle(ring)
        if message.ref is not None:
            link.reply(said.Ok(ref=message.ref))

    def absent(self, link: Link, message: Relayed, now: float) -> None:
        """Pass a message to an ID that nobody holds here further on, or refuse it.

        Raises:
            ProtocolError: `peer-unavailable`, `bad-message` where `to` is no ID at all, or `rate-limited` for a client
                that tries one ID after the other.
        """
        if not is_peer_id(message.to):
            message.refuse("`to` must be 1 to 64 characters of A-Z a-z 0-9 _ . ~ -")
        message.delivered(b"")  # what nobody could be sent is refused for that
        assert link.id is not None
        elsewhere = self.admission.elsewhere
        if elsewhere is not None and elsewhere.pass_on(link, message, now):
            return
        if self.limits.misses_per_minute:
            self._count_miss(link, message, now)
        code = ErrorCode.PEER_UNAVAILABLE
        raise noted(self, link.id, message, ProtocolError(code, _REFUSALS[code], ref=message.ref, to=message.to), now)

    def _count_miss(self, link: Link, message: Relayed, now: float) -> None:
        each = STRIKES_SECONDS / self.limits.misses_per_minute
        offences = link.offences = link.offences or Offences()
        until = max(offences.missed_until, now) + each
        wait = until - now - STRIKES_SECONDS
        if wait > _ROUNDING_SECONDS:
            assert link.id is not None
            raise noted(
                self,
                link.id,
                message,
                ProtocolError(
                    ErrorCode.RATE_LIMITED,
                    "too many messages to peers that are not here",
                    ref=message.ref,
                    to=message.to,
                    retry_after_ms=round(wait * 1000),
                    limit="misses_per_minute",
                ),
                now,
            )
        offences.missed_until = until

    def peers(self, link: Link, message: Peers, now: float) -> None:
        """List the registered peers, as many as the asker's `maxFrame` takes.

        Raises:
            ProtocolError: `not-registered` or `forbidden`, where there are credentials.
        """
        if message.peers is not UNSET:
            self.ignore(link, message, now)
            return
        if not link.grant.discover:
            _need_registered(link, message)
            raise ProtocolError(ErrorCode.FORBIDDEN, "your credential does not allow to list peers", ref=message.ref)
        listed, more = self.registry.listed(message.prefix, message.after)
        room = link.max_frame - _LIST_OVERHEAD
        found: list[PeerEntry] = []
        for entry in listed:
            size = len(link.framing.wrap(messages.encode_entry(entry)))
            if size > room and not found:
                entry, size = PeerEntry(entry.id), 0  # its `meta` would never fit: better without than never
            if size > room:
                more = True
                break
            found.append(entry)
            room -= size
        link.pay(max(len(found) // ENTRIES_PER_MESSAGE, (link.max_frame - room) // BYTES_PER_MESSAGE))
        link.reply(said.PeerList(ref=message.ref, peers=found, more=more))

    # -- time

    def welcome(self, link: Link) -> None:
        """Count a new link, and have it looked at before anything is due to it: mostly it has registered by then."""
        self.admission.enter(link)
        limits = self.limits
        first_ms = min(messages.MIN_KEEPALIVE_MS, limits.register_timeout_ms, limits.register_timeout_lines_ms)
        self.deadlines.welcome(link, link.opened + first_ms / 1000)

    def next_deadline(self, link: Link) -> float:
        """Return the time at which something must happen to a link that stays silent; `NEVER` if nothing must."""
        return timeouts.next_deadline(link)

    def release(self, link: Link) -> None:
        """Free the ID of a link that ends, which a waiting claim gets at once, and a claim of its own."""
        self.admission.release(link)

    def expire(self, now: float, failed: Callable[[Link, Exception], None], most: int = sys.maxsize) -> bool:
        """Do the work that is due by now, at most for so many links.

        Args:
            now: seconds.
            failed: is told of a link and the bug that it met; the others are looked at all the same.
            most: links.

        Returns:
            Whether there are more.
        """
        for link in self.deadlines.due(now, most):
            try:
                self.look_at(link, now)
            except Exception as fault:
                failed(link, fault)
        return self.deadlines.earliest <= now

    def look_at(self, link: Link, now: float) -> None:
        """Do the work that is due for one link by now, and have it looked at again."""
        timeouts.act_on(self.admission, link, now)
        link.watch()


_REFUSALS: Final = {
    ErrorCode.PEER_UNAVAILABLE: "no peer is registered with this ID",
    ErrorCode.PEER_BUSY: "the recipient does not read fast enough: its outbox is full",
    ErrorCode.TOO_LARGE: "the recipient does not take messages of this length",
}


def _need_registered(link: Link, message: Request) -> None:
    if link.id is None:
        raise _not_registered(message)


def _not_registered(message: Request) -> ProtocolError:
    return ProtocolError(ErrorCode.NOT_REGISTERED, "register first", ref=message.ref)


def _confirm(link: Link, message: Request) -> None:
    if message.ref is not None:
        link.reply(said.Ok(ref=message.ref))
