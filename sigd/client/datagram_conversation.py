"""One conversation over one datagram link: times of sending, and loss of the link. No I/O, no clock."""

import math
from typing import Final

from sigd.client.conversation import Conversation
from sigd.wire.awake import Awake
from sigd.wire.datagram import ACK_SECONDS, LEFT, MAX_MESSAGE, Channel

SILENT_SECONDS: Final = 25.0
"""Seconds without a datagram of ours before a ping: NATs forget a flow after 30 s (RFC 4787 wants 120 s, many do
not).
"""

SHARE_OF_KEEPALIVE: Final = 0.8
"""Share of a keepalive longer than a NAT's timeout before a ping: then there is no NAT, or it does not matter."""

DENIED_SECONDS: Final = 3.0
"""Time for a server to show that it knows the link, after an unauthenticated denial."""

_DENIAL: Final = b"Z "


class DatagramLink:
    """A conversation's messages over a channel. Times are seconds on the caller's clock.

    Call `expire` and then `datagrams_to_send` at `deadline`, and `datagrams_to_send` after everything else.

    The channel's and the link's own timers stand still while the program does: acknowledgements of that time are not
    read yet. The conversation has its own rule for that.
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
        """The connection ID of the link, 16 hexadecimal digits."""
        return self._channel.cid

    @property
    def over(self) -> bool:
        """Whether the link is over."""
        return bool(self._channel.over) or self._conversation.over

    @property
    def reason(self) -> str:
        """The reason for the end of the link unless a message gave it."""
        over = self._channel.over
        return "the server closed the connection" if over == LEFT else over

    # -- input

    def receive_untrusted(self, datagram: bytes, now: float) -> None:
        """Process a datagram of any origin. Never raises."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        if datagram.startswith(_DENIAL):
            self._take_denial(datagram, awake)
            self._plan(now)
            return
        channel.accepting = conversation.wants_more
        if channel.receive_untrusted(datagram, None, awake):
            self._denied_at = math.inf
            conversation.silence.restart(now)
        for message in channel.take_whole():
            conversation.receive_message(message, now)
        channel.finished = 0  # no notice: the server answers our request
        self._plan(now)

    def _take_denial(self, datagram: bytes, awake: float) -> None:
        """Note an unauthenticated denial: the server has some time to show that it knows the link."""
        if datagram.rstrip(b"\r\n") == _DENIAL + self.cid and self._denied_at == math.inf:
            self._denied_at = awake + DENIED_SECONDS
            self._channel.ping(awake)

    # -- output

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Return the datagrams to send now."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        out = channel.datagrams_to_send(awake)
        while channel.room and conversation.has_due:
            message = conversation.next_due()
            if len(message) <= MAX_MESSAGE:  # otherwise a renewal too large for any server: the old credentials remain
                channel.give(message)
                out += channel.datagrams_to_send(awake)
        if out:
            self._sent_at = awake
        self._plan(now)
        return [datagram for datagram, _ in out]

    def leave(self, now: float) -> list[bytes]:
        """End the link; return its last datagrams."""
        # Acknowledge the latest input at once, so that no peer repeats it in vain.
        awake = self._awake.look(now)
        out = self._channel.datagrams_to_send(awake + ACK_SECONDS)
        self._channel.leave("this peer has left")
        return [datagram for datagram, _ in out + self._channel.datagrams_to_send(awake)]

    # -- time

    @property
    def deadline(self) -> float:
        """Return the time of the next `expire` and `datagrams_to_send`."""
        conversation, channel = self._conversation, self._channel
        if conversation.has_due and channel.room:
            return -math.inf
        own = min(channel.next_deadline(), self._denied_at, self._silent_at)
        return min(own + self._awake.slept, conversation.deadline)

    @property
    def _silent_at(self) -> float:
        return self._sent_at + max(SILENT_SECONDS, SHARE_OF_KEEPALIVE * self._conversation.silence.keepalive)

    def expire(self, now: float) -> None:
        """Do everything due: retransmit, ping, give up."""
        conversation, channel = self._conversation, self._channel
        awake = self._awake.look(now)
        conversation.expire(now)
        channel.expire(awake)
        if awake >= self._denied_at:
            channel.leave("the server does not know this link any more")
        elif conversation.silence.pinged or awake >= self._silent_at:
            channel.ping(awake)
        self._plan(now)

    def _plan(self, now: float) -> None:
        """Note the caller's wait until the deadline: a longer gap was sleep."""
        self._awake.wait(self.deadline - self._awake.slept, now)
