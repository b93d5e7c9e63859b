"""Connections in a Unix socket: there they stay open, with nobody serving them, until somebody takes them out.

A bag is one end of a SEQPACKET socketpair; a message sent into the other end waits in the kernel (unix(7), SCM_RIGHTS).
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from sigd.net.parcel import HandoverError

BATCH: Final = 253
"""Descriptors in one message: the kernel takes no more (SCM_MAX_FD)."""

_head: Final = struct.Struct(">8sIH")
"""Of each message: magic, its number in all bags, how many descriptors come with it."""

_descriptor: Final = struct.Struct("i")

_CONTROL_BYTES: Final = socket.CMSG_SPACE(BATCH * _descriptor.size)

_MAGIC: Final = b"sigd bag"

_LIMITS: Final = frozenset({errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error of the system when its store is full: descriptors in flight, at most RLIMIT_NOFILE for each user."""

_UNREAD: Final = 65_536
"""Bytes that are read of a connection before it is closed: unread bytes would make the end a reset."""


def pack(descriptors: Sequence[int]) -> tuple[list[socket.socket], int]:
    """Put descriptors into bags; they stay open here as well.

    Returns:
        The bags, and how many of the descriptors are in them, the first ones: fewer than all, if the system keeps no
        more.

    Raises:
        OSError: one of them is no descriptor.
    """
    packed = 0
    with contextlib.ExitStack() as on_fault, contextlib.ExitStack() as senders:
        bags: list[socket.socket] = []
        sender: socket.socket | None = None
        while packed < len(descriptors):
            batch = descriptors[packed : packed + BATCH]
            fresh = sender is None
            try:
                if sender is None:
                    ours, bag = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    sender = senders.enter_context(ours)
                    sender.setblocking(False)
                    bags.append(on_fault.enter_context(bag))
                socket.send_fds(sender, [_head.pack(_MAGIC, packed // BATCH, len(batch))], batch)
            except BlockingIOError:
                if fresh:
                    break
                sender = None  # it is full: into another one
                continue
            except OSError as fault:
                if fault.errno not in _LIMITS:
                    raise
                break
            packed += len(batch)
        on_fault.pop_all()
    return bags, packed


def unpack(bags: Iterable[socket.socket]) -> list[int]:
    """Take all descriptors out of the bags, in the order in which they were put in; the bags are closed.

    Raises:
        HandoverError: some are missing, or there are others; those that came are closed.
    """
    batches: dict[int, list[int]] = {}
    why_not = ""
    for bag in bags:
        with bag:
            try:
                why_not = _take_out(bag, batches) or why_not
            except OSError as fault:
                why_not = f"a bag cannot be read: {os.strerror(fault.errno or 0)}"
    found = [descriptor for number in sorted(batches) for descriptor in batches[number]]
    if sorted(batches) != list(range(len(batches))) and not why_not:
        why_not = "a bag is missing"
    if why_not:
        turn_away(found)
        raise HandoverError(why_not)
    return found


def _take_out(bag: socket.socket, batches: dict[int, list[int]]) -> str:
    """Read a bag to its end; return its fault, if any. Faulty content is tolerated, but nothing gets lost."""
    why_not = ""
    bag.setblocking(False)
    while True:
        try:
            # Not `socket.recv_fds`, which takes flags and leaves them out: children would inherit all connections.
            data, control, flags, _ = bag.recvmsg(_head.size + 1, _CONTROL_BYTES, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return why_not
        descriptors = [each for _, _, value in control for (each,) in _descriptor.iter_unpack(value)]
        if not data and not descriptors:
            return why_not
        number = -1 - len(batches)
        if flags & socket.MSG_CTRUNC:
            why_not = "there are more connections than this process may have descriptors"
        elif len(data) != _head.size or not data.startswith(_MAGIC):
            why_not = "a bag holds something else"
        else:
            _, said, count = _head.unpack(data)
            if said in batches or count != len(descriptors):
                why_not = "a bag holds more or less than it says"
            else:
                number = said
        batches[number] = descriptors


def turn_away(descriptors: Iterable[int]) -> None:
    """Close connections that nobody serves, so that their clients see an end, not a reset."""
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            continue
        say_end(sock)


def say_end(sock: socket.socket) -> None:
    """Close a connection that nobody serves."""
    with sock, contextlib.suppress(OSError):
        sock.setblocking(False)
        if sock.type == socket.SOCK_STREAM:
            sock.shutdown(socket.SHUT_WR)
            sock.recv(_UNREAD)
