"""HTTP for who watches the daemon: what is answered, and that nobody there hurts it."""

import contextlib

import pytest
import trio

from sigd.config import StartError
from sigd.metrics import exposition, listener
from sigd.metrics.listener import IDLE_SECONDS, MOST_CONNECTIONS, MOST_HEADER, REQUEST_SECONDS
from tests.in_process import Daemon, within
from tests.metrics.http import Watched, watching

GET = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b" /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UNREADABLE = [
    pytest.param(b"\0\xff\x16\x03\x01\n\n\r\n\r\n", id="garbage"),
    pytest.param(b'{"type":"register","id":"alice"}\n\r\n\r\n', id="a-client-on-the-wrong-port"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http-2"),
    pytest.param(b"GET /metrics\r\n\r\n", id="http-0.9"),
    pytest.param(b"GET /metrics HTTP/1.1\r\n\r\n", id="no-host"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", id="a-length-below-0"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two-lengths"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", id="a-nul"),
    pytest.param(b"GET" + CHUNKED + b"zz\r\n", id="a-chunk-of-zz"),
    pytest.param(b"HEAD" + CHUNKED + b"zz\r\n", id="the-same-of-head"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", id="a-body"),
    pytest.param(b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", id="a-body-that-does-not-come"),
]


class TestAnswers:
    async def test_metrics(self, watched: Watched) -> None:
        heard = await (await watched.connect()).asks("/metrics")
        assert heard.status == 200
        assert heard.header["content-type"] == exposition.CONTENT_TYPE
        assert heard.body.startswith(b"# HELP sigd_build_info ")

    @pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/metrics?name[]=sigd_peers"])
    async def test_head_is_get_without_the_body(self, watched: Watched, path: str) -> None:
        asker = await watched.connect()
        got, headed = await asker.asks(path), await asker.asks(path, "HEAD")
        assert (headed.status, headed.header, headed.body) == (got.status, got.header | {"date": ANY}, b"")

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PRI", "get"])
    async def test_other_methods(self, watched: Watched, method: str) -> None:
        heard = await (await watched.connect()).asks("/metrics", method)
        assert (heard.status, heard.header["allow"]) == (405, "GET, HEAD")

    async def test_the_host_is_not_looked_at(self, watched: Watched) -> None:
        heard = await (await watched.connect()).asks("/readyz", header="Host: evil.example\r\n")
        assert heard.status == 200
        assert b"evil" not in str(heard).encode()

    async def test_who_asks_without_end_gets_figures_of_the_same_second(self, watched: Watched) -> None:
        asker = await watched.connect()
        await watched.daemon.peer("alice")
        first = (await asker.asks("/metrics")).body
        await watched.daemon.peer("bob")
        assert (await asker.asks("/metrics")).body == first
        assert await watched.daemon.server.exposition() == first  # the same for the admin socket
        await trio.sleep(2 * exposition.FRESH_SECONDS)
        assert b"\nsigd_peers 2.0\n" in await watched.daemon.server.exposition()
        assert b"\nsigd_peers 2.0\n" in (await asker.asks("/metrics")).body


class _Any:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


ANY = _Any()


class TestWhoMayReachIt:
    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
    def test_not_beyond_loopback(self, host: str) -> None:
        with pytest.raises(StartError, match=r"this machine alone|IPv6"):
            listener.open_sockets(f"tcp://{host}:0")

    def test_a_port_that_is_taken(self) -> None:
        (sock,) = listener.open_sockets("tcp://127.0.0.1:0")
        with sock, pytest.raises(StartError, match="in use"):
            listener.open_sockets(f"tcp://127.0.0.1:{sock.getsockname()[1]}")


class TestHostile:
    @pytest.mark.parametrize("data", UNREADABLE)
    async def test_what_is_no_request(self, watched: Watched, data: bytes) -> None:
        asker = await watched.connect()
        await asker.says(data)
        heard = await asker.hears(has_body=not data.startswith(b"HEAD"))
        assert heard.status in {400, 505}
        assert heard.header["connection"] == "close"
        assert len(heard.body) < 100
        assert await asker.hears_the_rest() == b""
        assert (await (await watched.connect()).asks("/readyz")).status == 200

    async def test_a_header_that_is_too_long(self, watched: Watched) -> None:
        asker = await watched.connect()
        await asker.says(b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 2 * MOST_HEADER)
        assert (await asker.hears()).status == 431
        assert await asker.hears_the_rest() == b""

    async def test_a_slow_header_has_five_seconds_in_all(self, watched: Watched) -> None:
        asker = await watched.connect()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drips, asker.sock)
            assert await asker.hears_the_rest() == b""
            assert within(trio.current_time() - began, REQUEST_SECONDS)
            nursery.cancel_scope.cancel()

    async def test_who_says_nothing(self, watched: Watched) -> None:
        asker = await watched.connect()
        began = trio.current_time()
        assert await asker.hears_the_rest() == b""
        assert within(trio.current_time() - began, REQUEST_SECONDS)

    async def test_who_says_nothing_more(self, watched: Watched) -> None:
        asker = await watched.connect()
        await asker.asks("/readyz")
        await trio.sleep(IDLE_SECONDS - 1)
        await asker.asks("/readyz")
        began = trio.current_time()
        assert await asker.hears_the_rest() == b""
        assert within(trio.current_time() - began, IDLE_SECONDS)

    async def test_many_requests_at_once_are_answered_in_turn(self, watched: Watched) -> None:
        asker = await watched.connect()
        await asker.says(GET.replace(b"readyz", b"healthz") + GET + GET.replace(b"readyz", b"nothing"))
        assert [(await asker.hears()).status for _ in range(3)] == [200, 200, 404]

    async def test_who_asks_to_be_disconnected(self, watched: Watched) -> None:
        asker = await watched.connect()
        await asker.says(b"GET /readyz HTTP/1.0\r\n\r\n" + GET)
        assert (await asker.hears()).status == 200
        assert await asker.hears_the_rest() == b""

    @pytest.mark.parametrize("data", [b"", b"GET /met", GET, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"])
    async def test_who_leaves_in_the_middle(self, watched: Watched, data: bytes) -> None:
        for _ in range(2 * MOST_CONNECTIONS):
            asker = await watched.connect()
            await asker.says(data)
            asker.sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            asker.sock.close()
            await watched.daemon.settles()
        assert (await (await watched.connect()).asks("/readyz")).status == 200

    async def test_who_does_not_read(self, watched: Watched) -> None:
        asker = await watched.connect()
        began = trio.current_time()
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await asker.says(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        assert within(trio.current_time() - began, REQUEST_SECONDS)
        assert (await (await watched.connect()).asks("/readyz")).status == 200
        await watched.daemon.settles()  # the client may have its answer before the task that wrote it goes on
        assert watched.daemon.router.buffers.reserved == {}

    async def test_one_too_many(self, watched: Watched) -> None:
        """The one that has been idle for longest goes."""
        askers = [await watched.connect() for _ in range(MOST_CONNECTIONS)]
        for asker in (*askers, askers[0]):
            await asker.asks("/readyz")
        assert (await (await watched.connect()).asks("/healthz")).status == 200
        assert await askers[1].hears_the_rest() == b""
        for asker in (askers[0], *askers[2:]):
            assert (await asker.asks("/readyz")).status == 200

    async def test_requests_that_were_begun_are_answered_before_idle_ones_stay(self, watched: Watched) -> None:
        begun = await watched.connect()
        await begun.says(GET[:10])
        await watched.daemon.settles()
        idle = [await watched.connect() for _ in range(3 * MOST_CONNECTIONS)]
        await watched.daemon.settles()
        await begun.says(GET[10:])
        assert (await begun.hears()).status == 200
        assert await idle[0].hears_the_rest() == b""

    async def test_no_probe_is_kept_out(self, watched: Watched) -> None:
        """Not by connections that are idle, nor by requests that are never finished, however long they are held."""
        for first in (b"", GET[:10], GET):
            held = [await watched.connect() for _ in range(2 * MOST_CONNECTIONS)]
            for asker in held:
                with contextlib.suppress(trio.BrokenResourceError):
                    await asker.says(first)
            await watched.daemon.settles()
            assert (await (await watched.connect()).asks("/healthz")).status == 200
            for asker in held:
                asker.sock.close()


async def _drips(sock: trio.socket.SocketType) -> None:
    for byte in b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000:
        try:
            await sock.send(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            return
        await trio.sleep(0.5)


async def test_a_bug_costs_one_connection(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(daemon) as watched:
        alice = await daemon.peer("alice")
        with monkeypatch.context() as broken:
            broken.setattr(exposition, "exposition", lambda *_: 1 / 0)
            for _ in range(3):
                asker = await watched.connect()
                await asker.says(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await asker.hears_the_rest() == b""
        assert (await (await watched.connect()).asks("/metrics")).status == 200
        await alice.is_served()
    assert len([line for line in caplog.messages if line.startswith("bug listener=metrics")]) == 1
    caplog.clear()
