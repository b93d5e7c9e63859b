"""Peer IDs, their beginnings, and globs of them: the characters of each, and how many there may be.

In 64 characters there is room for a UUID and a name, and an ID still fits a line of a terminal. No state.
"""

import re
from typing import Final

MAX_ID: Final = 64
"""Characters of a peer ID, and so of a glob: a longer one without a star matches none."""

GLOB: Final = rf"[A-Za-z0-9_.~*-]{{1,{MAX_ID}}}"
"""Pattern of a glob, for texts that hold one."""

# \Z, not $: `$` lets a trailing newline pass.
_PEER_ID: Final = re.compile(rf"[A-Za-z0-9_.~-]{{1,{MAX_ID}}}\Z")
_PREFIX: Final = re.compile(rf"[A-Za-z0-9_.~-]{{0,{MAX_ID}}}\Z")
_GLOB: Final = re.compile(rf"{GLOB}\Z")


def is_peer_id(text: str) -> bool:
    """Return whether a text is a peer ID: 1 to 64 of `A-Z a-z 0-9 _ . ~ -`."""
    return _PEER_ID.match(text) is not None


def is_prefix(text: str) -> bool:
    """Return whether a peer ID may begin with this text."""
    return _PREFIX.match(text) is not None


def is_glob(text: str) -> bool:
    """Return whether a text is a glob of peer IDs, in which `*` alone is special."""
    return _GLOB.match(text) is not None
