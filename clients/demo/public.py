"""What a public sigd needs, made to be thrown away: a CA, a certificate, a secret, a configuration, and tokens."""

import asyncio
import json
import os
import secrets
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import NamedTuple

import trustme

TTL = "10m"  # of a token: the call takes two seconds, and whoever finds one later cannot use it

CONFIG = """\
[[listen]]
url = "tls://127.0.0.1:0"
certificate = "{folder}/server.pem"
key = "{folder}/server.key"

[[auth.hmac]]
secret_file = "{folder}/secret"
register = ["*"]
"""


class Token(NamedTuple):
    """What `sigctl token` has made: the file, and whom it is for (until when, which IDs, to talk to which)."""

    file: Path
    user: str


class Public:
    """A public configuration in a folder.

    Attributes:
        ca: the file with whom the peers trust.
        config: the file for `sigd --config`.
    """

    def __init__(self, folder: Path) -> None:
        """Fill the folder."""
        self.ca = folder / "ca.pem"
        self.config = folder / "sigd.toml"
        self._folder = folder
        self._secret = folder / "secret"
        ca = trustme.CA()
        ca.cert_pem.write_to_path(self.ca)
        certificate = ca.issue_cert("127.0.0.1")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(folder / "server.pem", append=True)
        write_private(folder / "server.key", certificate.private_key_pem.bytes())
        write_private(self._secret, secrets.token_urlsafe(32).encode())
        self.config.write_text(CONFIG.format(folder=folder))

    async def token(self, peer: str, other: str) -> Token:
        """A token of a peer's own, made as an operator would make it."""
        allowed = ("--id", peer, "--talk", other, "--ttl", TTL)
        command = ("-m", "sigd.ctl", "token", *allowed, "--secret-file", str(self._secret))
        sigctl = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
        printed, _ = await sigctl.communicate()
        if sigctl.returncode != 0:
            raise SystemExit("sigctl has made no token")
        file = self._folder / f"{peer}.json"
        write_private(file, printed)
        return Token(file, json.loads(printed)["user"])


def write_private(file: Path, content: bytes) -> None:
    """Write a file that nobody else can read, not even for a moment."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
