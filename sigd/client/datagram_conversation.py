"""One conversation over one link in datagrams: what goes when, and when the link is lost. No I/O, no clock."""

import math
from typing import Final

from sigd.client.conversation import Conversation
from sigd.wire.awake import Awake
from sigd.wire.datagram import ACK_SECONDS, LEFT, MAX_MESSAGE, Channel

SILENT_SECONDS: Final = 25.0
"""Without a datagram of ours after which we ping: NATs forget a flow after 30 s (RFC 4787 wants 120 s, many do not)."""

SHARE_OF_KEEPALIVE: Final = 0.8
"""The same, of a keepalive that is longer than it takes a NAT to forget: then there is none, or nobody minds."""

DENIED_SECONDS: Final = 3.0
"""For a server to show that it knows the link after all, where somebody said that it does not."""

_DENIAL: Final = b"Z "


class DatagramLink:
    """Messages of a conversation through a channel. Times are seconds on the caller's clock.

    Call `expire` and then `datagrams_to_send` at `deadline`, and `datagrams_to_send` after everything else.

    The channel and the link's own waits go by a clock that stands still while the program does: what the server has
    acknowledged in the meantime is not read yet. The conversation has a rule of its own for that.
    """

    def __init__(self, conversation: Conversation, channel: Channel[None], now: float) -> None:
        self._conversation = conversation
        self._channel = channel
        self._awake = Awake()
        self._sent_at = self._awake.look(now)
        self._denied_at = math.inf
        self._plan(now)

    @property
    def cid(self) -> bytes:
        """The name of the link, 16 hexadecimal letters."""
        return self._channel.cid

    @property
    def over(self) -> bool:
        """Whether nothing more comes over it."""
        return bool(self._channel.over) or self._conversation.over

    @property
    def reason(self) -> str:
        """A few words why the link is over, where nothing that was said tells."""
        over = self._channel.over
        return "the server closed the connection" if over == LEFT else over

    # -- what comes

    def receive_untrusted(self, datagram: bytes, now: float) -> None:
        """Act on a datagram, from whoever it is. Never raises."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        if datagram.startswith(_DENIAL):
            self._take_denial(datagram, awake)
            self._plan(now)
            return
        channel.accepting = conversation.wants_more
        if channel.receive_untrusted(datagram, None, awake):
            self._denied_at = math.inf
            conversation.alive(now)
        for message in channel.take_whole():
            conversation.receive_message(message, now)
        channel.finished = 0  # nobody is told: the server answers what was asked
        self._plan(now)

    def _take_denial(self, datagram: bytes, awake: float) -> None:
        """Anybody may have sent this: the server has a while to show that it knows the link."""
        if datagram.rstrip(b"\r\n") == _DENIAL + self.cid and self._denied_at == math.inf:
            self._denied_at = awake + DENIED_SECONDS
            self._channel.ping(awake)

    # -- what goes

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """What goes out now."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        out = channel.datagrams_to_send(awake)
        while channel.room and conversation.has_due:
            message = conversation.next_due()
            if len(message) <= MAX_MESSAGE:  # else a renewal, which no server would take: the old credentials do
                channel.give(message)
                out += channel.datagrams_to_send(awake)
        if out:
            self._sent_at = awake
        self._plan(now)
        return [datagram for datagram, _ in out]

    def leave(self, now: float) -> list[bytes]:
        """End the link; the last datagrams."""
        # What came last is acknowledged at once: nobody repeats it for nothing.
        awake = self._awake.look(now)
        out = self._channel.datagrams_to_send(awake + ACK_SECONDS)
        self._channel.leave("this peer has left")
        return [datagram for datagram, _ in out + self._channel.datagrams_to_send(awake)]

    # -- time

    @property
    def deadline(self) -> float:
        """When `expire` and `datagrams_to_send` are to be called."""
        conversation, channel = self._conversation, self._channel
        if conversation.has_due and channel.room:
            return -math.inf
        own = min(channel.next_deadline(), self._denied_at, self._silent_at)
        return min(own + self._awake.slept, conversation.deadline)

    @property
    def _silent_at(self) -> float:
        return self._sent_at + max(SILENT_SECONDS, SHARE_OF_KEEPALIVE * self._conversation.keepalive)

    def expire(self, now: float) -> None:
        """Do what is due by now: repeat, ask for a sign of life, give up."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        conversation.expire(now)
        channel.expire(awake)
        if awake >= self._denied_at:
            channel.leave("the server does not know this link any more")
        elif conversation.pinged or awake >= self._silent_at:
            channel.ping(awake)
        self._plan(now)

    def _plan(self, now: float) -> None:
        """Note that the caller waits until the deadline: a gap beyond it was slept."""
        self._awake.wait(self.deadline - self._awake.slept, now)
