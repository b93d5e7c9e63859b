"""What one end of a link sends: slices, the window, when something goes again, and which acks count."""

import math

import pytest

from sigd.wire.datagram import Channel
from tests.wire.test_datagram import HOME, client_end, data, said


def ack(seq: int, bits: int = 0) -> bytes:
    return b"A 0123456789abcdef %d %x" % (seq, bits)


def heads(channel: Channel[str], now: float = 0.0) -> list[str]:
    """Seq, mid and slice of the Ds that go out now."""
    sent = [datagram.decode().split(" ", 6) for datagram in said(channel, now) if datagram.startswith(b"D")]
    return [f"{seq} {mid} {part}" for _, _, seq, _, mid, part, _ in sent]


def give_all(channel: Channel[str], count: int, now: float = 0.0) -> list[str]:
    """The Ds of so many short messages, as far as there is room."""
    sent: list[str] = []
    for _ in range(count):
        if channel.room:
            channel.give(b"{}")
            sent += heads(channel, now)
    return sent


def again(channel: Channel[str], now: float) -> list[str]:
    """The Ds that go out when a deadline has come."""
    channel.expire(now)
    return heads(channel, now)


# -- slices


@pytest.mark.parametrize(
    ("size", "slices"), [(1, [1]), (1_060, [1_060]), (1_061, [1_060, 1]), (3_180, [1_060] * 3), (16_000, None)]
)
def test_all_slices_but_the_last_have_1060_bytes(size, slices):
    client = client_end()
    message = bytes(number % 251 for number in range(size))
    client.give(message)
    pieces: list[bytes] = []
    while out := said(client):
        pieces += [datagram.split(b" ", 6)[6] for datagram in out]
        client.receive_untrusted(ack(len(pieces)), HOME, 0.0)
    assert b"".join(pieces) == message
    assert list(map(len, pieces)) == (slices or [1_060] * 15 + [100])
    assert client.finished == 1
    assert client.idle


def test_a_message_in_slices_waits_for_the_one_before_it_and_short_ones_do_not():
    client = client_end()
    client.give(b"x" * 2_120)
    assert heads(client) == ["1 1 0/2", "2 1 1/2"]
    assert client.room
    client.give(b"short")
    assert heads(client) == ["3 2 0/1"]
    client.give(b"y" * 2_120)
    assert heads(client) == []
    assert not client.room
    client.receive_untrusted(ack(0, 0b110), HOME, 0.1)
    assert heads(client) == []
    client.receive_untrusted(ack(3), HOME, 0.1)
    assert client.next_deadline() == 0.0
    assert heads(client, 0.1) == ["4 3 0/2", "5 3 1/2"]


def test_messages_are_finished_in_the_order_given():
    client = client_end()
    give_all(client, 3)
    client.receive_untrusted(ack(0, 0b110), HOME, 0.1)
    assert client.finished == 0
    client.receive_untrusted(ack(1), HOME, 0.1)  # of 2 and 3 it said so before
    assert client.finished == 3
    client.finished = 0
    client.give(b"x" * 6_000)
    assert heads(client, 0.1) == ["4 4 0/6", "5 4 1/6", "6 4 2/6", "7 4 3/6"]
    client.receive_untrusted(ack(7), HOME, 0.2)
    assert client.finished == 0
    assert not client.idle
    heads(client, 0.2)
    client.receive_untrusted(ack(9), HOME, 0.3)
    assert client.finished == 1


# -- window


def test_the_window_is_4_and_grows_by_one_per_window_acknowledged_up_to_8():
    client = client_end()
    windows: list[int] = []
    last, now = 0, 0.0
    for _ in range(8):
        sent = give_all(client, 20, now)
        assert not client.room
        windows.append(len(sent))
        now += 0.1
        for _ in sent:
            last += 1
            client.receive_untrusted(ack(last), HOME, now)
    assert windows == [4, 5, 6, 7, 8, 8, 8, 8]


