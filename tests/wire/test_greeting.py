"""What is said before there is a link: any bytes are a `register` with a nonce, or nothing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire import greeting, macs
from sigd.wire.receiving import MAX_DATAGRAM

NONCE = "nonce-of-16-char"
COOKIE = "c" * 16


def register(**members: object) -> bytes:
    return msgspec.json.encode({"type": "register", "nonce": NONCE, "pad": "x" * 120} | members)


def opened(datagram: bytes) -> greeting.OpeningDatagram:
    opening = greeting.open_untrusted(datagram)
    assert opening is not None
    return opening


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("key", [b"", b"a token"])
def test_a_register_is_taken_apart(end: bytes, key: bytes) -> None:
    text = register(cookie=COOKIE, user="1:a")
    opening = opened((macs.sealed(key, macs.REGISTER, text) if key else text) + end)
    assert (opening.text, opening.nonce, opening.cookie, opening.user) == (text, NONCE, COOKIE, "1:a")
    assert opening.mac == (macs.mac(key, macs.REGISTER, text) if key else b"")


def test_cookie_and_user_may_be_absent() -> None:
    opening = opened(register())
    assert (opening.cookie, opening.user) == (None, None)


@pytest.mark.parametrize("nonce", ["n" * 16, "n" * 43, "azAZ09_-azAZ09_-"])
def test_a_nonce(nonce: str) -> None:
    assert opened(register(nonce=nonce)).nonce == nonce


@pytest.mark.parametrize("nonce", ["", "n" * 15, "n" * 44, "n" * 16 + "\n", "n" * 16 + "=", "\u00e9" * 16, 5, None])
def test_no_nonce(nonce: object) -> None:
    assert greeting.open_untrusted(register(nonce=nonce)) is None


def test_the_longest_datagram() -> None:
    rest = MAX_DATAGRAM - len(register(pad=""))
    assert opened(register(pad="x" * rest) + b"\r\n").nonce == NONCE
    assert greeting.open_untrusted(register(pad="x" * (rest + 1))) is None
    assert greeting.open_untrusted(register(pad="x" * (rest + 1)) + b"\n") is None


@pytest.mark.parametrize(
    "datagram",
    [
        *(b"", b"{", b"{}", b"null", b"\n", b"[" * 1_200, b'{"type":"register"}'),
        register().replace(b"register", b"offer"),
        register() + b" ",
        register() + b"x",
        register() + b" " + b"0" * 31,
        register() + b"\t" + b"0" * 32,
        register() + b"\n\n",
        b" " + b"0" * 32,
        register(cookie=5),
        register(user=["x"]),
    ],
)
def test_what_is_no_register(datagram: bytes) -> None:
    assert greeting.open_untrusted(datagram) is None


@pytest.mark.parametrize("length", [0, 1, 159, 160, 1_200])
def test_row_31_a_challenge_is_never_longer_than_what_it_answers(length: int) -> None:
    challenge = greeting.challenge_untrusted(opened(register()), length, COOKIE)
    assert bool(challenge) is (length >= greeting.LEAST_REGISTER)
    assert len(challenge) <= length


def test_row_31_nor_with_the_longest_nonce() -> None:
    assert len(greeting.challenge_untrusted(opened(register(nonce="n" * 43)), 160, COOKIE)) <= greeting.LEAST_REGISTER


def test_a_challenge_is_read_again() -> None:
    challenge = greeting.read_challenge(greeting.challenge_untrusted(opened(register()), 160, COOKIE))
    assert challenge == greeting.Challenge(NONCE, COOKIE)


@pytest.mark.parametrize("datagram", [b"", b"{}", b"\xff", b"[" * 1_000, register(), b'{"type":"challenge"}'])
def test_what_is_no_challenge(datagram: bytes) -> None:
    assert greeting.read_challenge(datagram) is None


@given(st.binary(max_size=1_300))
def test_any_bytes_are_a_register_or_nothing(datagram: bytes) -> None:
    opening = greeting.open_untrusted(datagram)
    assert opening is None or 16 <= len(opening.nonce) <= 43
    assert greeting.read_challenge(datagram) is None or datagram.startswith(b"{")
