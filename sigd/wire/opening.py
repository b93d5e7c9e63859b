"""The first look at a connection: a PROXY header, TLS, another protocol, or the link's own messages.

No I/O. A caller shows what has come without taking it (MSG_PEEK), since OpenSSL wants to read a ClientHello by itself.
It acts on the verdict. Messages, inside of TLS or behind a PROXY header, are judged by `protocol_of` once they were
read.
"""

import enum
import re
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from sigd.wire import framing, proxy
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.framing import Dialect, Lines

if TYPE_CHECKING:
    from collections.abc import Sequence

Context = TypeVar("Context")

_LF: Final = b"\n"

_MQTT_CONNECT: Final = re.compile(rb"\x10[\x80-\xff]{0,3}[\0-\x7f]\0(?:\x04MQTT|\x06MQIsdp)(.)", re.DOTALL)
"""The fixed header of CONNECT, with its length of up to four bytes, the protocol's name and its level (MQTT 5, 3.1)."""

_MQTT_5: Final = b"\x05"

_MQTT_REFUSALS: Final = (bytes.fromhex("20 02 00 01"), bytes.fromhex("20 03 00 84 00"))
"""CONNACK of MQTT 3, "unacceptable protocol version", and of MQTT 5, "unsupported protocol version"."""


class Verdict(enum.Enum):
    """A decision about a connection; `Take` is another."""

    WAIT = enum.auto()
    """More has to come first."""
    LINK = enum.auto()
    """It is the link's: its messages follow."""
    PROXY = enum.auto()
    """A PROXY header where none may be."""
    TLS = enum.auto()
    HTTP = enum.auto()
    MQTT = enum.auto()
    BROKEN = enum.auto()
    """Only TLS is spoken, and something else was taken already."""


class Take(NamedTuple):
    """The decision to take bytes out of the socket, and to look again.

    Attributes:
        size: their number, at least 1.
    """

    size: int


class Foreign(ProtocolError):
    """Another protocol was found in the bytes that a splitter has taken; its `rest` has them from the first one."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(ErrorCode.BAD_FRAME, "this is another protocol")
        self.verdict = verdict


class Opening(Generic[Context]):
    """The beginning of one connection.

    Attributes:
        context: the means to speak TLS, handed back to the caller; None: none is spoken.
        tls_only: nothing but TLS is spoken.
        proxied: a PROXY header may come, or has come in part.
        header: its bytes so far.
    """

    __slots__ = ("context", "header", "proxied", "tls_only")

    def __init__(self, context: Context | None, *, tls_only: bool, proxied: bool) -> None:
        self.context = context
        self.tls_only = tls_only
        self.proxied = proxied
        self.header = b""

    @property
    def mute(self) -> bool:
        """Whether nothing can be said to the client, which would take it for TLS."""
        return self.tls_only

    @property
    def most(self) -> int:
        """The number of bytes that have to be shown at most."""
        return proxy.LONGEST if self.proxied else 1

    def look(self, coming: bytes) -> Verdict | Take:
        """Judge the bytes that were not taken yet; none stand for the end of file."""
        if self.proxied:
            own = proxy.own(self.header + coming) if coming else 0
            if own:
                return Take(own - len(self.header))
            self.proxied = False
            if self.header:  # the beginning of a line that looks like a header
                return Verdict.BROKEN if self.tls_only else Verdict.LINK
        if self.context is None or not coming:
            return Verdict.LINK
        return Verdict.TLS if self.tls_only or framing.dialect_of(coming[0]) is Dialect.TLS else Verdict.LINK

    def take(self, data: bytes) -> proxy.Header | None:
        """Add bytes that were taken to the header; return it once it is whole.

        Raises:
            ProtocolError: `bad-frame`, it is malformed.
        """
        self.header += data
        header = proxy.parse(self.header)
        if header is not None:
            self.proxied, self.header = False, b""
        return header


class FirstLine(Lines):
    """Lines of which the first has not come whole yet: it may be that of an HTTP request.

    Attributes:
        pending: it has not come.
    """

    __slots__ = ("pending",)

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.pending = True

    def take(self, chunk: bytes, most: int) -> "Sequence[bytes]":
        """Return the next whole lines. See `Lines.take`.

        Raises:
            Foreign: the first line is that of an HTTP request.
        """
        if self.pending and _LF in chunk:
            self.pending = False
            data = bytes(self.rest) + chunk
            if protocol_of(data) is Verdict.HTTP:
                self.rest = data
                raise Foreign(Verdict.HTTP)
        return super().take(chunk, most)


def protocol_of(data: bytes) -> Verdict:
    """Judge the first bytes that were read, at least one: WAIT for a line that is not whole, which may be HTTP's."""
    if data.startswith(proxy.SIGNATURES):
        return Verdict.PROXY
    first = framing.dialect_of(data[0])
    if first is Dialect.TLS:
        return Verdict.TLS
    if first is Dialect.PREFIXED:
        return Verdict.LINK
    if _MQTT_CONNECT.match(data):
        return Verdict.MQTT
    line, end, _ = data.partition(_LF)
    if not end:
        return Verdict.WAIT
    return Verdict.HTTP if framing.is_http_request(line.removesuffix(b"\r")) else Verdict.LINK


def refusal_of(verdict: Verdict, data: bytes) -> tuple[bytes, str]:
    """Return the answer to a client of a protocol that is not spoken here, and the reason why its link ends."""
    match verdict:
        case Verdict.TLS:
            return framing.TLS_ALERT, "tls where none is spoken"
        case Verdict.MQTT:
            found = _MQTT_CONNECT.match(data)
            return _MQTT_REFUSALS[found is not None and found[1] == _MQTT_5], "mqtt"
        case _:
            return framing.NOT_HTTP, "http"
