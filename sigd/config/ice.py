"""`[ice]`: the STUN and TURN servers given to peers."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from sigd.config.kinds import DAY_MS, FileName, Milliseconds
from sigd.config.listen import parse_host_and_port
from sigd.text import shown
from sigd.toml.tables import Conflict, Table

# RFC 8489 and RFC 8656: STUN and TURN, where a URL does not say otherwise.
DEFAULT_ICE_PORT = 3478
# Fresh credentials are sent 60 s before the old ones expire: below twice that they would be sent all the time.
LEAST_TURN_TTL_MS = 120_000


def check_stun_url(url: str) -> None:
    """Check a URL of RFC 7064: `stun:HOST[:PORT]` or `stuns:HOST[:PORT]`.

    Raises:
        ValueError: it is none; the text names a valid value.
    """
    scheme, rest = _scheme_and_rest(url, ("stun", "stuns"))
    if "?" in rest:
        raise ValueError(f'"{shown(url)}": nothing may follow HOST:PORT; ?transport= is for turn: URLs only')
    _check_host_and_port(scheme, rest)


def check_turn_url(url: str) -> None:
    """Check a URL of RFC 7065: `turn:HOST[:PORT][?transport=udp|tcp]`, or `turns:`.

    Raises:
        ValueError: it is none; the text names a valid value.
    """
    scheme, rest = _scheme_and_rest(url, ("turn", "turns"))
    address, question, query = rest.partition("?")
    if question and query not in {"transport=udp", "transport=tcp"}:
        raise ValueError(f'"?{shown(query)}": only ?transport=udp or ?transport=tcp may follow HOST:PORT')
    _check_host_and_port(scheme, address)


def _scheme_and_rest(url: str, schemes: tuple[str, str]) -> tuple[str, str]:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in schemes or not url.isprintable():
        plain, secure = schemes
        raise ValueError(f'"{shown(url)}" is neither {plain}:HOST:PORT, as in {plain}:ice.example.net, nor {secure}:')
    if rest.startswith("//"):
        raise ValueError(f'"{shown(url)}": remove the //, as in {scheme}:ice.example.net')
    return scheme, rest


def _check_host_and_port(scheme: str, written: str) -> None:
    host, port = parse_host_and_port(written, f"{scheme}:", DEFAULT_ICE_PORT)
    if not host or port == 0:
        raise ValueError(f"after {scheme}: expected HOST or HOST:PORT, the port not 0")


class Ice(Table, frozen=True):
    """`[ice]`."""

    stun_urls: Annotated[
        tuple[Annotated[str, msgspec.Meta(extra={"check": check_stun_url})], ...],
        msgspec.Meta(description="STUN servers for all peers, as in stun:ice.example.net:3478."),
    ] = ()
    turn_urls: Annotated[
        tuple[Annotated[str, msgspec.Meta(extra={"check": check_turn_url})], ...],
        msgspec.Meta(
            description="TURN servers, as in turn:ice.example.net?transport=udp or turns:ice.example.net:5349. All"
            " of them share the secret in turn_secret_file."
        ),
    ] = ()
    turn_secret_file: Annotated[
        FileName | None,
        msgspec.Meta(
            description="File with the secret shared with the TURN servers (coturn: static-auth-secret), not"
            " readable to others. Peers receive expiring credentials made from it. An absolute path, or the plain"
            " name of a systemd credential (LoadCredential)."
        ),
    ] = None
    turn_ttl_ms: Annotated[
        Milliseconds,
        msgspec.Meta(
            ge=LEAST_TURN_TTL_MS,
            le=DAY_MS,
            description="Lifetime of TURN credentials; a peer receives new ones 60 s before they expire.",
        ),
    ] = 3_600_000

    def conflicts(self) -> Iterator[Conflict]:
        """Yield a conflict if TURN is configured by half."""
        for given, missing in (("turn_urls", "turn_secret_file"), ("turn_secret_file", "turn_urls")):
            if getattr(self, given) and not getattr(self, missing):
                yield (
                    ((given,), (missing,)),
                    f"`{given}` has no effect without `{missing}`: add `{missing}`, or remove `{given}`",
                )
