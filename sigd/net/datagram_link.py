"""A datagram link: its outbox goes through a channel, which makes delivery reliable."""

from typing import TYPE_CHECKING, Final

from sigd import log
from sigd.net.exchange import Exchange
from sigd.net.greeted import GREETING_EXTRAS, Greeted, RenewalSeal, greeting
from sigd.net.parcel import DatagramLinkState
from sigd.net.places import Place, Recipient
from sigd.net.rounds import Rounds
from sigd.relay.buffers import MESSAGE_BYTES
from sigd.relay.credentials import Caller
from sigd.relay.lobby import too_many_datagram_links
from sigd.wire import said
from sigd.wire.datagram import MAX_DATAGRAM, MAX_MESSAGE, Channel
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import DATAGRAMS
from sigd.wire.messages import MIN_FRAME
from sigd.wire.sending import MOST_WINDOW
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from sigd.relay.origins import Origin
    from sigd.relay.outbox import Outbox
    from sigd.relay.snapshot import LinkState
    from sigd.wire.datagram_state import ChannelState
    from sigd.wire.greeting import OpeningDatagram
    from sigd.wire.said import ServerMessage

IN_FLIGHT_BYTES: Final = MAX_DATAGRAM + 250
"""Memory of a datagram in flight: its own bytes, and its bookkeeping."""

FLIGHT_BYTES: Final = 700
"""Of an end that has something on its way, beside that."""


