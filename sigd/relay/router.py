"""The rules: what happens with each message of a client. No I/O, no clock; nothing here ever waits."""

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import UNSET

from sigd import __version__
from sigd.relay.deadlines import (
    PROBE_SECONDS,
    Deadlines,
    frame_timeout_ms,
    next_deadline,
    register_timeout_ms,
)
from sigd.relay.link import NEVER, State
from sigd.relay.registry import Registry
from sigd.wire import commands, messages, said
from sigd.wire.errors import ErrorCode, ProtocolError
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
    from collections.abc import Callable

    from sigd.config import Limits
    from sigd.relay.link import Link

SERVER: Final = f"sigd/{__version__}"

FEATURES: Final = ["peers"]
"""What this server can beyond relaying: `peers` may be asked."""

_LIST_OVERHEAD: Final = 200
"""Bytes of a `peers` answer that are not its entries: type, `ref`, `more`, and the framing, rounded up."""

STOPPING: Final = "server stops"
"""Why links end when the daemon does."""

GOING_AWAY_SPREAD_MS: Final = 2_000
"""Clients come back at random within this time after a stop: 10 000 of them at 80 us each take 0.8 s of CPU."""


class Claim:
    """A `register` that waits: the ID's holder has been pinged, and keeps it with any sign of life."""

    __slots__ = ("asked", "holder", "link", "message")

    def __init__(self, link: "Link", holder: "Link", message: Register, asked: float) -> None:
        self.link = link
        self.holder = holder
        self.message = message
        self.asked = asked


