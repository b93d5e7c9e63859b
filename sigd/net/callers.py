"""Client identity from the transport: by its certificate, or by the kernel."""

import socket
import ssl
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from sigd.net.tls import TLSSocket
from sigd.relay.credentials import Caller

_SO_PEERGROUPS: Final = 59
"""Linux, asm-generic/socket.h: all groups of the process that has connected; SO_PEERCRED has its primary one alone."""

_MOST_BYTES: Final = 1024
"""Maximum of Python's getsockopt: 256 groups. A user in more counts as in the primary one."""

_ucred: Final[Callable[[bytes], tuple[int, int, int]]] = struct.Struct("iII").unpack  # pid, uid, gid: socket(7)


class Process(NamedTuple):
    """The process that has connected to a Unix socket, as the kernel knew it at that moment.

    Attributes:
        pid: its number; it may have ended since, and the number be another's.
        uid: its user.
        groups: all of them.
    """

    pid: int
    uid: int
    groups: frozenset[int]


def caller_of(sock: socket.socket) -> Caller | None:
    """Return the identity of the other end; None: only a password could prove one."""
    if isinstance(sock, TLSSocket):
        return _by_certificate(sock)
    return _by_kernel(sock) if sock.family == socket.AF_UNIX else None


def _by_certificate(sock: TLSSocket) -> Caller | None:
    try:
        certificate = sock.getpeercert()
    except ValueError:
        return None  # the CA has signed a name that is no UTF-8
    if not certificate:
        return None
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind in {"DNS", "URI"}]
    names += [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return Caller([name for name in names if name], float(ssl.cert_time_to_seconds(certificate["notAfter"])))


def _by_kernel(sock: socket.socket) -> Caller:
    process = process_of(sock)
    return Caller(uid=process.uid, groups=process.groups)


def process_of(sock: socket.socket) -> Process:
    """The process at the other end of a Unix socket."""
    pid, user, group = _ucred(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        listed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:
        listed = b""
    groups = struct.unpack(f"{len(listed) // 4}I", listed)
    return Process(pid, user, frozenset((group, *groups)))
