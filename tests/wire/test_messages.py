"""Every message: its bytes, its Struct, what is refused of it, and how it is delivered."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import (
    CLIENT_TYPES,
    DEEPEST_SAID,
    SERVER_TYPES,
    Answer,
    Bye,
    Candidate,
    ClientMessage,
    ErrorHeard,
    GoingAwayHeard,
    IceServers,
    Message,
    Offer,
    OkHeard,
    Peers,
    Ping,
    Pong,
    Register,
    RegisteredHeard,
    Relayed,
    Unregister,
    decode,
    decode_said,
    encode,
)
from sigd.wire.said import (
    AnswerFrom,
    ByeFrom,
    CandidateFrom,
    Error,
    GoingAway,
    IceServerList,
    MessageFrom,
    OfferFrom,
    Ok,
    PeerEntry,
    PeerList,
    PingSaid,
    PongSaid,
    Registered,
    ServerMessage,
)

DEPTH = 16

SAID_BY_CLIENTS: list[tuple[bytes, ClientMessage]] = [
    (b'{"type":"register"}', Register()),
    (b'{"type":"register","id":"cam1"}', Register(id="cam1")),
    (
        b'{"type":"register","ref":"1","id":"A.b_c~d-9","meta":{"a":[1]},"keepaliveMs":5000,"maxFrame":1024}',
        Register(ref="1", id="A.b_c~d-9", meta=Raw(b'{"a":[1]}'), keepalive_ms=5000, max_frame=1024),
    ),
    (b'{"type":"unregister","ref":"x y"}', Unregister(ref="x y")),
    (b'{"type":"offer","to":"bob","sdp":"v=0\\r\\n"}', Offer(to="bob", sdp="v=0\r\n")),
    (b'{"type":"offer","ref":"1","to":"bob","session":"s","sdp":""}', Offer(to="bob", sdp="", session="s", ref="1")),
    ('{"type":"answer","to":"bob","sdp":"zażółć 😀"}'.encode(), Answer(to="bob", sdp="zażółć 😀")),
    (b'{"type":"candidate","to":"bob","candidate":null}', Candidate(to="bob", candidate=Raw(b"null"))),
    (
        b'{"type":"candidate","to":"bob","candidate":{"candidate":"","sdpMid":"0","x":1e9}}',
        Candidate(to="bob", candidate=Raw(b'{"candidate":"","sdpMid":"0","x":1e9}')),
    ),
    (
        b'{"type":"candidate","ref":"1","to":"bob","session":"s","candidate":{}}',
        Candidate(to="bob", candidate=Raw(b"{}"), ref="1", session="s"),
    ),
    (b'{"type":"bye","to":"bob"}', Bye(to="bob")),
    (
        b'{"type":"bye","ref":"1","to":"bob","session":"s","reason":"done"}',
        Bye(ref="1", to="bob", session="s", reason="done"),
    ),
    (b'{"type":"message","to":"bob","data":[true, null]}', Message(to="bob", data=Raw(b"[true, null]"))),
    (
        b'{"type":"message","ref":"1","to":"b","session":"s","data":0}',
        Message(ref="1", to="b", session="s", data=Raw(b"0")),
    ),
    (b'{"type":"peers"}', Peers()),
    (b'{"type":"peers","ref":"1","prefix":"cam","after":"cam1"}', Peers(ref="1", prefix="cam", after="cam1")),
    (b'{"type":"iceServers"}', IceServers()),
    (b'{"type":"ping"}', Ping()),
    (b'{"type":"pong","ref":"1"}', Pong(ref="1")),
    (b'{"type":"error"}', ErrorHeard()),
    (b'{"type":"ok"}', OkHeard()),
    (b'{"type":"registered"}', RegisteredHeard()),
    (b'{"type":"goingAway"}', GoingAwayHeard()),
]

SAID_BY_SERVERS: list[tuple[bytes, ServerMessage]] = [
    (
        b'{"type":"registered","id":"cam1","server":"sigd/1","protocol":1,"features":["peers"],'
        b'"keepaliveMs":30000,"maxFrame":65536}',
        Registered(id="cam1", server="sigd/1", protocol=1, features=["peers"], keepalive_ms=30_000, max_frame=65_536),
    ),
    (
        b'{"type":"registered","ref":"1","id":"cam1","server":"sigd/1","protocol":1,"features":[],'
        b'"keepaliveMs":5000,"maxFrame":1024,"expiresMs":9,"iceServers":[{"urls":"stun:x"}]}',
        Registered(
            ref="1",
            id="cam1",
            server="sigd/1",
            protocol=1,
            features=[],
            keepalive_ms=5_000,
            max_frame=1_024,
            expires_ms=9,
            ice_servers=[{"urls": "stun:x"}],
        ),
    ),
    (b'{"type":"offer","from":"alice","sdp":"v=0"}', OfferFrom(sender="alice", sdp="v=0")),
    (
        b'{"type":"answer","from":"alice","sdp":"v=0","session":"s"}',
        AnswerFrom(sender="alice", sdp="v=0", session="s"),
    ),
    (b'{"type":"candidate","from":"alice","candidate":null}', CandidateFrom(sender="alice", candidate=None)),
    (
        b'{"type":"candidate","from":"alice","candidate":{"candidate":""}}',
        CandidateFrom(sender="alice", candidate={"candidate": ""}),
    ),
    (b'{"type":"bye","from":"alice","reason":"done"}', ByeFrom(sender="alice", reason="done")),
    (b'{"type":"message","from":"alice","data":[1]}', MessageFrom(sender="alice", data=[1])),
    (b'{"type":"peers","peers":[],"more":false}', PeerList(peers=[], more=False)),
    (
        b'{"type":"peers","ref":"1","peers":[{"id":"a"},{"id":"b","meta":{"x":1}}],"more":true}',
        PeerList(ref="1", peers=[PeerEntry("a"), PeerEntry("b", Raw(b'{"x":1}'))], more=True),
    ),
    (b'{"type":"iceServers","iceServers":[]}', IceServerList(ice_servers=[])),
    (b'{"type":"iceServers","iceServers":[],"expiresMs":1}', IceServerList(ice_servers=[], expires_ms=1)),
    (b'{"type":"ping"}', PingSaid()),
    (b'{"type":"pong","ref":"1"}', PongSaid(ref="1")),
    (b'{"type":"ok","ref":"1"}', Ok(ref="1")),
    (b'{"type":"error","code":"bad-frame","message":"why"}', Error(code="bad-frame", message="why")),
    (
        b'{"type":"error","ref":"1","code":"replaced","message":"why","to":"b","retryAfterMs":5,"reconnect":false}',
        Error(ref="1", code="replaced", message="why", to="b", retry_after_ms=5, reconnect=False),
    ),
    (b'{"type":"error","code":"of-tomorrow","message":""}', Error(code="of-tomorrow", message="")),
    (
        b'{"type":"goingAway","reconnectAfterMs":0,"reason":"the server stops"}',
        GoingAway(reconnect_after_ms=0, reason="the server stops"),
    ),
]


def refusal(frame: bytes, max_depth: int = DEPTH) -> ProtocolError:
    """What a frame is answered with, at the latest when the message is to go out."""
    with pytest.raises(ProtocolError) as caught:
        decode(frame, max_depth).delivered(b"alice")  # type: ignore[union-attr]  # what is not relayed raises before
    return caught.value


class TestBytesAndStructs:
    @pytest.mark.parametrize(("frame", "message"), SAID_BY_CLIENTS)
    def test_client(self, frame: bytes, message: ClientMessage) -> None:
        assert decode(frame, DEPTH) == message
        assert encode(message) == frame

    @pytest.mark.parametrize(("frame", "message"), SAID_BY_SERVERS)
    def test_server(self, frame: bytes, message: ServerMessage) -> None:
        assert decode_said(frame) == message
        assert encode(message) == frame

    def test_every_type_is_in_a_table(self) -> None:
        assert {json.loads(frame)["type"] for frame, _ in SAID_BY_CLIENTS} == CLIENT_TYPES
        assert {json.loads(frame)["type"] for frame, _ in SAID_BY_SERVERS} == SERVER_TYPES

    def test_the_types_of_the_protocol(self) -> None:
        both = {"offer", "answer", "candidate", "bye", "message", "peers", "iceServers", "ping"}
        both |= {"pong", "registered", "ok", "error", "goingAway"}
        assert both == SERVER_TYPES
        assert both | {"register", "unregister"} == CLIENT_TYPES

    def test_an_entry_of_a_list(self) -> None:
        entry = PeerEntry("b", Raw(b'{"x":1}'))
        assert messages.encode_entry(entry) == b'{"id":"b","meta":{"x":1}}'
        assert messages.encode_entry(entry) in encode(PeerList(peers=[entry], more=False))

    def test_text_as_data(self) -> None:
        assert bytes(messages.encode_string('a"\n\0')) == b'"a\\"\\n\\u0000"'

    @pytest.mark.parametrize(
        "frame", [b"", b"{}", b'{"type":"of-tomorrow"}', b"\xff", b'{"x":' + b"[" * 9_000, b'{"type":"ok"']
    )
    def test_what_a_server_says_and_nobody_knows(self, frame: bytes) -> None:
        with pytest.raises(ValueError):  # noqa: PT011  # that it is one is all that a client has to know
            decode_said(frame)

    @pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
    def test_how_deep_a_server_may_go_is_the_same_for_every_python(self, opening: bytes, closing: bytes) -> None:
        """The deepest that is relayed with `max_depth = 512` is taken, and the stack is nobody's measure."""

        def says(depth: int) -> bytes:
            inside = opening * depth + (b"1" if opening != b"[" else b"") + closing * depth
            return b'{"type":"message","from":"bob","data":' + inside + b"}"

        assert isinstance(decode_said(says(512)), MessageFrom)
        for depth in (DEEPEST_SAID, 5_000, 50_000):
            with pytest.raises(ValueError, match="nested too deep"):
                decode_said(says(depth))
        unknown = b'{"type":"ok","ref":"1","future":' + opening * DEEPEST_SAID + closing * DEEPEST_SAID + b"}"
        with pytest.raises(ValueError, match="nested too deep"):
            decode_said(unknown)

    def test_members_nobody_knows_are_passed_over(self) -> None:
        assert decode_said(b'{"type":"ok","ref":"1","future":{"x":[]}}') == Ok(ref="1")
        assert decode(b'{"type":"ping","future":{"x":[]},"from":"eve"}', DEPTH) == Ping()

    def test_order_of_members_and_white_space_mean_nothing(self) -> None:
        assert decode(b' {\t"sdp" : "x",\r\n "to":"bob","type":"offer" } \n', DEPTH) == Offer(to="bob", sdp="x")

    @pytest.mark.parametrize("kind", ["error", "ok", "registered", "goingAway"])
    def test_members_of_what_is_never_answered_are_not_looked_at(self, kind: str) -> None:
        frame = f'{{"type":"{kind}","ref":5,"code":null,"id":[]}}'.encode()
        assert not isinstance(decode(frame, DEPTH), Relayed)


