"""The silence of a server: a ping, more time for a late program, and the end."""

import pytest

from sigd.client.silence import LATE_LOOKS
from tests.client.by_hand import KEEPALIVE, Bench


def test_a_silent_server_is_asked_and_then_given_up():
    bench = Bench().registers()
    start = bench.now
    assert bench.client.deadline == start + KEEPALIVE
    bench.client.expire(start + KEEPALIVE - 0.1)
    assert bench.says() == []
    bench.client.expire(start + KEEPALIVE)
    assert bench.says() == [{"type": "ping"}]
    assert bench.client.deadline == start + 2.5 * KEEPALIVE
    bench.client.expire(bench.client.deadline)
    assert bench.client.over
    assert bench.client.deadline == float("inf")
    bench.client.lose("closed", bench.now)
    assert "nothing was heard" in str(bench.client.fault)


def test_any_byte_is_a_sign_of_life():
    bench = Bench().registers()
    bench.client.expire(bench.now + KEEPALIVE)
    bench.now += 2 * KEEPALIVE
    bench.client.receive(b"\0", bench.now)
    assert bench.client.deadline == bench.now + KEEPALIVE


def test_a_silence_of_our_own_making_is_none():
    bench = Bench().registers()
    bench.client.silence.restart(bench.now + 1000)
    assert bench.client.deadline == bench.now + 1000 + KEEPALIVE


@pytest.mark.parametrize("slept", [30, 3_600])
def test_a_program_that_stood_still_asks_and_waits_for_the_answer(slept: float):
    """Messages that came meanwhile are not read yet, and a ping was not sent."""
    bench = Bench().registers()
    bench.client.expire(bench.now + slept)
    assert bench.says() == [{"type": "ping"}]
    assert bench.client.deadline == bench.now + max(2.5 * KEEPALIVE, slept + 1.5 * KEEPALIVE)
    bench.client.expire(bench.client.deadline)
    assert bench.client.over


def test_an_answer_that_came_while_the_program_stood_still_is_looked_for():
    """Time-outs may be told of before what is in the socket."""
    bench = Bench().registers()
    bench.client.expire(bench.now + KEEPALIVE)
    late = bench.client.deadline + 100
    bench.client.expire(late)
    assert not bench.client.over
    assert late < bench.client.deadline <= late + 2
    bench.now = late
    bench.hears({"type": "pong"})
    assert bench.client.deadline == late + KEEPALIVE


def test_a_program_that_is_always_late_gives_a_dead_server_up():
    bench = Bench().registers()
    looks = 0
    while not bench.client.over:
        bench.client.expire(bench.client.deadline + 1)
        looks += 1
    assert looks == 2 + LATE_LOOKS


@pytest.mark.parametrize(("said", "seconds"), [(0, 0.1), (-5, 0.1), (10**40, 300), (5000, 5)])
def test_no_keepalive_makes_a_client_spin_or_wait_for_ever(said: int, seconds: float):
    bench = Bench().registers(keepaliveMs=said)
    assert bench.client.deadline == bench.now + seconds


def test_nothing_is_due_while_not_registered():
    bench = Bench()
    bench.begins()
    assert bench.client.deadline == float("inf")
