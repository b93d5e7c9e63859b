"""Work in parts: the first step at once, the others one by one, each chore in turn."""

from collections.abc import Iterator

import pytest

from sigd.relay.chores import Chores


def work(done: list[str], name: str, steps: int, *, fails: bool = False) -> Iterator[None]:
    for _ in range(steps):
        done.append(name)
        yield
    if fails:
        raise ValueError(name)


def test_chores_take_turns_a_step_at_a_time():
    chores, done = Chores(), list[str]()
    for name, steps in (("a", 3), ("b", 1), ("c", 2)):
        chores.begin(work(done, name, steps))
    assert done == ["a", "b", "c"]
    while chores:
        chores.step()
    assert done == ["a", "b", "c", "a", "c", "a"]


def test_a_chore_without_a_step_is_done_at_once():
    chores = Chores()
    chores.begin(iter(()))
    assert not chores


def test_a_bug_ends_its_own_chore_alone():
    chores, done = Chores(), list[str]()
    chores.begin(work(done, "a", 1, fails=True))
    chores.begin(work(done, "b", 2))
    with pytest.raises(ValueError, match="a"):
        chores.step()
    assert len(chores) == 1
    chores.clear()
    assert not chores
