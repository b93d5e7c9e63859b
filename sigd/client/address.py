"""Where a server is: its URL taken apart. No sockets."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 7337
"""PEER on a phone's keypad (protocol.md, section 2); the same with and without TLS."""


class Tcp(NamedTuple):
    """A TCP port, spoken to in TLS or in the clear."""

    host: str
    port: int
    tls: bool = False

    @property
    def name(self) -> str:
        """What a certificate has to be made out to; of a link-local address, it knows no interface."""
        return self.host.partition("%")[0]


class Unix(NamedTuple):
    """A Unix socket."""

    path: str


Address = Tcp | Unix


def parse(url: str) -> Address:
    """The address that a URL names: `tls://host[:port]`, `tcp://host[:port]` or `unix:/path`.

    Raises:
        ValueError: it is none of these.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "tls" | "tcp":
            return _tcp(url, scheme)
        case "unix" if rest.startswith("/") and not rest.startswith("//"):
            return Unix(rest)
        case _:
            raise ValueError("no address of a server: expected tls://host, tcp://host or unix:/path")


def _tcp(url: str, scheme: str) -> Tcp:
    # The URL is not quoted: somebody may have put a secret into it, as other protocols have it.
    fault = ValueError(f"no address of a server: expected {scheme}://host:port")
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        raise fault from None
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise fault
    return Tcp(parts.hostname, port, scheme == "tls")
