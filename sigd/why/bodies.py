"""What a relayed message says, as far as it concerns a connection. Any bytes may come in; nothing is raised."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sigd.why.addresses import place

LARGEST_SDP: Final = 256 << 10
"""Characters of an SDP that are looked at: 20 times the largest that browsers make."""

MOST_CANDIDATES: Final = 256
"""Of one description: whoever has more has them all of one kind."""

LONGEST_CANDIDATE: Final = 1_024
"""Characters of a candidate that are looked at; a long one has 250."""

_KIND: Final = re.compile(rb'\{"type":"(offer|answer|candidate|message|bye)"')

_MEDIA: Final = {"audio": "audio", "video": "video", "application": "data"}
"""What is said of a description's parts; others are left out, for their names come from outside."""

_TYPES: Final = frozenset({"host", "srflx", "prflx", "relay"})
_PROTOCOLS: Final = frozenset({"udp", "tcp"})


class Candidate(Struct, frozen=True):
    """An ICE candidate (RFC 8839, section 5.1).

    Attributes:
        type: `host`, `srflx`, `prflx` or `relay`.
        protocol: `udp` or `tcp`.
        place: `public`, `private`, `.local` (mDNS), or what else `addresses` calls it.
        family: 4 or 6; 0 for names.
        address: as it stands there, its port behind it: from outside, and not for everybody's eyes.
    """

    type: str
    protocol: str
    place: str
    family: int
    address: str


class Description(Struct):
    """An SDP offer or answer (RFC 8866, RFC 8829).

    Attributes:
        origin: the session ID of its `o=` line: one for each RTCPeerConnection.
        media: `audio`, `video`, `data`: those parts that are not rejected.
        candidates: those inside.
        ends: whether it says that there are no more.
        lacks: what no connection can do without, and is missing.
    """

    origin: str
    media: list[str]
    candidates: list[Candidate]
    ends: bool
    lacks: list[str]


class Body(Struct):
    """What one message says.

    Attributes:
        kind: its `type`; empty if nobody can tell.
        session: its `session`.
        whole: whether all of it is there; else the rest is unknown.
        description: of an offer or answer.
        candidate: of a `candidate` that brings one.
        ends: whether it is a `candidate` that says that there are no more.
        reason: of a `bye`.
    """

    kind: str = ""
    session: str | None = None
    whole: bool = False
    description: Description | None = None
    candidate: Candidate | None = None
    ends: bool = False
    reason: str | None = None


class _Message(Struct):
    type: str
    session: str | None = None
    sdp: str | None = None
    candidate: Raw | UnsetType = UNSET
    reason: str | None = None


class _Init(Struct):
    candidate: str | None = None


_messages: Final = msgspec.json.Decoder(_Message)
_inits: Final = msgspec.json.Decoder(_Init | None)


def read(body: bytes) -> Body:
    """What a message says; what cannot be told is left out."""
    try:
        message = _messages.decode(body)
    except (ValueError, RecursionError):
        found = _KIND.match(body)
        return Body(kind=found[1].decode() if found else "")
    read = Body(kind=message.type, session=message.session, whole=True)
    if message.type in {"offer", "answer"}:
        read.description = description(message.sdp or "")
    elif message.type == "candidate" and message.candidate is not UNSET:
        read.candidate, read.ends = _trickled(message.candidate)
    elif message.type == "bye":
        read.reason = message.reason
    return read


def _trickled(raw: Raw) -> tuple[Candidate | None, bool]:
    """A trickled candidate, and whether it is the end of them: `null`, or one that is empty (W3C webrtc-pc)."""
    try:
        init = _inits.decode(raw)
    except (ValueError, RecursionError):
        return None, False
    if init is None or init.candidate == "":
        return None, True
    text = (init.candidate or "")[:LONGEST_CANDIDATE]
    return candidate(text), text.removeprefix("a=") == "end-of-candidates"


def candidate(text: str) -> Candidate | None:
    """The candidate that a line says, with or without its `a=`; None if it is none, or one for RTCP alone."""
    parts = text.removeprefix("a=").removeprefix("candidate:").split()
    if len(parts) < 8 or parts[6] != "typ" or parts[7] not in _TYPES or parts[1] != "1":
        return None
    protocol, address, port = parts[2].lower(), parts[4], parts[5]
    if protocol not in _PROTOCOLS:
        return None
    where, family = place(address)
    shown = f"[{address}]:{port}" if family == 6 else f"{address}:{port}"
    return Candidate(parts[7], protocol, where, family, shown)


def description(sdp: str) -> Description:
    """What an SDP says."""
    origin, media, ends = "", list[str](), False
    candidates: dict[Candidate, None] = {}  # a bundle repeats them for each of its parts
    found: set[str] = set()
    for line in sdp[:LARGEST_SDP].splitlines():
        if line.startswith("a=candidate:"):
            one = candidate(line[:LONGEST_CANDIDATE])
            if one is not None and len(candidates) < MOST_CANDIDATES:
                candidates[one] = None
        elif line.startswith("m="):
            kind, _, rest = line.removeprefix("m=").partition(" ")
            if kind in _MEDIA and _MEDIA[kind] not in media and rest.partition(" ")[0] != "0":
                media.append(_MEDIA[kind])
        elif line.startswith("o="):
            origin = " ".join(line.split(" ")[1:2])[:64]
        elif line.strip() == "a=end-of-candidates":
            ends = True
        else:
            found.add(line.partition(":")[0])
    lacks = [name for name in ("ice-ufrag", "ice-pwd", "fingerprint") if f"a={name}" not in found]
    return Description(origin, media, list(candidates), ends, lacks)
