"""One end of a link: which datagrams it takes, what it answers, where to, and when it ends."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire import macs
from sigd.wire.datagram import MAX_DATAGRAM, MAX_MESSAGE, Channel, Reassembly
from tests.wire.lossy import CID, KEY

HOME, ELSEWHERE, NOWHERE = "192.0.2.1:5000", "192.0.2.1:5001", "203.0.113.9:9"
LETTERS = b"00000000000000ff"


def server_end(*, key: bytes | None = None, reassembly: Reassembly | None = None, moves: bool = True) -> Channel[str]:
    """A server's end of a fresh link whose challenges count up from 1."""
    numbers = iter(range(1, 100))
    return Channel(
        CID,
        HOME,
        server=True,
        key=key,
        reassembly=reassembly,
        moves=moves,
        draw=lambda: next(numbers).to_bytes(8, "big"),
    )


def client_end(*, key: bytes | None = None) -> Channel[str]:
    """A client's end of a fresh link."""
    return Channel(CID, HOME, server=False, key=key)


def data(seq: int, mid: int, piece: bytes = b"{}", *, ack: int = 0, part: str = "0/1") -> bytes:
    """A D of this link."""
    return b"D %b %d %d %d %b %b" % (CID, seq, ack, mid, part.encode(), piece)


def said(channel: Channel[str], now: float = 0.0) -> list[bytes]:
    """What goes out now, all of it to the place that the channel knows."""
    out = channel.datagrams_to_send(now)
    assert {place for _, place in out} <= {channel.place}
    return [datagram for datagram, _ in out]


def taken(channel: Channel[str]) -> list[bytes]:
    """The messages that came."""
    return list(channel.take_whole())


def state(channel: Channel[str]) -> str:
    """All that a channel and what it has made of it keep."""
    return repr(_inside(channel))


def _inside(thing: object) -> object:
    if isinstance(thing, dict):
        return {key: _inside(value) for key, value in thing.items()}
    names = getattr(type(thing), "__slots__", ()) if type(thing).__module__.startswith("sigd.") else ()
    return {name: _inside(getattr(thing, name)) for name in names if name != "_draw"} or thing


def talking(key: bytes | None = None) -> Channel[str]:
    """A server's end in the middle of everything: a message on its way, one half come, a ping and a challenge open."""
    channel = server_end(key=key, reassembly=Reassembly(1 << 20))

    def come(text: bytes, place: str) -> None:
        channel.receive_untrusted(text if key is None else macs.sealed(key, b"C", text), place, 1.0)

    come(data(1, 1), HOME)
    come(data(3, 2, b"x" * 1_000, part="1/3"), ELSEWHERE)
    channel.give(b"y" * 3_000)
    channel.ping(1.0)
    assert len(channel.datagrams_to_send(1.0)) == 6  # C, P, three slices, A
    return channel


# -- heads


def test_a_message_is_a_datagram_and_an_ack():
    client, server = client_end(), server_end()
    client.give(b'{"type":"ping"}')
    assert said(client) == [b'D 0123456789abcdef 1 0 1 0/1 {"type":"ping"}']
    assert server.receive_untrusted(b'D 0123456789abcdef 1 0 1 0/1 {"type":"ping"}', HOME, 0.0)
    assert taken(server) == [b'{"type":"ping"}']
    assert said(server, 0.02) == []
    assert server.next_deadline() == 0.025
    assert said(server, 0.025) == [b"A 0123456789abcdef 1 0"]
    assert server.next_deadline() == math.inf
    assert not client.idle
    assert client.receive_untrusted(b"A 0123456789abcdef 1 0", HOME, 0.1)
    assert client.idle
    assert client.finished == 1
    assert client.next_deadline() == math.inf


def test_an_ack_rides_on_an_answer():
    server = server_end()
    server.receive_untrusted(data(1, 1), HOME, 0.0)
    server.give(b"answer")
    assert said(server, 0.01) == [b"D 0123456789abcdef 1 1 1 0/1 answer"]
    assert said(server, 0.1) == []


def test_with_a_key_every_datagram_is_sealed_in_its_direction():
    client, server = client_end(key=KEY), server_end(key=KEY)
    client.give(b"{}")
    [sent] = said(client)
    assert sent == macs.sealed(KEY, b"C", b"D 0123456789abcdef 1 0 1 0/1 {}")
    assert not client.receive_untrusted(sent, HOME, 0.0)  # its own, reflected
    assert server.receive_untrusted(sent, HOME, 0.0)
    assert said(server, 1.0) == [macs.sealed(KEY, b"S", b"A 0123456789abcdef 1 0")]


