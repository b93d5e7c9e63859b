"""The answer to each request, and the actions that requests start."""

import math
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

import msgspec
import trio
from msgspec import Raw

from sigd import log
from sigd.admin import questions, replies
from sigd.admin.questions import Asked
from sigd.admin.replies import RefusalCode, Refused, Reply
from sigd.config import StartError
from sigd.control import rows
from sigd.control.state import State
from sigd.relay.globs import glob_matches
from sigd.why.facts import ice_facts, peer_facts
from sigd.why.judge import judge
from sigd.why.verdict import Verdict
from sigd.wire.errors import ErrorCode, ProtocolError

if TYPE_CHECKING:
    from sigd.control.operated import Operated
    from sigd.net.callers import Process
    from sigd.relay.endings import Ending
    from sigd.relay.link import Link
    from sigd.relay.refusals import Attempt

MOST_ROWS: Final = 10_000
"""Maximum number of peers in one answer: 3 MB. A glob finds the others."""

ENDS_AT_ONCE: Final = 32
"""Ends and refused attempts that are looked at before others have their turn: half a millisecond of work."""

LONGEST_PING_SECONDS: Final = 60.0
"""Maximum seconds to wait for a pong: every link must show life within about that time anyway."""

LONGEST_REASON: Final = 128
"""Maximum characters of a reason, as of every error's text (protocol.md, section 7)."""

MOST_OTHERS: Final = 32
"""Maximum number of other peers whose calls are searched for the same fault; each takes one or two milliseconds."""

_POLL_SECONDS: Final = 0.002
"""Initial interval of polling for a pong: links send no event for it, and no round is longer."""

_SLOWEST_POLL_SECONDS: Final = 0.25
"""Interval after some seconds. The round trip stays exact; only its report is later."""


class WhyReply(Verdict, kw_only=True, rename="camel", tag="why"):
    """A verdict as an answer, with the members of `Reply`."""

    schema: int = replies.SCHEMA


class ListedReply(replies.Reply, kw_only=True, tag="peers"):
    """`PeersReply` with rows encoded one by one: ten thousand at once would block for 10 ms."""

    now: float
    peers: Raw
    more: bool = False


class EndsReply(replies.Reply, kw_only=True, tag="closed"):
    """`ClosedReply` with rows that were encoded some at a time."""

    now: float
    closed: Raw


