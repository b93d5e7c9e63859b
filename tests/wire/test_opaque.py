"""What is relayed as it came: how deep it may be nested, and that it stays on one line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import Candidate, Message, Ping, Register, decode
from sigd.wire.opaque import is_plain, is_shallow, passable

DEPTH = 16


def refusal(frame: bytes, max_depth: int = DEPTH) -> ProtocolError:
    """What decoding a frame raises."""
    with pytest.raises(ProtocolError) as caught:
        decode(frame, max_depth)
    return caught.value


def nested(depth: int) -> bytes:
    """JSON that is nested this deep."""
    return b"[" * depth + b"]" * depth


def nested_objects(depth: int) -> bytes:
    """The same of objects."""
    return b'{"":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


class TestDepth:
    @pytest.mark.parametrize("depth", [1, 15, 16])
    @pytest.mark.parametrize("body", [nested, nested_objects])
    def test_taken(self, depth: int, body: Callable[[int], bytes]) -> None:
        message = decode(b'{"type":"message","to":"bob","data":' + body(depth) + b"}", DEPTH)
        assert isinstance(message, Message)
        assert bytes(message.data) == body(depth)

    @pytest.mark.parametrize("depth", [17, 18, 100, 900, 2_000, 30_000])
    @pytest.mark.parametrize("body", [nested, nested_objects])
    def test_refused(self, depth: int, body: Callable[[int], bytes]) -> None:
        text = body(depth)
        for frame in (
            b'{"type":"message","to":"bob","data":' + text + b"}",
            b'{"type":"candidate","to":"bob","candidate":{"x":' + text + b"}}",
            b'{"type":"register","meta":{"x":' + text + b"}}",
        ):
            assert refusal(frame).code is ErrorCode.BAD_MESSAGE

    def test_the_ref_comes_back(self) -> None:
        fault = refusal(b'{"type":"message","to":"bob","ref":"r1","data":' + nested(17) + b"}")
        assert fault.ref == "r1"

    def test_candidate_counts_as_an_object(self) -> None:
        frame = b'{"type":"candidate","to":"bob","candidate":' + nested_objects(16) + b"}"
        assert isinstance(decode(frame, DEPTH), Candidate)
        assert refusal(frame, max_depth=15).code is ErrorCode.BAD_MESSAGE

    def test_brackets_in_strings_are_none(self) -> None:
        text = json.dumps("[{" * 100 + '\\"[' + "\\\\").encode()
        decode(b'{"type":"message","to":"bob","data":' + text + b"}", DEPTH)

    def test_members_nobody_knows_may_be_deep(self) -> None:
        assert decode(b'{"type":"ping","x":' + nested(500) + b"}", DEPTH) == Ping()


class TestOneLine:
    """What is relayed holds no newline, wherever it stood."""

    @pytest.mark.parametrize("white", [b"\n", b"\r", b"\r\n", b"\n\n \t\n"])
    def test_newlines_between_tokens(self, white: bytes) -> None:
        forged = b'{"type":"offer","from":"alice","sdp":"EVIL"}'
        for text in (b"[" + white + forged + white + b"]", white + forged + white, b"[1" + white + b",2]"):
            message = decode(b'{"type":"message","to":"bob","data":' + text + b"}", DEPTH)
            assert isinstance(message, Message)
            sent = message.delivered(b"mallory")
            assert b"\n" not in sent
            assert b"\r" not in sent
            assert json.loads(sent)["data"] == json.loads(text)

    def test_in_a_candidate_and_in_meta(self) -> None:
        candidate = decode(b'{"type":"candidate","to":"bob","candidate":{\n"candidate":\r\n"x"}}', DEPTH)
        assert isinstance(candidate, Candidate)
        assert bytes(candidate.candidate) == b'{"candidate":"x"}'
        register = decode(b'{"type":"register","meta":{\n"a":\r1}}', DEPTH)
        assert isinstance(register, Register)
        assert isinstance(register.meta, Raw)
        assert bytes(register.meta) == b'{"a":1}'

    def test_escaped_newlines_stay(self) -> None:
        message = decode(b'{"type":"message","to":"bob",\n"data":"a\\nb\\r"}', DEPTH)
        assert isinstance(message, Message)
        assert bytes(message.data) == b'"a\\nb\\r"'


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('[]{}"\\\n\r,:x', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=2), inner, max_size=3),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    """How deep a value is nested: 0 for one that is no array and no object."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


class TestAgainstThePlainDefinition:
    @given(value=VALUES, limit=st.integers(1, 5))
    def test_is_shallow(self, value: object, limit: int) -> None:
        assert is_shallow(json.dumps(value).encode(), limit) == (depth_of(value) <= limit)

    @given(value=VALUES, limit=st.integers(1, 5), indent=st.sampled_from([None, 0, 2]))
    def test_passable(self, value: object, limit: int, indent: int | None) -> None:
        passed = passable(Raw(json.dumps(value, indent=indent).encode()), limit)
        assert (passed is not None) == (depth_of(value) <= limit)
        if passed is not None:
            assert b"\n" not in bytes(passed)
            assert json.loads(bytes(passed)) == value

    @given(value=VALUES, limit=st.integers(1, 5), indent=st.sampled_from([None, 0]))
    def test_what_is_plain_may_pass(self, value: object, limit: int, indent: int | None) -> None:
        text = json.dumps(value, indent=indent)
        frame = f'{{"type":"message","to":"bob","data":{text}}}'.encode()
        if is_plain(frame, limit):
            assert depth_of(value) <= limit
            assert "\n" not in text

    @given(value=VALUES, limit=st.integers(1, 5), indent=st.sampled_from([None, 0]))
    def test_decode(self, value: object, limit: int, indent: int | None) -> None:
        frame = f'{{"type":"message","to":"bob","data":{json.dumps(value, indent=indent)}}}'.encode()
        if depth_of(value) > limit:
            assert refusal(frame, limit).code is ErrorCode.BAD_MESSAGE
        else:
            sent = decode(frame, limit).delivered(b"alice")  # type: ignore[union-attr]  # a Message
            assert b"\n" not in sent
            assert json.loads(sent) == {"type": "message", "from": "alice", "data": value}

    def test_an_everyday_candidate_is_plain(self) -> None:
        init = {"candidate": "candidate:1 1 udp 2 192.0.2.1 3 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
        assert is_plain(json.dumps({"type": "candidate", "to": "bob", "candidate": init}).encode(), DEPTH)
