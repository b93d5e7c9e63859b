"""The unacknowledged messages of one end of a link of datagrams, and its datagrams beside messages.

When something goes again, and how much goes at once, is decided here. No I/O, no clock; times are seconds on the
caller's clock.
"""

import hmac
import math
from collections.abc import Callable
from typing import Final, Generic, Self, TypeVar

from sigd.wire.datagram_state import AsideState, FlightState, SentState, Where
from sigd.wire.times import moved

SLICE_BYTES: Final = 1_060
"""Of all slices of a message but the last. With the longest head and a mac that makes 1 157 bytes, which fit into a
datagram in DTLS too (1 163 of its 1 200 are left); 16 of them make up the longest message."""

FIRST_TIMEOUT: Final = 1.0
"""Until a round trip was measured (RFC 6298, section 2.1)."""

LEAST_TIMEOUT: Final = 0.2
"""Maximum delay of the other end's acknowledgements, with room for a busy device."""

LONGEST_TIMEOUT: Final = 4.0
"""So that within the 30 s of a datagram's life it goes out at least eight times."""

UNACKNOWLEDGED_SECONDS: Final = 30.0
"""Timeout from a datagram's first sending; without an acknowledgement by then the link ends."""

FIRST_WINDOW: Final = 4
MOST_WINDOW: Final = 8
"""Datagrams that may be unacknowledged: most offers go at once, and no buffer on the way is filled by one link."""

LATER_ONES: Final = 3
"""Acknowledged later datagrams after which one is sent again at once (RFC 5681, section 3.2). Where 5 % are lost each
way, and there and back takes 0.1 s, 99 of 100 offers are delivered within 0.45 s, and without this within 0.65 s."""

PING_SECONDS: Final = 1.0
"""After which an unanswered ping is repeated."""

CHALLENGE_SECONDS: Final = 1.0
"""At most one path challenge of a link in that time: nobody is flooded with them."""

CHALLENGE_BYTES: Final = len(b"C 0123456789abcdef 0123456789abcdef")
"""Of a path challenge without mac: nothing shorter is answered by one."""

_FILLER: Final = b"0" * 16
"""Makes a P longer than the C that may answer it."""

Place = TypeVar("Place")


class Sent:
    """A datagram on its way.

    Attributes:
        datagram: its bytes; the same each time.
        mid: of the message that it carries a slice of.
        first_at, sent_at: when it was sent first and last.
        times: how often it was sent.
        wait: seconds from the last sending to the next.
        passed: how many later ones were acknowledged before it.
    """

    __slots__ = ("datagram", "first_at", "mid", "passed", "sent_at", "times", "wait")

    def __init__(self, datagram: bytes, mid: int, now: float, wait: float) -> None:
        self.datagram = datagram
        self.mid = mid
        self.first_at = now
        self.sent_at = now
        self.times = 1
        self.wait = wait
        self.passed = 0


