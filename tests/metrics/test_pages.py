"""Pages for monitoring: health, readiness, and nothing else."""

import pytest
import trio

from sigd.metrics import pages
from tests.conftest import Serving
from tests.in_process import within
from tests.metrics.http import Watched, watching


async def test_health(watched: Watched) -> None:
    heard = await (await watched.connect()).asks("/healthz")
    assert (heard.status, heard.body) == (200, b"alive\n")


async def test_a_daemon_without_rounds_is_not_well(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched.daemon.reactor, "turn", trio.sleep_forever)
    began = trio.current_time()
    heard = await (await watched.connect()).asks("/healthz")
    assert heard.status == 503
    assert within(trio.current_time() - began, pages.HEALTH_SECONDS)


async def test_is_well_under_load(watched: Watched) -> None:
    alice, asker = await watched.daemon.peer("alice"), await watched.connect()
    for _ in range(20):
        await alice.says(*[{"type": "ping"}] * 50)
        assert (await asker.asks("/healthz")).status == 200


async def test_ready_while_clients_are_taken_in(serving: Serving) -> None:
    ready = False
    async with serving(drain_ms=10_000) as daemon, watching(daemon, lambda: ready) as watched:
        asker = await watched.connect()
        heard = await asker.asks("/readyz")
        assert (heard.status, heard.body) == (503, b"starting\n")
        ready = True
        assert (await asker.asks("/readyz")).status == 200
        await daemon.connect()
        daemon.is_told_to_stop()
        await daemon.settles()
        heard = await asker.asks("/readyz")
        assert (heard.status, heard.body) == (503, b"stopping\n")
        assert (await asker.asks("/healthz")).status == 200
        await trio.sleep(12)


@pytest.mark.parametrize("path", ["/", "/metrics/", "//metrics", "/../metrics", "http://127.0.0.1/metrics", "*"])
async def test_nothing_else_is_found(watched: Watched, path: str) -> None:
    assert (await (await watched.connect()).asks(path)).status == 404
