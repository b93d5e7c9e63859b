"""What a person types at the admin socket, and what a program would have sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.admin import questions
from sigd.admin.questions import QUESTIONS, Asked, UnknownQuestion
from sigd.control.typed import HELP, parse


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (b"status", questions.AskStatus()),
        (b"  peers  ", questions.AskPeers()),
        (b"peers cam*", questions.AskPeers(glob="cam*")),
        (b"show cam1", questions.AskShow(peer="cam1")),
        (b"closed", questions.AskClosed()),
        (b"closed *1", questions.AskClosed(glob="*1")),
        (b"kick cam1", questions.AskKick(peer="cam1")),
        (b"kick cam1 too  old", questions.AskKick(peer="cam1", reason="too old")),
        (b"ping cam1", questions.AskPing(peer="cam1")),
        (b"reload", questions.AskReload()),
        (b"drain", questions.AskDrain()),
        (b"metrics", questions.AskMetrics()),
        (b"why a b", questions.AskWhy(first="a", second="b")),
        (b"tap", questions.AskTap()),
        (b"tap a b c", questions.AskTap(peers=["a", "b", "c"])),
        (b'{"type":"show","peer":"cam1"}', questions.AskShow(peer="cam1")),
        (b"help", None),
        (b"?", None),
        (b"", None),
    ],
)
def test_what_a_line_asks(line: bytes, asked: Asked | None) -> None:
    assert parse(line) == asked


def asked_or_fault(line: bytes) -> Asked | str | None:
    """What a line asks, or what is said of it."""
    try:
        return parse(line)
    except ValueError as fault:
        return str(fault)


def tag_of(asked: Asked | str | None) -> object:
    return None if asked is None or isinstance(asked, str) else asked.__struct_config__.tag


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_a_command_and_a_line_of_help(name: str) -> None:
    assert f"# {name} ".encode() in HELP
    found = [asked_or_fault(f"{name}{words}".encode()) for words in ("", " a", " a b")]
    assert {"x" if isinstance(each, str) else tag_of(each) for each in found} <= {"x", name}
    assert all(each.startswith(f"the command is: {name}") for each in found if isinstance(each, str))
    assert not all(isinstance(each, str) for each in found)


@pytest.mark.parametrize("line", [b"nothing", b"Status", b"[1]", b'{"type":"nothing"}'])
def test_what_does_not_exist(line: bytes) -> None:
    with pytest.raises(UnknownQuestion):
        parse(line)


@given(st.binary(max_size=64))
def test_any_line_is_a_question_or_a_fault(line: bytes) -> None:
    found = asked_or_fault(line)
    assert found is None or tag_of(found) in QUESTIONS or (isinstance(found, str) and found)
