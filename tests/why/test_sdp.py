"""What is read of an SDP, whatever is in it."""

from sigd.why.sdp import LARGEST_SDP, MOST_CANDIDATES, description
from tests.why.staged import HOST, SRFLX, sdp


def test_a_description_with_candidates_inside():
    found = description(sdp(HOST, HOST, SRFLX, ends=True, origin=77))
    assert (found.origin, found.media, found.lacks, found.ends) == ("77", ["audio", "data"], [], True)
    assert [one.type for one in found.candidates] == ["host", "srflx"]


def test_a_rejected_part_is_none_and_a_strange_one_is_not_named():
    found = description("m=video 0 UDP/TLS/RTP/SAVPF 96\nm=audio 9 x\nm=\x1b[31mred 9 x\nm=audio 9 x")
    assert found.media == ["audio"]
    assert found.lacks == ["ice-ufrag", "ice-pwd", "fingerprint"]


def test_only_so_much_is_looked_at():
    lines = [HOST.replace("10.1.2.3", f"10.1.{number // 250}.{number % 250}") for number in range(1000)]
    assert len(description(sdp(*lines)).candidates) == MOST_CANDIDATES
    assert not description("x" * LARGEST_SDP + "\na=end-of-candidates").ends
