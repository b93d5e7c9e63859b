"""The end of a connection, and the time of the next: with time as a number."""

import random

import pytest

from sigd.client import conversation as rules
from sigd.client.errors import Disconnected
from sigd.wire.errors import ErrorCode, Next
from sigd.wire.framing import Dialect
from sigd.wire.said import Error
from tests.client.by_hand import Bench

# -- the end of a connection


@pytest.mark.parametrize("code", [code for code in ErrorCode if code.closes])
def test_an_error_that_closes(code: ErrorCode):
    bench = Bench(renewable=True).registers()
    never = {"reconnect": False} if code.next is Next.NEVER else {}
    bench.hears({"type": "error", "code": code, "message": "why", **never}, {"type": "bye", "from": "late"})
    assert bench.client.over
    assert bench.received() == []
    bench.client.lose("closed", bench.now)
    assert bench.client.fault is not None
    assert bench.client.fault.code == code
    assert (bench.client.ended is not None) == (code.next is Next.NEVER)


def test_an_unknown_error_goes_on_and_is_the_reason_if_the_connection_then_ends():
    bench = Bench().registers()
    bench.hears({"type": "error", "code": "of-2031", "message": "new", "retryAfterMs": 7000})
    assert bench.client.ready
    assert bench.received() == [Error(code="of-2031", message="new", retry_after_ms=7000)]
    bench.now += 2
    bench.client.lose("closed", bench.now)
    assert bench.client.retry_at == bench.now + 5
    assert bench.client.fault is not None
    assert bench.client.fault.code == "of-2031"


@pytest.mark.parametrize("code", [*ErrorCode, "of-2031"])
def test_no_code_brings_a_client_back_that_is_not_to_come(code: str):
    bench = Bench().registers()
    request = bench.asks()
    error = {"type": "error", "code": code, "message": "gone", "reconnect": False}
    bench.hears(error)
    bench.client.lose("closed", bench.now)
    assert bench.client.ended is not None
    assert (bench.client.ended.code, bench.client.ended.reconnect) == (code, False)
    with pytest.raises(Disconnected, match="gone"):
        request.result()


def test_a_server_that_goes_away_is_left_alone_for_as_long_as_it_says():
    bench = Bench().registers()
    bench.hears({"type": "goingAway", "reconnectAfterMs": 1500, "reason": "restart"})
    assert bench.client.over
    bench.client.lose("closed", bench.now)
    assert bench.client.retry_at == bench.now + 1.5
    assert bench.client.ended is None


def test_the_error_of_one_request_delays_no_connection():
    bench = Bench().registers()
    request = bench.asks()
    bench.hears({"type": "error", "code": "rate-limited", "message": "", "ref": request.ref, "retryAfterMs": 60_000})
    bench.client.lose("cut", bench.now)
    assert bench.client.retry_at == bench.now


def test_pauses_grow_until_it_was_registered_for_a_while():
    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    bench = Bench(jitter=Longest())
    pauses: list[float] = []
    for stay in (0, 0, 9, 9, 10, 0):
        bench.registers()
        bench.now += stay
        bench.client.lose("cut", bench.now)
        pauses.append(round(bench.client.retry_at - bench.now, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 0.1, 0.2]


@pytest.mark.parametrize("leave", [True, False])
def test_the_last_connection(leave: bool):
    bench = Bench(reconnect=leave).registers()
    if leave:
        bench.client.leave()
    bench.client.lose("cut", bench.now)
    assert isinstance(bench.client.ended, Disconnected)
    assert bench.client.ended.text == ("this peer has left" if leave else "cut")


@pytest.mark.parametrize("head", [b"\0\0\0\0", b"\0\x18\x6a\x01"])
def test_what_is_no_frame_ends_the_connection(head: bytes):
    bench = Bench().registers()
    bench.client.receive(Bench().wrap({"type": "bye", "from": "bob"}) + head, bench.now)
    assert len(bench.received()) == 1
    assert bench.client.over
    bench.client.lose("closed", bench.now)
    assert bench.client.ended is None


def test_a_line_that_is_too_long_is_passed_over():
    bench = Bench(framing=Dialect.LINES, max_frame=2000).registers()
    for chunk in (b"x" * 5000, b"x\n", b'{"type":"bye","from":"bob"}\n' + b"y" * 3000 + b"\n{}\n"):
        bench.client.receive(chunk, bench.now)
    assert len(bench.received()) == 1
    assert bench.client.ready


# -- time


def test_a_ping_is_answered_without_a_ref_and_not_without_end():
    bench = Bench().registers()
    bench.hears({"type": "ping", "ref": "9"})
    assert bench.says() == [{"type": "pong"}]
    for _ in range(2000):
        bench.hears(*[{"type": "ping"}] * 20)
    assert len(bench.client.take_due()) < rules.DUE_BYTES + 100
