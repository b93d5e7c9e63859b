"""Where frames end: whatever the pieces in which bytes come, the same frames and the same errors."""

import re
from collections.abc import Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import (
    HEAD_BYTES,
    NOT_HTTP,
    SKIPPED_LIMITS,
    TLS_ALERT,
    Dialect,
    Lines,
    Prefixed,
    Splitter,
    TooLong,
    dialect_of,
    is_http_request,
)

Found = bytes | ErrorCode

MANY = 1_000_000


def split(splitter: Splitter, chunks: Iterable[bytes], most: int = MANY) -> list[Found]:
    """All frames and errors in these chunks, as a link takes them: until `more` is false, and up to a fatal error."""
    found: list[Found] = []
    for chunk in chunks:
        given_now = chunk
        while True:
            try:
                frames = splitter.take(given_now, most)
                assert len(frames) <= most
                assert all(type(frame) is bytes for frame in frames)
                found += frames
            except ProtocolError as fault:
                found.append(fault.code)
                if fault.code.closes:
                    return found
                splitter.skip()
            given_now = b""
            if not splitter.more:
                break
    return found


def prefixed_frames(data: bytes, limit: int) -> list[Found]:
    """What `Prefixed` must find, said as plainly as possible."""
    found: list[Found] = []
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "big")
        if not 0 < size <= SKIPPED_LIMITS * limit:
            return [*found, ErrorCode.BAD_FRAME]
        if size > limit:
            found.append(ErrorCode.TOO_LARGE)
        elif len(data) < 4 + size:
            break
        else:
            found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def line_frames(data: bytes, limit: int) -> list[Found]:
    """What `Lines` must find, said as plainly as possible."""
    *lines, rest = data.split(b"\n")
    bare = [line.removesuffix(b"\r") for line in lines]
    found: list[Found] = [line if len(line) <= limit else ErrorCode.TOO_LARGE for line in bare]
    # One byte above the limit may be the CR of the line's end.
    return [*found, ErrorCode.TOO_LARGE] if len(rest) > limit + 1 else found


def frames_with_texts(data: bytes, limit: int) -> list[Found]:
    """What `Lines` must find where `send b <<` begins a text, said as plainly as possible."""
    found: list[Found] = []
    while (stop := data.find(b"\n")) >= 0:
        line = data[:stop].removesuffix(b"\r")
        if line != b"send b <<" or len(line) > limit:
            found += line_frames(data[: stop + 1], limit)
            data = data[stop + 1 :]
            continue
        closing = re.search(rb"\n\.\r?\n", data[stop:])
        if closing is None:
            # Three bytes above the limit may belong to the end.
            return [*found, ErrorCode.TOO_LARGE] if len(data) > limit + 3 else found
        end = stop + closing.start()
        found.append(data[: end + 1] if end <= limit else ErrorCode.TOO_LARGE)
        data = data[stop + closing.end() :]
    return found + line_frames(data, limit)


def chunked(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data in pieces, none of them empty."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in pairwise(places)]


CUTS = st.lists(st.integers(min_value=1, max_value=80), max_size=12)
MOST = st.integers(min_value=1, max_value=4)
LIMIT = st.integers(min_value=1, max_value=9)
PREFIXED_DATA = st.lists(
    st.binary(min_size=1, max_size=10).map(Prefixed.wrap)
    | st.binary(max_size=5)
    | st.sampled_from([b"\0\0\0\0", b"\0\0\0\x0a", b"\x7f\xff\xff\xff", b"\0\0\0\x01"]),
    max_size=8,
).map(b"".join)
LINES_DATA = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"{", b"bcd", b"0123456789"]), max_size=24).map(
    b"".join
)

TEXTS_DATA = st.lists(
    st.sampled_from(
        [b"send b <<", b"send b <<\n", b"send b <<\r\n", b"\n.\n", b"\n.\r\n", b"\n", b".", b"\r", b"v=0", b"<<"]
    ),
    max_size=16,
).map(b"".join)


