"""Flaws of texts: a name for each, and the stacks that refuse it."""

import pytest

from sigd.why import flaws
from sigd.why.flaws import BROWSERS, Flaw

ALL = [each for each in vars(flaws).values() if isinstance(each, Flaw)]


def test_no_two_look_alike() -> None:
    assert len({(flaw.name, flaw.looks) for flaw in ALL}) == len(ALL) > 30
    assert {flaw.name for flaw in ALL} >= flaws.HARMLESS


@pytest.mark.parametrize(
    ("flaw", "stack", "stops"),
    [
        (Flaw("x", "", ""), "Pion", True),
        (Flaw("x", "", ""), "", True),
        (Flaw("x", "", "", BROWSERS), "Firefox", True),
        (Flaw("x", "", "", BROWSERS), "Pion", False),
        (Flaw("x", "", "", BROWSERS), "", True),
    ],
)
def test_a_flaw_stops_the_stacks_that_refuse_it_and_unknown_ones(flaw: Flaw, stack: str, stops: bool) -> None:
    assert flaw.stops(stack) is stops