class Flight:
    """All that one end has on its way; made with the first message after a pause, and forgotten in the next.

    Attributes:
        sent: the unacknowledged slices by seq, in the order of seq.
        heard: the highest ack: everything up to it has come.
        again: the seqs of those that are to go once more, now.
        message: the one that is being cut into slices; empty: none.
        slices: how many slices it has.
        cut: how many of them were sent.
        window: how many datagrams may be unacknowledged.
        timeout: seconds that one waits before it goes again.
        used_at: when something was sent last.
    """

    __slots__ = (
        *("_backed_off", "_credit", "_halved_at", "_oldest", "_rttvar", "_sliced", "_srtt"),
        *("again", "cut", "heard", "message", "sent", "slices", "timeout", "used_at", "window"),
    )

    def __init__(self, seq: int, mid: int) -> None:
        self.sent: dict[int, Sent] = {}
        self.again: list[int] = []
        self.message = b""
        self.slices = 0
        self.cut = 0
        self.used_at = 0.0
        self.window = FIRST_WINDOW
        self.timeout: float = FIRST_TIMEOUT
        self.heard = seq
        self._oldest = mid + 1
        self._sliced = 0
        self._credit = 0
        self._srtt: float = 0.0
        self._rttvar: float = 0.0
        self._backed_off: float = 0.0
        self._halved_at = -math.inf

    @property
    def room(self) -> bool:
        """Whether the next message may be given."""
        return not self.message and len(self.sent) < self.window

    def give(self, message: bytes) -> None:
        """Cut this message next."""
        self.message = message
        self.slices = -(-len(message) // SLICE_BYTES)
        self.cut = 0

    @property
    def may_cut(self) -> bool:
        """Whether a slice of the message may go now: a message in slices waits for the one before it."""
        if not self.message or len(self.sent) >= self.window:
            return False
        return self.slices == 1 or self.cut > 0 or self._sliced < self._oldest

    def cut_slice(self) -> bytes:
        """The next slice of the message; `add` counts it as sent."""
        start = self.cut * SLICE_BYTES
        return self.message[start : start + SLICE_BYTES]

    def add(self, seq: int, mid: int, datagram: bytes, now: float) -> None:
        """The next slice goes out now, as this datagram."""
        wait = self._backed_off or self.timeout
        self.sent[seq] = Sent(datagram, mid, now, wait)
        self.used_at = now
        self.cut += 1
        if self.cut == self.slices:
            self.message = b""
            if self.slices > 1:
                self._sliced = mid

    def take_ack(self, ack: int, bits: int, now: float) -> bool:
        """Everything up to ack has come, and of those after it these; whether that is news.

        `ack` is at most the seq that was sent last.
        """
        if ack < self.heard:
            return False
        self.heard = ack
        sent = self.sent
        come: list[int] = []
        sample = -1.0
        for seq in list(sent):
            if seq <= ack or (bits >> (seq - ack - 1)) & 1:
                come.append(seq)
                one = sent.pop(seq)
                if one.times == 1:  # of what was sent twice nobody knows which one is acknowledged (Karn)
                    sample = now - one.sent_at
        if not come:
            return False
        if sample >= 0:
            self._measured(sample)
        if self.window < MOST_WINDOW:
            self._credit += len(come)
            if self._credit >= self.window:
                self._credit = 0
                self.window += 1
        if sent:
            self._pass_over(come)
        return True

    def take_finished(self, mid: int) -> int:
        """How many messages more are wholly acknowledged, in the order given; `mid` is that of the last one given."""
        first = mid if self.message else mid + 1
        if self.sent:
            first = next(iter(self.sent.values())).mid
        finished = first - self._oldest
        self._oldest = first
        return finished

    def _measured(self, rtt: float) -> None:
        """RFC 6298, sections 2.2 to 2.4; a slice that was sent once waits no longer than that from now on."""
        srtt, rttvar = self._srtt, self._rttvar
        if srtt:
            rttvar += (abs(rtt - srtt) - rttvar) / 4
            srtt += (rtt - srtt) / 8
        else:
            srtt, rttvar = rtt, rtt / 2
        self._srtt, self._rttvar = srtt, rttvar
        timeout = srtt + 4 * rttvar
        if timeout < LEAST_TIMEOUT:
            timeout = LEAST_TIMEOUT
        elif timeout > LONGEST_TIMEOUT:
            timeout = LONGEST_TIMEOUT
        self.timeout = timeout
        self._backed_off = 0.0
        for one in self.sent.values():
            if one.times == 1 and one.wait > timeout:
                one.wait = timeout

    def _pass_over(self, come: list[int]) -> None:
        for seq, one in self.sent.items():
            if seq > come[-1]:
                break
            one.passed += sum(later > seq for later in come)
            if one.passed >= LATER_ONES and one.times == 1 and seq not in self.again:
                self.again.append(seq)

    def expire(self, now: float) -> None:
        """Mark everything overdue for retransmission."""
        for seq, one in self.sent.items():
            if one.sent_at + one.wait > now or seq in self.again:
                continue
            self.again.append(seq)
            # What is sent next waits as long, until a round trip was measured: else one longer than the time-out would
            # have everything sent twice, and never be measured (RFC 6298, section 5.5 to 5.7).
            one.wait = min(2 * one.wait, LONGEST_TIMEOUT)
            self._backed_off = max(self._backed_off, one.wait, self.timeout)
            if one.sent_at >= self._halved_at:
                self._halved_at = now
                self._credit = 0
                self.window = max(self.window // 2, 1)

    def take_again(self, now: float) -> list[bytes]:
        """The datagrams that go once more, now."""
        datagrams: list[bytes] = []
        for seq in self.again:
            one = self.sent.get(seq)
            if one is not None:
                one.sent_at = now
                one.times += 1
                datagrams.append(one.datagram)
        self.again.clear()
        self.used_at = now
        return datagrams

    @property
    def oldest_at(self) -> float:
        """Time at which the oldest datagram was first sent; `math.inf`: none is on its way."""
        oldest = next(iter(self.sent.values()), None)
        return math.inf if oldest is None else oldest.first_at

    @property
    def dies_at(self) -> float:
        """When the oldest datagram is given up."""
        return self.oldest_at + UNACKNOWLEDGED_SECONDS

    def next_deadline(self) -> float:
        """When something is to be sent again, or is given up; 0.0: something can go at once."""
        if self.again or (self.message and self.may_cut):
            return 0.0
        deadline = math.inf
        for one in self.sent.values():
            due = one.sent_at + one.wait
            if one.times > 1:  # else it goes again before it is given up, as none waits so long
                due = min(due, one.first_at + UNACKNOWLEDGED_SECONDS)
            if due < deadline:
                deadline = due
        return deadline

    # -- handing over

    @property
    def state(self) -> FlightState:
        """All of it, its times on this clock."""
        return FlightState(
            sent=[
                SentState(seq, one.datagram, one.mid, one.first_at, one.sent_at, one.times, one.wait, one.passed)
                for seq, one in self.sent.items()
            ],
            again=self.again,
            message=self.message,
            cut=self.cut,
            used_at=self.used_at,
            window=self.window,
            timeout=self.timeout,
            heard=self.heard,
            oldest=self._oldest,
            sliced=self._sliced,
            credit=self._credit,
            srtt=self._srtt,
            rttvar=self._rttvar,
            backed_off=self._backed_off,
            halved_at=self._halved_at,
        )

    @classmethod
    def restored(cls, state: FlightState, shift: float) -> Self:
        """Make the object of a state, on a clock that shows `shift` seconds more.

        Raises:
            ValueError: there is no such state.
        """
        flight = cls(state.heard, 0)
        for each in state.sent:
            one = flight.sent[each.seq] = Sent(each.datagram, each.mid, moved(each.first_at, shift), each.wait)
            one.sent_at = moved(each.sent_at, shift)
            one.times = each.times
            one.passed = each.passed
        if state.message:
            flight.give(state.message)
            if state.cut >= flight.slices:
                raise ValueError("more was cut than there is")
        flight.again = state.again
        flight.cut = state.cut
        flight.used_at = moved(state.used_at, shift)
        flight.window = state.window
        flight.timeout = state.timeout
        flight._oldest = state.oldest
        flight._sliced = state.sliced
        flight._credit = state.credit
        flight._srtt = state.srtt
        flight._rttvar = state.rttvar
        flight._backed_off = state.backed_off
        flight._halved_at = moved(state.halved_at, shift)
        return flight


class Aside(Generic[Place]):
    """The datagrams of a link beside messages, and the answers it waits for; there is none while there are none.

    Attributes:
        question: the n of the P that is to be answered; 0: none.
        echo: the challenge that is to be sent back, and where to.
        ping: the first n of our open ping; 0: none is open.
        ping_at: when it goes out next.
        challenged_at: when the last challenge was made.
        leaving: whether X is to go out.
    """

    __slots__ = (
        *("_challenge", "_challenged", "_challenging"),
        *("challenged_at", "echo", "leaving", "ping", "ping_at", "question"),
    )

    def __init__(self) -> None:
        self.question = 0
        self.echo: tuple[bytes, Place] | None = None
        self.ping = 0
        self.ping_at = math.inf
        self.challenged_at = -math.inf
        self.leaving = False
        self._challenge = b""
        self._challenged: Place | None = None
        self._challenging = False

    def end_ping(self) -> None:
        """A sign of life has come."""
        self.ping = 0
        self.ping_at = math.inf

    def challenge_there(self, draw: Callable[[], bytes], place: Place, now: float) -> None:
        """Challenge a place; earlier challenges elsewhere no longer count."""
        if not self._challenge or place != self._challenged:  # else with the same: an answer may take over a second
            self._challenge = draw().hex().encode()
            self._challenged = place
        self._challenging = True
        self.challenged_at = now

    def is_answer(self, letters: bytes, place: Place) -> bool:
        """Whether this is the open challenge, back from where it was sent; it counts once."""
        if not self._challenge or place != self._challenged or not hmac.compare_digest(letters, self._challenge):
            return False
        self._challenge = b""
        self._challenging = False
        return True

    def take(self, cid: bytes, place: Place, pinged: int, now: float) -> list[tuple[bytes, Place]]:
        """Return the datagrams that are due, without macs, each with its address: most of them to `place`.

        `pinged` is the n of the P that goes out if one is due.
        """
        said: list[tuple[bytes, Place]] = []
        if self.leaving:
            said.append((b"X " + cid, place))
        if self.echo is not None:
            said.append((b"C %b %b" % (cid, self.echo[0]), self.echo[1]))
        if self._challenging and self._challenged is not None:
            said.append((b"C %b %b" % (cid, self._challenge), self._challenged))
        if self.question:
            said.append((b"Q %b %d" % (cid, self.question), place))
        if self.ping_at <= now:
            self.ping_at = now + PING_SECONDS
            said.append((b"P %b %d %b" % (cid, pinged, _FILLER), place))
        self.leaving = self._challenging = False
        self.echo = None
        self.question = 0
        return said

    def waits(self, now: float) -> bool:
        """Whether an answer is open, or it is too early for another challenge."""
        return bool(self.ping or self._challenge) or now < self.challenged_at + CHALLENGE_SECONDS

    def next_deadline(self) -> float:
        """When something is to be said; 0.0: at once."""
        return 0.0 if self.question or self.echo or self._challenging or self.leaving else self.ping_at

    # -- handing over

    def state(self, where: Callable[[Place], Where]) -> AsideState:
        """All of it, as a server has it, its times on this clock; `where` translates a place for others."""
        return AsideState(
            question=self.question,
            ping=self.ping,
            ping_at=self.ping_at,
            challenged_at=self.challenged_at,
            leaving=self.leaving,
            challenge=self._challenge,
            challenged=None if self._challenged is None else where(self._challenged),
            challenging=self._challenging,
        )

    @classmethod
    def restored(cls, state: AsideState, place: Callable[[Where], Place], shift: float) -> Self:
        """Make the object of a state, on a clock that shows `shift` seconds more.

        Raises:
            ValueError: there is no such state.
        """
        aside = cls()
        aside.question = state.question
        aside.ping = state.ping
        aside.ping_at = moved(state.ping_at, shift)
        aside.challenged_at = moved(state.challenged_at, shift)
        aside.leaving = state.leaving
        aside._challenge = state.challenge
        aside._challenged = None if state.challenged is None else place(state.challenged)
        aside._challenging = state.challenging
        return aside
