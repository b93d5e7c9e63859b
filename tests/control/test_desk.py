"""Connections to the admin socket, how many there may be, and the relay beside them."""

import logging
import resource
import socket

import pytest
import trio

from sigd.control.desk import DEAF_SECONDS, MOST_ASKERS, MOST_OPEN, MOST_REFUSED
from tests.control.asking import Asking, refused
from tests.in_process import PLAIN, Daemon, PrefixedClient

pytestmark = pytest.mark.usefixtures("no_bug_is_logged")

STATUS = {"type": "status"}


@pytest.mark.parametrize("framing", PLAIN)
async def test_the_seventeenth_takes_the_place_of_the_one_that_asked_nothing_for_longest(
    desk: Asking, framing: str
) -> None:
    here = [await desk.operator() for _ in range(MOST_ASKERS)]
    for operator in (*here, here[0]):
        await operator.says({"type": "closed"})
        await operator.hears()
    late = await desk.operator(framing)
    await late.says(STATUS)
    assert (await late.hears())["type"] == "status"
    assert await here[1].hears_all() == [refused("too-many")]
    for operator in (here[0], *here[2:]):
        await operator.says({"type": "closed"})
        assert (await operator.hears())["type"] == "closed"


@pytest.mark.parametrize("framing", PLAIN)
async def test_where_all_are_busy_the_seventeenth_is_told_so(desk: Asking, daemon: Daemon, framing: str) -> None:
    """And when one of the sixteen leaves, the next is answered."""
    here = [await desk.operator() for _ in range(MOST_ASKERS)]
    for operator in here:
        await operator.says({"type": "tap"})
        await operator.hears()
    late = await desk.operator(framing)
    await late.says(STATUS)
    assert await late.hears_all() == [refused("too-many")]
    here[0].leaves()
    await daemon.settles()
    assert (await desk.asks("closed"))["type"] == "closed"


async def test_an_idle_crowd_keeps_nobody_out(desk: Asking, daemon: Daemon) -> None:
    crowd = [await desk.operator() for _ in range(MOST_OPEN + 10)]
    await daemon.settles()
    assert (await desk.asks("closed"))["type"] == "closed"
    for operator in crowd[:10]:
        assert b'"too-many"' in await operator.hears_bytes()


async def test_a_crowd_is_closed_without_a_word(desk: Asking, daemon: Daemon) -> None:
    here = [await desk.operator() for _ in range(MOST_ASKERS)]
    for operator in here:
        await operator.says({"type": "tap"})
        await operator.hears()
    crowd = [await desk.operator() for _ in range(MOST_OPEN)]
    await daemon.settles()
    for operator in crowd[MOST_REFUSED:]:
        await operator.hears_close()


async def test_without_descriptors_it_waits_until_there_are_some(
    desk: Asking, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    operator = trio.socket.socket(socket.AF_UNIX)
    client = PrefixedClient(operator)
    desk.operators.append(client)
    with caplog.at_level(logging.WARNING, "sigd"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (operator.fileno() + 1, hard))
        try:
            await operator.connect(desk.path)
            await trio.sleep(5 * DEAF_SECONDS)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [line.split(" count=")[0] for line in caplog.messages] == ['admin deaf reason="Too many open files"']
    await client.says({"type": "closed"})
    assert (await client.hears())["type"] == "closed"


# -- bugs


class TestBugs:
    @pytest.fixture
    def no_bug_is_logged(self) -> None:
        """Here one is meant to be."""

    async def test_a_bug_costs_its_question_alone(self, desk: Asking, caplog: pytest.LogCaptureFixture) -> None:
        desk.server.figures = RuntimeError("on purpose")
        operator = await desk.operator()
        with caplog.at_level(logging.ERROR, "sigd"):
            await operator.says({"type": "metrics"}, {"type": "metrics"}, {"type": "closed"})
            assert [await operator.hears(), await operator.hears()] == [refused("internal")] * 2
            assert (await operator.hears())["type"] == "closed"
        assert [line.split()[:2] for line in caplog.messages] == [["bug", "question=AskMetrics"]]
