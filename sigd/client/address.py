"""Where a server is: its URL taken apart. No sockets."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 7337
"""PEER on a phone's keypad (protocol.md, section 2)."""


class Tcp(NamedTuple):
    """A TCP port."""

    host: str
    port: int


class Unix(NamedTuple):
    """A Unix socket."""

    path: str


Address = Tcp | Unix


def parse(url: str) -> Address:
    """The address that a URL names: `tcp://host[:port]` or `unix:/path`.

    Raises:
        ValueError: it is neither.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "tcp":
            return _tcp(url)
        case "unix" if rest.startswith("/") and not rest.startswith("//"):
            return Unix(rest)
        case _:
            raise ValueError(f"{url!r} is no address of a server: expected tcp://host:port or unix:/path")


def _tcp(url: str) -> Tcp:
    parts = urlsplit(url)
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{url!r} is no address of a server: expected tcp://host:port")
    return Tcp(parts.hostname, DEFAULT_PORT if parts.port is None else parts.port)
