"""What is read of a message, whatever is in it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.record import PairHistory, Passed
from sigd.why.bodies import read
from sigd.why.facts import IceFacts
from sigd.why.judge import judge
from sigd.why.ladder import summary
from tests.why.staged import HOST, MDNS


@pytest.mark.parametrize("said", [None, {}, {"candidate": ""}, {"candidate": "a=end-of-candidates"}])
def test_the_end_of_candidates(said):
    assert read(msgspec.json.encode({"type": "candidate", "candidate": said})).ends


@pytest.mark.parametrize("said", [{"candidate": None}, {"candidate": 5}, [], {"candidate": "x"}])
def test_a_candidate_that_says_nothing(said):
    body = read(msgspec.json.encode({"type": "candidate", "candidate": said}))
    assert (body.kind, body.candidate, body.ends, body.whole) == ("candidate", None, False, True)


def test_the_beginning_of_a_body_says_its_type():
    assert read(b'{"type":"offer","from":"ca').kind == "offer"
    assert not read(b'{"type":"offer","from":"ca').whole
    assert read(b'{"type":"cand').kind == ""


def test_what_is_nested_deep_is_not_followed():
    deep = b'{"type":"candidate","from":"a","candidate":' + b"[" * 5000 + b"]" * 5000 + b"}"
    assert read(deep).kind == "candidate"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
lines = st.lists(st.sampled_from([HOST, MDNS, "m=audio", "o=-", "a=candidate:", "a=ice-ufrag", "\0", "m="]) | st.text())
bodies = st.binary() | st.builds(
    lambda **members: json.dumps({key: value for key, value in members.items() if value is not ...}).encode(),
    type=st.sampled_from(["offer", "answer", "candidate", "bye", "message"]) | anything,
    session=st.just(...) | anything,
    sdp=st.just(...) | anything | lines.map("\r\n".join) | lines.map(lambda each: "\na=".join(each)),
    candidate=st.just(...) | anything | st.fixed_dictionaries({"candidate": st.text() | anything | st.just(HOST)}),
    reason=st.just(...) | anything,
)


@given(st.lists(st.tuples(bodies, st.booleans()), max_size=6), st.booleans())
def test_any_bytes_are_judged_and_told(said, full):
    passed = [
        Passed(float(number), "a" if is_first else "b", "b" if is_first else "a", body, None)
        for number, (body, is_first) in enumerate(said)
    ]
    verdict = judge(PairHistory(("a", "b"), passed, 0.0), {}, IceFacts(), 100.0, full=full)
    assert verdict.rule
    assert msgspec.json.decode(msgspec.json.encode(verdict))["rule"] == verdict.rule
    for body, _ in said:
        assert summary(body, full)
        assert "\x1b" not in summary(body, full)
