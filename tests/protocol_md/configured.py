"""The configurations that protocol.md shows, written into a folder together with the files that they name."""

import os
import re
import shutil
from pathlib import Path
from typing import Final

from tests import certificates
from tests.protocol_md.document import SECTIONS

PORT: Final = "7337"
SOCKET: Final = "/run/sigd/sigd.sock"
FILES: Final = "/etc/sigd/"
"""What the examples say; what stands in for it is a port and a socket of the daemon's own, and a folder."""

ME: Final = '"alice"'
"""The user of this machine who runs the examples."""

_SECRET = re.compile(rf'\w+_file = "{FILES}(\w+)" +# holds: (\S+)')
_FILE = re.compile(rf'"{FILES}([\w.]+)"')


def shown(section: str) -> str:
    """The configuration that a section shows."""
    (block,) = (block for block in SECTIONS[section].blocks if block.kind == "toml")
    return "".join(f"{line}\n" for line in block.lines)


def secrets(section: str) -> dict[str, str]:
    """What the configuration's secret files hold, by their names."""
    return dict(_SECRET.findall(shown(section)))


def secret_of(section: str, table: str) -> str:
    """The secret of the first entry of this kind."""
    text = shown(section).partition(f"[[{table}]]")[2]
    found = _SECRET.search(text)
    assert found, f"section {section} has no [[{table}]] with a secret"
    return found[2]


def write(section: str, folder: Path) -> Path:
    """Write a section's configuration so that a daemon can have it; the path of its file."""
    text = shown(section)
    for name, secret in secrets(section).items():
        private(folder / name, secret)
    chain, key = certificates.files("localhost", "127.0.0.1")
    certificates.authority("clients")
    made = {"server.pem": chain, "server.key": key, "devices.pem": str(certificates.folder() / "clients-ca.pem")}
    for name in _FILE.findall(text):
        if name in made:
            shutil.copy(made[name], folder / name)
        assert (folder / name).exists(), f"section {section}: nobody knows what is in {name}"
    text = text.replace(FILES, f"{folder}/").replace(SOCKET, f"{folder}/sigd.sock")
    text = re.sub(rf"\b{PORT}\b", "0", text).replace(ME, f'"{os.getuid()}"')
    file = folder / "sigd.toml"
    file.write_text(text)
    return file


def private(file: Path, content: str) -> None:
    """Write a file that nobody else can read, not even for a moment."""
    file.touch(mode=0o600)
    file.write_text(f"{content}\n")
