"""What one end of a link receives: in order, once, and never more held than there is room for."""

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire.datagram import MAX_MESSAGE, Channel, Reassembly
from tests.wire.test_datagram import HOME, data, said, server_end, state, taken

THIRD = b"abc" * 350
"""A slice, of 1 050 bytes."""


def come(channel: Channel[str], *datagrams: bytes, now: float = 0.0) -> list[bool]:
    return [channel.receive_untrusted(datagram, HOME, now) for datagram in datagrams]


# -- order


def test_row_34_a_repeated_datagram_is_acknowledged_again_and_delivered_once():
    server = server_end()
    assert come(server, data(1, 1), data(1, 1), data(1, 1)) == [True, False, False]
    assert taken(server) == [b"{}"]
    assert said(server) == [b"A 0123456789abcdef 1 0"]  # one for all of them, and at once
    assert come(server, data(1, 1), now=50.0) == [False]
    assert said(server, 50.0) == [b"A 0123456789abcdef 1 0"]
    assert taken(server) == []


def test_row_34_so_is_one_that_is_held():
    server = server_end(reassembly=Reassembly(100))
    assert come(server, data(2, 2, b"two"), data(2, 2, b"two")) == [True, False]
    assert said(server) == [b"A 0123456789abcdef 0 2"]
    assert come(server, data(1, 1, b"one")) == [True]
    assert taken(server) == [b"one", b"two"]


def test_what_is_ahead_of_its_turn_waits_and_says_so():
    reassembly = Reassembly(100)
    server = server_end(reassembly=reassembly)
    come(server, data(3, 3, b"three"), data(2, 2, b"two"))
    assert taken(server) == []
    assert reassembly.taken == 8
    assert said(server) == [b"A 0123456789abcdef 0 6"]
    come(server, data(1, 1, b"one"))
    assert taken(server) == [b"one", b"two", b"three"]
    assert reassembly.taken == 0
    assert said(server) == [b"A 0123456789abcdef 3 0"]
    assert server.next_deadline() == math.inf


def test_where_something_is_missing_a_d_does_not_say_enough():
    server = server_end()
    come(server, data(2, 2))
    server.give(b"answer")
    assert said(server) == [b"D 0123456789abcdef 1 0 1 0/1 answer", b"A 0123456789abcdef 0 2"]


def test_seqs_that_are_left_out_stay_open():
    server = server_end()
    come(server, data(2, 1, b"one"), data(3, 2, b"two"))
    assert taken(server) == [b"one", b"two"]
    assert said(server) == [b"A 0123456789abcdef 0 6"]
    assert server.next_deadline() == math.inf


@pytest.mark.parametrize(("seq", "kept"), [(32, True), (33, False)])
def test_32_datagrams_ahead_are_kept(seq, kept):
    server = server_end()
    assert come(server, data(seq, 2)) == [kept]
    assert said(server) == ([b"A 0123456789abcdef 0 80000000"] if kept else [])


@pytest.mark.parametrize(("mid", "kept"), [(9, True), (10, False)])
def test_8_messages_ahead_are_kept(mid, kept):
    server = server_end()
    assert come(server, data(2, mid)) == [True]
    assert said(server) == ([b"A 0123456789abcdef 0 2"] if kept else [])


@given(st.permutations(range(10)), st.data())
def test_in_whatever_order_and_however_often_datagrams_come_messages_come_in_theirs_and_once(order, draw):
    datagrams = [
        *(data(seq, seq, b"%d" % seq) for seq in (1, 2)),
        *(data(3 + number, 3, b"%d" % number * 1_000, part=f"{number}/4") for number in range(4)),
        *(data(seq, seq - 3, b"%d" % seq) for seq in (7, 8, 9, 10)),
    ]
    whole = [b"1", b"2", b"".join(b"%d" % number * 1_000 for number in range(4)), b"7", b"8", b"9", b"10"]
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    more = draw.draw(st.lists(st.sampled_from(range(10)), max_size=10))
    for number in [*order, *more]:
        server.receive_untrusted(datagrams[number], HOME, 0.0)
        assert list(server.whole) == whole[: len(server.whole)]
    assert server.whole == whole
    assert reassembly.taken == 0
    assert said(server) == [b"A 0123456789abcdef 10 0"]


# -- slices


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_message_in_slices_is_put_together_in_any_order(order):
    reassembly = Reassembly(4_000)
    server = server_end(reassembly=reassembly)
    pieces = [b"x" * 1_000, b"y" * 1_100, b"z"]
    for number in order:
        assert taken(server) == []
        come(server, data(number + 1, 1, pieces[number], part=f"{number}/3"))
    assert taken(server) == [b"".join(pieces)]
    assert reassembly.taken == 0
    assert said(server) == [b"A 0123456789abcdef 3 0"]  # no wait: the other end has more to send


def test_one_that_is_whole_ahead_of_its_turn_takes_what_it_has():
    reassembly = Reassembly(4_000)
    server = server_end(reassembly=reassembly)
    come(server, data(2, 2, THIRD, part="0/2"))
    assert reassembly.taken == 2_400
    come(server, data(3, 2, b"end", part="1/2"))
    assert reassembly.taken == len(THIRD) + 3
    come(server, data(1, 1))
    assert taken(server) == [b"{}", THIRD + b"end"]
    assert reassembly.taken == 0