@pytest.mark.parametrize("key", [None, KEY])
def test_no_datagram_is_longer_than_1200_bytes_however_long_a_link_lives(key):
    channel = server_end(key=key)
    channel._seq = channel._ack = channel._mid = 10**12
    channel.give(b"x" * MAX_MESSAGE)
    assert max(map(len, said(channel))) <= MAX_DATAGRAM


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("key", [None, KEY])
def test_one_line_end_is_no_part_of_a_datagram(end, key):
    server = server_end(key=key)
    text = data(1, 1, b"first")
    server.receive_untrusted((text if key is None else macs.sealed(key, b"C", text)) + end, HOME, 0.0)
    assert taken(server) == [b"first"]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r", b"\n\r"])
def test_a_message_keeps_its_own_line_end(end, key):
    client, server = client_end(key=key), server_end(key=key)
    client.give(b"{}" + end)
    server.receive_untrusted(said(client)[0], HOME, 0.0)
    assert taken(server) == [b"{}" + end]


MALFORMED = [
    b"",
    b"\n",
    b"D",
    b"D 0123456789abcdef",
    b"D 0123456789abcdef 4 0 2 0/1",
    b"D 0123456789abcdef 4 0 2 0/1 ",
    b"D 0123456789abcdef 0 0 2 0/1 {}",
    b"D 0123456789abcdef 4 0 0 0/1 {}",
    b"D 0123456789abcdef  4 0 2 0/1 {}",
    b"D 0123456789abcdef 4  0 2 0/1 {}",
    b"D 0123456789abcdef -4 0 2 0/1 {}",
    b"D 0123456789abcdef +4 0 2 0/1 {}",
    b"D 0123456789abcdef 4_0 0 2 0/1 {}",
    b"D 0123456789abcdef 4 0x0 2 0/1 {}",
    b"D 0123456789abcdef 4\t0 2 0/1 {}",
    b"D 0123456789abcdef \xd9\xa3 0 2 0/1 {}",
    b"D 0123456789abcdef 4 " + b"0" * 60 + b" 2 0/1 {}",
    b"D 0123456789abcdef 4 0 2 1/1 {}",
    b"D 0123456789abcdef 4 0 2 0/0 {}",
    b"D 0123456789abcdef 4 0 2 0 {}",
    b"D 0123456789abcdef 4 0 2 /1 {}",
    b"D 0123456789abcdef 4 0 2 0/ {}",
    b"D 0123456789abcdef 4 0 2 -1/1 {}",
    b"D 0123456789abcdef 4 0 2 0/1/1 {}",
    b"D 0123456789abcdef 4 0 2 0/17 " + b"x" * 1_000,
    b"D 0123456789abcdef 4 0 2 3/3 " + b"x" * 1_000,
    b"D 0123456789abcdef 4 0 2 0/3 " + b"x" * 999,
    b"D 0123456789abcdef 4 0 2 000/3 " + b"x" * 1_000,
    b"D 0123456789abcdef 4 0 2 2/3 ",
    b"D 0123456789abcdef 4 0 2 0/1 " + b"x" * 1_172,
    b"D 0123456789abcdeF 4 0 2 0/1 {}",
    b"D 0123456789abcde 4 0 2 0/1 {}",
    b"D 0123456789abcdef0 4 0 2 0/1 {}",
    b"D0123456789abcdef 4 0 2 0/1 {}",
    b" D 0123456789abcdef 4 0 2 0/1 {}",
    b"d 0123456789abcdef 4 0 2 0/1 {}",
    b"E 0123456789abcdef 4 0 2 0/1 {}",
    b"A 0123456789abcdef",
    b"A 0123456789abcdef 1",
    b"A 0123456789abcdef 1 ",
    b"A 0123456789abcdef  0",
    b"A 0123456789abcdef 1 F",
    b"A 0123456789abcdef 1 0x1",
    b"A 0123456789abcdef 1 000000001",
    b"A 0123456789abcdef 1 0 ",
    b"A 0123456789abcdef 1 0\n\n",
    b"A 0123456789abcdef 1 0 0",
    b"A 0123456789abcdef -1 0",
    b"A 0123456789abcdef 0000000000000001 0",
    b"A 0123456789abcdefx1 0",
    b"P 0123456789abcdef 1",
    b"P 0123456789abcdef 0 0123456789abcdef",
    b"P 0123456789abcdef 1 0123456789abcde",
    b"P 0123456789abcdef 1 0123456789ABCDEF",
    b"P 0123456789abcdef 1 0123456789abcdef ",
    b"P 0123456789abcdef 1234567890123456 0123456789abcdef",
    b"Q 0123456789abcdef",
    b"Q 0123456789abcdef ",
    b"Q 0123456789abcdef 1 1",
    b"Q 0123456789abcdef one",
    b"C 0123456789abcdef",
    b"C 0123456789abcdef 1",
    b"C 0123456789abcdef 0000000000000001 ",
    b"C 0123456789abcdef 000000000000000G",
    b"X 0123456789abcdef ",
    b"X 0123456789abcdef 1",
    b"X 0123456789abcde",
    b"X 0123456789abcdef\n\n",
    b"Z 0123456789abcdef",
    b"Z 0123456789abcdef 1",
    b'{"type":"register","id":"cam1"}',
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:48]))
@pytest.mark.parametrize("place", [HOME, NOWHERE])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_what_is_no_datagram_of_the_link_gets_silence_and_changes_nothing(text, place, key):
    channel = talking(key)
    before = state(channel)
    assert not channel.receive_untrusted(text if key is None else macs.sealed(key, b"C", text), place, 5.0)
    assert state(channel) == before
    assert channel.datagrams_to_send(1.0) == []