def test_a_time_out_halves_it_once_per_round_trip_and_not_below_1():
    client = client_end()
    sent = give_all(client, 20)
    assert len(sent) == 4
    assert len(again(client, 1.0)) == 4  # all four are late: one loss
    windows = [client._flight.window] if client._flight else []
    for now in (3.0, 7.0, 11.0):
        assert len(again(client, now)) == 4
        windows += [client._flight.window] if client._flight else []
    assert windows == [2, 1, 1, 1]
    client.receive_untrusted(ack(4), HOME, 11.1)
    assert len(give_all(client, 20, 11.1)) == 2  # one window, of 1, was acknowledged


# -- when something goes again


def test_what_is_not_acknowledged_goes_again_the_same_bytes_at_doubling_pauses_and_ends_the_link_after_30_s():
    client = client_end()
    client.give(b"{}")
    first = said(client)
    client.receive_untrusted(data(1, 1), HOME, 0.5)
    said(client, 0.6)
    times: list[float] = []
    while not client.over:
        now = client.next_deadline()
        client.expire(now - 1e-6)
        assert said(client, now - 1e-6) == []
        client.expire(now)
        out = said(client, now)
        if not client.over:
            assert out == first  # with the ack of then
            times.append(now)
    assert times == [1, 3, 7, 11, 15, 19, 23, 27]
    assert now == 30
    assert client.over == "nothing was acknowledged for 30 s"
    assert out == [b"X 0123456789abcdef"]
    assert client.finished == 0


def test_one_datagram_unacknowledged_ends_it_whatever_else_is_acknowledged():
    client = client_end()
    give_all(client, 2)
    client.receive_untrusted(ack(0, 0b10), HOME, 0.1)
    client.expire(29.9)
    assert not client.over
    client.expire(30.0)
    assert client.over


# By hand from RFC 6298, section 2: SRTT and RTTVAR after samples of 0.5, 0.5, 0.9, 0.1 s.
# 0.5: SRTT .5, RTTVAR .25, RTO 1.5. 0.5: RTTVAR .1875, RTO 1.25. 0.9: RTTVAR .75 * .1875 + .25 * .4 = .240625,
# SRTT .55, RTO 1.5125. 0.1: RTTVAR .75 * .240625 + .25 * .45 = .29296875, SRTT .49375, RTO 1.665625.
BY_HAND = [(0.5, 1.5), (0.5, 1.25), (0.9, 1.5125), (0.1, 1.665625)]


def test_the_timeout_follows_round_trips_as_in_rfc_6298():
    client = client_end()
    now = 0.0
    for seq, (rtt, timeout) in enumerate(BY_HAND, 1):
        client.give(b"{}")
        said(client, now)
        client.receive_untrusted(ack(seq), HOME, now + rtt)
        now += 10.0
        assert client._flight is not None
        assert client._flight.timeout == pytest.approx(timeout)
    client.give(b"{}")
    said(client, now)
    assert client.next_deadline() == pytest.approx(now + 1.665625)


@pytest.mark.parametrize(("rtt", "timeout"), [(0.001, 0.2), (3.0, 4.0)])
def test_the_timeout_has_bounds(rtt, timeout):
    client = client_end()
    client.give(b"{}")
    said(client)
    client.expire(0.5)
    client.receive_untrusted(ack(1), HOME, rtt)
    client.give(b"{}")
    said(client, 10.0)
    assert client.next_deadline() == pytest.approx(10.0 + timeout)


def test_karn_what_was_sent_twice_measures_nothing_and_the_next_waits_as_long():
    client = client_end()
    client.give(b"{}")
    said(client)
    assert again(client, 1.0) == ["1 1 0/1"]
    client.receive_untrusted(ack(1), HOME, 1.01)  # of the first sending, most likely
    client.give(b"{}")
    said(client, 5.0)
    assert client.next_deadline() == 7.0  # not 5.2; and longer than the first wait, or nothing would ever be measured
    client.receive_untrusted(ack(2), HOME, 6.5)
    client.give(b"{}")
    said(client, 10.0)
    assert client.next_deadline() == 14.0  # 1.5 + 4 * .75, at most 4


