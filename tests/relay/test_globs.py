"""Globs: `*` alone is special, and no glob takes long."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.globs import allows, glob_matches


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("cam1", ["cam1"], ["cam", "cam11", "Cam1", "xcam1", ""]),
        ("*", ["", "a", "*", "a*b"], []),
        ("cam*", ["cam", "cam1", "cam*"], ["ca", "xcam", "CAM1"]),
        ("*cam", ["cam", "xcam", "camcam"], ["camx", ""]),
        ("a*b", ["ab", "aab", "abb", "a-b", "ab*b"], ["a", "b", "ba", "abc", "xab"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a*bc*bc", ["abcbc", "a-bc-bc", "abcbcbc"], ["abc", "abcb", "abbc"]),
        ("*a*", ["a", "xax"], ["", "b"]),
        ("**", ["", "a"], []),
        ("a**b", ["ab", "axb"], ["a"]),
        ("", [""], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[a-z]?", ["[a-z]?"], ["a", "ab"]),
        ("a~_-", ["a~_-"], ["a"]),
    ],
)
def test_what_matches(glob, matching, others):
    assert [text for text in [*matching, *others] if glob_matches(glob, text)] == matching


@given(glob=st.text("ab*.", max_size=12), text=st.text("ab*.\n", max_size=16))
def test_a_star_is_any_characters_and_everything_else_itself(glob, text):
    pattern = ".*".join(re.escape(part) for part in glob.split("*"))
    assert glob_matches(glob, text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


class Counting(str):
    """A text that counts how often it is searched."""

    searches = 0

    def find(self, *arguments: Any) -> int:
        self.searches += 1
        return super().find(*arguments)


def test_no_glob_takes_long():
    """A glob of a credential is a client's own: as a regular expression this one would take for ever."""
    text = Counting("a" * 100_000)
    assert not glob_matches("*a" * 31 + "*b", text)
    assert text.searches == 31


def test_each_of_several_must_have_one_that_matches():
    assert allows((), "anybody")
    assert allows((("a*", "b*"),), "b1")
    assert allows((("a*", "b*"), ("*1",)), "b1")
    assert not allows((("a*", "b*"), ("*1",)), "b2")
    assert not allows((("a*",), ("b*",)), "a")
    assert not allows(((),), "a")
