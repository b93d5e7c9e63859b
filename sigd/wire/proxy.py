r"""The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): whose connection it is that a proxy passes on.

The receiver's side, pure functions. What follows a header may be a TLS ClientHello, which OpenSSL wants to read by
itself. So a receiver looks at what has come (MSG_PEEK), takes `own` bytes of it, and asks `parse` about all that it has
taken. As long as `own` is not 0, either all that has come was taken, or `parse` has an answer: nobody waits in vain. If
`own` falls to 0, what was taken begins a line: a signature begins with P or CR, TLS and a length with neither.

The checksum that a v2 header may carry (PP2_TYPE_CRC32C) is not verified, and the other TLVs are passed over: TCP has a
checksum, and who may send a header is trusted.
"""

import re
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

from sigd.wire.errors import ErrorCode, ProtocolError

LONGEST_V1: Final = 107
"""Bytes of a v1 header with its CRLF: the specification's worst case, UNKNOWN with two full IPv6 addresses."""

LONGEST_V2_BODY: Final = 536
"""Bytes behind the first 16 of a v2 header: the longest addresses take 216, TLVs the rest. The specification wants the
whole in the least segment that every host takes, of 536 bytes: a sender that keeps to it has room to spare here."""

_HEAD_V2: Final = 16

LONGEST: Final = _HEAD_V2 + LONGEST_V2_BODY
"""Bytes of the longest header: no more has to be looked at."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"

SIGNATURES: Final = (_V1, _V2)
"""The beginning of a header, which no other protocol sends."""

# Version 2 in the upper four bits, the command in the lower.
_LOCAL: Final = 0x20
_PROXY: Final = 0x21

_V2_BODY_BYTES: Final = {0x0: 0, 0x1: 2 * 4 + 2 * 2, 0x2: 2 * 16 + 2 * 2, 0x3: 2 * 108}
"""By address family (AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX): bytes of both addresses and, on IP, both ports."""

_TRANSPORTS: Final = (0x0, 0x1, 0x2)  # UNSPEC, STREAM, DGRAM
_TCP4: Final = 0x11
_TCP6: Final = 0x21

_v2_command_kind_length: Final[Callable[[bytes, int], tuple[int, int, int]]] = struct.Struct(">BBH").unpack_from
_v2_tcp4: Final[Callable[[bytes, int], tuple[bytes, int]]] = struct.Struct(">4s4xH").unpack_from
_v2_tcp6: Final[Callable[[bytes, int], tuple[bytes, int]]] = struct.Struct(">16s16xH").unpack_from

# No leading zero: it could be meant as octal.
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_LARGEST_PORT: Final = 65_535


class Header(Struct, frozen=True):
    """The content of a whole header.

    Attributes:
        length: bytes of the header; the rest is the client's own.
        host: the client's IP address in shortest form, `::ffff:a.b.c.d` as such; None: the connection's own address
            holds (a health check of the proxy's, or a client that came to it some other way than TCP).
        port: the client's port; 0 without `host`.
    """

    length: int
    host: str | None = None
    port: int = 0


def may_begin(data: bytes) -> bool:
    """Whether these first bytes, at least one, begin a v1 or v2 header or are the beginning of one's signature."""
    return _V1.startswith(data[: len(_V1)]) or _V2.startswith(data[: len(_V2)])


def own(data: bytes) -> int:
    """How many of these first bytes belong to the header and to nothing behind it; 0: this is no header.

    `data` is all that has come so far, from the first byte. The first bytes of a signature count, until another byte
    shows that it is none; past the end of what is malformed nothing counts.
    """
    if not may_begin(data):
        return 0
    if data.startswith(_V1):
        end = data.find(b"\n", 0, LONGEST_V1)
        return end + 1 if end >= 0 else min(len(data), LONGEST_V1)
    if len(data) < _HEAD_V2:
        return len(data)
    _, _, length = _v2_command_kind_length(data, len(_V2))
    return min(len(data), _HEAD_V2 + length, LONGEST)


def parse(data: bytes) -> Header | None:
    """The header that these bytes begin with; None while it is not whole.

    Raises:
        ProtocolError: `bad-frame`, it is malformed, or it is none.
    """
    if data.startswith(_V1):
        return _parse_v1(data)
    if data.startswith(_V2):
        return _parse_v2(data)
    if may_begin(data):
        return None
    raise _malformed("this is no PROXY header")


def _parse_v1(data: bytes) -> Header | None:
    length = data.find(b"\n", 0, LONGEST_V1) + 1
    if not length:
        if len(data) < LONGEST_V1:
            return None
        raise _malformed(f"the PROXY line must end within {LONGEST_V1} bytes")
    if data[length - 2] != 0x0D:
        raise _malformed("the PROXY line must end with CR LF")
    match data[len(_V1) : length - 2].split(b" "):
        case [b"UNKNOWN", *_]:
            return Header(length)
        case [b"TCP4", source, destination, source_port, destination_port]:
            spelled = _v1_ipv4
        case [b"TCP6", source, destination, source_port, destination_port]:
            spelled = _v1_ipv6
        case _:
            raise _malformed("the PROXY line must be TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    try:
        spelled(destination)
        _v1_port(destination_port)
        return Header(length, spelled(source), _v1_port(source_port))
    except ValueError:  # UnicodeDecodeError is one too
        raise _malformed("the PROXY line has an address or a port that is none") from None


def _v1_ipv4(text: bytes) -> str:
    return str(IPv4Address(text.decode("ascii")))


def _v1_ipv6(text: bytes) -> str:
    address = IPv6Address(text.decode("ascii"))
    if address.scope_id is not None:
        raise ValueError("a scope means something on the proxy's own machine only")
    return _shortest(address)


def _v1_port(text: bytes) -> int:
    if not _PORT.fullmatch(text) or int(text) > _LARGEST_PORT:
        raise ValueError("no port")
    return int(text)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _HEAD_V2:
        return None
    command, kind, body = _v2_command_kind_length(data, len(_V2))
    if command not in (_LOCAL, _PROXY):
        raise _malformed("the PROXY header must be of version 1 or 2, and its command LOCAL or PROXY")
    if body > LONGEST_V2_BODY:
        raise _malformed(f"the PROXY header must have at most {LONGEST_V2_BODY} bytes behind the first {_HEAD_V2}")
    if command == _PROXY:
        _check_v2_kind(kind, body)
    length = _HEAD_V2 + body
    if len(data) < length:
        return None
    if command == _PROXY and kind == _TCP4:
        host, port = _v2_tcp4(data, _HEAD_V2)
        return Header(length, str(IPv4Address(host)), port)
    if command == _PROXY and kind == _TCP6:
        host, port = _v2_tcp6(data, _HEAD_V2)
        return Header(length, _shortest(IPv6Address(host)), port)
    # Valid, and no TCP: the specification has such a connection treated as AF_UNSPEC.
    return Header(length)


def _check_v2_kind(kind: int, body: int) -> None:
    family, transport = kind >> 4, kind & 0x0F
    if family not in _V2_BODY_BYTES or transport not in _TRANSPORTS:
        raise _malformed("the PROXY header has an address family or a transport that version 2 does not know")
    if body < _V2_BODY_BYTES[family]:
        raise _malformed("the PROXY header is too short for the addresses of its family")


def _shortest(address: IPv6Address) -> str:
    # Python spells a mapped address as ::ffff:102:304 before 3.13, and as ::ffff:1.2.3.4 since; the kernel always so.
    mapped = address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"


def _malformed(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_FRAME, text)
