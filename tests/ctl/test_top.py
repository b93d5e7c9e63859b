"""Rates are what has come between two looks, of the same link."""

import json

import pytest

from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import Document, ScriptedDaemon, golden


def looks(daemon: ScriptedDaemon, seconds: float = 2.0) -> tuple[Document, Document]:
    """The peers of a first look and of one later: change them, then call `daemon.says`."""
    daemon.says("status", golden("status"), golden("status") | {"now": golden("status")["now"] + seconds})
    later = golden("peers")
    later["now"] += seconds
    return golden("peers"), later


def rates(sigctl: Sigctl, *arguments: str) -> dict[str, tuple[float, float]]:
    status, out, err = sigctl("top", "--once", "--json", "--interval", "0.1", *arguments)
    assert (status, err) == (0, "")
    return {peer["id"]: (peer["receivedPerSecond"], peer["deliveredPerSecond"]) for peer in json.loads(out)["peers"]}


def test_a_link_that_has_come_between_has_all_of_its_messages(daemon: ScriptedDaemon, sigctl: Sigctl):
    first, later = looks(daemon)
    del first["peers"][0]
    later["peers"][1] |= {"since": first["now"] + 1, "received": 6, "delivered": 2}
    daemon.says("peers", first, later)
    assert rates(sigctl) == {"bob": (4.5, 10.5), "cam1": (3.0, 1.0), "door.7": (0.0, 0.0)}


def test_who_has_gone_is_not_shown_and_clocks_may_wobble(daemon: ScriptedDaemon, sigctl: Sigctl):
    first, later = looks(daemon)
    del later["peers"][0]
    later["peers"][0]["since"] += 0.0004
    later["peers"][0]["received"] += 1
    daemon.says("peers", first, later)
    assert rates(sigctl) == {"cam1": (0.5, 0.0), "door.7": (0.0, 0.0)}


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("in", ["bob", "cam1", "door.7"]),
        ("out", ["door.7", "bob", "cam1"]),
        ("outbox", ["door.7", "bob", "cam1"]),
        ("rtt", ["door.7", "cam1", "bob"]),
        ("errors", ["door.7", "bob", "cam1"]),
        ("id", ["bob", "cam1", "door.7"]),
    ],
)
def test_the_busiest_come_first(daemon: ScriptedDaemon, sigctl: Sigctl, by, order):
    first, later = looks(daemon)
    later["peers"][0]["received"] += 4
    later["peers"][2]["delivered"] += 4
    daemon.says("peers", first, later)
    assert list(rates(sigctl, "--sort", by)) == order
    daemon.says("peers", first, later)
    assert list(rates(sigctl, "--sort", by, "--reverse"))[-1] == order[0]
    daemon.says("peers", first, later)
    assert len(rates(sigctl, "--limit", "2")) == 2


def test_clocks_that_stand_still_divide_nothing_by_zero(daemon: ScriptedDaemon, sigctl: Sigctl):
    daemon.says("peers", *looks(daemon, 0.0))
    assert set(rates(sigctl).values()) == {(0.0, 0.0)}


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "4000", "x"])
def test_what_is_no_interval(sigctl: Sigctl, interval):
    assert sigctl("top", f"--interval={interval}")[0] == 2
