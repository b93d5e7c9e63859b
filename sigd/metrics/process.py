"""Figures of the kernel for this process, under the names used by Prometheus clients."""

import functools
import os
import resource
import time
from typing import Final, NamedTuple

_FOLDER: Final = "/proc/self"

_THREADS: Final = 17
_STARTED: Final = 19
_MEMORY: Final = 20
_RESIDENT: Final = 21
"""Fields of /proc/self/stat (proc_pid_stat(5)) after the name in brackets, which may contain anything."""


class Process(NamedTuple):
    """Sizes are bytes, times are seconds; `start_time_seconds` is Unix time."""

    cpu_seconds: float
    resident_memory_bytes: int
    virtual_memory_bytes: int
    open_fds: int
    max_fds: int
    threads: int
    start_time_seconds: float


def figures() -> Process:
    """Read the current figures.

    Raises:
        OSError: there is no /proc.
    """
    fields = _fields()
    return Process(
        cpu_seconds=time.process_time(),
        resident_memory_bytes=int(fields[_RESIDENT]) * resource.getpagesize(),
        virtual_memory_bytes=int(fields[_MEMORY]),
        open_fds=_open_fds(),
        max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        threads=int(fields[_THREADS]),
        start_time_seconds=_start_time(),
    )


def _fields() -> list[bytes]:
    with open(f"{_FOLDER}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def _open_fds() -> int:
    # Since Linux 6.2 the folder knows its size. Listing it takes a second with a million entries, and blocks all links.
    size = os.stat(f"{_FOLDER}/fd").st_size
    return size or len(os.listdir(f"{_FOLDER}/fd")) - 1


@functools.cache
def _start_time() -> float:
    # Computed once, so that a clock step does not look like a restart. The clock since boot serves, because systemd
    # hides /proc/stat (ProcSubset=pid).
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + int(_fields()[_STARTED]) / os.sysconf("SC_CLK_TCK")
