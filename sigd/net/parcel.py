"""What one process hands to the next: its shape, and the sealed memfd that it travels in."""

import contextlib
import fcntl
import hashlib
import os
import struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sigd.net.used_cookies import UsedCookiesState
from sigd.relay.admission import StrikesState
from sigd.relay.snapshot import LinkState
from sigd.wire.cookies import CookiesState
from sigd.wire.datagram_state import ChannelState, Count

FORMAT: Final = 2
"""Of the snapshot: another one is refused whole. It rises with every change of what is in it."""

_MAGIC: Final = b"sigd snapshot"

_head: Final = struct.Struct(">13sHQ32s")
"""Magic, format, bytes that follow, and their digest."""

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""Nobody can change it any more, under whose eyes ever it lies about."""


class HandoverError(Exception):
    """What another process has left cannot be taken up; the text says why."""


class OpeningState(Struct, array_like=True):
    """See `opening.Opening`: what has come of a PROXY header, and whether there may be one (still)."""

    header: bytes
    proxied: bool


class StreamState(Struct, array_like=True):
    """See `stream.Stream`.

    Attributes:
        framing: 0: not known yet, 1: prefixed, 2: lines.
        has_spoken: its first line is behind it.
    """

    link: LinkState
    framing: Annotated[int, Meta(ge=0, le=2)]
    rest: bytes
    more: bool
    skipping: Count
    backlog: list[bytes]
    has_spoken: bool
    ended: bool
    shut: bool
    busy: bool
    opening: OpeningState | None


class DatagramLinkState(Struct, array_like=True):
    """See `datagram_link.DatagramLink`: one that is registered, or was."""

    link: LinkState
    channel: ChannelState
    given: Count


class DatagramsState(Struct, array_like=True):
    """See `udp.Datagrams`; `ports` are the keys of the sockets that places of links name by their number."""

    secret: Annotated[bytes, Meta(min_length=32, max_length=32)]
    cookies: CookiesState
    used: UsedCookiesState
    ports: list[tuple[str, int]]
    links: list[DatagramLinkState]


class Snapshot(Struct, array_like=True):
    """All that is handed over beside sockets.

    Attributes:
        now: on the clock of all times in it.
        monotonic: the same moment on the kernel's clock, which all processes share.
        doors: whose sockets come first, by the listener's key.
        streams: whose sockets come next, the oldest first; None: one that has ended.
    """

    now: float
    monotonic: float
    doors: list[tuple[str, int]]
    streams: list[StreamState | None]
    datagrams: DatagramsState
    strikes: StrikesState

    @property
    def sockets(self) -> int:
        """How many there are."""
        return len(self.doors) + len(self.streams)


def seal(snapshot: Snapshot) -> int:
    """The descriptor of a memfd with a snapshot, which nobody can change.

    Raises:
        OSError: there is no memory, or no descriptor, for it.
    """
    body = msgspec.msgpack.encode(snapshot)
    head = _head.pack(_MAGIC, FORMAT, len(body), hashlib.blake2b(body, digest_size=32).digest())
    memfd = os.memfd_create("sigd-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as on_fault:
        on_fault.callback(os.close, memfd)
        os.write(memfd, head)
        view = memoryview(body)
        while view:
            view = view[os.write(memfd, view) :]
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
        on_fault.pop_all()
    return memfd


def unseal(memfd: int) -> Snapshot:
    """The snapshot in a memfd, which stays open.

    Raises:
        HandoverError: there is none that can be trusted.
    """
    try:
        if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise HandoverError("the snapshot is not sealed")
        data = _content(memfd)
    except OSError as fault:
        raise HandoverError(f"the snapshot cannot be read: {os.strerror(fault.errno or 0)}") from fault
    return decode_untrusted(data)


def _content(memfd: int) -> bytes:
    size, parts, start = os.fstat(memfd).st_size, list[bytes](), 0
    while start < size and (part := os.pread(memfd, size - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def decode_untrusted(data: bytes) -> Snapshot:
    """The snapshot that these bytes are.

    Raises:
        HandoverError: they are none, another format's, or damaged.
    """
    if not data.startswith(_MAGIC) or len(data) < _head.size:
        raise HandoverError("this is no snapshot")
    _, number, size, digest = _head.unpack_from(data)
    if number != FORMAT:
        raise HandoverError(f"the snapshot is of format {number}, and only format {FORMAT} is known here")
    body = memoryview(data)[_head.size :]
    if len(body) != size or hashlib.blake2b(body, digest_size=32).digest() != digest:
        raise HandoverError("the snapshot is damaged")
    try:
        return msgspec.msgpack.decode(body, type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise HandoverError(f"the snapshot does not say what one says: {fault}") from fault
