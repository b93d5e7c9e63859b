import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Dialect, dialect_of
from sigd.wire.proxy import LONGEST, LONGEST_V1, LONGEST_V2_BODY, Header, may_begin, own, parse

SIGNATURE_V1 = b"PROXY "
SIGNATURE_V2 = bytes.fromhex("0d0a0d0a000d0a515549540a")

LOCAL, PROXY = 0x20, 0x21
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303")


def v2(command: int, kind: int, body: bytes, length: int | None = None) -> bytes:
    """A v2 header; `length` says another length than that of the body."""
    return SIGNATURE_V2 + struct.pack(">BBH", command, kind, len(body) if length is None else length) + body


def ip(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    """The body of a v2 header for TCP."""
    kind = IPv6Address if ":" in source else IPv4Address
    return kind(source).packed + kind(destination).packed + struct.pack(">HH", source_port, destination_port)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


TCP4 = ip("192.0.2.1", "198.51.100.7", 56324, 7337)
TCP6 = ip("2001:db8::1", "2001:db8::2", 56324, 7337)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/sigd.sock".ljust(108, b"\0")
CRC = tlv(0x03, bytes(4))  # all zeros is not the right checksum
FULL6 = b":".join([b"ffff"] * 8)


def fault(data: bytes) -> ProtocolError | None:
    """Why `parse` refuses these bytes; None: it does not."""
    try:
        parse(data)
    except ProtocolError as found:
        return found
    return None


def refused(data: bytes) -> bool:
    """Whether `parse` refuses these bytes; if so with a code that ends the link, and a text that echoes nothing."""
    found = fault(data)
    if found is not None:
        assert found.code is ErrorCode.BAD_FRAME
        assert found.code.closes
        assert len(found.text) <= 128
        assert found.text.isascii()
        assert found.text.isprintable()
    return found is not None


class TestV1:
    @pytest.mark.parametrize(
        ("line", "host", "port"),
        [
            (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1", 56324),
            (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
            (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0", 0),
            (b"PROXY TCP6 ::1 ::2 1 2\r\n", "::1", 1),
            (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 :: 1 2\r\n", "2001:db8::1", 1),
            (b"PROXY TCP6 2001:db8:0:0:1:0:0:1 :: 1 2\r\n", "2001:db8::1:0:0:1", 1),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "::ffff:192.0.2.1", 1),
            (b"PROXY TCP6 ::FFFF:C000:0201 :: 1 2\r\n", "::ffff:192.0.2.1", 1),
            (b"PROXY TCP6 " + FULL6 + b" " + FULL6 + b" 65535 65535\r\n", FULL6.decode(), 65535),
            (b"PROXY UNKNOWN\r\n", None, 0),
            (b"PROXY UNKNOWN \r\n", None, 0),
            (b"PROXY UNKNOWN " + FULL6 + b" " + FULL6 + b" 65535 65535\r\n", None, 0),
            (b"PROXY UNKNOWN \xff\0 whatever, to be passed over\r\n", None, 0),
        ],
    )
    def test_whole(self, line: bytes, host: str | None, port: int) -> None:
        assert parse(line) == Header(len(line), host, port)
        assert parse(line + CLIENT_HELLO) == Header(len(line), host, port)

    def test_the_longest_is_the_worst_case_of_the_specification(self) -> None:
        line = b"PROXY UNKNOWN " + FULL6 + b" " + FULL6 + b" 65535 65535\r\n"
        assert len(line) == LONGEST_V1 == 107

    @pytest.mark.parametrize(
        "line",
        [
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY unknown\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY  UNKNOWN\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            b"PROXY TCP4\t192.0.2.1\t192.0.2.2\t1\t2\r\n",
            b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 ::ffff:192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        ],
    )
    def test_refuses_another_shape(self, line: bytes) -> None:
        assert refused(line)

    @pytest.mark.parametrize(
        "address",
        [
            *(b"", b"256.0.2.1", b"192.0.2", b"192.0.2.1."),
            *(b"192.0.2.1.1", b"192.0.02.1", b"192.0.2.01", b"0300.0.2.1"),
            *(b"0x7f.0.0.1", b"-1.0.2.1", b"+1.0.2.1", b"192.0.2.1/32", b"2130706433", b"192.0.2.1\r", b"192.0.2.\xb2"),
            *(b"192.0.2.\xd9\xa1", b"localhost", b"192..2.1", b"1_0.0.2.1", b"192.0.2.1%lo", b"192.0.2.0001"),
        ],
    )
    def test_refuses_what_is_no_ipv4_address(self, address: bytes) -> None:
        assert refused(b"PROXY TCP4 " + address + b" 192.0.2.2 1 2\r\n")
        assert refused(b"PROXY TCP4 192.0.2.2 " + address + b" 1 2\r\n")

    @pytest.mark.parametrize(
        "address",
        [
            *(b"", b":", b":::", b"1::2::3", b"1:2:3:4:5:6:7"),
            *(b"1:2:3:4:5:6:7:8:9", b"12345::", b"g::", b"::1 ", b"[::1]"),
            *(b"fe80::1%eth0", b"fe80::1%", b"::1/128", b"::ffff:192.0.2.01"),
            *(b"::ffff:192.0.2.256", b"\xff::", b"0x1::"),
            *(b"1:2:3:4:5:6:7:8::", b"::-1", b"::+1", b"1:2:3:4:5:6:7:192.0.2.1"),
        ],
    )
    def test_refuses_what_is_no_ipv6_address(self, address: bytes) -> None:
        assert refused(b"PROXY TCP6 " + address + b" ::1 1 2\r\n")
        assert refused(b"PROXY TCP6 ::1 " + address + b" 1 2\r\n")

    @pytest.mark.parametrize(
        "port",
        [b"", b"65536", b"99999", b"100000", b"01", b"00", b"-1", b"+1", b"1.0", b"0x1", b"1e3", b"\xb2", b"\xd9\xa1"],
    )
    def test_refuses_what_is_no_port(self, port: bytes) -> None:
        assert refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 " + port + b" 2\r\n")
        assert refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 " + port + b"\r\n")

    @pytest.mark.parametrize("end", [b"\n", b"\n\r", b"\r\r", b"\0\n"])
    def test_crlf_alone_ends_the_line(self, end: bytes) -> None:
        line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2" + end
        assert refused(line.ljust(LONGEST_V1))
        assert refused((b"PROXY UNKNOWN" + end).ljust(LONGEST_V1))

    def test_a_bare_newline_is_refused_at_once(self) -> None:
        assert refused(b"PROXY UNKNOWN\n")
        assert refused(b"PROXY \n")

    def test_too_long(self) -> None:
        fits = b"PROXY UNKNOWN ".ljust(LONGEST_V1 - 2, b"x") + b"\r\n"
        assert parse(fits) == Header(LONGEST_V1)
        too_long = b"PROXY UNKNOWN ".ljust(LONGEST_V1 - 1, b"x") + b"\r\n"
        assert parse(too_long[: LONGEST_V1 - 1]) is None
        assert refused(too_long[:LONGEST_V1])  # it ends in CR, and LF would come too late
        assert refused(too_long)
        assert own(too_long) == LONGEST_V1


class TestV2:
    @pytest.mark.parametrize(
        ("data", "host", "port"),
        [
            (v2(PROXY, 0x11, TCP4), "192.0.2.1", 56324),
            (v2(PROXY, 0x21, TCP6), "2001:db8::1", 56324),
            (v2(PROXY, 0x21, ip("::ffff:192.0.2.1", "::", 65535, 0)), "::ffff:192.0.2.1", 65535),
            (v2(PROXY, 0x21, ip("::", "::", 0, 0)), "::", 0),
            (v2(PROXY, 0x11, TCP4 + CRC + tlv(0x01, b"sigd") + tlv(0x04, bytes(50))), "192.0.2.1", 56324),
            (v2(PROXY, 0x11, TCP4 + b"\xff\xff\xff no TLV"), "192.0.2.1", 56324),
            (v2(PROXY, 0x21, TCP6.ljust(LONGEST_V2_BODY, b"\0")), "2001:db8::1", 56324),
            (v2(LOCAL, 0x00, b""), None, 0),
            (v2(LOCAL, 0x11, TCP4), None, 0),
            (v2(LOCAL, 0xFF, b"x"), None, 0),  # its family is ignored
            (v2(LOCAL, 0x21, b""), None, 0),
            (v2(PROXY, 0x00, b""), None, 0),
            (v2(PROXY, 0x00, TCP4), None, 0),
            (v2(PROXY, 0x31, UNIX), None, 0),
            (v2(PROXY, 0x32, UNIX + CRC), None, 0),
            (v2(PROXY, 0x12, TCP4), None, 0),  # UDP has not come over TCP
            (v2(PROXY, 0x22, TCP6), None, 0),
            (v2(PROXY, 0x10, TCP4), None, 0),
            (v2(PROXY, 0x01, b""), None, 0),
        ],
    )
    def test_whole(self, data: bytes, host: str | None, port: int) -> None:
        assert parse(data) == Header(len(data), host, port)
        assert parse(data + CLIENT_HELLO) == Header(len(data), host, port)

    @pytest.mark.parametrize("first", [command for command in range(256) if command not in (LOCAL, PROXY)])
    def test_refuses_other_versions_and_commands(self, first: int) -> None:
        assert refused(v2(first, 0x11, TCP4))

    @pytest.mark.parametrize("kind", [kind for kind in range(256) if kind >> 4 > 3 or kind & 15 > 2])
    def test_refuses_unknown_families_and_transports(self, kind: int) -> None:
        assert refused(v2(PROXY, kind, bytes(216)))

    @pytest.mark.parametrize(
        ("kind", "least"), [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)]
    )
    def test_refuses_a_length_too_short_for_the_family(self, kind: int, least: int) -> None:
        assert parse(v2(PROXY, kind, bytes(least))) is not None
        for length in (0, 1, least - 1):
            assert refused(v2(PROXY, kind, bytes(least), length))

    @pytest.mark.parametrize("command", [LOCAL, PROXY])
    def test_too_long_is_refused_before_it_comes(self, command: int) -> None:
        assert parse(v2(command, 0x11, b"", LONGEST_V2_BODY)) is None
        for length in (LONGEST_V2_BODY + 1, 0xFFFF):
            assert refused(v2(command, 0x11, b"", length))
            assert own(v2(command, 0x11, bytes(0x10000), length)) == LONGEST

    def test_what_is_malformed_is_refused_with_its_sixteenth_byte(self) -> None:
        for head in (
            v2(0x31, 0x11, b"", 12),
            v2(PROXY, 0x41, b"", 12),
            v2(PROXY, 0x13, b"", 12),
            v2(PROXY, 0x21, b"", 12),
        ):
            assert refused(head)
            assert parse(head[:-1]) is None


WHOLE = [
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    v2(PROXY, 0x11, TCP4 + CRC),
    v2(PROXY, 0x21, TCP6),
    v2(PROXY, 0x31, UNIX),
    v2(LOCAL, 0, b""),
]


class TestFirstBytes:
    @pytest.mark.parametrize("signature", [SIGNATURE_V1, SIGNATURE_V2])
    def test_of_a_signature(self, signature: bytes) -> None:
        for length in range(1, len(signature) + 1):
            begun = signature[:length]
            assert may_begin(begun)
            assert own(begun) == length
            assert parse(begun) is None
            for wrong in range(256):
                other = begun[:-1] + bytes([wrong])
                if wrong != begun[-1] and other not in (SIGNATURE_V1[:length], SIGNATURE_V2[:length]):
                    assert not may_begin(other)
                    assert own(other) == own(other + b"more") == 0
                    assert refused(other)

    @pytest.mark.parametrize(
        "data",
        [
            *(b"PING\n", b"PROXY\r\n", b"PROXY\n", b"PROXYING", b"proxy tcp4"),
            *(b"\r\nping\r\n", b"\n", b"GET / "),
            *(b"\r\n\r\n\0\r\nQUIT\r", b'{"type":"ping"}', b"\0\0\0\x0f", CLIENT_HELLO, b" PROXY UNKNOWN\r\n"),
        ],
    )
    def test_of_something_else(self, data: bytes) -> None:
        assert own(data) == 0
        assert refused(data)
        assert not may_begin(data)

    def test_taken_for_a_signature_by_mistake_begin_a_line(self) -> None:
        """What was taken before `own` fell to 0 is not lost for OpenSSL, as TLS never begins so."""
        assert {dialect_of(first) for first in range(256) if may_begin(bytes([first]))} == {Dialect.LINES}

    @pytest.mark.parametrize("header", WHOLE)
    def test_of_a_header(self, header: bytes) -> None:
        for length in range(1, len(header)):
            assert may_begin(header[:length])
            assert own(header[:length]) == length
            assert parse(header[:length]) is None
        for behind in (b"", b"\n", b"\r\n", CLIENT_HELLO, header):
            assert own(header + behind) == len(header)

    def test_nothing_is_nothing(self) -> None:
        assert own(b"") == 0
        assert parse(b"") is None


Outcome = Header | ErrorCode | None
"""What came of it: a header, why it was refused, or that it is not whole."""

NONE_HERE = Header(0)
"""It was no header."""


def received(pieces: Iterable[bytes]) -> tuple[Outcome, bytes, bytes]:
    """What a receiver makes of these pieces, as the module describes it; what it took, and what is left to the link."""
    taken = waiting = b""
    for piece in pieces:
        waiting += piece
        mine = own(taken + waiting)
        if mine == 0:
            return NONE_HERE, b"", taken + waiting
        more = mine - len(taken)
        assert 0 <= more <= len(waiting), "what was taken cannot be put back"
        taken, waiting = taken + waiting[:more], waiting[more:]
        if why := fault(taken):
            return why.code, taken, waiting
        if header := parse(taken):
            return header, taken, waiting
        assert not waiting, "it would spin"
        assert len(taken) < LONGEST
    return None, taken, waiting


def chunked(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data in pieces, none of them empty."""
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:stop] for start, stop in pairwise(places)]


PORTS = st.integers(0, 65_535)
IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
REST = st.binary(max_size=20) | st.sampled_from([b"", b"\n", b"\r\n", CLIENT_HELLO, b"ping\n", *WHOLE])
CUTS = st.lists(st.integers(1, 130), max_size=12)


@st.composite
def v1_lines(draw: st.DrawFn) -> tuple[bytes, str | None, int]:
    """A v1 header, and whom it names."""
    if draw(st.booleans()):
        rest = draw(st.binary(max_size=80)).replace(b"\n", b"")
        return b"PROXY UNKNOWN " + rest + b"\r\n", None, 0
    family, addresses = draw(st.sampled_from([(b"TCP4", IPV4), (b"TCP6", IPV6)]))
    source, port = draw(addresses), draw(PORTS)
    text = draw(st.sampled_from([str(source), source.exploded, source.exploded.upper()]))
    line = f" {text} {draw(addresses)} {port} {draw(PORTS)}\r\n"
    return b"PROXY " + family + line.encode(), spelled(source), port


@st.composite
def v2_headers(draw: st.DrawFn) -> tuple[bytes, str | None, int]:
    """A v2 header, and whom it names."""
    command = draw(st.sampled_from([LOCAL, PROXY]))
    tlvs = draw(st.binary(max_size=40))
    kind, addresses = draw(st.sampled_from([(0x11, IPV4), (0x21, IPV6), (0, IPV4), (0x31, None)]))
    if addresses is None:
        return v2(command, kind, UNIX + tlvs), None, 0
    source, port = draw(addresses), draw(PORTS)
    body = source.packed + draw(addresses).packed + struct.pack(">HH", port, draw(PORTS))
    named = command == PROXY and kind != 0
    return v2(command, kind, body + tlvs), spelled(source) if named else None, port if named else 0


def spelled(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return f"::ffff:{mapped}" if mapped else address.compressed


HEADERS = v1_lines() | v2_headers()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header of which a few bytes are others, and something behind it."""
    data = bytearray(draw(HEADERS)[0] + draw(REST))
    for place in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[place] = draw(st.sampled_from(b"\r\n \0\x01\x12\x21:.09P\xff"))
    return bytes(data)


ANY = damaged() | st.binary(max_size=140) | st.binary(max_size=120).map(SIGNATURE_V1.__add__)
ANY |= st.binary(max_size=120).map(SIGNATURE_V2.__add__)


class TestAnySplitOfTheBytes:
    @given(header=HEADERS, rest=REST, cuts=CUTS)
    def test_finds_the_header_and_takes_nothing_behind_it(
        self, header: tuple[bytes, str | None, int], rest: bytes, cuts: list[int]
    ) -> None:
        data, host, port = header
        pieces = chunked(data, cuts)
        # What follows comes with the last piece, or by itself later.
        for way in ([*pieces[:-1], pieces[-1] + rest], [*pieces, rest]):
            found, taken, left = received(way)
            assert found == Header(len(data), host, port)
            assert taken == data
            assert data + rest == taken + (left or rest)

    @given(data=ANY, cuts=CUTS)
    @example(data=b"PROXY UNKNOWN\r".ljust(200), cuts=list(range(200)))
    @example(data=v2(PROXY, 0x11, bytes(600), 0xFFFF), cuts=list(range(600)))
    def test_gives_the_same(self, data: bytes, cuts: list[int]) -> None:
        whole = received([data] if data else [])
        outcome, taken, _ = received(chunked(data, cuts))
        assert outcome == whole[0]
        assert data.startswith(taken)


class TestAnyBytes:
    @given(data=ANY)
    def test_a_header_none_or_a_protocol_error(self, data: bytes) -> None:
        if refused(data):
            return
        header = parse(data)
        assert header is None or 15 <= header.length <= min(len(data), LONGEST)
        if header is not None and header.host is None:
            assert header.port == 0

    @given(data=ANY)
    def test_what_is_owned(self, data: bytes) -> None:
        mine = own(data)
        assert 0 <= mine <= min(len(data), LONGEST)
        assert (mine > 0) is (may_begin(data) and data != b"")
        header = None if refused(data) else parse(data)
        if header is not None:
            assert mine == header.length
        elif not refused(data):
            assert mine == len(data), "all of what is not whole"

    @given(data=ANY, length=st.integers(0, 140))
    def test_what_was_owned_stays_so_or_it_was_no_header(self, data: bytes, length: int) -> None:
        before, after = own(data[:length]), own(data)
        assert after >= before or after == 0
