"""Questions on the admin socket: any bytes are one, or get a fault."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.admin import questions
from sigd.admin.questions import MAX_QUESTION, MAX_TAPPED, QUESTIONS, UnknownQuestion, decode_question


@pytest.mark.parametrize(
    ("frame", "asked"),
    [
        (b'{"type":"status"}', questions.AskStatus()),
        (b'{"type":"peers","glob":"cam*"}', questions.AskPeers(glob="cam*")),
        (b'{"type":"show","peer":"cam1"}', questions.AskShow(peer="cam1")),
        (b'{"type":"closed"}', questions.AskClosed()),
        (b'{"type":"kick","peer":"a","reason":"b"}', questions.AskKick(peer="a", reason="b")),
        (b'{"type":"ping","peer":"a","timeout":1}', questions.AskPing(peer="a", timeout=1.0)),
        (b'{"type":"reload"}', questions.AskReload()),
        (b'{"type":"drain"}', questions.AskDrain()),
        (b'{"type":"metrics"}', questions.AskMetrics()),
        (b'{"type":"why","first":"a","second":"b"}', questions.AskWhy(first="a", second="b")),
        (b'{"type":"tap","peers":["a"],"since":9}', questions.AskTap(peers=["a"], since=9.0)),
    ],
)
def test_questions(frame: bytes, asked: questions.Asked) -> None:
    assert decode_question(frame) == asked
    assert decode_question(msgspec.json.encode(asked)) == asked
    assert asked.__struct_config__.tag in QUESTIONS


def test_a_question_fits_that_names_many_peers() -> None:
    assert len(msgspec.json.encode(questions.AskTap(peers=["x" * 60] * MAX_TAPPED))) <= MAX_QUESTION


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
