"""Peer IDs, their beginnings, and globs of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.wire.ids import GLOB, MAX_ID, is_glob, is_peer_id, is_prefix

LONGEST = "x" * MAX_ID


@pytest.mark.parametrize(
    ("text", "peer_id", "prefix", "glob"),
    [
        ("cam-1.example_2~", True, True, True),
        (LONGEST, True, True, True),
        (LONGEST + "x", False, False, False),
        ("", False, True, False),
        ("cam*", False, False, True),
        ("*" * MAX_ID, False, False, True),
        ("*" * (MAX_ID + 1), False, False, False),
        *((text, False, False, False) for text in ("cam1\n", "a b", "a:b", "\u0661", "caf\xe9", "a\0", "a?", "[a]")),
    ],
)
def test_takes(text: str, peer_id: bool, prefix: bool, glob: bool) -> None:
    assert (is_peer_id(text), is_prefix(text), is_glob(text)) == (peer_id, prefix, glob)


@given(st.text(max_size=MAX_ID + 1))
def test_an_id_is_a_prefix_and_a_glob_of_itself(text: str) -> None:
    if is_peer_id(text):
        assert is_prefix(text)
    assert is_peer_id(text) == (is_glob(text) and "*" not in text)


def test_the_pattern_finds_globs_within_texts() -> None:
    assert re.findall(GLOB, "1700000000:cam*:cam1") == ["1700000000", "cam*", "cam1"]
