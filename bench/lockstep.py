"""`python bench/lockstep.py WINDOW ROUNDS`: a daemon and its clients in one process, for counting instructions.

Each of PAIRS clients sends WINDOW candidates to its partner, the reactor relays them, the partners read. Nothing
depends on a clock or on a scheduler, so two runs execute the same instructions. `instructions.py` runs it under
callgrind.

It imports nothing of `bench`: PYTHONPATH names the checkout that it runs. It prints how many messages were relayed.
"""

import contextlib
import gc
import itertools
import os
import select
import socket
import sys
import tempfile
import time

import trio
import trio.testing

PAIRS = 50
"""As in the other benchmarks: enough that the fixed price of a round does not show."""

ROUND_SECONDS = 200e-6
"""How far trio's clock advances per round: about what 50 relayed messages take."""

STEP_SECONDS = 5e-6
"""How far `perf_counter` and `thread_time` advance per call; a round makes a handful of calls."""

CANDIDATE = (
    b'{"type":"candidate","to":"%s","session":"s1","candidate":{"candidate":"candidate:842163049 1 udp 1677729535 '
    b'203.0.113.77 46154 typ srflx raddr 10.0.0.17 rport 46154 generation 0 ufrag EsAw",'
    b'"sdpMid":"0","sdpMLineIndex":0}}'
)

SETTINGS = [
    # High, and not 0: their price counts too.
    "limits.messages_per_second=1000000",
    "limits.messages_burst=1000000",
    f"limits.bytes_per_second={1 << 30}",
    f"limits.bytes_burst={1 << 30}",
]


class LockstepEpoll:
    """An epoll that lets the clients act before each look. It takes the place of `select.epoll`.

    Attributes:
        act: what the clients do; nothing at first.
    """

    act = staticmethod(lambda: None)

    def __init__(self) -> None:
        self._epoll = epoll = EPOLL()
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self.fileno, self.close = epoll.fileno, epoll.close

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Return what is ready."""
        LockstepEpoll.act()
        return self._epoll.poll(timeout, most)


# Before sigd is imported, and after trio, which keeps its own.
EPOLL = select.epoll
select.epoll = LockstepEpoll  # type: ignore[misc, assignment]  # a class, replaced by its stand-in
time.perf_counter = itertools.count(0.0, STEP_SECONDS).__next__
time.thread_time = itertools.count(0.0, STEP_SECONDS).__next__

from sigd.config import load  # noqa: E402 - see above
from sigd.relay.router import Router  # noqa: E402 - see above
from sigd.rules.made import Rules  # noqa: E402 - see above
from sigd.server.daemon import Server  # noqa: E402, TC001 - see above
from sigd.server.serving import serve  # noqa: E402 - see above


class Clients:
    """All clients; the process ends when the last of their messages has been relayed."""

    def __init__(self, path: str, router: Router, clock: trio.testing.MockClock, window: int, rounds: int) -> None:
        self._router = router
        self._clock = clock
        self._per_round = PAIRS * window
        self._left = rounds
        self._sent = 0
        senders = [_register(path, f"a{number}") for number in range(PAIRS)]
        readers = [_register(path, f"b{number}") for number in range(PAIRS)]
        self._all = [*senders, *readers]
        self._sends = [(sock.send, _frame(CANDIDATE % b"b%d" % at) * window) for at, sock in enumerate(senders)]
        self._reads = [sock.recv for sock in readers]

    def begin(self) -> None:
        """Read the greetings and send the first messages."""
        for sock in self._all:
            sock.recv(65_536)
            sock.setblocking(False)
        LockstepEpoll.act = staticmethod(self._act)
        self._act()

    def _act(self) -> None:
        if self._router.relayed < self._sent:
            return
        for read in self._reads:
            with contextlib.suppress(BlockingIOError):
                read(1 << 20)
        if not self._left:
            os.write(1, b"%d\n" % self._sent)
            os._exit(0)
        self._left -= 1
        self._sent += self._per_round
        self._clock.jump(ROUND_SECONDS)
        for send, data in self._sends:
            send(data)


def _frame(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _register(path: str, name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(_frame(b'{"type":"register","id":"%s"}' % name.encode()))
    return sock


async def _run(clock: trio.testing.MockClock, window: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sock"
        config = load(None, [f"unix:{path}"], SETTINGS)
        async with trio.open_nursery() as nursery:

            async def until_stopped(task_status: "trio.TaskStatus[Server]") -> None:
                await serve(Rules(config), lambda: config, task_status=task_status)

            server: Server = await nursery.start(until_stopped)
            clients = Clients(path, server.router, clock, window, rounds)
            with trio.fail_after(5):
                while len(server.router.registry) < 2 * PAIRS:
                    await trio.testing.wait_all_tasks_blocked()
            gc.disable()  # one look at all objects would cost as much as a hundred messages
            clients.begin()


if __name__ == "__main__":
    clock = trio.testing.MockClock()
    trio.run(_run, clock, int(sys.argv[1]), int(sys.argv[2]), clock=clock)
