"""Expiry dates of the listeners' certificates, read from the live TLS contexts."""

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
"""Two-digit years from here on belong to the 20th century (RFC 5280, section 4.1.2.5.1)."""

_STEPS: Final = 10
"""Maximum number of turns in a handshake."""


def expiry(context: ssl.SSLContext) -> float | None:
    """Return the expiry of a listener's certificate in Unix time; None if unknown.

    Files may have changed since they were read, but clients see the loaded certificate. So this reads it as they do: by
    a handshake in memory, which takes some 2 ms.
    """
    shown = _shown_by(context)
    if shown is None:
        return None
    try:
        return not_after(shown)
    except (ValueError, IndexError):
        return None


def _shown_by(context: ssl.SSLContext) -> bytes | None:
    """Return the certificate in DER that a server with this context shows."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_mode = ssl.CERT_NONE
    # The client finishes before the server requests its certificate, which it does not have.
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
    """Return the expiry of a certificate in DER, in Unix time (RFC 5280, section 4.1).

    Raises:
        ValueError, IndexError: it is no certificate.
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
        # strptime has another pivot for the century.
        century = 1900 if when.year % 100 >= _PIVOT else 2000
        when = when.replace(year=century + when.year % 100)
    return when.timestamp()


def _content(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """Return the content of the element at this offset, and the offset of the next one."""
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
