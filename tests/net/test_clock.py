"""The clock that trio and all links share."""

import time

import pytest
import trio

from sigd.net import clock as clocks
from sigd.net.clock import LOOK_SECONDS, AwakeClock
from sigd.wire.awake import SLACK_SECONDS


class Kernel:
    """Stands in for the kernel's monotonic clock, of which the readings are set here."""

    def __init__(self) -> None:
        self.reading = 1_000.0

    def perf_counter(self) -> float:
        """Return the reading."""
        return self.reading


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel whose clock the test sets."""
    kernel = Kernel()
    monkeypatch.setattr(clocks, "time", kernel)
    return kernel


def test_no_wait_is_longer_than_a_second(kernel: Kernel) -> None:
    """So that a longer sleep cannot pass for a wait, however far the next deadline is."""
    clock = AwakeClock()
    now = clock.current_time()
    assert clock.deadline_to_sleep_time(now + 0.5) == pytest.approx(0.5)
    assert clock.deadline_to_sleep_time(now + 3_600) == pytest.approx(LOOK_SECONDS)
    assert clock.deadline_to_sleep_time(now - 5) == pytest.approx(-5)
    kernel.reading += 600
    assert clock.current_time() <= now + LOOK_SECONDS + 2 * SLACK_SECONDS


def test_deadlines_in_trio_stand_still_with_it(kernel: Kernel) -> None:
    """A task that waits has all of its time left when the process wakes up."""

    async def waits() -> tuple[float, float]:
        with trio.move_on_after(10) as scope:
            await trio.lowlevel.checkpoint()
            kernel.reading += 3_600  # the process is stopped, and goes on
            await trio.lowlevel.checkpoint()
        assert not scope.cancelled_caught
        return scope.deadline, trio.current_time()

    deadline, now = trio.run(waits, clock=AwakeClock())
    assert deadline - now >= 10 - 2 * SLACK_SECONDS


def test_it_runs_as_the_kernels_does() -> None:
    """Tasks that sleep wake up when they want to: as long as nothing stops the process, it is trio's own clock."""

    async def sleeps() -> tuple[float, float]:
        began, by_kernel = trio.current_time(), time.perf_counter()
        await trio.sleep(0.05)
        return trio.current_time() - began, time.perf_counter() - by_kernel

    slept, by_kernel = trio.run(sleeps, clock=AwakeClock())
    assert 0.05 <= slept <= by_kernel
