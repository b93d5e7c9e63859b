"""ICE candidates as other peers write them."""

import string
from typing import Any

import pytest
from aiortc.sdp import candidate_from_sdp
from hypothesis import given
from hypothesis import strategies as st

from sigd.client.candidates import Candidate, checked, names_an_address, read, without_end, without_faulty

HOST = "1 1 udp 2122260223 192.0.2.7 54321 typ host"
HIDDEN = "1 1 UDP 2122187007 0bd1b6cf-6ad3-4c4a-b2a1-f0ef2a9a2e4a.local 54321 typ host"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (HOST, HOST),
        ("candidate:" + HOST, HOST),
        ("a=candidate:" + HOST, HOST),
        (HOST + " generation 0 ufrag abcd network-id 1 network-cost 50", HOST),
        (HOST + " generation ", HOST),  # an extension may have an empty value
        (HIDDEN, HIDDEN),
        (
            "a/B+9 256 TCP 1 2001:db8::1 9 typ host tcptype active",
            "a/B+9 256 TCP 1 2001:db8::1 9 typ host tcptype active",
        ),
        ("1 1 tcp 1 192.0.2.7 0 typ host tcptype active", "1 1 tcp 1 192.0.2.7 0 typ host tcptype active"),
        (
            "2 1 udp 1686052607 203.0.113.5 61000 typ srflx raddr 192.0.2.7 rport 54321 generation 0",
            "2 1 udp 1686052607 203.0.113.5 61000 typ srflx raddr 192.0.2.7 rport 54321",
        ),
        ("3 1 udp 2147483647 203.0.113.5 65535 typ relay raddr 0.0.0.0 rport 0", None),
    ],
)
def test_what_stacks_write_is_taken(line: str, text: str | None):
    assert checked(line) == (text or line)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", "no candidate"),
        (HOST.replace("typ host", ""), "no candidate"),
        (HOST.replace(" ", "  ", 1), "no candidate"),
        (HOST.replace("54321", "nine"), "no candidate"),
        (HOST.replace("54321", "-1"), "no candidate"),
        (HOST.replace("54321", "123456"), "no candidate"),
        ("f" * 33 + HOST[1:], "no candidate"),
        ("f_f" + HOST[1:], "no candidate"),
        (HOST + " rport", "no candidate"),
        (HOST + "\r\na=candidate:" + HOST, "no candidate"),
        (HOST.replace("54321", "\u0665\u0664"), "no candidate"),
        (HOST.replace("54321", "0"), "port must be 1 to 65535, not '0'"),
        (HOST.replace("54321", "65536"), "port must be 1 to 65535, not '65536'"),
        (HOST.replace("1 udp", "0 udp"), "component must be 1 to 256, not '0'"),
        (HOST.replace("1 udp", "257 udp"), "component must be 1 to 256, not '257'"),
        (HOST.replace("2122260223", "0"), "priority must be 1 to 2147483647, not '0'"),
        (HOST.replace("2122260223", "2147483648"), "priority must be 1 to 2147483647, not '2147483648'"),
        (HOST + " rport x", "rport must be 0 to 65535, not 'x'"),
        (HOST + " rport 65536", "rport must be 0 to 65535"),
        (HOST + " rport ", "rport must be 0 to 65535"),
        (HOST.replace("192.0.2.7", "example.org"), "an IP address or an mDNS name, not 'example.org'"),
        (HOST.replace("192.0.2.7", "a.b.local"), "an IP address or an mDNS name"),
        (HOST.replace("192.0.2.7", "192.0.2.256"), "an IP address or an mDNS name"),
        (HOST.replace("192.0.2.7", "0.0.0.0"), "that of one host, not '0.0.0.0'"),
        (HOST.replace("192.0.2.7", "::"), "that of one host"),
        (HOST.replace("192.0.2.7", "224.0.0.1"), "that of one host"),
        (HOST.replace("192.0.2.7", "fe80::1%eth0"), "that of one host"),
    ],
)
def test_what_is_outside_rfc_8839_is_not(line: str, fault: str):
    with pytest.raises(ValueError, match=fault):
        checked(line)


@pytest.mark.parametrize(
    ("members", "section"),
    [
        ({"sdpMid": "0"}, ("0", None)),
        ({"sdpMLineIndex": 0}, (None, 0)),
        ({"sdpMid": "video", "sdpMLineIndex": 1, "usernameFragment": "x"}, ("video", 1)),
        ({"sdpMid": None, "sdpMLineIndex": 0.0}, (None, 0)),
        ({"sdpMLineIndex": "1"}, (None, 1)),
        ({"sdpMLineIndex": " 1.5 "}, (None, 1)),
        ({"sdpMLineIndex": True}, (None, 1)),
        ({"sdpMid": 0}, ("0", None)),
        ({"sdpMid": 1.0}, ("1", None)),
        ({"sdpMid": True}, ("true", None)),
    ],
)
def test_a_media_section_as_a_browser_converts_it(members: dict[str, Any], section: tuple[str | None, int | None]):
    assert read({"candidate": "candidate:" + HOST, **members}) == Candidate(HOST, *section)


