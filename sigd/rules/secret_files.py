"""Readers of files named by the configuration: secrets, keys, users. Each fault names its remedy.

Neither messages nor exceptions contain any content of a file. No trio, and no knowledge of the secrets' meaning.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable

from sigd.config import StartError
from sigd.config.auth import LARGEST_ID, OVERFLOW_ID, OVERFLOW_NAMES
from sigd.text import shown

# A certificate chain has some 10 KiB: a larger file is not a secret.
LARGEST_FILE = 65_536
# Sixteen characters of base64 are 96 random bits, impossible to guess over a network. Shorter ones are made up by hand.
LEAST_SECRET = 16
# Linux's PATH_MAX.
LONGEST_PATH = 4096
# Nothing for others, not even x.
_OTHERS = 0o007

_GOOD_SECRET = "openssl rand -base64 32"
_VISIBLE = re.compile(rb"[\x21-\x7e]*")

_FILE_FAULTS = {
    errno.ENOENT: "no such file: create it, or correct the path",
    errno.EACCES: "permission denied: make it readable to the user of sigd, for example with chgrp sigd and chmod 0640",
    errno.ELOOP: "its symbolic links lead in a circle: correct the path",
    errno.ENOTDIR: "a part of its path is not a folder: correct the path",
    # open's error for a socket.
    errno.ENXIO: "not a regular file: name the file that holds it",
}


def locate(name: str) -> str:
    """Return the path for a key's value: itself, or that of a credential passed by systemd.

    Raises:
        StartError: it is a credential, and there are none.
    """
    if name.startswith("/"):
        return name
    if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
        return os.path.join(folder, name)
    raise _refused(
        name,
        "a plain name means a systemd credential, and systemd has passed none ($CREDENTIALS_DIRECTORY is not set):"
        f" use an absolute path, or add LoadCredential={name}:/PATH to the unit",
    )


def read_secrets(name: str, least: int = LEAST_SECRET) -> tuple[bytes, ...]:
    """Return the secrets in a file, one per line; several are for rotation, and the first one signs.

    Raises:
        StartError: it is unreadable, others may read it, or a line is no secret of `least` characters.
    """
    path = locate(name)
    content = _content(path, private=True)
    # The last line may lack its LF, as after `printf %s`.
    lines = content.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        if fault := _secret_fault(line, least, path):
            raise _refused(path, f"line {number} {fault}")
    return tuple(lines)


def _secret_fault(line: bytes, least: int, path: str) -> str:
    """Explain why a line is no valid secret, without revealing any of it."""
    if line.endswith(b"\r"):
        return "ends in CR LF: save the file with LF line ends"
    if not line.strip():
        return "is blank: remove it (an empty secret would admit everybody)"
    if not _VISIBLE.fullmatch(line):
        return (
            "contains a space, a control character or a non-ASCII character:"
            f" write one secret per line, as made by `{_GOOD_SECRET}`"
        )
    if len(line) < least:
        return f"is shorter than {least} characters and could be guessed: {_GOOD_SECRET} > {_quoted(path)}"
    return ""


def read_private(name: str) -> bytes:
    """Return the content of a file that others may not read: a private key.

    Raises:
        StartError: it is unreadable, empty, or others may read it.
    """
    return _content(locate(name), private=True)


def read_public(name: str) -> bytes:
    """Return the content of a public file: a certificate, a public key.

    Raises:
        StartError: it is unreadable or empty.
    """
    return _content(locate(name), private=False)


def _content(path: str, *, private: bool) -> bytes:
    try:
        # A FIFO would block; a terminal would become the controlling one.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _refused(path, _trouble(error)) from None
    try:
        # Checks the opened file: the path may lead elsewhere by now.
        _check(path, os.fstat(descriptor), private=private)
        content = _read(descriptor)
    except OSError as error:
        raise _refused(path, _trouble(error)) from None
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_FILE:
        raise _refused(path, f"larger than {LARGEST_FILE} bytes: is this the right file?")
    if not content:
        raise _refused(path, "the file is empty: fill it, or correct the path")
    return content


def _read(descriptor: int) -> bytes:
    """Return the content of a file, up to one byte beyond the maximum."""
    content = b""
    while len(content) <= LARGEST_FILE and (piece := os.read(descriptor, LARGEST_FILE + 1 - len(content))):
        content += piece
    return content


def _check(path: str, status: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "is a folder: name the file in it" if stat.S_ISDIR(status.st_mode) else _FILE_FAULTS[errno.ENXIO]
        raise _refused(path, what)
    if private and status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise _refused(
            path, f"other users than its owner and group have access (mode {mode:04o}): chmod o= {_quoted(path)}"
        )


def _refused(where: str, what: str) -> StartError:
    # Paths may contain anything: made safe for a terminal, on one line long enough for two paths.
    return StartError(shown(where, LONGEST_PATH), shown(what, 2 * LONGEST_PATH))


def _trouble(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return _FILE_FAULTS.get(error.errno or 0) or f"cannot be read: {os.strerror(error.errno or errno.EIO)}"
    return "cannot be read: its name contains a NUL"


def _quoted(path: str) -> str:
    import shlex  # needed for faults only

    return shlex.quote(path)


def resolve_users(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of users given by name or number.

    Raises:
        StartError: a user does not exist, or identifies nobody.
    """
    import pwd

    return frozenset(_number(name, "user", lambda name: pwd.getpwnam(name).pw_uid) for name in names)


def resolve_groups(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of groups given by name or number.

    Raises:
        StartError: a group does not exist, or identifies nobody.
    """
    import grp

    return frozenset(_number(name, "group", lambda name: grp.getgrnam(name).gr_gid) for name in names)


def _number(name: str, kind: str, look_up: Callable[[str], int]) -> int:
    where = f'{kind} "{name}"'
    try:
        number = int(name) if name.isascii() and name.isdecimal() else look_up(name)
    except (KeyError, ValueError):
        raise _refused(where, f"this machine has no such {kind}: create it, or correct [[auth.unix]]") from None
    if number == OVERFLOW_ID or name in OVERFLOW_NAMES:
        raise _refused(where, f"is number {number}, which stands for all users of another user namespace")
    if number > LARGEST_ID:
        raise _refused(where, f"is above {LARGEST_ID}, the largest number of a {kind}")
    return number
