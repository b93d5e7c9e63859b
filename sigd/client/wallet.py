"""Credentials: members of `register` that prove a peer's identity, from any source in the program. No I/O."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sigd.client.errors import NoCredentials

Credentials = Mapping[str, str]
"""Members of `register`: `token`, or `user` and `token`, or `jwt` (protocol.md, section 6)."""

CredentialsSource = Credentials | Callable[[], Credentials | Awaitable[Credentials]]
"""Constant credentials, or a function called for them before each `register`."""

NONE: Final[Credentials] = MappingProxyType({})
"""No credentials: a Unix socket or a client certificate proves the identity."""

_KINDS: Final = (frozenset({"token"}), frozenset({"user", "token"}), frozenset({"jwt"}))

# Quotes no input: a secret might be in the wrong place.
_EXPECTED: Final = "credentials are a mapping of `token`, or `user` and `token`, or `jwt` to texts that are not empty"


class Wallet:
    """The source of one peer's credentials, which are shown only to the server.

    Attributes:
        renewable: whether fresh ones are available at any time.
    """

    def __init__(self, source: CredentialsSource | None) -> None:
        """Take the source.

        Raises:
            ValueError: it is no mapping of credentials, nor a function.
        """
        self._make: Callable[[], Any] | None = source if callable(source) else None
        self._given = NONE if source is None or callable(source) else checked(source)
        self.renewable = self._make is not None

    async def fresh(self) -> Credentials:
        """Return credentials to register with.

        Raises:
            NoCredentials: the program's function has failed; its exception is the cause.
        """
        if self._make is None:
            return self._given
        try:
            made = self._make()
            return checked(await made if inspect.isawaitable(made) else made)
        except Exception as fault:
            raise NoCredentials(fault) from fault


def checked(credentials: object) -> Credentials:
    """Return a checked copy of credentials for `register`.

    Raises:
        ValueError: they are of an unknown kind.
    """
    if not isinstance(credentials, Mapping):
        raise ValueError(_EXPECTED)
    copy: dict[Any, Any] = dict(credentials)  # pyright: ignore[reportUnknownArgumentType]
    if frozenset(copy) not in _KINDS or not all(isinstance(text, str) and _is_fit(text) for text in copy.values()):
        raise ValueError(_EXPECTED)
    return copy


def _is_fit(text: str) -> bool:
    """Return whether a text can be sent: half of a surrogate pair, from a bad environment, cannot."""
    return bool(text) and not any("\ud800" <= letter <= "\udfff" for letter in text)
