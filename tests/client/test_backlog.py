"""The bound of messages that the program has not taken."""

import json

import pytest

from sigd.client.backlog import BACKLOG_BYTES, STRUCT_BYTES
from tests.client.by_hand import Bench


@pytest.mark.parametrize("size", [0, 1000])
def test_nothing_more_is_wanted_while_the_program_takes_nothing(size: int):
    bench = Bench().registers()
    message = {"type": "message", "from": "bob", "data": "x" * size}
    each = len(json.dumps(message)) + STRUCT_BYTES
    count = 0
    while bench.client.wants_more:
        bench.hears(message)
        count += 1
    assert (count - 1) * each < BACKLOG_BYTES <= count * each
    bench.client.take()
    assert bench.client.wants_more == ((count - 1) * each < BACKLOG_BYTES)


def test_an_answer_that_is_awaited_is_read_past_what_lies_there_but_not_without_end():
    bench = Bench().registers()
    while bench.client.wants_more:
        bench.hears({"type": "message", "from": "bob", "data": "x" * 1000})
    request = bench.asks()
    assert bench.client.wants_more
    while bench.client.wants_more:
        bench.hears({"type": "message", "from": "bob", "data": "x" * 1000})
    bench.hears({"type": "ok", "ref": request.ref})
    assert request.settled
