"""What proves who a peer is: the members of `register` that carry it, from wherever the program has them. No I/O."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from sigd.client.errors import NoCredentials

Credentials = Mapping[str, str]
"""Members of `register`: `token`, or `user` and `token`, or `jwt` (protocol.md, section 6)."""

CredentialsSource = Credentials | Callable[[], Credentials | Awaitable[Credentials]]
"""Credentials that stay the same, or a function that is called for them before each `register`."""

NONE: Final[Credentials] = MappingProxyType({})
"""For who has none to show: a Unix socket and a client certificate speak for themselves."""

_KINDS: Final = (frozenset({"token"}), frozenset({"user", "token"}), frozenset({"jwt"}))

# Says nothing of what was given: a secret might be in the wrong place.
_EXPECTED: Final = "credentials are a mapping of `token`, or `user` and `token`, or `jwt` to texts that are not empty"


class Wallet:
    """Where the credentials of one peer come from; it shows them to nobody but the server.

    Attributes:
        renewable: whether there are fresh ones whenever they are needed.
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
        """Credentials to register with.

        Raises:
            NoCredentials: the program's function has failed; what it raised is the cause.
        """
        if self._make is None:
            return self._given
        try:
            made = self._make()
            return checked(await made if inspect.isawaitable(made) else made)
        except Exception as fault:
            raise NoCredentials(fault) from fault


def checked(credentials: object) -> Credentials:
    """A copy of credentials, fit for `register`.

    Raises:
        ValueError: they are of no kind that a server knows.
    """
    if not isinstance(credentials, Mapping):
        raise ValueError(_EXPECTED)
    copy: dict[Any, Any] = dict(credentials)  # pyright: ignore[reportUnknownArgumentType]
    if frozenset(copy) not in _KINDS or not all(isinstance(text, str) and _is_fit(text) for text in copy.values()):
        raise ValueError(_EXPECTED)
    return copy


def _is_fit(text: str) -> bool:
    """Whether a text can be sent: half of a surrogate pair, from the bytes of a bad environment, cannot."""
    return bool(text) and not any("\ud800" <= letter <= "\udfff" for letter in text)
