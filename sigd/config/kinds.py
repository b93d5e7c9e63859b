"""Kinds of keys shared by several tables: sizes, times, rates, globs of peer IDs, names of files."""

from typing import Annotated

import msgspec

from sigd.text import shown
from sigd.wire.ids import MAX_ID, is_glob

# A timeout of more than a day is meant as no timeout.
DAY_MS = 86_400_000
# 1 TiB: more memory than one daemon gets; a larger value is meant as no limit, or is a slip.
LARGEST_SIZE = 1 << 40
# Twenty times the rate of one core: a larger value is meant as no limit, which is 0.
LARGEST_RATE = 1_000_000
# Linux's PATH_MAX, its NUL not counted.
LONGEST_FILE_NAME = 4095
# Linux's NAME_MAX: the plain name of a credential is that of a file in one folder.
LONGEST_PLAIN_NAME = 255

_ALLOWED = f"1 to {MAX_ID} of A-Z a-z 0-9 _ . ~ - and *"
# Stands for the name in the matching client certificate. It stands by itself, because a star in that name, as in
# certificates for whole domains, would become part of a glob.
NAME = "{name}"


def check_glob(glob: str) -> None:
    """Check a glob of peer IDs, in which only `*` is special.

    Raises:
        ValueError: it is invalid; the text describes valid ones.
    """
    if not is_glob(glob):
        raise ValueError(f'"{shown(glob)}" is not a glob of peer IDs: use {_ALLOWED}')


def check_named_glob(glob: str) -> None:
    """Check a glob of peer IDs, or `{name}` for the name in a certificate.

    Raises:
        ValueError: it is invalid; the text describes valid ones.
    """
    if glob != NAME and not is_glob(glob):
        raise ValueError(f'"{shown(glob)}" is not a glob of peer IDs: use {_ALLOWED}; or {NAME} by itself')


def check_file_name(name: str) -> None:
    """Check the name of a file: an absolute path, or the plain name of a systemd credential.

    Raises:
        ValueError: it is neither; the text names a valid value.
    """
    if not name.isprintable():
        raise ValueError("the name of a file must not contain control characters")
    if name.startswith("/"):
        if name.endswith("/"):
            raise ValueError(f'"{shown(name)}" is a folder: name the file in it')
        if (length := len(name.encode())) > LONGEST_FILE_NAME:
            raise ValueError(f"a path has at most {LONGEST_FILE_NAME} bytes, this one {length}")
    elif "/" in name or name in {"", ".", ".."} or len(name.encode()) > LONGEST_PLAIN_NAME:
        raise ValueError(
            f'"{shown(name)}" is neither an absolute path, as in /etc/sigd/secret,'
            " nor the plain name of a credential, as in systemd's LoadCredential=secret:/etc/sigd/secret"
        )


def check_not_empty(text: str) -> None:
    """Check a name.

    Raises:
        ValueError: it is empty, or contains invisible characters.
    """
    if not text.strip() or not text.isprintable():
        raise ValueError(f'"{shown(text)}" is not a name: use one or more printable characters')


Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Milliseconds = Annotated[int, msgspec.Meta(extra={"unit": "milliseconds"})]
Rate = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_RATE)]
Burst = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_RATE)]
ByteRate = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SIZE, extra={"unit": "bytes"})]
ByteBurst = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_SIZE, extra={"unit": "bytes"})]
Glob = Annotated[str, msgspec.Meta(extra={"check": check_glob})]
NamedGlob = Annotated[str, msgspec.Meta(extra={"check": check_named_glob})]
FileName = Annotated[str, msgspec.Meta(extra={"check": check_file_name})]
Name = Annotated[str, msgspec.Meta(extra={"check": check_not_empty})]
