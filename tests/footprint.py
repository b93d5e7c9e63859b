"""What a running process holds of the machine: its memory and its descriptors, as the kernel counts them."""

import os
import time
from collections.abc import Callable

LOOKS_PER_SECOND = 20


class Footprint:
    """A process from outside; or this one, if none is named."""

    def __init__(self, pid: int | None = None) -> None:
        self._folder = f"/proc/{pid or 'self'}"

    @property
    def kib(self) -> int:
        """Resident memory, exactly: `status` and `statm` may be behind by what each processor has not reported yet."""
        with open(f"{self._folder}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Rss:"):
                    return int(line.split()[1])
        raise AssertionError("a process without memory")

    @property
    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"{self._folder}/fd"))

    @property
    def cpu_seconds(self) -> float:
        """How long it has computed, kernel included."""
        with open(f"{self._folder}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually(holds: Callable[[], object], seconds: float) -> bool:
    """Whether something comes true within so many seconds."""
    for _ in range(round(seconds * LOOKS_PER_SECOND)):
        if holds():
            return True
        time.sleep(1 / LOOKS_PER_SECOND)
    return bool(holds())
