"""The rules: what happens with each message of a client. No I/O, no clock; nothing here ever waits."""

import sys
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, assert_never, get_args

from msgspec import UNSET

from sigd.relay.admission import Admission
from sigd.relay.buffers import Buffers
from sigd.relay.chores import Chores
from sigd.relay.deadlines import (
    PROBE_SECONDS,
    Deadlines,
    frame_timeout_ms,
    next_deadline,
    register_timeout_ms,
)
from sigd.relay.endings import ENDINGS_KEPT, Ending
from sigd.relay.expiry import has_expired
from sigd.relay.globs import allows
from sigd.relay.link import State
from sigd.relay.noting import note, noted
from sigd.relay.rates import Offences
from sigd.relay.record import SMALL_BYTES, Passed, Record
from sigd.relay.registry import Registry
from sigd.relay.strikes import STRIKES_SECONDS
from sigd.relay.taps import Taps
from sigd.relay.wall import Wall
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
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.config import Limits
    from sigd.relay.access import Access
    from sigd.relay.ice import Vendor
    from sigd.relay.link import Link

_LIST_OVERHEAD: Final = 200
"""Bytes of a `peers` answer that are not its entries: type, `ref`, `more`, and the framing, rounded up."""

ENTRIES_PER_MESSAGE: Final = 10
BYTES_PER_MESSAGE: Final = 4_096
"""Parts of a `peers` answer that cost as much as relaying a message: a full answer costs ten or sixteen of them, and
the asker pays for each."""

_ROUNDING_SECONDS: Final = 0.001
"""A wait that is as short is none: the sum of sixty parts of a minute is not a minute exactly."""

UNREGISTERED: Final = "unregistered"
STOPPING: Final = "server stops"
"""Why links end when the daemon does."""

GOING_AWAY_SPREAD_MS: Final = 2_000
"""Clients come back at random within this time after a stop: 10 000 of them at 80 us each take 0.8 s of CPU."""