@pytest.mark.parametrize(
    ("init", "fault"),
    [
        ({"sdp": HOST, "sdpMid": "0"}, "no member `candidate`, but 'sdp, sdpMid'"),
        ({"candidate": {"candidate": HOST}}, "`candidate` must be a string, not"),
        ({"candidate": 7}, "`candidate` must be a string, not '7'"),
        ({"candidate": HOST}, "neither `sdpMid` nor `sdpMLineIndex`"),
        ({"candidate": HOST, "sdpMid": []}, "`sdpMid` must be a string, not"),
        ({"candidate": HOST, "sdpMid": 0.5}, "`sdpMid` must be a string, not '0.5'"),
        ({"candidate": HOST, "sdpMLineIndex": "first"}, "`sdpMLineIndex` must be a number"),
        ({"candidate": HOST, "sdpMLineIndex": "nan"}, "`sdpMLineIndex` must be a number"),
        ({"candidate": HOST, "sdpMLineIndex": -1}, "from 0 to 65535, not '-1'"),
        ({"candidate": HOST, "sdpMLineIndex": 10**400}, "from 0 to 65535, not '1000"),
        ({"candidate": HOST, "sdpMLineIndex": {}}, "`sdpMLineIndex` must be a number"),
    ],
)
def test_what_no_stack_can_use_is_told(init: dict[str, Any], fault: str):
    with pytest.raises(ValueError, match=fault):
        read(init)


@pytest.mark.parametrize("init", [{}, {"candidate": ""}, {"candidate": None, "sdpMid": "0"}])
def test_an_empty_candidate_ends_those_of_one_section(init: dict[str, Any]):
    assert read(init) is None


def test_a_fault_quotes_in_ascii_and_not_for_ever():
    with pytest.raises(ValueError, match="no candidate") as told:
        checked("\x1b[2J\u202e" + "x" * 10_000)
    text = str(told.value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 250


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.lists(
    st.sampled_from(
        [*HOST.split(" "), *HIDDEN.split(" "), "tcptype", "active", "rport", "raddr", "", "-1", "99999999999"]
    )
    | st.text(string.printable, max_size=4),
    max_size=16,
)


@given(
    st.fixed_dictionaries(
        {}, optional={"candidate": JSON | PARTS.map(" ".join) | st.just(HOST), "sdpMid": JSON, "sdpMLineIndex": JSON}
    )
)
def test_whatever_comes_aiortc_can_read_what_is_left_of_it(init: dict[str, Any]):
    try:
        found = read(init)
    except ValueError:
        return
    if found is not None:
        candidate = candidate_from_sdp(found.text)
        assert 1 <= candidate.component <= 256
        assert 0 <= candidate.port <= 65_535
        assert candidate.ip == found.address
        assert found.mid is not None or found.line_index is not None


SDP = "v=0\r\na=mid:0\r\n{}a=end-of-candidates\r\n"


def test_a_description_loses_its_faulty_candidates_alone():
    good, bad = f"a=candidate:{HOST}\r\n", f"a=candidate:{HOST.replace('54321', '65536')}\r\n"
    kept, faults = without_faulty(SDP.format(good + bad + good))
    assert kept == SDP.format(good + good)
    assert faults == ["its port must be 1 to 65535, not '65536'"]
    assert without_faulty(SDP.format(good)) == (SDP.format(good), [])


def test_no_candidate_hides_behind_another_line_separator():
    bad = HOST.replace("54321", "65536")
    kept, faults = without_faulty(f"v=0\u2028a=candidate:{bad}\u2028s=-\x0ba=candidate:{bad}\r\n")
    assert kept == "v=0\u2028s=-\x0b"
    assert len(faults) == 2


def test_whether_a_description_names_an_address():
    assert names_an_address(SDP.format(f"a=candidate:{HIDDEN}\r\na=candidate:{HOST}\r\n"))
    assert not names_an_address(SDP.format(f"a=candidate:{HIDDEN}\r\n"))
    assert not names_an_address(SDP.format(""))
    assert not names_an_address("a=candidate:\r\n")


def test_the_end_of_candidates_is_taken_out():
    assert without_end(SDP.format("") + "m=audio 9\na=end-of-candidates\n") == ("v=0\r\na=mid:0\r\nm=audio 9\n", True)
    assert without_end("v=0\r\n") == ("v=0\r\n", False)


def test_a_name_that_hides_an_address_is_known():
    hidden = read({"candidate": HIDDEN, "sdpMid": "0"})
    shown = read({"candidate": HOST, "sdpMid": "0"})
    assert hidden is not None
    assert hidden.is_hidden
    assert shown is not None
    assert not shown.is_hidden
