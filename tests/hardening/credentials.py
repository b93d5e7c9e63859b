"""Who may be whom in the scenes that are about that: secrets in files, and what clients make of them."""

import atexit
import functools
import shutil
import tempfile
import time
from pathlib import Path

from sigd.config import Auth, HmacEntry, TokenEntry
from sigd.ctl import token_of, user_name

PAIR = "alice-and-bob-know-this-token"
"""The token of the two who talk."""

CAMERAS = "the-token-that-all-cameras-have"
"""A static token for `cam*`."""

RECORDERS = "and-another-one-that-recorders-have"
"""A static token for `cam*` and `rec*`: not the same credential as that of the cameras."""

SECRET = b"what-expiring-tokens-are-made-of"

OTHER_SECRET = b"what-expiring-tokens-of-others-are-made-of"
"""One that the daemon does not know."""


@functools.cache
def _folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="sigd-secrets-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def secret_file(name: str, *secrets: str | bytes, folder: Path | None = None) -> str:
    """A file with these secrets, one per line, which nobody else may read; its path."""
    path = (folder or _folder()) / name
    path.touch(mode=0o600)
    path.write_bytes(b"".join((each.encode() if isinstance(each, str) else each) + b"\n" for each in secrets))
    return str(path)


def auth() -> Auth:
    """Static tokens for the pair, for cameras and for recorders, and expiring ones for whom they name."""
    return Auth(
        token=(
            TokenEntry(secret_file("pair", PAIR), ("alice", "bob")),
            TokenEntry(secret_file("cameras", CAMERAS), ("cam*",), talk=("rec*", "cam*")),
            TokenEntry(secret_file("recorders", RECORDERS), ("cam*", "rec*")),
        ),
        hmac=(HmacEntry(secret_file("hmac", SECRET)),),
    )


def expiring(
    glob: str, seconds: float = 3_600, *, talk: str | None = None, secret: bytes = SECRET, now: float | None = None
) -> dict[str, str]:
    """The members of `register` that show a token for these IDs, which expires so many seconds from `now` on."""
    user = user_name(int((time.time() if now is None else now) + seconds), glob, talk)
    return {"user": user, "token": token_of(secret, user)}