BAD_TEXT = ["", "x" * 65, "a b\n", "é", 'a"b', "a\\b", "\x7f", "a\0"]
"""What no `ref` or `session` may be."""
BAD_VERSION: list[object] = [0, 2, -1, "1", 1.5, 10**30]
BAD_KEEPALIVE: list[object] = [0, -1, "5000", 0.5, {}]
BAD_SDP: list[object] = [None, 1, [], "a\0b"]
BAD_META: list[object] = [None, [], "x", 1, {"x": "y" * 1_020}]
BAD_ID = ["", "x" * 65, "a b", "alice\n", "alice\r", "é", "a/b", "a:b", "*", "a\0", "\x1b[2J", "łódź", "٣"]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    *(("id", {"type": "register", "id": bad}) for bad in [*BAD_ID, 5, [], True]),
    *(("protocol", {"type": "register", "protocol": bad}) for bad in BAD_VERSION),
    *(("maxFrame", {"type": "register", "maxFrame": bad}) for bad in [0, 1_023, -1, "2000", 1e9 + 0.5, True]),
    *(("keepaliveMs", {"type": "register", "keepaliveMs": bad}) for bad in BAD_KEEPALIVE),
    *(("meta", {"type": "register", "meta": bad}) for bad in BAD_META),
    *(("to", {"type": kind, "sdp": "v=0"}) for kind in ("offer", "answer")),
    *(("sdp", {"type": kind, "to": "bob"}) for kind in ("offer", "answer")),
    *(("sdp", {"type": "offer", "to": "bob", "sdp": bad}) for bad in BAD_SDP),
    *(("candidate", {"type": "candidate", "to": "bob", "candidate": bad}) for bad in [[], "x", 1, True, False]),
    ("candidate", {"type": "candidate", "to": "bob"}),
    ("data", {"type": "message", "to": "bob"}),
    *(("reason", {"type": "bye", "to": "bob", "reason": bad}) for bad in ["x" * 129, "a\0", 5]),
    *(("prefix", {"type": "peers", "prefix": bad}) for bad in ["a b", "x" * 65, "a\n", None]),
    *(("after", {"type": "peers", "after": bad}) for bad in ["*", "x" * 65, "é", 5]),
    *(("session", {"type": "offer", "to": "bob", "sdp": "", "session": bad}) for bad in [*BAD_TEXT, 5]),
    *(("session", {"type": "candidate", "to": "bob", "candidate": None, "session": bad}) for bad in BAD_TEXT),
    *(("session", {"type": "message", "to": "bob", "data": 1, "session": bad}) for bad in BAD_TEXT),
    *(("session", {"type": "bye", "to": "bob", "session": bad}) for bad in BAD_TEXT),
]