DATAGRAMS = [
    data(2, 2, b"x" * 1_000, part="0/3"),
    b"A 0123456789abcdef 3 0",
    b"P 0123456789abcdef 1 0123456789abcdef",
    b"Q 0123456789abcdef 1",
    b"C 0123456789abcdef 0000000000000001",
]


@pytest.mark.parametrize("text", DATAGRAMS, ids=lambda text: repr(text[:1]))
def test_row_34_a_flipped_bit_gets_silence_and_changes_nothing(text):
    place = ELSEWHERE if text.startswith(b"C") else HOME
    channel = talking(KEY)
    before = state(channel)
    sealed = macs.sealed(KEY, b"C", text)
    random = Random(1)
    for bit in random.sample(range(len(sealed) * 8), 200):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not channel.receive_untrusted(bytes(flipped), place, 5.0)
        assert state(channel) == before
    assert channel.receive_untrusted(sealed, place, 5.0)
    assert state(channel) != before


ANY_TEXT = st.binary(max_size=60) | st.builds(
    lambda *parts: b" ".join(parts),
    st.sampled_from([b"D", b"A", b"P", b"Q", b"C", b"X", b"Z", b"", b"DD"]),
    st.sampled_from([CID, CID[:-1], CID.upper(), b""]),
    st.sampled_from([b"0", b"1", b"2", b"3", b"4", b"40", b"9" * 15, b"9" * 1_100, b"", b"-1", LETTERS]),
    st.sampled_from([b"0", b"1", b"3", b"4", b"ffffffff", LETTERS, b"", b"\xff"]),
    st.sampled_from([b"0", b"1", b"2", b"3", b"9", b"99", b""]),
    st.sampled_from([b"0/1", b"0/3", b"1/3", b"2/3", b"0/16", b"0/17", b"1/1", b"/", b""]),
    st.sampled_from([b"", b"{}", b"x" * 1_000, b"x" * 1_160, b"\n", b"\r\n", b" "]),
)


@given(st.lists(st.tuples(ANY_TEXT, st.sampled_from([HOME, ELSEWHERE, NOWHERE])), max_size=12), st.booleans())
def test_any_bytes_raise_nothing_and_what_is_held_is_counted(datagrams, of_server):
    reassembly = Reassembly(40_000)
    channel = Channel(CID, HOME, server=of_server, reassembly=reassembly)
    channel.give(b"x" * 5_000)
    now = 0.0
    for text, place in datagrams:
        now += 0.5
        channel.receive_untrusted(text, place, now)
        channel.expire(now)
        channel.datagrams_to_send(now)
        assert 0 <= reassembly.taken <= 40_000
        assert channel.finished <= 1
    channel.leave("done")
    assert reassembly.taken == 0


@given(st.lists(ANY_TEXT, max_size=6))
def test_any_bytes_are_no_sign_of_life_unless_they_verify(texts):
    channel = talking(KEY)
    before = state(channel)
    for text in texts:
        for datagram in (text, macs.sealed(KEY, b"S", text), macs.sealed(KEY[::-1], b"C", text)):
            assert not channel.receive_untrusted(datagram, NOWHERE, 2.0)
    assert state(channel) == before


