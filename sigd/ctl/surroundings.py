"""Checks of the daemon's environment: clock, descriptors, group, extras, admin socket, ports."""

import contextlib
import ctypes
import grp
import importlib.util
import os
import resource
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from typing import Final

from sigd.admin.replies import Finding
from sigd.config import DATAGRAM_SCHEMES, Config, Listen
from sigd.ctl.command_line import DEFAULT_SOCKET

RESERVED_DESCRIPTORS: Final = 64
"""Descriptors that the daemon reserves: as in sigd.net.entrance, which a test compares; importing it would load
trio.
"""

_TIME_ERROR: Final = 5
"""Result of adjtimex(2) for an unsynchronized clock."""

_TIMEX_BYTES: Final = 512
"""Buffer size for struct timex, which has 208 bytes."""

_SYNCHRONISED: Final = "/run/systemd/timesync/synchronized"
"""File made by systemd-timesyncd once it has set the clock; visible in containers, where adjtimex may not help."""

_FIRST_YEAR: Final = 2025
_LAST_YEAR: Final = 2100
"""The latest plausible year; certificates end sooner."""

_SYSTEMCTL_SECONDS: Final = 5.0

_OTHERS: Final = 0o007


def clock_findings(now: float) -> Iterator[Finding]:
    """Check the clock, on which tokens and certificates depend.

    Args:
        now: Unix time.
    """
    year = time.gmtime(min(max(now, 0.0), 2.0**40)).tm_year
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        text = f"the clock says that it is the year {year}: tokens and certificates are judged by it"
        yield Finding(code="clock-wrong", severity="fail", text=text, advice="set it: sudo timedatectl set-ntp true")
    elif is_synchronised() is False:
        text = "nothing keeps the clock right, says the kernel: tokens and certificates are judged by it"
        advice = "sudo timedatectl set-ntp true, or install chrony"
        yield Finding(code="clock-unsynchronised", severity="warn", text=text, advice=advice)


def is_synchronised() -> bool | None:
    """Return whether the clock is synchronized; None if the kernel does not tell."""
    if os.path.exists(_SYNCHRONISED):
        return True
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def descriptor_findings(config: Config, known: int | None) -> Iterator[Finding]:
    """Check that there are enough file descriptors for all connections.

    Args:
        config: the configuration.
        known: the limit of the running daemon; None: none runs.
    """
    most = known or _unit_descriptors() or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = config.limits.max_connections + RESERVED_DESCRIPTORS
    if most != resource.RLIM_INFINITY and most < needed:
        text = f"limits.max_connections is {config.limits.max_connections}, but the file descriptors suffice only for"
        text += f" {max(most - RESERVED_DESCRIPTORS, 0)}"
        advice = f"LimitNOFILE={needed} in the unit (sudo systemctl edit sigd), then restart; or lower the limit"
        yield Finding(code="fewer-connections", severity="warn", text=text, advice=advice)


