"""Cookies that have made a link: each makes one. No I/O, no clock: times are seconds.

A `register` that comes late, or that somebody recorded, must not begin its link again once that has ended. It can do so
only as long as its cookie counts, so that is how long a cookie is remembered, and at most twice. An address that opens
many links makes room for itself: its own oldest cookies are forgotten first, and nobody is refused.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from sigd.wire.times import moved

KEPT_SECONDS: Final = 60.0
"""Time for which a cookie counts at most (`wire.cookies`), after which a generation of them becomes the last one."""

KEPT_PER_ADDRESS: Final = 4_096
"""Cookies of one address in a generation: seven times those given out (`udp_unproven_per_second_per_address`)."""

KEPT: Final = 65_536
"""Cookies of all addresses in a generation, some 10 MiB: one for each of the links that there may be by default."""

KEY_BYTES: Final = 8
"""Bytes of the hash that stands for a cookie and its place: two of 131 072 are the same once in 10^9 times."""

UsedKey = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class UsedCookiesState(Struct, array_like=True):
    """See `UsedCookies`."""

    current: dict[str, list[UsedKey]]
    previous: dict[str, list[UsedKey]]
    turns_at: float


class UsedCookies:
    """The cookies that made links of late, by address."""

    __slots__ = ("_count", "_current", "_previous", "_turns_at")

    def __init__(self) -> None:
        self._current: dict[str, dict[bytes, None]] = {}
        self._previous: dict[str, dict[bytes, None]] = {}
        self._count = 0  # in the current generation
        self._turns_at = 0.0

    def __len__(self) -> int:
        return self._count + sum(map(len, self._previous.values()))

    def has(self, key: bytes, address: str, now: float) -> bool:
        """Return whether a cookie made a link already."""
        self._turn(now)
        return key in self._current.get(address, ()) or key in self._previous.get(address, ())

    def note(self, key: bytes, address: str, now: float) -> None:
        """Remember a cookie that made a link."""
        self._turn(now)
        own = self._current.get(address)
        if own is None:
            own = self._current[address] = {}
        if len(own) >= KEPT_PER_ADDRESS or (own and self._count >= KEPT):
            del own[next(iter(own))]
            self._count -= 1
        elif self._count >= KEPT:
            self._forget_oldest()
        own[key] = None
        self._count += 1

    def _forget_oldest(self) -> None:
        address, keys = next(iter(self._current.items()))
        del keys[next(iter(keys))]
        if not keys:
            del self._current[address]
        self._count -= 1

    def _turn(self, now: float) -> None:
        if now >= self._turns_at:
            self._previous = {} if now >= self._turns_at + KEPT_SECONDS else self._current
            self._current, self._count = {}, 0
            self._turns_at = now + KEPT_SECONDS

    # -- handing over

    @property
    def state(self) -> UsedCookiesState:
        """The state for another process, with times on this clock."""
        current, previous = (
            {address: list(keys) for address, keys in generation.items()}
            for generation in (self._current, self._previous)
        )
        return UsedCookiesState(current, previous, self._turns_at)

    def restore(self, state: UsedCookiesState, shift: float) -> None:
        """Take over the cookies that another process saw, whose clock shows `shift` seconds less.

        Raises:
            ValueError: there is no such state.
        """
        self._turns_at = moved(state.turns_at, shift)
        self._current, self._previous = (
            {address: dict.fromkeys(keys) for address, keys in generation.items() if keys}
            for generation in (state.current, state.previous)
        )
        self._count = sum(map(len, self._current.values()))
