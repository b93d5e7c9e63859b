"""Flaws of texts that stacks refuse to parse: their looks, the refusing stacks, the remedy."""

from typing import Final, NamedTuple

BROWSERS: Final = frozenset({"libwebrtc", "Firefox"})
"""Stacks that follow the W3C specification to the letter."""

EVERY: Final = frozenset({""})
"""All stacks refuse it."""


class Flaw(NamedTuple):
    """A flaw of a description or candidate.

    Attributes:
        name: a word for tests and searches.
        looks: description of the input, as a clause after "but".
        mend: the remedy.
        refused_by: families of stacks that refuse it, named as by `sdp.stack`; `EVERY` stands for all.
    """

    name: str
    looks: str
    mend: str
    refused_by: frozenset[str] = EVERY

    @property
    def by_all(self) -> bool:
        """Whether all stacks refuse it, or nearly all."""
        return self.refused_by == EVERY

    def stops(self, stack: str) -> bool:
        """Return whether a stack refuses it; an unknown one counts as refusing."""
        return self.by_all or not stack or stack in self.refused_by


# -- candidates

_SEND: Final = "send RTCIceCandidate.toJSON(): an object with `candidate`, `sdpMid` and `sdpMLineIndex`"

NO_OBJECT: Final = Flaw("no-object", "the body is not an object with a member `candidate`", _SEND)
SDP_MEMBER: Final = Flaw(
    "sdp-member",
    "the text is in a member `sdp`, the name that iOS has for it",
    "rename the member `sdp` to `candidate` (RTCIceCandidateInit)",
)
NESTED: Final = Flaw(
    "nested",
    "the object is wrapped once more: `candidate` holds an object instead of the text",
    "send the value of event.candidate as `candidate`, not the event or an object around it",
)
NULL: Final = Flaw(
    "null-member",
    "the member `candidate` is null: an end of candidates that is wrapped once more",
    'say the end of candidates as {"type": "candidate", "candidate": null}',
)
FIELDS: Final = Flaw("fields", "the object has the parts of the candidate, but not its text", _SEND)
NOT_TEXT: Final = Flaw("not-text", "the member `candidate` is not a string", _SEND)
NO_MEMBER: Final = Flaw("no-member", "the object has no member `candidate`", _SEND)
JSON_TEXT: Final = Flaw(
    "json-text",
    "the member `candidate` holds JSON as a text",
    "encode it once: put the object itself into the message, not JSON.stringify of it",
)
SEVERAL: Final = Flaw(
    "several-lines", "the member `candidate` holds several lines", "send one message for each candidate"
)
GRAMMAR: Final = Flaw(
    "grammar",
    "the text does not follow RFC 8839: candidate:FOUNDATION COMPONENT PROTOCOL PRIORITY ADDRESS PORT typ TYPE",
    "send the text as the stack made it: was it shortened, or put together by hand?",
)
RTCP: Final = Flaw("rtcp", "they are for RTCP alone (component 2)", "negotiate rtcp-mux, as every browser wants")
NO_SECTION: Final = Flaw(
    "no-section",
    "neither `sdpMid` nor `sdpMLineIndex` says for which media section it is",
    "send `sdpMid` and `sdpMLineIndex` with the text (RTCIceCandidateInit)",
)
NO_PREFIX: Final = Flaw(
    "no-prefix",
    "the text does not begin with `candidate:`",
    "put `candidate:` before the text; browsers refuse it otherwise",
    BROWSERS,
)
UNKNOWN_MID: Final = Flaw(
    "unknown-mid",
    "their `sdpMid` is none of the description's a=mid",
    "send `sdpMid` as the stack gave it, with the candidate of the same connection",
    BROWSERS | {"aiortc", "werift"},
)
HARMLESS: Final = frozenset({RTCP.name, NULL.name})
"""Flaws of candidates that do not matter if others came."""

# -- descriptions