class DatagramLink(Recipient):
    """A link over UDP or DTLS. See `Link` for its other methods.

    Attributes:
        greeted: the `register` that is being judged; None once there is a channel.
        channel: the carrier of messages from then on.
        timer_at: when it is looked at next for its channel's sake, as long as it stands in the timers.
    """

    __slots__ = ("_exchange", "_given", "_listed", "channel", "greeted")

    def __init__(self, exchange: Exchange, origin: "Origin", known: Greeted | Channel[Place]) -> None:
        self._exchange = exchange
        host, port = known.place.address[:2]
        super().__init__(exchange.router, origin, host, port, exchange.reactor.now, DATAGRAMS)
        self._given = 0  # messages of the outbox that the channel has
        self._listed = False  # stands in `router.due`
        self.greeted: Greeted | None = known if isinstance(known, Greeted) else None
        self.channel: Channel[Place] | None = None if isinstance(known, Greeted) else known
        self.timer_at = NEVER

    # -- what it is

    @property
    def largest_frame(self) -> int:
        """The longest message that may be sent over it at all, in bytes."""
        return min(self._exchange.router.limits.max_frame, MAX_MESSAGE)

    @property
    def room_for_greeting(self) -> int:
        """How many bytes `registered` may have: the first one stands in one datagram."""
        return self.max_frame if self.greeted is None else min(self.max_frame, MAX_DATAGRAM - GREETING_EXTRAS)

    @property
    def attempt(self) -> bytes:
        """The name of the link that the `register` asks for: that of its copies, too."""
        return b"" if self.greeted is None else self.greeted.cid

    @property
    def asked_late(self) -> bool:
        """Never: pings do not wait for messages."""
        return False

    def caller(self) -> Caller | None:
        """The client's identity from the transport: the owner of its `user`'s token, if proved."""
        if self.greeted is not None:
            seal = self.greeted.seal
            return Caller(seal=seal, sealed_only=seal is not None or self.greeted.place.carrier.sealed_only)
        assert self.channel is not None
        return Caller(seal=RenewalSeal(self.channel.cid), sealed_only=self.channel.place.carrier.sealed_only)

    @property
    def reactor(self) -> Rounds:
        """The reactor that serves it."""
        return self._exchange.reactor

    @property
    def via(self) -> str:
        """Its transport: `udp` or `dtls`."""
        known = self.channel or self.greeted
        return "udp" if known is None else known.place.carrier.via

    @property
    def over(self) -> bool:
        """Whether nothing is held for it any more."""
        return self.channel is None and self.greeted is None

    # -- the opening

    def reply(self, message: "ServerMessage") -> None:
        """Queue an answer to this link itself; an error to its first `register` stands in a datagram of its own."""
        greeted = self.greeted
        if greeted is None:
            super().reply(message)
        elif isinstance(message, said.Error):
            greeted.answer = greeted.refusal(message, self.reactor.router.admission.access)
            self._list()

    def welcome(self, registered: said.Registered) -> None:
        """Tell the client that it is registered: first in a datagram of its own, which also opens the channel."""
        greeted = self.greeted
        if greeted is None:
            super().welcome(registered)
        else:
            greeted.answer = greeting(registered, greeted.nonce, greeted.cid, greeted.key)

    def greet_again(self, opening: "OpeningDatagram", place: Place, now: float) -> None:
        """Answer the same `register` once more: the answer was lost. Nothing changes by it, from any sender."""
        channel = self.channel
        if channel is None or self.closing or place != channel.place:
            return
        registered = self.reactor.router.admission.greeting(self, opening.ref, now)
        answer = greeting(registered, opening.nonce, channel.cid, channel.key)
        if len(answer) > MAX_DATAGRAM:
            registered.ice_servers = None  # as in the first answer
            answer = greeting(registered, opening.nonce, channel.cid, channel.key)
        self._exchange.send(answer, place)

    def admitted(self) -> None:
        """The link has an ID now: there is a channel, and the client is told its name."""
        greeted = self.greeted
        assert greeted is not None
        self.channel = self._exchange.channel_for(greeted.cid, greeted.place, greeted.key, greeted.used)
        self.greeted = None
        self._exchange.send(greeted.answer, greeted.place)
        log.debug("registered", peer=self.id, address=self.address)

    # -- what comes

    def take_untrusted(self, datagram: bytes, place: Place, now: float) -> None:
        """Act on a datagram that carries this link's cid."""
        channel = self.channel
        if channel is None:
            return
        channel.accepting = not self.held
        lives = channel.receive_untrusted(datagram, place, now)
        if channel.over:
            self.abort(channel.over)
            return
        if channel.place is place:
            self._move(place)
        if channel.finished:
            self._settle_finished(channel, now)
        if lives:
            if channel.whole and not self.held:
                self._act_on_new(channel, now)
            else:
                self.heard(0, 0, now)
            if self.challenge is not None:
                self.reactor.router.admission.sign_of_life(self, now)
        self._schedule(channel, now)

    def _act_on_new(self, channel: Channel[Place], now: float) -> None:
        wait = self.heard(len(channel.whole), sum(map(len, channel.whole)), now)
        self._act_on(channel, now)
        if wait > 0:
            self.pause(now)

    def _act_on(self, channel: Channel[Place], now: float) -> None:
        """Act on messages that came. They are acknowledged: those that cannot be acted on now wait."""
        receive = self._exchange.reactor.receive
        whole = channel.take_whole()
        for number, message in enumerate(whole):
            if self.held:
                if not self.closing:
                    channel.whole = whole[number:]
                    self.account()
                return
            if len(message) > MIN_FRAME and len(message) > self.largest_frame:
                text = "this message is longer than `maxFrame`"
                fault = ProtocolError(ErrorCode.TOO_LARGE, text, limit="max_frame")
                self.router.refuse(self, fault, now, message)
            else:
                receive(self, message, now)

    def _settle_finished(self, channel: Channel[Place], now: float) -> None:
        """Remove acknowledged bytes from the outbox."""
        count, channel.finished = channel.finished, 0
        self._given -= count
        size = len(self.outbox[0]) if count == 1 else sum(map(len, self.outbox[:count]))
        self.sent(size, now)
        self.stalled_since = NEVER  # the channel itself gives up on who takes nothing
        if self.outbox or self.closing:
            self._list()

    def _move(self, place: Place) -> None:
        """It has shown that it receives elsewhere now."""
        before = self.address
        origins = self.reactor.router.admission.origins
        origins.leave_by_datagram(self.origin)
        self.host, self.port = place.address[:2]
        self.origin = origins.of(self.host)
        origins.join_by_datagram(self.origin)
        log.debug("moved", peer=self.id, before=before, address=self.address)
        if self.reactor.router.admission.excess_by_datagram(self.origin) > 0:
            self.refuse(too_many_datagram_links())

    def resume(self) -> None:
        """Process waiting messages after a pause."""
        self._list()

    def has_unread(self) -> bool:
        """Whether something has come that was not read yet: all that came is read before a time is up."""
        return False

    # -- what it holds of the memory for all

    @property
    def unacted(self) -> int:
        """Bytes of messages that came and wait; slices of others are counted for all links together."""
        return 0 if self.channel is None else sum(len(message) + MESSAGE_BYTES for message in self.channel.whole)

    @property
    def holding(self) -> int:
        """Bytes of memory that its buffers take: messages on their way stand in the outbox, and in datagrams too."""
        size = super().holding
        return size + min(size, MOST_WINDOW * IN_FLIGHT_BYTES) + FLIGHT_BYTES if self.queued and self.stuck else size

    @property
    def idle_since(self) -> float:
        """Time since it last acknowledged anything in flight; with nothing in flight, since it was last heard."""
        since = NEVER if self.channel is None else self.channel.unacknowledged_since
        return super().idle_since if since == NEVER else since

    # -- what goes

    def deliver(self, message: bytes, sender: "Outbox") -> ErrorCode | None:
        """Queue a message of another peer, or return the refusal. See `Link.deliver`."""
        waits = self.queued
        refusal = super().deliver(message, sender)
        if waits:
            self._list()  # else it stands there for its outbox, which was empty
        return refusal

    def reply_text(self, data: bytes) -> None:
        """Queue bytes that are a whole message."""
        waits = self.queued
        super().reply_text(data)
        if waits:
            self._list()

    def ping(self, now: float) -> None:
        """Ask for a sign of life."""
        if self.channel is not None:
            self.channel.ping(now)
            self._list()

    def push(self) -> None:
        """Send as much as the channel has room for; the rest waits for acknowledgements."""
        channel = self.channel
        if channel is None:
            return
        outbox, now = self.outbox, self._exchange.reactor.now
        while True:
            if self._given < len(outbox) and channel.room:
                channel.give(outbox[self._given])
                self._given += 1
            for datagram, (address, carrier, source) in channel.datagrams_to_send(now):
                self.router.bytes_sent += len(datagram)
                carrier.send(datagram, address, source)
            if self._given == len(outbox) or not channel.room:
                break
        if self.queued and not self.stuck:
            self.stuck = True  # all of it counts until it is acknowledged
            self.account()

    def expire(self, now: float) -> None:
        """Do the channel's work that is due, if it still is: mostly something was sent or heard meanwhile."""
        channel = self.channel
        if channel is not None:
            when = channel.next_deadline()
            if when > now:
                self._exchange.timers.watch(self, when)
            else:
                self._list()

    def _list(self) -> None:
        if not self._listed:
            self._listed = True
            self.router.due.append(self)

    def _schedule(self, channel: Channel[Place], now: float) -> None:
        when = channel.next_deadline()
        if when <= now:
            self._list()
        elif when < self.timer_at:
            self._exchange.timers.watch(self, when)

    # -- the end

    def attend(self, now: float) -> None:
        """Send waiting output, and bring a closing link further to its end."""
        channel = self.channel
        if channel is None:
            self._listed = False
            self._answer()
            return
        if self._listed:  # else nothing is due but what has come into the outbox
            self._listed = False
            channel.expire(now)  # not by the timers alone, which are up to a tick late: what is due is to be sent here
            if channel.over:
                self.abort(channel.over)
                return
        if channel.whole and not self.held:
            self._act_on(channel, now)
            self.account()
        self.push()
        if self.closing:
            self._wind_up(now)
        if self.channel is not None:
            self._schedule(channel, now)

    def _answer(self) -> None:
        """Tell a client that it is not registered, which is all that there is of its link."""
        greeted = self.greeted
        if greeted is None:
            return
        if greeted.answer:
            self._exchange.send(greeted.answer, greeted.place)
            self.abort("not registered")
        elif self.closing:
            self._finish()  # the daemon stops, while its claim waits

    def _wind_up(self, now: float) -> None:
        if self.ends_at == NEVER:
            self.ends_at = now + self._exchange.reactor.linger_seconds
            self.router.deadlines.forget(self)
            self.watch()
        if not self.queued:
            self._finish()

    def sever(self) -> None:
        """Release the link's resources, and tell the client if it does not know."""
        channel, known = self.channel, self.channel or self.greeted
        if known is None:
            return
        self.channel = self.greeted = None
        self.router.deadlines.forget(self)
        self._exchange.remove(self, known.cid, known.place)
        if channel is not None:
            channel.leave(self.reason)
            for datagram, place in channel.datagrams_to_send(self._exchange.reactor.now):  # X, unless it has left
                self._exchange.send(datagram, place)
            channel.discard()
        self.router.buffers.hold(self, 0)

    # -- handing over

    def snapshot(self, link: "LinkState", channel: "ChannelState") -> DatagramLinkState:
        """All of it, its part as any link and its channel given."""
        return DatagramLinkState(link, channel, self._given)

    def go_on_here(self, *, given: int) -> None:
        """Be served from now on, as in another process, whose channel had been given so many messages of the outbox.

        Raises:
            ValueError: there is no such link.
        """
        if given > len(self.outbox):
            raise ValueError("the channel has more than there is")
        self._given = given
        self.account()
        self._list()  # whatever is due then is found out, and when to look at it next

    def let_go(self) -> None:
        """Be served here no more: somebody else does."""
        self.channel = self.greeted = None