class TestAnySplitOfTheBytesGivesTheSame:
    @given(data=PREFIXED_DATA, cuts=CUTS, most=MOST, limit=LIMIT)
    def test_prefixed(self, data: bytes, cuts: list[int], most: int, limit: int) -> None:
        splitter = Prefixed(limit)
        found = split(splitter, chunked(data, cuts), most)
        assert found == prefixed_frames(data, limit)
        if not any(isinstance(each, ErrorCode) for each in found):
            frames = b"".join(Prefixed.wrap(frame) for frame in found if isinstance(frame, bytes))
            assert frames + bytes(splitter.rest) == data

    @given(data=LINES_DATA, cuts=CUTS, most=MOST, limit=LIMIT)
    @example(data=b"a\n01\n", cuts=[], most=2, limit=1)  # a line one byte too long, behind one that is good
    @example(data=b"a\n01", cuts=[], most=2, limit=1)
    @example(data=b"0123\r", cuts=[], most=1, limit=4)
    @example(data=b"\r\r\n\n", cuts=[1, 2, 3], most=1, limit=1)
    def test_lines(self, data: bytes, cuts: list[int], most: int, limit: int) -> None:
        splitter = Lines(limit)
        assert split(splitter, chunked(data, cuts), most) == line_frames(data, limit)
        assert len(splitter.rest) <= limit + 1

    @given(data=TEXTS_DATA, cuts=CUTS, most=MOST, limit=st.integers(min_value=4, max_value=30))
    @example(data=b"send b <<\nv=0\r\n.\r\na\n", cuts=[18, 19, 20], most=1, limit=13)
    @example(data=b"send b <<\nabcdefghij.\n\n.\n", cuts=[21, 22], most=1, limit=10)  # no end within what is skipped
    def test_texts(self, data: bytes, cuts: list[int], most: int, limit: int) -> None:
        splitter = Lines(limit)
        assert split(splitter, chunked(data, cuts), most) == frames_with_texts(data, limit)
        assert len(splitter.rest) <= limit + 4

    @given(data=st.binary(max_size=60), cuts=CUTS, most=MOST, limit=LIMIT)
    def test_garbage(self, data: bytes, cuts: list[int], most: int, limit: int) -> None:
        assert split(Prefixed(limit), chunked(data, cuts), most) == prefixed_frames(data, limit)
        assert split(Lines(limit), chunked(data, cuts), most) == line_frames(data, limit)


class TestLimitThatRisesOnTheWay:
    """`register` raises the limit: what came with it in one chunk has the new one."""

    @pytest.mark.parametrize("size", [4_095, 4_096, 4_097, 4_098, 5_000, 65_536])
    @pytest.mark.parametrize("whole", [True, False])
    def test_prefixed(self, size: int, whole: bool) -> None:
        splitter = Prefixed(4_096)
        data = Prefixed.wrap(b"register") + Prefixed.wrap(b"x" * size)
        first = splitter.take(data if whole else data[:-1], 32)
        splitter.limit = 65_536
        found = list(first)
        if splitter.more:
            found += splitter.take(b"", 32)
        if not whole:
            found += splitter.take(data[-1:], 32)
        assert found == [b"register", b"x" * size]

    @pytest.mark.parametrize("size", [4_095, 4_096, 4_097, 4_098, 5_000, 65_536])
    @pytest.mark.parametrize("whole", [True, False])
    def test_lines(self, size: int, whole: bool) -> None:
        splitter = Lines(4_096)
        data = b"register\n" + b"x" * size + b"\n"
        first = splitter.take(data if whole else data[:-1], 32)
        splitter.limit = 65_536
        found = list(first)
        if splitter.more:
            found += splitter.take(b"", 32)
        if not whole:
            found += splitter.take(data[-1:], 32)
        assert found == [b"register", b"x" * size]


