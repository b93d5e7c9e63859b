"""Telnet commands in lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire import telnet
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Lines, TooLong

CTRL_C = b"\xff\xf4\xff\xfd\x06"
"""Bytes that telnet sends: interrupt process, and a request for a timing mark. It shows nothing until the answer."""


def all_frames(split: Lines, *chunks: bytes) -> list[bytes]:
    frames: list[bytes] = []
    for chunk in chunks:
        frames += split.take(chunk, 1000)
        while split.more:
            frames += split.take(b"", 1000)
    return frames


@pytest.mark.parametrize(
    ("sent", "frames"),
    [
        (CTRL_C, [b"\xff\xfd\x06", b"quit"]),
        (b"who\r\n" + CTRL_C, [b"who", b"\xff\xfd\x06", b"quit"]),
        (b"wh\xff\xf1o\r\n", [b"who"]),
        (b"\xff\xfb\x1f\xff\xfc\x18\xff\xfd\x0aregister a\n", [b"register a", b"\xff\xfb\x1f\xff\xfd\x0a"]),
        (b"\xff\xf6", [b"ping"]),
        (b"\xff\xec", [b"quit"]),
        (b"caf\xff\xff\n", [b"caf\xff\xff"]),
        (b"\xff7\n", [b"\xff7"]),
    ],
)
def test_sequences_are_taken_out(sent: bytes, frames: list[bytes]):
    assert all_frames(Lines(100), sent) == frames


def test_nothing_that_is_no_sequence_is_an_answer_to_one():
    assert telnet.refusals(b"\xff7") == b""
    assert telnet.refusals(b"\xff\xfc\x06\xff\xfe\x06") == b""


def test_every_option_is_refused_once():
    assert telnet.refusals(b"\xff\xfd\x06\xff\xfb\x1f") == b"\xff\xfc\x06\xff\xfe\x1f"


PIECES = st.sampled_from(
    [b"who\n", b"send b hi", b"\r\n", b"\xff\xfd\x06", b"\xff\xfb ", b"\xff\xf4", b"\xff\xf1", b"\xff\xfe\n"]
)


@given(st.lists(PIECES, max_size=8).map(b"".join), st.lists(st.integers(1, 5), min_size=1))
def test_however_it_is_cut_the_same_is_found(sent: bytes, sizes: list[int]):
    whole = all_frames(Lines(1000), sent)
    chunks: list[bytes] = []
    rest, turn = sent, 0
    while rest:
        size = sizes[turn % len(sizes)]
        chunks.append(rest[:size])
        rest, turn = rest[size:], turn + 1
    pieces = all_frames(Lines(1000), *chunks)

    def lines(frames: list[bytes]) -> list[bytes]:
        return [frame for frame in frames if frame[:1] != telnet.IAC and frame != b"quit"]

    assert lines(pieces) == lines(whole)
    assert pieces.count(b"quit") == whole.count(b"quit")
    assert b"".join(map(telnet.refusals, pieces)) == b"".join(map(telnet.refusals, whole))


@pytest.mark.parametrize("beginning", [b"\xff", b"\xff\xfd"])
def test_a_sequence_in_two_chunks(beginning: bytes):
    split = Lines(100)
    assert all_frames(split, b"wh" + beginning) == []
    assert all_frames(split, (b"\xff\xfd\x06")[len(beginning) :] + b"o\n") == [b"who", b"\xff\xfd\x06"]


def test_an_interrupt_in_a_line_that_is_too_long_is_heard():
    assert all_frames(Lines(10), b"x" * 20 + CTRL_C) == [b"\xff\xfd\x06", b"quit"]


def test_a_line_that_is_too_long_is_refused_where_nothing_is_asked():
    with pytest.raises(ProtocolError) as caught:
        Lines(10).take(b"x" * 20 + b"\xff\xf1", 1000)
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_an_interrupt_in_a_text_of_several_lines_is_heard():
    split = Lines(100)
    assert all_frames(split, b"send bob <<\nhel\xff", b"\xf1lo\n") == []
    assert all_frames(split, CTRL_C) == [b"\xff\xfd\x06", b"quit"]
    assert all_frames(split, b".\n") == [b"send bob <<\nhello\n"]


@pytest.mark.parametrize("before", [b"x" * 200, b"send b <<\n" + b"x" * 200], ids=["line", "text"])
def test_a_sequence_in_two_chunks_of_what_is_passed_over(before: bytes):
    """Telnet shows nothing until it is answered, whatever its person has pasted before."""
    split = Lines(100)
    with pytest.raises(TooLong):
        all_frames(split, before)
    assert all_frames(split, b"x\xff", b"\xf4\xff", b"\xfd", b"\x06") == [b"quit", b"\xff\xfd\x06"]
    assert all_frames(split, b"x\n.\n", b"who\n")[-1:] == [b"who"]
