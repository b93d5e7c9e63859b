"""Text from outside, made printable: nothing steers a terminal or hides."""

import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.text import HIDDEN, LONGEST_QUOTE, escaped, one_of, shown


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("caf\xe9 \U0001f600", "caf\xe9 \U0001f600"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\x7f\x9b", "a\\x0d\\x0ab\\x7f\\x9b"),
        ("\u202eabc\ufeff", "\\u202eabc\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_spells_out_what_steers_or_hides(text: str, printed: str) -> None:
    assert escaped(text) == printed


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Lu"])))
def test_leaves_no_control_and_no_surrogate(text: str) -> None:
    kinds = {unicodedata.category(each) for each in escaped(text)}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert escaped(escaped(text)) == escaped(text)


def test_the_ranges_are_sorted_and_apart() -> None:
    ends = [end for pair in HIDDEN for end in pair]
    assert ends == sorted(ends)
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(HIDDEN))
    assert re.findall(one_of(*HIDDEN), "a\u200bb") == ["\u200b"]


@given(st.text(), st.integers(3, LONGEST_QUOTE))
def test_a_quote_is_short_and_ascii(text: str, limit: int) -> None:
    quote = shown(text, limit)
    assert len(quote) <= limit
    assert all(" " <= each <= "~" for each in quote)
