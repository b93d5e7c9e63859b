"""A request and its answer."""

import pytest

from sigd.client.errors import SignalingError
from sigd.client.pending import Pending
from sigd.wire.said import Ok, PongSaid


def test_it_is_settled_by_an_answer_of_its_kind():
    settled: list[None] = []
    pending = Pending("7", Ok, lambda: settled.append(None))
    assert not pending.answer(PongSaid(ref="7"))
    assert not pending.settled
    assert settled == []
    with pytest.raises(AssertionError, match="not settled"):
        pending.result()
    assert pending.answer(Ok(ref="7"))
    assert pending.settled
    assert settled == [None]
    assert pending.result() == Ok(ref="7")


def test_or_by_what_went_wrong():
    settled: list[None] = []
    pending = Pending("7", Ok, lambda: settled.append(None))
    pending.fail(SignalingError("peer-busy", "full"))
    assert settled == [None]
    with pytest.raises(SignalingError, match="peer-busy"):
        pending.result()
