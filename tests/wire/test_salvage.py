"""What cannot be decoded: an error that helps, with the message's `ref`, and nothing of what came in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import CLIENT_TYPES, ClientMessage, Relayed, decode
from sigd.wire.salvage import Salvaged, explain, is_name, salvage
from tests.wire.test_messages import SAID_BY_CLIENTS

DEPTH = 16


def refusal(frame: bytes) -> ProtocolError:
    """What decoding a frame raises."""
    with pytest.raises(ProtocolError) as caught:
        decode(frame, DEPTH)
    return caught.value


GENERAL = "not a message: expected a JSON object with a `type` and the members that go with it"

TEXTS = [
    (b'{"type":"ping" x}', "JSON is malformed: "),
    (b'{"type":"ping"', "the JSON ends too early"),
    (b'{"type":"offer","to":"bob"}', "Object missing required field `sdp`"),
    (b'{"type":"offer","to":5,"sdp":""}', "Expected `str`, got `int` - at `$.to`"),
    (b'{"to":"bob"}', "Object missing required field `type`"),
    (b"[]", "Expected `object`, got `array`"),
    (b"", "the JSON ends too early"),
    (b'{"type":"offer","to":"\\ud800","sdp":""}', GENERAL),
    (b'{"type":"register","keepaliveMs":' + b"9" * 5_000 + b"}", GENERAL),
    (b'{"x":"\xff"}', "not UTF-8 (byte 6)"),
    (b'{"type":"zzz"}', "no message has this `type`"),
]


class TestText:
    @pytest.mark.parametrize(("frame", "text"), TEXTS)
    def test_says_what_is_wrong(self, frame: bytes, text: str) -> None:
        assert refusal(frame).text.startswith(text)

    def test_says_so_of_what_is_nested_deeper_than_python_goes(self) -> None:
        """How deep that is depends on its version and on the stack; without its end the frame is at fault anyway."""
        assert explain(b'{"x":[', RecursionError(), CLIENT_TYPES).text == "nested too deep"
        assert refusal(b'{"x":' + b"[" * 65_000).text in {"nested too deep", "the JSON ends too early"}

    def test_shows_where_json_is_malformed(self) -> None:
        assert refusal(b'{"type":"ping",}').text.endswith("(byte 15)")


class TestRef:
    """A JSON object's valid `ref` comes back, whatever else is wrong with it."""

    @pytest.mark.parametrize(
        "members",
        [
            b'"type":"offer"',
            b'"type":"zzz"',
            b'"type":5',
            b'"x":1',
            b'"type":"offer","to":[],"sdp":{}',
            b'"type":"register","meta":[]',
            b'"type":"message","to":"b","data":' + b"[" * 17 + b"]" * 17,
        ],
    )
    def test_comes_back(self, members: bytes) -> None:
        assert refusal(b"{" + members + b',"ref":"r 1"}').ref == "r 1"
        assert refusal(b'{"ref":"r 1",' + members + b"}").ref == "r 1"

    @pytest.mark.parametrize(
        "frame",
        [
            b'["ref","r"]',
            b'{"type":"zzz","ref":5}',
            b'{"type":"zzz","ref":""}',
            b'{"type":"zzz","ref":"a\\nb"}',
            b'{"type":"zzz","ref":"a\\"b"}',
            b'{"type":"zzz","ref":"' + b"x" * 65 + b'"}',
            b'{"type":"zzz","x":{"ref":"r"}}',
            b'{"type":"zzz","ref":"r"',
            b'{"type":"zzz","ref":"r"} {}',
        ],
    )
    def test_is_none(self, frame: bytes) -> None:
        assert refusal(frame).ref is None


def test_is_name() -> None:
    allowed = {chr(code) for code in range(0x3000) if is_name(chr(code))}
    assert allowed == {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}


MARKER = "Zq7"
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5).map(lambda text: MARKER + text)
    | st.sampled_from(["offer", "bob", "", "\0", "\n", "a" * 100]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4).map(MARKER.__add__), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = ["ref", "id", "to", "sdp", "candidate", "data", "session", "reason", "prefix", "after", "meta"]
