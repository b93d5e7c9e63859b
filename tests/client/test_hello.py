"""What comes before a link in datagrams: what is said, how often, and whom a client believes. Time is a number."""

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.client.errors import SignalingError
from sigd.client.hello import AGAIN_SECONDS, DOUBTFUL_SECONDS, Greeting
from sigd.wire import macs
from sigd.wire.datagram import MAX_DATAGRAM
from sigd.wire.greeting import LEAST_REGISTER
from tests.client.by_datagram import CID, REGISTER, TOKEN, Door, error, greets, registered

BOTH = pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "sealed"])
SEALED_REGISTER = b'{"type":"register","ref":"1","id":"cam1","user":"1900000000:cam1"}'


def nonce_of(datagram: bytes) -> str:
    nonce: str = json.loads(datagram.rpartition(b"}")[0] + b"}")["nonce"]
    return nonce


def challenge(nonce: str, cookie: str) -> bytes:
    return json.dumps({"type": "challenge", "nonce": nonce, "cookie": cookie}).encode()


def next_of(greeting: Greeting, now: float) -> bytes:
    (datagram,) = greeting.datagrams_to_send(now)
    return datagram


class Opened:
    """A greeting that has been challenged.

    Attributes:
        second: its register with the cookie.
    """

    def __init__(self, token: bytes | None) -> None:
        self.token = token
        self.door = Door(token)
        self.greeting = greets(token, REGISTER if token is None else SEALED_REGISTER)
        first = next_of(self.greeting, 1000)
        self.nonce = nonce_of(first)
        self.greeting.receive_untrusted(self.door.answers(first, 1000), 1000)
        self.second = next_of(self.greeting, 1000)


# -- what is said


def test_the_first_register_shows_nothing_but_who_it_is_for():
    first = next_of(greets(TOKEN, SEALED_REGISTER), 1000)
    assert json.loads(first).keys() == {"type", "id", "nonce", "pad"}
    assert len(first) == LEAST_REGISTER
    assert len(json.loads(first)["nonce"]) == 22


def test_no_two_greetings_have_one_nonce():
    assert len({nonce_of(next_of(greets(), 1000)) for _ in range(100)}) == 100


@BOTH
def test_the_second_shows_the_cookie_and_the_rest(token: bytes | None):
    opened = Opened(token)
    text = opened.second
    if token is not None:
        text = macs.opened(token, macs.REGISTER, opened.second)
        assert text
    said = json.loads(text)
    assert {"type", "ref", "id", "nonce", "cookie"} <= said.keys()
    assert ("user" in said) == (token is not None)
    assert "token" not in said
    assert TOKEN not in opened.second


@BOTH
def test_the_answer_makes_a_link(token: bytes | None):
    opened = Opened(token)
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1000), 1000.1)
    assert opened.greeting.over
    channel = opened.greeting.channel
    assert channel is not None
    assert channel.cid == CID.encode()
    assert (channel.key is None) == (token is None)
    assert json.loads(opened.greeting.answer)["type"] == "registered"
    assert opened.greeting.datagrams_to_send(math.inf) == []


@pytest.mark.parametrize("cookie", [False, True])
def test_each_is_repeated_after_one_second_then_two_then_four(cookie: bool):
    greeting = Opened(None).greeting if cookie else greets()
    if not cookie:
        next_of(greeting, 1000)
    times: list[float] = []
    for _ in range(5):
        times.append(greeting.deadline)
        assert greeting.datagrams_to_send(greeting.deadline - 0.001) == []
        next_of(greeting, greeting.deadline)
    assert times == [1001, 1003, 1007, 1011, 1015]


def test_pauses_differ():
    def second(seed: int) -> float:
        greeting = greets(jitter=random.Random(seed))
        next_of(greeting, 1000)
        return greeting.deadline

    times = {second(seed) for seed in range(50)}
    assert len(times) == 50
    assert 1001 <= min(times) < max(times) <= 1001.25


@BOTH
def test_the_same_bytes_go_again(token: bytes | None):
    opened = Opened(token)
    assert next_of(opened.greeting, 1001) == opened.second


