"""The client and the daemon, on real sockets, under trio and asyncio."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from sigd.client import (
    AnswerFrom,
    ByeFrom,
    CandidateFrom,
    Disconnected,
    MessageFrom,
    OfferFrom,
    Peer,
    SignalingError,
    connect,
)
from tests.client.backends import BOTH_BACKENDS, LIMIT, Brief, run_in_real_time, take
from tests.daemon import running_daemon

pytestmark = BOTH_BACKENDS


@pytest.fixture(scope="module")
def url():
    with running_daemon() as daemon:
        yield daemon.url


def test_a_call_between_prefixed_frames_and_lines(backend: str, url: str):
    async def main() -> None:
        async with connect(url, id="alice") as alice, connect(url, framing="lines") as bob:
            await alice.offer(bob.id, "v=0\r\n", session="s1")
            await alice.candidate(bob.id, {"candidate": "candidate:1 1 udp 1 h 9 typ host", "sdpMid": "0"})
            await alice.candidate(bob.id, {"candidate": "", "sdpMid": "0"})
            await alice.end_of_candidates(bob.id)
            await bob.answer("alice", "v=0\r\n\u2028")
            await bob.send("alice", {"any": [1, None, "\u202e"]})
            await bob.bye("alice", "done")
            assert await take(bob, 4) == [
                OfferFrom(sender="alice", sdp="v=0\r\n", session="s1"),
                CandidateFrom(
                    sender="alice", candidate={"candidate": "candidate:1 1 udp 1 h 9 typ host", "sdpMid": "0"}
                ),
                CandidateFrom(sender="alice", candidate={"candidate": "", "sdpMid": "0"}),
                CandidateFrom(sender="alice", candidate=None),
            ]
            assert await take(alice, 3) == [
                AnswerFrom(sender=bob.id, sdp="v=0\r\n\u2028"),
                MessageFrom(sender=bob.id, data={"any": [1, None, "\u202e"]}),
                ByeFrom(sender=bob.id, reason="done"),
            ]

    run_in_real_time(backend, main)


def test_what_the_server_knows(backend: str, url: str):
    async def main() -> None:
        async with connect(url, id="w-1", meta={"kind": "camera"}) as peer, connect(url, id="w-2"):
            assert peer.id == peer.registered.id == "w-1"
            assert peer.registered.server.startswith("sigd/")
            assert await peer.peers("w-") == {"w-1": {"kind": "camera"}, "w-2": {}}
            assert await peer.request_ice_servers() == peer.ice_servers == []
            assert 0 < await peer.ping() < LIMIT
            assert peer.connected

    run_in_real_time(backend, main)


def test_an_error_is_raised_where_the_request_was_made(backend: str, url: str):
    async def main() -> None:
        async with connect(url) as peer:
            with pytest.raises(SignalingError) as caught:
                await peer.offer("nobody", "v=0")
            assert (caught.value.code, caught.value.to) == ("peer-unavailable", "nobody")
            with pytest.raises(SignalingError, match="too-large"):
                await peer.send(peer.id, "x" * 70_000)
            await peer.send(peer.id, "still there")
            assert await take(peer, 1) == [MessageFrom(sender=peer.id, data="still there")]

    run_in_real_time(backend, main)


def test_many_requests_at_once(backend: str, url: str):
    async def main() -> None:
        async with connect(url) as peer, anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(peer.send, peer.id, [number, "x" * 1000])
            numbers = {message.data[0] for message in await take(peer, 200) if isinstance(message, MessageFrom)}
            assert numbers == set(range(200))

    run_in_real_time(backend, main)


def test_an_id_that_somebody_holds_is_the_callers_problem(backend: str, url: str):
    async def main() -> None:
        async with connect(url, id="taken"):
            with pytest.raises(SignalingError, match="id-taken"):
                async with connect(url, id="taken"):
                    pass

    run_in_real_time(backend, main)


def test_an_id_is_free_once_its_peer_has_left(backend: str, url: str):
    async def main() -> None:
        for _ in range(20):
            async with connect(url, id="again"):
                pass

    run_in_real_time(backend, main)


def test_leaving_ends_the_iteration_and_further_requests(backend: str, url: str):
    async def main() -> None:
        async with connect(url) as peer:
            await peer.send(peer.id, "last")
            await peer.leave()
            await peer.leave()
            assert [message async for message in peer] == [MessageFrom(sender=peer.id, data="last")]
            assert not peer.connected
            with pytest.raises(Disconnected, match="has left") as caught:
                await peer.ping()
            assert not caught.value.sent

    run_in_real_time(backend, main)


def test_several_may_share_the_iteration(backend: str, url: str):
    async def main() -> None:
        seen: list[Any] = []

        async def look(peer: Peer) -> None:
            async for message in peer:
                assert isinstance(message, MessageFrom)
                seen.append(message.data)

        async with connect(url) as peer, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(look, peer)
            for number in range(10):
                await peer.send(peer.id, number)
            await peer.leave()
        assert sorted(seen) == list(range(10))

    run_in_real_time(backend, main)


def test_what_the_program_raises_comes_out_as_it_is(backend: str, url: str):
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with connect(url):
                raise ZeroDivisionError

    run_in_real_time(backend, main)


def test_a_cancelled_program_leaves_nothing_behind(backend: str, url: str):
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with connect(url) as peer:
                scope.cancel()
                await anext(peer)
        assert scope.cancelled_caught

    run_in_real_time(backend, main)


def test_nobody_there(backend: str, tmp_path: Path):
    async def main() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        await listener.aclose()
        for nowhere in (f"tcp://127.0.0.1:{port}", f"unix:{tmp_path}/none"):
            with pytest.raises(OSError, match=r"connection|No such file"):
                async with connect(nowhere):
                    pass
        with pytest.raises(ValueError, match="no address"):
            async with connect("carrier-pigeon:home"):
                pass

    run_in_real_time(backend, main)


def test_a_daemon_that_is_killed_and_started_again(backend: str, tmp_path: Path):
    listen = f"unix:{tmp_path}/sigd.sock"

    async def main() -> None:
        with running_daemon("--listen", listen) as first:
            async with connect(listen, jitter=Brief()) as peer:
                first.process.kill()
                first.process.wait()
                (tmp_path / "sigd.sock").unlink()
                await is_lost(peer)
                with pytest.raises(Disconnected):  # there is no connection to send it over
                    await peer.send(peer.id, "lost", within=0.1)
                async with anyio.create_task_group() as group:
                    group.start_soon(partial(peer.send, peer.id, "kept", within=LIMIT))
                    with await anyio.to_thread.run_sync(lambda: StartedDaemon(listen)):
                        assert await take(peer, 1) == [MessageFrom(sender=peer.id, data="kept")]
                        await peer.leave()

    run_in_real_time(backend, main)


async def is_lost(peer: Peer) -> None:
    """Return once a peer has noticed that its connection is lost."""
    while peer.connected:  # noqa: ASYNC110 - it tells nobody
        await anyio.sleep(0.01)


class StartedDaemon:
    """A daemon that starts in a thread, and ends with the block."""

    def __init__(self, listen: str) -> None:
        self._context = running_daemon("--listen", listen)
        self._context.__enter__()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *fault: object) -> None:
        self._context.__exit__(None, None, None)


def test_importing_the_client_loads_neither_trio_nor_aiortc(backend: str):
    check = "import sys, sigd.client; sys.exit(sorted({'trio', 'asyncio', 'aiortc'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=LIMIT)
