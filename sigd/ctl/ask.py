"""Requests to the daemon over its admin socket, each with a timeout."""

import contextlib
import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from sigd.ctl.command_line import DEFAULT_SOCKET, EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_TIMED_OUT, EndedError
from sigd.ctl.printing import SCHEMA

if TYPE_CHECKING:
    from sigd.admin.questions import Question

Answered = TypeVar("Answered")

PATIENCE: Final = 10.0
"""Timeout in seconds for an ordinary answer: a daemon with 10 000 peers lists them in well under one second."""

LOOK_SECONDS: Final = 1.0
"""Seconds without an answer before systemd is asked whether the daemon runs; it starts within half of that."""

LARGEST_ANSWER: Final = 2**24 - 1
"""Maximum bytes of an answer, the most that its length prefix allows; 10 000 peers take about three million."""

_PREFIX: Final = 4

_PIECE: Final = 65_536

_STATUS_OF: Final = {"not-allowed": EXIT_NO_DAEMON, "no-answer": EXIT_TIMED_OUT}
"""Exit statuses of refusals; all others are `EXIT_REFUSED`. A user without permission has no daemon."""


class Conversation:
    """A sequence of requests to one daemon."""

    def __init__(self, path: str) -> None:
        """Connect.

        Raises:
            EndedError: no daemon answers, or it denies access.
        """
        import socket  # network modules are imported only when needed

        self.path = path
        self._ahead = bytearray()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(PATIENCE)
        try:
            self._sock.connect(path)
        except TimeoutError:
            self._sock.close()
            raise self._too_slow(PATIENCE) from None
        except (OSError, ValueError) as fault:
            self._sock.close()
            raise EndedError(EXIT_NO_DAEMON, why_nobody(path, fault)) from None

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def ask(self, question: "Question", kind: type[Answered], within: float = PATIENCE) -> tuple[Answered, bytes]:
        """Send a request and return the answer, decoded and as received.

        Raises:
            EndedError: the daemon refuses, does not answer in time, or answers with another type.
        """
        frame = msgspec.json.encode(question)
        deadline = time.monotonic() + within
        try:
            self._sock.settimeout(within)
            self._sock.sendall(len(frame).to_bytes(_PREFIX, "big") + frame)
        except TimeoutError:
            raise self._too_slow(within) from None
        except OSError:
            pass  # its last words before it closed give the reason
        answer = self._frame(deadline, within)
        if answer is None:
            raise EndedError(EXIT_NO_DAEMON, f"{self.path}: the daemon hung up without an answer: {_SEE_LOG}")
        return read(answer, kind), answer

    def heard(self) -> bytes | None:
        """Wait for the next frame without a timeout; return None once the daemon has closed the connection."""
        return self._frame(None, 0.0)

    def _frame(self, deadline: float | None, within: float) -> bytes | None:
        """Return the next answer; None if the connection ends first."""
        head = self._exactly(_PREFIX, deadline, within)
        if head is None:
            return None
        length = int.from_bytes(head, "big")
        if not 0 < length <= LARGEST_ANSWER:
            raise EndedError(EXIT_REFUSED, f"{self.path}: what answers there is not sigd")
        return self._exactly(length, deadline, within)

    def _exactly(self, length: int, deadline: float | None, within: float) -> bytes | None:
        while len(self._ahead) < length:
            piece = self._piece(deadline, within)
            if not piece:
                return None
            self._ahead += piece
        taken = bytes(self._ahead[:length])
        del self._ahead[:length]
        return taken

    def _piece(self, deadline: float | None, within: float) -> bytes:
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise self._too_slow(within)
            try:
                self._sock.settimeout(left if left is None else min(left, LOOK_SECONDS))
                return self._sock.recv(_PIECE)
            except TimeoutError:
                self._look_who_answers()
            except ConnectionError:
                return b""

    def _look_who_answers(self) -> None:
        """Check that the service runs or starts: systemd accepts connections on its behalf even while it does not.

        Raises:
            EndedError: the service does not start.
        """
        if self.path == DEFAULT_SOCKET:
            from sigd.ctl.units import units

            found = units()
            if found is not None and found.why_down:
                raise EndedError(EXIT_NO_DAEMON, found.why_down)

    def _too_slow(self, within: float) -> EndedError:
        return EndedError(EXIT_TIMED_OUT, f"{self.path}: no answer within {within:g} s: {_SEE_LOG}")


