"""What whoever asked why is told, as a Struct and as JSON. Nothing secret is in it."""

from typing import Final, Literal

from msgspec import Struct, field

Level = Literal["ok", "warn", "fail", "-"]

SEEN_SECONDS: Final = 3_600.0
"""How far back calls are counted that failed in the same way."""


class Step(Struct, kw_only=True, rename="camel"):
    """One thing that was looked at.

    Attributes:
        level: `-`: nothing can be said of it.
        what: a word or two, for the left column.
        text: what was found.
    """

    level: Level
    what: str
    text: str


class Seen(Struct, kw_only=True, rename="camel"):
    """Calls of a peer within the last hour, as far as they are remembered.

    Attributes:
        peer: whose.
        times: how many of them the same rule led.
        of: how many there were.
    """

    peer: str
    times: int
    of: int


class Verdict(Struct, kw_only=True, rename="camel"):
    """Why two peers did not connect, as far as signaling can tell.

    Attributes:
        sender, to: who called whom.
        session: what the two call the call, if anything.
        at: when it began, Unix time; None: there was none.
        outcome: what became of it, as far as is known here, in one line.
        steps: what was looked at, in the order of a call.
        rule: the name of the rule that leads.
        likely: what it says, in a sentence or two.
        advice: what to do, the first thing first.
        seen: how often the same was seen of late.
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
