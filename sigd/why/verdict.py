"""The answer to `sigctl why`, as a Struct and as JSON. Contains no secrets."""

from typing import Final, Literal

from msgspec import Struct, field

Level = Literal["ok", "warn", "fail", "-"]

SEEN_SECONDS: Final = 3_600.0
"""Age up to which calls count that failed in the same way."""


class Step(Struct, kw_only=True, rename="camel"):
    """One step of the examination.

    Attributes:
        level: `-`: nothing is known of it.
        what: a word or two, for the left column.
        text: the result.
    """

    level: Level
    what: str
    text: str


class Seen(Struct, kw_only=True, rename="camel"):
    """Recorded calls of a peer within the last hour.

    Attributes:
        peer: the peer.
        times: number of calls led by the same rule.
        of: number of calls in all.
    """

    peer: str
    times: int
    of: int


class Verdict(Struct, kw_only=True, rename="camel"):
    """The likely reason, judging by signaling, why two peers did not connect.

    Attributes:
        sender, to: caller and callee.
        session: the session of the call, if it has one.
        at: its start, Unix time; None: there was no call.
        outcome: its known result, in one line.
        steps: the steps examined, in the order of a call.
        rule: the name of the leading rule.
        likely: its meaning, in a sentence or two.
        advice: remedies, the first one first.
        seen: how often the same was seen recently.
    """

    sender: str = field(name="from")
    to: str
    session: str | None = None
    at: float | None = None
    outcome: str
    steps: list[Step]
    rule: str
    likely: str
    advice: list[str]
    seen: Seen | None = None
