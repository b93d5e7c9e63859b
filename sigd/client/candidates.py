"""ICE candidates of other peers: read as leniently as by a browser, checked against RFC 8839. No I/O.

A browser converts the members of an RTCIceCandidateInit (Web IDL) before it looks at them, so an index of "0" or a mid
of 0 works there. Libraries that split a candidate at its spaces trust its content: some end their transport over a
number out of range.
"""

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

MOST_QUOTED: Final = 80
"""Maximum characters of a candidate in a log line: the longest of a browser without its extensions."""

LARGEST_COMPONENT: Final = 256
LARGEST_PRIORITY: Final = 2**31 - 1
LARGEST_PORT: Final = 65_535
"""Upper end of the port range of RFC 8839, section 5.1."""

ADDRESS_PART: Final = 4
"""Index of the address among the space-separated parts of a candidate."""

_TOKEN: Final = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"

_CANDIDATE: Final = re.compile(
    r"(?:a=)?(?:candidate:)?(?P<foundation>[0-9A-Za-z+/]{1,32}) (?P<component>[0-9]{1,3})"
    rf" (?P<transport>{_TOKEN}) (?P<priority>[0-9]{{1,10}}) (?P<address>[!-~]+) (?P<port>[0-9]{{1,5}})"
    rf" typ (?P<type>{_TOKEN})(?P<extensions>(?: {_TOKEN} [!-~]*)*)"
)
"""The grammar of RFC 8839, section 5.1. `candidate:` is optional on input, and some peers send the whole line."""

_MDNS_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,63}\.local", re.IGNORECASE)

_BEFORE: Final = "a=candidate:"
_END: Final = "a=end-of-candidates"


class Candidate(NamedTuple):
    """A usable candidate.

    Attributes:
        text: from its foundation on, without private extensions of the sender's stack.
        mid, line_index: its media section; at least one of them is set.
    """

    text: str
    mid: str | None
    line_index: int | None

    @property
    def address(self) -> str:
        """The IP address, or the mDNS name in its place."""
        return self.text.split(" ")[ADDRESS_PART]

    @property
    def is_hidden(self) -> bool:
        """Whether it has an mDNS name in place of an address."""
        return _MDNS_NAME.fullmatch(self.address) is not None


def read(init: Mapping[str, Any]) -> Candidate | None:
    """Read an RTCIceCandidateInit.

    Returns:
        None for an empty candidate, which ends those of one media section (W3C webrtc-pc, addIceCandidate).

    Raises:
        ValueError: no stack can use it; the text gives the reason, and quotes it in ASCII.
    """
    text = init.get("candidate")
    if text is None and "candidate" not in init and init:
        raise ValueError(f"it has no member `candidate`, but {_quoted(', '.join(init))}")
    if not isinstance(text, str | None):
        raise ValueError(f"its member `candidate` must be a string, not {_quoted(repr(text))}")
    if not text:
        return None
    line = checked(text.strip())
    mid, index = _mid(init.get("sdpMid")), _index(init.get("sdpMLineIndex"))
    if mid is None and index is None:
        raise ValueError("it has neither `sdpMid` nor `sdpMLineIndex`: it belongs to no media section")
    return Candidate(line, mid, index)


def checked(line: str) -> str:
    """Return a candidate from its foundation on, with only the extensions of RFC 8839 and RFC 6544.

    Raises:
        ValueError: it violates the grammar or the ranges of RFC 8839, or has a host name that ICE does not look up.
    """
    found = _CANDIDATE.fullmatch(line)
    if found is None:
        raise ValueError(f"it is no candidate of RFC 8839: {_quoted(line)}")
    _check_range("component", found["component"], 1, LARGEST_COMPONENT)
    _check_range("priority", found["priority"], 1, LARGEST_PRIORITY)
    words = found["extensions"].split(" ")[1:]
    extensions = dict(zip(words[::2], words[1::2], strict=True))
    # An active TCP candidate is never connected to, so its port has no meaning (RFC 6544, section 4.5).
    _check_range("port", found["port"], 0 if extensions.get("tcptype") == "active" else 1, LARGEST_PORT)
    _check_range("rport", extensions.get("rport", "0"), 0, LARGEST_PORT)
    _check_address(found["address"])
    kept = "".join(f" {name} {extensions[name]}" for name in ("raddr", "rport", "tcptype") if extensions.get(name))
    return line[found.start("foundation") : found.end("type")] + kept


def without_faulty(sdp: str) -> tuple[str, list[str]]:
    """Return a description without its unusable candidates, and the fault of each of them."""
    kept: list[str] = []
    faults: list[str] = []
    for line in _lines(sdp):
        if line.startswith(_BEFORE):
            try:
                checked(line.strip())
            except ValueError as fault:
                faults.append(str(fault))
                continue
        kept.append(line)
    return "".join(kept), faults


def names_an_address(sdp: str) -> bool:
    """Return whether a description has a candidate with an address: not only mDNS names, and not none."""
    found = (line.split(" ") for line in _lines(sdp) if line.startswith(_BEFORE))
    return any(len(parts) > ADDRESS_PART and not _MDNS_NAME.fullmatch(parts[ADDRESS_PART]) for parts in found)


def without_end(sdp: str) -> tuple[str, bool]:
    """Return a description without its end-of-candidates marks, and whether there were any."""
    kept = [line for line in _lines(sdp) if line.strip() != _END]
    return "".join(kept), len(kept) < len(_lines(sdp))


def _lines(sdp: str) -> list[str]:
    # Split as Python stacks split it, not only at CR and LF, so that no line appears there that was none here.
    return sdp.splitlines(keepends=True)


def _mid(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            raise ValueError(f"its `sdpMid` must be a string, not {_quoted(repr(value))}")


def _index(value: object) -> int | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= LARGEST_PORT:  # an unsigned short, of which a browser would keep only the low 16 bits
        raise ValueError(f"its `sdpMLineIndex` must be a number from 0 to 65535, not {_quoted(repr(value))}")
    return int(number)


def _check_range(name: str, digits: str, least: int, most: int) -> None:
    if not (digits.isascii() and digits.isdigit() and least <= int(digits[:11]) <= most):
        raise ValueError(f"its {name} must be {least} to {most}, not {_quoted(digits)}")


def _check_address(address: str) -> None:
    if _MDNS_NAME.fullmatch(address):
        return
    try:
        place = ipaddress.ip_address(address)
    except ValueError:
        text = "its address must be an IP address or an mDNS name"
        raise ValueError(f"{text}, not {_quoted(address)}") from None
    if place.is_multicast or place.is_unspecified or "%" in address:
        raise ValueError(f"its address must be that of one host, not {_quoted(address)}")


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= MOST_QUOTED else text[:MOST_QUOTED] + "...")
