"""Content of a relayed message, as far as it concerns a connection. Accepts any bytes and never raises."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sigd.why.candidates import Candidate, trickled
from sigd.why.flaws import Flaw
from sigd.why.sdp import Description, description

_KIND: Final = re.compile(rb'\{"type":"(offer|answer|candidate|message|bye)"')
_DESCRIPTIONS: Final = frozenset({"offer", "answer"})


class Body(Struct):
    """The content of one message.

    Attributes:
        kind: its `type`; empty if unknown.
        session: its `session`.
        whole: whether the body is complete; otherwise the rest is unknown.
        wrapped: whether the content comes from the `data` of a `message`, which two peers may agree on.
        description: the description in an offer or answer.
        candidate: the candidate in a `candidate` message.
        ends: whether it signals the end of candidates.
        flaw: the reason why some or all stacks refuse the candidate.
        ufrag: the candidate's ICE generation.
        mid: the candidate's media section.
        reason: the reason in a `bye`.
    """

    kind: str = ""
    session: str | None = None
    whole: bool = False
    wrapped: bool = False
    description: Description | None = None
    candidate: Candidate | None = None
    ends: bool = False
    flaw: Flaw | None = None
    ufrag: str | None = None
    mid: str | None = None
    reason: str | None = None


class _Message(Struct):
    type: str
    session: str | None = None
    sdp: str | None = None
    candidate: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    reason: str | None = None


class _Wrapped(Struct):
    type: str | None = None
    sdp: str | None = None
    candidate: Raw | UnsetType = UNSET


_messages: Final = msgspec.json.Decoder(_Message)
_wrapped: Final = msgspec.json.Decoder(_Wrapped)
_texts: Final = msgspec.json.Decoder(str)


def read(body: bytes) -> Body:
    """Parse a message; leave out unreadable parts."""
    try:
        message = _messages.decode(body)
    except (ValueError, RecursionError):
        found = _KIND.match(body)
        return Body(kind=found[1].decode() if found else "")
    read = Body(kind=message.type, session=message.session, whole=True)
    if message.type in _DESCRIPTIONS:
        read.description = description(message.sdp or "")
    elif message.type == "candidate" and message.candidate is not UNSET:
        _trickle(read, message.candidate)
    elif message.type == "message" and message.data is not UNSET:
        _unwrap(read, message.data)
    elif message.type == "bye":
        read.reason = message.reason
    return read


def _trickle(read: Body, raw: Raw) -> None:
    said = trickled(raw)
    read.candidate, read.ends, read.flaw, read.ufrag, read.mid = (
        said.candidate,
        said.ends,
        said.flaw,
        said.ufrag,
        said.mid,
    )


def _unwrap(read: Body, data: Raw) -> None:
    """Take a description or candidate from `data`, in the form of the W3C dictionaries."""
    try:
        if _is_text(data):
            data = Raw(_texts.decode(data).encode())
        said = _wrapped.decode(data)
    except (ValueError, RecursionError):
        return
    if said.type in _DESCRIPTIONS and said.sdp is not None:
        read.kind, read.wrapped, read.description = said.type, True, description(said.sdp)
    elif said.candidate is not UNSET and said.type in {None, "candidate"}:
        read.kind, read.wrapped = "candidate", True
        # {"type": "candidate", "candidate": {...}}, or the RTCIceCandidateInit itself.
        _trickle(read, data if _is_text(said.candidate) else said.candidate)


def _is_text(raw: Raw) -> bool:
    return bytes(raw).startswith(b'"')
