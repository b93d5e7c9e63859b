"""`make install` and `make uninstall`, below a folder: what is where, what stays, and that it runs from there."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sigd.ctl.setup_files import is_unedited
from tests.daemon import HANG_SECONDS

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow  # pip takes some seconds

PLACED = {
    "etc/sigd/secret",
    "etc/sigd/sigd.toml",
    "opt/x/bin/sigctl",
    "opt/x/bin/sigd",
    "opt/x/lib/systemd/system/sigd-admin.socket",
    "opt/x/lib/systemd/system/sigd.service",
    "opt/x/lib/systemd/system/sigd.socket",
    "opt/x/lib/sysusers.d/sigd.conf",
}


def make(target: str, into: Path, interpreter: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    command = ["make", target, f"DESTDIR={into}", "PREFIX=/opt/x", f"INTERPRETER={interpreter}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def files(folder: Path) -> set[str]:
    """All but the program and its papers."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith(("opt/x/lib/sigd/", "opt/x/share/"))}


@pytest.fixture(scope="module")
def interpreter() -> str:
    """One that a service could run, or any that passes for it: what runs the tests may be below /root."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(candidate) and not os.path.realpath(candidate).startswith(("/root/", "/home/")):
            return candidate
    pytest.skip("no Python outside of /root and /home")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, interpreter: str) -> Path:
    into = tmp_path_factory.mktemp("installed")
    done = make("install", into, interpreter)
    assert done.returncode == 0, done.stderr
    return into


def test_what_is_where(installed: Path) -> None:
    assert files(installed) == PLACED
    assert (installed / "opt/x/share/doc/sigd/README.md").exists()
    for completion in (
        "bash-completion/completions/sigctl",
        "zsh/site-functions/_sigctl",
        "fish/vendor_completions.d/sigctl.fish",
    ):
        assert "sigctl complete" in (installed / "opt/x/share" / completion).read_text()
    assert is_unedited((installed / "etc/sigd/sigd.toml").read_bytes())
    modes = {path: stat.S_IMODE((installed / path).stat().st_mode) for path in PLACED}
    assert modes["opt/x/bin/sigd"] == modes["opt/x/bin/sigctl"] == 0o755
    assert modes["etc/sigd/secret"] in {0o600, 0o640}
    assert modes["opt/x/lib/systemd/system/sigd.service"] == modes["etc/sigd/sigd.toml"] == 0o644
    for path in (installed / "opt").rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, f"{path}: the service could not read it"


def test_units_name_where_it_is(installed: Path) -> None:
    unit = (installed / "opt/x/lib/systemd/system/sigd.service").read_text()
    assert "\nExecStart=/opt/x/bin/sigd --config /etc/sigd/sigd.toml\n" in unit
    assert "/usr/bin/sigd" not in unit


def test_it_runs_from_there_alone(installed: Path, interpreter: str) -> None:
    """With what was installed, not with what this machine has; and it takes its own example."""
    launcher = (installed / "opt/x/bin/sigd").read_text()
    assert launcher.startswith(f"#!{interpreter} -I\n")
    there = launcher.replace('"/opt/x/lib/sigd"', f'"{installed}/opt/x/lib/sigd"')
    command = [interpreter, "-I", "-c", there, "--config", str(installed / "etc/sigd/sigd.toml"), "--check"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    assert done.stdout == "configuration is valid\n"


def test_compiled_files_name_where_they_will_be(installed: Path) -> None:
    [compiled] = (installed / "opt/x/lib/sigd/sigd/__pycache__").glob("cli.*.pyc")
    assert b"/opt/x/lib/sigd/sigd/cli.py" in compiled.read_bytes()
    assert str(installed).encode() not in compiled.read_bytes()


def test_the_secret_is_random_and_enough(installed: Path) -> None:
    secret = (installed / "etc/sigd/secret").read_text()
    assert secret.endswith("\n")
    assert len(secret) >= 44


def test_again_and_away(installed: Path, interpreter: str) -> None:
    """A second time it replaces the program and leaves what is the operator's; uninstall leaves nothing else."""
    etc = installed / "etc/sigd"
    secret = (etc / "secret").read_text()
    (etc / "sigd.toml").write_text("# mine\n")
    (old := installed / "opt/x/lib/sigd/sigd/no_longer.py").touch()
    for unit in ("sigd.socket", "sigd.service"):
        drop_ins = installed / f"etc/systemd/system/{unit}.d"
        drop_ins.mkdir(parents=True)
        (drop_ins / "50-sigctl-setup.conf").touch()
    (drop_ins / "mine.conf").touch()
    done = make("install", installed, interpreter)
    assert done.returncode == 0, done.stderr
    assert not old.exists()
    assert ((etc / "sigd.toml").read_text(), (etc / "secret").read_text()) == ("# mine\n", secret)
    for _ in range(2):
        done = make("uninstall", installed, interpreter)
        assert done.returncode == 0, done.stderr
    assert {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()} == {
        "etc/sigd/secret",
        "etc/sigd/sigd.toml",
        "etc/systemd/system/sigd.service.d/mine.conf",
    }
    assert not (installed / "etc/systemd/system/sigd.socket.d").exists()


@pytest.mark.parametrize(
    ("interpreter", "why"),
    [("python3", "is no absolute path"), ("/nowhere/python3", "not found"), ("HOME", "is below /root or /home")],
)
def test_an_interpreter_that_would_not_do(tmp_path: Path, interpreter: str, why: str) -> None:
    if interpreter == "HOME":
        interpreter = sys.executable
        if not os.path.realpath(interpreter).startswith(("/root/", "/home/")):
            pytest.skip("this Python is not below /root or /home")
    done = make("install", tmp_path, interpreter)
    assert done.returncode != 0
    assert why in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_of_wheels_that_lacks_something_says_what_to_do(tmp_path: Path, interpreter: str) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "systemd", clone / "systemd")
    for file in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / file, clone)
    (clone / "wheels").mkdir()
    command = ["make", "install", f"DESTDIR={tmp_path}/to", f"INTERPRETER={interpreter}", "EXTRAS=dtls"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert f"make wheels INTERPRETER={interpreter} EXTRAS=dtls" in done.stderr
    assert not (tmp_path / "to").exists()