class TestWork:
    """However small the chunks, a byte is moved a fixed number of times."""

    @staticmethod
    def bytes_moved(splitter: Splitter, data: bytes) -> int:
        moved, before = 0, splitter.rest
        for place in range(len(data)):
            frames = splitter.take(data[place : place + 1], 32)
            moved += sum(map(len, frames)) + 1
            if splitter.rest is not before:  # a new object was filled; appending to the old one moves one byte
                moved += len(splitter.rest)
                before = splitter.rest
        return moved

    def test_prefixed_byte_by_byte(self) -> None:
        data = Prefixed.wrap(b"x" * 65_536) * 2
        assert self.bytes_moved(Prefixed(65_536), data) < 4 * len(data)

    def test_line_byte_by_byte(self) -> None:
        data = (b"x" * 65_536 + b"\r\n") * 2
        assert self.bytes_moved(Lines(65_536), data) < 4 * len(data)

    def test_a_skipped_line_is_not_kept(self) -> None:
        splitter = Lines(100)
        with pytest.raises(ProtocolError):
            splitter.take(b"x" * 200, 32)
        for _ in range(100):
            assert list(splitter.take(b"y" * 65_536, 32)) == []
            assert len(splitter.rest) == 0
        assert splitter.take(b"\nnext\n", 32) == [b"next"]

    def test_a_skipped_frame_is_not_kept(self) -> None:
        splitter = Prefixed(65_536)
        data = Prefixed.wrap(b"x" * 1_000_000)
        with pytest.raises(TooLong) as caught:
            splitter.take(data[:65_536], 32)
        assert (caught.value.head, caught.value.length) == (b"x" * HEAD_BYTES, 1_000_000)
        splitter.skip()
        for place in range(65_536, 1_000_000, 65_536):
            assert list(splitter.take(data[place : place + 65_536], 32)) == []
            assert (bytes(splitter.rest), splitter.more) == (data[:4] if splitter.skipping else b"", False)
        assert splitter.take(Prefixed.wrap(b"next"), 32) == [b"next"]

    def test_a_long_frame_is_not_skipped_before_its_beginning_has_come(self) -> None:
        splitter = Prefixed(100)
        data = Prefixed.wrap(b"y" * 1_500) + Prefixed.wrap(b"next")
        with pytest.raises(TooLong) as caught:
            splitter.take(data[:4], 32)
        assert not caught.value.is_known
        assert list(splitter.take(data[4:1_000], 32)) == []
        with pytest.raises(TooLong) as caught:
            splitter.take(data[1_000:], 32)
        assert caught.value.is_known
        splitter.skip()
        assert splitter.more
        assert splitter.take(b"", 32) == [b"next"]

    @pytest.mark.parametrize("prefix", ["7fffffff", "00ffffff", "00010001", "00000000", "ffffffff", "00000641"])
    def test_a_bad_length_is_refused_with_its_fourth_byte(self, prefix: str) -> None:
        splitter = Prefixed(100)
        data = bytes.fromhex(prefix)
        for place in range(3):
            assert list(splitter.take(data[place : place + 1], 32)) == []
        with pytest.raises(ProtocolError) as caught:
            splitter.take(data[3:], 32)
        assert caught.value.code is ErrorCode.BAD_FRAME


class TestClear:
    @pytest.mark.parametrize("begun", [b"", b"\0", b"\0\0\0\x05hel", b"\0\0\0\x01x\0\0\0\x01y", b"\0\0\0\x01x\0"])
    def test_prefixed_keeps_nothing_of_what_has_come(self, begun: bytes) -> None:
        splitter = Prefixed(100)
        splitter.take(begun, 1)
        splitter.clear()
        assert (bytes(splitter.rest), splitter.more) == (b"", False)

    @pytest.mark.parametrize("begun", [b"", b"hel", b"x\ny\n", b"x\nsend b <<\nhel", b"x\n\xff"])
    def test_lines_keep_nothing_of_what_has_come(self, begun: bytes) -> None:
        splitter = Lines(100)
        splitter.take(begun, 1)
        splitter.clear()
        assert (bytes(splitter.rest), splitter.more) == (b"", False)
        assert splitter.take(b"", MANY) == []


