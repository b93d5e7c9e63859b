"""Server addresses, parsed from URLs. No sockets."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 7337
"""PEER on a phone's keypad (protocol.md, section 2); the same with and without TLS."""


class Tcp(NamedTuple):
    """A TCP port, with or without TLS."""

    host: str
    port: int
    tls: bool = False

    @property
    def name(self) -> str:
        """The host name that a certificate must match; a link-local address without its interface."""
        return self.host.partition("%")[0]

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"{'tls' if self.tls else 'tcp'}://{_authority(self.host, self.port)}"


class Udp(NamedTuple):
    """A UDP port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"udp://{_authority(self.host, self.port)}"


class Unix(NamedTuple):
    """A Unix socket."""

    path: str

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"unix:{self.path}"


Address = Tcp | Udp | Unix


def parse(url: str) -> Address:
    """Parse a URL: `tls://host[:port]`, `tcp://host[:port]`, `udp://host[:port]` or `unix:/path`.

    Raises:
        ValueError: it is none of these.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "tls" | "tcp":
            return Tcp(*_host_and_port(url, scheme), scheme == "tls")
        case "udp":
            return Udp(*_host_and_port(url, scheme))
        case "unix" if rest.startswith("/") and not rest.startswith("//"):
            return Unix(rest)
        case _:
            raise ValueError("no address of a server: expected tls://host, tcp://host, udp://host or unix:/path")


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host_and_port(url: str, scheme: str) -> tuple[str, int]:
    # The URL is not quoted: as in other protocols, it may contain a secret.
    fault = ValueError(f"no address of a server: expected {scheme}://host:port")
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        raise fault from None
    if not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise fault
    return parts.hostname, port
