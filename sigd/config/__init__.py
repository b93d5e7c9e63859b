"""The configuration: a TOML file, overridden by the command line, becomes one frozen Struct.

Every key is a field of a Struct in this package, documented at its definition; `sigd --print-config` prints these
texts. `load` finds every fault, with its place. No trio, and no sockets except to look up a host name in `listen`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from sigd.config.auth import Auth, CertificateEntry, Entry, HmacEntry, JwtEntry, TokenEntry, UnixEntry
from sigd.config.ice import Ice
from sigd.config.limits import Limits, parse_network
from sigd.config.listen import DATAGRAM_SCHEMES, DEFAULT_PORT, Listen, Listener, is_loopback, parse_listen
from sigd.config.trust import INSECURE_ADVICE, address_conflicts, credential_conflicts, needs_seal, why_loopback_only
from sigd.config.watching import Admin, Log, Metrics, Record
from sigd.toml.changes import Change, changes
from sigd.toml.places import Fault, Source
from sigd.toml.render import render
from sigd.toml.tables import ConfigError, Conflict, Table, read

__all__ = [
    "DATAGRAM_SCHEMES",
    "DEFAULT_PORT",
    "INSECURE_ADVICE",
    "Admin",
    "Auth",
    "CertificateEntry",
    "Change",
    "Config",
    "ConfigError",
    "Entry",
    "Fault",
    "HmacEntry",
    "Ice",
    "JwtEntry",
    "Limits",
    "Listen",
    "Listener",
    "Log",
    "Metrics",
    "Record",
    "StartError",
    "TokenEntry",
    "UnixEntry",
    "changes",
    "digest",
    "is_loopback",
    "load",
    "parse_listen",
    "parse_network",
    "render",
]


class StartError(Exception):
    """A valid configuration that cannot take effect: an address in use, a secret readable to everybody."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Config(Table, frozen=True):
    """The complete configuration."""

    listen: Annotated[
        tuple[Annotated[Listener, msgspec.Meta(extra={"short": "url"})], ...],
        msgspec.Meta(
            min_length=1,
            description='Listeners. A plain URL may stand for a table, as in listen = ["URL", "URL"]. Adding or'
            " removing a listener needs a restart.",
            extra={"restart": True},  # listening sockets are opened once, before privileges are given up
        ),
    ] = (Listener("tcp://127.0.0.1:7337"),)
    insecure: Annotated[
        bool,
        msgspec.Meta(
            description="Allow listening beyond loopback without credentials: anyone who can reach the port can"
            " claim any free peer ID."
        ),
    ] = False
    log: Annotated[Log, msgspec.Meta(description="Logging.")] = msgspec.field(default_factory=Log)
    auth: Annotated[
        Auth,
        msgspec.Meta(description="Credentials and permissions. Without any credential, clients may claim any free ID."),
    ] = msgspec.field(default_factory=Auth)
    ice: Annotated[
        Ice,
        msgspec.Meta(description="STUN and TURN servers sent to peers when they register."),
    ] = msgspec.field(default_factory=Ice)
    limits: Annotated[
        Limits,
        msgspec.Meta(description="Limits on each client's resources and times."),
    ] = msgspec.field(default_factory=Limits)

    admin: Annotated[
        Admin,
        msgspec.Meta(description="The admin socket of sigctl, and its permissions."),
    ] = msgspec.field(default_factory=Admin)
    metrics: Annotated[
        Metrics,
        msgspec.Meta(description="Metrics for Prometheus."),
    ] = msgspec.field(default_factory=Metrics)
    record: Annotated[
        Record,
        msgspec.Meta(description="Record of recent messages between peers."),
    ] = msgspec.field(default_factory=Record)

    def why_loopback_only(self, listener: Listener) -> str:
        """Explain why this listener must stay on loopback, and the remedy; empty if it need not."""
        return why_loopback_only(listener, self.auth, insecure=self.insecure)

    def needs_seal(self, listener: Listener) -> bool:
        """Return whether input to this listener from other machines counts only if authenticated."""
        return needs_seal(listener, self.auth)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield conflicts between tables: exposure to strangers, and missing requirements."""
        yield from address_conflicts(self.listen, self.auth, insecure=self.insecure)
        yield from credential_conflicts(self.listen, self.auth, insecure=self.insecure)
        if self.insecure and self.ice.turn_secret_file:
            yield (
                (("ice", "turn_secret_file"), ("insecure",)),
                "with `insecure = true` anyone who can reach the port would get TURN credentials: configure [auth]"
                " instead, or remove `turn_secret_file` and `turn_urls`",
            )
        for path, entry in self.auth.entries():
            own = [(*path, key) for key in ("bytes_burst", "bytes_per_second") if getattr(entry, key) is not None]
            if own and (what := entry.applied_to(self.limits).burst_fault()):
                keys = (*(("auth", *key) for key in own), ("limits", "bytes_burst"), ("limits", "max_frame"))
                yield keys, what


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


def digest(config: Config) -> str:
    """Return an eight-letter digest of a configuration, hardly ever equal for two different ones."""
    import hashlib  # nothing else here needs it

    return hashlib.sha256(render(config).encode()).hexdigest()[:8]