NOT_KEPT = [
    pytest.param(data(3, 1, THIRD, part="1/4"), id="row 35: another n"),
    pytest.param(data(3, 1, b"end"), id="row 35: n is 1 now"),
    pytest.param(data(3, 1, THIRD, part="0/3"), id="the same slice"),
    pytest.param(data(3, 2, THIRD, part="0/2"), id="a second message in slices"),
    pytest.param(data(3, 10, b"{}"), id="too far ahead"),
]


@pytest.mark.parametrize("datagram", NOT_KEPT)
def test_row_35_what_does_not_fit_is_not_kept_and_not_acknowledged(datagram):
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    come(server, data(1, 1, THIRD, part="0/3"))
    said(server)
    before = state(server)
    come(server, datagram)
    assert state(server) == before
    assert said(server, 10.0) == []
    assert reassembly.taken == 3_600
    come(server, data(2, 1, THIRD, part="1/3"), data(3, 1, b"end", part="2/3"))
    assert taken(server) == [THIRD * 2 + b"end"]


def test_a_message_that_was_delivered_does_not_come_again_with_another_seq():
    server = server_end()
    come(server, data(1, 1))
    said(server, 1.0)
    assert come(server, data(2, 1)) == [True]
    assert taken(server) == [b"{}"]
    assert said(server, 2.0) == []


def test_a_message_that_is_held_is_not_replaced():
    server = server_end()
    come(server, data(2, 2, b"two"), data(3, 2, b"other"), data(1, 1, b"one"))
    assert taken(server) == [b"one", b"two"]


def test_no_message_grows_above_16_000_bytes():
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    for number in range(16):
        come(server, data(number + 1, 1, b"x" * 1_001, part=f"{number}/16"))
    assert taken(server) == []
    assert reassembly.taken == MAX_MESSAGE
    assert said(server) == [b"A 0123456789abcdef 15 0"]
    come(server, data(16, 1, b"x" * 985, part="15/16"))
    assert list(map(len, taken(server))) == [MAX_MESSAGE]


def test_row_35_one_link_holds_no_more_than_two_messages():
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    seq = 2
    for mid in (2, 3, 4):
        for number in range(10):
            come(server, data(seq, mid, b"x" * 1_150, part=f"{number}/10"))
            seq += 1
    assert reassembly.taken == 2 * 11_500
    assert server.receive_untrusted(data(24, 8, b"{}"), HOME, 0.0)
    assert reassembly.taken == 2 * 11_500 + 2


# -- room


def test_row_35_10_000_links_that_begin_messages_hold_no_more_than_there_is_room_for():
    reassembly = Reassembly(8 << 20)
    links = [server_end(reassembly=reassembly) for _ in range(10_000)]
    for link in links:
        come(link, data(1, 1, b"x" * 1_100, part="0/16"))
        assert reassembly.taken <= reassembly.most
    held = [bool(said(link)) for link in links]
    assert sum(held) == (8 << 20) // MAX_MESSAGE
    assert held == sorted(held, reverse=True)  # what is acknowledged stays, and those after it wait
    assert come(links[-1], data(2, 1, b"{}")) == [True]
    assert taken(links[-1]) == [b"{}"]  # what needs no room comes through
    links[0].leave("the caller closes")
    assert come(links[-2], data(1, 1, b"x" * 1_100, part="0/16")) == [True]
    assert said(links[-2]) == [b"A 0123456789abcdef 1 0"]
    for link in links:
        link.discard()
    assert reassembly.taken == 0


def test_less_room_takes_nothing_from_anybody():
    reassembly = Reassembly(16_000)
    server = server_end(reassembly=reassembly)
    come(server, data(1, 1, THIRD, part="0/2"))
    reassembly.most = 0
    come(server, data(2, 1, b"end", part="1/2"))
    assert taken(server) == [THIRD + b"end"]
    assert reassembly.taken == 0


def test_what_is_not_accepted_is_neither_kept_nor_acknowledged_and_all_else_is_acted_on():
    server = server_end()
    come(server, data(1, 1, b"one"))
    said(server, 1.0)
    server.give(b"mine")
    said(server, 1.0)
    server.accepting = False
    assert come(server, data(2, 2, b"two", ack=1), data(3, 3, b"three")) == [True, True]
    assert server.finished == 1
    assert come(server, b"P 0123456789abcdef 1 0123456789abcdef") == [True]
    assert said(server, 10.0) == [b"Q 0123456789abcdef 1"]
    come(server, data(1, 1, b"one"))
    assert said(server, 10.0) == [b"A 0123456789abcdef 1 0"]  # what was kept
    server.accepting = True
    come(server, data(3, 3, b"three"), data(2, 2, b"two"))
    assert taken(server) == [b"one", b"two", b"three"]
    server.accepting = False
    come(server, b"X 0123456789abcdef")
    assert server.over == "left"


# -- time


def test_a_message_not_whole_after_60_s_ends_the_link():
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    come(server, data(1, 1, THIRD, part="0/3"), now=10.0)
    said(server, 10.0)
    assert server.next_deadline() == 70.0
    come(server, data(2, 1, THIRD, part="1/3"), now=60.0)
    said(server, 60.0)
    server.expire(69.9)
    assert server.room
    server.expire(70.0)
    assert server.over == "a message was not whole within 60 s"
    assert said(server, 70.0) == [b"X 0123456789abcdef"]
    assert reassembly.taken == 0


def test_so_does_one_that_keeps_those_behind_it_waiting():
    server = server_end()
    come(server, data(2, 2))
    said(server)
    assert server.next_deadline() == 60.0
    server.expire(60.0)
    assert server.over == "a message was not whole within 60 s"
