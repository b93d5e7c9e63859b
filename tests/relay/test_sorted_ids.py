"""IDs in order, however they come and go."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.sorted_ids import LONGEST, SHORTEST, SortedIds

IDS = st.integers(0, 5_000).map(lambda number: f"p{number}")


def all_of(ids: SortedIds) -> list[str]:
    return list(ids.after("", included=True))


def filled(count: int) -> SortedIds:
    ids = SortedIds()
    for number in range(count):
        ids.add(f"p{number * 7_919 % count:07}")
    return ids


@given(st.lists(IDS), st.lists(IDS), IDS)
def test_as_a_sorted_set(come: list[str], go: list[str], asked: str):
    ids, known = SortedIds(), set[str]()
    for text in come:
        if text not in known:
            ids.add(text)
            known.add(text)
    for text in go:
        if text in known:
            ids.remove(text)
            known.remove(text)
    assert all_of(ids) == sorted(known)
    assert len(ids) == len(known)
    assert list(ids.after(asked, included=True)) == sorted(text for text in known if text >= asked)
    assert list(ids.after(asked, included=False)) == sorted(text for text in known if text > asked)


def test_runs_stay_between_their_bounds():
    ids = filled(20_000)
    assert max(map(len, ids._runs)) <= LONGEST
    for number in range(20_000):
        if number % 40:
            ids.remove(f"p{number:07}")
    assert all_of(ids) == [f"p{number:07}" for number in range(0, 20_000, 40)]
    assert len(ids._runs) <= 2 * len(ids) / SHORTEST + 1
    assert [run[0] for run in ids._runs] == ids._heads


def test_the_first_of_many_need_no_look_at_the_rest():
    assert list(islice(filled(3_000).after("p0001000", included=False), 2)) == ["p0001001", "p0001002"]
    assert all_of(SortedIds()) == []
