"""Times, sizes and counts in the notation of people: 1h30m, 8.2 MiB, 8 204."""

import argparse
import math
import re
import time

DAY = 86_400

_WRITTEN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNITS = (("d", DAY), ("h", 3_600), ("m", 60), ("s", 1))
# More digits than any time has would only cost `int` time.
_MOST_CHARACTERS = 32

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")

_LATEST = 253_402_300_799.0
"""The last second of the year 9999, the latest that can be formatted."""


def parse_seconds(written: str, longest: int) -> int:
    """Parse a duration such as 90s, 15m, 1h30m or 7d; return seconds.

    Raises:
        argparse.ArgumentTypeError: it is no duration, or not between one second and the longest, whole days.
    """
    match = _WRITTEN.fullmatch(written) if written and len(written) <= _MOST_CHARACTERS else None
    if not match:
        raise argparse.ArgumentTypeError(f'"{written}" is no time: write 90s, 15m, 1h, 7d, or together as in 1h30m')
    seconds = sum(int(count) * unit for count, (_, unit) in zip(match.groups("0"), _UNITS, strict=True))
    if not 0 < seconds <= longest:
        raise argparse.ArgumentTypeError(f'"{written}" is not between 1s and {longest // DAY}d')
    return seconds


def span(seconds: float) -> str:
    """Format a duration in its two largest units: 6d 4h, 1m 5s, 0s."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for letter, unit in _UNITS:
        count, left = divmod(left, unit)
        if count or parts:
            parts.append(f"{count}{letter}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part[0] != "0" or len(parts) == 1) or "0s"


def brief(seconds: float) -> str:
    """Format a duration in its largest unit, for tables: 6d, 22m, 3s."""
    return span(seconds).partition(" ")[0]


def milliseconds(seconds: float) -> str:
    """Format a short duration: 0.11 ms, 18 ms, 1.2 s."""
    ms = seconds * 1000
    if ms >= 1000:
        return f"{seconds:.1f} s"
    return f"{ms:.2g} ms" if ms < 10 else f"{ms:.0f} ms"


def size(number: float) -> str:
    """Format bytes: 512 B, 8.2 MiB."""
    if abs(number) < 1024:
        return f"{number:.0f} B"
    power = min(int(math.log(abs(number), 1024)), len(_BINARY) - 1)
    return f"{number / 1024**power:.1f} {_BINARY[power]}"


def count(number: int) -> str:
    """Format a whole number, its digits in groups of three: 8 204."""
    return f"{number:,}".replace(",", " ")


def rate(per_second: float) -> str:
    """Format a rate per second: 0.5, 12, 1 204."""
    return f"{per_second:.1f}" if per_second < 100 else count(round(per_second))


def moment(at: float) -> str:
    """Format Unix time as date and time of day in the local time zone."""
    if not 0 <= at <= _LATEST:
        return "?"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def day(at: float) -> str:
    """Format Unix time as a date."""
    return moment(at).partition(" ")[0]


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: 1 fault, 2 faults."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def seconds_within(written: str, longest: float) -> float:
    """Parse a number of seconds, for argparse.

    Raises:
        ArgumentTypeError: it is no number, not above 0, or beyond the longest.
    """
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= longest:
        raise argparse.ArgumentTypeError(f'"{written}" is not between 0 and {longest:.0f} seconds')
    return seconds
