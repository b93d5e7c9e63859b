"""What systemd hands over at the start, and what it is told: sockets and stored descriptors, readiness, watchdog.

Standard library alone: the protocols are sd_listen_fds(3) and sd_notify(3), both plain variables and datagrams.
Without systemd nothing is handed over, and what is said goes nowhere.
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
"""That may be handed over: units have a handful of sockets, the store keeps tens. More is no number of systemd's."""

UNNAMED: Final = "unknown"
"""What sd_listen_fds_with_names(3) calls a descriptor without a name."""

DESCRIPTORS_PER_MESSAGE: Final = 253
"""SCM_MAX_FD of the kernel: one more in a message, and it is refused whole."""

MOST_STATUS: Final = 500
"""Characters of a status: `systemctl status` shows one line."""

_NAME: Final = re.compile(r"[!-9;-~]{1,255}")
"""Of a stored descriptor: ASCII that can be seen, but no colon, which separates names."""

Environment = MutableMapping[str, str]

Kind = Literal["listening", "stream", "datagram", "seqpacket", "file"]


class Inherited(NamedTuple):
    """One descriptor that systemd handed over.

    Attributes:
        name: what its unit (FileDescriptorName=) or who stored it (FDNAME=) calls it; several may share one.
        descriptor: its number; whoever takes it closes it.
        kind: a stream socket that listens, one that is connected (or not yet), one for datagrams or of messages in
            order, or no socket at all.
    """

    name: str
    descriptor: int
    kind: Kind


def inherited(environ: Environment) -> list[Inherited]:
    """What was handed over to this process, in systemd's order; no child of ours gets it, or hears of it.

    Args:
        environ: the environment, which loses LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES.
    """
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if _number(pid) != os.getpid():
        return []  # of whoever started us: these descriptors are not what they say
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
    """How often to call `Notifier.watchdog`: at half of what systemd waits for it; None: it does not wait.

    Args:
        environ: the environment, which loses WATCHDOG_USEC and WATCHDOG_PID.
    """
    microseconds, pid = _number(environ.pop("WATCHDOG_USEC", "")), environ.pop("WATCHDOG_PID", "")
    if microseconds <= 0 or (pid and _number(pid) != os.getpid()):
        return None
    return microseconds / 2_000_000


class Notifier:
    """Tells systemd how we are, if it wants to know. Never waits, but for `barrier`; what fails is only not said.

    All methods return whether systemd's socket has taken the message.
    """

    __slots__ = ("_address", "_sock")

    def __init__(self, environ: Environment) -> None:
        """Say it where NOTIFY_SOCKET says, which the environment loses: no child of ours speaks for us."""
        where = environ.pop("NOTIFY_SOCKET", "")
        # @ stands for the NUL of an abstract address. Other kinds (vsock) are of virtual machines.
        self._address = "\0" + where[1:] if where.startswith("@") else where
        self._sock: socket.socket | None = None
        if self._address.startswith(("/", "\0")):
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return self._sock is not None

    def close(self) -> None:
        """Say nothing any more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def ready(self, status: str = "") -> bool:
        """Connections are taken: at the start, and again after `reloading`."""
        return self._say("READY=1", *_status(status))

    def reloading(self) -> bool:
        """The configuration is read again; `ready` says when that is over, well or not."""
        return self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self, status: str = "") -> bool:
        """No connection is taken any more."""
        return self._say("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """What `systemctl status` shows: one line, cut to `MOST_STATUS` characters."""
        return self._say(*_status(text))

    def watchdog(self) -> bool:
        """Still alive."""
        return self._say("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> bool:
        """Wait so much longer from now on for what is under way: start, or stop."""
        return self._say(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def store(self, name: str, descriptors: Iterable[int]) -> bool:
        """Keep copies of these until the next of us is handed them, under this name; see `barrier`.

        Args:
            name: visible ASCII without a colon, at most 255 characters.
            descriptors: what to keep. systemd (252) compares each with all that it has: tens, never thousands.

        Returns:
            Whether all went out. The store may still be full (FileDescriptorStoreMax=); nobody says so.

        Raises:
            ValueError: a name that systemd would not take.
        """
        lines = ("FDSTORE=1", f"FDNAME={_checked(name)}", "FDPOLL=0")  # FDPOLL: or it drops what the far end hangs up
        kept = list(descriptors)
        batches = range(0, len(kept), DESCRIPTORS_PER_MESSAGE)
        return all(self._say(*lines, descriptors=kept[at : at + DESCRIPTORS_PER_MESSAGE]) for at in batches)

    def remove(self, name: str) -> bool:
        """Keep nothing of this name any more.

        Raises:
            ValueError: a name that systemd would not take.
        """
        return self._say("FDSTOREREMOVE=1", f"FDNAME={_checked(name)}")

    def barrier(self, timeout: float) -> bool:
        """Wait until systemd has acted on all that was said, for so many seconds at most; whether it has.

        Before an exit: systemd does not listen to a process that is gone, not even to what it said before.
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
            poll.register(reading, 0)  # only that the other end is closed, everywhere
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
    # A line break would be the next variable.
    return (f"STATUS={' '.join(text.split())[:MOST_STATUS]}",) if text else ()


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!a} is no name for a stored descriptor")
    return name


def _number(text: str) -> int:
    """The number that it says; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else 0
