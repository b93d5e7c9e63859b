"""Findings of `sigctl check` on files named by a configuration: permissions and expiry."""

import contextlib
import grp
import os
import shlex
import ssl
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sigd.admin.replies import Finding
from sigd.config import Config, StartError
from sigd.ctl.quantities import DAY, day, plural
from sigd.rules.secret_files import locate, read_public

SOON: Final = 21 * DAY
"""Seconds before its end at which a certificate is reported: ACME clients renew 30 days ahead, so renewal has
failed.
"""

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


class Reader(NamedTuple):
    """The user and groups of the daemon."""

    uid: int
    gids: frozenset[int]


def reader_of(pid: int | None, group: str) -> Reader | None:
    """Return the identity of the running daemon or of the service; None if unknown."""
    if pid is not None:
        try:
            with open(f"/proc/{pid}/status") as file:
                said = dict(line.split(":", 1) for line in file if ":" in line)
            uid, gid = (int(said[key].split()[1]) for key in ("Uid", "Gid"))  # the effective ones
            return Reader(uid, frozenset([gid, *map(int, said["Groups"].split())]))
        except (OSError, KeyError, ValueError, IndexError):
            return None
    try:
        # DynamicUser: a uid of its own, plus the unit's SupplementaryGroups.
        return Reader(-1, frozenset([grp.getgrnam(group).gr_gid]))
    except KeyError:
        return None


def permission_findings(config: Config, path: str | None, reader: Reader | None) -> Iterator[Finding]:
    """Check that the daemon can read its files, and that no other user can change them.

    Args:
        config: the configuration.
        path: its path.
        reader: the daemon's identity, if known.
    """
    files = [locate(name) for name in names(config) if _is_here(name)]
    if path is not None:
        files.insert(0, os.path.abspath(path))
    files = list(dict.fromkeys(files))
    for place in dict.fromkeys([*files, *map(os.path.dirname, files)]):
        with contextlib.suppress(OSError):
            mode = os.stat(place).st_mode
            # In a sticky folder such as /tmp, only the owner of a file can replace it.
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                text = f"anybody may change {place} (mode {stat.S_IMODE(mode):04o})"
                advice = f"chmod o-w {shlex.quote(place)}"
                yield Finding(code="writable", severity="fail", text=text, advice=advice)
    for file in files:
        if reader is not None and not may_read(file, reader):
            text = f"the daemon may not read {file}"
            advice = f"sudo chgrp {config.admin.group} {shlex.quote(file)} && sudo chmod 0640 {shlex.quote(file)}"
            yield Finding(code="unreadable", severity="fail", text=text, advice=advice)


def names(config: Config) -> Iterator[str]:
    """Yield the names of all files: secrets, keys, certificates."""
    for listener in config.listen:
        yield from filter(None, [listener.certificate, listener.key, listener.client_ca])
    yield from (entry.secret_file for entry in config.auth.token)
    yield from (entry.secret_file for entry in config.auth.hmac)
    yield from (entry.key_file for entry in config.auth.jwt)
    if config.ice.turn_secret_file:
        yield config.ice.turn_secret_file


def _is_here(name: str) -> bool:
    """Return whether a name is a file's, and not that of a credential that systemd passes to the daemon alone."""
    return name.startswith("/") or "CREDENTIALS_DIRECTORY" in os.environ


def may_read(file: str, reader: Reader) -> bool:
    """Whether somebody may read a file, by its mode and those of the folders above it; true where that is not known."""
    folder = os.path.dirname(os.path.realpath(file))
    above = [folder]
    while os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
        above.append(folder)
    return _allows(file, reader, stat.S_IRUSR) and all(_allows(place, reader, stat.S_IXUSR) for place in above)


def _allows(place: str, reader: Reader, bit: int) -> bool:
    """Return whether the file's mode grants a permission bit, given as for the owner."""
    try:
        status = os.stat(place)
    except OSError:
        return True
    if reader.uid == 0:
        return True
    if status.st_uid == reader.uid:
        return bool(status.st_mode & bit)
    if status.st_gid in reader.gids:
        return bool(status.st_mode & bit >> 3)
    return bool(status.st_mode & bit >> 6)


def certificate_findings(config: Config, now: float) -> Iterator[Finding]:
    """Find certificates that have expired or will soon, including those of the chain.

    Args:
        config: the configuration.
        now: Unix time.
    """
    files: dict[str, str] = {}
    for listener in config.listen:
        if listener.certificate is not None and _is_here(listener.certificate):
            files.setdefault(listener.certificate, listener.url)
    for file, url in files.items():
        with contextlib.suppress(StartError):  # a fault of the configuration, reported there
            for number, end in enumerate(ends_of(read_public(file))):
                which = "the certificate" if number == 0 else f"certificate {number + 1} of the chain"
                yield from _end_findings(f"{which} of {url} ({locate(file)})", end, now)


def _end_findings(what: str, end: float, now: float) -> Iterator[Finding]:
    advice = "renew it, then sigctl reload"
    if end <= now:
        text = f"{what} has expired on {day(end)}"
        yield Finding(code="certificate-expired", severity="fail", text=text, advice=advice)
    elif end - now <= SOON:
        text = f"{what} expires in {plural(int((end - now) // DAY), 'day')}, on {day(end)}"
        yield Finding(code="certificate-expires", severity="warn", text=text, advice=advice)


def ends_of(pem: bytes) -> Sequence[float]:
    """Return the expiry of each certificate in a file, in Unix time; empty if there is none."""
    from sigd.rules.certificates import not_after

    ends: list[float] = []
    for block in pem.decode("ascii", "replace").split(_BEGIN)[1:]:
        with contextlib.suppress(ValueError, IndexError):
            body, dashes, _ = block.partition("-----END CERTIFICATE-----")
            if dashes:
                ends.append(not_after(ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}-----END CERTIFICATE-----")))
    return ends
