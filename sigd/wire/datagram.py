"""One link of datagrams: each message arrives once and in order, or its sender is told. The same for both ends.

A `Channel` takes the datagrams that carry its link's cid, and says what goes out and when it wants to be called again
(protocol.md, section 13.4). What comes before there is a link is not its business. No I/O, no clock, no JSON; times
are seconds on the caller's clock.
"""

import math
import re
import secrets
from collections.abc import Callable
from typing import Final, Generic, cast

from sigd.wire import macs
from sigd.wire.datagram_state import ChannelState, Where
from sigd.wire.receiving import MAX_DATAGRAM, MAX_MESSAGE, Held, Reassembly
from sigd.wire.sending import CHALLENGE_BYTES, CHALLENGE_SECONDS, SLICE_BYTES, Aside, Flight, Place
from sigd.wire.times import moved

__all__ = ["MAX_DATAGRAM", "MAX_MESSAGE", "MAX_SLICES", "SLICE_BYTES", "Channel", "Reassembly"]

MAX_SLICES: Final = 16
"""Of one message: as many as MAX_MESSAGE needs at LEAST_SLICE bytes."""

LEAST_SLICE: Final = 1_000
"""Bytes of every slice but a message's last: nobody makes us keep books on crumbs."""

GAP: Final = 32
"""Datagrams ahead of the acknowledged ones that can be acknowledged: the bits of an A."""

AHEAD: Final = 8
"""Messages ahead of the next that may be held: a window is not larger."""

ACK_SECONDS: Final = 0.025
"""How long an acknowledgement waits for a D to ride on: most answers of a daemon come sooner."""

FORGET_SECONDS: Final = 30.0
"""After such a pause the measurements of the path are forgotten with the next ping: a million idle links stay small."""

LEFT: Final = "left"
UNACKNOWLEDGED: Final = "nothing was acknowledged for 30 s"
NOT_WHOLE: Final = "a message was not whole within 60 s"

# What follows the cid. Leading zeros are no fault; 15 digits are more than any link lives to count.
_DIGITS: Final = 3 * 15
_PART: Final = re.compile(rb"(\d{1,2})/(\d{1,2})")
_A: Final = re.compile(rb" (\d{1,15}) ([0-9a-f]{1,8})")
_P: Final = re.compile(rb" (\d{1,15}) [0-9a-f]{16}")
_Q: Final = re.compile(rb" (\d{1,15})")
_C: Final = re.compile(rb" ([0-9a-f]{16})")
_REST: Final = len(b"D 0123456789abcdef")

_NONE: Final = cast("list[bytes]", ())
"""No messages, the same for all: a million idle links need no list each."""


def _eight_bytes() -> bytes:
    return secrets.token_bytes(8)


