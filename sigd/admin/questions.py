"""Questions of `sigctl` on the admin socket: every one of them as a Struct.

The framings are those of clients. A conversation is questions and replies in turn. No I/O, no state.
"""

from typing import Final, get_args

import msgspec
from msgspec import Struct

MAX_QUESTION: Final = 4_096
"""Bytes of a question: 60 peer IDs for `tap`."""

MAX_TAPPED: Final = 64
"""Peers that one `tap` may name."""


class Question(Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Members common to all requests."""


class AskStatus(Question, kw_only=True, tag="status"):
    """How is the daemon?"""


class AskPeers(Question, kw_only=True, tag="peers"):
    """List registered peers."""

    glob: str = "*"


class AskShow(Question, kw_only=True, tag="show"):
    """Show all details of one peer."""

    peer: str


class AskClosed(Question, kw_only=True, tag="closed"):
    """The links that have ended lately, with their reasons."""

    glob: str = "*"


class AskKick(Question, kw_only=True, tag="kick"):
    """End a peer's link."""

    peer: str
    reason: str = "an operator has ended the link"


class AskPing(Question, kw_only=True, tag="ping"):
    """Ask a peer for a sign of life, through the daemon and back."""

    peer: str
    timeout: float = 5.0


class AskReload(Question, kw_only=True, tag="reload"):
    """Read the configuration again."""

    end_links: bool = True
    """Whether it may end links; if not, and it would, nothing changes, and the answer says how many."""
    shown: str = ""
    """`ReloadReply.shown` of the answer that the operator agreed to: if the files have changed since, nothing changes.
    Empty: any."""


class AskDrain(Question, kw_only=True, tag="drain"):
    """Tell everybody to come back later, and stop."""


class AskMetrics(Question, kw_only=True, tag="metrics"):
    """The figures for Prometheus."""


class AskWhy(Question, kw_only=True, tag="why"):
    """Why did these two not connect?"""

    first: str
    second: str
    session: str | None = None
    full: bool = False


class AskTap(Question, kw_only=True, tag="tap"):
    """Tell of every message as it passes: of these peers, or of all."""

    peers: list[str] = []
    since: float = 0.0
    """Start time, in seconds back: recorded messages come first."""
    full: bool = False
    """With everything that is in a message; else addresses and secrets are masked."""


Asked = (
    AskStatus | AskPeers | AskShow | AskClosed | AskKick | AskPing | AskReload | AskDrain | AskMetrics | AskWhy | AskTap
)

QUESTIONS: Final[tuple[str, ...]] = tuple(str(asked.__struct_config__.tag) for asked in get_args(Asked))
"""Every `type` of a question."""

_questions: Final[msgspec.json.Decoder[Asked]] = msgspec.json.Decoder(Asked)


class UnknownQuestion(ValueError):
    """A question of unknown `type`: the program that asks may be newer than the daemon."""


class _Kind(Struct):
    type: str


_kinds: Final = msgspec.json.Decoder(_Kind)


def decode_question(frame: bytes) -> Asked:
    """Return the question.

    Raises:
        UnknownQuestion: there is no such question.
        ValueError: it is none of the questions; the text names the fault, for people.
    """
    try:
        return _questions.decode(frame)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except msgspec.ValidationError:
        # Only now, since it costs a second look: is it the question, or something in it?
        kind = _kind_of(frame)
        if kind is None or kind in QUESTIONS:
            raise
        raise UnknownQuestion(f"there is no such question; there are {', '.join(QUESTIONS)}") from None


def _kind_of(frame: bytes) -> str | None:
    try:
        return _kinds.decode(frame).type
    except (ValueError, RecursionError):
        return None
