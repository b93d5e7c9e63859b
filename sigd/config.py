"""The configuration: one TOML file and the command line over it become one frozen Struct.

Every key is a field below, documented where it is defined; `sigd --print-config` prints these texts. `load`
finds every fault, with its place. No trio, and no sockets but to look up a host name in `listen`.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec

from sigd.toml_places import Fault, Source, shown
from sigd.toml_tables import ConfigError, Conflict, Table, read, render

__all__ = [
    "Config",
    "ConfigError",
    "Fault",
    "Limits",
    "Listen",
    "Log",
    "StartError",
    "is_loopback",
    "load",
    "parse_listen",
    "render",
    "shown",
]

# PEER on a phone's keypad.
DEFAULT_PORT = 7337
# A time-out of more than a day is one that somebody wanted to switch off.
DAY_MS = 86_400_000
# 1 TiB: more memory than one daemon is given; beyond it somebody wanted no limit, or slipped.
LARGEST_SIZE = 1 << 40
# Above all that RLIMIT_NOFILE can be on Linux as systemd sets it up (fs.nr_open is 2^30 - 8).
MOST_CONNECTIONS = 1 << 30
# The least `maxFrame` that a client may ask for: a frame that every peer takes.
LEAST_FRAME = 1024
# A length prefix starts with a zero byte, which is how it is told from a line; so lengths stay below 2^24.
LARGEST_FRAME = (1 << 24) - 1
# Bytes before a length-prefixed frame; an outbox holds them too.
LENGTH_PREFIX = 4
# sun_path of unix(7) has 108 bytes, of which the last is NUL.
LONGEST_SOCKET_PATH = 107
# RFC 1035: a name in DNS.
LONGEST_HOST_NAME = 253
# RFC 9293: ports have 16 bits.
LARGEST_PORT = 65_535

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^][:/?#@]*)(?::(?P<port>[0-9]{1,5}))?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
INSECURE_ADVICE = (
    "to listen beyond loopback without credentials set `insecure = true`"
    " (on the command line: --set insecure=true), or use 127.0.0.1, [::1] or a unix: path"
)


class StartError(Exception):
    """A sound configuration that cannot be had: an address in use, a port without permission."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Listen(msgspec.Struct, frozen=True):
    """One listen URL: `host` (empty: all addresses) and `port` are of tcp, `path` and `mode` of unix."""

    url: str
    scheme: Literal["tcp", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int | None = None


def parse_listen(url: str) -> Listen:
    """Take a listen URL apart.

    Raises:
        ValueError: it is none; the text says what to write instead.
    """
    scheme, _, rest = url.partition(":")
    if not url.isprintable():
        raise ValueError("a listen URL holds no control characters")
    if scheme == "unix":
        return _parse_unix(url, rest)
    if scheme == "tcp" and rest.startswith("//"):
        return _parse_tcp(url, rest.removeprefix("//"))
    raise ValueError(f'"{shown(url)}" is neither tcp://HOST:PORT, as in tcp://127.0.0.1:7337, nor unix:/PATH')


def _parse_unix(url: str, rest: str) -> Listen:
    path, question, query = rest.partition("?")
    # unix:///run/x, with the empty host of other URLs, means the same file.
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


def _parse_tcp(url: str, rest: str) -> Listen:
    if rest.count(":") > 1 and not rest.startswith("["):
        raise ValueError("an IPv6 address goes in brackets, as in tcp://[::1]:7337")
    match = _HOST_AND_PORT.fullmatch(rest)
    if not match or int(match["port"] or DEFAULT_PORT) > LARGEST_PORT:
        raise ValueError(f"behind tcp:// come HOST:PORT, the port from 0 to {LARGEST_PORT}, and nothing else")
    return Listen(url, "tcp", host=_parse_host(match["host"]), port=int(match["port"] or DEFAULT_PORT))


def _parse_host(written: str) -> str:
    """Return the host in the one form that compares: addresses at their shortest, names in small letters."""
    try:
        if written.startswith("["):
            return str(ipaddress.IPv6Address(written[1:-1]))
        if re.fullmatch(r"[0-9.]+", written):
            return str(ipaddress.IPv4Address(written))
    except ValueError:
        raise ValueError(f'"{shown(written)}" is no IP address') from None
    if written and (len(written) > LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(written)):
        raise ValueError(f'"{shown(written)}" is no host name or address; all addresses are 0.0.0.0 and [::]')
    return written.lower()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a listener on `host`, of which every address must be loopback.

    Raises:
        ValueError: a name that does not resolve.
    """
    if host in {"", "localhost"}:
        return host == "localhost"
    try:
        return _is_loopback_address(host)
    except ValueError:
        import socket  # only a name needs it
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f'"{shown(host)}" does not resolve: correct it, or write its address') from None
    return all(_is_loopback_address(str(address[0])) for *_, address in found)


def _is_loopback_address(literal: str) -> bool:
    address = ipaddress.ip_address(literal)
    # Python before 3.13 does not see 127.0.0.1 in ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Milliseconds = Annotated[int, msgspec.Meta(extra={"unit": "milliseconds"})]
ListenURL = Annotated[str, msgspec.Meta(extra={"check": parse_listen})]


class Log(Table, frozen=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        msgspec.Meta(description="The least severe messages that are logged."),
    ] = "info"


class Limits(Table, frozen=True):
    """`[limits]`: sizes and time-outs, none of which can be switched off."""

    max_connections: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=MOST_CONNECTIONS,
            description="Most connections; never above RLIMIT_NOFILE - 64. Past it: server-full, close.",
        ),
    ] = 10_000
    register_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="From the accept until a client that speaks length-prefixed has registered."
            " Past it: register-timeout, close.",
        ),
    ] = 10_000
    register_timeout_lines_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="The same for lines, which people type, and for a client that has said nothing yet.",
        ),
    ] = 60_000
    frame_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="First to last byte of a length-prefixed frame; lines have 60 s. Past it: close.",
        ),
    ] = 10_000
    max_frame_unregistered: Annotated[
        Bytes,
        msgspec.Meta(
            ge=LEAST_FRAME,
            le=LARGEST_FRAME,
            description="Largest frame before registration; at most max_frame. Past it: bad-frame, close.",
        ),
    ] = 4_096
    max_frame: Annotated[
        Bytes,
        msgspec.Meta(
            ge=LEAST_FRAME,
            le=LARGEST_FRAME,
            description="Largest frame; at most outbox_bytes - 4. Past it: bad-frame, close;"
            " a line is skipped, too-large, and the connection goes on.",
        ),
    ] = 65_536
    max_depth: Annotated[
        int,
        msgspec.Meta(ge=1, le=512, description="Deepest nesting of what is relayed. Past it: bad-message."),
    ] = 16
    outbox_bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Most that may wait for one client; at most outbox_bytes_total. Past it: peer-busy to"
            " the sender. A message that the recipient takes at all always fits an empty outbox.",
        ),
    ] = 262_144
    outbox_bytes_per_sender: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Most of it from one sender; at most outbox_bytes. Past it: peer-busy to the sender.",
        ),
    ] = 65_536
    outbox_bytes_own: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Most that may wait for one client of the server's own replies to it."
            " Past it: the client is not read until it has taken them.",
        ),
    ] = 65_536
    outbox_bytes_total: Annotated[
        Bytes,
        msgspec.Meta(
            ge=1,
            le=LARGEST_SIZE,
            description="Most that may wait for all clients together. Past it: peer-busy to senders.",
        ),
    ] = 67_108_864
    stall_timeout_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="How long a client may take nothing of its outbox. Past it: slow-consumer, close.",
        ),
    ] = 10_000
    keepalive_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=5_000,
            le=300_000,
            description="A client silent that long is pinged, unless it asked for another time or speaks"
            " lines. At 2.5 times it: idle-timeout, close.",
        ),
    ] = 30_000
    linger_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=1,
            le=DAY_MS,
            description="After a client's end of file, to send what is due; after a closing error, to let it"
            " be read. Past it: close.",
        ),
    ] = 5_000

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what would leave a limit unreachable, or a frame without room."""
        if self.max_frame > self.outbox_bytes - LENGTH_PREFIX:
            yield (
                (("max_frame",), ("outbox_bytes",)),
                f"max_frame ({self.max_frame}) is above outbox_bytes - {LENGTH_PREFIX}"
                f" ({self.outbox_bytes - LENGTH_PREFIX}), so that the largest frame would fit no outbox:"
                " lower max_frame or raise outbox_bytes",
            )
        for smaller, larger in _NOT_ABOVE:
            least, most = getattr(self, smaller), getattr(self, larger)
            if least > most:
                yield (
                    ((smaller,), (larger,)),
                    f"{smaller} ({least}) is above {larger} ({most}): lower {smaller} or raise {larger}",
                )


# A part that is larger than the whole is a slip, and would never be reached.
_NOT_ABOVE = (
    ("max_frame_unregistered", "max_frame"),
    ("outbox_bytes_per_sender", "outbox_bytes"),
    ("outbox_bytes", "outbox_bytes_total"),
)


class Config(Table, frozen=True):
    """All of it."""

    listen: Annotated[
        tuple[ListenURL, ...],
        msgspec.Meta(
            min_length=1,
            description="Where clients connect: tcp://HOST:PORT (IPv6 in brackets; port 0: the system picks"
            " one), or unix:/PATH, behind which ?mode=0660 sets the permissions of the socket.",
        ),
    ] = ("tcp://127.0.0.1:7337",)
    insecure: Annotated[
        bool,
        msgspec.Meta(
            description="Allow listening beyond loopback without credentials: whoever reaches the port may"
            " claim any peer ID that is free."
        ),
    ] = False
    log: Annotated[Log, msgspec.Meta(description="What is logged.")] = msgspec.field(default_factory=Log)
    limits: Annotated[
        Limits,
        msgspec.Meta(description="How much a client may have, and how long it may take."),
    ] = msgspec.field(default_factory=Limits)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield listeners that name an address again, that resolve to nothing, or that strangers reach."""
        first: dict[tuple[str, int, str], str] = {}
        for number, url in enumerate(self.listen):
            key = ("listen", number)
            listen = parse_listen(url)
            address = (listen.host, listen.port, listen.path)
            if address in first and (listen.port or listen.path):
                yield (key,), f'"{shown(url)}" is the same address as "{shown(first[address])}": remove one'
            first.setdefault(address, url)
            try:
                local = listen.scheme == "unix" or is_loopback(listen.host)
            except ValueError as error:
                yield (key,), str(error)
            else:
                if not local and not self.insecure:
                    yield (key, ("insecure",)), f'"{shown(url)}" is no loopback address: {INSECURE_ADVICE}'


def load(path: str | None, listen: Sequence[str] = (), settings: Sequence[str] = ()) -> Config:
    """Return the configuration: defaults, over them the file, `--set` settings, and `--listen` URLs.

    Raises:
        ConfigError: with every fault in all of them.
    """
    source = Source()
    if path is not None:
        source.read_file(path)
    for setting in settings:
        source.override(setting)
    if listen:
        source.put_items("listen", listen, "--listen")
    return read(Config, source)
