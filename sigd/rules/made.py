"""The rules in force, made from a configuration and its files: all is read before any of it takes effect."""

import hashlib
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sigd import metrics
from sigd.config import Config, ConfigError, Fault, Listener, StartError, digest
from sigd.config.auth import CertificateEntry, Entry, HmacEntry, JwtEntry, TokenEntry, UnixEntry
from sigd.config.ice import Ice
from sigd.net.tls import context_for
from sigd.relay.access import Access
from sigd.relay.credentials import ClientCertificate, Credential, ExpiringToken, Permissions, StaticToken, UnixCaller
from sigd.relay.ice import Vendor
from sigd.relay.rates import Rates
from sigd.relay.web_tokens import WebToken
from sigd.rules import secret_files

if TYPE_CHECKING:
    from OpenSSL import SSL

Given = TypeVar("Given")
Found = TypeVar("Found")

ListenerKey = tuple[str, int]
"""A listener's URL, and the number of equal URLs before it: with port 0 those are different listeners."""

NO_JWT: Final = "PyJWT is not installed: make install EXTRAS=jwt, or pip install '.[jwt]' in a clone"

NO_DTLS: Final = "pyOpenSSL is not installed: make install EXTRAS=dtls, or pip install '.[dtls]' in a clone"


class Rules:
    """The rules in force.

    Attributes:
        config: the configuration that they were made from.
        access: the credentials and permissions.
        vendor: the source of STUN and TURN servers.
        contexts: TLS contexts by `listeners_of`; None without a certificate.
        dtls_contexts: DTLS contexts of DTLS listeners, likewise.
        files: digests of the files read, by path.
    """

    def __init__(self, config: Config) -> None:
        """Read the files of the configuration.

        Raises:
            ConfigError: with all faults found.
        """
        self.config = config
        self.files: dict[str, bytes] = {}
        self._faults: list[Fault] = []
        credentials: list[Credential] = []
        for make, entry in self._entries():
            credentials += self._or_fault(make, entry) or ()
        self.access = Access(credentials, config.auth.deny, Rates.of(config.limits))
        self.vendor = self._or_fault(self._vendor, config.ice) or Vendor((), (), None, 0)
        self.contexts = {key: self._or_fault(self._context, listener) for key, listener in listeners_of(config)}
        self.dtls_contexts: dict[ListenerKey, SSL.Context] = {}
        for key, listener in listeners_of(config):
            if listener.address.scheme == "dtls" and self.contexts[key] is not None:
                context = self._or_fault(self._dtls_context, listener)
                if context is not None:
                    self.dtls_contexts[key] = context
        if config.metrics.listen is not None and (what := metrics.missing()):
            self._faults.append(Fault("metrics.listen", what))
        if self._faults:
            raise ConfigError(self._faults)

    def _or_fault(self, make: Callable[[Given], Found], given: Given) -> Found | None:
        try:
            return make(given)
        except StartError as fault:
            found = Fault(fault.where, fault.what)
            if found not in self._faults:  # one file may be named by several keys
                self._faults.append(found)
            return None

    def _entries(self) -> Iterator[tuple[Callable[[Any], Sequence[Credential]], Entry]]:
        """Yield every entry of [auth] with the function that makes its credentials."""
        auth = self.config.auth
        kinds: list[tuple[Callable[[Any], Sequence[Credential]], Sequence[Entry]]] = [
            (self._static_tokens, auth.token),
            (self._expiring_tokens, auth.hmac),
            (self._web_tokens, auth.jwt),
            (self._certificates, auth.certificate),
            (self._unix_callers, auth.unix),
        ]
        for make, entries in kinds:
            for entry in entries:
                yield make, entry

    def _permissions(self, entry: Entry, register: Sequence[str]) -> Permissions:
        rates = Rates.of(entry.applied_to(self.config.limits))
        return Permissions(register, entry.talk, discover=entry.discover, rates=rates)

    def _static_tokens(self, entry: TokenEntry) -> Sequence[Credential]:
        return [
            StaticToken(entry.secret_file, self._permissions(entry, entry.register), self._secrets(entry.secret_file))
        ]

    def _expiring_tokens(self, entry: HmacEntry) -> Sequence[Credential]:
        return [
            ExpiringToken(entry.secret_file, self._permissions(entry, entry.register), self._secrets(entry.secret_file))
        ]

    def _certificates(self, entry: CertificateEntry) -> Sequence[Credential]:
        return [ClientCertificate(entry.names, self._permissions(entry, entry.register))]

    def _unix_callers(self, entry: UnixEntry) -> Sequence[Credential]:
        users = self._or_fault(secret_files.resolve_users, entry.users) or frozenset()
        groups = self._or_fault(secret_files.resolve_groups, entry.groups) or frozenset()
        return [UnixCaller(users, groups, self._permissions(entry, entry.register))]

    def _web_tokens(self, entry: JwtEntry) -> Sequence[Credential]:
        if entry.algorithm == "HS256":
            keys = self._secrets(entry.key_file, WebToken.MIN_SECRET)
        else:
            keys = (self._public(entry.key_file),)
        try:
            return [
                WebToken(
                    entry.key_file,
                    self._permissions(entry, entry.register),
                    algorithm=entry.algorithm,
                    key=key,
                    issuer=entry.issuer,
                    audience=entry.audience,
                    claim=entry.claim,
                )
                for key in keys
            ]
        except ImportError as fault:
            raise StartError("[[auth.jwt]]", NO_JWT) from fault
        except ValueError as fault:
            raise StartError(entry.key_file, str(fault)) from fault

    def _secrets(self, name: str, least: int = secret_files.LEAST_SECRET) -> tuple[bytes, ...]:
        secrets = secret_files.read_secrets(name, least)
        self._noted(name, b"\n".join(secrets))
        return secrets

    def _public(self, name: str) -> bytes:
        return self._noted(name, secret_files.read_public(name))

    def _private(self, name: str) -> bytes:
        return self._noted(name, secret_files.read_private(name))

    def _noted(self, name: str, content: bytes) -> bytes:
        self.files[name] = hashlib.sha256(content).digest()
        return content

    def _vendor(self, ice: Ice) -> Vendor:
        secret = None if ice.turn_secret_file is None else self._secrets(ice.turn_secret_file)[0]
        return Vendor(ice.stun_urls, ice.turn_urls, secret, ice.turn_ttl_ms / 1000)

    def _context(self, listener: Listener) -> ssl.SSLContext | None:
        if listener.certificate is None or listener.key is None:
            return None
        found = [self._or_fault(self._public, listener.certificate), self._or_fault(self._private, listener.key)]
        if listener.client_ca is not None:
            found.append(self._or_fault(self._public, listener.client_ca))
        if None in found:
            return None
        return context_for(
            listener.url,
            secret_files.locate(listener.certificate),
            secret_files.locate(listener.key),
            None if listener.client_ca is None else secret_files.locate(listener.client_ca),
            client_required=listener.client_certificate == "required",
        )

    def _dtls_context(self, listener: Listener) -> "SSL.Context":
        """Return the DTLS context; its files were checked for TLS already."""
        assert listener.certificate is not None
        assert listener.key is not None
        try:
            from sigd.net.dtls import certificate_context
        except ImportError as fault:
            raise StartError(listener.url, NO_DTLS) from fault
        return certificate_context(
            listener.url, secret_files.locate(listener.certificate), secret_files.locate(listener.key)
        )

    def changed_files(self, other: "Rules") -> list[str]:
        """Return files read by both with different content."""
        return [name for name, digest in other.files.items() if self.files.get(name, digest) != digest]

    @property
    def fingerprint(self) -> str:
        """A digest of the configuration and of the files that it names, hardly ever equal for two different ones."""
        return hashlib.sha256(f"{digest(self.config)} {sorted(self.files.items())}".encode()).hexdigest()[:16]

    def vends_otherwise(self, other: "Rules") -> bool:
        """Return whether peers would get other STUN and TURN servers or credentials."""
        ice = self.config.ice
        return ice != other.config.ice or ice.turn_secret_file in self.changed_files(other)


def listeners_of(config: Config) -> Iterator[tuple[ListenerKey, Listener]]:
    """Yield every listener with a key that identifies it across configurations."""
    seen: Counter[str] = Counter()
    for listener in config.listen:
        yield (listener.url, seen[listener.url]), listener
        seen[listener.url] += 1
