"""A network that loses, repeats, delays and reorders datagrams, and the two ends of a link that talk over it.

Nothing here waits or is left to chance: time is virtual, and every run follows from its seed alone. Run as a program
(`python -m tests.wire.lossy`) it prints how long a message takes over such networks, as in protocol.md.
"""

import heapq
import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from sigd.wire.datagram import MAX_MESSAGE, Channel, Reassembly

CID = b"0123456789abcdef"
KEY = bytes(range(32))

SERVER = -1
"""The server's place. Those of the client count from 0, a new one each time that its NAT forgets it."""

SILENT_SECONDS = 25.0
"""A client that has sent nothing for so long pings (protocol.md)."""

KEEPALIVE_SECONDS = 75.0
"""An end that has had no sign of life for so long closes, as a daemon does."""

LONGEST_SECONDS = 600.0
"""No run may take longer: each of its few messages is acknowledged, or ends the link, within a fraction of that."""


MOST_STEPS = 100_000
"""Nor may it take more datagrams and deadlines than that: time could stand still otherwise."""


class Path(NamedTuple):
    """What happens to what one end sends.

    Attributes:
        loss, repeats: the shares of datagrams that are lost, and that come twice.
        delay, jitter: seconds that each takes, and that it may take longer.
    """

    loss: float = 0.0
    repeats: float = 0.0
    delay: float = 0.05
    jitter: float = 0.0


class End:
    """One end of the link and its caller, who gives messages as there is room, and takes those that come.

    Attributes:
        place: where it is now, whether or not the other end knows.
        path: the way of what it sends.
        waiting: what it has still to say, the next last.
        given: what it has said, in order.
        heard, heard_at: what it has heard, in order, and when.
        finished: how many of its messages were acknowledged.
        sent: how many datagrams it has sent.
        sent_at, alive_at: when it last sent something, and had a sign of life.
        wakes_at: when it is to be woken.
    """

    def __init__(self, channel: Channel[int], place: int, path: Path, messages: list[bytes]) -> None:
        self.channel = channel
        self.place = place
        self.path = path
        self.waiting = messages[::-1]
        self.given: list[bytes] = []
        self.heard: list[bytes] = []
        self.heard_at: list[float] = []
        self.finished = 0
        self.sent = 0
        self.sent_at = 0.0
        self.alive_at = 0.0
        self.wakes_at = math.inf

    @property
    def done(self) -> bool:
        """Whether it has nothing to do any more."""
        if self.channel.next_deadline() < math.inf:
            return False
        return bool(self.channel.over) or (not self.waiting and self.channel.idle)

    def take(self, now: float) -> None:
        """Take what has come, and count what has arrived."""
        channel = self.channel
        heard = channel.take_whole()
        self.heard += heard
        self.heard_at += [now] * len(heard)
        self.finished += channel.finished
        channel.finished = 0

    def keep_alive(self, now: float) -> None:
        """What a caller does about silence, the other end's and its own."""
        if now >= self.alive_at + KEEPALIVE_SECONDS:
            self.channel.leave("silent")
        elif self.place != SERVER and now >= self.sent_at + SILENT_SECONDS:
            self.channel.ping(now)

    def next_deadline(self) -> float:
        """When it is to be woken, if nothing comes."""
        deadline = self.channel.next_deadline()
        if self.channel.over:
            return deadline
        deadline = min(deadline, self.alive_at + KEEPALIVE_SECONDS)
        return deadline if self.place == SERVER else min(deadline, max(self.sent_at, self.alive_at) + SILENT_SECONDS)


class Coming(NamedTuple):
    """What comes to an end: a datagram from a place to a place; None: it is woken."""

    when: float
    order: int
    end: End
    datagram: bytes | None = None
    source: int = 0
    target: int = 0


