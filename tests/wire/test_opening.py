"""The first look at a connection: which verdict follows from which bytes."""

import pytest

from sigd.wire.errors import ProtocolError
from sigd.wire.framing import NOT_HTTP, TLS_ALERT
from sigd.wire.opening import FirstLine, Foreign, Opening, Take, Verdict, protocol_of, refusal_of

HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.9 5000 7337\r\n"
HELLO = b"\x16\x03\x01"
FRAME = b"\0\0\0\x02{}"
HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CONNECT = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04cam1"


def opening(*, tls: bool = True, tls_only: bool = False, proxied: bool = False) -> Opening[str]:
    return Opening("a context" if tls else None, tls_only=tls_only, proxied=proxied)


class TestLook:
    @pytest.mark.parametrize(
        ("of", "coming", "verdict"),
        [
            (opening(), HELLO[:1], Verdict.TLS),
            (opening(), FRAME[:1], Verdict.LINK),
            (opening(), b"r", Verdict.LINK),
            (opening(), b"", Verdict.LINK),
            (opening(tls_only=True), b"r", Verdict.TLS),
            (opening(tls=False, proxied=True), HELLO[:1], Verdict.LINK),
            (opening(proxied=True), b"", Verdict.LINK),
            (opening(proxied=True), HELLO, Verdict.TLS),
            (opening(proxied=True), HEADER + HELLO, Take(len(HEADER))),
            (opening(proxied=True), HEADER[:9], Take(9)),
        ],
    )
    def test_verdict(self, of: Opening[str], coming: bytes, verdict: Verdict | Take) -> None:
        assert of.look(coming) == verdict

    def test_a_header_in_pieces(self) -> None:
        of = opening(proxied=True)
        assert of.most > len(HEADER)
        assert of.look(HEADER[:9]) == Take(9)
        assert of.take(HEADER[:9]) is None
        rest = HEADER[9:]
        assert of.look(rest + FRAME) == Take(len(rest))
        header = of.take(rest)
        assert header is not None
        assert (header.host, header.port, of.proxied, of.header) == ("198.51.100.7", 5_000, False, b"")
        assert of.most == 1
        assert of.look(FRAME[:1]) is Verdict.LINK

    @pytest.mark.parametrize(("tls_only", "verdict"), [(False, Verdict.LINK), (True, Verdict.BROKEN)])
    def test_a_line_that_begins_like_a_header(self, *, tls_only: bool, verdict: Verdict) -> None:
        of = opening(tls_only=tls_only, proxied=True)
        assert of.mute is tls_only
        assert of.look(b"PR") == Take(2)
        assert of.take(b"PR") is None
        assert of.look(b"INT\n") is verdict
        assert of.header == b"PR"

    def test_a_malformed_header(self) -> None:
        with pytest.raises(ProtocolError):
            opening(proxied=True).take(b"PROXY TCP4 nonsense\r\n")


class TestProtocol:
    @pytest.mark.parametrize(
        ("data", "verdict"),
        [
            (HEADER, Verdict.PROXY),
            (HELLO, Verdict.TLS),
            (FRAME, Verdict.LINK),
            (b"register alice\n", Verdict.LINK),
            (b"register al", Verdict.WAIT),
            (HTTP, Verdict.HTTP),
            (HTTP[:9], Verdict.WAIT),
            (CONNECT, Verdict.MQTT),
            (b"\x10\x8e\x01\0\x06MQIsdp\x03", Verdict.MQTT),
            (b"\x10\xff\xff\xff\xff\x01\0\x04MQTT\x04", Verdict.WAIT),
            (b"\x10\x10", Verdict.WAIT),
        ],
    )
    def test_verdict(self, data: bytes, verdict: Verdict) -> None:
        assert protocol_of(data) is verdict

    @pytest.mark.parametrize(
        ("verdict", "data", "refusal"),
        [
            (Verdict.TLS, HELLO, (TLS_ALERT, "tls where none is spoken")),
            (Verdict.HTTP, HTTP, (NOT_HTTP, "http")),
            (Verdict.MQTT, CONNECT, (b"\x20\x02\0\x01", "mqtt")),
            (Verdict.MQTT, CONNECT.replace(b"MQTT\x04", b"MQTT\x05"), (b"\x20\x03\0\x84\0", "mqtt")),
        ],
    )
    def test_refusal(self, verdict: Verdict, data: bytes, refusal: tuple[bytes, str]) -> None:
        assert refusal_of(verdict, data) == refusal


class TestFirstLine:
    @pytest.mark.parametrize("cut", range(1, HTTP.index(b"\n") + 1))
    def test_http_in_pieces(self, cut: int) -> None:
        split = FirstLine(1_000)
        assert not split.take(HTTP[:cut], 2)
        with pytest.raises(Foreign) as raised:
            split.take(HTTP[cut:], 2)
        assert raised.value.verdict is Verdict.HTTP
        assert split.rest == HTTP

    def test_only_the_first_counts(self) -> None:
        split = FirstLine(1_000)
        assert not split.take(b"pi", 2)
        assert list(split.take(b"ng\nGET / HTTP/1.1\r\n", 2)) == [b"ping", b"GET / HTTP/1.1"]
        assert not split.pending