# -- pings


def test_a_ping_is_answered_with_its_number():
    server = server_end()
    assert server.receive_untrusted(b"P 0123456789abcdef 7 0123456789abcdef", HOME, 0.0)
    assert server.next_deadline() == 0.0
    assert said(server) == [b"Q 0123456789abcdef 7"]
    assert server.next_deadline() == math.inf
    # An older one, or the same again, is answered, but shows nothing: anybody may have kept it.
    assert not server.receive_untrusted(b"P 0123456789abcdef 7 0123456789abcdef", HOME, 1.0)
    assert said(server) == [b"Q 0123456789abcdef 7"]
    assert not server.receive_untrusted(b"P 0123456789abcdef 6 0123456789abcdef", HOME, 1.0)
    assert server.receive_untrusted(b"P 0123456789abcdef 8 0123456789abcdef", HOME, 1.0)
    assert said(server) == [b"Q 0123456789abcdef 8"]  # one answer for both


def test_a_ping_goes_again_each_second_with_the_next_number_until_any_of_them_is_answered():
    client = client_end()
    client.ping(10.0)
    assert client.next_deadline() == 10.0
    assert said(client, 10.0) == [b"P 0123456789abcdef 1 0000000000000000"]
    client.ping(10.5)  # it is open
    assert said(client, 10.5) == []
    assert client.next_deadline() == 11.0
    assert said(client, 11.0) == [b"P 0123456789abcdef 2 0000000000000000"]
    assert not client.receive_untrusted(b"Q 0123456789abcdef 3", HOME, 11.5)
    assert client.receive_untrusted(b"Q 0123456789abcdef 1", HOME, 11.5)
    assert not client.receive_untrusted(b"Q 0123456789abcdef 2", HOME, 11.6)  # no longer open
    assert client.next_deadline() == math.inf
    client.ping(20.0)
    assert said(client, 20.0) == [b"P 0123456789abcdef 3 0000000000000000"]
    assert not client.receive_untrusted(b"Q 0123456789abcdef 2", HOME, 20.1)
    assert client.receive_untrusted(b"Q 0123456789abcdef 3", HOME, 20.1)


@pytest.mark.parametrize("sign", [data(1, 1), b"P 0123456789abcdef 1 0000000000000000"], ids=["D", "P"])
def test_every_sign_of_life_ends_a_ping(sign):
    client = client_end()
    client.ping(0.0)
    said(client)
    assert client.receive_untrusted(sign, HOME, 0.5)
    said(client, 0.6)
    assert said(client, 1.5) == []
    assert client.next_deadline() == math.inf


def test_a_repeated_datagram_ends_no_ping():
    client = client_end()
    client.receive_untrusted(data(1, 1), HOME, 0.0)
    client.ping(0.0)
    said(client)
    assert not client.receive_untrusted(data(1, 1), HOME, 0.5)
    assert said(client, 1.0) == [b"P 0123456789abcdef 2 0000000000000000", b"A 0123456789abcdef 1 0"]


# -- places


CHALLENGE = b"C 0123456789abcdef 0000000000000001"


def test_row_37_another_place_is_challenged_and_becomes_the_links_once_it_has_answered():
    server = server_end(key=KEY)
    moved = macs.sealed(KEY, b"C", data(1, 1, b"hello there"))
    challenge = macs.sealed(KEY, b"S", CHALLENGE)
    answer = macs.sealed(KEY, b"C", CHALLENGE)
    assert server.receive_untrusted(moved, ELSEWHERE, 0.0)
    assert taken(server) == [b"hello there"]
    server.give(b"answer")
    out = server.datagrams_to_send(0.0)
    assert [place for _, place in out] == [ELSEWHERE, HOME]  # the new one gets the challenge alone
    assert out[0][0] == challenge
    assert not server.receive_untrusted(answer, NOWHERE, 0.1)  # not from there
    assert not server.receive_untrusted(answer, HOME, 0.1)
    assert server.place == HOME
    assert server.receive_untrusted(answer, ELSEWHERE, 0.1)
    assert server.place == ELSEWHERE
    server.expire(1.0)
    assert said(server, 1.0) == [out[1][0]]  # what was lost goes there now
    assert not server.receive_untrusted(answer, ELSEWHERE, 1.1)  # it counts once