def _unit_descriptors() -> int | None:
    """Return the descriptor limit of the service's unit; None if systemd does not know the unit."""
    command = ["systemctl", "show", "sigd.service", "--property=LoadState,LimitNOFILE"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    limit = said.get("LimitNOFILE", "")
    return int(limit) if said.get("LoadState") == "loaded" and limit.isdecimal() else None


def extra_findings(config: Config) -> Iterator[Finding]:
    """Check that all required extras are installed; those of JWT and DTLS show when keys are read."""
    if config.metrics.listen is None:
        return
    for module, name in (("prometheus_client", "prometheus-client"), ("h11", "h11")):
        if importlib.util.find_spec(module) is None:
            text = f"metrics.listen is set, and {name} is not installed"
            advice = "make install EXTRAS=metrics, or remove metrics.listen"
            yield Finding(code="extra-missing", severity="fail", text=text, advice=advice)


def admin_findings(config: Config, path: str) -> Iterator[Finding]:
    """Check that operators can use the admin socket, and that others cannot.

    Args:
        config: the configuration.
        path: path of the admin socket.
    """
    try:
        status = os.stat(path)
    except OSError:
        status = None  # nothing listens there, which is reported elsewhere
    if status is not None and not stat.S_ISSOCK(status.st_mode):
        text, advice = f"{path} is no socket", "remove it, and restart sigd-admin.socket or sigd"
        yield Finding(code="admin-socket", severity="fail", text=text, advice=advice)
    elif status is not None and status.st_mode & _OTHERS:
        text = f"anybody may connect to {path} (mode {stat.S_IMODE(status.st_mode):04o}), though sigd answers only some"
        advice = "SocketMode=0660 in sigd-admin.socket, or chmod o= it"
        yield Finding(code="admin-socket", severity="warn", text=text, advice=advice)
    if status is not None and status.st_uid == os.geteuid() and path != DEFAULT_SOCKET:
        return  # started by hand by the user who asks, as `make run` does: no group is needed
    try:
        gid = grp.getgrnam(config.admin.group).gr_gid
    except KeyError:
        text = f"there is no group {config.admin.group} (admin.group): only root may use sigctl"
        advice = f"sudo groupadd --system {config.admin.group}, then sudo usermod -aG {config.admin.group} YOU"
        yield Finding(code="no-group", severity="warn", text=text, advice=advice)
        return
    if status is not None and stat.S_ISSOCK(status.st_mode) and status.st_gid != gid and not status.st_mode & _OTHERS:
        text = f"{path} is not of group {config.admin.group}: its members cannot connect"
        advice = f"SocketGroup={config.admin.group} in sigd-admin.socket, then restart that"
        yield Finding(code="admin-socket", severity="warn", text=text, advice=advice)


def port_findings(config: Config, daemon: int | None = None) -> Iterator[Finding]:
    """Check that the addresses can be bound.

    Args:
        config: the configuration with the listeners.
        daemon: pid of the running daemon, which may hold them.
    """
    for listener in config.listen:
        address = listener.address
        if address.scheme == "unix":
            yield from _unix_findings(address)
        elif address.port:
            yield from _address_findings(address, daemon)


def _unix_findings(address: Listen) -> Iterator[Finding]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(address.path)
        except OSError:
            return  # no daemon, or no permission to ask it
    text = f"somebody listens on {address.path} already, and no sigd that can be asked runs"
    yield Finding(code="address-in-use", severity="fail", text=text, advice=f"see who: sudo fuser {address.path}")


def _address_findings(address: Listen, daemon: int | None) -> Iterator[Finding]:
    kind = socket.SOCK_DGRAM if address.scheme in DATAGRAM_SCHEMES else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=kind, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except OSError:
        return  # a fault of the configuration, reported there
    for family, _, _, _, where in found:
        with socket.socket(family, kind) as sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does
            try:
                sock.bind(where)
                if kind == socket.SOCK_STREAM:
                    sock.listen(1)
            except PermissionError:
                continue  # a privileged port: the service may bind it, this user may not
            except OSError as fault:
                yield from _why_not(address, kind, fault, daemon)
                return


def _why_not(address: Listen, kind: socket.SocketKind, fault: OSError, daemon: int | None) -> Iterator[Finding]:
    import errno

    if fault.errno == errno.EADDRNOTAVAIL:
        text = f"{address.url}: this machine does not have that address"
        advice = "correct it, or bring the interface up before sigd starts"
        yield Finding(code="address-missing", severity="fail", text=text, advice=advice)
        return
    if fault.errno != errno.EADDRINUSE:
        return
    pid, name = holder(address.port, kind)
    if pid in {1, daemon} and pid is not None:
        return  # systemd holds it for sigd.socket, or sigd itself does
    if pid is not None:
        text, advice = f"{address.url}: pid {pid} ({name}) has that port", "stop it, or choose another port"
        yield Finding(code="address-in-use", severity="fail", text=text, advice=advice)
        return
    text = f"{address.url}: a process that you may not see has that port"
    advice = f"sudo ss -lnp 'sport = :{address.port}' shows it; if it is systemd for sigd.socket, all is well"
    yield Finding(code="address-in-use", severity="warn", text=text, advice=advice)


# ---------------------------------------------------------------------------------------------------------------------
# Holders of ports


def holder(port: int, kind: socket.SocketKind) -> tuple[int | None, str]:
    """Return pid and name of a process that listens on a port, as far as this user may see it."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port, kind)}
    if not wanted:
        return None, ""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with contextlib.suppress(OSError):  # gone, or not visible to this user
            folder = f"/proc/{pid}/fd"
            for name in os.listdir(folder):
                if os.readlink(f"{folder}/{name}") in wanted:
                    with open(f"/proc/{pid}/comm", errors="replace") as comm:
                        return pid, comm.read().strip()
    return None, ""


def _inodes(port: int, kind: socket.SocketKind) -> Iterator[str]:
    """Yield the inodes of sockets bound to a port and listening (proc(5), /proc/net/tcp)."""
    protocol, state = ("udp", "07") if kind == socket.SOCK_DGRAM else ("tcp", "0A")
    for name in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}") as file:
            for line in file:
                words = line.split()
                if words[1].endswith(f":{port:04X}") and words[3] == state:
                    yield words[9]
