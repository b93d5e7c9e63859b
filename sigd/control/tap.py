"""Live view of all messages; a reader that is too slow is disconnected, and the relay never waits."""

import heapq
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec
import trio
from msgspec import UNSET, Raw, Struct

from sigd import log
from sigd.admin import replies
from sigd.admin.questions import AskTap
from sigd.admin.replies import TappedReply
from sigd.control.asker import Asker, Gone
from sigd.relay.record import Passed
from sigd.why import spans
from sigd.why.ladder import summary
from sigd.why.spans import size

if TYPE_CHECKING:
    from sigd.relay.router import Router
    from sigd.relay.wall import UnixAhead

OUTBOX_BYTES: Final = 1_048_576
"""Maximum bytes waiting for one reader: a hundred complete calls."""

_ENTRY_BYTES: Final = 200
"""Size of an entry beside its body."""

_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 8_192
"""Bytes encoded before other tasks run: less than a millisecond of work."""

_LONG_BYTES: Final = 8_192
"""Size above which bodies are encoded in a thread: a long description takes some milliseconds."""

_LONGEST_BYTES: Final = 32_768
"""Size above which only type and size of a body are shown. Browsers make none as long, and a description with a
thousand candidates would take 30 ms to parse.
"""

_SORTED_AT_ONCE: Final = 512
"""Number of recorded messages sorted before other tasks run: a quarter of a millisecond."""

_TYPE: Final = re.compile(rb'\{"type":"(\w+)"')
"""The start of every message, used if its body was not kept."""


class Tap:
    """Messages on their way to one reader.

    Attributes:
        is_cut: it was too slow and receives nothing more.
    """

    def __init__(self, asked: AskTap, asker: Asker, router: "Router") -> None:
        self.is_cut = False
        self._peers = frozenset(asked.peers)
        self._asked = asked
        self._asker = asker
        self._router = router
        self._due: deque[Passed] = deque()
        self._size = 0
        self._came = trio.Event()
        self._scope = trio.CancelScope()

    def take(self, passed: Passed) -> None:
        """Queue a message for the reader; the relay waits for this, so it does nothing else."""
        if self.is_cut or (self._peers and passed.sender not in self._peers and passed.to not in self._peers):
            return
        size = len(passed.body) + _ENTRY_BYTES
        if self._size and self._size + size > OUTBOX_BYTES:  # a single message of any relayed size may pass
            self.is_cut = True
            self._due.clear()
            self._scope.cancel()
        else:
            self._account(size)
            self._due.append(passed)
            self._came.set()

    def _account(self, more: int) -> None:
        self._size += more
        self._router.buffers.reserve(self, self._size)

    async def run(self) -> None:
        """Send messages until the reader leaves or is cut."""
        router, process = self._router, self._asker.process
        why = "left"
        if self._asked.full:
            # It changes nothing, but exposes the content of messages to its user.
            log.info("admin", command="tap --full", uid=process.uid, pid=process.pid)
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._see_it_leave)
                # No message passes between these two lines, so record and tap together are complete.
                ways, since = self._earlier(trio.current_time())
                router.taps.add(self.take)
                try:
                    await self._asker.say(replies.TapReply(now=router.admission.unix_time()))
                    await self._tell(await recorded(ways, since))
                except Gone as gone:
                    why = str(gone)
                nursery.cancel_scope.cancel()
        finally:
            router.taps.drop(self.take)
            router.buffers.reserve(self, 0)
            log.info("tap ended", reason="does not read" if self.is_cut else why, uid=process.uid, pid=process.pid)

    async def _see_it_leave(self) -> None:
        await self._asker.leaves()
        self._scope.cancel()

    async def _tell(self, earlier: Iterator[Passed]) -> None:
        some: list[Passed] = []
        size = 0
        for passed in earlier:
            some.append(passed)
            size += len(passed.body) + _ENTRY_BYTES
            if len(some) == _AT_ONCE or size >= _BYTES_AT_ONCE:
                await self._send(some)
                some, size = [], 0
        await self._send(some)
        while True:
            await self._came.wait()
            some, size = self._next()
            await self._send(some)
            self._account(-size)

    def _next(self) -> tuple[list[Passed], int]:
        """Return the next messages to send, and their share of the outbox until then."""
        some: list[Passed] = []
        size = 0
        while self._due and len(some) < _AT_ONCE and size < _BYTES_AT_ONCE:
            passed = self._due.popleft()
            some.append(passed)
            size += len(passed.body) + _ENTRY_BYTES
        if not self._due:
            self._came = trio.Event()
        return some, size

    async def _send(self, some: list[Passed]) -> None:
        unix_ahead = self._router.wall.ahead(trio.current_time())
        framed, full = self._asker.framed, self._asked.full

        def made() -> bytes:
            return b"".join(framed(replies.encode(tapped(passed, unix_ahead, full=full))) for passed in some)

        is_long = any(len(passed.body) > _LONG_BYTES for passed in some)
        await self._asker.send(await trio.to_thread.run_sync(made) if is_long else made())

    def _earlier(self, now: float) -> tuple[Sequence[Iterator[Passed]], float]:
        """Return the recorded messages, and the time from which they are requested."""
        if self._asked.since <= 0:
            return (), now
        return self._router.record.one_way(self._peers), now - self._asked.since