class Conversation:
    """Two ends, and what is on the way between them.

    Attributes:
        client, server: the ends.
        reassembly: the server's.
        now: seconds since it began.
        rebindings: when the client's address changes, the next last.
        pauses: when the server stops to accept, and when it goes on, the next last.
    """

    def __init__(self, random: Random, client: End, server: End, reassembly: Reassembly) -> None:
        self.client = client
        self.server = server
        self.reassembly = reassembly
        self.now = 0.0
        self.rebindings: list[float] = []
        self.pauses: list[float] = []
        self._random = random
        self._order = 0
        self._coming: list[Coming] = []

    def run(self) -> "Conversation":
        """Go on until both ends have nothing to do, and nothing is on the way."""
        coming = self._coming
        self._go_on(self.client)
        self._go_on(self.server)
        while coming:
            when, _, end, datagram, source, target = heapq.heappop(coming)
            if datagram is None and (end.wakes_at != when or (self.client.done and self.server.done)):
                continue  # something else has woken it, or only keepalives are left
            assert when < LONGEST_SECONDS, "it hangs"
            assert self._order < MOST_STEPS, "it goes round and round"
            self.now = when
            self._change()
            if datagram is None:
                end.wakes_at = math.inf
                end.channel.expire(self.now)
                end.keep_alive(self.now)
            elif target != end.place:
                continue  # to where the client was
            elif end.channel.receive_untrusted(datagram, source, self.now):
                end.alive_at = self.now
            self._go_on(end)
        return self

    def _go_on(self, end: End) -> None:
        """What a caller does whenever something was done to its channel."""
        channel, now = end.channel, self.now
        end.take(now)
        out = channel.datagrams_to_send(now)
        while end.waiting and channel.room:
            message = end.waiting.pop()
            end.given.append(message)
            channel.give(message)
            out += channel.datagrams_to_send(now)
        if out:
            end.sent += len(out)
            end.sent_at = now
            self._send(end, out)
        wakes_at = max(end.next_deadline(), now)
        if wakes_at != end.wakes_at:
            end.wakes_at = wakes_at
            if wakes_at < math.inf:
                self._order += 1
                heapq.heappush(self._coming, Coming(wakes_at, self._order, end))

    def _send(self, end: End, out: list[tuple[bytes, int]]) -> None:
        other = self.server if end is self.client else self.client
        draw, (loss, repeats, delay, jitter) = self._random.random, end.path
        for datagram, target in out:
            for _ in range(2 if draw() < repeats else 1):
                if draw() >= loss:
                    self._order += 1
                    when = self.now + delay + jitter * draw()
                    heapq.heappush(self._coming, Coming(when, self._order, other, datagram, end.place, target))

    def _change(self) -> None:
        while self.rebindings and self.rebindings[-1] <= self.now:
            self.rebindings.pop()
            self.client.place += 1
        while self.pauses and self.pauses[-1] <= self.now:
            self.pauses.pop()
            self.server.channel.accepting = not self.server.channel.accepting


def ends(
    *,
    key: bytes | None = None,
    paths: tuple[Path, Path] = (Path(), Path()),
    messages: tuple[list[bytes], list[bytes]] = ([], []),
    room: int = 1 << 23,
    seed: int,
) -> Conversation:
    """A conversation between a client and a server on a fresh link, the client's part of each pair first.

    Args:
        key: of the macs.
        paths: the ways that datagrams go.
        messages: what each end says.
        room: bytes that the server may hold.
        seed: what chance follows from.
    """
    random = Random(seed)
    reassembly = Reassembly(room)
    client: Channel[int] = Channel(CID, SERVER, server=False, key=key)
    server = Channel(CID, 0, server=True, key=key, reassembly=reassembly, draw=lambda: random.randbytes(8))
    return Conversation(
        random,
        End(client, 0, paths[0], messages[0]),
        End(server, SERVER, paths[1], messages[1]),
        reassembly,
    )


