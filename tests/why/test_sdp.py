"""Facts read from an SDP, with any contents."""

import base64
import json
from urllib.parse import quote

import pytest

from sigd.why import flaws
from sigd.why.sdp import LARGEST_SDP, MOST_CANDIDATES, MOST_SECTIONS, description, shown, unusable_fingerprint
from tests.why.staged import FINGERPRINT, HOST, SRFLX, sdp


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


TEXT = sdp(HOST, ends=True)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (TEXT, None),
        (TEXT.replace("\r\n", "\n"), None),
        (TEXT.replace("\r\n", "\\r\\n"), flaws.ESCAPED),
        (TEXT.replace("\r\n", "\\n"), flaws.ESCAPED),
        (TEXT.replace("\r\n", "%0D%0A"), flaws.URL_ENCODED),
        (TEXT.replace("\r\n", " "), flaws.ONE_LINE),
        (TEXT.replace("\r\n", "\r"), flaws.BARE_CR),
        (TEXT.strip(), flaws.NO_END),
        (TEXT.replace("\r\n", "\n").strip(), flaws.NO_END),
        (f"{TEXT}\r\n", flaws.BLANK_END),
        (TEXT.replace("t=0 0\r\n", "t=0 0\r\n\r\n"), flaws.BLANK_LINE),
        (TEXT.replace("\r\n", "\r\n    "), flaws.NO_END),
        (TEXT.replace("\r\n", "\r\n  ").rstrip(" "), flaws.INDENTED),
        (TEXT.replace("\r\n", " \r\n"), flaws.TRAILING_SPACE),
        (f"\ufeff{TEXT}", flaws.BOM),
        (f"\n{TEXT}", flaws.LEADING_SPACE),
        (json.dumps({"type": "offer", "sdp": TEXT}), flaws.JSON_SDP),
        (json.dumps(TEXT), flaws.JSON_SDP),
        (base64.b64encode(TEXT.encode()).decode(), flaws.BASE64),
        (base64.b64encode(json.dumps({"sdp": TEXT}).encode()).decode(), flaws.BASE64),
        (quote(TEXT), flaws.URL_ENCODED),
        ("", flaws.EMPTY),
        ("\r\n", flaws.EMPTY),
        ("hello", flaws.NO_SDP),
        ("o=- 1 1", flaws.NO_SDP),
        ("[object Object]", flaws.JSON_SDP),
    ],
)
def test_the_form_of_the_text(text, flaw):
    assert description(text).flaw == flaw


def test_what_stands_before_the_sections_holds_for_all_of_them():
    common = (
        "v=0\r\na=setup:passive\r\na=ice-ufrag:abcd\r\na=ice-pwd:p\r\na=recvonly\r\na=fingerprint:SHA-256 aa:bb\r\n"
    )
    found = description(
        f"{common}m=audio 9 X 0\r\na=ice-ufrag:efgh\r\nm=video 9 X 96\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n"
    )
    audio, video = found.sections
    assert (audio.setup, audio.ufrag, audio.direction, audio.codecs) == ("passive", "efgh", "recvonly", {"pcmu"})
    assert (video.setup, video.ufrag, video.direction, video.codecs) == ("passive", "abcd", "sendonly", {"vp8"})
    assert found.ufrags == {"abcd", "efgh"}
    assert found.fingerprints == {"AA:BB"}


def test_formats_that_repair_others_are_none_by_themselves():
    found = description(
        "v=0\r\nm=audio 9 X 96 97 101\r\na=rtpmap:96 red/48000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:55 VP8/1\r\n"
    )
    assert found.sections[0].codecs == set()


@pytest.mark.parametrize(
    ("line", "is_unusable"),
    [
        (f"sha-256 {FINGERPRINT}", False),
        (f"SHA-256 {FINGERPRINT.lower()}", False),
        (f"sha-256 {FINGERPRINT[:53]}", True),
        (f"md5 {FINGERPRINT[:47]}", True),
        (f"sha-1 {FINGERPRINT[:59]}", False),
        ("sha-256", True),
    ],
)
def test_a_fingerprint_that_can_be_compared(line, is_unusable):
    found = description(f"v=0\r\nm=audio 9 X 0\r\na=fingerprint:{line}\r\n")
    assert unusable_fingerprint(found.sections[0]) == is_unusable


def test_only_so_many_sections_are_looked_at():
    assert len(description("v=0\r\n" + "m=audio 9 X 0\r\n" * 1000).sections) == MOST_SECTIONS


@pytest.mark.parametrize(("name", "told"), [("audio_1", "audio_1"), ("\x1b[31m", "?"), ("x" * 40, "?"), ("", "?")])
def test_names_from_outside(name, told):
    assert shown(name) == told


def test_the_version_of_the_origin():
    assert (description("v=0\r\no=- 77 3 IN IP4 0\r\n").origin, description("o=- 77 3 IN").version) == ("77", 3)
    assert description("o=- 77 x IN").version is None
    assert description("o=- 77").version is None
