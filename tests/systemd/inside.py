"""The inner half, as root in the box: installs what was staged, and runs scenarios one after the other.

What scenarios share is in here as well. A scenario is a function `shows_...`: it raises, or returns what it measured.
Those of a module with `FRESH` find nothing of sigd installed, and follow one another in alphabetical order.
"""

import contextlib
import importlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

CONFIG = Path("/etc/sigd/sigd.toml")
ETC = Path("/etc/systemd/system")
UNITS = ("sigd.socket", "sigd-admin.socket", "sigd.service")

SCENARIO_SECONDS = 60
"""For one scenario; what waits longer has failed."""

SOON_SECONDS = 10.0
"""How long `until` waits for what should happen at once."""


def run(*command: str, check: bool = True, seconds: float = SCENARIO_SECONDS) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert not check or done.returncode == 0, f"{command} exits {done.returncode}: {done.stdout}{done.stderr}"
    return done


def systemctl(*arguments: str) -> str:
    """What systemctl says."""
    return run("systemctl", *arguments).stdout.strip()


def shown(key: str, unit: str = "sigd.service") -> str:
    """One property of a unit."""
    return systemctl("show", "--value", "-p", key, unit)


def main_pid() -> int:
    """The daemon's process; 0: there is none."""
    return int(shown("MainPID"))


def until(holds: Callable[[], object], what: str, seconds: float = SOON_SECONDS) -> None:
    """Wait for something that should happen."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.02)


def journal(*matches: str) -> list[dict[str, Any]]:
    """What the daemon and systemd have said of the service, or what matches."""
    run("journalctl", "--sync")
    said = run("journalctl", "--no-pager", "-o", "json", *(matches or ("-u", "sigd.service"))).stdout
    return [json.loads(line) for line in said.splitlines()]


def has_said(text: str, since: float) -> bool:
    """Whether the journal of the service has this in it since then (`time.time()`)."""
    return any(
        text in str(each.get("MESSAGE")) for each in journal() if int(each["__REALTIME_TIMESTAMP"]) >= since * 1e6
    )


def configure(text: str) -> None:
    """Put a configuration in the place of the shipped one, for this scenario."""
    CONFIG.write_text(text)


def drop_in(text: str, unit: str = "sigd.service") -> None:
    """Put a drop-in beside a unit, for this scenario."""
    folder = ETC / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{len(os.listdir(folder))}.conf").write_text(text)
    systemctl("daemon-reload")


def make_certificate() -> str:
    """Put a server's certificate and its key where the service may read them; the keys of [[listen]] that say so."""
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=localhost", "-keyout", "/etc/sigd/tls.key", "-out", "/etc/sigd/tls.pem"),
    )
    shutil.chown("/etc/sigd/tls.key", "root", "sigd")
    os.chmod("/etc/sigd/tls.key", 0o640)
    return 'certificate = "/etc/sigd/tls.pem"\nkey = "/etc/sigd/tls.key"\n'


@contextlib.contextmanager
def as_installed() -> Iterator[None]:
    """Nothing runs but the sockets; whatever a scenario changes of the units and of /etc/sigd is changed back."""
    kept = CONFIG.read_text(), (secret := CONFIG.with_name("secret")).read_text()
    systemctl("start", "sigd.socket")
    try:
        yield
    finally:
        run("systemctl", "kill", "-s", "KILL", "sigd.service", check=False)
        systemctl("stop", *UNITS)
        for unit in UNITS:
            shutil.rmtree(ETC / f"{unit}.d", ignore_errors=True)
        CONFIG.write_text(kept[0])
        secret.write_text(kept[1])
        systemctl("daemon-reload")
        run("systemctl", "reset-failed", *UNITS, check=False)


def main(stage: str, name: str) -> None:
    """Install, and say of each scenario what came of it, as a line of JSON."""
    module = importlib.import_module(name)
    fresh: bool = getattr(module, "FRESH", False)
    signal.signal(signal.SIGALRM, _too_slow)
    if not fresh:
        _install(stage)
    for scenario, shows in inspect.getmembers(module, inspect.isfunction):
        if scenario.startswith("shows_"):
            came = _came_of(shows, contextlib.nullcontext() if fresh else as_installed(), scenario_seconds(module))
            print(json.dumps({"scenario": scenario, **came}), flush=True)


def scenario_seconds(module: ModuleType) -> int:
    """How long one scenario of a module may take."""
    seconds: int = getattr(module, "SECONDS", SCENARIO_SECONDS)
    return seconds


def _install(stage: str) -> None:
    shutil.copytree(stage, "/", dirs_exist_ok=True, symlinks=True)
    run("systemd-sysusers")
    shutil.chown(CONFIG.with_name("secret"), "root", "sigd")
    CONFIG.with_name("secret").chmod(0o640)
    systemctl("daemon-reload")


def _came_of(
    shows: Callable[[], object], around: contextlib.AbstractContextManager[None], seconds: int
) -> dict[str, object]:
    began, measured, fault = time.time(), None, None
    signal.alarm(seconds)
    try:
        with around:
            measured = shows()
    except Exception:
        fault = traceback.format_exc()
    finally:
        signal.alarm(0)
    said = "" if fault is None else _said_since(began)
    return {"measured": measured, "fault": fault, "journal": said, "seconds": round(time.time() - began, 1)}


def _said_since(began: float) -> str:
    run("journalctl", "--sync", check=False)
    return run("journalctl", "--no-pager", "-n", "60", f"--since=@{began:.3f}", check=False).stdout


def _too_slow(*_: object) -> None:
    raise TimeoutError("the scenario takes too long")


if __name__ == "__main__":
    main(*sys.argv[1:])
