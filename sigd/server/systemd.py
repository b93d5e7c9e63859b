"""systemd's protocol: sockets and stored descriptors passed at the start; notifications of readiness and watchdog.

Standard library only: the protocols are sd_listen_fds(3) and sd_notify(3), plain variables and datagrams. Without
systemd there are no sockets, and notifications have no effect.
"""

import array
import contextlib
import os
import re
import select
import socket
import stat
import time
from collections.abc import Iterable, MutableMapping
from typing import Final, Literal, NamedTuple

FIRST_DESCRIPTOR: Final = 3
"""SD_LISTEN_FDS_START: standard input, output and error come before."""

MOST_DESCRIPTORS: Final = 1_024
"""Maximum number of passed descriptors: units have a few sockets, the store keeps tens. A larger number is a
mistake.
"""

UNNAMED: Final = "unknown"
"""Name of an unnamed descriptor in sd_listen_fds_with_names(3)."""

DESCRIPTORS_PER_MESSAGE: Final = 253
"""SCM_MAX_FD of the kernel: a message with more is refused as a whole."""

MOST_STATUS: Final = 500
"""Maximum characters of a status: `systemctl status` shows one line."""

_NAME: Final = re.compile(r"[!-9;-~]{1,255}")
"""Valid name of a stored descriptor: visible ASCII without a colon, which separates names."""

Environment = MutableMapping[str, str]

Kind = Literal["listening", "stream", "datagram", "seqpacket", "file"]


class Inherited(NamedTuple):
    """One descriptor passed by systemd.

    Attributes:
        name: its name from the unit (FileDescriptorName=) or from the store (FDNAME=); several may share one.
        descriptor: its number; its user closes it.
        kind: a listening stream socket, a connected one (or one not yet connected), one for datagrams or of messages
            in order, or no socket at all.
    """

    name: str
    descriptor: int
    kind: Kind


def inherited(environ: Environment) -> list[Inherited]:
    """Return the descriptors passed to this process, in systemd's order; child processes do not inherit them.

    Args:
        environ: the environment, from which LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are removed.
    """
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if _number(pid) != os.getpid():
        return []  # meant for a parent process: these descriptors are others here
    given = _number(count)
    if not 0 < given <= MOST_DESCRIPTORS:
        return []
    called = names.split(":") if names else []
    called += [UNNAMED] * (given - len(called))
    found: list[Inherited] = []
    for descriptor, name in enumerate(called[:given], start=FIRST_DESCRIPTOR):
        with contextlib.suppress(OSError):  # it is not open
            os.set_inheritable(descriptor, False)
            found.append(Inherited(name or UNNAMED, descriptor, _kind(descriptor)))
    return found


def _kind(descriptor: int) -> Kind:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return "file"
    sock = socket.socket(fileno=descriptor)
    try:
        match sock.type:
            case socket.SOCK_DGRAM:
                return "datagram"
            case socket.SOCK_SEQPACKET:
                return "seqpacket"
            case _:
                return "listening" if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else "stream"
    finally:
        sock.detach()


def watchdog_seconds(environ: Environment) -> float | None:
    """Return the interval for calling `Notifier.watchdog`, half of systemd's timeout; None: there is no watchdog.

    Args:
        environ: the environment, from which WATCHDOG_USEC and WATCHDOG_PID are removed.
    """
    microseconds, pid = _number(environ.pop("WATCHDOG_USEC", "")), environ.pop("WATCHDOG_PID", "")
    if microseconds <= 0 or (pid and _number(pid) != os.getpid()):
        return None
    return microseconds / 2_000_000


class Notifier:
    """Notifications to systemd, if it wants them. Only `barrier` blocks; failures are ignored.

    All methods return whether systemd's socket has accepted the message.
    """

    __slots__ = ("_address", "_sock")

    def __init__(self, environ: Environment) -> None:
        """Take the address from NOTIFY_SOCKET and remove the variable: child processes must not notify for us."""
        where = environ.pop("NOTIFY_SOCKET", "")
        # @ stands for the NUL of an abstract address. Other kinds (vsock) belong to virtual machines.
        self._address = "\0" + where[1:] if where.startswith("@") else where
        self._sock: socket.socket | None = None
        if self._address.startswith(("/", "\0")):
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)

    @property
    def wanted(self) -> bool:
        """Whether there is a socket to notify."""
        return self._sock is not None

    def close(self) -> None:
        """Stop notifying."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def ready(self, status: str = "") -> bool:
        """Report that connections are accepted: at the start, and again after `reloading`."""
        return self._say("READY=1", *_status(status))

    def reloading(self) -> bool:
        """Report a reload; `ready` reports its end, whether or not it succeeded."""
        return self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, status: str = "") -> bool:
        """Report that no new connections are accepted."""
        return self._say("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the status line of `systemctl status`, cut to `MOST_STATUS` characters."""
        return self._say(*_status(text))

    def watchdog(self) -> bool:
        """Notify the watchdog."""
        return self._say("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Extend the timeout of the current start or stop by this time from now."""
        return self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def store(self, name: str, descriptors: Iterable[int]) -> bool:
        """Store copies of descriptors under a name for the next process; see `barrier`.

        Args:
            name: visible ASCII without a colon, at most 255 characters.
            descriptors: the descriptors. systemd (252) compares each with all that it has: tens, never thousands.

        Returns:
            Whether all were sent. The store may still be full (FileDescriptorStoreMax=), without any report of that.

        Raises:
            ValueError: systemd would refuse the name.
        """
        lines = (
            "FDSTORE=1",
            f"FDNAME={_checked(name)}",
            "FDPOLL=0",
        )  # FDPOLL: otherwise systemd drops connections closed by the far end
        kept = list(descriptors)
        batches = range(0, len(kept), DESCRIPTORS_PER_MESSAGE)
        return all(self._say(*lines, descriptors=kept[at : at + DESCRIPTORS_PER_MESSAGE]) for at in batches)

    def remove(self, name: str) -> bool:
        """Remove all descriptors of this name from the store.

        Raises:
            ValueError: systemd would refuse the name.
        """
        return self._say("FDSTOREREMOVE=1", f"FDNAME={_checked(name)}")

    def barrier(self, timeout: float) -> bool:
        """Wait until systemd has processed all notifications, at most this long; return whether it has.

        Needed before an exit: systemd ignores a process that is gone, and even its earlier notifications.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            said = self._say("BARRIER=1", descriptors=[writing])
        finally:
            os.close(writing)
        try:
            if not said:
                return False
            poll = select.poll()
            poll.register(reading, 0)  # only wait for the other end to close in all processes
            return bool(poll.poll(timeout * 1_000))
        finally:
            os.close(reading)

    def _say(self, *lines: str, descriptors: Iterable[int] = ()) -> bool:
        if self._sock is None:
            return False
        enclosed = array.array("i", descriptors)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, enclosed)] if enclosed else []
        try:
            self._sock.sendmsg(["\n".join(lines).encode(errors="replace")], control, 0, self._address)
        except OSError:
            return False
        return True


def _status(text: str) -> tuple[str, ...]:
    # A line break would begin another variable.
    return (f"STATUS={' '.join(text.split())[:MOST_STATUS]}",) if text else ()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!a} is not a valid name for a stored descriptor")
    return name


def _number(text: str) -> int:
    """Parse a decimal number; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0
