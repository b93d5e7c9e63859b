"""Memory that the limits allow, and the unit: what does not fit is said before the start, at it, and afterwards."""

import json
import re
import time
from pathlib import Path

from tests.systemd.inside import CONFIG, configure, drop_in, has_said, run, shown, systemctl, until

SIGD, SIGCTL = "/usr/local/bin/sigd", "/usr/local/bin/sigctl"


GROUPS = Path("/sys/fs/cgroup")


def _bounds(size: int) -> None:
    """Show the service this bound, also where the kernel of the box has no memory controller in cgroup v2.

    There systemd keeps MemoryMax= and sets nothing: a folder stands in for what the kernel would show of it.
    """
    text = f"[Service]\nMemoryMax={size}\n"
    if "memory" not in (GROUPS / "cgroup.controllers").read_text().split():
        group = Path("/run/groups/system.slice/sigd.service")
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{size}\n")
        text += f"BindReadOnlyPaths=/run/groups:{GROUPS}\n"
    drop_in(text)


def _memory_of_check() -> list[dict[str, str]]:
    findings = json.loads(run(SIGCTL, "check", "--json", check=False).stdout)["findings"]
    return [each for each in findings if each["code"] == "memory-short"]


def _says_before_the_start() -> str:
    done = run(SIGD, "--config", str(CONFIG), "--check")
    return "\n".join(line for line in done.stderr.splitlines() if "of memory" in line)


def shows_that_the_shipped_limits_fit() -> None:
    assert shown("MemoryMax") == str(1 << 30)
    assert not _says_before_the_start()
    assert not _memory_of_check(), "the service does not run"
    _bounds(1 << 30)
    began = time.time()
    systemctl("start", "sigd.service")
    assert not has_said("little memory", began)
    assert not _memory_of_check(), "it does"


def shows_a_unit_with_less_memory() -> object:
    _bounds(256 << 20)
    text = "but the kernel allows 256 MiB"
    assert text in _says_before_the_start()
    began = time.time()
    systemctl("start", "sigd.service")
    until(lambda: has_said("little memory", began), "the start says so")
    [found] = _memory_of_check()
    assert text in found["text"]
    needed = re.match(r"MemoryMax=(\d+)M ", found["advice"])
    assert needed is not None
    _bounds(int(needed[1]) << 20)
    systemctl("restart", "sigd.service")
    assert not _memory_of_check(), "with as much as was advised"
    return needed[0]


def shows_limits_that_the_shipped_unit_does_not_fit() -> object:
    # Without a bound nothing is short, and where the box has no memory controller the unit's own MemoryMax= is none.
    _bounds(1 << 30)
    configure('[[listen]]\nurl = "tcp://127.0.0.1:7337"\n[limits]\nbuffer_bytes_total = 1000000000\n')
    assert "limits.buffer_bytes_total" in _says_before_the_start()
    began = time.time()
    systemctl("start", "sigd.service")
    until(lambda: has_said("little memory", began), "the start says so")
    [found] = _memory_of_check()
    return found["advice"]
