"""systemd's view of sigd, from `systemctl show`: its sockets, its configuration, the state of its service."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from sigd.admin.replies import Finding
from sigd.config.endpoints import Endpoint, fit, url_of_key
from sigd.config.listen import LOWEST_UNPRIVILEGED_PORT, is_loopback, parse_listen
from sigd.rules.memory import shortage

if TYPE_CHECKING:
    from sigd.admin.replies import StatusReply
    from sigd.config import Config

SERVICE: Final = "sigd.service"

SOCKET: Final = "sigd.socket"

ADMIN_SOCKET: Final = "sigd-admin.socket"

BOOTED: Final = "/run/systemd/system"
"""Folder that exists on machines booted with systemd (sd_booted(3))."""

SECONDS: Final = 5.0
"""Timeout for systemctl, which takes some milliseconds."""

_LISTEN: Final = re.compile(r"(?P<address>.+) \((?P<kind>Stream|Datagram)\)")

_CONFIG: Final = re.compile(r"argv\[\]=[^;]*--config[ =](?P<path>\S+)")

SETUP: Final = "sudo sigctl setup"


_NO_BOUND: Final = 1 << 60
"""Lower bound of `infinity`, which older versions of systemd show as 2^64 - 1."""


class Units(NamedTuple):
    """The units of sigd, as loaded by systemd.

    Attributes:
        sockets: addresses of sigd.socket; None: there is no such unit.
        config: path of the service's configuration.
        socket_state: `active` while systemd listens.
        state: state of the service: `active`, `activating`, `failed`, `inactive`.
        substate: its finer state: `auto-restart` between two attempts.
        restarts: number of automatic restarts.
        status: its own status text.
        stale: whether unit files have changed since they were loaded.
        memory_max: memory limit of the service in bytes; None: no limit.
    """

    sockets: frozenset[Endpoint] | None
    config: str | None
    socket_state: str = ""
    state: str = ""
    substate: str = ""
    restarts: int = 0
    status: str = ""
    stale: bool = False
    memory_max: int | None = None

    @property
    def why_down(self) -> str:
        """Return in one line why the service does not serve; empty if it does, or still may."""
        reason = self.status.partition("cannot start: ")[2]
        # A new attempt has replaced the last one's result, and may succeed.
        tried = self.state == "activating" and self.restarts and reason
        if tried or self.substate == "auto-restart" or self.state == "failed":
            again = ", and is tried again each second" if self.state == "activating" else ""
            return f"the service does not start{again}: {reason or 'its log says why'}; see `journalctl -u sigd -n 20`"
        return ""


def units() -> Units | None:
    """Ask systemd for the units; None without systemd or without an answer."""
    if not os.path.isdir(BOOTED) or shutil.which("systemctl") is None:
        return None
    wanted = "Id,LoadState,ActiveState,SubState,Listen,ExecStart,StatusText,NRestarts,NeedDaemonReload,MemoryMax"
    command = ["systemctl", "show", SERVICE, SOCKET, f"--property={wanted}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return read(said)


def read(said: str) -> Units:
    """Parse the output of `systemctl show` for service and socket."""
    shown: dict[str, list[tuple[str, str]]] = {}
    for block in said.split("\n\n"):
        pairs = [(key, value) for key, _, value in (line.partition("=") for line in block.splitlines())]
        shown[dict(pairs).get("Id", "")] = pairs
    service, socket = dict(shown.get(SERVICE, [])), dict(shown.get(SOCKET, []))
    listens = [value for key, value in shown.get(SOCKET, []) if key == "Listen"]
    config = _CONFIG.search(service.get("ExecStart", ""))
    restarts = service.get("NRestarts", "")
    return Units(
        frozenset(_keys(listens)) if socket.get("LoadState") == "loaded" else None,
        config["path"] if config and service.get("LoadState") == "loaded" else None,
        socket.get("ActiveState", ""),
        service.get("ActiveState", ""),
        service.get("SubState", ""),
        int(restarts) if restarts.isdecimal() else 0,
        service.get("StatusText", ""),
        "yes" in {service.get("NeedDaemonReload"), socket.get("NeedDaemonReload")},
        int(most) if (most := service.get("MemoryMax", "")).isdecimal() and int(most) < _NO_BOUND else None,
    )


def _keys(listens: list[str]) -> Iterator[Endpoint]:
    for line in listens:
        if (found := _LISTEN.fullmatch(line)) is None:
            continue
        address = found["address"]
        scheme = "tcp" if found["kind"] == "Stream" else "udp"
        try:
            yield parse_listen(f"unix:{address}" if address.startswith("/") else f"{scheme}://{address}").socket_key
        except ValueError:
            continue  # nothing that a configuration could name


def belongs(path: str | None, found: Units | None) -> bool:
    """Return whether a configuration is that of the service."""
    if path is None or found is None or found.config is None:
        return False
    return os.path.realpath(path) == os.path.realpath(found.config)


def handed_over(status: "StatusReply") -> frozenset[Endpoint]:
    """Return the sockets that a running daemon has from systemd."""
    urls = [listener.url for listener in status.listeners if listener.inherited]
    return frozenset(parse_listen(url).socket_key for url in urls)


def running_findings(status: "StatusReply", found: Units) -> Iterator[Finding]:
    """Find sockets of an earlier sigd.socket in the running daemon."""
    had = handed_over(status)
    if had and found.sockets is not None and found.socket_state == "active" and had != found.sockets:
        text = f"{SOCKET} was changed, and the daemon has the sockets from before"
        yield Finding(code="sockets-before", severity="warn", text=text, advice=f"{SETUP}: it restarts both units")


def memory_findings(config: "Config", found: Units) -> "Iterator[Finding]":
    """Find limits that in sum exceed the memory limit of the service."""
    short = shortage(config, found.memory_max)
    if short is not None:
        yield Finding(code="memory-short", severity="warn", text=short[0], advice=short[1])


def socket_findings(config: "Config", found: Units) -> Iterator[Finding]:
    """Find mismatches between systemd's sockets and the service's configuration."""
    if found.stale:
        text, advice = "unit files have changed since systemd has read them", "sudo systemctl daemon-reload"
        yield Finding(code="units-changed", severity="warn", text=text, advice=advice)
    if found.sockets is None:
        return
    how = fit(config.listen, found.sockets)
    for listener, keys in how.narrowed:
        only = ", ".join(url_of_key(key).partition("//")[2] for key in keys)
        text = f"{listener.url} would be open on {only} alone: {SOCKET} opens no other address of it"
        yield Finding(code="socket-unit", severity="fail", text=text, advice=f"{SETUP}: it changes {SOCKET}")
    for listener, key in how.blocked:
        text = f"{listener.url} cannot be opened: {SOCKET} has {url_of_key(key)}"
        yield Finding(code="socket-unit", severity="fail", text=text, advice=f"{SETUP}: it changes {SOCKET}")
    for listener in how.unopened:
        at = listener.address
        cannot = at.scheme == "unix" or at.port < LOWEST_UNPRIVILEGED_PORT
        what = "the service may not open it itself" if cannot else "clients are refused while the daemon restarts"
        text = f"{SOCKET} does not have {listener.url}: {what}"
        yield Finding(code="socket-unit", severity="fail" if cannot else "warn", text=text, advice=SETUP)
    for key in how.unnamed:
        url = url_of_key(key)
        local = key[3] or is_loopback(key[1])
        what = "it is served in plain text" if local else "the daemon may refuse to start"
        text = f"{SOCKET} has {url}, which is in no [[listen]]: {what}"
        yield Finding(code="socket-unit", severity="warn" if local else "fail", text=text, advice=SETUP)
