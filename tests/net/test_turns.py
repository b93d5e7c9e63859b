"""Turns: work on all links that is done some links at a time, while others are served."""

from pathlib import Path

import pytest
import trio

from sigd.net import turns
from sigd.net.turns import count_links
from tests.conftest import Serving
from tests.in_process import Daemon


class TestCountLinks:
    async def test_counts_each_transport(self, serving: Serving, tmp_path: Path) -> None:
        async with serving("tcp://127.0.0.1:0", f"unix:{tmp_path}/s", "udp://127.0.0.1:0") as daemon:
            assert set((await count_links(daemon.reactor)).values()) == {0}
            for number in range(3):
                await daemon.peer(f"peer-{number}")
            found = await count_links(daemon.reactor)
            assert sum(found.values()) == len(daemon.reactor) == 3
            assert set(found) == {"tcp", "tls", "unix", "udp", "dtls"}

    async def test_lets_others_have_their_turn(self, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "COUNTED_AT_ONCE", 2)
        crowd = [await daemon.peer(f"peer-{number}") for number in range(10)]
        taken = 0

        async def counts() -> None:
            nonlocal taken
            while True:
                taken += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(counts)
            assert (await count_links(daemon.reactor))["tcp"] == len(crowd)
            nursery.cancel_scope.cancel()
        assert taken >= len(crowd) / 2 - 1
