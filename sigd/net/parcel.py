"""State that one process hands to the next: its shape, and the sealed memfds that carry it.

The first memfd has what is there once. The others are parts, with the states of some links each: the writer frees the
buffers of a link once they are written, and the reader frees a part once its links have them. So whatever waits in
buffers is in memory once, and one part of it twice.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from sigd.net.used_cookies import UsedCookiesState
from sigd.relay.snapshot import LinkState
from sigd.relay.strikes import StrikesState
from sigd.wire.cookies import CookiesState
from sigd.wire.datagram_state import ChannelState, Count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

FORMAT: Final = 3
"""Of the snapshot: another one is refused whole. It rises with every change of its content."""

PART_BYTES: Final = 4 << 20
"""Least size of a part: those of an idle daemon with 10 000 links fit into one."""

PARTS: Final = 24
"""Parts of full buffers: a restart takes a twenty-fourth more memory than they do."""

MOST_PARTS: Final = 48
"""Parts, the last of which takes all the rest: FileDescriptorStoreMax= of the unit is 64, bags included."""

STATE_BYTES: Final = 512
"""Estimated length of a link's state without its buffers: 200 to 400."""

CHUNK_BYTES: Final = 262_144
"""Bytes encoded before they are written: some hundred links, or a few with long outboxes."""

_MAGIC: Final = b"sigd snapshot"

_SERIAL_BYTES: Final = 8

_head: Final = struct.Struct(f">13sHHHQ{_SERIAL_BYTES}s32s")
"""Magic, format, which memfd of how many, bytes that follow, a random serial of all, and the digest of the rest."""

_FORMAT: Final = slice(13, 15)
"""The place of the format, which is the same in every format."""