class Router:
    """The relay: who is here, what each may be sent, and when a link's time is up.

    Attributes:
        limits: the bounds in force.
        registry: who holds which ID.
        admission: who gets in, and as whom.
        deadlines: when to look at which link again.
        due: links for the transports to look at: something came into an empty outbox, or the link closes.
        buffers: what waits here for anybody, in bytes.
        chores: work on many links that is done in parts, between rounds.
        received: messages so far that could be read, by type; `relayed`: those passed on; `unanswered` ones are those
            that only a server says.
        bytes_received, bytes_sent: what came and went so far, framing included, and without what TLS and DTLS add.
        errors: answers by code; `closed`: links by reason; `limits_hit`: by the limit's key.
        ended: the last peers that have left, or were made to.
        wall: how the wall clock and this relay's differ.
        record: what was said last between each two peers; `taps`: who is told of each message as it passes.
    """

    def __init__(
        self,
        limits: "Limits",
        access: "Access",
        vendor: "Vendor",
        unix_time: "Callable[[], float]",
        record: Record | None = None,
    ) -> None:
        self.limits = limits
        self.registry = Registry()
        self.admission = Admission(self, access, vendor, unix_time)
        self.wall = Wall(unix_time)
        self.deadlines = Deadlines()
        self.due: list[Link] = []
        self.buffers: Buffers[Link] = Buffers()
        self.chores = Chores()
        self.received: dict[type[ClientMessage], int] = dict.fromkeys(get_args(ClientMessage), 0)
        self.relayed = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.unanswered = 0
        self.errors: Counter[ErrorCode] = Counter()
        self.closed: Counter[str] = Counter()
        self.limits_hit: Counter[str] = Counter()
        self.ended: deque[Ending] = deque(maxlen=ENDINGS_KEPT)
        self.record = record or Record()
        self.taps = Taps()

    # -- what comes from a link

    def receive(self, link: "Link", frame: bytes, now: float) -> None:
        """Act on one message as a program sends it."""
        try:
            self.act(link, messages.decode(frame, self.limits.max_depth), now)
        except ProtocolError as fault:
            self.refuse(link, fault, now, frame)

    def receive_line(self, link: "Link", line: bytes, now: float) -> None:
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

    def refuse(self, link: "Link", fault: ProtocolError, now: float, frame: bytes = b"", length: int = 0) -> None:
        """Answer with an `error`, and have the record keep what was refused.

        Args:
            link: whose.
            fault: what it is told.
            now: seconds.
            frame: the message at fault, or its beginning; empty: it is not one message that is at fault.
            length: the bytes of that message, if they are not those of `frame`.
        """
        if not fault.is_recorded:
            note(self, link, fault, now, frame, length or len(frame))
        link.refuse(fault)

    def act(self, link: "Link", message: ClientMessage, now: float) -> None:
        """Act on one message.

        Raises:
            ProtocolError: what the client is to be told.
        """
        self.received[message.__class__] += 1
        match message:
            case Candidate() | Offer() | Answer() | Message() | Bye():
                self.relay(link, message, now)
            case Ping():
                link.reply(said.PongSaid(ref=message.ref))
            case Pong():
                _confirm(link, message)
            case Register():
                self.admission.register(link, message, now)
            case Unregister():
                _confirm(link, message)
                link.close(UNREGISTERED)
            case Peers() if message.peers is UNSET:
                self.peers(link, message)
            case IceServers() if message.ice_servers is UNSET:
                _need_registered(link, message)
                self.admission.ice_servers(link, message, now)
            case Unanswered() | Peers() | IceServers():
                # What only a server says: two daemons that were wired together by mistake must fall silent.
                self.unanswered += 1
            case _:
                assert_never(message)

    def relay(self, link: "Link", message: Relayed, now: float) -> None:
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
        else:
            body = message.delivered(sender.encode())
            refusal = recipient.deliver(body, link)
            if refusal is not None:
                raise noted(
                    self, sender, message, ProtocolError(refusal, _REFUSALS[refusal], ref=message.ref, to=to), now
                )
            self.relayed += 1
            if self.taps:
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

    def absent(self, link: "Link", message: Relayed, now: float) -> None:
        """What happens with a message to an ID that nobody holds here: the one place that could pass it further on.

        Raises:
            ProtocolError: `peer-unavailable`, `bad-message` where `to` is no ID at all, or `rate-limited` for who tries
                one ID after the other.
        """
        if not is_peer_id(message.to):
            message.refuse("`to` must be 1 to 64 characters of A-Z a-z 0-9 _ . ~ -")
        message.delivered(b"")  # what nobody could be sent is refused for that
        assert link.id is not None
        if self.limits.misses_per_minute:
            self._count_miss(link, message, now)
        code = ErrorCode.PEER_UNAVAILABLE
        raise noted(self, link.id, message, ProtocolError(code, _REFUSALS[code], ref=message.ref, to=message.to), now)

    def _count_miss(self, link: "Link", message: Relayed, now: float) -> None:
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

    def peers(self, link: "Link", message: Peers) -> None:
        """List who is registered, as many as the asker's `maxFrame` takes.

        Raises:
            ProtocolError: `not-registered` or `forbidden`, where there are credentials.
        """
        if not link.grant.discover:
            _need_registered(link, message)
            raise ProtocolError(ErrorCode.FORBIDDEN, "your credential does not allow to list peers", ref=message.ref)
        listed, more = self.registry.listed(message.prefix, message.after)
        room = link.max_frame - _LIST_OVERHEAD
        found: list[PeerEntry] = []
        for entry in listed:
            size = len(link.wrap(messages.encode_entry(entry)))
            if size > room and not found:
                entry, size = PeerEntry(entry.id), 0  # its `meta` would never fit: better without than never
            if size > room:
                more = True
                break
            found.append(entry)
            room -= size
        link.pay(max(len(found) // ENTRIES_PER_MESSAGE, (link.max_frame - room) // BYTES_PER_MESSAGE))
        link.reply(said.PeerList(ref=message.ref, peers=found, more=more))

    def count(self, fault: ProtocolError) -> None:
        """Count an error that somebody is answered with."""
        self.errors[fault.code] += 1
        if fault.limit is not None:
            self.limits_hit[fault.limit] += 1

    # -- time

    def welcome(self, link: "Link") -> None:
        """Count a new link, and have it looked at before anything is due to it: mostly it has registered by then."""
        self.admission.enter(link)
        limits = self.limits
        first_ms = min(messages.MIN_KEEPALIVE_MS, limits.register_timeout_ms, limits.register_timeout_lines_ms)
        self.deadlines.welcome(link, link.opened + first_ms / 1000)

    def watch(self, link: "Link") -> None:
        """Have the link looked at when it is next due."""
        self.deadlines.watch(link, next_deadline(link, self.limits))

    def expire(self, now: float, failed: "Callable[[Link, Exception], None]", most: int = sys.maxsize) -> bool:
        """Do what is due by now, at most for so many links.

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

    def look_at(self, link: "Link", now: float) -> None:
        """Do what is due to one link by now, and have it looked at again."""
        if now >= next_deadline(link, self.limits):
            self._time_is_up(link, now)
        self.watch(link)

    def _time_is_up(self, link: "Link", now: float) -> None:
        limits = self.limits
        key: str | None
        if link.closing:
            if link.reason != STOPPING and not link.patient:  # a person's netcat stays until its user ends it
                self.limits_hit["linger_ms"] += 1
            link.abort(link.reason)
        elif now >= link.stalled_since + limits.stall_timeout_ms / 1000:
            link.drop_unsent(now, keep=link.committed)
            text = "the client did not read its messages in time"
            link.refuse(ProtocolError(ErrorCode.SLOW_CONSUMER, text, limit="stall_timeout_ms"))
        elif link.state is State.NEW and now >= link.opened + register_timeout_ms(link, limits) / 1000:
            text = f"no register came within {register_timeout_ms(link, limits) / 1000:g} s"
            key = "register_timeout_ms" if link.overhead and not link.patient else "register_timeout_lines_ms"
            link.refuse(ProtocolError(ErrorCode.REGISTER_TIMEOUT, text, limit=key))
        elif now >= link.frame_since + frame_timeout_ms(link, limits) / 1000:
            text = "a frame was begun and not finished in time"
            key = None if link.patient else "frame_timeout_ms"
            self.refuse(link, ProtocolError(ErrorCode.BAD_FRAME, text, limit=key), now, link.begun)
        elif now >= link.resumes_at:
            link.resumes_at = NEVER
            link.last_seen = now  # what it had sent meanwhile was not read
            link.go_on()
        elif now >= link.expires_at:
            if has_expired(self, link, now):
                link.refuse(ProtocolError(ErrorCode.AUTH_EXPIRED, "the credential has expired"))
        elif now >= link.renews_at:
            self._renew_ice_servers(link, now)
        elif link.claim is not None and link.claim.holder.has_unread():
            self.admission.sign_of_life(link.claim.holder, now)
        elif link.claim is not None:
            text = f"somebody claims the ID, and no sign of life came within {PROBE_SECONDS:g} s"
            link.claim.holder.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text))
        elif link.pinged and link.has_unread():
            link.last_seen = now  # the daemon is behind with reading, after a sleep or in a crowd: it is not silent
        elif link.pinged:
            text = "nothing came for too long, not even a pong"
            link.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text, limit="keepalive_ms"))
        else:
            link.pinged_at = now
            link.ping(now)

    def _renew_ice_servers(self, link: "Link", now: float) -> None:
        try:
            self.admission.ice_servers(link, None, now)
        except ProtocolError:
            link.renews_at = NEVER  # they do not fit into its `maxFrame`: it has never had any


_REFUSALS: Final = {
    ErrorCode.PEER_UNAVAILABLE: "nobody is registered with this ID",
    ErrorCode.PEER_BUSY: "the recipient does not read fast enough: its outbox is full",
    ErrorCode.TOO_LARGE: "the recipient does not take messages of this length",
}


def _need_registered(link: "Link", message: Request) -> None:
    if link.id is None:
        raise _not_registered(message)


def _not_registered(message: Request) -> ProtocolError:
    return ProtocolError(ErrorCode.NOT_REGISTERED, "register first", ref=message.ref)


def _confirm(link: "Link", message: Request) -> None:
    if message.ref is not None:
        link.reply(said.Ok(ref=message.ref))