async def recorded(ways: Iterable[Iterator[Passed]], since: float) -> Iterator[Passed]:
    """Return recorded messages in the order of time; other tasks run during the sort.

    Args:
        ways: for each ordered pair of peers, its messages in the order of time, as a snapshot.
        since: start time, in seconds on the relay's clock.
    """
    runs: list[list[Passed]] = [[]]
    for way in ways:
        runs[-1] += [passed for passed in way if passed.when >= since]
        if len(runs[-1]) >= _SORTED_AT_ONCE:
            runs[-1].sort(key=_when)
            runs.append([])
            await trio.lowlevel.checkpoint()
    runs[-1].sort(key=_when)
    return heapq.merge(*runs, key=_when)


_when: Final = attrgetter("when")


class _Head(Struct):
    """The head common to all messages."""

    type: str
    session: str | None = None


_heads: Final = msgspec.json.Decoder(_Head)


def tapped(passed: Passed, unix_ahead: "UnixAhead", *, full: bool) -> TappedReply:
    """Build the entry for a message.

    Args:
        passed: the message.
        unix_ahead: offset of Unix time to the relay's clock, in seconds.
        full: include the unmasked body.
    """
    if not passed.body:
        return _unread(passed, unix_ahead)
    size = len(passed.body)
    try:
        head, whole = _heads.decode(passed.body), True
    except (ValueError, RecursionError):  # only its beginning was kept
        found = _TYPE.match(passed.body)
        head, whole = _Head(found[1].decode() if found else ""), False
    return TappedReply(
        at=passed.when + unix_ahead,
        sender=passed.sender,
        to=passed.to,
        kind=head.type,
        bytes=size,
        session=head.session,
        refusal=passed.refusal,
        why=passed.why,
        times=passed.times,
        summary=summary(passed.body, full) if size <= _LONGEST_BYTES else f"{head.type} {spans.size(size)}",
        body=Raw(passed.body) if full and whole else UNSET,
    )


def _unread(passed: Passed, unix_ahead: "UnixAhead") -> TappedReply:
    """Return the entry for a refused frame that was unreadable or no message at all."""
    kind = passed.kind or ("unknown" if passed.length else "")
    return TappedReply(
        at=passed.when + unix_ahead,
        sender=passed.sender,
        to=passed.to,
        kind=kind,
        bytes=passed.length,
        session=passed.session,
        refusal=passed.refusal,
        why=passed.why,
        times=passed.times,
        summary=f"{kind} {size(passed.length)}" if passed.length else kind,
    )
