"""A clock that jumps once nothing is under way, however long that takes, instead of after some real milliseconds.

On a busy machine a process may wait for its next slice of the CPU for longer than any threshold that a test can afford.
So the kernel is asked what is still under way for this process: packets that it has not delivered, threads and child
processes that have something to do. Two looks in a row have to show the same, none of it at work, with a wait between
them that brought no event; that nobody ran in between is told by the kernel's counts of context switches.
"""

import contextlib
import functools
import os
import resource
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import trio
from trio.testing import MockClock

ROUND_SECONDS = 0.001
"""Real seconds between two looks, for which others have the CPU: no result depends on them."""

_BACKLOG = 11
"""Place of the length of a CPU's queue of packets in `/proc/net/softnet_stat`."""

_AT_WORK = frozenset("RD")
"""States of a thread that runs, waits for a CPU, or waits for a disk."""

Look = dict[int, str]
"""How often each other thread of this process, and of its children, has been switched from and to."""


def look() -> Look | None:
    """Look at all that concerns this process; None if any of it is under way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the test may be one of a daemon that has none to spare
    try:
        return _look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _look() -> Look | None:
    if packets_queued(Path("/proc/net/softnet_stat").read_text()):
        return None
    own = os.getpid()
    for thread in _delivering():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if state_of(Path(f"/proc/{thread}/status").read_text())[0] in _AT_WORK:
                return None
    seen: Look = {}
    for process in (own, *_children(own)):
        try:
            threads = [int(name) for name in os.listdir(f"/proc/{process}/task")]
        except (FileNotFoundError, ProcessLookupError):
            return None  # it has just ended
        for thread in threads:
            if thread == own:
                continue  # who is looking
            try:
                state, switches = state_of(Path(f"/proc/{process}/task/{thread}/status").read_text())
            except (FileNotFoundError, ProcessLookupError):
                return None
            if state in _AT_WORK:
                return None
            seen[thread] = switches
    return seen


@functools.cache
def _delivering() -> tuple[int, ...]:
    """List the kernel's threads that deliver packets where a CPU is too busy to do it at once (none in a container)."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if name.isdecimal() and Path(f"/proc/{name}/comm").read_text().startswith("ksoftirqd/"):
                found.append(int(name))
    return tuple(found)


def packets_queued(softnet: str) -> int:
    """Return how many packets wait for their delivery on any CPU (Linux before 5.10 does not say: none)."""
    columns = (line.split() for line in softnet.splitlines())
    return sum(int(column[_BACKLOG], 16) for column in columns if len(column) > _BACKLOG)


def state_of(status: str) -> tuple[str, str]:
    """Return the state of a thread, one letter, and its counts of context switches."""
    state, switches = "", []
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "State":
            state = value.split()[0]
        elif name.endswith("ctxt_switches"):
            switches.append(value.strip())
    return state, " ".join(switches)


def _children(process: int) -> list[int]:
    """List all descendants of a process."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    # Not every kernel lists them in `/proc/PID/task/TID/children`.
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [process]
    while waiting:
        born = children.get(waiting.pop(), [])
        found += born
        waiting += born
    return found


class Rest:
    """Whether two looks in a row, with nothing happening between them, have shown nothing under way."""

    def __init__(self) -> None:
        self._before: Look | None = None

    def disturb(self) -> None:
        """Start over: something has happened."""
        self._before = None

    def holds(self) -> bool:
        """Look again."""
        before, self._before = self._before, look()
        return self._before is not None and self._before == before


class JumpingClock(trio.abc.Instrument):
    """Has trio's MockClock jump to the next deadline once nothing is under way, and nobody waits for that.

    Attributes:
        clock: to run on, with this instrument.
        waiting: for nothing to be under way.
    """

    def __init__(self) -> None:
        self.clock = MockClock(autojump_threshold=ROUND_SECONDS)
        self.waiting: list[trio.Event] = []
        self._jump = self.clock._autojump
        self.clock._autojump = self._consider  # type: ignore[method-assign]  # its class is final
        self._rest = Rest()
        _clocks[self.clock] = self

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Note that something happens."""
        self._rest.disturb()

    def _consider(self) -> None:
        if not self._rest.holds():
            return
        self._rest.disturb()
        waiting, self.waiting = self.waiting, []
        for event in waiting:
            event.set()
        if not waiting:
            self._jump()


_clocks: WeakKeyDictionary[trio.abc.Clock, JumpingClock] = WeakKeyDictionary()
"""Which instrument belongs to a clock."""


def run(*arguments: Any, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    """Run a trio program on a clock that jumps, unless it has one."""
    if clock is not None:
        return trio.run(*arguments, clock=clock, **options)
    jumping = JumpingClock()
    return trio.run(*arguments, clock=jumping.clock, instruments=[jumping, *options.pop("instruments", ())], **options)


async def settles() -> None:
    """Wait until nothing is under way, on a clock that jumps: no time passes on it."""
    event = trio.Event()
    _clocks[trio.lowlevel.current_clock()].waiting.append(event)
    await event.wait()
