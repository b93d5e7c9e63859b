"""`sigctl` as its tests run it: in this process, on 80 columns, in UTC, with nobody looking on."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.ctl import main
from sigd.ctl.setup_files import marked
from tests.ctl.scripted import ScriptedDaemon
from tests.needs import needs


class Sigctl:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        try:
            status: object = main(arguments)
        except SystemExit as ended:
            status = ended.code
        assert isinstance(status, int)
        return (status, *self.capsys.readouterr())

    def token(self, *arguments: str) -> dict[str, str]:
        """What `sigctl token` makes, which is all that it says where nobody looks on."""
        status, out, err = self("token", *arguments)
        assert (status, err) == (0, "")
        assert out.endswith("}\n")
        assert out.count("\n") == 1
        made: dict[str, str] = json.loads(out)
        assert list(made) == ["user", "token"]
        return made

    def refusal(self, *arguments: str) -> str:
        """Why it makes none: one line."""
        status, out, err = self("token", *arguments)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert err.isascii()
        return err.removesuffix("\n")


@pytest.fixture
def sigctl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sigctl]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("SIGD_ADMIN", raising=False)
    time.tzset()
    yield Sigctl(capsys)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sigctl: Sigctl) -> Iterator[ScriptedDaemon]:
    """A daemon that answers from the golden files, and is the one that sigctl asks."""
    with ScriptedDaemon(tmp_path / "admin.sock") as scripted:
        monkeypatch.setenv("SIGD_ADMIN", str(scripted.path))
        yield scripted


@pytest.fixture
def openssl() -> None:
    """The program that makes keys and certificates."""
    needs("openssl")


@pytest.fixture
def image(tmp_path: Path, openssl: None) -> Path:
    """An image in which sigd has just been installed."""
    (etc := tmp_path / "etc/sigd").mkdir(parents=True)
    shipped = (Path(__file__).parents[2] / "systemd/sigd.toml").read_text()
    (etc / "sigd.toml").write_bytes(marked(shipped))
    (etc / "sigd.toml").chmod(0o644)
    return tmp_path
