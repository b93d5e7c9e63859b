"""What a client says, and what it makes of what it hears: without a network, and with time as a number."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sigd.client import conversation as rules
from sigd.client.backlog import Received
from sigd.client.errors import Disconnected, SignalingError
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, Next
from sigd.wire.framing import Dialect, Lines
from sigd.wire.said import (
    AnswerFrom,
    ByeFrom,
    CandidateFrom,
    Error,
    IceServerList,
    MessageFrom,
    OfferFrom,
    Ok,
    PeerList,
    PongSaid,
)
from tests.client.by_hand import BOTH, TERMS, Bench

# -- registering


@BOTH
def test_the_first_message_asks_for_the_id(framing: Dialect):
    bench = Bench(framing=framing)
    bench.begins()
    assert bench.says() == [
        {"type": "register", "ref": "1", "id": "alice", "meta": {"kind": "test"}, "maxFrame": 100_000}
    ]
    assert not bench.client.ready


def test_registered_once_the_server_says_so_with_the_right_ref():
    bench = Bench()
    bench.begins()
    bench.hears(TERMS | {"id": "alice", "ref": "other", "keepaliveMs": 1000})
    assert not bench.client.registered
    bench.hears(TERMS | {"id": "alice", "ref": "1", "keepaliveMs": 1000})
    assert bench.client.ready
    assert bench.client.terms is not None
    assert bench.client.terms.server == "test/1"


def test_an_id_that_the_server_picked_is_asked_for_again():
    bench = Bench(peer=None).registers("x7f3")
    bench.client.lose("cut", bench.now)
    bench.begins()
    assert bench.says()[0]["id"] == "x7f3"


REFUSALS_AT_REGISTER = [(code, False if code.next is Next.NEVER else None) for code in ErrorCode]


@pytest.mark.parametrize(("code", "reconnect"), REFUSALS_AT_REGISTER)
@pytest.mark.parametrize("with_ref", [True, False])
def test_a_refused_register_is_over_and_ends_it_where_trying_again_has_no_point(
    code: ErrorCode, reconnect: bool | None, with_ref: bool
):
    bench = Bench()
    bench.begins()
    error = {"type": "error", "code": code, "message": "no", "reconnect": reconnect}
    bench.hears(error | {"ref": bench.says()[0]["ref"]} if with_ref else error)
    assert bench.client.over
    assert bench.client.fault is not None
    assert bench.client.fault.code == code
    # These credentials are the only ones: expired, they stay so.
    assert (bench.client.ended is None) == (code.next is Next.BACK_OFF and code is not ErrorCode.AUTH_EXPIRED)


@pytest.mark.parametrize("code", [ErrorCode.AUTH_FAILED, "a-code-of-2031"])
def test_what_comes_with_a_time_is_tried_again_then(code: str):
    bench = Bench()
    bench.begins()
    bench.hears({"type": "error", "code": code, "message": "later", "ref": "1", "retryAfterMs": 30_000})
    bench.client.lose("closed", bench.now)
    assert bench.client.ended is None
    assert bench.client.retry_at == bench.now + 30


def test_an_error_from_before_the_server_knew_the_framing_comes_as_a_line():
    bench = Bench(framing=Dialect.PREFIXED)
    bench.begins()
    line = b'{"type":"error","code":"server-full","message":"full","retryAfterMs":4000}\n'
    for at in range(len(line)):
        bench.client.receive(line[at : at + 1], bench.now)
    bench.client.lose("closed", bench.now)
    assert bench.client.fault is not None
    assert bench.client.fault.code == "server-full"
    assert bench.client.retry_at == bench.now + 4


def test_the_next_connection_chooses_its_framing_anew():
    bench = Bench(framing=Dialect.PREFIXED)
    bench.begins()
    bench.client.receive(b'{"type":"error","code":"server-full","message":"full"}\n', bench.now)
    bench.client.lose("closed", bench.now)
    assert bench.registers().client.registered


# -- requests


@BOTH
def test_requests_are_settled_by_their_refs_in_any_order(framing: Dialect):
    bench = Bench(framing=framing).registers()
    first, second = bench.asks(), bench.asks(messages.Ping(), PongSaid)
    refs = [message["ref"] for message in bench.says()]
    bench.hears({"type": "pong", "ref": refs[1]})
    assert (first.settled, second.settled) == (False, True)
    bench.hears({"type": "ok", "ref": refs[0]})
    assert first.result() == Ok(ref=refs[0])


def test_what_is_said_is_what_the_wire_has():
    bench = Bench().registers(maxFrame=100_000)
    bench.asks(messages.Offer(to="bob", sdp="v=0\r\n", session="s"))
    bench.asks(messages.Candidate(to="bob", candidate=Raw(b"null")))
    bench.asks(messages.Message(to="bob", data=Raw(b'{"a":[1]}')))
    assert bench.says() == [
        {"type": "offer", "ref": "2", "to": "bob", "sdp": "v=0\r\n", "session": "s"},
        {"type": "candidate", "ref": "3", "to": "bob", "candidate": None},
        {"type": "message", "ref": "4", "to": "bob", "data": {"a": [1]}},
    ]


def test_an_error_with_a_ref_is_raised_where_the_request_waits_and_nowhere_else():
    bench = Bench().registers()
    request = bench.asks()
    error = {"type": "error", "code": "peer-busy", "message": "full", "to": "bob", "retryAfterMs": 5}
    bench.hears(error | {"ref": request.ref})
    with pytest.raises(SignalingError) as caught:
        request.result()
    fault = caught.value
    assert (fault.code, fault.text, fault.to, fault.retry_after_ms) == ("peer-busy", "full", "bob", 5)
    assert str(fault) == "peer-busy (to bob): full"
    assert bench.received() == []
    assert bench.client.ready


def test_an_answer_of_another_kind_and_one_that_nobody_waits_for_are_ignored():
    bench = Bench().registers()
    request, given_up = bench.asks(messages.Peers(), PeerList), bench.asks()
    bench.client.forget(given_up)
    bench.hears(
        {"type": "ok", "ref": request.ref},
        {"type": "ok", "ref": given_up.ref},
        {"type": "error", "code": "peer-busy", "message": "?", "ref": given_up.ref},
        {"type": "ok"},
        {"type": "iceServers", "ref": "900", "iceServers": []},
    )
    assert not request.settled
    assert bench.client.ready
    assert bench.received() == []


def test_the_answers_with_types_of_their_own():
    bench = Bench().registers()
    peers, servers = bench.asks(messages.Peers(), PeerList), bench.asks(messages.IceServers(), IceServerList)
    bench.hears({"type": "peers", "ref": peers.ref, "peers": [{"id": "bob"}], "more": False})
    bench.hears({"type": "iceServers", "ref": servers.ref, "iceServers": [{"urls": "stun:h"}], "expiresMs": 9})
    assert [entry.id for entry in peers.result().peers] == ["bob"]
    assert (servers.result().ice_servers, servers.result().expires_ms) == ([{"urls": "stun:h"}], 9)


@BOTH
@pytest.mark.parametrize("sdp", ["x" * 2000, "\u2028" * 500])
def test_what_the_server_does_not_take_is_not_sent(framing: Dialect, sdp: str):
    bench = Bench(framing=framing).registers()
    fits = framing is Dialect.PREFIXED and sdp.startswith("\u2028")  # in lines it is escaped: twice as long
    if fits:
        bench.asks(messages.Offer(to="bob", sdp=sdp))
    else:
        with pytest.raises(SignalingError, match="too-large"):
            bench.asks(messages.Offer(to="bob", sdp=sdp))
    assert len(bench.says()) == fits


def test_the_longest_message_that_the_server_takes_is_sent():
    bench = Bench().registers()
    room = 2000 - len('{"ref":"2","to":"bob","sdp":"","type":"offer"}')
    bench.asks(messages.Offer(to="bob", sdp="x" * room))
    assert len(bench.client.take_due()) == 4 + 2000


def test_a_lost_connection_fails_what_waits():
    bench = Bench().registers()
    requests = [bench.asks() for _ in range(3)]
    bench.client.lose("cut", bench.now)
    for request in requests:
        with pytest.raises(Disconnected, match="cut") as caught:
            request.result()
        assert caught.value.sent
    assert not bench.client.ready
    assert not bench.client.has_due


@pytest.mark.parametrize("error", [True, False])
def test_an_answer_stays_the_answer_when_the_connection_is_lost_right_after_it(error: bool):
    bench = Bench().registers()
    request = bench.asks()
    answer = {"type": "error", "code": "peer-busy", "message": ""} if error else {"type": "ok"}
    bench.hears(answer | {"ref": request.ref}, {"type": "goingAway", "reconnectAfterMs": 0, "reason": "restart"})
    bench.client.lose("closed", bench.now)
    if error:
        with pytest.raises(SignalingError, match="peer-busy"):
            request.result()
    else:
        assert isinstance(request.result(), Ok)


def test_with_too_much_due_further_requests_wait():
    bench = Bench().registers()
    while bench.client.ready:
        bench.asks(messages.Offer(to="bob", sdp="x" * 1900))
    assert len(bench.client.take_due()) in range(rules.DUE_BYTES, rules.DUE_BYTES + 2004)
    assert bench.client.ready


# -- what others send

PERHAPS = {"type": "error", "code": "peer-unavailable", "message": "perhaps", "to": "bob"}
SLOWER = {"type": "error", "code": "rate-limited", "message": "slower", "retryAfterMs": 5}
OTHERS: list[tuple[dict[str, Any], Received]] = [
    (
        {"type": "offer", "from": "bob", "sdp": "v=0", "session": "s"},
        OfferFrom(sender="bob", sdp="v=0", session="s"),
    ),
    ({"type": "answer", "from": "bob", "sdp": "v=0"}, AnswerFrom(sender="bob", sdp="v=0")),
    ({"type": "candidate", "from": "bob", "candidate": None}, CandidateFrom(sender="bob", candidate=None)),
    (
        {"type": "candidate", "from": "bob", "candidate": {"candidate": "", "x": 1}},
        CandidateFrom(sender="bob", candidate={"candidate": "", "x": 1}),
    ),
    ({"type": "bye", "from": "bob", "reason": "done"}, ByeFrom(sender="bob", reason="done")),
    ({"type": "message", "from": "bob", "data": None}, MessageFrom(sender="bob", data=None)),
    ({"type": "message", "from": "bob", "data": [1], "new": "member"}, MessageFrom(sender="bob", data=[1])),
    (PERHAPS, Error(code="peer-unavailable", message="perhaps", to="bob")),
    (SLOWER, Error(code="rate-limited", message="slower", retry_after_ms=5)),
]


@BOTH
@pytest.mark.parametrize(("said", "message"), OTHERS)
def test_a_message_for_the_program(framing: Dialect, said: dict[str, Any], message: Received):
    bench = Bench(framing=framing).registers()
    bench.hears(said)
    assert bench.received() == [message]
    assert bench.client.ready


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"# a comment",
        b"{",
        b"[]",
        b'{"type":"of 2031"}',
        b'{"type":"offer","from":"bob"}',
        b'{"type":"message","from":"bob","data":"\xff"}',
        b'{"type":"message","from":"bob","data":"\\ud800"}',
        b'{"type":"message","from":"bob","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_no_message_is_ignored(frame: bytes):
    bench = Bench(framing=Dialect.LINES).registers()
    bench.client.receive(Lines.wrap(b'{"type":"bye","from":"a"}') + frame + b"\n", bench.now)
    bench.hears({"type": "bye", "from": "b"})
    assert [message.sender for message in bench.received() if not isinstance(message, Error)] == ["a", "b"]


@BOTH
def test_split_at_every_byte(framing: Dialect):
    stream = b"".join(Bench(framing=framing).wrap(said) for said, _ in OTHERS)
    for size in (1, 2, 3, 5, 7, 64, len(stream)):
        bench = Bench(framing=framing).registers()
        for at in range(0, len(stream), size):
            bench.client.receive(stream[at : at + size], bench.now)
        assert bench.received() == [message for _, message in OTHERS]


@BOTH
@given(chunks=st.lists(st.binary(min_size=1), max_size=20), registered=st.booleans())
def test_whatever_comes_is_never_a_crash(framing: Dialect, chunks: list[bytes], registered: bool):
    bench = Bench(framing=framing)
    if registered:
        bench.registers()
    else:
        bench.begins()
    for chunk in chunks:
        bench.client.receive(chunk, bench.now)
    bench.client.lose("closed", bench.now)
    assert bench.client.retry_at >= bench.now


def errors() -> st.SearchStrategy[dict[str, Any]]:
    whole: dict[str, st.SearchStrategy[Any]] = {
        "type": st.just("error"),
        "code": st.sampled_from([*ErrorCode, "of-2031"]),
        "message": st.text(),
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "ref": st.sampled_from(["1", "2", "3"]),
        "to": st.just("bob"),
        "retryAfterMs": st.integers(),
        "reconnect": st.booleans(),
    }
    return st.fixed_dictionaries(whole, optional=optional)


def going_away() -> st.SearchStrategy[dict[str, Any]]:
    whole: dict[str, st.SearchStrategy[Any]] = {
        "type": st.just("goingAway"),
        "reconnectAfterMs": st.integers(),
        "reason": st.text(),
    }
    return st.fixed_dictionaries(whole)


OWN: list[dict[str, Any]] = [
    {"type": "ok", "ref": "2"},
    {"type": "ping"},
    {"type": "pong"},
    TERMS | {"id": "a", "ref": "1", "keepaliveMs": 0},
    TERMS | {"id": "a", "ref": "1", "keepaliveMs": 0, "expiresMs": -1, "iceServers": [None]},
    {"type": "iceServers", "iceServers": [{"urls": "stun:h"}, 7]},
]
SAID = errors() | going_away() | st.sampled_from([said for said, _ in OTHERS]) | st.sampled_from(OWN)


@given(st.lists(SAID, max_size=12))
def test_whatever_a_server_says_a_request_is_settled_once_the_connection_is_gone(said: list[dict[str, Any]]):
    bench = Bench().registers()
    settled: list[None] = []
    request = bench.client.ask(messages.Bye(to="bob"), Ok, lambda: settled.append(None))
    bench.hears(*said)
    bench.client.lose("closed", bench.now)
    assert request.settled
    assert settled
    assert bench.now <= bench.client.retry_at <= bench.now + 86_400
    assert (bench.client.ended is not None) <= any(is_final(message) for message in said)


def is_final(message: dict[str, Any]) -> bool:
    return message.get("reconnect") is False or message.get("code") in FINAL


FINAL = {code for code in ErrorCode if code.next is Next.NEVER} | {ErrorCode.AUTH_EXPIRED}
