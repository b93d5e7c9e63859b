"""How much memory systemd, or whoever else made the control group, lets this process have."""

import contextlib
from pathlib import Path
from typing import Final

OWN: Final = Path("/proc/self/cgroup")

GROUPS: Final = Path("/sys/fs/cgroup")
"""Where control groups of version 2 are (cgroups(7)); those of version 1 have no place that is the same everywhere."""


def memory_max(own: Path = OWN, groups: Path = GROUPS) -> int | None:
    """Bytes at which the kernel ends this process: the least bound of its control group and of those around it.

    Args:
        own: where the kernel says in which group the process is.
        groups: where the groups are.

    Returns:
        None: there is no bound, or none that is known.
    """
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        return None
    name = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if name is None:
        return None
    bounds: list[int] = []
    for group in (groups / name, *(groups / name).parents):
        with contextlib.suppress(OSError, ValueError):  # it says "max", or is the root, which has no such file
            bounds.append(int((group / "memory.max").read_text()))
        if group == groups:
            break
    return min(bounds, default=None)
