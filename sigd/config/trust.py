"""Refused configurations: those that would expose peers to strangers, and those without effect."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sigd.config.auth import Auth
from sigd.config.listen import ENCRYPTED_SCHEMES, Listener, is_loopback
from sigd.text import shown
from sigd.toml.tables import Conflict

if TYPE_CHECKING:
    from sigd.toml.places import Path

INSECURE_ADVICE = (
    "listening beyond loopback needs credentials: configure [auth], or set `insecure = true` (on the command line:"
    " --set insecure=true) to let any client claim any ID, or use 127.0.0.1, [::1] or a unix: path"
)
PLAINTEXT_ADVICE = (
    "credentials would cross the network unencrypted: listen on tls://, with `certificate` and `key`,"
    " or set `plaintext = true` in this [[listen]]"
)
MIXED_ADVICE = (
    "credentials could cross the network unencrypted: tcp:// with a certificate also accepts plain text;"
    " write tls:// instead of tcp://, or set `plaintext = true` in this [[listen]]"
)

DATAGRAM_ADVICE = (
    "datagrams can be forged, and only those of [[auth.hmac]] peers are authenticated: add such a credential,"
    " or listen on dtls:// or tls://, or set `plaintext = true` in this [[listen]]"
)


def needs_seal(listener: Listener, auth: Auth) -> bool:
    """Return whether datagrams from other machines count only if authenticated."""
    return listener.address.scheme == "udp" and auth.configured and not listener.plaintext


def why_loopback_only(listener: Listener, auth: Auth, *, insecure: bool) -> str:
    """Explain why a listener must stay on loopback, and the remedy; empty if it need not."""
    if insecure:
        return ""
    if not auth.configured:
        return INSECURE_ADVICE
    scheme = listener.address.scheme
    if listener.plaintext or scheme in ENCRYPTED_SCHEMES:
        return ""
    if scheme == "udp":
        return "" if auth.hmac else DATAGRAM_ADVICE
    if not auth.bearer:
        return ""
    return MIXED_ADVICE if listener.certificate else PLAINTEXT_ADVICE


def address_conflicts(listen: Sequence[Listener], auth: Auth, *, insecure: bool) -> Iterator[Conflict]:
    """Yield listeners whose address is duplicate, unresolvable, or exposed to strangers."""
    first: dict[tuple[bool, str, int, str], str] = {}
    for number, listener in enumerate(listen):
        key = ("listen", number)
        url, at = shown(listener.url), listener.address
        address = at.socket_key
        if address in first and (at.port or at.path):
            yield (key,), f'"{url}" is the same address as "{first[address]}": remove one'
        first.setdefault(address, url)
        try:
            local = at.scheme == "unix" or is_loopback(at.host)
        except ValueError as error:
            yield (key,), str(error)
            continue
        if not local and (advice := why_loopback_only(listener, auth, insecure=insecure)):
            yield (key, ("insecure",), ("auth",)), f'"{url}" is not a loopback address: {advice}'


def credential_conflicts(listen: Sequence[Listener], auth: Auth, *, insecure: bool) -> Iterator[Conflict]:
    """Yield credentials that no client could present, or that no listener would ask for."""
    if insecure and auth.configured:
        yield (
            (("insecure",), ("auth",)),
            "`insecure = true` contradicts the credentials in [auth]: remove one of the two",
        )
    authorities: list[Path] = [("listen", number) for number, each in enumerate(listen) if each.client_ca]
    if auth.certificate and not authorities:
        yield (
            (("auth", "certificate"), ("listen",)),
            "no listener requests client certificates: add `client_ca` to a [[listen]]",
        )
    for path in authorities if not auth.certificate else ():
        yield (
            ((*path, "client_ca"), ("auth",)),
            "no [[auth.certificate]] entry accepts client certificates: add one, or remove `client_ca`",
        )
    if auth.unix and all(each.address.scheme != "unix" for each in listen):
        yield (
            (("auth", "unix"), ("listen",)),
            "no listener can identify local users: add one on a unix: path, or remove [[auth.unix]]",
        )
