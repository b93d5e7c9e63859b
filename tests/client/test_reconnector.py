"""The client and a server that misbehaves, on real sockets, under trio and asyncio."""

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from sigd.client import (
    ByeFrom,
    Disconnected,
    MessageFrom,
    SignalingError,
    connect,
)
from tests.client.backends import BOTH_BACKENDS, Brief, run, take, until_lost
from tests.client.scripted import ServerLink, scripted_server

pytestmark = BOTH_BACKENDS


async def registers(link: ServerLink) -> None:
    await link.registers()
    await link.gone()


async def goes_away(link: ServerLink) -> None:
    await link.registers()
    await link.says({"type": "goingAway", "reconnectAfterMs": 1, "reason": "restart"})
    await link.gone()


async def cuts(link: ServerLink) -> None:
    await link.registers()


async def greets(link: ServerLink) -> None:
    await link.registers()
    await link.says({"type": "bye", "from": "server"})
    await link.gone()


async def holds_the_id(link: ServerLink) -> None:
    link.register = {"id": "cam1"}
    await link.refuses("id-taken")
    await link.gone()


def test_it_comes_back_with_the_same_id(backend: str):
    async def main() -> None:
        async with scripted_server(goes_away, cuts, goes_away, greets) as server:
            async with connect(server.url, jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert server.ids == [None, "picked", "picked", "picked"]

    run(backend, main)


def test_its_own_old_link_may_hold_the_id_for_a_while(backend: str):
    async def main() -> None:
        async with (
            scripted_server(cuts, holds_the_id, holds_the_id, greets) as server,
            connect(server.url, id="cam1", jitter=Brief()) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert server.ids == ["cam1"] * 4

    run(backend, main)


def test_it_does_not_come_back_once_replaced(backend: str):
    async def replaces(link: ServerLink) -> None:
        await link.registers()
        await link.says({"type": "bye", "from": "bob"})
        await link.says({"type": "error", "code": "replaced", "message": "another", "reconnect": False})

    async def main() -> None:
        async with scripted_server(replaces) as server:
            async with connect(server.url, jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="bob")]
                with pytest.raises(SignalingError, match="replaced: another"):
                    await anext(peer)
                with pytest.raises(Disconnected, match="replaced: another"):
                    await peer.ping()
            assert server.extra == 0

    run(backend, main)


@pytest.mark.parametrize("reconnect", [True, False])
def test_a_register_that_will_never_do_ends_it(backend: str, reconnect: bool):
    async def forbids(link: ServerLink) -> None:
        await link.refuses("forbidden")

    async def main() -> None:
        scripts = (cuts, forbids) if reconnect else (cuts,)
        async with scripted_server(*scripts) as server:
            async with connect(server.url, jitter=Brief(), reconnect=reconnect) as peer:
                with pytest.raises(SignalingError) as caught:
                    await anext(peer)
                assert caught.value.code == ("forbidden" if reconnect else "disconnected")
            assert server.extra == 0

    run(backend, main)


@pytest.mark.parametrize("reset", [True, False])
def test_a_server_that_is_full_says_so_in_a_line(backend: str, reset: bool):
    line = b'{"type":"error","code":"server-full","message":"full","retryAfterMs":40}\n'

    async def full(link: ServerLink) -> None:
        for at in range(len(line)):
            await link.stream.send(line[at : at + 1])
        if not reset:
            await link.stream.send_eof()
            while True:
                await link.hears()

    async def main() -> None:
        async with scripted_server(full, cuts, full, greets) as server:
            with pytest.raises(SignalingError) as caught:
                async with connect(server.url, jitter=Brief()):
                    pass
            assert (caught.value.code, caught.value.retry_after_ms) == ("server-full", 40)
            async with connect(server.url, jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]

    run(backend, main)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_frames_that_come_in_pieces(backend: str, chunk: int):
    async def dribbles(link: ServerLink) -> None:
        await link.registers()
        messages = [{"type": "message", "from": "bob", "data": "x" * size} for size in range(8)]
        await link.says(*messages, chunk=chunk)
        await link.gone()

    async def main() -> None:
        async with scripted_server(dribbles) as server, connect(server.url) as peer:
            assert [message.data for message in await take(peer, 8) if isinstance(message, MessageFrom)] == [
                "x" * size for size in range(8)
            ]

    run(backend, main)


def test_a_request_that_is_cut_off_is_neither_done_nor_not_done(backend: str):
    async def cuts_at_an_offer(link: ServerLink) -> None:
        await link.registers()
        await link.hears()

    async def main() -> None:
        async with (
            scripted_server(cuts_at_an_offer, registers) as server,
            connect(server.url, jitter=Brief()) as peer,
        ):
            with pytest.raises(Disconnected) as caught:
                await peer.offer("bob", "v=0")
            assert caught.value.sent

    run(backend, main)


def test_a_request_waits_for_the_next_connection(backend: str):
    heard: list[dict[str, Any]] = []

    async def answers(link: ServerLink) -> None:
        await link.registers()
        heard.append(await link.hears())
        await link.says({"type": "ok", "ref": heard[0]["ref"]})
        await link.gone()

    async def main() -> None:
        gate = anyio.Event()

        async def full(link: ServerLink) -> None:
            await gate.wait()
            await link.refuses("server-full")

        async with scripted_server(cuts, full, answers) as server, connect(server.url, jitter=Brief()) as peer:
            caught = await until_lost(peer)
            async with anyio.create_task_group() as group:
                group.start_soon(peer.offer, "bob", "v=1")
                gate.set()
            assert [offer["sdp"] for offer in heard] == ["v=1"]
            assert "disconnected" in str(caught)

    run(backend, main)


def test_no_connection_in_time(backend: str):
    async def never(link: ServerLink) -> None:
        await link.gone()

    async def main() -> None:
        async with scripted_server(cuts, never) as server, connect(server.url, jitter=Brief()) as peer:
            await until_lost(peer)
            assert not peer.connected
            with pytest.raises(Disconnected, match="nothing was sent") as caught:
                await peer.ping(within=0.02)
            assert not caught.value.sent

    run(backend, main)


def test_no_answer_in_time_and_one_that_comes_too_late(backend: str):
    async def answers_late(link: ServerLink) -> None:
        await link.registers()
        first, second = await link.hears(), await link.hears()
        await link.says({"type": "ok", "ref": first["ref"]}, {"type": "pong", "ref": second["ref"]})
        await link.gone()

    async def main() -> None:
        async with scripted_server(answers_late) as server, connect(server.url) as peer:
            with pytest.raises(TimeoutError, match="no answer"):
                await peer.offer("bob", "v=0", within=0.02)
            await peer.ping()

    run(backend, main)


def test_a_request_that_is_cancelled_cuts_no_frame(backend: str):
    heard: list[int] = []

    async def reads_late(link: ServerLink) -> None:
        await link.registers(maxFrame=10_000_000)
        await cancelled.wait()
        while len(heard) < 2:
            message = await link.hears()
            heard.append(len(message.get("sdp", "")))
            await link.says({"type": "ok", "ref": message["ref"]})
        await link.gone()

    cancelled: anyio.Event

    async def main() -> None:
        nonlocal cancelled
        cancelled = anyio.Event()
        async with scripted_server(reads_late) as server, connect(server.url) as peer:
            with anyio.move_on_after(0.1) as scope:
                await peer.offer("bob", "x" * 9_000_000)  # more than the kernel takes at once
            assert scope.cancelled_caught
            cancelled.set()
            await peer.offer("bob", "v=0")
        assert heard == [9_000_000, 3]

    run(backend, main)


def test_a_server_that_takes_the_connection_and_is_silent(backend: str):
    async def main() -> None:
        async with scripted_server(lambda link: link.gone()) as server:
            with pytest.raises(TimeoutError, match="did not register"):
                async with connect(server.url):
                    pass

    run(backend, main)


def test_a_server_that_closes_without_a_word(backend: str):
    async def closes(link: ServerLink) -> None:
        await link.hears()

    async def main() -> None:
        async with scripted_server(closes) as server:
            with pytest.raises(Disconnected, match="closed the connection"):
                async with connect(server.url):
                    pass

    run(backend, main)


def test_a_server_that_falls_silent_is_asked_and_left(backend: str):
    async def dies(link: ServerLink) -> None:
        await link.registers(keepaliveMs=100)
        assert await link.hears() == {"type": "ping"}
        await link.gone()

    async def main() -> None:
        async with scripted_server(dies, greets) as server, connect(server.url, jitter=Brief()) as peer:
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert server.ids == [None, "picked"]

    run(backend, main)


def test_a_program_that_takes_nothing_stops_the_sender(backend: str):
    bound = 20_000_000  # the backlog is 1 MiB at most; the rest are the kernel's buffers, which grow by themselves
    sent = 0

    async def floods(link: ServerLink) -> None:
        nonlocal sent
        await link.registers()
        while sent < bound:
            with anyio.move_on_after(0.2) as stuck:
                await link.says({"type": "message", "from": "bob", "data": "x" * 50_000})
            if stuck.cancelled_caught:
                break
            sent += 50_000
        flooded.set()
        await link.gone()

    flooded: anyio.Event

    async def main() -> None:
        nonlocal flooded
        flooded = anyio.Event()
        async with scripted_server(floods) as server, connect(server.url) as peer:
            await flooded.wait()
            assert 100_000 < sent < bound
            assert len(await take(peer, sent // 50_000)) == sent // 50_000

    run(backend, main)


def test_peers_come_in_pages(backend: str):
    async def pages(link: ServerLink) -> None:
        await link.registers()
        for after, ids, more in (("", ["a", "b"], True), ("b", ["c"], True), ("odd", [], True)):
            asked = await link.hears()
            assert asked.get("after", "") == after
            entries = [{"id": id_, "meta": {"name": id_}} for id_ in ids]
            entries += [{"id": "odd", "meta": ["no object"]}] if after == "b" else []
            await link.says({"type": "peers", "ref": asked["ref"], "peers": entries, "more": more})
        await link.gone()

    async def main() -> None:
        async with scripted_server(pages) as server, connect(server.url) as peer:
            assert await peer.peers() == {"a": {"name": "a"}, "b": {"name": "b"}, "c": {"name": "c"}, "odd": {}}

    run(backend, main)


# -- waiting for the first connection


def test_waiting_for_a_server_that_comes_later(backend: str, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        with closing(socket.socket()) as place:
            place.bind(("127.0.0.1", 0))
            url = f"tcp://127.0.0.1:{place.getsockname()[1]}"
            async with anyio.create_task_group() as group:
                met: list[str] = []

                async def peer() -> None:
                    async with connect(url, id="early", wait=True, reconnect=False, jitter=Brief()) as early:
                        met.append(early.id)
                        await early.ping()

                group.start_soon(peer)
                while not caplog.records:
                    await anyio.lowlevel.checkpoint()
                place.listen()
                place.setblocking(False)
                async with await accepted(place) as stream:
                    link = ServerLink(stream)
                    await link.registers()
                    await link.says({"type": "pong", "ref": (await link.hears())["ref"]})
                    await link.gone()
        assert met == ["early"]
        assert [record.getMessage() for record in caplog.records] == [
            f"no connection to {url}: connection refused: start sigd there, or correct the URL; trying again"
        ]

    run(backend, main)


async def accepted(listener: socket.socket) -> anyio.abc.SocketStream:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            await anyio.wait_readable(listener)
        else:
            return await anyio.abc.SocketStream.from_socket(sock)


def test_waiting_while_the_server_has_no_room_or_another_has_the_id(backend: str):
    async def full(link: ServerLink) -> None:
        await link.refuses("server-full", retryAfterMs=1)
        await link.gone()

    async def main() -> None:
        async with (
            scripted_server(full, holds_the_id, cuts_before_an_answer, greets) as server,
            connect(server.url, id="cam1", wait=True, jitter=Brief()) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert server.extra == 0

    run(backend, main)


async def cuts_before_an_answer(link: ServerLink) -> None:
    await link.hears()


def test_waiting_ends_where_no_further_try_mends_it(backend: str):
    async def main() -> None:
        async with scripted_server(holds_the_id, forbids) as server:
            with pytest.raises(SignalingError, match="auth-failed"):
                async with connect(server.url, id="cam1", wait=True, jitter=Brief()):
                    pass
            assert server.extra == 0

    async def forbids(link: ServerLink) -> None:
        await link.refuses("auth-failed")
        await link.gone()

    run(backend, main)


def test_waiting_can_be_cancelled(backend: str, tmp_path: Path):
    async def main() -> None:
        with anyio.move_on_after(30) as scope:
            async with connect(f"unix:{tmp_path}/none", wait=True):
                pass
        assert scope.cancelled_caught

    run(backend, main)


def test_a_server_that_says_nothing_is_named(backend: str):
    async def silent(link: ServerLink) -> None:
        await link.gone_raw()

    async def main() -> None:
        async with scripted_server(silent) as server:
            with pytest.raises(TimeoutError, match=f"{server.url} did not register this peer within 10 s"):
                async with connect(server.url):
                    pass

    run(backend, main)
