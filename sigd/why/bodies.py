"""What a relayed message says, as far as it concerns a connection. Any bytes may come in; nothing is raised."""

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
    """What one message says.

    Attributes:
        kind: its `type`; empty if nobody can tell.
        session: its `session`.
        whole: whether all of it is there; else the rest is unknown.
        wrapped: whether the `data` of a `message` says it: two peers may agree on that.
        description: of an offer or answer.
        candidate: of a `candidate` that brings one.
        ends: whether it is a `candidate` that says that there are no more.
        flaw: why stacks, or some of them, do not take the candidate.
        ufrag: the ICE generation that the candidate names.
        mid: the media section that the candidate names.
        reason: of a `bye`.
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
    """Return what a message says; what cannot be told is left out."""
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
    """Take a description or candidate out of `data`, where it stands as the W3C's dictionaries have it."""
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