@BOTH
@pytest.mark.parametrize("lost", range(4), ids=["first", "challenge", "second", "registered"])
def test_whatever_is_lost_once_it_comes_to_a_link(token: bytes | None, lost: int):
    greeting, door = greets(token), Door(token)
    now, passed = 1000.0, 0
    while not greeting.over:
        now = max(now, greeting.deadline)
        for datagram in greeting.datagrams_to_send(now):
            passed += 1
            if passed - 1 == lost:
                continue
            answer = door.answers(datagram, now)
            passed += 1
            if passed - 1 != lost:
                greeting.receive_untrusted(answer, now)
    assert greeting.channel is not None
    assert now == 1001


@BOTH
@given(seed=st.integers())
def test_it_comes_to_a_link_over_a_bad_network(token: bytes | None, seed: int):
    chance = random.Random(seed)
    greeting, door = greets(token, jitter=chance), Door(token)
    now = 1000.0
    while not greeting.over:
        now = max(now, greeting.deadline)
        assert now < 1400
        for datagram in greeting.datagrams_to_send(now):
            if chance.random() < 0.1:
                door.restarts()
            for _ in range(chance.randrange(3)):
                answer = door.answers(datagram, now)
                for _ in range(chance.randrange(3)):
                    greeting.receive_untrusted(answer, now)
    assert greeting.channel is not None


def test_a_register_that_no_datagram_holds_is_not_begun():
    with pytest.raises(SignalingError, match="too-large: a register of 1"):
        greets(register=b'{"type":"register","jwt":"' + b"x" * 1_100 + b'"}')
    greeting = greets(register=b'{"type":"register","jwt":"' + b"x" * 1_000 + b'"}')
    greeting.receive_untrusted(challenge(nonce_of(next_of(greeting, 1000)), "c" * 64), 1000)
    assert len(next_of(greeting, 1000)) <= MAX_DATAGRAM


# -- whom it believes


@BOTH
def test_a_refusal_is_the_answer(token: bytes | None):
    opened = Opened(token)
    opened.door.refusal = {"code": "id-taken"}
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1000), 1000)
    assert json.loads(opened.greeting.answer)["code"] == "id-taken"
    assert opened.greeting.channel is None


def forgeries(opened: Opened) -> list[bytes]:
    """What somebody says who has seen all that was sent, but has no token; or who has not seen the nonce."""
    nonce, other = opened.nonce, "x" * 22
    mac = macs.split(opened.second)[1]
    some = [
        registered(other, None, b""),
        error(other, "forbidden", reconnect=False),
        challenge(other, "cookie"),
        challenge(nonce, ""),
        challenge(nonce, "c" * 65),
        registered(nonce, None, b"", cid="no cid"),
        registered(nonce, None, b"", cid=CID.upper()),
        b"",
        b"\0" * 50,
        b"{}",
        b'{"type":"registered"}',
        b"[" * 1_100,
        b"Z " + CID.encode(),
        b'{"type":"bye","from":"bob"}',
        registered(nonce, None, b"") + b" " * MAX_DATAGRAM,
    ]
    if opened.token is not None:
        some += [
            registered(nonce, None, b""),
            registered(nonce, b"another token", mac),
            registered(nonce, opened.token, b"0" * 32),
            registered(other, opened.token, mac),
            registered(nonce, opened.token, mac)[:-1] + b"g",
            registered(nonce, opened.token, mac).replace(CID.encode(), b"f" * 16),
            registered(nonce, None, b"") + b" " + mac,
            error(nonce, "forbidden", reconnect=False),
            error(nonce, "id-taken"),
            error(nonce, "forbidden") + b" " + mac,
            macs.sealed(opened.token, macs.ERROR, error(other, "forbidden")),
            macs.sealed(opened.token, macs.REGISTER, error(nonce, "forbidden")),
            macs.sealed(b"another token", macs.ERROR, error(nonce, "forbidden")),
        ]
    return some


@BOTH
def test_row_34_what_others_make_up_changes_nothing(token: bytes | None):
    opened = Opened(token)
    for forged in forgeries(opened):
        opened.greeting.receive_untrusted(forged, 1000)
        assert not opened.greeting.over, forged
        assert opened.greeting.deadline == 1001, forged
    assert next_of(opened.greeting, 1001) == opened.second
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1001), 1001)
    assert opened.greeting.channel is not None


