"""A channel that goes on in another process: nobody at its other end can tell."""

import math
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire.cookies import TICK_SECONDS, Cookies, CookiesState
from sigd.wire.datagram import Channel, Reassembly
from sigd.wire.datagram_state import ChannelState, FlightState, Where
from sigd.wire.sending import Flight
from tests.wire.lossy import CID, SERVER, Conversation, End, any_conversation, check


def where(place: int) -> Where:
    """A place as it stands in a state."""
    return (str(place),), 0, b""


def place(where: Where) -> int:
    """The same again."""
    return int(where[0][0])


def handed_over(channel: Channel[int], shift: float, reassembly: Reassembly | None, random: Random) -> Channel[int]:
    """The same channel in another process, whose clock shows so much more."""
    data = msgspec.msgpack.encode(channel.state(where))
    channel.discard()
    state = msgspec.msgpack.decode(data, type=ChannelState)
    again = Channel(
        state.cid,
        place(state.where),
        server=True,
        key=state.key,
        reassembly=reassembly,
        draw=lambda: random.randbytes(8),
    )
    again.restore(state, place, shift)
    again.accepting = channel.accepting
    return again


class Restarting(Conversation):
    """A conversation whose server is handed over now and then, for the same one otherwise."""

    def __init__(self, conversation: Conversation, random: Random, often: float) -> None:
        self.__dict__.update(conversation.__dict__)
        self._when = random
        self._often = often
        self.restarts = 0

    def _go_on(self, end: End) -> None:
        super()._go_on(end)
        if end is self.server and self._when.random() < self._often:
            self.restarts += 1
            end.channel = handed_over(end.channel, 0.0, self.reassembly, self._random)


class TestUnderLoss:
    @pytest.mark.parametrize("often", [0.1, 1.0])
    def test_nobody_can_tell(self, often: float) -> None:
        restarts = 0
        for seed in range(150):
            plain = any_conversation(seed).run()
            other = Restarting(any_conversation(seed), Random(seed), often)
            other.run()
            check(other)
            restarts += other.restarts
            for one, same in ((plain.client, other.client), (plain.server, other.server)):
                assert same.heard == one.heard
                assert same.heard_at == one.heard_at
                assert (same.sent, same.finished, same.channel.over) == (one.sent, one.finished, one.channel.over)
            assert other.reassembly.taken == plain.reassembly.taken == 0
        assert restarts > 100

    @given(st.integers(150, 1 << 30), st.floats(0.0, 1.0))
    def test_of_any_conversation(self, seed: int, often: float) -> None:
        plain, other = any_conversation(seed).run(), Restarting(any_conversation(seed), Random(seed), often)
        other.run()
        check(other)
        assert other.client.heard_at == plain.client.heard_at
        assert other.server.heard_at == plain.server.heard_at


class TestOnAnotherClock:
    def talking(self) -> Channel[int]:
        """A server's end with everything under way."""
        server = Channel(CID, 0, server=True, draw=lambda: b"12345678")
        server.give(b"x" * 3_000)
        server.datagrams_to_send(100.0)
        server.receive_untrusted(b"D %b 2 0 2 0/1 later" % CID, 0, 100.5)
        server.receive_untrusted(b"P %b 1 0000000000000000" % CID, 1, 100.5)
        server.ping(101.0)
        return server

    @pytest.mark.parametrize("shift", [0.0, 1e6, -99.5])
    def test_everything_is_due_as_much_later(self, shift: float) -> None:
        before = self.talking()
        after = handed_over(self.talking(), shift, None, Random(0))
        now = 101.0
        for seconds in (0.0, 0.1, 1.0, 3.0, 8.0, 40.0):
            for channel, at in ((before, now + seconds), (after, now + seconds + shift)):
                channel.expire(at)
            assert after.datagrams_to_send(now + seconds + shift) == before.datagrams_to_send(now + seconds)
            assert after.over == before.over
        assert before.over

    def test_an_idle_one_costs_no_more_than_a_new_one(self) -> None:
        channel = handed_over(Channel(CID, 0, server=True), 5.0, None, Random(0))
        new = Channel(CID, 0, server=True)
        assert channel.whole is new.whole
        assert channel.next_deadline() == math.inf

    def test_what_was_cut_is_a_part(self) -> None:
        flight = Flight(0, 0)
        flight.give(b"x" * 3_000)
        state: FlightState = flight.state
        state.cut = 3
        with pytest.raises(ValueError, match="cut"):
            Flight.restored(state, 0.0)


class TestCookies:
    @pytest.mark.parametrize("shift", [0.0, 12_345.6, -50.0])
    @pytest.mark.parametrize("begins", [100.0, 119.9])
    def test_they_count_as_long(self, shift: float, begins: float) -> None:
        before, after = Cookies(), Cookies()
        cookie = before.make_untrusted("a 1", "nonce", begins)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(before.state), type=CookiesState)
        after.restore(state, shift)
        for seconds in (0.0, 1.0, 25.0, 45.0, 61.0):
            known = before.fits_untrusted(cookie, "a 1", "nonce", begins + seconds)
            assert after.fits_untrusted(cookie, "a 1", "nonce", begins + seconds + shift) == known
        assert not after.fits_untrusted(cookie, "a 1", "nonce", begins + 2 * TICK_SECONDS + shift)

    def test_of_no_time(self) -> None:
        with pytest.raises(ValueError, match="no time"):
            Cookies().restore(CookiesState(b"", b"", 0, math.nan), 0.0)


def test_a_place_comes_back() -> None:
    assert place(where(SERVER)) == SERVER
