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
    "to listen beyond loopback say in [auth] who may be whom, or set `insecure = true` (on the command line:"
    " --set insecure=true) to let everybody be anybody, or use 127.0.0.1, [::1] or a unix: path"
)
PLAINTEXT_ADVICE = (
    "credentials would cross the network unencrypted: listen on tls://, with `certificate` and `key`,"
    " or set `plaintext = true` in this [[listen]]"
)
MIXED_ADVICE = (
    "credentials could cross the network unencrypted, since tcp:// with a certificate takes plain text as well:"
    " write tls:// instead of tcp://, or set `plaintext = true` in this [[listen]]"
)

DATAGRAM_ADVICE = (
    "datagrams can be forged by anybody, and only those of [[auth.hmac]] are authenticated: add such a credential,"
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
            yield (key, ("insecure",), ("auth",)), f'"{url}" is no loopback address: {advice}'


def credential_conflicts(listen: Sequence[Listener], auth: Auth, *, insecure: bool) -> Iterator[Conflict]:
    """Yield credentials that no client could present, or that no listener would ask for."""
    if insecure and auth.configured:
        yield (
            (("insecure",), ("auth",)),
            "`insecure = true` is for doing without credentials, and [auth] has some: remove one of both",
        )
    authorities: list[Path] = [("listen", number) for number, each in enumerate(listen) if each.client_ca]
    if auth.certificate and not authorities:
        yield (
            (("auth", "certificate"), ("listen",)),
            "no listener asks for client certificates: give one of [[listen]] a `client_ca`",
        )
    for path in authorities if not auth.certificate else ():
        yield (
            ((*path, "client_ca"), ("auth",)),
            "nobody may be anybody with a client certificate: add [[auth.certificate]], or remove `client_ca`",
        )
    if auth.unix and all(each.address.scheme != "unix" for each in listen):
        yield (
            (("auth", "unix"), ("listen",)),
            "no listener tells users apart: add one on a unix: path, or remove [[auth.unix]]",
        )