def test_row_37_a_replay_from_elsewhere_draws_a_challenge_and_nothing_else():
    server = server_end(key=KEY)
    replayed = macs.sealed(KEY, b"C", data(1, 1, b"hello there"))
    server.receive_untrusted(replayed, HOME, 0.0)
    said(server, 1.0)
    assert not server.receive_untrusted(replayed, NOWHERE, 2.0)
    out = server.datagrams_to_send(2.0)
    assert [(datagram[:1], place) for datagram, place in out] == [(b"C", NOWHERE), (b"A", HOME)]
    assert sum(len(datagram) for datagram, place in out if place == NOWHERE) <= len(replayed)
    assert server.place == HOME


def test_row_37_challenges_go_out_once_a_second_and_are_the_same_while_one_is_open():
    server = server_end()
    challenges: list[tuple[float, bytes]] = []
    for tenth in range(40):
        server.receive_untrusted(b"P %b %d %b" % (CID, tenth + 1, LETTERS), ELSEWHERE, tenth / 10)
        out = server.datagrams_to_send(tenth / 10)
        challenges += [(tenth / 10, datagram) for datagram, place in out if place == ELSEWHERE]
    # The answer to each of them counts: there and back may take longer than a second.
    assert challenges == [(0, CHALLENGE), (1, CHALLENGE), (2, CHALLENGE), (3, CHALLENGE)]
    assert server.receive_untrusted(CHALLENGE, ELSEWHERE, 4.0)


def test_row_37_only_the_newest_place_can_answer():
    server = server_end()
    server.receive_untrusted(b"P %b 1 %b" % (CID, LETTERS), ELSEWHERE, 0.0)
    server.receive_untrusted(b"P %b 2 %b" % (CID, LETTERS), NOWHERE, 1.0)
    second = b"C 0123456789abcdef 0000000000000002"
    assert (second, NOWHERE) in server.datagrams_to_send(1.0)
    assert not server.receive_untrusted(CHALLENGE, ELSEWHERE, 1.1)
    assert not server.receive_untrusted(second, ELSEWHERE, 1.1)
    assert server.receive_untrusted(second, NOWHERE, 1.1)


def test_row_37_nor_does_a_right_answer_allow_more():
    server = server_end()
    server.receive_untrusted(data(1, 1, b"x" * 40), ELSEWHERE, 0.0)
    server.datagrams_to_send(0.0)
    server.receive_untrusted(CHALLENGE, ELSEWHERE, 0.1)
    server.receive_untrusted(data(2, 2, b"x" * 40), HOME, 0.2)
    assert said(server, 0.3) == [b"A 0123456789abcdef 2 0"]
    server.receive_untrusted(data(3, 3, b"x" * 40), HOME, 1.0)
    assert server.datagrams_to_send(1.0)[0] == (b"C 0123456789abcdef 0000000000000002", HOME)


@pytest.mark.parametrize("key", [None, KEY])
def test_row_37_what_is_shorter_than_a_challenge_draws_none(key):
    server = server_end(key=key)
    sealing = 0 if key is None else macs.TAIL_BYTES
    for size in (1, 5, 6):
        text = data(size, size, b"x" * size)
        datagram = text if key is None else macs.sealed(key, b"C", text)
        server.receive_untrusted(datagram, ELSEWHERE, 0.0)
        out = [sent for sent, place in server.datagrams_to_send(0.0) if place == ELSEWHERE]
        assert len(datagram) == 29 + size + sealing
        assert list(map(len, out)) == ([len(datagram)] if size == 6 else [])


def test_a_ping_is_never_shorter_than_the_challenge_that_answers_it():
    client, server = client_end(), server_end()
    client.ping(0.0)
    [ping] = said(client)
    server.receive_untrusted(ping, ELSEWHERE, 0.0)
    out = server.datagrams_to_send(0.0)
    assert [(datagram[:1], place) for datagram, place in out] == [(b"C", ELSEWHERE), (b"Q", HOME)]
    assert len(out[0][0]) <= len(ping)


def test_a_challenge_forgotten_before_it_went_out_is_not_sent():
    server = server_end()
    server.receive_untrusted(data(1, 1, b"x" * 40), ELSEWHERE, 0.0)
    assert server.receive_untrusted(CHALLENGE, ELSEWHERE, 0.0)
    assert said(server, 0.0) == []


def test_over_dtls_a_link_stays_where_it_is():
    server = server_end(moves=False)
    assert server.receive_untrusted(data(1, 1, b"x" * 100), ELSEWHERE, 0.0)
    assert said(server, 1.0) == [b"A 0123456789abcdef 1 0"]
    assert not server.receive_untrusted(CHALLENGE, ELSEWHERE, 1.0)
    assert server.place == HOME