def test_once_a_round_trip_is_known_what_was_sent_before_waits_no_longer_than_that():
    client = client_end()
    give_all(client, 2)
    client.receive_untrusted(ack(0, 0b10), HOME, 0.1)
    assert client.next_deadline() == pytest.approx(0.3)  # 0.1 + 4 * 0.05
    assert again(client, 0.31) == ["1 1 0/1"]
    client.receive_untrusted(ack(0, 0b10), HOME, 0.35)
    assert client.next_deadline() == pytest.approx(0.31 + 0.6)


def test_and_what_has_gone_again_waits_as_long_as_before():
    client = client_end()
    give_all(client, 1)
    assert again(client, 1.0) == ["1 1 0/1"]
    give_all(client, 1, 1.0)
    assert client.receive_untrusted(ack(0, 0b10), HOME, 1.1)
    assert client.next_deadline() == 3.0


def test_three_later_ones_acknowledged_send_it_again_at_once_and_once():
    client = client_end()
    give_all(client, 4)
    client.receive_untrusted(ack(0, 0b10), HOME, 0.1)
    client.receive_untrusted(ack(0, 0b110), HOME, 0.1)
    assert heads(client, 0.1) == []
    client.receive_untrusted(ack(0, 0b1110), HOME, 0.1)
    assert client.next_deadline() == 0.0
    assert heads(client, 0.1) == ["1 1 0/1"]
    give_all(client, 3, 0.1)
    client.receive_untrusted(ack(0, 0b1111110), HOME, 0.2)
    assert heads(client, 0.2) == []


def test_what_is_acknowledged_before_it_goes_again_does_not():
    client = client_end()
    give_all(client, 2)
    client.expire(1.0)
    client.expire(1.0)  # nor does it wait four times as long
    client.receive_untrusted(ack(1), HOME, 1.0)
    assert heads(client, 1.0) == ["2 2 0/1"]
    assert client.next_deadline() == 3.0


# -- acks


def test_an_ack_of_what_was_never_sent_is_not_believed():
    client = client_end()
    assert not client.receive_untrusted(ack(1), HOME, 0.0)
    give_all(client, 2)
    assert not client.receive_untrusted(ack(3), HOME, 0.1)
    assert not client.receive_untrusted(ack(10**14), HOME, 0.1)
    assert not client.receive_untrusted(ack(0, 0xFFFFFFFC), HOME, 0.1)
    assert client.receive_untrusted(data(1, 1, ack=3), HOME, 0.1)  # the message itself counts
    assert client.finished == 0
    assert client.receive_untrusted(ack(1, 0xFFFFFFFF), HOME, 0.1)
    assert client.finished == 2


def test_an_old_ack_is_ignored_and_no_sign_of_life():
    client = client_end()
    give_all(client, 4)
    assert client.receive_untrusted(ack(2), HOME, 0.1)
    assert not client.receive_untrusted(ack(2), HOME, 0.1)
    assert not client.receive_untrusted(ack(1, 0b10), HOME, 0.1)
    assert client.finished == 2
    assert client.receive_untrusted(ack(2, 0b10), HOME, 0.1)  # as far, but with news
    assert not client.receive_untrusted(ack(2, 0b10), HOME, 0.1)


def test_a_repeated_datagram_brings_its_old_ack_and_a_new_one_counts_even_if_it_is_not_kept():
    client = client_end()
    give_all(client, 3)
    client.accepting = False
    assert client.receive_untrusted(data(1, 1, ack=2), HOME, 0.1)
    assert client.finished == 2
    assert not client.whole
    client.accepting = True
    client.receive_untrusted(data(1, 1, ack=1), HOME, 0.2)
    assert client.whole == [b"{}"]
    assert client.finished == 2
    assert client.receive_untrusted(data(1, 1, ack=3), HOME, 0.2)  # nobody sends that, but it says something new
    assert client.finished == 3


def test_without_room_nothing_is_taken():
    client = client_end()
    client.give(b"x" * 16_000)
    assert not client.room
    with pytest.raises(ValueError, match="no room"):
        client.give(b"{}")
    assert len(said(client)) == 4
    with pytest.raises(ValueError, match="no room"):
        client.give(b"{}")
    assert client.next_deadline() < math.inf
