"""SDP descriptions (RFC 8866, RFC 8829), as far as they concern a connection. Nothing is raised, whatever comes in."""

import base64
import binascii
import re
from typing import Final

from msgspec import Struct

from sigd.why import flaws
from sigd.why.candidates import LONGEST_CANDIDATE, LONGEST_NAME, Candidate, candidate
from sigd.why.flaws import Flaw

LARGEST_SDP: Final = 256 << 10
"""Characters of an SDP that are looked at: ten times the largest that browsers make."""

MOST_CANDIDATES: Final = 256
"""Of one description: whoever has more has them all of one kind."""

MOST_SECTIONS: Final = 256
"""Media sections that are looked at; the largest offers of conferences have about 100."""

_MEDIA: Final = {"audio": "audio", "video": "video", "application": "data"}
"""Names of a description's parts; others are left out, for their names come from outside."""

_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_REPAIR: Final = frozenset({"rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "cn"})
"""Formats that carry nothing by themselves."""

_STATIC: Final = {"0": "pcmu", "3": "gsm", "8": "pcma", "9": "g722"}
"""Payload types that need no `a=rtpmap` (RFC 3551)."""

_DIGEST_BYTES: Final = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Hash functions of RFC 8122 that stacks know, and the length of their digests."""

_NAME: Final = re.compile(r"[A-Za-z0-9._+/-]{1,32}\Z")


class Section(Struct):
    """A media section: an `m=` line and what follows it, or what holds for all of them.

    Attributes:
        kind: `audio`, `video`, `data`, or empty for another one.
        port: the port of its `m=` line, as text.
        mid: its `a=mid`, empty if it has none.
        attributes: other names that it has an `a=` line of.
        codecs: names of its formats, in lower case.
        direction, setup: its `a=sendrecv` and so on, and its `a=setup`; empty if it has none.
        ufrag, password: for ICE; empty if it has none.
        fingerprints: by hash function, the digest.
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
        """Whether it is turned down: its port is 0, and it does not share another one's (RFC 9143, section 6)."""
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
        sections: its media sections, each with what holds for all of them.
        candidates: those inside.
        ends: whether it says that there are no more.
        lacks: what no connection can do without, and is missing.
        bundled: the mids of its first `a=group:BUNDLE`.
        lite: whether it comes from an ICE lite agent.
        stack: the family of stacks that made it, as far as it shows; empty if not.
        flaw: why stacks, or some of them, do not take it.
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
        """`audio`, `video`, `data`: those parts that are not rejected."""
        return list(dict.fromkeys(each.kind for each in self.sections if each.kind and not each.rejected))

    @property
    def mids(self) -> list[str]:
        """The mids of its sections."""
        return [each.mid for each in self.sections if each.mid]

    @property
    def ufrags(self) -> set[str]:
        """The user fragments of its sections: the name of its ICE generation."""
        return {each.ufrag for each in self.sections if each.ufrag}

    @property
    def fingerprints(self) -> set[str]:
        """The digests of its sections."""
        return {digest.upper() for each in self.sections for digest in each.fingerprints.values()}


def shown(name: str) -> str:
    """Return a name from outside as it may stand in a text; `?` if it is none, or is long."""
    return name if _NAME.match(name) else "?"


def description(sdp: str) -> Description:
    """Return what an SDP says."""
    sdp = sdp[:LARGEST_SDP]
    found = Description(sections=[], candidates=[], bundled=[], flaw=_flaw(sdp))
    common = Section(attributes=set(), codecs=set(), fingerprints={})
    section = common
    candidates: dict[Candidate, None] = {}  # a bundle repeats them for each of its parts
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
    """Return whether a section has fingerprints, and none that a stack can compare: unknown functions, or cut off."""
    return bool(section.fingerprints) and not any(
        len(digest.split(":")) == _DIGEST_BYTES.get(function) for function, digest in section.fingerprints.items()
    )


# -- a text as a whole


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
    """Return the family of stacks that a description comes from, by what only these write; empty if it shows none."""
    if "\no=mozilla" in sdp[:64]:
        return "Firefox"
    if "\no=rtc " in sdp[:64]:
        return "libdatachannel"
    if "a=msid-semantic: WMS" in sdp:
        return "libwebrtc"
    if "a=msid-semantic:WMS *" in sdp and "IN IP4 0.0.0.0" in sdp[:128]:
        return "werift" if "extmap-allow-mixed" in names else "aiortc"
    return ""
