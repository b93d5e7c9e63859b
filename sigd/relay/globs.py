"""Patterns for peer IDs, in which `*` alone is special. No state."""

Globs = tuple[tuple[str, ...], ...]
"""Each of these must have a glob that matches; none: everything goes."""


def glob_matches(glob: str, text: str) -> bool:
    """Whether a text matches a glob, in which `*` alone is special. Takes time that only grows with their lengths."""
    head, star, rest = glob.partition("*")
    if not star:
        return text == glob
    if not text.startswith(head):
        return False
    at = len(head)
    *middle, tail = rest.split("*")
    for part in middle:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(text) - at >= len(tail) and text.endswith(tail)


def allows(globs: Globs, text: str) -> bool:
    """Whether each has a glob that matches."""
    return all(any(glob_matches(glob, text) for glob in alternatives) for alternatives in globs)
