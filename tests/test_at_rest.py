"""The tests' clock: it jumps once nothing is under way, and no real time makes it."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import anyio
import pytest
import trio
from trio.testing import MockClock

from tests import at_rest
from tests.at_rest import ROUND_SECONDS, packets_queued, settles, state_of
from tests.client.backends import run

LONG = 0.5
"""Seconds of work, hundreds of times as long as the clock looks between two jumps."""

SOFTNET = """\
00002478 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 {} 00000000
00000a12 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 {} 00000001
"""

STATUS = """\
Name:	python3
State:	S (sleeping)
Tgid:	17
voluntary_ctxt_switches:	150
nonvoluntary_ctxt_switches:	3
"""


COMPUTES = f"import time\nwhile time.process_time() < {LONG}: pass\nprint('done')"
"""A program that uses the CPU."""


def computes() -> None:
    """Use the CPU, as a slow handshake does."""
    until = time.thread_time() + LONG
    while time.thread_time() < until:
        pass


def test_what_the_kernel_says() -> None:
    assert packets_queued(SOFTNET.format("00000000", "00000000")) == 0
    assert packets_queued(SOFTNET.format("0000000a", "00000003")) == 13
    assert packets_queued("00002478 00000000 00000000\n") == 0  # an old kernel's
    assert state_of(STATUS) == ("S", "150 3")
    with open("/proc/net/softnet_stat") as file:
        assert packets_queued(file.read()) >= 0


class TestJumps:
    async def test_once_nothing_is_under_way(self, jumping_clock: None) -> None:
        began = time.perf_counter()
        await trio.sleep(80_000)
        assert trio.current_time() == 80_000
        assert time.perf_counter() - began >= 2 * ROUND_SECONDS  # two looks, with a wait between them

    async def test_settling_takes_no_time(self, jumping_clock: None) -> None:
        began = trio.current_time()
        with trio.move_on_after(1e-9) as scope:
            await settles()
        assert trio.current_time() == began
        assert not scope.cancelled_caught

    @pytest.mark.parametrize("count", [1, 3])
    async def test_what_has_arrived_comes_first(self, jumping_clock: None, count: int) -> None:
        """A chain of sockets, each of which answers the one before, takes no time either."""
        ends = [trio.socket.socketpair() for _ in range(count)]

        async def passes_on(came: trio.socket.SocketType, out: trio.socket.SocketType) -> None:
            await out.send(await came.recv(1))

        with trio.move_on_after(0.001):
            async with trio.open_nursery() as nursery:
                for (_, came), (out, _) in itertools.pairwise(ends):
                    nursery.start_soon(passes_on, came, out)
                await ends[0][0].send(b"x")
                assert await ends[-1][1].recv(1) == b"x"
        assert trio.current_time() == 0
        for pair in ends:
            for each in pair:
                each.close()


class TestWaitsFor:
    """All that takes CPU somewhere else takes no time on the clock, however slow the machine is."""

    async def test_a_thread_that_computes(self, jumping_clock: None) -> None:
        with trio.move_on_after(0.001) as scope:
            await trio.to_thread.run_sync(computes)
            scope.shield = True
        assert not scope.cancelled_caught
        assert trio.current_time() == 0

    async def test_a_process_that_starts_and_computes(self, jumping_clock: None) -> None:
        done = await trio.run_process([sys.executable, "-c", COMPUTES], capture_stdout=True)
        assert done.stdout == b"done\n"
        assert trio.current_time() == 0

    async def test_a_process_of_a_process(self, jumping_clock: None) -> None:
        shell = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", COMPUTES]
        done = await trio.run_process(shell, capture_stdout=True)
        assert done.stdout == b"done\n"
        assert trio.current_time() == 0

    async def test_none_that_is_stopped(self, jumping_clock: None) -> None:
        """Or waits for something of its own: it is not at work."""
        async with trio.open_nursery() as nursery:
            process = await nursery.start(partial(trio.run_process, ["sleep", "3600"], check=False))
            await trio.sleep(1)
            process.send_signal(signal.SIGSTOP)
            await trio.sleep(1)
            process.kill()
        assert trio.current_time() == 2

    async def test_nobody_when_this_process_is_stopped(self, jumping_clock: None) -> None:
        """Real time that it does not see is none."""
        here, there = trio.socket.socketpair()

        def stops() -> None:
            subprocess.run(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 0.3; kill -CONT {os.getpid()}"], check=True)
            here._sock.send(b"x")  # type: ignore[attr-defined]  # from a thread, which trio's socket cannot

        thread = threading.Thread(target=stops)
        thread.start()
        with trio.move_on_after(0.001):
            await there.recv(1)
        thread.join()
        here.close()
        there.close()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("work", [computes, lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)])
def test_it_is_so_for_both_of_the_client_s_loops(backend: str, work: Callable[[], object]) -> None:
    async def main() -> None:
        began = anyio.current_time()
        with anyio.move_on_after(0.001):
            await anyio.to_thread.run_sync(work)
        assert anyio.current_time() == began
        await anyio.sleep(3_600)
        assert anyio.current_time() == pytest.approx(began + 3_600)

    run(backend, main)


def test_a_clock_of_ones_own_is_kept() -> None:
    async def main() -> trio.abc.Clock:
        return trio.lowlevel.current_clock()

    clock = MockClock()
    assert at_rest.run(main, clock=clock) is clock


def test_packets_arrive_before_it_jumps() -> None:
    """Over loopback, thousands of times, with nothing between sending and looking."""

    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as bound, socket.socket(type=socket.SOCK_DGRAM) as sends:
            bound.bind(("127.0.0.1", 0))
            bound.setblocking(False)
            for number in range(300):
                sends.sendto(b"%d" % number, bound.getsockname())
                await settles()
                assert bound.recv(100) == b"%d" % number

    at_rest.run(main)