def any_conversation(seed: int) -> Conversation:
    """A conversation over some network, about anything: with this seed always the same."""
    random = Random(seed)
    conversation = ends(
        key=random.choice((None, KEY)),
        paths=(_any_path(random), _any_path(random)),
        messages=(_any_messages(random, b"c"), _any_messages(random, b"s")),
        room=random.choice((20_000, 1 << 23)),
        seed=seed,
    )
    conversation.rebindings = sorted((random.uniform(0, 5) for _ in range(random.choice((0, 0, 1, 3)))), reverse=True)
    conversation.pauses = sorted((random.uniform(0, 3) for _ in range(random.choice((0, 0, 2)))), reverse=True)
    return conversation


def _any_path(random: Random) -> Path:
    return Path(
        loss=random.choice((0.0, random.uniform(0, 0.3), 0.3)),
        repeats=random.choice((0.0, random.uniform(0, 0.2))),
        delay=random.choice((0.001, random.uniform(0, 0.5), random.uniform(0, 1.5))),
        jitter=random.choice((0.0, random.uniform(0, 0.5))),
    )


def _any_messages(random: Random, begin: bytes) -> list[bytes]:
    messages: list[bytes] = []
    for number in range(random.choice((0, 1, 3, 8))):
        size = random.randint(1, random.choice((1, 300, 300, 1_200, 6_000, MAX_MESSAGE)))
        messages.append((begin + b"%d " % number + random.randbytes(16) * (size // 16 + 1))[:size])
    return messages


def check(conversation: Conversation) -> None:
    """Whether what a link promises was kept, when a conversation has come to its end."""
    client, server = conversation.client, conversation.server
    for end, other in ((client, server), (server, client)):
        assert other.heard == end.given[: len(other.heard)], "something was not sent, or not in that order, or not once"
        assert end.finished <= len(other.heard), "something was counted as acknowledged that was not delivered"
        assert end.channel.over or end.finished == len(end.given), "something was lost, and its sender was not told"
        assert end.channel.over or not end.waiting, "something was never sent"
        assert end.channel.idle
        assert end.channel.next_deadline() == math.inf
        assert end.channel.datagrams_to_send(conversation.now) == []


class Figure(NamedTuple):
    """How a message fares over a network.

    Attributes:
        loss: share of the datagrams that are lost, each way.
        median, p99: seconds until it is delivered; those undelivered count as never.
        told: share of the messages of which the sender was told that they were perhaps not delivered.
        undelivered: share of those that were not, a part of `told`.
    """

    loss: float
    median: float
    p99: float
    told: float
    undelivered: float


LOSSES = (0.0, 0.01, 0.05, 0.2, 0.3)
RUNS = 1_000
FIGURE_BYTES = 5_600
"""An offer of a browser's for audio and video."""


def figures(losses: Sequence[float] = LOSSES, runs: int = RUNS) -> list[Figure]:
    """The fate of the first message on a link, 5.6 kB, 100 ms there and back: of so many for each loss."""
    return [_figure(loss, runs) for loss in losses]


def _figure(loss: float, runs: int) -> Figure:
    path = Path(loss=loss)
    times: list[float] = []
    told = undelivered = 0
    for seed in range(runs):
        conversation = ends(paths=(path, path), messages=([b"x" * FIGURE_BYTES], []), seed=seed).run()
        check(conversation)
        times += conversation.server.heard_at or [math.inf]
        told += bool(conversation.client.channel.over)
        undelivered += not conversation.server.heard
    times.sort()
    return Figure(loss, times[runs // 2], times[runs * 99 // 100], told / runs, undelivered / runs)


def table(runs: int = RUNS) -> str:
    """The figures as a table in Markdown."""
    lines = ["| lost, each way | median | 99 % within | sender told | not delivered |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.loss:.0%} | {one.median:.2f} s | {one.p99:.2f} s | {one.told:.1%} | {one.undelivered:.1%} |"
        for one in figures(runs=runs)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