_SEE_LOG: Final = "see `journalctl -u sigd`"


@contextlib.contextmanager
def conversation(path: str) -> Generator[Conversation]:
    """Open a conversation with the daemon at this admin socket.

    Raises:
        EndedError: no daemon answers, or it denies access.
    """
    talk = Conversation(path)
    try:
        yield talk
    finally:
        talk.close()


def ask(path: str, question: "Question", kind: type[Answered], within: float = PATIENCE) -> tuple[Answered, bytes]:
    """Send one request; return the answer, decoded and as received.

    Raises:
        EndedError: the daemon refuses, cannot be reached, or does not answer in time.
    """
    with conversation(path) as talk:
        return talk.ask(question, kind, within)


def read(frame: bytes, kind: type[Answered]) -> Answered:
    """Decode an answer.

    Raises:
        EndedError: it is a refusal, has another schema, or is of another type.
    """
    head = fields(frame)
    if (schema := head.get("schema")) != SCHEMA:
        what = f"the daemon answers in schema {schema}, and this sigctl knows {SCHEMA}: use the one that came with it"
        raise EndedError(EXIT_REFUSED, what)
    if head.get("type") == "refused":
        status = _STATUS_OF.get(str(head.get("code")), EXIT_REFUSED)
        raise EndedError(status, str(head.get("message")), frame=frame)
    try:
        return msgspec.json.decode(frame, type=kind)
    except (ValueError, RecursionError) as fault:
        raise EndedError(EXIT_REFUSED, f"the daemon's answer is not as it should be: {fault}") from None


def fields(frame: bytes) -> dict[str, Any]:
    """Return all members of an answer, including those unknown to this version of sigctl.

    Raises:
        EndedError: it is no JSON object.
    """
    try:
        return msgspec.json.decode(frame, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise EndedError(EXIT_REFUSED, "what answers on the admin socket is not sigd") from None


def why_nobody(path: str, fault: OSError | ValueError) -> str:
    """Explain why the admin socket is not reachable, and how to fix that."""
    pids = running_daemons()
    if isinstance(fault, PermissionError):
        who = f"pid {pids[0]} runs but {path}" if pids else path
        return f"{who} refuses you: join group sigd (sudo usermod -aG sigd $USER, and log in again)"
    if not isinstance(fault, (FileNotFoundError, ConnectionRefusedError)):
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        return f"{path}: {reason or fault}"
    if pids:
        return (
            f"pid {pids[0]} runs but does not listen on {path}: name its socket by --socket, give it one by"
            " admin.listen in its configuration, or sudo systemctl enable --now sigd-admin.socket"
        )
    return f"sigd is not running (sudo systemctl start sigd ?); nobody listens on {path}"


_MOST_PROCESSES: Final = 65_536
"""Maximum number of processes examined: as many as a 16-bit pid can name."""

_MOST_ARGUMENTS: Final = 4_096
"""Maximum bytes read of a command line: the program's name comes first."""


def running_daemons() -> list[int]:
    """Return the pids of running daemons, as far as this user may see them."""
    with contextlib.suppress(OSError):
        pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
        return [pid for pid in pids[:_MOST_PROCESSES] if _is_daemon(pid)]
    return []


def _is_daemon(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read(_MOST_ARGUMENTS).split(b"\0")
    except OSError:
        return False
    # Started by name, or as a script or module by an interpreter with a flag or two.
    if arguments[0].rpartition(b"/")[2] == b"sigd":
        return True
    if not arguments[0].rpartition(b"/")[2].startswith(b"python"):
        return False
    program = next((word for word in arguments[1:] if not word.startswith(b"-")), b"")
    return program == b"sigd.cli" or program.rpartition(b"/")[2] == b"sigd"
