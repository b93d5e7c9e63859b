"""`[auth]`: credentials and the permissions that they grant; the secrets themselves are in files."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from sigd.config.kinds import Burst, ByteBurst, ByteRate, FileName, Glob, Name, NamedGlob, Rate
from sigd.config.limits import Limits
from sigd.text import shown
from sigd.toml.places import Path, dotted
from sigd.toml.tables import Conflict, Table

# The kernel shows this ID for every user and group of another user namespace, so it identifies nobody.
OVERFLOW_ID = 65_534
# (uid_t) -1 means "none" to system calls.
LARGEST_ID = (1 << 32) - 2
# Linux's LOGIN_NAME_MAX, its NUL not counted.
LONGEST_ACCOUNT = 255
# Names that distributions give to the user and the group with OVERFLOW_ID.
OVERFLOW_NAMES = frozenset({"nobody", "nogroup", "nfsnobody"})
# Keys of [limits] that an entry can override.
OWN_RATES = ("messages_per_second", "messages_burst", "bytes_per_second", "bytes_burst")

_ACCOUNT = re.compile(r"[^\s:,/]+")


def check_account(written: str) -> None:
    """Check the name or number of a user or group.

    Raises:
        ValueError: it is invalid, or identifies nobody.
    """
    if not written.isprintable() or len(written) > LONGEST_ACCOUNT or not _ACCOUNT.fullmatch(written):
        raise ValueError(f'"{shown(written)}" is not the name or number of a user or group')
    number = int(written) if written.isascii() and written.isdecimal() else 0
    if written in OVERFLOW_NAMES or number == OVERFLOW_ID:
        raise ValueError(
            f'"{written}" stands for all users of another user namespace, so it identifies nobody: use another one'
        )
    if number > LARGEST_ID:
        raise ValueError(f'"{shown(written)}" is above {LARGEST_ID}, the largest number of a user or group')


def check_name_glob(glob: str) -> None:
    """Check a glob of the names in certificates.

    Raises:
        ValueError: no name would match it.
    """
    if not glob or not glob.isascii() or not glob.isprintable():
        raise ValueError(
            f'"{shown(glob)}" is not a glob of names: use printable ASCII, in which * matches any characters'
        )


Account = Annotated[str, msgspec.Meta(extra={"check": check_account})]
NameGlob = Annotated[str, msgspec.Meta(extra={"check": check_name_glob})]


def _own(key: str) -> msgspec.Meta:
    return msgspec.Meta(description=f"Override of {key} in [limits] for peers that register with this entry.")


class Entry(Table, frozen=True, kw_only=True):
    """Permissions of a credential, beside the IDs that it may register."""

    talk: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(description="IDs that it may send to, as globs: * matches any characters."),
    ] = ("*",)
    discover: Annotated[bool, msgspec.Meta(description="Whether it may list and watch registered peers.")] = False
    messages_per_second: Annotated[Rate | None, _own("messages_per_second")] = None
    messages_burst: Annotated[Burst | None, _own("messages_burst")] = None
    bytes_per_second: Annotated[ByteRate | None, _own("bytes_per_second")] = None
    bytes_burst: Annotated[ByteBurst | None, _own("bytes_burst")] = None

    def applied_to(self, limits: Limits) -> Limits:
        """Return the limits, overridden by this entry's own rates."""
        own = {key: getattr(self, key) for key in OWN_RATES if getattr(self, key) is not None}
        return msgspec.structs.replace(limits, **own) if own else limits


class TokenEntry(Entry, frozen=True):
    """An entry of `[[auth.token]]`: clients that present one of the secrets."""

    secret_file: Annotated[
        FileName,
        msgspec.Meta(
            description="File with the token, not readable to others; several tokens, one per line, during a"
            " rotation. An absolute path, or the plain name of a systemd credential (LoadCredential). `openssl"
            " rand -base64 32` makes a good token."
        ),
    ]
    register: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(min_length=1, description="IDs that it may register, as globs: * stands for any characters."),
    ]


class HmacEntry(Entry, frozen=True):
    """An entry of `[[auth.hmac]]`: clients with an unexpired token made from the secret."""

    secret_file: Annotated[
        FileName,
        msgspec.Meta(
            description="File with the secret, as in [[auth.token]]; `sigctl token` makes tokens with its first line."
        ),
    ]
    register: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(min_length=1, description="IDs that it may register, as globs; an upper bound for its user name."),
    ] = ("*",)


