"""The messages of the admin socket, both ways: what is no question is told so, whatever it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.admin import messages
from sigd.admin.messages import MAX_QUESTION, MAX_TAPPED, QUESTIONS, SCHEMA, UnknownQuestion, decode_question


@pytest.mark.parametrize(
    ("frame", "asked"),
    [
        (b'{"type":"status"}', messages.AskStatus()),
        (b'{"type":"peers","glob":"cam*"}', messages.AskPeers(glob="cam*")),
        (b'{"type":"show","peer":"cam1"}', messages.AskShow(peer="cam1")),
        (b'{"type":"closed"}', messages.AskClosed()),
        (b'{"type":"kick","peer":"a","reason":"b"}', messages.AskKick(peer="a", reason="b")),
        (b'{"type":"ping","peer":"a","timeout":1}', messages.AskPing(peer="a", timeout=1.0)),
        (b'{"type":"reload"}', messages.AskReload()),
        (b'{"type":"drain"}', messages.AskDrain()),
        (b'{"type":"metrics"}', messages.AskMetrics()),
        (b'{"type":"why","first":"a","second":"b"}', messages.AskWhy(first="a", second="b")),
        (b'{"type":"tap","peers":["a"],"since":9}', messages.AskTap(peers=["a"], since=9.0)),
    ],
)
def test_questions(frame: bytes, asked: messages.Asked) -> None:
    assert decode_question(frame) == asked
    assert decode_question(messages.encode(asked)) == asked
    assert asked.__struct_config__.tag in QUESTIONS


def test_a_question_fits_that_names_many_peers() -> None:
    assert len(messages.encode(messages.AskTap(peers=["x" * 60] * MAX_TAPPED))) <= MAX_QUESTION


@pytest.mark.parametrize("frame", [b'{"type":"nothing"}', b'{"more":1,"type":"Status"}'])
def test_a_question_that_there_is_not(frame: bytes) -> None:
    with pytest.raises(UnknownQuestion, match="there are status, peers,"):
        decode_question(frame)


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"{", b"[]", b"{}", b"null", b"\xff", b'{"type":1}', b'{"type":"\xff"}', b'{"type":"show"}'),
        *(b'{"type":"status","more":1}', b'{"type":"show","peer":1}', b'{"type":"ping","peer":"a","timeout":1e999}'),
        *(b'{"type":"nothing","more":' + b"[" * 4000, b'{"more":' + b"[" * 4000),
    ],
)
def test_what_is_none_is_told_so(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as fault:
        decode_question(frame)
    assert not isinstance(fault.value, UnknownQuestion)


@given(st.binary() | st.dictionaries(st.text() | st.just("type"), st.text()).map(msgspec.json.encode))
def test_any_bytes_are_a_question_or_a_fault(frame: bytes) -> None:
    try:
        found = str(decode_question(frame).__struct_config__.tag)
    except ValueError as fault:
        found = f"fault: {fault}"
    assert found in QUESTIONS or found.startswith("fault: ")


def test_answers_say_what_they_are_and_of_which_schema() -> None:
    for reply in (
        messages.KickReply(peer="a", address="b"),
        messages.Refused(code="internal", message="x"),
        messages.ReloadReply(before="a", after="b"),
    ):
        answer = msgspec.json.decode(messages.encode(reply))
        assert (answer["type"], answer["schema"]) == (type(reply).__struct_config__.tag, SCHEMA)


def test_members_are_spelt_as_on_the_wire() -> None:
    told = messages.TappedReply(at=1.0, sender="a", to="b", kind="offer", bytes=3)
    assert msgspec.json.decode(messages.encode(told))["from"] == "a"
    row = messages.PeerRow(id="a", via="tcp", framing="lines", address="x", since=1.0, outbox_bytes=4)
    assert msgspec.json.decode(messages.encode(row))["outboxBytes"] == 4
