"""Macs of datagrams: what goes into each, and that nothing else passes for one."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire import macs

TOKEN = b"dG9rZW4gb2YgYSBjYW1lcmEgYXQgdGhlIGdhdGU="
CID = b"0123456789abcdef"
DIRECTIONS = (macs.REGISTER, macs.FROM_CLIENT, macs.FROM_SERVER, macs.ERROR)


def hmac_sha256(key: bytes, text: bytes) -> str:
    """RFC 2104, as plainly as possible, for keys of up to 64 bytes."""
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key.ljust(64, b"\0")) + text).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key.ljust(64, b"\0")) + inner).hexdigest()


def test_directions_are_four():
    assert DIRECTIONS == (b"R", b"C", b"S", b"E")


def test_a_mac_is_half_an_hmac_of_direction_and_text():
    assert macs.mac(TOKEN, b"R", b'{"type":"register"}').decode() == hmac_sha256(TOKEN, b'R{"type":"register"}')[:32]


def test_the_key_of_a_link():
    shown = macs.mac(TOKEN, b"R", b"{}")
    key = macs.link_key(TOKEN, CID, shown)
    assert key.hex() == hmac_sha256(TOKEN, b"sigd link 1\n0123456789abcdef\n" + shown)
    assert len(key) == 32


def test_the_proof_of_a_renewal():
    assert (
        macs.renewal_proof(TOKEN, CID, "1767225600:cam1").decode()
        == (hmac_sha256(TOKEN, b"N0123456789abcdef\n1767225600:cam1")[:32])
    )


def test_a_sealed_datagram_is_its_text_a_space_and_its_mac():
    sealed = macs.sealed(TOKEN, macs.FROM_CLIENT, b"X " + CID)
    assert sealed == b"X " + CID + b" " + macs.mac(TOKEN, b"C", b"X " + CID)
    assert macs.split(sealed) == (b"X " + CID, sealed[-32:])
    assert macs.opened(TOKEN, macs.FROM_CLIENT, sealed) == b"X " + CID


@pytest.mark.parametrize("text", [b"", b" ", b" " + b"0" * 32, b"x" * 33, b"x" * 40, b"x-" + b"0" * 32])
def test_what_has_no_place_for_a_mac_has_none(text):
    assert macs.split(text) == (b"", b"")
    assert macs.opened(TOKEN, macs.FROM_CLIENT, text) == b""


@given(text=st.binary(min_size=1, max_size=60), direction=st.sampled_from(DIRECTIONS))
def test_only_the_same_key_and_direction_open(text, direction):
    sealed = macs.sealed(TOKEN, direction, text)
    for other in DIRECTIONS:
        assert macs.opened(TOKEN, other, sealed) == (text if other == direction else b"")
    assert macs.opened(TOKEN + b"=", direction, sealed) == b""


@given(text=st.binary(min_size=1, max_size=40), data=st.data())
def test_row_34_a_flipped_bit_anywhere_does_not_open(text, data):
    sealed = macs.sealed(TOKEN, macs.FROM_SERVER, text)
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[place // 8] ^= 1 << place % 8
    assert macs.opened(TOKEN, macs.FROM_SERVER, bytes(flipped)) == b""


def test_capital_letters_do_not_open():
    sealed = macs.sealed(TOKEN, macs.FROM_SERVER, b"X " + CID)
    assert sealed[-32:].upper() != sealed[-32:]
    assert macs.opened(TOKEN, macs.FROM_SERVER, sealed[:-32] + sealed[-32:].upper()) == b""


@given(st.binary(max_size=80))
def test_any_bytes_give_silence(datagram):
    assert macs.opened(TOKEN, macs.FROM_CLIENT, datagram) == b""


def test_long_tokens_are_keys_as_rfc_2104_has_them():
    token = b"t" * 100
    assert macs.mac(token, b"R", b"{}").decode() == hmac.new(token, b"R{}", "sha256").hexdigest()[:32]
