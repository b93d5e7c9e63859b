"""Until when the certificates are good that listeners show: asked of the contexts that clients shake hands with."""

import ssl
from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_FORMS: Final = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
"""RFC 5280, section 4.1.2.5: both in UTC, to the second."""

_PIVOT: Final = 50
"""A year of two digits from here on is one of the 20th century (RFC 5280, section 4.1.2.5.1)."""

_STEPS: Final = 10
"""Turns that two ends of a handshake take at most."""


def expiry(context: ssl.SSLContext) -> float | None:
    """When the certificate that a listener's context shows expires, Unix time; None: it cannot be known.

    Files may have changed since they were read, and what counts is what clients see. So it asks as they do: by a
    handshake in memory, which takes some 2 ms.
    """
    shown = _shown_by(context)
    if shown is None:
        return None
    try:
        return not_after(shown)
    except (ValueError, IndexError):
        return None


def _shown_by(context: ssl.SSLContext) -> bytes | None:
    """The certificate in DER that a server with this context shows."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    # The client is done before the server asks for its certificate, which it has not got.
    asking.minimum_version = ssl.TLSVersion.TLSv1_3
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for turn in range(_STEPS):
        end = server if turn % 2 else client
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return None
        if end is client:
            return client.getpeercert(binary_form=True)
    return None


def not_after(certificate: bytes) -> float:
    """When a certificate in DER expires, Unix time (RFC 5280, section 4.1).

    Raises:
        ValueError, IndexError: it is none.
    """
    certificate_, _ = _content(certificate, 0, _SEQUENCE)
    fields, _ = _content(certificate_, 0, _SEQUENCE)
    at = _behind(fields, 0) if fields[0] == _VERSION else 0
    for _ in ("serialNumber", "signature", "issuer"):
        at = _behind(fields, at)
    validity, _ = _content(fields, at, _SEQUENCE)
    at = _behind(validity, 0)
    kind = validity[at]
    if kind not in _FORMS:
        raise ValueError("no time")
    text, _ = _content(validity, at, kind)
    when = datetime.strptime(text.decode("ascii"), _FORMS[kind]).replace(tzinfo=UTC)
    if kind == _UTC_TIME:
        # What strptime takes for the century has another pivot.
        century = 1900 if when.year % 100 >= _PIVOT else 2000
        when = when.replace(year=century + when.year % 100)
    return when.timestamp()


def _content(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """The content of the element that begins there, and where the next one does."""
    if data[at] != kind:
        raise ValueError("another element than expected")
    size, first = data[at + 1], at + 2
    if size & 0x80:
        more = size & 0x7F
        size, first = int.from_bytes(data[first : first + more], "big"), first + more
    if first + size > len(data):
        raise ValueError("cut short")
    return data[first : first + size], first + size


def _behind(data: bytes, at: int) -> int:
    return _content(data, at, data[at])[1]
