"""What one process hands to the next: its shape, and the sealed memfd that it travels in."""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from sigd.net.used_cookies import UsedCookiesState
from sigd.relay.snapshot import LinkState
from sigd.relay.strikes import StrikesState
from sigd.wire.cookies import CookiesState
from sigd.wire.datagram_state import ChannelState, Count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FORMAT: Final = 2
"""Of the snapshot: another one is refused whole. It rises with every change of what is in it."""

CHUNK_BYTES: Final = 262_144
"""Bytes encoded before they are written: some hundred links, or a few with long outboxes."""

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


class DatagramsLeft(Struct, array_like=True):
    """A `DatagramsState` whose links are not decoded yet."""

    secret: Annotated[bytes, Meta(min_length=32, max_length=32)]
    cookies: CookiesState
    used: UsedCookiesState
    ports: list[tuple[str, int]]
    links: list[Raw]


class Left(Struct, array_like=True):
    """A `Snapshot` whose links are not decoded: each state takes twice as much as in the memfd, and is used once."""

    now: float
    monotonic: float
    doors: list[tuple[str, int]]
    streams: list[Raw]
    datagrams: DatagramsLeft
    strikes: StrikesState

    @property
    def sockets(self) -> int:
        """How many there are."""
        return len(self.doors) + len(self.streams)


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


stream_state: Final = msgspec.msgpack.Decoder(StreamState | None).decode
datagram_state: Final = msgspec.msgpack.Decoder(DatagramLinkState).decode


def seal(
    snapshot: Snapshot, streams: "Sequence[Callable[[], object]]", in_datagrams: "Sequence[Callable[[], object]]"
) -> int:
    """The descriptor of a memfd with a snapshot, which nobody can change.

    Links are encoded one after the other: all their states at once would take more memory than the links themselves.

    Args:
        snapshot: without its links.
        streams: what each returns is a `StreamState`, or None.
        in_datagrams: what each returns is a `DatagramLinkState`.

    Raises:
        OSError: there is no memory, or no descriptor, for it.
    """
    memfd = os.memfd_create("sigd-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.ExitStack() as on_fault:
        on_fault.callback(os.close, memfd)
        os.lseek(memfd, _head.size, os.SEEK_SET)
        digest, size, chunk = hashlib.blake2b(digest_size=32), 0, bytearray()
        for piece in _pieces(snapshot, streams, in_datagrams):
            chunk += piece
            if len(chunk) >= CHUNK_BYTES:
                size += _write(memfd, chunk, digest)
        size += _write(memfd, chunk, digest)
        os.pwrite(memfd, _head.pack(_MAGIC, FORMAT, size, digest.digest()), 0)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, _SEALS)
        on_fault.pop_all()
    return memfd


def _pieces(
    snapshot: Snapshot, streams: "Sequence[Callable[[], object]]", in_datagrams: "Sequence[Callable[[], object]]"
) -> "Iterator[bytes]":
    """Encode a snapshot with these links: together the pieces are what msgpack makes of the whole."""
    encode, datagrams = msgspec.msgpack.Encoder().encode, snapshot.datagrams
    yield _array(6) + encode(snapshot.now) + encode(snapshot.monotonic) + encode(snapshot.doors)
    yield _array(len(streams))
    for state_of in streams:
        yield encode(state_of())
    yield _array(5) + b"".join(map(encode, (datagrams.secret, datagrams.cookies, datagrams.used, datagrams.ports)))
    yield _array(len(in_datagrams))
    for state_of in in_datagrams:
        yield encode(state_of())
    yield encode(snapshot.strikes)


def _array(length: int) -> bytes:
    """The head of an array, as msgpack has it for any length."""
    return b"\xdd" + length.to_bytes(4, "big")


def _write(memfd: int, chunk: bytearray, digest: "hashlib.blake2b") -> int:
    """Write a chunk, and empty it; how long it was."""
    digest.update(chunk)
    size = written = len(chunk)
    while written:
        written -= os.write(memfd, memoryview(chunk)[size - written :])
    chunk.clear()
    return size


def unseal(memfd: int) -> Left:
    """The snapshot in a memfd, which stays open.

    Raises:
        HandoverError: there is none that can be trusted.
    """
    try:
        if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            raise HandoverError("the snapshot is not sealed")
        size = os.fstat(memfd).st_size
        # Not read: what is decoded refers to it, and the next process would have it twice.
        data = mmap.mmap(memfd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) if size else b""
    except OSError as fault:
        raise HandoverError(f"the snapshot cannot be read: {os.strerror(fault.errno or 0)}") from fault
    return decode_untrusted(data)


def decode_untrusted(data: "bytes | mmap.mmap") -> Left:
    """The snapshot that these bytes are, all of whose links are sound.

    Raises:
        HandoverError: they are none, another format's, or damaged.
    """
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _head.size:
        raise HandoverError("this is no snapshot")
    _, number, size, digest = _head.unpack_from(data)
    if number != FORMAT:
        raise HandoverError(f"the snapshot is of format {number}, and only format {FORMAT} is known here")
    body = memoryview(data)[_head.size :]
    if len(body) != size or hashlib.blake2b(body, digest_size=32).digest() != digest:
        raise HandoverError("the snapshot is damaged")
    try:
        left = msgspec.msgpack.decode(body, type=Left)
        for each in left.streams:
            stream_state(each)
        for each in left.datagrams.links:
            datagram_state(each)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise HandoverError(f"the snapshot does not say what one says: {fault}") from fault
    return left
