"""The macs of datagrams: what a register, a datagram on a link, and a renewal end in, and the key of a link.

With an HMAC credential the token never crosses the wire: both ends know it, and what is sent proves it (protocol.md,
section 13.8). All keys and texts are bytes, and nothing stands between the parts but what is said here.
"""

import hmac
from binascii import hexlify
from typing import Final

MAC_LETTERS: Final = 32
"""Small hexadecimal letters of a mac: 16 bytes, the first half of an HMAC-SHA256 (RFC 2104 allows down to half)."""

TAIL_BYTES: Final = 1 + MAC_LETTERS
"""Bytes that sealing adds to a datagram: a space, and the mac."""

REGISTER: Final = b"R"
"""Direction of a register, the key being the token."""
FROM_CLIENT: Final = b"C"
"""Direction from client to server."""
FROM_SERVER: Final = b"S"
"""Direction from server to client, including the `registered` before the link."""
ERROR: Final = b"E"
"""Direction of an error to a register whose mac is right, the key being the token."""

_SPACE: Final = b" "
_MAC_BYTES: Final = MAC_LETTERS // 2


def mac(key: bytes, direction: bytes, text: bytes) -> bytes:
    """The mac of a text that goes in a direction: 32 small hexadecimal letters."""
    return hexlify(hmac.digest(key, direction + text, "sha256")[:_MAC_BYTES])


def sealed(key: bytes, direction: bytes, text: bytes) -> bytes:
    """The text, a space and its mac: 33 bytes longer."""
    return text + b" " + mac(key, direction, text)


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """The text of a datagram and its mac, not verified; both empty where it is too short, or no space is between."""
    if len(datagram) <= TAIL_BYTES or datagram[-TAIL_BYTES:-MAC_LETTERS] != _SPACE:
        return b"", b""
    return datagram[:-TAIL_BYTES], datagram[-MAC_LETTERS:]


def opened(key: bytes, direction: bytes, datagram: bytes) -> bytes:
    """The text of a datagram that ends in its right mac; empty where it does not."""
    text = datagram[:-TAIL_BYTES]
    if datagram[-TAIL_BYTES:-MAC_LETTERS] != _SPACE:
        return b""
    return text if hmac.compare_digest(mac(key, direction, text), datagram[-MAC_LETTERS:]) else b""


def link_key(token: bytes, cid: bytes, register_mac: bytes) -> bytes:
    """The key of a link, 32 bytes: of the token (its base64 text), the cid, and the mac of the accepted register."""
    return hmac.digest(token, b"sigd link 1\n" + cid + b"\n" + register_mac, "sha256")


def renewal_proof(token: bytes, cid: bytes, user: str) -> bytes:
    """Return the proof that a `register` on a link carries instead of its token: 32 lower-case hexadecimal digits."""
    return mac(token, b"N", cid + b"\n" + user.encode())
