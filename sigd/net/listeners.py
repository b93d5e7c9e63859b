"""Listening sockets from listen URLs: TCP and Unix, bound and ready, or one line that says why not."""

import contextlib
import errno
import os
import socket
import ssl
import stat
from typing import TYPE_CHECKING, Any, Final, cast

from sigd.config import DATAGRAM_SCHEMES, Listen, StartError, is_loopback
from sigd.net.inheriting import ADVICE, in_the_way, take_inherited
from sigd.net.ports import DatagramSocket, open_ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigd.config.endpoints import Endpoint
    from sigd.net.places import Address

BACKLOG: Final = 4_096
"""Connections that wait to be taken in; the kernel's own limit (net.core.somaxconn) is the same since Linux 5.4."""

SEND_BUFFER: Final = 65_536
"""Bytes: a client that does not read costs the kernel little more than the daemon's own outbox."""

KEEPALIVE_IDLE_SECONDS: Final = 30
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3
"""A vanished idle client is found after a minute: before any NAT forgets it, and for lines nothing else would."""

USER_TIMEOUT_MS: Final = 20_000
"""A client that acknowledges nothing for so long is gone: keepalive does not find it while data is on its way."""

_ADVICE: Final = {
    errno.EADDRINUSE: "the address is in use: stop what listens there, or choose another port",
    errno.EACCES: "permission denied: ports below 1024 and others' folders need privileges; choose another",
    errno.EPERM: "permission denied: ports below 1024 and others' folders need privileges; choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one of its own, or a loopback address",
    errno.EAFNOSUPPORT: "this machine does not speak this kind of address (IPv6 may be switched off)",
    errno.ENOENT: "the folder does not exist: create it first",
}


class StreamListener:
    """A listening socket, and the protocols that its clients may speak.

    Attributes:
        sock: bound and listening, non-blocking.
        key: which of the configured listeners it belongs to.
        tls_only: nothing but TLS is spoken.
        context: for clients over TLS; None: TLS is not offered.
    """

    __slots__ = ("context", "key", "sock", "tls_only")

    def __init__(self, sock: socket.socket, key: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
        self.sock = sock
        self.key = key
        self.context = context
        self.tls_only = key[0].startswith("tls:")

    @property
    def is_local(self) -> bool:
        """Only this machine reaches it."""
        return self.sock.family == socket.AF_UNIX or is_loopback(self.sock.getsockname()[0])

    @property
    def url(self) -> str:
        """Where it can be reached, its port as the system picked it."""
        name = self.sock.getsockname()
        if self.sock.family == socket.AF_UNIX:
            return f"unix:{name}"
        host, port = name[:2]
        scheme = "tls" if self.tls_only else "tcp"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


ListeningSocket = StreamListener | DatagramSocket
"""A socket at which clients arrive."""


def open_listeners(
    listen: Listen, loopback_only: str = "", inherited: "dict[Endpoint, socket.socket] | None" = None
) -> list[socket.socket]:
    """The sockets that a listen URL stands for: one, or one for each address that its host name has.

    Args:
        listen: the address to listen on.
        loopback_only: why not on addresses beyond loopback; nothing where they may be.
        inherited: sockets that listen already, by address; those that are meant are taken out of it, and not opened.

    Raises:
        StartError: an address cannot be listened on.
    """
    given = {} if inherited is None else inherited
    try:
        if listen.scheme == "unix":
            ours = given.pop(listen.socket_key, None)
            return [_unix(listen) if ours is None else adopt(ours)]
        if listen.scheme in DATAGRAM_SCHEMES:
            return open_ports(listen.url, listen.host, listen.port, loopback_only, given)
        return _tcp(listen, loopback_only, given)
    except socket.gaierror as fault:
        raise StartError(listen.url, "the name has no address: correct it, or give an address") from fault
    except OSError as fault:
        what = _ADVICE.get(fault.errno or 0) or os.strerror(fault.errno or errno.EINVAL)
        if fault.errno == errno.EADDRINUSE and (own := in_the_way(listen, given)):
            what = f"sigd.socket has {own} already: {ADVICE}"
        raise StartError(listen.url, what) from fault


def adopt(sock: socket.socket) -> socket.socket:
    """An inherited stream socket that listens, set up as our own are; it moves out of `sock`, and its file stays."""
    listener = _Listener(socket.AddressFamily(sock.family), sock.detach())
    try:
        _prepare(listener)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def close_listener(sock: socket.socket) -> None:
    """Close a listener, and take the socket file away that it made."""
    if isinstance(sock, _UnixListener):
        sock.take_file_away()
    sock.close()


class _Listener(socket.socket):
    """Accepts at half of what `socket.accept` costs, which asks each time what kind of socket this is."""

    def __init__(self, family: socket.AddressFamily, descriptor: int | None = None) -> None:
        super().__init__(family, socket.SOCK_STREAM, 0, descriptor)
        self._kind = family

    def accept(self) -> tuple[socket.socket, "Address | str"]:
        """A connection that waits, and where it comes from."""
        undocumented: Any = self
        accept = cast("Callable[[], tuple[int, Address | str]]", undocumented._accept)
        descriptor, address = accept()
        return socket.socket(self._kind, socket.SOCK_STREAM, 0, fileno=descriptor), address


class _UnixListener(_Listener):
    """Knows its socket file again: another daemon may have put its own in the same place meanwhile."""

    _path = ""
    _file = (0, 0)

    def bind_file(self, path: str) -> None:
        self.bind(path)
        self._path = path
        self._file = self._identity()

    def take_file_away(self) -> None:
        with contextlib.suppress(OSError):
            if self.fileno() >= 0 and self._identity() == self._file:
                os.unlink(self._path)

    def _identity(self) -> tuple[int, int]:
        found = os.lstat(self._path)
        return found.st_dev, found.st_ino


def _tcp(listen: Listen, loopback_only: str, inherited: "dict[Endpoint, socket.socket]") -> list[socket.socket]:
    found = socket.getaddrinfo(listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    with contextlib.ExitStack() as on_fault:
        for family, _, _, _, address in dict.fromkeys(found):
            # A name may have other addresses now than when the configuration was judged.
            if loopback_only and not is_loopback(str(address[0])):
                raise StartError(listen.url, f"{address[0]} is beyond loopback: {loopback_only}")
            if ours := take_inherited((False, str(address[0]), listen.port, ""), inherited):
                listeners += [on_fault.enter_context(adopt(each)) for each in ours]
                continue
            sock = on_fault.enter_context(_Listener(family))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _prepare(sock)
            sock.bind(address)
            sock.listen(BACKLOG)
            listeners.append(sock)
        on_fault.pop_all()
    return listeners


def _prepare(sock: socket.socket) -> None:
    # Linux hands all of these down to the connections that a listener accepts.
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _unix(listen: Listen) -> socket.socket:
    _remove_dead(listen.path)
    with contextlib.ExitStack() as on_fault:
        sock = on_fault.enter_context(_UnixListener(socket.AF_UNIX))
        _prepare(sock)
        if listen.mode is None:
            sock.bind_file(listen.path)
        else:
            # Not chmod afterwards: the file must not have more rights than asked for, not even for a moment.
            mask = os.umask(0o777 & ~listen.mode)
            try:
                sock.bind_file(listen.path)
            finally:
                os.umask(mask)
        sock.listen(BACKLOG)
        on_fault.pop_all()
    return sock


def _remove_dead(path: str) -> None:
    """Take away a socket file that nobody listens on any more; leave everything else to `bind` to refuse."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # its backlog is full: somebody lives there
