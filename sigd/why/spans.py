"""Durations and sizes in the notation of people."""


def span(seconds: float) -> str:
    """Format a duration: `86 ms`, `1.9 s`, `22 min`, `5 h`, `3 d`."""
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    if seconds < 129_600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} d"


def size(count: int) -> str:
    """Format a number of bytes: `64 B`, `2.9 kB`, `65 kB`."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 9_950 else f"{count / 1000:.0f} kB"
