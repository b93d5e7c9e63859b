"""The suite in other releases of Debian, with their Python, OpenSSL and systemd (`make long`)."""

import subprocess
from pathlib import Path

import pytest

from tests.needs import lacks

HERE = Path(__file__).parent

SECONDS = 3_600
"""For one part of the suite on a slow machine, the root and all packages included."""

UNAVAILABLE = 69

RELEASES = {"trixie": ("Python 3.13.", "systemd 257 ")}
"""Each with what it is for; docs/reference/platforms.md names them."""

PARTS = {
    "all that needs no quiet machine": ("not alone and not systemd and not long", "-n", "2", "--dist", "worksteal"),
    "systemd": ("systemd and not long",),
}


def run(release: str, *command: str) -> str:
    """Run a command in a release; what it prints."""
    done = subprocess.run(
        [HERE / "debian-root", release, *command], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode == UNAVAILABLE:
        lacks(done.stderr.strip())
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4_000:]
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("release", RELEASES)
def test_it_is_the_release_that_is_meant(release: str) -> None:
    said = run(release, "sh", "-c", ".venv/bin/python -VV; systemctl --version")
    assert all(version in said for version in RELEASES[release]), said


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("release", RELEASES)
def test_the_suite(release: str, part: str) -> None:
    marks, *options = PARTS[part]
    pytest_in_it = (".venv/bin/python", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--tb=short")
    print(run(release, *pytest_in_it, *options, "-m", marks))


def test_the_platforms_are_named() -> None:
    platforms = (HERE.parent / "docs/reference/platforms.md").read_text()
    for release, (python, systemd) in RELEASES.items():
        [row] = (line for line in platforms.splitlines() if f"({release})" in line)
        assert python.removeprefix("Python ").rstrip(".") in row
        assert systemd.removeprefix("systemd ").strip() in row
        assert "`make long`" in row
