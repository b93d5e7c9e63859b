"""Memory: the maximum use of a configuration, and the memory limit of this process.

The maximum is the sum of the measured size of each link and of the limits on everything else. `sigd --check`, `sigctl
check` and the daemon, at start and at each reload, compare it with the limit of the control group.
"""

import contextlib
from pathlib import Path
from typing import Final

from sigd.config import Config

OWN: Final = Path("/proc/self/cgroup")

GROUPS: Final = Path("/sys/fs/cgroup")
"""Mount point of control groups (cgroups(7)); those of version 1 lie below it, by controller."""

MIB: Final = 1 << 20

PROCESS_BYTES: Final = 64 * MIB
"""The interpreter and all that is loaded: 31 MiB when it is up, twice as much with DTLS, metrics and `sigctl why`."""

LINK_BYTES: Final = 2_048
"""Size of an idle link in plain text: 0.8 KiB over TCP, and 1 KiB of `meta`."""

TLS_BYTES: Final = 18 * 1_024
"""Additional size with TLS: 16 KiB, mostly OpenSSL's buffers."""

DTLS_BYTES: Final = 105 * 1_024
"""Size of a DTLS session: two connections of pyOpenSSL, and a task."""

BUFFER_PART: Final = 1.5
"""Growth of the process in relation to the bytes counted in buffers, while a crowd fills them. The rest is
fragmentation and objects that live for one round. Measured with 9 500 links: 1.45.
"""

RESTART_PART: Final = 1.4
"""Peak memory of a restart in relation to that before it. Measured in a control group, kernel and snapshot included:
1.12 with 9 000 idle links, 1.09 with 9 000 links and 114 MiB in outboxes. The rest is for a C library that keeps freed
memory: with it the peak was 1.58."""

_NO_BOUND: Final = 1 << 60
"""Lower bound of "no limit": version 1 reports a number near 2^63."""


def needs(config: Config) -> dict[str, int]:
    """Return the maximum bytes allowed by each limit, by its key; without the share of a restart."""
    limits = config.limits
    schemes = [listener.address.scheme for listener in config.listen]
    speaks_tls = any(listener.certificate for listener in config.listen if listener.address.scheme != "dtls")
    found = {
        "process": PROCESS_BYTES,
        # The total includes the record, whose refused attempts never give way: the larger bound counts.
        "limits.buffer_bytes_total": round(max(limits.buffer_bytes_total, config.record.bytes) * BUFFER_PART),
    }
    if {"tcp", "tls", "unix"} & {*schemes}:
        found["limits.max_connections"] = limits.max_connections * (LINK_BYTES + TLS_BYTES * speaks_tls)
    if {"udp", "dtls"} & {*schemes}:
        found["limits.udp_links"] = limits.udp_links * LINK_BYTES
    if "dtls" in schemes:
        found["limits.dtls_sessions"] = limits.dtls_sessions * DTLS_BYTES
    return found


def peak(config: Config) -> int:
    """Return the memory required with all limits reached, restart included."""
    return round(sum(needs(config).values()) * RESTART_PART)


def shortage(config: Config, most: int | None) -> tuple[str, str] | None:
    """Return the excess over `most` bytes as text, and the remedy; None if all fits, or there is no bound."""
    needed = peak(config)
    if most is None or needed <= most:
        return None
    parts = sorted(needs(config).items(), key=lambda part: -part[1])
    largest = ", ".join(f"{key} {_mib(size)}" for key, size in parts)
    text = f"the limits allow {_mib(needed)} of memory, restart included, but the kernel allows {_mib(most)}"
    key = next(key for key, _ in parts if key.startswith("limits."))
    return (
        f"{text} ({largest})",
        f"MemoryMax={-(-needed // MIB)}M in the unit (sudo systemctl edit sigd), or lower {key}",
    )


def memory_max(own: Path = OWN, groups: Path = GROUPS) -> int | None:
    """Return the bytes at which the kernel kills this process: the lowest limit of its control groups.

    Args:
        own: path of the kernel's list of the process's groups.
        groups: mount point of the groups.

    Returns:
        None: no limit, or none known.
    """
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        return None
    bounds: list[int] = []
    for line in lines:
        number, controllers, name = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if number == "0" and not controllers:
            bounds += _bounds(groups, name, "memory.max")
        elif "memory" in controllers.split(","):
            bounds += _bounds(groups / "memory", name, "memory.limit_in_bytes")
    return min((bound for bound in bounds if bound < _NO_BOUND), default=None)


def _bounds(root: Path, name: str, file: str) -> list[int]:
    """Read the limits of a group and its ancestors."""
    found: list[int] = []
    own = root / name.lstrip("/")
    for group in (own, *own.parents):
        with contextlib.suppress(OSError, ValueError):  # "max", or the root group, which has no such file
            found.append(int((group / file).read_text()))
        if group == root:
            break
    return found


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"