def test_a_client_echoes_every_challenge_to_where_it_came_from():
    client = client_end(key=KEY)
    challenge = macs.sealed(KEY, b"S", CHALLENGE)
    for _ in range(2):
        assert not client.receive_untrusted(challenge, ELSEWHERE, 0.0)
        assert client.next_deadline() == 0.0
        assert client.datagrams_to_send(0.0) == [(macs.sealed(KEY, b"C", CHALLENGE), ELSEWHERE)]
    assert client.place == HOME


def test_challenges_are_random():
    drawn: set[bytes] = set()
    for _ in range(4):
        server = Channel(CID, HOME, server=True)
        server.receive_untrusted(data(1, 1, b"x" * 40), ELSEWHERE, 0.0)
        drawn.add(server.datagrams_to_send(0.0)[0][0])
    assert len(drawn) == 4


# -- ends


def test_x_ends_a_link_and_is_not_answered():
    reassembly = Reassembly(1 << 20)
    server = server_end(reassembly=reassembly)
    server.receive_untrusted(data(1, 1), HOME, 0.0)
    server.receive_untrusted(data(2, 2, b"x" * 1_000, part="0/2"), HOME, 0.0)
    server.give(b"never acknowledged")
    assert not server.receive_untrusted(b"X 0123456789abcdef", HOME, 0.0)
    assert server.over == "left"
    assert taken(server) == [b"{}"]
    assert (server.finished, server.idle, server.room) == (0, True, False)
    assert reassembly.taken == 0
    assert said(server, 100.0) == []
    assert server.next_deadline() == math.inf


@pytest.mark.parametrize("key", [None, KEY])
def test_leaving_says_x_once(key):
    client = client_end(key=key)
    client.give(b"x" * 3_000)
    said(client)
    client.leave("the caller closes")
    client.leave("again")
    assert client.over == "the caller closes"
    assert client.next_deadline() == 0.0
    text = b"X 0123456789abcdef"
    assert said(client) == [text if key is None else macs.sealed(key, b"C", text)]
    assert client.next_deadline() == math.inf
    assert said(client) == []


def test_after_its_end_a_link_does_nothing():
    server = server_end()
    server.leave("over")
    said(server)
    for text in (data(1, 1), *DATAGRAMS, b"X 0123456789abcdef"):
        assert not server.receive_untrusted(text, ELSEWHERE, 0.0)
    server.ping(0.0)
    server.expire(100.0)
    assert said(server, 100.0) == []
    assert server.over == "over"
    assert not server.room
    with pytest.raises(ValueError, match="no room"):
        server.give(b"{}")


@pytest.mark.parametrize("message", [b"", b"x" * 16_001])
def test_only_messages_that_can_be_sent_are_taken(message):
    with pytest.raises(ValueError, match="1 to 16000 bytes"):
        server_end().give(message)


def test_an_idle_link_keeps_nothing_of_its_past():
    server = server_end()
    server.receive_untrusted(data(1, 1, b"x" * 1_000, part="0/2"), HOME, 0.0)
    server.receive_untrusted(data(2, 1, b"x", part="1/2"), HOME, 0.0)
    server.give(b"answer")
    said(server)
    server.receive_untrusted(b"A 0123456789abcdef 1 0", HOME, 0.1)
    server.receive_untrusted(b"P 0123456789abcdef 1 0123456789abcdef", HOME, 25.0)
    said(server, 25.0)
    assert server._flight is not None  # it may go on, and knows the path
    server.receive_untrusted(b"P 0123456789abcdef 2 0123456789abcdef", HOME, 50.0)
    said(server, 50.0)
    kept: list[object] = [server._flight, server._held, server._aside]
    assert kept == [None, None, None]
    # And the numbers go on.
    server.give(b"more")
    assert said(server, 60.0) == [b"D 0123456789abcdef 2 2 2 0/1 more"]
    assert server.receive_untrusted(b"A 0123456789abcdef 2 0", HOME, 60.1)
    assert server.finished == 2


def test_how_long_something_waits_for_its_acknowledgement() -> None:
    """Repeated datagrams wait from the time of their first sending on."""
    channel = server_end()
    assert channel.unacknowledged_since == math.inf
    channel.give(b"{}")
    said(channel, 3.0)
    channel.expire(4.5)
    said(channel, 4.5)
    assert channel.unacknowledged_since == 3.0
    channel.receive_untrusted(b"A %b 1 0" % CID, HOME, 5.0)
    assert channel.unacknowledged_since == math.inf