MEMBERS += ["keepaliveMs", "maxFrame", "protocol"]


class TestAnyBytes:
    """A message, or a `ProtocolError` that holds nothing of what came in: nothing else."""

    @staticmethod
    def outcome(frame: bytes) -> str:
        try:
            message = decode(frame, DEPTH)
            sent = message.delivered(b"alice") if isinstance(message, Relayed) else b""
        except ProtocolError as caught:
            fault = caught
        else:
            assert isinstance(message, ClientMessage)
            if sent:
                assert sent.startswith(b'{"type":"')
                assert json.loads(sent)["from"] == "alice"
                assert b"\n" not in sent
            return ""
        assert fault.code in {ErrorCode.BAD_MESSAGE, ErrorCode.UNKNOWN_TYPE}
        assert 0 < len(fault.text) <= 128
        assert fault.text.isascii()
        assert fault.text.isprintable()
        assert fault.ref is None or (1 <= len(fault.ref) <= 64 and fault.ref.isascii())
        return fault.text

    @given(frame=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_garbage(self, frame: bytes) -> None:
        self.outcome(frame)

    @given(
        kind=st.sampled_from(sorted(CLIENT_TYPES)) | HOSTILE,
        members=st.dictionaries(st.sampled_from(MEMBERS) | st.just(MARKER + "x"), HOSTILE, max_size=6),
        ascii_only=st.booleans(),
    )
    def test_hostile_members(self, kind: object, members: dict[str, Any], ascii_only: bool) -> None:
        frame = json.dumps({"type": kind, **members}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert MARKER not in self.outcome(frame)

    @given(
        frame=st.sampled_from([frame for frame, _ in SAID_BY_CLIENTS]),
        place=st.integers(0, 100),
        cut=st.integers(0, 5),
        put=st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"[", b"\\u0000", b"\n", b",", b"\xc3", b'"Zq7"']),
    )
    def test_damaged_messages(self, frame: bytes, place: int, cut: int, put: bytes) -> None:
        place = min(place, len(frame))
        assert MARKER not in self.outcome(frame[:place] + put + frame[place + cut :])


NAMED = Salvaged("offer", "r", "bob", None, "s")
NAMING = b'"type":"offer", "ref" : "r","to":"bob","session":"s"'
INSIDE = b'"x":{"to":"eve","type":["to","a"],"y":"\\"to\\":\\"eve\\""}'


class TestSalvage:
    """Names are found in a frame's outer object, even if the rest is faulty."""

    @pytest.mark.parametrize(
        "frame",
        [
            b"{" + NAMING + b',"sdp":{"type":"offer","sdp":"v=0"}}',
            b"{" + NAMING + b",}",
            b" {" + NAMING + b',"sdp":"v=0\\r\\n' + b"y" * 3_000,
            b"{" + INSIDE + b"," + NAMING + b',"sdp":"',
            b"{" + NAMING + b"," + INSIDE + b",}",
            b"{" + NAMING + b',"x":"' + b"\\" * 1_000 + b'","to":"eve"',
            b"{" + NAMING + b"," + b'"' * 2_000,
            b"{" + NAMING + b'}} "to":"eve"',
        ],
    )
    def test_finds(self, frame: bytes) -> None:
        assert salvage(frame) == NAMED

    @pytest.mark.parametrize(
        "frame",
        [b"", b"[", b'["to","bob"', b'{"to":["bob"', b'{"to":"bo', b'{"to" "bob"', b'x{"to":"bob"'],
    )
    def test_finds_nothing(self, frame: bytes) -> None:
        assert salvage(frame) == Salvaged()

    @given(st.binary(max_size=300) | st.text('{}[]"\\:,to ', max_size=60).map(str.encode))
    def test_takes_any_bytes(self, frame: bytes) -> None:
        assert isinstance(salvage(frame), Salvaged)

    @given(st.integers(min_value=0, max_value=100))
    def test_finds_no_more_in_a_part(self, end: int) -> None:
        whole = b"{" + INSIDE + b"," + NAMING + b"}"
        for part, all_of_it in zip(salvage(whole[:end]), NAMED, strict=True):
            assert part in (None, all_of_it)