class Refusal(Exception):
    """The reason why a request is refused."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(code, message)
        self.code: RefusalCode = code
        self.message = message

    @property
    def reply(self) -> Refused:
        """Return the refusal to send."""
        return Refused(code=self.code, message=self.message)


class Answers:
    """Answers of a daemon.

    Attributes:
        state: its status.
    """

    def __init__(self, server: "Operated") -> None:
        self.state = State(server)
        self._server = server
        self._drains = False

    async def to(self, asked: Asked, asker: "Process") -> Reply | WhyReply | ListedReply | EndsReply:
        """Answer a request of `asker`; `tap` answers with a stream of its own.

        Raises:
            Refusal: the request is refused.
        """
        match asked:
            case questions.AskStatus():
                return await self.state.status()
            case questions.AskPeers():
                return await self._peers(asked.glob)
            case questions.AskShow():
                return self._show(asked.peer)
            case questions.AskClosed():
                return await self._closed(asked.glob)
            case questions.AskKick():
                return self._kick(asked, asker)
            case questions.AskPing():
                return await self._ping(asked)
            case questions.AskReload():
                log.info("admin", command="reload", uid=asker.uid, pid=asker.pid)
                return await self._server.reload(end_links=asked.end_links, shown=asked.shown)
            case questions.AskDrain():
                return self._drain(asker)
            case questions.AskMetrics():
                return await self._metrics()
            case questions.AskWhy():
                return await self._why(asked)
            case questions.AskTap():
                raise AssertionError("a tap is more than an answer")
            case _:
                assert_never(asked)

    def _found(self, peer: str) -> "Link":
        link = self._server.router.registry.find(peer)
        if link is None:
            raise Refusal("no-such-peer", "no peer is registered with this ID")
        return link

    @property
    def _unix_now(self) -> float:
        return self._server.router.admission.unix_time()

    # -- who is here

    async def _peers(self, glob: str) -> ListedReply:
        registry = self._server.router.registry
        asked_at = self._unix_now
        encoded: list[bytes] = []
        prefix, after, more = glob.partition("*")[0], "", True
        while more and len(encoded) <= MOST_ROWS:
            # One batch of a hundred at a time, each starting after the last ID sent: others are served between batches,
            # and peers may come and go.
            listed, more = registry.listed(prefix, after)
            now = trio.current_time()
            unix_ahead = self._server.router.wall.ahead(now)
            for entry in listed:
                link = registry.find(entry.id)
                if link is not None and glob_matches(glob, entry.id):
                    encoded.append(replies.encode(rows.row_of(link, now, unix_ahead)))
                after = entry.id
            await trio.lowlevel.checkpoint()
        peers = Raw(b"[" + b",".join(encoded[:MOST_ROWS]) + b"]")
        return ListedReply(now=asked_at, peers=peers, more=len(encoded) > MOST_ROWS)

    def _show(self, peer: str) -> replies.ShowReply:
        return rows.details_of(self._found(peer), trio.current_time())

    async def _closed(self, glob: str) -> EndsReply:
        router, asked_at = self._server.router, self._unix_now
        unix_ahead = router.wall.ahead(trio.current_time())
        all_ends: list[Ending | Attempt] = [*reversed(router.ended), *router.record.attempts.of()]
        ends = sorted(all_ends, key=attrgetter("when"), reverse=True)
        encoded: list[bytes] = []
        for start in range(0, len(ends), ENDS_AT_ONCE):
            some = rows.rows_of_ends(ends[start : start + ENDS_AT_ONCE], unix_ahead)
            encoded += [replies.encode(row) for row in some if glob_matches(glob, row.id)]
            await trio.lowlevel.checkpoint()
        return EndsReply(now=asked_at, closed=Raw(b"[" + b",".join(encoded) + b"]"))

    # -- actions

    def _kick(self, asked: questions.AskKick, asker: "Process") -> replies.KickReply:
        reason = asked.reason
        if not (0 < len(reason) <= LONGEST_REASON and reason.isascii() and reason.isprintable()):
            raise Refusal("bad-question", f"a reason is 1 to {LONGEST_REASON} characters of printable ASCII")
        link = self._found(asked.peer)
        reply = replies.KickReply(peer=asked.peer, address=link.address)
        log.info("admin", command="kick", peer=asked.peer, uid=asker.uid, pid=asker.pid)
        fault = ProtocolError(ErrorCode.KICKED, reason, by=f"uid {asker.uid}")
        self._server.reactor.intervene(lambda now: link.refuse(fault))
        return reply

    async def _ping(self, asked: questions.AskPing) -> replies.PingReply:
        link = self._found(asked.peer)
        seconds = min(max(asked.timeout, 0.0), LONGEST_PING_SECONDS)
        before = link.received, link.last_seen
        sent = math.inf

        def send(now: float) -> None:
            nonlocal sent
            sent = now
            if not link.pinged:
                link.pinged_at = now
            link.ping(now)

        self._server.reactor.intervene(send)
        pause = _POLL_SECONDS
        with trio.move_on_after(seconds):
            while (link.received, link.last_seen) == before and not link.closing:
                await trio.sleep(pause)
                pause = min(pause * 1.5, _SLOWEST_POLL_SECONDS)
        if link.closing:
            raise Refusal("no-answer", f"its link ended meanwhile: {link.reason}")
        if (link.received, link.last_seen) != before:
            return replies.PingReply(peer=asked.peer, rtt=max(0.0, link.last_seen - sent))
        if link.pinged_at == sent:
            self._server.reactor.intervene(lambda now: _forget_ping(link))
        raise Refusal("no-answer", _why_silent(link, seconds))

    def _drain(self, asker: "Process") -> replies.DrainReply:
        reactor = self._server.reactor
        if not self._drains and not reactor.stopping:
            # Only once: a second call, like a second SIGTERM, ends the daemon at once.
            self._drains = True
            log.info("admin", command="drain", uid=asker.uid, pid=asker.pid)
            self._server.drain()
        return replies.DrainReply(links=len(reactor), drain=self._server.router.limits.drain_ms / 1000)

    # -- answers from other modules

    async def _metrics(self) -> replies.MetricsReply:
        try:
            return replies.MetricsReply(text=(await self._server.exposition()).decode())
        except StartError as fault:
            raise Refusal("not-here", fault.what) from None

    async def _why(self, asked: questions.AskWhy) -> WhyReply:
        router = self._server.router
        unix_now, unix_ahead = self._unix_now, router.wall.ahead(trio.current_time())
        pair = (asked.first, asked.second)
        history = router.record.history(*pair, unix_ahead)
        partners = [(peer, other) for peer in pair for other in router.record.partners(peer) if other not in pair]
        others = [router.record.history(*both, unix_ahead) for both in partners[:MOST_OTHERS]]
        peers = {peer: peer_facts(router, peer, unix_ahead) for peer in pair}
        ask = partial(judge, history, peers, ice_facts(router), unix_now)
        # The judged data is a copy. Parsing it can take a tenth of a second, so a thread does it while others are
        # served.
        verdict = await trio.to_thread.run_sync(partial(ask, session=asked.session, others=others, full=asked.full))
        return WhyReply(**msgspec.structs.asdict(verdict))


def _forget_ping(link: "Link") -> None:
    """Forget an unanswered ping: the next one is due as if this one had never been sent."""
    link.pinged_at = -math.inf
    link.watch()


def _why_silent(link: "Link", seconds: float) -> str:
    text = f"nothing came within {seconds:g} s"
    if link.patient:
        return f"{text}: it uses lines, and netcat does not answer pings"
    if link.stuck:
        return f"{text}: it does not read its messages, and the ping waits behind them"
    if link.held:
        return f"{text}: it sent too much, and reading from it is paused"
    return text
