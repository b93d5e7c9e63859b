"""TLS handshakes: their time-out, on virtual time, and who waits for whom."""

import ssl
from collections import Counter
from types import MethodType
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import MockClock

from sigd.net.handshakes import TIMED_OUT, shake_hands, wait_for_turn
from tests.in_process import Daemon
from tests.net import handshakes

if TYPE_CHECKING:
    from sigd.net.stream import Stream
    from sigd.net.tls import TLSSocket

SECONDS = 5.0


class _Computes:
    """A connection whose handshake has some steps to compute, and then waits for its client or is done."""

    def __init__(self, steps: int, *, ends: bool) -> None:
        self._steps = steps
        self._ends = ends

    def shake_hands(self) -> bool:
        self._steps -= 1
        if self._steps > 0:
            return False
        if self._ends:
            return True
        raise ssl.SSLWantWriteError


class TestTheTimeOut:
    async def test_a_wait_for_a_turn_does_not_count(self, autojump_clock: MockClock) -> None:
        """All turns are taken for six times the time-out, as by a crowd."""
        turns, hits = trio.Semaphore(1), Counter[str]()
        done: list[str] = []

        async def shakes() -> None:
            sock = cast("TLSSocket", _Computes(3, ends=True))
            done.append(await shake_hands(sock, trio.CancelScope(), turns, SECONDS, "192.0.2.1", hits))

        async with trio.open_nursery() as nursery:
            await turns.acquire()
            nursery.start_soon(shakes)
            await trio.sleep(6 * SECONDS)
            assert done == []
            turns.release()
        assert done == [""]
        assert hits == {"tls_handshakes": 1}
        assert turns.value == 1

    async def test_a_wait_for_the_client_counts(self, autojump_clock: MockClock) -> None:
        """Before and after a wait for a turn it is the same time-out."""
        turn, scope, began = trio.Lock(), trio.CancelScope(), trio.current_time()

        async def holds() -> None:
            async with turn:
                await trio.sleep(100)

        async with trio.open_nursery() as nursery:
            with scope:
                scope.deadline = began + SECONDS
                await trio.sleep(SECONDS - 1)
                nursery.start_soon(holds)
                await trio.testing.wait_all_tasks_blocked()
                await wait_for_turn(turn, scope)
                turn.release()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() - began == SECONDS + 100

    async def test_the_end_of_a_link_ends_a_wait_for_a_turn(self, autojump_clock: MockClock) -> None:
        turns, scope = trio.Semaphore(0), trio.CancelScope()
        async with trio.open_nursery() as nursery:
            sock = cast("TLSSocket", _Computes(1, ends=True))
            nursery.start_soon(shake_hands, sock, scope, turns, SECONDS, "192.0.2.1", Counter[str]())
            await trio.sleep(1)
            scope.cancel()
        assert trio.current_time() < SECONDS
        assert turns.value == 0
        assert TIMED_OUT


async def test_a_link_that_ends_before_its_handshake_begins_has_none(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    """In a crowd a client may have to make way in the round in which its first byte was read."""
    caplog.set_level("DEBUG")
    begin = daemon.reactor.start_soon
    begun: list[object] = []

    def end_first(function: MethodType, *arguments: object) -> None:
        begin(function, *arguments)
        link = cast("Stream", function.__self__)
        begun.append(link)
        link.abort("made way")

    daemon.reactor.start_soon = end_first  # type: ignore[method-assign, assignment]  # the moment between two tasks is no other's
    client = await daemon.connect(url=daemon.tls_url)
    await client.sends(handshakes.Handshake().says())
    with pytest.raises(ConnectionResetError):
        await client.hears_bytes()
    assert len(begun) == 1
    await daemon.settles()
    assert not [line for line in caplog.messages if line.startswith("bug")]
