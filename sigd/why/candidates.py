"""ICE candidates in all forms in which clients send them. Accepts any JSON and never raises."""

import re
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Raw, Struct

from sigd.why import flaws
from sigd.why.addresses import place
from sigd.why.flaws import Flaw

LONGEST_CANDIDATE: Final = 1_024
"""Maximum characters parsed of a candidate; a long one has 250."""

LONGEST_NAME: Final = 256
"""Maximum characters of a user fragment (RFC 8839, section 5.4) and of a mid."""

_TYPES: Final = frozenset({"host", "srflx", "prflx", "relay"})
_PROTOCOLS: Final = frozenset({"udp", "tcp"})
_PREFIX: Final = re.compile(r"(?:a=)?candidate:")
_UFRAG: Final = re.compile(r" ufrag ([A-Za-z0-9+/]{1,256})(?: |\Z)")
_INIT: Final = frozenset({"sdpMid", "sdpMLineIndex", "usernameFragment"})
_PARTS: Final = frozenset({"ip", "address", "port", "foundation", "priority", "protocol"})


class Candidate(Struct, frozen=True):
    """An ICE candidate (RFC 8839, section 5.1).

    Attributes:
        type: `host`, `srflx`, `prflx` or `relay`.
        protocol: `udp` or `tcp`.
        place: `public`, `private`, `.local` (mDNS), or another place of `addresses`.
        family: 4 or 6; 0 for names.
        address: address and port as received: untrusted and confidential.
    """

    type: str
    protocol: str
    place: str
    family: int
    address: str


class Trickled(NamedTuple):
    """A `candidate` message.

    Attributes:
        candidate: the candidate, if readable.
        ends: whether it signals the end of candidates.
        flaw: the reason why some or all stacks refuse it.
        ufrag: the user fragment of its generation; None: not given.
        mid: its media section; None: no `sdpMid`.
    """

    candidate: Candidate | None = None
    ends: bool = False
    flaw: Flaw | None = None
    ufrag: str | None = None
    mid: str | None = None


_anything: Final = msgspec.json.Decoder()


def trickled(raw: Raw) -> Trickled:
    """Parse the member `candidate` of a message."""
    try:
        said: object = _anything.decode(raw)
    except (ValueError, RecursionError):
        return Trickled(flaw=flaws.NO_OBJECT)
    if said is None:
        return Trickled(ends=True)
    if isinstance(said, str):
        return Trickled(flaw=flaws.JSON_TEXT if _is_json(said) else flaws.NO_OBJECT)
    if not isinstance(said, dict):
        return Trickled(flaw=flaws.NO_OBJECT)
    return _init(cast("dict[str, Any]", said))


def _init(said: dict[str, Any]) -> Trickled:
    """Parse an RTCIceCandidateInit, or a substitute for it."""
    text = said.get("candidate")
    if "candidate" not in said:
        if said.keys() <= _INIT:
            return Trickled(ends=True)  # W3C webrtc-pc: `candidate` defaults to an empty text
        if isinstance(said.get("sdp"), str):
            return Trickled(flaw=flaws.SDP_MEMBER)
        return Trickled(flaw=flaws.FIELDS if len(said.keys() & _PARTS) > 1 else flaws.NO_MEMBER)
    if text is None:
        return Trickled(flaw=flaws.NULL)
    if isinstance(text, dict):
        return Trickled(flaw=flaws.NESTED)
    if not isinstance(text, str):
        return Trickled(flaw=flaws.NOT_TEXT)
    return _text(text, said)


def _text(text: str, said: dict[str, Any]) -> Trickled:
    text = text[:LONGEST_CANDIDATE].strip()
    if not text or text.removeprefix("a=") == "end-of-candidates":
        return Trickled(ends=True)
    if _is_json(text):
        return Trickled(flaw=flaws.JSON_TEXT)
    if "\n" in text or text.count("candidate:") > 1:
        return Trickled(flaw=flaws.SEVERAL)
    found = candidate(text)
    if found is None:
        return Trickled(flaw=flaws.RTCP if text.split()[1:2] == ["2"] else flaws.GRAMMAR)
    flaw = None
    if said.get("sdpMid") is None and said.get("sdpMLineIndex") is None:
        flaw = flaws.NO_SECTION
    elif not _PREFIX.match(text):
        flaw = flaws.NO_PREFIX
    mid = said.get("sdpMid")
    return Trickled(found, False, flaw, _ufrag(text, said), str(mid)[:LONGEST_NAME] if mid is not None else None)


def _ufrag(text: str, said: dict[str, Any]) -> str | None:
    """Return the user fragment from the text's extension, or else from the member `usernameFragment`."""
    if found := _UFRAG.search(text):
        return found[1]
    named = said.get("usernameFragment")
    return named[:LONGEST_NAME] if isinstance(named, str) and named else None


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in {"{", '"'}


def candidate(text: str) -> Candidate | None:
    """Parse a candidate line, with or without `a=`; return None if it is none, or one for RTCP alone."""
    parts = text.removeprefix("a=").removeprefix("candidate:").split()
    if len(parts) < 8 or parts[6] != "typ" or parts[7] not in _TYPES or parts[1] != "1":
        return None
    protocol, address, port = parts[2].lower(), parts[4], parts[5]
    if protocol not in _PROTOCOLS or not _is_number(parts[3], 0xFFFFFFFF) or not _is_number(port, 0xFFFF):
        return None
    where, family = place(address)
    shown = f"[{address}]:{port}" if family == 6 else f"{address}:{port}"
    return Candidate(parts[7], protocol, where, family, shown)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= most
