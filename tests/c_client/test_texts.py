"""JSON as far as the C client reads and writes it, SHA-256 and the macs: against Python's."""

import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire import macs
from tests.c_client.device import Library

SIMPLE = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=10
)
NAMES = st.text("abcd", min_size=1)


@pytest.mark.slow  # a hundred objects, many of them deep, take seconds to make
@given(
    st.dictionaries(NAMES, VALUES, max_size=5), st.sampled_from([None, (",", ":"), (" , ", "\t:\r\n")]), st.booleans()
)
def test_each_member_of_an_object_is_found(library: Library, members: dict[str, object], separators, ascii_only):
    text = json.dumps(members, separators=separators, ensure_ascii=ascii_only).encode()
    for name, value in members.items():
        found = library.find(text, name.encode())
        assert found is not None
        assert json.loads(found) == value
    assert library.find(text, b"e") is None


@pytest.mark.slow  # the same
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=5), st.data())
def test_what_is_cut_off_or_garbled_is_not_read_past_its_end(library: Library, members, data: st.DataObject):
    text = bytearray(json.dumps(members).encode())
    text = text[: data.draw(st.integers(0, len(text)))]
    for at in data.draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=3)):
        text[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
    found = library.find(bytes(text), b"a")
    assert found is None or found in bytes(text)[:-1]  # there is a place for a NUL behind it


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"',
        b'{"a',
        b'{"a"',
        b'{"a":',
        b'{"a": ',
        b'{"a":"',
        b'{"a":"\\',
        b'{"a":1',
        b'{"a":"x"',
        b'{"a":,}',
        b"[]",
    ],
)
def test_no_member(library: Library, text: bytes):
    assert library.find(text, b"a") is None


def test_nesting_takes_no_stack(library: Library):
    deep = b"[" * 500_000
    assert library.find(b'{"x":' + deep + b"]" * 500_000 + b',"a":7}', b"a") == b"7"
    assert library.find(b'{"x":' + deep, b"a") is None


def test_nothing_inside_a_value_counts(library: Library):
    text = rb'{"x":{"a":1,"y":[{"a":2}]},"z":"\",\"a\":3","a":4}'
    assert library.find(text, b"a") == b"4"


@given(st.text(), st.booleans())
def test_a_string_is_unescaped(library: Library, text: str, ascii_only):
    assert library.unescape(json.dumps(text, ensure_ascii=ascii_only).encode()) == text.encode()


@pytest.mark.parametrize(
    ("string", "text"),
    [
        (rb'"\b\f\n\r\t\/\\\""', b'\b\f\n\r\t/\\"'),
        (rb'"\u00e9\u20AC\ud83d\ude00"', "é€\U0001f600".encode()),
        (rb'"\ud83dx"', "\ufffdx".encode()),
        (rb'"\ude00\ud83d\u0041"', "\ufffd\ufffdA".encode()),
        (rb'"\u00"', b"u00"),
        (rb'"\"', b"\\"),
        (b'""', b""),
        (b'"', None),
        (b"7", None),
        (b"", None),
    ],
)
def test_escapes(library: Library, string: bytes, text: bytes | None):
    assert library.unescape(string) == text


@given(st.binary())
def test_no_string_is_read_past_its_end(library: Library, inside: bytes):
    found = library.unescape(b'"' + inside + b'"')
    assert found is not None
    assert len(found) <= len(inside)


@given(st.text())
def test_a_text_is_escaped(library: Library, text: str):
    text = text.replace("\0", "")  # no C string holds it
    escaped = library.escape(text.encode())
    assert json.loads(b'"' + escaped + b'"') == text
    assert len(escaped) <= len(json.dumps(text, ensure_ascii=False).encode())


# RFC 4231, section 4: key, text, HMAC-SHA256. Keys of more than 64 bytes are no tokens.
VECTORS = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
]


@pytest.mark.parametrize(("key", "text", "expected"), VECTORS)
def test_rfc_4231(library: Library, key: bytes, text: bytes, expected: str):
    assert library.hmac(key, text).hex() == expected


def test_every_length_around_a_block(library: Library):
    for size in range(200):
        text = bytes(range(size))
        assert library.hmac(b"k" * (size % 65), text) == hmac.digest(b"k" * (size % 65), text, "sha256")


@given(st.binary(max_size=64), st.binary(max_size=1300))
def test_a_mac_is_that_of_the_daemon(library: Library, key: bytes, text: bytes):
    assert library.mac(key, b"C", text) == macs.mac(key, b"C", text)