class TestFirstByte:
    def test_chooses(self) -> None:
        chosen = {first: dialect_of(first) for first in range(256)}
        assert chosen == dict.fromkeys(range(256), Dialect.LINES) | {0x00: Dialect.PREFIXED, 0x16: Dialect.TLS}

    def test_every_length_begins_with_it(self) -> None:
        assert dialect_of(Prefixed.wrap(b"x")[0]) is Dialect.PREFIXED
        assert dialect_of(((1 << 24) - 1).to_bytes(4, "big")[0]) is Dialect.PREFIXED

    def test_tls_alert_is_a_record_with_a_fatal_alert(self) -> None:
        assert TLS_ALERT[0] == 21  # alert
        assert int.from_bytes(TLS_ALERT[3:5], "big") == len(TLS_ALERT[5:]) == 2
        assert TLS_ALERT[5:] == bytes([2, 40])  # fatal, handshake_failure


class TestHTTP:
    @pytest.mark.parametrize(
        "line",
        [
            b"GET / HTTP/1.1",
            b"GET / HTTP/1.0",
            b"POST /x HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"BREW /pot HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"GET / HTTP/1.1\r",
            b"\xff HTTP/1.1",
            b'{"type":"ping"} HTTP/1.1',
        ],
    )
    def test_request(self, line: bytes) -> None:
        assert is_http_request(line)

    @pytest.mark.parametrize(
        "line", [b"", b"ping", b"GET /", b"HTTP/1.1", b"send bob HTTP/1.1 is old", b'{"type":"message HTTP/1.1"}']
    )
    def test_anything_else(self, line: bytes) -> None:
        assert not is_http_request(line)

    def test_answer_is_one_short_line_that_no_program_reads(self) -> None:
        assert NOT_HTTP.startswith(b"#")
        assert NOT_HTTP.count(b"\n") == 1
        assert NOT_HTTP.endswith(b"\n")
        assert len(NOT_HTTP) <= 256
        assert NOT_HTTP.isascii()


UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
"""What steers a terminal, ends a line for some program, or turns text around."""


class TestWrap:
    @given(message=st.binary(min_size=1, max_size=300))
    def test_prefixed_carries_anything(self, message: bytes) -> None:
        assert split(Prefixed(300), [Prefixed.wrap(message)]) == [message]

    @given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text("\x7f\x9b\u2028\u202ea\n\x1b"))
    def test_a_line_is_one_line_without_anything_that_steers_a_terminal(self, text: str) -> None:
        message = msgspec.json.encode({"data": text})
        line = Lines.wrap(message)
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert UNSAFE.search(line[:-1].decode()) is None
        assert msgspec.json.decode(line) == {"data": text}
        assert split(Lines(len(line)), [line]) == [line[:-1]]

    @pytest.mark.parametrize("code", [0x7F, 0x80, 0x9B, 0x9F, 0x61C, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202E])
    def test_each_goes_out_as_an_escape(self, code: int) -> None:
        assert Lines.wrap(f'"{chr(code)}"'.encode()) == f'"\\u{code:04x}"\n'.encode()

    @pytest.mark.parametrize("code", [0x2066, 0x2067, 0x2068, 0x2069, 0xAD, 0x200B, 0xFEFF])
    def test_isolates_and_what_does_not_show_too(self, code: int) -> None:
        assert Lines.wrap(f'"{chr(code)}"'.encode()) == f'"\\u{code:04x}"\n'.encode()

    @pytest.mark.parametrize("count", [1, 17])
    def test_tags_go_out_in_two(self, count: int) -> None:
        assert Lines.wrap(f'"{chr(0xE0041) * count}"'.encode()) == b'"' + rb"\udb40\udc41" * count + b'"\n'

    @pytest.mark.parametrize("count", [1, 15, 16, 17, 5_000])
    def test_few_and_many_of_them(self, count: int) -> None:
        text = "".join(chr(code) + "é\U0001f600" for code in [0x7F, 0x9B, 0x2028, 0x202E] * count)[: 3 * count]
        line = Lines.wrap(msgspec.json.encode(text))
        assert UNSAFE.search(line[:-1].decode()) is None
        assert line.count(b"\\u") == count
        assert msgspec.json.decode(line) == text

    @pytest.mark.parametrize("text", ["plain", "zażółć", "日本", "😀", "\u00a0", "\ufffd"])
    def test_everything_else_stays(self, text: str) -> None:
        assert Lines.wrap(f'"{text}"'.encode()) == f'"{text}"\n'.encode()