class Router:
    """The relay: who is here, what each may be sent, and when a link's time is up.

    Attributes:
        limits: the bounds in force.
        registry: who holds which ID.
        deadlines: when to look at which link again.
        due: links for the transports to look at: something came into an empty outbox, or the link closes.
        outbox_bytes: what the outboxes hold of those who do not read as fast as they are sent to.
        relayed: messages passed on so far; `unanswered` ones are those that only a server says.
        errors: answers by code; `closed`: links by reason; `limits_hit`: by the limit's key.
    """

    def __init__(self, limits: "Limits") -> None:
        self.limits = limits
        self.registry = Registry()
        self.deadlines = Deadlines()
        self.due: list[Link] = []
        self.outbox_bytes = 0
        self.relayed = 0
        self.unanswered = 0
        self.errors: Counter[ErrorCode] = Counter()
        self.closed: Counter[str] = Counter()
        self.limits_hit: Counter[str] = Counter()

    # -- what comes from a link

    def receive(self, link: "Link", frame: bytes, now: float) -> None:
        """Act on one message as a program sends it."""
        try:
            self.act(link, messages.decode(frame, self.limits.max_depth), now)
        except ProtocolError as fault:
            link.refuse(fault)

    def receive_line(self, link: "Link", line: bytes, now: float) -> None:
        """Act on one line: a message as a program sends it, or a command that a person typed."""
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
                link.refuse(fault)

    def act(self, link: "Link", message: ClientMessage, now: float) -> None:
        """Act on one message.

        Raises:
            ProtocolError: what the client is to be told.
        """
        match message:
            case Candidate() | Offer() | Answer() | Message() | Bye():
                self.relay(link, message)
            case Ping():
                link.reply(said.PongSaid(ref=message.ref))
            case Pong():
                _confirm(link, message)
            case Register():
                self.register(link, message, now)
            case Unregister():
                _confirm(link, message)
                link.close("unregistered")
            case Peers() if message.peers is UNSET:
                self.peers(link, message)
            case IceServers() if message.ice_servers is UNSET:
                _need_registered(link, message)
                link.reply(said.IceServerList(ref=message.ref, ice_servers=[]))
            case Unanswered() | Peers() | IceServers():
                # What only a server says: two daemons that were wired together by mistake must fall silent.
                self.unanswered += 1
            case _:
                assert_never(message)

    def relay(self, link: "Link", message: Relayed) -> None:
        """Pass a message on to the peer that it names.

        Raises:
            ProtocolError: `not-registered`, or why the recipient cannot have it.
        """
        if link.id is None:
            _need_registered(link, message)
        recipient = self.registry.holders.get(message.to)
        if recipient is None:
            self.absent(message)
        else:
            refusal = recipient.deliver(message.delivered(link.id_bytes), link)
            if refusal is not None:
                raise ProtocolError(refusal, _REFUSALS[refusal], ref=message.ref, to=message.to)
            self.relayed += 1
        if message.ref is not None:
            link.reply(said.Ok(ref=message.ref))

    def absent(self, message: Relayed) -> None:
        """What happens with a message to an ID that nobody holds here: the one place that could pass it further on.

        Raises:
            ProtocolError: `peer-unavailable`, or `bad-message` where `to` is no ID at all.
        """
        if not messages.is_peer_id(message.to):
            message.refuse("`to` must be 1 to 64 characters of A-Z a-z 0-9 _ . ~ -")
        message.delivered(b"")  # what nobody could be sent is refused for that
        code = ErrorCode.PEER_UNAVAILABLE
        raise ProtocolError(code, _REFUSALS[code], ref=message.ref, to=message.to)

    def peers(self, link: "Link", message: Peers) -> None:
        """List who is registered, as many as the asker's `maxFrame` takes."""
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
        link.reply(said.PeerList(ref=message.ref, peers=found, more=more))

    # -- registering

    def register(self, link: "Link", message: Register, now: float) -> None:
        """Give the link an ID, at once or, where somebody holds it, after that one was asked for a sign of life.

        Raises:
            ProtocolError: `already-registered` or `id-taken`.
        """
        peer = message.id
        if link.id is not None:
            if peer is not None and peer != link.id:
                raise ProtocolError(
                    ErrorCode.ALREADY_REGISTERED, "this link has an ID already: close it to change", ref=message.ref
                )
            self._settle(link, link.id, message)
            self.watch(link)  # it may want to be asked sooner than before
            return
        if peer is None:
            peer = secrets.token_hex(8)
        holder = self.registry.find(peer)
        if holder is None:
            self._grant(link, peer, message, now)
        elif holder.patient or holder.challenge is not None:
            raise _id_taken(message)
        else:
            claim = Claim(link, holder, message, now)
            link.claim = holder.challenge = claim
            link.held = True
            holder.reply(said.PingSaid())
            self.watch(link)

    def _grant(self, link: "Link", peer: str, message: Register, now: float) -> None:
        self.registry.claim(peer, link)
        link.id = peer
        link.id_bytes = peer.encode()
        self._settle(link, peer, message)
        link.last_seen = now
        if not link.patient:
            self.deadlines.watch(link, now + link.keepalive)
        link.admitted()

    def _settle(self, link: "Link", peer: str, message: Register) -> None:
        limits = self.limits
        if message.max_frame is not None:
            link.max_frame = min(message.max_frame, limits.max_frame)
        if message.keepalive_ms is not None:
            keepalive_ms = max(messages.MIN_KEEPALIVE_MS, min(message.keepalive_ms, messages.MAX_KEEPALIVE_MS))
            link.keepalive = keepalive_ms / 1000
        elif link.keepalive == NEVER:
            link.keepalive = limits.keepalive_ms / 1000
        if message.meta is not UNSET:
            link.meta = message.meta.copy()  # else the whole frame would stay in memory
        link.reply(
            said.Registered(
                ref=message.ref,
                id=peer,
                server=SERVER,
                protocol=messages.PROTOCOL,
                features=FEATURES,
                keepalive_ms=round(link.keepalive * 1000),
                max_frame=limits.max_frame,
            )
        )

    def heard(self, link: "Link", now: float) -> None:
        """Note that something came from a link, whatever it is."""
        pinged = link.pinged
        link.last_seen = now
        if pinged:
            self.watch(link)  # the next ping is due earlier than the end that would have followed the last

    def sign_of_life(self, holder: "Link", now: float) -> None:
        """Refuse the claim that waits for this link, after all that came from it was acted on."""
        claim = holder.challenge
        if claim is not None:
            self._conclude(claim)
            claim.link.registering_since += now - claim.asked
            claim.link.refuse(_id_taken(claim.message))

    def _conclude(self, claim: Claim) -> None:
        claim.holder.challenge = None
        link = claim.link
        link.claim = None
        if not link.closing:
            link.held = False
            link.resume()

    def release(self, link: "Link") -> None:
        """Free what a link that ends holds: its ID, which a waiting claim gets at once, and a claim of its own."""
        if link.id is not None:
            self.registry.release(link.id, link)
        if link.claim is not None:
            self._conclude(link.claim)
        claim = link.challenge
        if claim is not None and link.id is not None:
            self._conclude(claim)
            self._grant(claim.link, link.id, claim.message, claim.asked)

    # -- time

    def welcome(self, link: "Link") -> None:
        """Have a new link looked at before anything can be due to it: by then it has mostly said what it is."""
        limits = self.limits
        first_ms = min(messages.MIN_KEEPALIVE_MS, limits.register_timeout_ms, limits.register_timeout_lines_ms)
        self.deadlines.welcome(link, link.opened + first_ms / 1000)

    def watch(self, link: "Link") -> None:
        """Have the link looked at when it is next due."""
        self.deadlines.watch(link, next_deadline(link, self.limits))

    def expire(self, now: float, failed: "Callable[[Link, Exception], None]") -> None:
        """Do what is due by now.

        Args:
            now: seconds.
            failed: is told of a link and the bug that it met; the others are looked at all the same.
        """
        for link in self.deadlines.due(now):
            try:
                self.look_at(link, now)
            except Exception as fault:
                failed(link, fault)

    def look_at(self, link: "Link", now: float) -> None:
        """Do what is due to one link by now, and have it looked at again."""
        if now >= next_deadline(link, self.limits):
            self._time_is_up(link, now)
        self.watch(link)

    def _time_is_up(self, link: "Link", now: float) -> None:
        limits = self.limits
        key: str | None
        if link.closing:
            if link.reason != STOPPING:
                self.limits_hit["linger_ms"] += 1
            link.abort(link.reason)
        elif now >= link.stalled_since + limits.stall_timeout_ms / 1000:
            link.drop_unsent(keep_first=True)
            text = "what was due was not read in time"
            link.refuse(ProtocolError(ErrorCode.SLOW_CONSUMER, text, limit="stall_timeout_ms"))
        elif link.state is State.NEW and now >= link.registering_since + register_timeout_ms(link, limits) / 1000:
            text = f"no register came within {register_timeout_ms(link, limits) / 1000:g} s"
            key = "register_timeout_ms" if link.overhead and not link.patient else "register_timeout_lines_ms"
            link.refuse(ProtocolError(ErrorCode.REGISTER_TIMEOUT, text, limit=key))
        elif now >= link.frame_since + frame_timeout_ms(link, limits) / 1000:
            text = "a frame was begun and not finished in time"
            key = None if link.patient else "frame_timeout_ms"
            link.refuse(ProtocolError(ErrorCode.BAD_FRAME, text, limit=key))
        elif link.claim is not None and link.claim.holder.has_unread():
            self.sign_of_life(link.claim.holder, now)
        elif link.claim is not None:
            text = f"somebody claims the ID, and no sign of life came within {PROBE_SECONDS:g} s"
            link.claim.holder.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text))
        elif link.pinged:
            text = "nothing came for too long, not even a pong"
            link.refuse(ProtocolError(ErrorCode.IDLE_TIMEOUT, text, limit="keepalive_ms"))
        else:
            link.pinged_at = now
            link.reply(said.PingSaid())


_REFUSALS: Final = {
    ErrorCode.PEER_UNAVAILABLE: "nobody is registered with this ID",
    ErrorCode.PEER_BUSY: "the recipient does not read fast enough: its outbox is full",
    ErrorCode.TOO_LARGE: "the recipient does not take messages of this length",
}


def _need_registered(link: "Link", message: Request) -> None:
    if link.id is None:
        raise ProtocolError(ErrorCode.NOT_REGISTERED, "register first", ref=message.ref)


def _id_taken(message: Register) -> ProtocolError:
    return ProtocolError(ErrorCode.ID_TAKEN, "somebody else holds this ID", ref=message.ref)


def _confirm(link: "Link", message: Request) -> None:
    if message.ref is not None:
        link.reply(said.Ok(ref=message.ref))
