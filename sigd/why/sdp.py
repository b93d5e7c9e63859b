"""SDP descriptions (RFC 8866, RFC 8829), as far as they concern a connection. Accepts any text and never raises."""

import base64
import binascii
import re
from typing import Final

from msgspec import Struct

from sigd.why import flaws
from sigd.why.candidates import LONGEST_CANDIDATE, LONGEST_NAME, Candidate, candidate
from sigd.why.flaws import Flaw

LARGEST_SDP: Final = 256 << 10
"""Maximum characters parsed of an SDP: ten times the largest from browsers."""

MOST_CANDIDATES: Final = 256
"""Maximum number of candidates in one description; beyond it they are all of one kind."""

MOST_SECTIONS: Final = 256
"""Maximum number of media sections parsed; the largest offers of conferences have about 100."""

_MEDIA: Final = {"audio": "audio", "video": "video", "application": "data"}
"""Names of a description's parts; others come from outside and are left out."""

_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_REPAIR: Final = frozenset({"rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "cn"})
"""Formats that carry no media by themselves."""

_STATIC: Final = {"0": "pcmu", "3": "gsm", "8": "pcma", "9": "g722"}
"""Payload types that need no `a=rtpmap` (RFC 3551)."""

_DIGEST_BYTES: Final = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Hash functions of RFC 8122 supported by stacks, with the length of their digests."""

_NAME: Final = re.compile(r"[A-Za-z0-9._+/-]{1,32}\Z")


class Section(Struct):
    """A media section: an `m=` line with its attributes, or the session-level attributes.

    Attributes:
        kind: `audio`, `video`, `data`, or empty for another one.
        port: the port of its `m=` line, as text.
        mid: its `a=mid`, empty if it has none.
        attributes: names of its other `a=` lines.
        codecs: names of its formats, in lower case.
        direction, setup: its `a=sendrecv` and so on, and its `a=setup`; empty if it has none.
        ufrag, password: its ICE credentials; empty if it has none.
        fingerprints: digests by hash function.
    """

    kind: str = ""
    port: str = ""
    mid: str = ""
    attributes: set[str] = set()
    codecs: set[str] = set()
    direction: str = ""
    setup: str = ""
    ufrag: str = ""
    password: str = ""
    fingerprints: dict[str, str] = {}

    @property
    def rejected(self) -> bool:
        """Whether it is rejected: its port is 0, and it is not bundled with another one (RFC 9143, section 6)."""
        return self.port == "0" and "bundle-only" not in self.attributes

    @property
    def name(self) -> str:
        """Its name in a text for people."""
        return self.kind or "other"


class Description(Struct):
    """An SDP offer or answer.

    Attributes:
        origin: the session ID of its `o=` line: one for each RTCPeerConnection.
        version: the version of that line; None if it is no number.
        sections: its media sections, each with the session-level attributes.
        candidates: its candidates.
        ends: whether it signals the end of candidates.
        lacks: missing parts without which no connection is possible.
        bundled: the mids of its first `a=group:BUNDLE`.
        lite: whether it comes from an ICE lite agent.
        stack: the family of stacks that made it; empty if unknown.
        flaw: the reason why some or all stacks refuse it.
    """

    origin: str = ""
    version: int | None = None
    sections: list[Section] = []
    candidates: list[Candidate] = []
    ends: bool = False
    lacks: list[str] = []
    bundled: list[str] = []
    lite: bool = False
    stack: str = ""
    flaw: Flaw | None = None

    @property
    def media(self) -> list[str]:
        """Parts that are not rejected: `audio`, `video`, `data`."""
        return list(dict.fromkeys(each.kind for each in self.sections if each.kind and not each.rejected))

    @property
    def mids(self) -> list[str]:
        """The mids of its sections."""
        return [each.mid for each in self.sections if each.mid]

    @property
    def ufrags(self) -> set[str]:
        """The user fragments of its sections, which identify its ICE generation."""
        return {each.ufrag for each in self.sections if each.ufrag}

    @property
    def fingerprints(self) -> set[str]:
        """The digests of its sections."""
        return {digest.upper() for each in self.sections for digest in each.fingerprints.values()}


def shown(name: str) -> str:
    """Return a name from outside in printable form; `?` if it is invalid or long."""
    return name if _NAME.match(name) else "?"


def description(sdp: str) -> Description:
    """Parse an SDP."""
    sdp = sdp[:LARGEST_SDP]
    found = Description(sections=[], candidates=[], bundled=[], flaw=_flaw(sdp))
    common = Section(attributes=set(), codecs=set(), fingerprints={})
    section = common
    candidates: dict[Candidate, None] = {}  # a bundle repeats them in each part
    formats: dict[str, str] = {}
    names = set[str]()
    for line in re.split("\r?\n", sdp):
        if line.startswith("m="):
            if len(found.sections) == MOST_SECTIONS:
                break
            section, formats = _section(line, common)
            found.sections.append(section)
        elif line.startswith("a=candidate:"):
            one = candidate(line[:LONGEST_CANDIDATE])
            if one is not None and len(candidates) < MOST_CANDIDATES:
                candidates[one] = None
        elif line.startswith("a="):
            name, _, value = line[2:].rstrip().partition(":")
            names.add(name)
            _attribute(found, section, name, value, formats)
        elif line.startswith("o="):
            _origin(found, line)
    found.candidates = list(candidates)
    found.lacks = [name for name in ("ice-ufrag", "ice-pwd", "fingerprint") if name not in names]
    found.stack = _stack(sdp, found, names)
    return found


def _origin(found: Description, line: str) -> None:
    parts = line.split(" ")
    found.origin = " ".join(parts[1:2])[:64]
    version = parts[2] if len(parts) > 2 else ""
    if version.isascii() and version.isdecimal() and len(version) <= 20:
        found.version = int(version)


def _section(line: str, common: Section) -> tuple[Section, dict[str, str]]:
    """Return the section that an `m=` line begins, and the names of its formats that need no `a=rtpmap`."""
    kind, *rest = line[2:].rstrip().split(" ")
    port = rest[0].partition("/")[0] if rest else ""
    section = Section(
        kind=_MEDIA.get(kind, ""),
        port=port,
        attributes=set(),
        codecs={_STATIC[each] for each in rest[2:] if each in _STATIC},
        direction=common.direction,
        setup=common.setup,
        ufrag=common.ufrag,
        password=common.password,
        fingerprints=dict(common.fingerprints),
    )
    return section, dict.fromkeys(rest[2:], "")


def _attribute(found: Description, section: Section, name: str, value: str, formats: dict[str, str]) -> None:
    match name:
        case "mid":
            section.mid = value[:LONGEST_NAME]
        case "setup":
            section.setup = value.lower()[:16]
        case "ice-ufrag":
            section.ufrag = value[:LONGEST_NAME]
        case "ice-pwd":
            section.password = value[:LONGEST_NAME]
        case "fingerprint":
            function, _, digest = value.partition(" ")
            section.fingerprints[function.lower()[:16]] = digest.strip()[:LONGEST_CANDIDATE]
        case "rtpmap":
            kind, _, codec = value.partition(" ")
            codec = codec.partition("/")[0].lower()[:32]
            if kind in formats and codec not in _REPAIR:
                section.codecs.add(codec)
        case "group" if value.startswith("BUNDLE") and not found.bundled:
            found.bundled = value.split()[1 : MOST_SECTIONS + 1]
        case "end-of-candidates":
            found.ends = True
        case "ice-lite":
            found.lite = True
        case _ if name in _DIRECTIONS:
            section.direction = name
        case _:
            section.attributes.add(name[:32])


def unusable_fingerprint(section: Section) -> bool:
    """Return whether a section has only unusable fingerprints: unknown hash functions, or truncated ones."""
    return bool(section.fingerprints) and not any(
        len(digest.split(":")) == _DIGEST_BYTES.get(function) for function, digest in section.fingerprints.items()
    )


# -- the whole text


def _flaw(sdp: str) -> Flaw | None:
    if not sdp.strip():
        return flaws.EMPTY
    if sdp.startswith("\ufeff"):
        return flaws.BOM
    if not sdp.startswith("v=0"):
        return _other_than_sdp(sdp)
    return _line_ends(sdp) if "\n" in sdp else _one_line(sdp)


def _one_line(sdp: str) -> Flaw:
    if "\r" in sdp.rstrip("\r"):
        return flaws.BARE_CR
    if "\\n" in sdp:
        return flaws.ESCAPED
    return flaws.URL_ENCODED if "%0A" in sdp.upper() else flaws.ONE_LINE


def _line_ends(sdp: str) -> Flaw | None:
    if not sdp.endswith("\n"):
        return flaws.NO_END
    if re.search("\n\r?\n.", sdp):
        return flaws.BLANK_LINE
    if re.search("\n\r?\n", sdp):
        return flaws.BLANK_END
    if re.search("\n[ \t]+[a-z]=", sdp):
        return flaws.INDENTED
    return flaws.TRAILING_SPACE if re.search("\no=[^\n]*[ \t]\r?\n", sdp) else None


def _other_than_sdp(sdp: str) -> Flaw:
    text = sdp.lstrip()
    if text.startswith("v=0"):
        return flaws.LEADING_SPACE
    if text[:1] in {"{", '"', "["}:
        return flaws.JSON_SDP
    if text.upper().startswith(("V%3D0", "%7B")):
        return flaws.URL_ENCODED
    return flaws.BASE64 if _is_base64(text) else flaws.NO_SDP


def _is_base64(text: str) -> bool:
    try:
        # The beginning is enough, in whole groups of four: `v=0`, or JSON.
        begin = base64.b64decode(text[:8].encode(), validate=True)
    except (ValueError, binascii.Error):
        return False
    return begin.startswith((b"v=0", b"{"))


def _stack(sdp: str, found: Description, names: set[str]) -> str:
    """Return the family of stacks that made a description, by its distinctive lines; empty if there are none."""
    if "\no=mozilla" in sdp[:64]:
        return "Firefox"
    if "\no=rtc " in sdp[:64]:
        return "libdatachannel"
    if "a=msid-semantic: WMS" in sdp:
        return "libwebrtc"
    if "a=msid-semantic:WMS *" in sdp and "IN IP4 0.0.0.0" in sdp[:128]:
        return "werift" if "extmap-allow-mixed" in names else "aiortc"
    return ""
