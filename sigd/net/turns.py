"""Turns: how links that wait, and work that is done in parts, share the rounds of the reactor."""

from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from sigd.net.rounds import MESSAGES_PER_ROUND
from sigd.relay.shedding import shed

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from sigd.net.rounds import PolledLink, Rounds

READ_SECONDS: Final = 0.001
"""Budget of a round for sockets with something new: some hundred messages. All budgets together are a few milliseconds,
which is how long a message waits for the end of a round. They are CPU time, so a busy machine makes rounds longer, not
emptier."""

UNREAD_SECONDS: Final = 0.0005
"""Budget of a round for links that earlier rounds had no time to read, beside the rest of `READ_SECONDS`."""

BACKLOG_SECONDS: Final = 0.0005
"""Budget of a round for the backlogs of busy links. They come last, and go on even if there is always something new."""

WRITE_SECONDS: Final = 0.001
"""Budget of a round for writing; the rest is written in the next round."""

LINKS_AT_ONCE: Final = 16
"""Links between two looks at the clock, each of which costs a tenth of a message: 0.1 ms with one message each."""

SHED_SECONDS: Final = 0.001
"""Budget of a round for ending links while buffers are nearly full. Above the limit itself they end at once."""

DUE_PER_ROUND: Final = 64
"""Maximum number of expired deadlines per round: 10 000 at once, each a ping, are spread over 0.3 s."""

CHORE_SECONDS: Final = 0.0005
"""Budget of a round for work that is done in parts (`Router.chores`): so it slows everybody else down by a fifth."""

TURNS_AT_ONCE: Final = 4
"""The same where turns are long, or late already."""

JUDGED_AT_ONCE: Final = 64
"""Links that are judged by new rules before others have their turn: 0.3 ms of work."""

MESSAGES_WAITING: Final = 2_048
"""Messages that are acted on until every link that waits has had a turn: 10 ms or less. The more links wait, the fewer
messages of each are acted on per turn: at least one of those that have something new, so that each is answered soon."""

BACKLOG_MESSAGES: Final = 4
"""Minimum number of messages per turn of a busy link: with fewer, the turn itself costs as much as its messages."""


def serve_waiting(reactor: "Rounds", busy: int, began: float) -> None:
    """Serve the links that wait: those with something short, then those that were busy before this round.

    Args:
        reactor: whose links they are.
        busy: how many of the busy ones.
        began: when the round began, by the clock.
    """
    if reactor.unread:
        until = max(began + READ_SECONDS, reactor.clock()) + UNREAD_SECONDS
        _take_turns(reactor, reactor.unread, len(reactor.unread), until)
    if busy:
        reactor.most = max(BACKLOG_MESSAGES, share(busy))
        _take_turns(reactor, reactor.busy, busy, reactor.clock() + BACKLOG_SECONDS)


def _take_turns(reactor: "Rounds", queue: "deque[PolledLink]", count: int, until: float) -> None:
    """Read links that wait, or act on more of their input, within a budget.

    Args:
        reactor: whose links they are.
        queue: where they wait.
        count: maximum number of links: one that gets in again has its next turn in another round.
        until: when the budget ends, by the clock.
    """
    for number in range(1, count + 1):
        link = queue.popleft()
        link.busy = False
        try:
            if not link.held:
                link.take_turn(reactor.now)
            if not link.busy:
                link.rearm()
        except Exception as fault:
            reactor.fail(link, fault)
        if not number % TURNS_AT_ONCE and reactor.clock() >= until:
            break


def do_chores(reactor: "Rounds", seconds: float = CHORE_SECONDS) -> None:
    """Go on with work that is done in parts, each piece of work in turn, for so many seconds."""
    chores, clock = reactor.router.chores, reactor.clock
    until = clock() + seconds
    while chores:
        try:
            chores.step()
        except Exception as fault:
            reactor.say_bug(fault)
        if clock() >= until:
            break


def attend_due(reactor: "Rounds") -> None:
    """Write waiting output, and bring closing links further to their ends, within the budget."""
    due = reactor.router.due
    coming, done, until = iter(due), 0, 0.0
    while done < len(due):  # it grows while it is walked
        for link in islice(coming, LINKS_AT_ONCE):
            try:
                link.attend(reactor.now)
            except Exception as fault:
                reactor.fail(link, fault)
        done += LINKS_AT_ONCE
        if done < len(due):
            until = until or reactor.clock() + WRITE_SECONDS
            if reactor.clock() >= until:
                break
    del due[:done]


def make_room(reactor: "Rounds") -> int:
    """End links for the memory that they hold, within the budget, and tell those who can be told; return how many."""
    until = reactor.clock() + SHED_SECONDS
    ended = shed(reactor.router, reactor.now, reactor.fail, lambda: reactor.clock() >= until)
    attend_due(reactor)
    return ended


async def judge_all(reactor: "Rounds", ends: "Iterator[bool]") -> int:
    """Judge links by new rules, some at a time between rounds; return how many end.

    Args:
        reactor: whose links they are.
        ends: judges one link per step, and says whether it ends.
    """
    judged: list[bool] = []
    while True:
        before = len(judged)
        reactor.intervene(lambda _: judged.extend(islice(ends, JUDGED_AT_ONCE)))
        if len(judged) < before + JUDGED_AT_ONCE:
            return sum(judged)
        await trio.lowlevel.checkpoint()


def share(waiting: int) -> int:
    """Return how many messages of one link are acted on per turn while so many links wait."""
    if waiting * MESSAGES_PER_ROUND <= MESSAGES_WAITING:
        return MESSAGES_PER_ROUND
    return max(1, MESSAGES_WAITING // waiting)