class TestRefused:
    @pytest.mark.parametrize(("member", "message"), REFUSED)
    def test_member(self, member: str, message: dict[str, Any]) -> None:
        fault = refusal(json.dumps({**message, "ref": "r1"}).encode())
        assert fault.code is ErrorCode.BAD_MESSAGE
        assert fault.ref == "r1"
        assert f"`{member}`" in fault.text or f"$.{member}`" in fault.text

    @pytest.mark.parametrize("bad", [*BAD_TEXT, 5, [], True])
    @pytest.mark.parametrize("kind", sorted(CLIENT_TYPES - {"error", "ok", "registered", "goingAway"}))
    def test_ref(self, kind: str, bad: object) -> None:
        message = {"type": kind, "to": "bob", "sdp": "v=0", "candidate": None, "data": 1, "ref": bad}
        fault = refusal(json.dumps(message).encode())
        assert fault.code is ErrorCode.BAD_MESSAGE
        assert fault.ref is None

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "register", "id": "x" * 64, "maxFrame": 1_024, "keepaliveMs": 1, "protocol": 1},
            {"type": "register", "keepaliveMs": 10**30, "maxFrame": 10**30, "id": None},
            {"type": "register", "meta": {"x": "y" * 1_016}},
            {"type": "bye", "to": "bob", "reason": "é" * 128},
            {"type": "offer", "to": "bob", "sdp": "", "session": " !#[]~" + "x" * 58, "ref": "x" * 64},
            {"type": "peers", "prefix": "x" * 64, "after": "x" * 64},
            {"type": "message", "to": "bob", "data": "a\0b"},
        ],
    )
    def test_the_most_that_is_taken(self, message: dict[str, Any]) -> None:
        decode(json.dumps(message, separators=(",", ":")).encode(), DEPTH)

    @pytest.mark.parametrize("kind", ["", "Offer", "offers", "x" * 60_000, "\x1b[31m", "offer\0", "offer "])
    def test_unknown_type(self, kind: str) -> None:
        fault = refusal(json.dumps({"ref": "r1", "type": kind}).encode())
        assert (fault.code, fault.ref) == (ErrorCode.UNKNOWN_TYPE, "r1")

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"null",
            b"[]",
            b'"ping"',
            b"{}",
            b'{"type":null}',
            b'{"type":5}',
            b'{"type":["ping"]}',
            b'{"type":"ping"} {}',
            b'{"type":"ping"}x',
            b'{"type":"ping"',
            b'\xef\xbb\xbf{"type":"ping"}',
            b'{"type":"ping",}',
            b"{'type':'ping'}",
            b'{"type":"ping"/**/}',
            b'{"type":"ping","type":"pong"}',
            b'{"type":"ping","x":NaN}',
            b'{"type":"ping","x":01}',
            b'{"type":"ping","x":"\n"}',
            b'{"type":"ping","x":"\x1b"}',
            b'{"type":"ping","x":"\x00"}',
            b'{"type":"ping","x":"\\ud800"}',
            b'{"type":"ping","x":"\xff"}',
            b'{"type":"ping","\xff":1}',
            b'{"type":"ping","x":"\xed\xa0\x80"}',
            b'{"type":"ping","x":"\xc0\xaf"}',
            b"\0" * 100,
            b"[" * 65_000,
            b'{"type":' * 5_000,
            b'{"type":"register","keepaliveMs":' + b"9" * 5_000 + b"}",
        ],
    )
    def test_no_message(self, frame: bytes) -> None:
        assert refusal(frame).code is ErrorCode.BAD_MESSAGE

    @pytest.mark.parametrize("field", ['"message","to":"b","data":', '"candidate","to":"b","candidate":{"x":'])
    @pytest.mark.parametrize("byte", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", b"\xc3"])
    def test_bad_utf8_in_what_is_relayed(self, field: str, byte: bytes) -> None:
        frame = b'{"type":' + field.encode() + b'"' + byte + b'"}' + b"}" * field.count("{")
        fault = refusal(frame)
        assert fault.code is ErrorCode.BAD_MESSAGE
        assert fault.text.startswith("not UTF-8")


NAMES = st.from_regex(r"[A-Za-z0-9_.~-]{1,64}", fullmatch=True)
SESSIONS = st.none() | st.from_regex(r"[ !#-\[\]-~]{1,64}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=3)


def body(value: object) -> Raw:
    """A value as it travels."""
    return Raw(msgspec.json.encode(value))


class TestDelivered:
    """A message goes out by joining bytes: the same bytes as encoding its Struct gives."""

    @given(sender=NAMES, session=SESSIONS, sdp=TEXTS)
    def test_descriptions(self, sender: str, session: str | None, sdp: str) -> None:
        offer = Offer(to="bob", sdp=sdp, session=session, ref="r")
        assert offer.delivered(sender.encode()) == encode(OfferFrom(sender=sender, sdp=sdp, session=session))
        answer = Answer(to="bob", sdp=sdp, session=session, ref="r")
        assert answer.delivered(sender.encode()) == encode(AnswerFrom(sender=sender, sdp=sdp, session=session))

    @given(sender=NAMES, session=SESSIONS, init=st.none() | OBJECTS)
    def test_candidate(self, sender: str, session: str | None, init: dict[str, Any] | None) -> None:
        message = Candidate(to="bob", candidate=body(init), session=session, ref="r")
        said = CandidateFrom(sender=sender, candidate=init, session=session)
        assert message.delivered(sender.encode()) == encode(said)

    @given(sender=NAMES, session=SESSIONS, reason=st.none() | TEXTS)
    def test_bye(self, sender: str, session: str | None, reason: str | None) -> None:
        message = Bye(to="bob", session=session, reason=reason, ref="r")
        assert message.delivered(sender.encode()) == encode(ByeFrom(sender=sender, session=session, reason=reason))

    @given(sender=NAMES, session=SESSIONS, data=JSON_VALUES)
    def test_message(self, sender: str, session: str | None, data: object) -> None:
        message = Message(to="bob", data=body(data), session=session, ref="r")
        assert message.delivered(sender.encode()) == encode(MessageFrom(sender=sender, data=data, session=session))

    @given(sender=NAMES, session=SESSIONS, data=JSON_VALUES)
    def test_what_goes_out_decodes_as_what_came_in(self, sender: str, session: str | None, data: object) -> None:
        sent = {"type": "message", "to": "bob", "ref": "r", "data": data, "from": "eve", "x": 1}
        if session is not None:
            sent["session"] = session
        message = decode(json.dumps(sent).encode(), 64)
        assert isinstance(message, Message)
        heard = json.loads(message.delivered(sender.encode()))
        expected = {"type": "message", "from": sender, "data": data}
        assert heard == (expected if session is None else {**expected, "session": session})

    @pytest.mark.parametrize(
        "text",
        ["1e999", "-0.0", "1.50", '"\\u0041\\/"', '{"b":1,"a":2,"b":3}', '{"x" : [ 1 ,2 ] }', "123456789012345678901"],
    )
    def test_byte_by_byte_as_it_came(self, text: str) -> None:
        message = decode(f'{{"type":"message","to":"bob","data":{text}}}'.encode(), DEPTH)
        assert isinstance(message, Message)
        assert message.delivered(b"alice") == f'{{"type":"message","from":"alice","data":{text}}}'.encode()

    def test_every_relayed_message_says_how_it_is_delivered(self) -> None:
        with pytest.raises(NotImplementedError):
            Relayed(to="bob").delivered(b"alice")