ESCAPED: Final = Flaw(
    "escaped-twice",
    r"its line breaks are escaped twice: the four characters \r\n instead of CR and LF",
    "encode the JSON once: the SDP went through JSON.stringify, or an escape, one time too many",
)
JSON_SDP: Final = Flaw(
    "json-inside",
    "its `sdp` holds JSON as a text instead of the SDP",
    "send the member `sdp` of the description as `sdp`, not JSON.stringify of the whole description",
)
BASE64: Final = Flaw("base64", "its `sdp` is encoded in Base64", "send the SDP itself: JSON carries it as it is")
URL_ENCODED: Final = Flaw(
    "url-encoded", "its line breaks are percent-encoded (%0D%0A)", "send the SDP itself: JSON carries it as it is"
)
ONE_LINE: Final = Flaw(
    "one-line", "it has no line breaks: the whole SDP is on one line", "end each line of the SDP with CR and LF"
)
EMPTY: Final = Flaw("empty", "its `sdp` is empty", "send pc.localDescription.sdp, after setLocalDescription is done")
NO_SDP: Final = Flaw("no-sdp", "its `sdp` does not begin with `v=0`", "send pc.localDescription.sdp as it is")
BOM: Final = Flaw(
    "byte-order-mark",
    "its `sdp` begins with a byte order mark (U+FEFF)",
    "read the file or the pipe that it comes from as UTF-8 with a signature (utf-8-sig)",
    BROWSERS,
)
LEADING_SPACE: Final = Flaw(
    "leading-space", "white space stands before `v=0`", "send the SDP as the stack made it: do not indent it", BROWSERS
)
NO_END: Final = Flaw(
    "no-last-line-end",
    "its last line does not end in CRLF: was it trimmed?",
    "keep the CRLF at the end of the SDP: libwebrtc (Chromium, Safari, Android, iOS) refuses it without",
    frozenset({"libwebrtc"}),
)
BLANK_LINE: Final = Flaw(
    "blank-line",
    "it has a blank line, where browsers stop reading",
    "take the blank line out of the SDP",
    BROWSERS,
)
BLANK_END: Final = Flaw(
    "blank-last-line",
    "a blank line follows its last one",
    "take the blank line out of the SDP: libwebrtc (Chromium, Safari, Android, iOS) refuses it",
    frozenset({"libwebrtc"}),
)
INDENTED: Final = Flaw("indented", "its lines are indented", "send the SDP as the stack made it: do not indent it")
TRAILING_SPACE: Final = Flaw(
    "trailing-space",
    "white space stands at the ends of its lines",
    "send the SDP as the stack made it",
    BROWSERS | {"aiortc"},
)
BARE_CR: Final = Flaw(
    "bare-cr", "its lines end in CR alone", "end each line of the SDP with CR and LF", BROWSERS | {"libdatachannel"}
)

# -- single parts of a description

SHORT_UFRAG: Final = Flaw(
    "short-ufrag",
    "its a=ice-ufrag is shorter than the 4 characters that RFC 8839 requires",
    "take the user fragment from the ICE agent as it is",
    BROWSERS,
)
SHORT_PASSWORD: Final = Flaw(
    "short-pwd",
    "its a=ice-pwd is shorter than the 22 characters that RFC 8839 requires",
    "take the password from the ICE agent as it is",
    BROWSERS,
)
FINGERPRINT: Final = Flaw(
    "fingerprint",
    "its a=fingerprint is cut off, or of a hash function that stacks do not know",
    "give the whole SHA-256 fingerprint of the certificate, 32 bytes in hexadecimal with colons between them",
)
LOWER_FINGERPRINT: Final = Flaw(
    "lower-case-fingerprint",
    "its a=fingerprint is in lower case, and Firefox refuses that (RFC 8122)",
    "write the fingerprint in upper case",
    frozenset({"Firefox"}),
)
NO_SETUP_OFFER: Final = Flaw(
    "no-setup",
    "it has no a=setup, and Firefox and aiortc refuse an offer without",
    "put a=setup:actpass into the offer (RFC 8842, section 5.2)",
    frozenset({"Firefox", "aiortc"}),
)
NO_SETUP_ANSWER: Final = Flaw(
    "no-setup",
    "it has no a=setup, and libdatachannel and aiortc refuse an answer without",
    "put a=setup:active or a=setup:passive into the answer (RFC 8842, section 5.3)",
    frozenset({"libdatachannel", "aiortc"}),
)
HOLDCONN: Final = Flaw(
    "holdconn", "it says a=setup:holdconn, which WebRTC does not have", "say a=setup:actpass in offers"
)
NO_MUX: Final = Flaw(
    "no-rtcp-mux",
    "it has no a=rtcp-mux, and browsers and aiortc take no audio or video without",
    "negotiate rtcp-mux (RFC 8858)",
    BROWSERS | {"aiortc"},
)
NO_SCTP_PORT: Final = Flaw(
    "no-sctp-port",
    "its data channel section has no a=sctp-port, and Firefox takes no answer without",
    "put a=sctp-port:5000 into it (RFC 8841)",
    frozenset({"Firefox"}),
)
BUNDLE_MID: Final = Flaw(
    "bundle-mid",
    "its a=group:BUNDLE names a mid that none of its sections has",
    "list only existing sections in BUNDLE: was one of them cut out?",
    BROWSERS,
)
SAME_MID: Final = Flaw(
    "same-mid", "two of its sections have the same a=mid", "give each section a mid of its own", BROWSERS
)