class Channel(Generic[Place]):
    """One end of one link.

    Call `expire` and then `datagrams_to_send` at `next_deadline`, and `datagrams_to_send` after everything else.

    Args:
        cid: names the link, 16 small hexadecimal letters.
        place: where the other end is, in the caller's terms; compared with `==`.
        server: whether this is the server's end.
        key: of the macs, as `macs.link_key` makes it; None: datagrams carry none.
        reassembly: the bound that all links of a daemon share; None: only this link's own bounds hold.
        moves: whether the link may move to another place (the server's end alone looks).
        draw: 8 random bytes for a path challenge.

    Attributes:
        cid, key: as given.
        place: where datagrams go; changes when the other end has answered a path challenge from elsewhere.
        accepting: whether new messages are kept; if not, acks, pings, challenges and X are acted on all the same.
        whole: messages that came, in order, each once, until `take_whole`.
        finished: how many messages of ours were wholly acknowledged, in the order given, since the caller set it to 0.
        over: empty while the link lives, then why it ended, in a few words.
    """

    __slots__ = (
        *("_ack", "_ack_at", "_aside", "_draw", "_flight", "_heard_ping", "_held", "_mid", "_pinged", "_reassembly"),
        *("_seq", "_server", "_turn", "accepting", "cid", "finished", "key", "over", "place", "whole"),
    )

    def __init__(
        self,
        cid: bytes,
        place: Place,
        *,
        server: bool,
        key: bytes | None = None,
        reassembly: Reassembly | None = None,
        moves: bool = True,
        draw: Callable[[], bytes] = _eight_bytes,
    ) -> None:
        self.cid = cid
        self.key = key
        self.place = place
        self.accepting = True
        self.whole: list[bytes] = _NONE
        self.finished = 0
        self.over = ""
        self._server = server
        self._reassembly = reassembly
        self._draw = draw if server and moves else None
        self._seq = 0  # of our last datagram
        self._mid = 0  # of our last message
        self._flight: Flight | None = None
        self._ack = 0  # every datagram up to this one has come
        self._ack_at = math.inf  # when that is to be said
        self._turn = 1  # the mid of the message that is delivered next
        self._held: Held | None = None
        self._heard_ping = 0  # the highest n of theirs
        self._pinged = 0  # the highest n of ours
        self._aside: Aside[Place] | None = None

    # -- what comes

    def receive_untrusted(self, datagram: bytes, place: Place, now: float) -> bool:
        """Act on a datagram from a place; whether it was a sign of life of the other end.

        What does not verify, or is not exactly a datagram of this link, changes nothing and gets silence. Never raises.
        A D that nobody has seen is a sign of life even if it is not kept: it comes again, as its sender cannot know.
        """
        text = datagram
        if text.endswith(b"\n"):
            text = text[:-2] if text.endswith(b"\r\n") else text[:-1]
        if self.over or len(text) > MAX_DATAGRAM or text[2:_REST] != self.cid:
            return False
        if self.key is not None:
            text = macs.opened(self.key, macs.FROM_CLIENT if self._server else macs.FROM_SERVER, text)
        news = self._take_data(text, now) if text.startswith(b"D ") else self._take_other(text, place, now)
        if news is None:
            return False
        if place != self.place and self._draw is not None and not self.over:
            self._challenge(self._draw, len(datagram), place, now)
        if news and self._aside is not None:
            self._aside.end_ping()
        return news

    def take_whole(self) -> list[bytes]:
        """The messages that came, in order, which are the caller's now."""
        whole, self.whole = self.whole, _NONE
        return whole

    def _take_data(self, text: bytes, now: float) -> bool | None:
        """Act on a D; whether it was a sign of life, None if it is malformed."""
        try:
            _, cid, seq_text, ack_text, mid_text, part, piece = text.split(b" ", 6)
            digits = seq_text + ack_text + mid_text
            if cid != self.cid or not digits.isdigit() or len(digits) > _DIGITS:
                return None
            seq, ack, mid = int(seq_text), int(ack_text), int(mid_text)
        except ValueError:
            return None
        if part == b"0/1" and piece and seq and mid:
            number, count = 0, 1
        else:
            found = _PART.fullmatch(part)
            if found is None or not piece or not seq or not mid:
                return None
            number, count = int(found[1]), int(found[2])
            if number >= count or count > MAX_SLICES or (len(piece) < LEAST_SLICE and number < count - 1):
                return None
        flight = self._flight
        news = flight is not None and ack > flight.heard and self._take_ack(flight, ack, 0, now)
        if count == 1 and seq == self._ack + 1 and mid == self._turn and self._held is None and self.accepting:
            self._ack = seq
            self._turn = mid + 1
            if self.whole:
                self.whole.append(piece)
            else:
                self.whole = [piece]
            self._ack_at = now + ACK_SECONDS if self._ack_at == math.inf else now  # who sends more waits for it
            return True
        return self._take_slice(seq, mid, number, count, piece, now) or news

    def _take_ack(self, flight: Flight, ack: int, bits: int, now: float) -> bool:
        if ack > self._seq or not flight.take_ack(ack, bits, now):
            return False
        self.finished += flight.take_finished(self._mid)
        return True

    def _take_slice(self, seq: int, mid: int, number: int, count: int, piece: bytes, now: float) -> bool:
        """Keep a slice, if it may be kept; whether its seq was unseen."""
        gap = seq - self._ack
        held = self._held
        if gap <= 0 or (held is not None and gap <= GAP and (held.bits >> (gap - 1)) & 1):
            self._ack_at = now  # the other end has missed it
            return False
        if gap > GAP:
            return False
        if not self.accepting or not 0 <= mid - self._turn <= AHEAD:
            return True
        if held is None:
            held = Held(self._reassembly)
        if count == 1 and mid == self._turn and mid not in held:
            self.whole = [*self.whole, piece]
            self._turn += 1
        elif not held.keep(mid, number, count, piece, now):
            return True
        self._ack_at = now
        held.bits |= 1 << (gap - 1)
        while held.bits & 1:
            held.bits >>= 1
            self._ack += 1
        while message := held.take_whole(self._turn):
            self.whole = [*self.whole, message]
            self._turn += 1
        self._held = held or None
        return True

    def _take_other(self, text: bytes, place: Place, now: float) -> bool | None:
        """Act on anything but a D; whether it was a sign of life, None if it is malformed."""
        match text[:2]:
            case b"A " if found := _A.fullmatch(text, _REST):
                flight = self._flight
                return flight is not None and self._take_ack(flight, int(found[1]), int(found[2], 16), now)
            case b"P " if found := _P.fullmatch(text, _REST):
                return self._take_ping(int(found[1]), now)
            case b"Q " if found := _Q.fullmatch(text, _REST):
                return self._aside is not None and 0 < self._aside.ping <= int(found[1]) <= self._pinged
            case b"C " if found := _C.fullmatch(text, _REST):
                return self._take_challenge(found[1], place)
            case b"X " if len(text) == _REST:
                self._end(LEFT)
                return False
            case _:
                return None

    def _take_ping(self, n: int, now: float) -> bool | None:
        if not n:
            return None
        aside = self._needed_aside()
        aside.question = max(aside.question, n)
        self._forget(now)
        if n <= self._heard_ping:
            return False
        self._heard_ping = n
        return True

    def _take_challenge(self, letters: bytes, place: Place) -> bool:
        if not self._server:
            self._needed_aside().echo = (letters, place)
            return False
        aside = self._aside
        if aside is None or not aside.is_answer(letters, place):
            return False
        self.place = place
        return True

    def _challenge(self, draw: Callable[[], bytes], length: int, place: Place, now: float) -> None:
        """Ask elsewhere whether the other end is there now, but by no more than it sent, and not too often."""
        aside = self._needed_aside()
        needed = CHALLENGE_BYTES if self.key is None else CHALLENGE_BYTES + macs.TAIL_BYTES
        if length >= needed and now >= aside.challenged_at + CHALLENGE_SECONDS:
            aside.challenge_there(draw, place, now)

    # -- what goes

    @property
    def room(self) -> bool:
        """Whether `give` may be called: all of the last message has been sent once, and the window has room.

        So after each `give` there is none until `datagrams_to_send` was called.
        """
        return not self.over and (self._flight is None or self._flight.room)

    @property
    def idle(self) -> bool:
        """Whether nothing of ours is unacknowledged; so too when the link is over."""
        flight = self._flight
        return flight is None or not (flight.sent or flight.message)

    @property
    def unacknowledged_since(self) -> float:
        """Time at which the oldest unacknowledged datagram was first sent; `math.inf`: there is none."""
        return math.inf if self._flight is None else self._flight.oldest_at

    def give(self, message: bytes) -> None:
        """Send this message next, 1 to MAX_MESSAGE bytes; it is the caller's to lose until `finished` counts it.

        Raises:
            ValueError: it is empty or too long, or there is no `room`.
        """
        if not 0 < len(message) <= MAX_MESSAGE:
            raise ValueError(f"a message must have 1 to {MAX_MESSAGE} bytes")
        flight = self._flight
        if self.over or (flight is not None and flight.message):
            raise ValueError("there is no room")
        if flight is None:
            flight = self._flight = Flight(self._seq, self._mid)
        self._mid += 1
        flight.give(message)

    def ping(self, now: float) -> None:
        """Ask for a sign of life, and again each second until one comes."""
        if self.over:
            return
        self._forget(now)
        aside = self._needed_aside()
        if not aside.ping:
            aside.ping = self._pinged + 1
            aside.ping_at = now

    def leave(self, reason: str) -> None:
        """End the link for this reason: X goes out next, even before unacknowledged messages."""
        if not self.over:
            self._end(reason)
            self._needed_aside().leaving = True

    def discard(self) -> None:
        """Give back the slices of messages that are not whole; for a link that the caller drops as it is."""
        if self._held is not None:
            self._held.discard()
            self._held = None

    def expire(self, now: float) -> None:
        """End the link if a timeout has passed, and find everything to retransmit."""
        if self._flight is not None and now >= self._flight.dies_at:
            self.leave(UNACKNOWLEDGED)
        elif self._held is not None and now >= self._held.dies_at:
            self.leave(NOT_WHOLE)
        elif self._flight is not None:
            self._flight.expire(now)

    def next_deadline(self) -> float:
        """When `expire` and `datagrams_to_send` are to be called; 0.0: at once, `math.inf`: nothing is due."""
        deadline = self._ack_at
        if self._flight is not None:
            again_at = self._flight.next_deadline()
            if again_at < deadline:
                deadline = again_at
        if self._held is not None:
            deadline = min(deadline, self._held.dies_at)
        aside = self._aside
        return deadline if aside is None else min(deadline, aside.next_deadline())

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Place]]:
        """Return the datagrams to send now, each with its place; also an owed X, once the link is over."""
        out = [] if self._aside is None else self._say_aside(self._aside, now)
        flight = self._flight
        if flight is not None:
            if flight.again:
                out += [(datagram, self.place) for datagram in flight.take_again(now)]
            while flight.message and flight.may_cut:
                out.append((self._next_data(flight, now), self.place))
        if self._ack_at <= now:
            bits = 0 if self._held is None else self._held.bits
            out.append((self._sealed(b"A %b %d %x" % (self.cid, self._ack, bits)), self.place))
            self._ack_at = math.inf
        return out

    def _next_data(self, flight: Flight, now: float) -> bytes:
        piece = flight.message if flight.slices == 1 else flight.cut_slice()
        if self.key is None and piece.endswith(b"\n"):
            piece += b"\n"  # the last one is not part of the datagram
        self._seq = seq = self._seq + 1
        mid = self._mid
        text = b"D %b %d %d %d %d/%d %b" % (self.cid, seq, self._ack, mid, flight.cut, flight.slices, piece)
        datagram = text if self.key is None else self._sealed(text)
        flight.add(seq, mid, datagram, now)
        if self._held is None or not self._held.bits:
            self._ack_at = math.inf  # it has said it
        return datagram

    def _say_aside(self, aside: Aside[Place], now: float) -> list[tuple[bytes, Place]]:
        if aside.ping_at <= now:
            self._pinged += 1
        said = aside.take(self.cid, self.place, self._pinged, now)
        if not aside.waits(now):
            self._aside = None
        return [(self._sealed(text), place) for text, place in said]

    def _sealed(self, text: bytes) -> bytes:
        if self.key is None:
            return text
        return macs.sealed(self.key, macs.FROM_SERVER if self._server else macs.FROM_CLIENT, text)

    # -- what is kept

    def _needed_aside(self) -> Aside[Place]:
        if self._aside is None:
            self._aside = Aside()
        return self._aside

    def _forget(self, now: float) -> None:
        if self._flight is not None and self.idle and now > self._flight.used_at + FORGET_SECONDS:
            self._flight = None

    def _end(self, reason: str) -> None:
        self.over = reason
        self.discard()
        self._flight = None
        self._aside = None
        self._ack_at = math.inf

    # -- handing over

    def state(self, where: Callable[[Place], Where]) -> ChannelState:
        """All of it, as a server has it, its times on this clock; `where` translates a place for others."""
        return ChannelState(
            cid=self.cid,
            key=self.key,
            where=where(self.place),
            whole=self.whole,
            finished=self.finished,
            over=self.over,
            seq=self._seq,
            mid=self._mid,
            ack=self._ack,
            ack_at=self._ack_at,
            turn=self._turn,
            heard_ping=self._heard_ping,
            pinged=self._pinged,
            flight=None if self._flight is None else self._flight.state,
            held=None if self._held is None else self._held.state,
            aside=None if self._aside is None else self._aside.state(where),
        )

    def restore(self, state: ChannelState, place: Callable[[Where], Place], shift: float) -> None:
        """Be the server's end that a state was taken of: for a new one, with its cid, key and place.

        Args:
            state: of the other one.
            place: translates a place for this process.
            shift: how many seconds more this clock shows than the other one's.

        Raises:
            ValueError: there is no such state.
        """
        self.whole = state.whole or _NONE
        self.finished = state.finished
        self.over = state.over
        self._seq = state.seq
        self._mid = state.mid
        self._ack = state.ack
        self._ack_at = moved(state.ack_at, shift)
        self._turn = state.turn
        self._heard_ping = state.heard_ping
        self._pinged = state.pinged
        self._flight = None if state.flight is None else Flight.restored(state.flight, shift)
        self._aside = None if state.aside is None else Aside.restored(state.aside, place, shift)
        self._held = None if state.held is None else Held.restored(state.held, self._reassembly, shift)
