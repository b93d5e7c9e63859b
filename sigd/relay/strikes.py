"""Strikes against a name: offences within a minute, and the lock that follows. No clock: times are seconds."""

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from msgspec import Struct

from sigd.wire.times import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIKES_KEPT: Final = 4_096
"""Names in one table of strikes, the oldest making room: some 4 MiB, however many names an attacker thinks of."""

STRIKES_SECONDS: Final = 60.0
"""Period of `..._per_minute`."""

LOCK_SECONDS: Final = 30.0
"""Duration of a lock: it leaves a guesser 10 guesses per minute, and costs an honest user half a minute."""

Name = TypeVar("Name")

Counted = tuple[float, bytes]
"""When something was done, and which attempt that was; empty: one that cannot be repeated."""


class Strikes(Generic[Name]):
    """Counts of repeated acts within a minute, with a lock for offenders. Of a fixed size."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Name, _Strike] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def locked(self, name: Name, now: float) -> float:
        """For how many seconds more a name is locked; 0: not at all."""
        strike = self._kept.get(name)
        return max(0.0, strike.locked_until - now) if strike is not None else 0.0

    def add(self, name: Name, now: float, per_minute: int, attempt: bytes = b"") -> None:
        """Count one more, the last that is allowed within a minute locking the name.

        Args:
            name: that of the offender.
            now: seconds.
            per_minute: how many are allowed; 0: any number.
            attempt: the same for repetitions of one attempt, which count once in a minute; empty: it is no repetition.
        """
        if not per_minute:
            return
        strike = self._kept.pop(name, None)
        if strike is None:
            strike = _Strike()
        if len(self._kept) >= STRIKES_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = strike  # last: those that nobody adds to are forgotten first
        strike.counted = [each for each in strike.counted if each[0] > now - STRIKES_SECONDS]
        if attempt and any(attempt == before for _, before in strike.counted):
            return
        strike.counted.append((now, attempt))
        if len(strike.counted) >= per_minute:
            strike.counted.clear()
            strike.locked_until = now + LOCK_SECONDS

    # -- handing over

    @property
    def state(self) -> "list[tuple[Name, list[Counted], float]]":
        """Each name, when it has done that, and until when it is locked: those first that are forgotten first."""
        return [(name, strike.counted, strike.locked_until) for name, strike in self._kept.items()]

    def restore(self, state: "Sequence[tuple[Name, list[Counted], float]]", shift: float) -> None:
        """Keep these, of a clock that shows `shift` seconds less.

        Raises:
            ValueError: there is no such state.
        """
        for name, counted, locked_until in state[-STRIKES_KEPT:]:
            strike = self._kept[name] = _Strike()
            strike.counted = [(moved(when, shift), attempt) for when, attempt in counted]
            strike.locked_until = moved(locked_until, shift)


class _Strike:
    __slots__ = ("counted", "locked_until")

    def __init__(self) -> None:
        self.counted: list[Counted] = []
        self.locked_until = 0.0


class StrikesState(Struct, array_like=True):
    """Failures by the names of the client and of the peer, and takeovers by the ID: see `Strikes`."""

    failures: list[tuple[tuple[str, str], list[Counted], float]]
    takeovers: list[tuple[str, list[Counted], float]]
