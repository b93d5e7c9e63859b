"""Candidates, and the forms in which they are sent."""

import msgspec
import pytest

from sigd.why import flaws
from sigd.why.candidates import Candidate, candidate, trickled
from tests.why.staged import HOST, HOST6, MDNS, RELAY, SRFLX, TCP


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (HOST, Candidate("host", "udp", "private", 4, "10.1.2.3:40313")),
        (f"a={HOST}", Candidate("host", "udp", "private", 4, "10.1.2.3:40313")),
        (HOST6, Candidate("host", "udp", "public", 6, "[2a00::9]:40314")),
        (MDNS, Candidate("host", "udp", ".local", 0, "6ff3a8b2-9b1c-4f7a-8a0e-2f5d6f6a1b2c.local:51000")),
        (SRFLX, Candidate("srflx", "udp", "public", 4, "8.8.4.5:51372")),
        (RELAY, Candidate("relay", "udp", "public", 4, "9.9.9.4:49160")),
        (TCP, Candidate("host", "tcp", "private", 4, "10.1.2.3:9")),
        (HOST.replace(" udp ", " UDP "), Candidate("host", "udp", "private", 4, "10.1.2.3:40313")),
        (HOST.replace("typ host", "typ what"), None),
        (HOST.replace(" udp ", " sctp "), None),
        (HOST.replace("1 1 udp", "1 2 udp"), None),
        (HOST.replace("typ host", ""), None),
        ("", None),
    ],
)
def test_candidates(line, found):
    assert candidate(line) == found


INIT = {"candidate": HOST, "sdpMid": "0", "sdpMLineIndex": 0}


def said(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@pytest.mark.parametrize(
    "value",
    [
        INIT,
        {**INIT, "candidate": f"a={HOST}"},
        {**INIT, "sdpMLineIndex": "0"},  # browsers convert
        {**INIT, "sdpMid": 0},
        {"candidate": HOST, "sdpMid": "0"},
        {"candidate": HOST, "sdpMLineIndex": 0},
        {**INIT, "usernameFragment": None, "extra": [1]},
    ],
)
def test_what_every_stack_takes(value):
    found = trickled(said(value))
    assert (found.flaw, found.ends) == (None, False)
    assert found.candidate is not None


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        ({"sdp": HOST, "sdpMid": "0"}, flaws.SDP_MEMBER),
        ({"candidate": INIT}, flaws.NESTED),
        ({"candidate": {}}, flaws.NESTED),
        ({"candidate": None}, flaws.NULL),
        ({"candidate": 5}, flaws.NOT_TEXT),
        ({"candidate": [HOST]}, flaws.NOT_TEXT),
        ({"candidate": msgspec.json.encode(INIT).decode()}, flaws.JSON_TEXT),
        ({"ice": HOST}, flaws.NO_MEMBER),
        ({"ip": "10.1.2.3", "port": 9, "type": "host", "protocol": "udp"}, flaws.FIELDS),
        ({"candidate": f"a={HOST}\r\na={HOST}\r\n", "sdpMid": "0"}, flaws.SEVERAL),
        ({"candidate": HOST + SRFLX, "sdpMid": "0"}, flaws.SEVERAL),
        ({"candidate": "10.1.2.3 40313", "sdpMid": "0"}, flaws.GRAMMAR),
        ({**INIT, "candidate": HOST.replace("40313", "70000")}, flaws.GRAMMAR),
        ({**INIT, "candidate": HOST.replace("2130706431", "high")}, flaws.GRAMMAR),
        ({**INIT, "candidate": HOST.replace("1 1 udp", "1 2 udp")}, flaws.RTCP),
        ([HOST], flaws.NO_OBJECT),
        (HOST, flaws.NO_OBJECT),
        (msgspec.json.encode(INIT).decode(), flaws.JSON_TEXT),
    ],
)
def test_what_no_stack_reads(value, flaw):
    found = trickled(said(value))
    assert (found.flaw, found.candidate, found.ends) == (flaw, None, False)
    assert flaw.by_all
    assert flaw.stops("aiortc")


@pytest.mark.parametrize(
    ("value", "flaw", "stack"),
    [
        ({"candidate": HOST}, flaws.NO_SECTION, "aiortc"),
        ({"candidate": HOST, "sdpMid": None, "sdpMLineIndex": None}, flaws.NO_SECTION, "libwebrtc"),
        ({**INIT, "candidate": HOST.removeprefix("candidate:")}, flaws.NO_PREFIX, "Firefox"),
    ],
)
def test_what_some_stacks_read(value, flaw, stack):
    found = trickled(said(value))
    assert found.flaw == flaw
    assert found.candidate is not None
    assert flaw.stops(stack)
    assert flaw.stops("libdatachannel") == flaw.by_all


@pytest.mark.parametrize(
    ("value", "ufrag"),
    [
        ({**INIT, "usernameFragment": "abcd"}, "abcd"),
        ({**INIT, "candidate": f"{HOST} generation 0 ufrag efgh network-id 1"}, "efgh"),
        ({**INIT, "candidate": f"{HOST} ufrag efgh", "usernameFragment": "abcd"}, "efgh"),
        ({**INIT, "usernameFragment": 5}, None),
        ({**INIT, "usernameFragment": ""}, None),
        (INIT, None),
    ],
)
def test_the_generation_that_it_names(value, ufrag):
    assert trickled(said(value)).ufrag == ufrag


@pytest.mark.parametrize("value", [None, {}, {"sdpMid": "0"}, {"candidate": ""}, {"candidate": "end-of-candidates"}])
def test_the_end_of_them(value):
    found = trickled(said(value))
    assert (found.ends, found.flaw, found.candidate) == (True, None, None)
