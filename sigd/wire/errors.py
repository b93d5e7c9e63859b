"""The error codes of the protocol: spelling, effect on the link, and the client's next step."""

import enum
from typing import NamedTuple


class Next(enum.StrEnum):
    """A client's next step after an error; see protocol.md, section 7."""

    MEND = "mend"  # the message was wrong: the same one again gets the same answer
    BACK_OFF = "back off"  # try again later, each time after a longer pause
    NEVER = "never"  # do not come back by yourself: `reconnect` is false


class _Fact(NamedTuple):
    closes: bool
    next: Next
    meaning: str


_GOES_ON = False
_CLOSES = True


class ErrorCode(enum.StrEnum):
    """An error code as it is spelled on the wire (protocol.md, section 7)."""

    BAD_MESSAGE = "bad-message"
    UNKNOWN_TYPE = "unknown-type"
    NOT_REGISTERED = "not-registered"
    ALREADY_REGISTERED = "already-registered"
    ID_TAKEN = "id-taken"
    PEER_UNAVAILABLE = "peer-unavailable"
    PEER_BUSY = "peer-busy"
    TOO_LARGE = "too-large"
    RATE_LIMITED = "rate-limited"
    FORBIDDEN = "forbidden"
    BAD_FRAME = "bad-frame"
    AUTH_FAILED = "auth-failed"
    AUTH_EXPIRED = "auth-expired"
    REGISTER_TIMEOUT = "register-timeout"
    REPLACED = "replaced"
    KICKED = "kicked"
    SLOW_CONSUMER = "slow-consumer"
    SERVER_FULL = "server-full"
    IDLE_TIMEOUT = "idle-timeout"
    INTERNAL = "internal"

    @property
    def closes(self) -> bool:
        """Whether the server ends the link after this error."""
        return _FACTS[self].closes

    @property
    def next(self) -> Next:
        """The client's next step."""
        return _FACTS[self].next

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _FACTS[self].meaning


_FACTS: dict[ErrorCode, _Fact] = {
    ErrorCode.BAD_MESSAGE: _Fact(
        _GOES_ON, Next.MEND, "It is not JSON, or a member is missing or not as section 6 has it."
    ),
    ErrorCode.UNKNOWN_TYPE: _Fact(_GOES_ON, Next.MEND, "No message has this `type`, or no command this name."),
    ErrorCode.NOT_REGISTERED: _Fact(_GOES_ON, Next.MEND, "This needs a registered link: send `register` first."),
    ErrorCode.ALREADY_REGISTERED: _Fact(_GOES_ON, Next.MEND, "The link has another ID: close it to change."),
    ErrorCode.ID_TAKEN: _Fact(
        _GOES_ON,
        Next.BACK_OFF,
        "Somebody else holds the ID, another claim on it waits, or it has changed hands too often.",
    ),
    ErrorCode.PEER_UNAVAILABLE: _Fact(_GOES_ON, Next.BACK_OFF, "Nobody holds the ID in `to`, or its link has ended."),
    ErrorCode.PEER_BUSY: _Fact(_GOES_ON, Next.BACK_OFF, "The recipient's outbox is full."),
    ErrorCode.TOO_LARGE: _Fact(
        _GOES_ON, Next.MEND, "Longer than the server takes, or than the `maxFrame` of whom it is for."
    ),
    ErrorCode.RATE_LIMITED: _Fact(_GOES_ON, Next.BACK_OFF, "Too much in too short a time."),
    ErrorCode.FORBIDDEN: _Fact(_GOES_ON, Next.MEND, "The credential does not allow this."),
    ErrorCode.BAD_FRAME: _Fact(
        _CLOSES,
        Next.BACK_OFF,
        "A length of 0 or far above the limit, a frame too long before `register`, one that took too long, or a bad"
        " PROXY header.",
    ),
    ErrorCode.AUTH_FAILED: _Fact(_CLOSES, Next.NEVER, "The credential is not accepted for this ID, or not any more."),
    ErrorCode.AUTH_EXPIRED: _Fact(_CLOSES, Next.BACK_OFF, "The credential has expired: come back with a new one."),
    ErrorCode.REGISTER_TIMEOUT: _Fact(_CLOSES, Next.BACK_OFF, "No `register` came in time."),
    ErrorCode.REPLACED: _Fact(_CLOSES, Next.NEVER, "Another link with the same credential has taken the ID over."),
    ErrorCode.KICKED: _Fact(_CLOSES, Next.NEVER, "An operator has ended the link."),
    ErrorCode.SLOW_CONSUMER: _Fact(_CLOSES, Next.BACK_OFF, "The client did not read what was due to it."),
    ErrorCode.SERVER_FULL: _Fact(
        _CLOSES,
        Next.BACK_OFF,
        "There are as many links as may be (in all, from one address, or without an ID), or no memory is left.",
    ),
    ErrorCode.IDLE_TIMEOUT: _Fact(_CLOSES, Next.BACK_OFF, "Nothing came from the client for too long."),
    ErrorCode.INTERNAL: _Fact(_CLOSES, Next.BACK_OFF, "A bug in the server: see its log."),
}


class Objection(NamedTuple):
    """The fault of a credential: for the operator, never for the client, and without any secret or token.

    Attributes:
        cause: one word or a few, kebab-case; the same for the same fault.
        text: one line for people.
        credential: the entry of the configuration that was nearest, its kind first; empty: none was.
        is_proven: whether the client has shown that it has a secret or key of that entry.
    """

    cause: str
    text: str
    credential: str = ""
    is_proven: bool = False


class ProtocolError(Exception):
    """Something that a client did and that is answered with an `error`.

    Attributes:
        code: the kind of fault; says too whether the link goes on.
        text: for people: printable ASCII, at most 128 characters, never an echo of what came in.
        ref: the `ref` of the message at fault, where it had a valid one.
        to: the recipient that the message at fault named, where that is a valid peer ID.
        retry_after_ms: milliseconds after which the same has a chance.
        limit: the key of the configured limit that was hit, where it was one.
        by: for the log: the address of who brought it about, where that was somebody else.
        objection: for the log and the record: the fault of a credential.
        claimed: for the log: the ID that a refused `register` asked for.
        is_recorded: whether the record has it already.
    """

    def __init__(
        self,
        code: ErrorCode,
        text: str,
        *,
        ref: str | None = None,
        to: str | None = None,
        retry_after_ms: int | None = None,
        limit: str | None = None,
        by: str | None = None,
        objection: Objection | None = None,
    ) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.ref = ref
        self.to = to
        self.retry_after_ms = retry_after_ms
        self.limit = limit
        self.by = by
        self.objection = objection
        self.claimed = ""
        self.is_recorded = False
