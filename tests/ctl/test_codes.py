"""`sigctl errors`: one code, explained; another word, and which was meant."""

import json

import pytest

from sigd.wire.errors import ErrorCode, Next
from tests.ctl.conftest import Sigctl


def test_one_code_is_explained(sigctl: Sigctl):
    assert sigctl("errors", "replaced") == (
        0,
        "replaced\n"
        "meaning     Another link with the same credential has taken the ID over.\n"
        "link        ends with it\n"
        "then        do not reconnect without human help\n",
        "",
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_can_be_asked_for(sigctl: Sigctl, code):
    status, out, _ = sigctl("errors", code, "--json")
    (only,) = json.loads(out)["errors"]
    assert (status, only) == (
        0,
        {"code": code.value, "closes": code.closes, "next": code.next.value, "meaning": code.meaning},
    )
    assert sigctl("errors", code)[0] == 0
    assert code.next in set(Next)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("peer-unavailible", 'unknown error code "peer-unavailible"; did you mean peer-unavailable?'),
        ("404", 'unknown error code "404"'),
        ("\x1b[2J", 'unknown error code "\\x1b[2J"'),
    ],
)
def test_a_code_that_is_none(sigctl: Sigctl, word, said):
    assert sigctl("errors", word) == (
        2,
        "",
        f"sigctl: errors: argument CODE: {said}; see `sigctl errors --help`\n",
    )
