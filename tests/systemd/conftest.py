"""The box with sigd installed in it, once per run; or why there can be none."""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.outside import BOOT_SECONDS, BOX, Box

ROOT = Path(__file__).parents[2]

INTERPRETER = "/usr/bin/python3"
"""Debian's: the one that runs the tests may be below /root, where no service goes."""


INSTALLED_FROM = (
    *("Makefile", "pyproject.toml", "constraints.txt", "LICENSE", "README.md", "protocol.md"),
    *("sigd", "systemd", "man"),
)
"""What `make install` needs of a clone."""


@functools.cache
def why_not() -> str:
    """Why there is no box here; nothing if there is."""
    if os.geteuid() != 0:
        return "needs root"
    for needed in ("/lib/systemd/systemd", INTERPRETER, "/usr/bin/make"):
        if not os.path.exists(needed):
            return f"needs {needed}"
    tried = subprocess.run([BOX, "--", "true"], capture_output=True, text=True, timeout=BOOT_SECONDS, check=False)
    if tried.returncode != 0:
        return f"no systemd can be booted here: {(tried.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    return ""


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    """Boots with sigd installed, extras included: pip needs a network, which the box has not."""
    if reason := why_not():
        pytest.skip(reason)
    # Not pytest's own place, nor where this is: the box has a /tmp of its own, which hides what is there.
    stage = tempfile.mkdtemp(dir="/var/tmp", prefix="sigd-staged-")
    scenarios = tempfile.mkdtemp(dir="/var/tmp", prefix="sigd-scenarios-")
    os.chmod(stage, 0o755)  # it becomes the root of the box
    try:
        shutil.copytree(ROOT / "tests/systemd", f"{scenarios}/tests/systemd")
        shutil.copytree(ROOT / "docs/how-to", f"{scenarios}/docs/how-to")
        clone = f"{scenarios}/clone"
        for part in INSTALLED_FROM:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            os.makedirs(os.path.dirname(f"{clone}/{part}"), exist_ok=True)
            copy(ROOT / part, f"{clone}/{part}")
        # As docs/how-to/public-server.md says: over the network first, and without it from then on.
        for target in ("wheels", "install"):
            command = ["make", target, f"DESTDIR={stage}", f"INTERPRETER={INTERPRETER}", "EXTRAS=dtls,metrics"]
            done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
        yield Box(scenarios, stage, INTERPRETER)
    finally:
        shutil.rmtree(stage)
        shutil.rmtree(scenarios)