_ARRAY_BYTES: Final = 5

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""Nobody can change it any more, under whose eyes ever it lies about."""


class HandoverError(Exception):
    """The state of another process is unusable; the text gives the reason."""


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


class Snapshot(Struct, array_like=True):
    """Everything handed over beside sockets and links.

    Attributes:
        now: on the clock of all times in it.
        unix_ahead: seconds that Unix time was ahead of that clock when credentials were judged by it last.
        doors: the listeners whose sockets come first, by key.
        streams: number of links whose sockets come next, the oldest first. Their states come first as well.
        in_datagrams: number of links whose states follow.
        datagrams: the state that links over UDP share.
        strikes: failures and takeovers.
    """

    now: float
    unix_ahead: float
    doors: list[tuple[str, int]]
    streams: Count
    in_datagrams: Count
    datagrams: DatagramsState
    strikes: StrikesState

    @property
    def sockets(self) -> int:
        """How many there are."""
        return len(self.doors) + self.streams

    @property
    def links(self) -> int:
        """How many there are."""
        return self.streams + self.in_datagrams


class Left(NamedTuple):
    """A snapshot and the states of its links, which are not decoded: each takes twice as much as in the memfd.

    Attributes:
        snapshot: all but the links.
        parts: their states, in the order of the links. A part takes memory until nothing refers to it any more.
    """

    snapshot: Snapshot
    parts: list[list[Raw]]


stream_state: Final = msgspec.msgpack.Decoder(StreamState | None).decode
datagram_state: Final = msgspec.msgpack.Decoder(DatagramLinkState).decode


def part_bytes(buffers: int, links: int) -> int:
    """Return the size that parts should have.

    Args:
        buffers: bytes in the buffers of all links together.
        links: number of links.
    """
    return max(PART_BYTES, (buffers + links * STATE_BYTES) // PARTS)


# -- writing


def seal(
    snapshot: Snapshot, states: "Iterable[object]", size: int, take_back: "Callable[[Iterator[Raw]], None]"
) -> list[int]:
    """Return the descriptors of memfds with a snapshot, which nobody can change.

    Args:
        snapshot: without its links.
        states: those of the links, each encoded before the next one is asked for.
        size: of a part, at which the next one begins.
        take_back: is given those that were encoded, if it comes to a fault.

    Raises:
        OSError: there is no memory, or no descriptor, for it.
    """
    with contextlib.ExitStack() as on_fault:
        writer = _Parts(size, on_fault)
        try:
            for state in states:
                writer.add(state)
            memfds = writer.end(msgspec.msgpack.encode(snapshot))
        except OSError:
            take_back(writer.states())
            raise
        on_fault.pop_all()
    return [memfd.descriptor for memfd in memfds]


class _Parts:
    """Parts that are being written."""

    def __init__(self, size: int, on_fault: contextlib.ExitStack) -> None:
        self._size = size
        self._on_fault = on_fault
        self._encode = msgspec.msgpack.Encoder().encode
        self._parts: list[_Memfd] = []
        self._chunk = bytearray()
        self._open = False

    def add(self, state: object) -> None:
        """Write the state of the next link."""
        if not self._open:
            part = _Memfd(self._on_fault)
            part.write(_array(0))
            self._parts.append(part)
            self._open = True
        part = self._parts[-1]
        self._chunk += self._encode(state)
        part.count += 1
        if part.size + len(self._chunk) >= self._size and len(self._parts) < MOST_PARTS:
            self._cut()
        elif len(self._chunk) >= CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        self._parts[-1].write(self._chunk)
        self._chunk.clear()

    def _cut(self) -> None:
        self._write()
        self._parts[-1].put(_array(self._parts[-1].count))
        self._open = False
        give_back_memory()

    def end(self, first: bytes) -> "list[_Memfd]":
        """Write the single state, and seal all."""
        if self._open:
            self._cut()
        head = _Memfd(self._on_fault)
        head.write(first)
        memfds, serial = [head, *self._parts], os.urandom(_SERIAL_BYTES)
        for number, memfd in enumerate(memfds):
            memfd.finish(number, len(memfds), serial)
        return memfds

    def states(self) -> "Iterator[Raw]":
        """Read all states again, one part after the other."""
        for part in self._parts:
            rest = bytes(self._chunk) if self._open and part is self._parts[-1] else b""
            whole = _array(part.count) + part.read()[_ARRAY_BYTES:] + rest
            yield from msgspec.msgpack.decode(whole, type=list[Raw])


class _Memfd:
    """A memfd that is being written.

    Attributes:
        descriptor: its descriptor, closed after a fault.
        size: bytes behind its head.
        count: states in it.
    """

    __slots__ = ("count", "descriptor", "size")

    def __init__(self, on_fault: contextlib.ExitStack) -> None:
        self.descriptor = os.memfd_create("sigd-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        on_fault.callback(os.close, self.descriptor)
        os.lseek(self.descriptor, _head.size, os.SEEK_SET)
        self.size = self.count = 0

    def write(self, data: "bytes | bytearray") -> None:
        """Write at its end."""
        written = 0
        with memoryview(data) as view:
            while written < len(view):
                written += os.write(self.descriptor, view[written:])
        self.size += written

    def put(self, data: bytes) -> None:
        """Put this in the place of its first bytes."""
        os.pwrite(self.descriptor, data, _head.size)

    def read(self) -> bytes:
        """Return the state that was written, whole."""
        return os.pread(self.descriptor, self.size, _head.size)

    def finish(self, number: int, count: int, serial: bytes) -> None:
        """Write its head, and seal it."""
        with mmap.mmap(self.descriptor, 0, prot=mmap.PROT_READ) as data, memoryview(data) as view:
            body = view[_head.size :]
            digest = _digest(number, count, serial, body)
            body.release()
        os.pwrite(self.descriptor, _head.pack(_MAGIC, FORMAT, number, count, self.size, serial, digest), 0)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)


def _array(length: int) -> bytes:
    """The head of an array, as msgpack has it for any length."""
    return b"\xdd" + length.to_bytes(4, "big")


def _digest(number: int, count: int, serial: bytes, body: memoryview) -> bytes:
    whole = hashlib.blake2b(b"%d %d " % (number, count) + serial, digest_size=32)
    whole.update(body)
    return whole.digest()


def give_back_memory() -> None:
    """Give freed memory back to the system, where the C library can.

    By itself glibc keeps it below anything that is still in use. Without this the buffers that were written would count
    twice until the process ends.
    """
    # Not at the top: a daemon needs it once, and a system without it, or that forbids to load it, does without.
    with contextlib.suppress(ImportError, AttributeError, OSError, MemoryError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


# -- reading


def unseal(memfds: "Sequence[int]") -> Left:
    """Return the snapshot in memfds, in any order; they stay open.

    Raises:
        HandoverError: there is none that can be trusted.
    """
    found: list[bytes | mmap.mmap] = []
    try:
        for memfd in memfds:
            if fcntl.fcntl(memfd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
                raise HandoverError("the snapshot is not sealed")
            # Not read: what is decoded refers to it, and the next process would have it twice.
            size = os.fstat(memfd).st_size
            found.append(mmap.mmap(memfd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) if size else b"")
    except OSError as fault:
        raise HandoverError(f"the snapshot cannot be read: {os.strerror(fault.errno or 0)}") from fault
    return decode_untrusted(found)


def decode_untrusted(data: "Sequence[bytes | mmap.mmap]") -> Left:
    """Return the snapshot that these bytes are, all of whose links are sound.

    Raises:
        HandoverError: they are none, another format's, or damaged.
    """
    bodies: dict[int, memoryview] = {}
    whole: set[tuple[int, bytes]] = set()
    for each in data:
        number, count, serial, body = _checked(each)
        bodies[number] = body
        whole.add((count, serial))
    if len(whole) != 1 or len(data) != len(bodies) or sorted(bodies) != list(range(next(iter(whole))[0])):
        raise HandoverError("parts of the snapshot are missing")
    try:
        snapshot = msgspec.msgpack.decode(bodies.pop(0), type=Snapshot)
        parts = [msgspec.msgpack.decode(bodies[number], type=list[Raw]) for number in sorted(bodies)]
        _check_states(snapshot, parts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise HandoverError(f"the snapshot does not say what one says: {fault}") from fault
    return Left(snapshot, parts)


def _checked(data: "bytes | mmap.mmap") -> tuple[int, int, bytes, memoryview]:
    """Return which memfd of how many it is, their serial, and its content."""
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _FORMAT.stop:
        raise HandoverError("this is no snapshot")
    form = int.from_bytes(data[_FORMAT], "big")
    if form != FORMAT:
        raise HandoverError(f"the snapshot is of format {form}, and only format {FORMAT} is known here")
    if len(data) < _head.size:
        raise HandoverError("the snapshot is damaged")
    _, _, number, count, size, serial, digest = _head.unpack_from(data)
    body = memoryview(data)[_head.size :]
    if len(body) != size or _digest(number, count, serial, body) != digest:
        raise HandoverError("the snapshot is damaged")
    return number, count, serial, body


def _check_states(snapshot: Snapshot, parts: list[list[Raw]]) -> None:
    if sum(map(len, parts)) != snapshot.links:
        raise HandoverError("the snapshot has more or fewer links than it says")
    for number, each in enumerate(state for part in parts for state in part):
        if number < snapshot.streams:
            stream_state(each)
        else:
            datagram_state(each)