class JwtEntry(Entry, frozen=True):
    """An entry of `[[auth.jwt]]`: clients with a JSON Web Token of the issuer."""

    algorithm: Annotated[
        Literal["HS256", "EdDSA", "ES256"],
        msgspec.Meta(description="Signature algorithm of the tokens; the algorithm named in a token is ignored."),
    ]
    key_file: Annotated[
        FileName,
        msgspec.Meta(
            description="File with the issuer's public key (PEM), or for HS256 with the secret, at least 32"
            " characters long and not readable to others."
        ),
    ]
    issuer: Annotated[Name, msgspec.Meta(description="Required value of the claim iss.")]
    audience: Annotated[Name, msgspec.Meta(description="Required value of the claim aud, or one of its values.")]
    claim: Annotated[
        Name,
        msgspec.Meta(description="Name of the claim with the IDs: a glob, or a list of globs."),
    ] = "sub"
    register: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(min_length=1, description="IDs that it may register, as globs; an upper bound for the claim."),
    ] = ("*",)


class CertificateEntry(Entry, frozen=True):
    """An entry of `[[auth.certificate]]`: clients with a certificate of a listener's client_ca."""

    names: Annotated[
        tuple[NameGlob, ...],
        msgspec.Meta(
            min_length=1,
            description="Names in the certificate, as globs: its DNS and URI subject alternative names, and its"
            " common name. The first match counts.",
        ),
    ] = ("*",)
    register: Annotated[
        tuple[NamedGlob, ...],
        msgspec.Meta(
            min_length=1,
            description="IDs that it may register, as globs; {name} by itself stands for the name that matched.",
        ),
    ] = ("{name}",)


class UnixEntry(Entry, frozen=True):
    """An entry of `[[auth.unix]]`: clients on a Unix socket that run as one of the users or groups."""

    register: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(min_length=1, description="IDs that it may register, as globs: * stands for any characters."),
    ]
    users: Annotated[tuple[Account, ...], msgspec.Meta(description="Names or numbers of users.")] = ()
    groups: Annotated[
        tuple[Account, ...],
        msgspec.Meta(description="Names or numbers of groups; any of the client's groups counts."),
    ] = ()

    def conflicts(self) -> Iterator[Conflict]:
        """Yield a conflict if neither users nor groups are named."""
        if not self.users and not self.groups:
            yield (("users",), ("groups",)), "no user or group is named: fill in `users` or `groups`"


class Auth(Table, frozen=True):
    """`[auth]`."""

    deny: Annotated[
        tuple[Glob, ...],
        msgspec.Meta(
            description="IDs that no client may register, as globs, with any credentials; a reload closes the links"
            " of peers with such an ID."
        ),
    ] = ()
    token: Annotated[
        tuple[TokenEntry, ...],
        msgspec.Meta(description="Tokens without expiry, presented by clients."),
    ] = ()
    hmac: Annotated[
        tuple[HmacEntry, ...],
        msgspec.Meta(description="Expiring tokens made from a secret, as for TURN servers."),
    ] = ()
    jwt: Annotated[
        tuple[JwtEntry, ...],
        msgspec.Meta(description="JSON Web Tokens of an external issuer."),
    ] = ()
    certificate: Annotated[
        tuple[CertificateEntry, ...],
        msgspec.Meta(description="Client certificates, for listeners with a client_ca."),
    ] = ()
    unix: Annotated[
        tuple[UnixEntry, ...],
        msgspec.Meta(description="Users of this machine, for unix: listeners."),
    ] = ()

    @property
    def configured(self) -> bool:
        """Whether clients need a credential: not as long as none is configured."""
        return any(True for _ in self.entries())

    @property
    def bearer(self) -> bool:
        """Whether there are credentials that an eavesdropper could use."""
        return bool(self.token or self.hmac or self.jwt)

    def entries(self) -> Iterator[tuple[Path, Entry]]:
        """Yield every credential, with its path inside the table."""
        for kind in ("token", "hmac", "jwt", "certificate", "unix"):
            for number, entry in enumerate(getattr(self, kind)):
                yield (kind, number), entry

    def conflicts(self) -> Iterator[Conflict]:
        """Yield files with two meanings: one secret must not belong to two credentials."""
        first: dict[str, Path] = {}
        for path, name in self.secret_files():
            if name in first:
                other = dotted(("auth", *first[name]))
                yield (path, first[name]), f'"{shown(name)}" is also the file of {other}: give each its own secret'
            first.setdefault(name, path)

    def secret_files(self) -> Iterator[tuple[Path, str]]:
        """Yield the files whose lines are secrets, each with the path of its key."""
        for path, entry in self.entries():
            if isinstance(entry, TokenEntry | HmacEntry):
                yield (*path, "secret_file"), entry.secret_file
            elif isinstance(entry, JwtEntry) and entry.algorithm == "HS256":
                yield (*path, "key_file"), entry.key_file
