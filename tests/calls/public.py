"""A configuration as for a public address, and tokens for it, made by hand as protocol.md says."""

import base64
import hmac
import json
import time
from pathlib import Path

from tests import certificates

SECRET = b"sixteen-and-more-characters"

CONFIG = """
[[listen]]
url = "tls://127.0.0.1:0"
certificate = "{certificate}"
key = "{key}"

[[auth.hmac]]
secret_file = "{secret}"
register = ["*"]
"""


class Public:
    """Files in a folder.

    Attributes:
        config: for the daemon.
        ca: for its peers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        certificate, key = certificates.files("localhost", "127.0.0.1")
        self.ca = certificates.folder() / "servers-ca.pem"
        secret = folder / "secret"
        write_private(secret, SECRET)
        self.config = folder / "sigd.toml"
        self.config.write_text(CONFIG.format(certificate=certificate, key=key, secret=secret))

    def options(self, peer: str, other: str, *, seconds: int = 600) -> list[str]:
        """What a peer needs to be itself, and to talk to one other."""
        file = self._folder / f"{peer}.json"
        write_private(file, json.dumps(token(f"{int(time.time()) + seconds}:{peer}:{other}")).encode())
        return ["--id", peer, "--ca", str(self.ca), "--credentials", str(file)]


def token(user: str) -> dict[str, str]:
    """The members of `register` for this user."""
    return {"user": user, "token": base64.b64encode(hmac.digest(SECRET, user.encode(), "sha256")).decode()}


def write_private(file: Path, content: bytes) -> None:
    """Write a file that the daemon will not refuse."""
    file.touch(mode=0o600)
    file.write_bytes(content)
