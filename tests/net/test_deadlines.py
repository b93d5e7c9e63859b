"""Every time-out of a link, on a clock that jumps."""

import pytest
import trio

from tests.in_process import Daemon, error, within


class TestDeadlines:
    async def test_register_prefixed(self, daemon: Daemon) -> None:
        client = await daemon.connect()
        began = trio.current_time()
        for _ in range(4):
            await client.is_served()
            await trio.sleep(2)
        assert await client.hears_all() == [error("register-timeout")]
        assert within(trio.current_time() - began, 10)

    @pytest.mark.parametrize("said", [b"", b"\n", b"ping\n"])
    async def test_register_lines_and_silent(self, daemon: Daemon, said: bytes) -> None:
        client = await daemon.connect("lines")
        began = trio.current_time()
        await client.sends(said)
        answers = [{"type": "pong"}] if said else []
        assert await client.hears_all() == [*answers, error("register-timeout")]
        assert within(trio.current_time() - began, 60)

    @pytest.mark.parametrize("silence", [4, 6, 30])
    async def test_register_counts_from_the_accept_on(self, daemon: Daemon, silence: int) -> None:
        client = await daemon.connect()
        began = trio.current_time()
        await trio.sleep(silence)
        await client.says({"type": "ping"})
        assert await client.hears_all() == [{"type": "pong"}, error("register-timeout")]
        assert within(trio.current_time() - began, max(silence, 10))

    @pytest.mark.parametrize("silence", [4, 6, 30])
    async def test_late_to_register(self, daemon: Daemon, silence: int) -> None:
        client = await daemon.connect()
        await trio.sleep(silence)
        await client.registers("late", keepaliveMs=5_000)
        began = trio.current_time()
        assert await client.hears() == {"type": "ping"}
        assert within(trio.current_time() - began, 5)

    @pytest.mark.parametrize("registered", [True, False])
    async def test_frame(self, daemon: Daemon, registered: bool) -> None:
        """Ten seconds from its first byte, however it trickles."""
        client = await (daemon.peer("alice", keepaliveMs=300_000) if registered else daemon.connect())
        await trio.sleep(100 if registered else 0)
        data = client.framed(b'{"type":"ping"}')
        began = trio.current_time()
        for place in range(10):
            await client.sends(data[place : place + 1])
            await trio.sleep(1)
        expected = "bad-frame" if registered else "register-timeout"
        assert [message["code"] for message in await client.hears_all()] == [expected]
        assert within(trio.current_time() - began, 10)

    async def test_a_line_that_is_passed_over_has_no_longer_than_others(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "lines")
        began = trio.current_time()
        await client.sends(b"x" * 70_000)
        assert await client.hears() == error("too-large")
        for _ in range(11):
            await client.sends(b"x" * 1_000)
            await trio.sleep(5)
        assert await client.hears_all() == [error("bad-frame")]
        assert within(trio.current_time() - began, 60)

    async def test_each_frame_has_its_own_time(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice")
        data = client.framed(b'{"type":"ping"}')
        await client.sends(data[:3])
        for _ in range(5):
            await trio.sleep(9)
            await client.sends(data[3:] + data[:3])
            assert await client.hears() == {"type": "pong"}
        assert await client.hears_all() == [error("bad-frame")]

    async def test_line(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "lines")
        began = trio.current_time()
        await client.sends(b"send ")
        assert await client.hears_all() == [error("bad-frame")]
        assert within(trio.current_time() - began, 60)

    @pytest.mark.parametrize(("asked", "seconds"), [(None, 30), (5_000, 5), (60_000, 60), (1, 5), (10**9, 300)])
    async def test_idle(self, daemon: Daemon, asked: int | None, seconds: int) -> None:
        client = await daemon.connect()
        await client.registers("alice", **({} if asked is None else {"keepaliveMs": asked}))
        for answer in ({"type": "pong"}, {"type": "pong", "ref": "1"}, {"type": "ping"}):
            began = trio.current_time()
            assert await client.hears() == {"type": "ping"}
            assert within(trio.current_time() - began, seconds)
            await client.says(answer)
            if len(answer) > 1 or answer["type"] == "ping":
                assert (await client.hears())["type"] in {"ok", "pong"}
        began = trio.current_time()
        assert await client.hears() == {"type": "ping"}
        assert await client.hears_all() == [error("idle-timeout")]
        assert within(trio.current_time() - began, 2.5 * seconds)
        assert not daemon.router.registry.holders

    async def test_half_a_frame_is_a_frame_that_is_late_not_silence(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", keepaliveMs=5_000)
        await client.sends(b"\0\0")
        assert await client.hears() == {"type": "ping"}
        assert await client.hears_all() == [error("bad-frame")]

    @pytest.mark.parametrize("after", [0, 50])
    async def test_idle_time_can_be_renewed(self, daemon: Daemon, after: int) -> None:
        client = await daemon.peer("alice", keepaliveMs=300_000)
        await trio.sleep(after)
        await client.registers("alice", keepaliveMs=5_000)
        began = trio.current_time()
        assert await client.hears() == {"type": "ping"}
        assert within(trio.current_time() - began, 5)

    async def test_lines_are_neither_pinged_nor_closed(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "lines", keepaliveMs=5_000)
        await trio.sleep(80_000)
        await client.hears_nothing()
        await client.is_served()

    async def test_linger_after_an_error(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice")
        await client.sends(b"\0\0\0\0")
        assert await client.hears_all() == [error("bad-frame")]
        await client.sends(b"x" * 10_000)  # it is read and thrown away, else a reset would take the error along
        await trio.sleep(4.5)
        assert len(daemon.reactor) == 1
        await trio.sleep(1)
        assert len(daemon.reactor) == 0

    async def test_a_person_who_has_left_lingers_for_a_moment(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "lines")
        await client.says({"type": "unregister"})
        assert await client.hears_all() == []
        await trio.sleep(0.5)
        assert len(daemon.reactor) == 0

    async def test_linger_ends_when_the_client_closes(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice")
        await client.sends(b"\0\0\0\0")
        assert await client.hears_all() == [error("bad-frame")]
        client.leaves()
        await daemon.settles()
        assert len(daemon.reactor) == 0
