"""The page about WebRTC stacks: the table of pairs is made from the recorded calls, the facts stand here."""

import json
from pathlib import Path

from docs.made.markdown import page, table

CALLS = Path(__file__).parents[2] / "tests/why/calls"

WAYS = {"relay": "TURN", "restart": "restart"}
"""Courses of a call that are not the plain one, by the end of the file's name."""

INTRODUCTION = """\
sigd relays any SDP and any candidate, so the stacks decide whether two peers connect. The tables say which pairs did,
with the versions that were measured in November and December 2026 on one Linux machine."""

RECORDED = """\
Each word in a cell is a recorded call that connected: rows call columns. `data` is a data channel, `media` audio and
video, `TURN` a data channel or media with relayed candidates alone, and `restart` an ICE restart during the call. The
recordings are in [tests/why/calls](../../tests/why/calls), and `sigctl why` must find nothing wrong with any of them. A
missing word means that there is no recording, not that the pair fails."""

FAILURES = """\
These pairs fail with full descriptions, that is, with all candidates inside. Offers with trickled candidates behave the
same, unless the last column says otherwise. Firefox's pairs depend on timing too: the recorded ones connected."""

FAILING = [
    (
        "webrtcbin 1.22.0 (GStreamer, Debian 12)",
        "aiortc 1.16.0",
        "DTLS finds no shared cipher: aiortc offers ECDSA suites alone as a client, webrtcbin has an RSA certificate",
        "`Signaling(..., dtls_server=True)` in the Python adapter",
    ),
    (
        "Firefox 153.8",
        "aiortc 1.16.0",
        "the offer has `.local` names alone and an end-of-candidates mark, so aiortc answers without candidates",
        "trickle; or the Python adapter, which holds the mark back",
    ),
    (
        "Firefox 153.8",
        "werift 0.24.4",
        "the offer has `.local` names alone, and werift has nothing to pair once it knows the end of candidates",
        "an address without mDNS, or a TURN server",
    ),
    (
        "webrtcbin 1.22.0",
        "node-datachannel 0.33.4, native class",
        "trickle only: webrtcbin's candidates have no `sdpMid`, and the native class takes none without",
        "add `sdpMid` from the description, or use the polyfill",
    ),
]

CANDIDATES = [
    ('an empty candidate `""`', "aiortc raises AssertionError; node-datachannel needs an mid beside it"),
    ("`null` as the end", "node-datachannel's native class raises TypeError; all others take it"),
    ("`sdpMLineIndex` without `sdpMid`", "node-datachannel's native class raises TypeError"),
    ("`sdpMid` without `sdpMLineIndex`", "webrtcbin needs the index"),
    ("neither of them", "refused by all but @roamhq/wrtc 0.10.0"),
    ("no `candidate:` in front", "@roamhq/wrtc, Chromium and Firefox refuse it"),
    (
        "before the remote description is set",
        "node-datachannel, @roamhq/wrtc, Chromium and Firefox refuse it; aiortc, werift and webrtcbin keep it",
    ),
    ("a `usernameFragment` of another generation", "werift and Firefox refuse it"),
]

DESCRIPTIONS = [
    ("the last CRLF is missing, or a blank line stands behind it", "Chromium and @roamhq/wrtc refuse the description"),
    ("bare LF as line ends", "taken by all"),
    ("the same offer again", "taken by all; the answer is a second one"),
    ("the same answer again", "refused by all; the established call goes on"),
    (
        "both sides offer at once",
        "aiortc, @roamhq/wrtc and webrtcbin refuse the other offer; the others roll back by themselves",
    ),
    (
        "an ICE restart in a new offer",
        "node-datachannel throws; aiortc and webrtcbin answer with the old user fragment: make a new call instead",
    ),
]

SIZES = [
    ("Chromium 156", "458", "5 186", "27 024"),
    ("Firefox 153", "492", "2 898", "14 440"),
    ("@roamhq/wrtc 0.10.0", "458", "3 635", "18 764"),
    ("aiortc 1.16.0", "792", "2 753", "13 988"),
    ("werift 0.24.4", "443", "1 014", "4 974"),
    ("webrtcbin 1.22.0", "443", "965", "4 836"),
]

NETWORKS = """\
- **No default route.** Chromium without camera permission gathers no candidates, and Firefox does not gather at all:
  neither reports more than that. Add a default route, even one that leads nowhere.
- **An empty list of ICE servers.** werift then asks DNS for a public STUN server, and needs 5 s longer on each side.
  Any entry in `[ice]`, such as `stun_urls = ["stun:127.0.0.1:9"]`, avoids that.
- **Candidates of one side are lost.** The pair still connects if the lost ones are those of the browser. It fails if
  the browser gets none, as its own are `.local` names.

## Late answers

Offers may wait: seven stacks connected after an offer had been held for 120 s. Answers may not. libdatachannel (in
node-datachannel 0.33.4) closes itself 31 s after its answer. Chromium and @roamhq/wrtc sometimes wait for their next
DTLS hello, as long again as half the delay. Make a new offer if an answer has taken more than 30 s."""


def stacks() -> str:
    """Return the page."""
    return page(
        *("# WebRTC stacks", "", INTRODUCTION, "", "## Pairs that connect", "", RECORDED, ""),
        *matrix(),
        *("", "## Pairs that fail", "", FAILURES, ""),
        *table(("caller", "callee", "cause", "remedy"), FAILING),
        *("", "## Candidates", ""),
        *table(("a candidate", "stacks"), CANDIDATES),
        *(
            "",
            "[Section 12 of the protocol](../../protocol.md#12-advice-for-client-authors) has the end of candidates.",
        ),
        *("", "## Descriptions", ""),
        *table(("a description", "stacks"), DESCRIPTIONS),
        *("", "## Sizes of offers", "", "In bytes, before gathering; sigd's default for `max_frame` is 65536, and UDP"),
        *("carries 16000.", ""),
        *table(("stack", "data channel", "audio and video", "five of each, as JSON"), SIZES),
        *("", "## Networks", "", NETWORKS),
    )


def matrix() -> list[str]:
    """Return the lines of the table of recorded calls."""
    found: dict[tuple[str, str], list[str]] = {}
    versions: dict[str, str] = {}
    for path in sorted(CALLS.glob("*.json")):
        call = json.loads(path.read_bytes())
        caller, callee = call["caller"], call["callee"]
        for end in (caller, callee):
            versions[end["stack"]] = end["version"]
        way = WAYS.get(path.stem.rpartition("_")[2], "data" if call["media"] == "dc" else "media")
        ways = found.setdefault((caller["stack"], callee["stack"]), [])
        if way not in ways:
            ways.append(way)
    order = ["data", "media", *WAYS.values()]
    names = sorted(versions)
    rows = [
        (
            f"**{caller}** {versions[caller]}",
            *(", ".join(sorted(found.get((caller, callee), ["-"]), key=[*order, "-"].index)) for callee in names),
        )
        for caller in names
    ]
    return list(table(("caller", *names), rows))