@BOTH
@given(data=st.data())
def test_row_34_no_bytes_make_it_stumble(token: bytes | None, data: st.DataObject):
    opened = Opened(token)
    answer = opened.door.answers(opened.second, 1000)
    at = data.draw(st.integers(0, len(answer) - 1))
    flipped = answer[:at] + bytes([answer[at] ^ data.draw(st.integers(1, 255))]) + answer[at + 1 :]
    opened.greeting.receive_untrusted(data.draw(st.one_of(st.binary(max_size=1300), st.just(flipped))), 1000)
    if token is not None:
        assert opened.greeting.channel is None
    if not opened.greeting.over:
        opened.greeting.receive_untrusted(answer, 1000)
        assert opened.greeting.channel is not None


# -- cookies


@BOTH
def test_row_33_a_stale_cookie_is_replaced(token: bytes | None):
    opened = Opened(token)
    opened.door.restarts()
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1000), 1000)
    third = next_of(opened.greeting, 1000 + AGAIN_SECONDS)
    assert third != opened.second
    opened.greeting.receive_untrusted(opened.door.answers(third, 1001), 1001)
    assert opened.greeting.channel is not None


def test_challenges_without_end_are_answered_once_a_second():
    opened = Opened(TOKEN)
    sent = 0
    for tick in range(1, 1_001):
        now = 1000 + tick / 100
        opened.greeting.receive_untrusted(challenge(opened.nonce, f"made up {tick}"), now)
        sent += len(opened.greeting.datagrams_to_send(now))
    assert sent == 10


def test_a_challenge_that_comes_twice_is_answered_once():
    opened = Opened(TOKEN)
    cookie = json.loads(macs.split(opened.second)[0])["cookie"]
    opened.greeting.receive_untrusted(challenge(opened.nonce, cookie), 1000.5)
    assert opened.greeting.deadline == 1001


def test_an_answer_to_the_register_before_the_last_still_counts():
    opened = Opened(TOKEN)
    answer = opened.door.answers(opened.second, 1000)
    opened.greeting.receive_untrusted(challenge(opened.nonce, "another"), 1000)
    assert next_of(opened.greeting, 1001) != opened.second
    opened.greeting.receive_untrusted(answer, 1001)
    channel = opened.greeting.channel
    assert channel is not None
    assert channel.key == macs.link_key(TOKEN, CID.encode(), opened.door.shown[0])


# -- a refusal without a mac


def refused() -> Opened:
    opened = Opened(TOKEN)
    opened.door.wrong = True
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1000), 1000.5)
    return opened


def test_a_bare_refusal_counts_if_nothing_better_comes():
    greeting = refused().greeting
    while not greeting.over:
        now = greeting.deadline
        greeting.expire(now)
        greeting.datagrams_to_send(now)
    assert now == 1000.5 + DOUBTFUL_SECONDS
    assert json.loads(greeting.answer)["code"] == "auth-failed"


def test_a_bare_refusal_counts_when_there_is_no_more_time():
    greeting = refused().greeting
    greeting.give_up()
    assert json.loads(greeting.answer)["code"] == "auth-failed"


def test_a_bare_refusal_is_forgotten_over_what_verifies():
    opened = refused()
    opened.door.wrong = False
    opened.greeting.receive_untrusted(opened.door.answers(opened.second, 1001), 1001)
    opened.greeting.expire(2000)
    opened.greeting.give_up()
    assert opened.greeting.channel is not None
    assert json.loads(opened.greeting.answer)["type"] == "registered"


def test_further_bare_refusals_do_not_put_it_off():
    opened = refused()
    opened.greeting.receive_untrusted(error(opened.nonce, "auth-failed"), 1009)
    opened.greeting.expire(1000.5 + DOUBTFUL_SECONDS)
    assert json.loads(opened.greeting.answer).get("reconnect") is False


def test_who_has_nothing_to_give_up_gives_nothing_up():
    greeting: Any = greets(TOKEN)
    greeting.give_up()
    assert not greeting.over
