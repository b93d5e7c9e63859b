"""`[[listen]]`: listeners, the syntax of listen URLs, and their exposure."""

import ipaddress
import re
import typing
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from sigd.config.kinds import FileName
from sigd.text import shown
from sigd.toml.tables import Conflict, Table

# PEER on a phone's keypad.
DEFAULT_PORT = 7337
# sun_path of unix(7) has 108 bytes, of which the last is NUL.
LONGEST_SOCKET_PATH = 107
# RFC 1035: a name in DNS.
LONGEST_HOST_NAME = 253
# RFC 9293: ports have 16 bits.
LARGEST_PORT = 65_535
# Default of net.ipv4.ip_unprivileged_port_start.
LOWEST_UNPRIVILEGED_PORT = 1_024

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^][:/?#@]*)(?::(?P<port>[0-9]{1,5}))?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


Scheme = Literal["tcp", "tls", "udp", "dtls", "unix"]

DATAGRAM_SCHEMES = frozenset({"udp", "dtls"})
ENCRYPTED_SCHEMES = frozenset({"tls", "dtls"})


class Listen(msgspec.Struct, frozen=True):
    """A listen URL: `path` and `mode` are for unix, `host` (empty: all addresses) and `port` for all others."""

    url: str
    scheme: Scheme
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int | None = None

    @property
    def socket_key(self) -> tuple[bool, str, int, str]:
        """A key equal for URLs that cannot be open at once: TCP and UDP have separate ports."""
        return self.scheme in DATAGRAM_SCHEMES, self.host, self.port, self.path


def parse_listen(url: str) -> Listen:
    """Parse a listen URL.

    Raises:
        ValueError: it is invalid; the text names a valid value.
    """
    scheme, _, rest = url.partition(":")
    if not url.isprintable():
        raise ValueError("a listen URL must not contain control characters")
    if scheme == "unix":
        return _parse_unix(url, rest)
    for known in typing.get_args(Scheme):
        if scheme == known and rest.startswith("//"):
            return _parse_internet(url, known, rest.removeprefix("//"))
    raise ValueError(
        f'"{shown(url)}" is neither tcp://HOST:PORT, as in tcp://127.0.0.1:7337, nor the same with tls, udp or dtls,'
        " nor unix:/PATH"
    )


def _parse_unix(url: str, rest: str) -> Listen:
    path, question, query = rest.partition("?")
    # unix:///run/x, with the empty host of other URLs, names the same file.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not path.startswith("/") or path.startswith("//") or path.endswith("/"):
        raise ValueError("a socket needs an absolute path, as in unix:/run/sigd/sigd.sock")
    if (length := len(path.encode())) > LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a socket has at most {LONGEST_SOCKET_PATH} bytes, this one {length}")
    if not question:
        return Listen(url, "unix", path=path)
    if not (digits := re.fullmatch("mode=([0-7]{1,4})", query)) or int(digits[1], 8) > 0o777:
        raise ValueError(f'"?{shown(query)}": only ?mode=0000 to ?mode=0777, in octal, may follow the path')
    return Listen(url, "unix", path=path, mode=int(digits[1], 8))


def _parse_internet(url: str, scheme: Scheme, rest: str) -> Listen:
    host, port = parse_host_and_port(rest, scheme + "://", DEFAULT_PORT, "; all addresses are 0.0.0.0 and [::]")
    return Listen(url, scheme, host=host, port=DEFAULT_PORT if port is None else port)


def parse_host_and_port(written: str, start: str, usual: int, hint: str = "") -> tuple[str, int | None]:
    """Parse HOST or HOST:PORT after the start of a URL; the host may be empty, and is normalized.

    Args:
        written: the text after the start.
        start: the start for messages, as in `tcp://`.
        usual: the port in their example.
        hint: their text after "no host".

    Raises:
        ValueError: it is neither; the text names a valid value.
    """
    if written.count(":") > 1 and not written.startswith("["):
        raise ValueError(f"write an IPv6 address in brackets, as in {start}[::1]:{usual}")
    match = _HOST_AND_PORT.fullmatch(written)
    if not match or int(match["port"] or 0) > LARGEST_PORT:
        raise ValueError(f"after {start} expected only HOST:PORT, the port from 0 to {LARGEST_PORT}")
    return parse_host(match["host"], hint), int(match["port"]) if match["port"] else None


def parse_host(written: str, hint: str) -> str:
    """Normalize a host: addresses in their shortest form, names in lower case.

    Args:
        written: the host; an IPv6 address in brackets.
        hint: the message's text after "no host name or address".

    Raises:
        ValueError: it is neither; the text says so.
    """
    try:
        if written.startswith("["):
            return str(ipaddress.IPv6Address(written[1:-1]))
        if re.fullmatch(r"[0-9.]+", written):
            return str(ipaddress.IPv4Address(written))
    except ValueError:
        raise ValueError(f'"{shown(written)}" is not an IP address') from None
    if written and (len(written) > LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(written)):
        raise ValueError(f'"{shown(written)}" is not a host name or address{hint}')
    return written.lower()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a listener on `host`: all its addresses must be loopback.

    Raises:
        ValueError: the name does not resolve.
    """
    if host in {"", "localhost"}:
        return host == "localhost"
    try:
        return _is_loopback_address(host)
    except ValueError:
        import socket  # needed for names only
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f'"{shown(host)}" does not resolve: correct it, or use an address') from None
    return all(_is_loopback_address(str(address[0])) for *_, address in found)


def _is_loopback_address(literal: str) -> bool:
    address = ipaddress.ip_address(literal)
    # Python before 3.13 does not recognize 127.0.0.1 in ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class Listener(Table, frozen=True):
    """An entry of `[[listen]]`; a plain string in its place is its `url`."""

    url: Annotated[
        str,
        msgspec.Meta(
            description="tcp://HOST:PORT (IPv6 in brackets; port 0: the system assigns one); tls://HOST:PORT for TLS"
            " only; udp://HOST:PORT for datagrams; dtls://HOST:PORT for encrypted datagrams (the extra `dtls`);"
            " or unix:/PATH, optionally with ?mode=0660 for the permissions of the socket.",
            extra={"check": parse_listen, "restart": True},  # a changed URL is another listener
        ),
    ]
    certificate: Annotated[
        FileName | None,
        msgspec.Meta(
            description="File (PEM) with the server's certificate followed by its chain. With it tcp:// accepts TLS"
            " and plain text on the same port. Files are absolute paths, or plain names of systemd credentials"
            " (LoadCredential)."
        ),
    ] = None
    key: Annotated[
        FileName | None,
        msgspec.Meta(description="File (PEM) with the certificate's private key, not readable to others."),
    ] = None
    client_ca: Annotated[
        FileName | None,
        msgspec.Meta(
            description="File (PEM) with the authorities of client certificates; [[auth.certificate]] maps"
            " certificates to peer IDs."
        ),
    ] = None
    client_certificate: Annotated[
        Literal["required", "optional"],
        msgspec.Meta(
            description="With client_ca: whether TLS clients must present a certificate (required), or may use"
            " another credential."
        ),
    ] = "required"
    plaintext: Annotated[
        bool,
        msgspec.Meta(
            description="Allow credentials to cross the network unencrypted to a listener beyond loopback, where an"
            " eavesdropper can use them. On udp:// listeners, credentials of [[auth.hmac]] do not cross the"
            " network, and are the only ones accepted without this."
        ),
    ] = False

    @property
    def address(self) -> Listen:
        """The parsed URL."""
        return parse_listen(self.url)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield missing parts of TLS, and keys without effect."""
        scheme = self.address.scheme
        tls_keys = [key for key in ("certificate", "key", "client_ca") if getattr(self, key) is not None]
        if scheme in {"unix", "udp"}:
            for key in tls_keys:
                instead = "dtls://" if scheme == "udp" else "tls://"
                yield ((key,), ("url",)), f"a {scheme}: listener has no TLS: remove `{key}`, or listen on {instead}"
            return
        if scheme == "dtls" and "client_ca" in tls_keys:
            what = "DTLS listeners do not support client certificates: remove `client_ca`, or listen on tls://"
            yield (("client_ca",), ("url",)), what
        if scheme in ENCRYPTED_SCHEMES and "certificate" not in tls_keys and "key" not in tls_keys:
            what = f'"{shown(self.url)}" requires {scheme.upper()}: add `certificate` and `key`'
            yield (("url",), ("certificate",), ("key",)), what
        for given, missing in (("certificate", "key"), ("key", "certificate"), ("client_ca", "certificate")):
            if given in tls_keys and missing not in tls_keys:
                yield (
                    ((given,), (missing,)),
                    f"`{given}` has no effect without `{missing}`: add `{missing}`, or remove `{given}`",
                )
        if self.client_certificate == "optional" and "client_ca" not in tls_keys:
            what = "`client_certificate` has no effect without `client_ca`: add `client_ca`, or remove it"
            yield (("client_certificate",), ("client_ca",)), what
        if scheme in ENCRYPTED_SCHEMES and self.plaintext:
            yield (("plaintext",), ("url",)), f"a {scheme}:// listener accepts no plain text: remove `plaintext`"
