"""The figures: that they are right, that Prometheus can read them, and that nothing from outside is in them."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import trio

import sigd
from sigd import metrics
from sigd.config import Limits
from sigd.metrics.exposition import OTHER, REASONS
from sigd.net.histogram import BOUNDS
from sigd.wire.errors import ErrorCode
from sigd.wire.opening import Verdict, refusal_of
from tests.conftest import Serving
from tests.in_process import Daemon
from tests.metrics.http import Watched, exposed, watching
from tests.needs import needs
from tests.net import dtls_peers

TRANSPORTS = ("tcp", "tls", "unix", "udp", "dtls")
IDS = [f"peer-{number}.of~a-crowd" for number in range(40)]
SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[A-Za-z0-9+.-]+"\})? [0-9.e+-]+')
MOST_SERIES = 60 + 3 * (len(BOUNDS) + 3) + 2 * len(ErrorCode) + len(Limits.__struct_fields__)


async def busy(daemon: Daemon) -> None:
    """Peers come, talk, do wrong, and leave, over whatever there is."""
    clients = [await daemon.peer(each, ("prefixed", "lines", "tls")[place % 3]) for place, each in enumerate(IDS)]
    for place, client in enumerate(clients):
        await client.says({"type": "offer", "to": IDS[place - 1], "sdp": "v=0"})
        await client.says({"type": "message", "to": "nobody-" + IDS[place], "data": 1})
        await client.says({"type": IDS[place]}, {"type": "ping"}, b"rubbish from 192.0.2.7", {"type": "ok"})
    for client in clients[::2]:
        await client.says({"type": "unregister"})
    stranger = await daemon.connect()
    await stranger.sends(b"\xff" * 10)
    await daemon.settles()


class TestFigures:
    async def test_of_nothing(self, watched: Watched) -> None:
        figures = await watched.figures()
        assert figures[f'sigd_build_info{{version="{sigd.__version__}"}}'] == 1
        for name, value in figures.items():
            counts = not name.startswith(("sigd_build", "process_", "sigd_reactor", "sigd_event"))
            assert value == 0 or not counts, name

    async def test_of_who_is_here(self, serving: Serving, tmp_path: Path) -> None:
        unix = f"unix:{tmp_path}/socket"
        async with serving("tcp://127.0.0.1:0", unix) as daemon, watching(daemon) as watched:
            for place, framing in enumerate(("prefixed", "lines", "tls")):
                await daemon.peer(IDS[place], framing)
            leaving = await daemon.peer("leaving", url=unix)
            for number in range(2):
                await daemon.peer(f"local-{number}", url=unix)
            await daemon.connect()
            leaving.leaves()
            figures = await watched.figures()
            assert [figures[f'sigd_links{{transport="{each}"}}'] for each in TRANSPORTS] == [3, 1, 2, 0, 0]
            by_via = Counter(link.via for link in daemon.router.registry.holders.values())
            assert by_via == {"tcp": 2, "tls": 1, "unix": 2}
            assert (figures["sigd_peers"], figures["sigd_unregistered_links"]) == (5, 1)

    async def test_of_what_is_said(self, watched: Watched) -> None:
        alice, bob = await watched.daemon.peer("alice"), await watched.daemon.peer("bob", "lines")
        before = await watched.figures()
        for _ in range(3):
            await alice.says({"type": "message", "to": "bob", "data": "x" * 1_000})
            await bob.hears()
        await bob.says({"type": "bye", "to": "alice"}, {"type": "goingAway"})
        await alice.hears()
        after = await watched.figures()

        def grown(name: str) -> float:
            return after[name] - before[name]

        assert grown('sigd_messages_received_total{type="message"}') == 3
        assert grown('sigd_messages_received_total{type="bye"}') == 1
        assert grown('sigd_messages_received_total{type="goingAway"}') == 1
        assert grown("sigd_messages_relayed_total") == 4
        assert grown("sigd_relay_latency_seconds_count") == 4
        assert grown('sigd_relay_latency_seconds_bucket{le="+Inf"}') == 4
        assert 0 < grown("sigd_relay_latency_seconds_sum") <= grown("sigd_reactor_round_seconds_sum")
        assert grown("sigd_reactor_round_seconds_count") >= 4
        assert 3_000 < grown("sigd_received_bytes_total") < 3_400
        assert 3_000 < grown("sigd_sent_bytes_total") < 3_400

    async def test_of_links_in_datagrams(self, serving: Serving) -> None:
        async with serving(dtls_peers.door(), "tcp://127.0.0.1:0") as daemon, watching(daemon) as watched:
            async with dtls_peers.connected(daemon.urls[0]) as alice:
                await alice.registers("alice")
                bob = await daemon.peer("bob", "udp")
                before = await watched.figures()
                await alice.says({"type": "message", "to": "bob", "data": "x" * 1_000})
                await bob.hears()
                await bob.says({"type": "message", "to": "alice", "data": "x" * 1_000})
                await alice.hears()
                await daemon.settles()
                after = await watched.figures()
            assert [after[f'sigd_links{{transport="{each}"}}'] for each in TRANSPORTS] == [0, 0, 0, 1, 1]
            assert after["sigd_dtls_sessions"] == 1
            for name in ("sigd_received_bytes_total", "sigd_sent_bytes_total"):
                assert 2_000 < after[name] - before[name] < 3_000
            name = "sigd_relay_latency_seconds_count"
            assert after[name] - before[name] == 2

    async def test_of_what_goes_wrong(self, serving: Serving) -> None:
        async with serving(misses_per_minute=1) as daemon, watching(daemon) as watched:
            alice = await daemon.peer("alice")
            for _ in range(3):
                await alice.says({"type": "bye", "to": "nobody"})
                await alice.hears()
            alice.leaves()
            await daemon.settles()
            figures = await watched.figures()
            assert figures['sigd_errors_total{code="peer-unavailable"}'] == 1
            assert figures['sigd_errors_total{code="rate-limited"}'] == 2
            assert figures['sigd_limits_hit_total{limit="misses_per_minute"}'] == 2
            assert figures['sigd_links_closed_total{reason="left"}'] == 1

    async def test_of_the_process(self, watched: Watched) -> None:
        figures = await watched.figures()
        names = {name for name in figures if name.startswith("process_")}
        assert names == {
            *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes"),
            *("process_open_fds", "process_max_fds", "process_threads", "process_start_time_seconds"),
        }
        assert all(figures[name] > 0 for name in names)


async def test_nothing_from_outside_is_in_them_and_they_do_not_grow(watched: Watched) -> None:
    before = (await exposed(watched.daemon)).decode()
    await busy(watched.daemon)
    after = (await exposed(watched.daemon)).decode()
    lines = [line for line in after.splitlines() if not line.startswith("#")]
    assert [line for line in lines if not SAMPLE.fullmatch(line)] == []
    assert [word for word in (*IDS, "nobody", "192.0.2", "127.0.0.1", "rubbish") if word in after] == []
    grown = {line.rpartition(" ")[0] for line in lines} - {line.rpartition(" ")[0] for line in before.splitlines()}
    assert all(name.startswith("sigd_limits_hit_total") for name in grown)
    assert len(lines) <= MOST_SERIES


async def test_what_is_not_known_has_one_name(watched: Watched) -> None:
    router = watched.daemon.router
    for number in range(1_000):
        router.closed[f"reason {number}"] += 1
        router.limits_hit[f"limit {number}"] += 1
    figures = await watched.figures()
    assert figures[f'sigd_links_closed_total{{reason="{OTHER}"}}'] == 1_000
    assert figures[f'sigd_limits_hit_total{{limit="{OTHER}"}}'] == 1_000
    assert len(figures) <= MOST_SERIES + 2


@pytest.mark.parametrize("load", [False, True])
async def test_promtool_finds_no_fault(watched: Watched, load: bool) -> None:
    promtool = needs("promtool")
    if load:
        await busy(watched.daemon)
    text = await exposed(watched.daemon)
    done = await trio.run_process(
        [promtool, "check", "metrics"], stdin=text, capture_stdout=True, capture_stderr=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def reasons_in_the_source() -> set[str]:
    """What `close` and `abort` are called with that can be read off."""
    found: set[str] = set()
    for path in Path(sigd.__file__).parent.rglob("*.py"):
        if path.relative_to(Path(sigd.__file__).parent).parts[0] not in {"net", "relay"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                given = node.args[0]
                if node.func.attr in {"close", "abort"} and isinstance(given, ast.Constant):
                    found.add(str(given.value))
    return found


def test_every_reason_is_known() -> None:
    found = reasons_in_the_source()
    found |= {refusal_of(verdict, b"\x10")[1] for verdict in (Verdict.TLS, Verdict.HTTP, Verdict.MQTT)}
    assert {"left", "connection lost", "http", "mqtt", "tls where none is spoken"} <= found
    assert found <= set(REASONS)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics.missing() == ""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert (
        metrics.missing()
        == "prometheus-client is not installed: make install EXTRAS=metrics, or pip install '.[metrics]' in a clone"
    )
