"""Candidates, and the forms in which they are sent."""

import pytest

from sigd.why.candidates import Candidate, candidate
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
