"""Commands typed at the admin socket (`nc -U`): one line in, one request out. No I/O."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sigd.admin import questions
from sigd.admin.questions import Asked


class _Command(NamedTuple):
    usage: str
    purpose: str
    build: Callable[[Sequence[str]], Asked]


class _Incomplete(Exception):
    pass


def parse(line: bytes) -> Asked | None:
    """Parse a line into a request; return None for `help`, which is answered with `HELP`.

    Args:
        line: the line without its end: typed words, or a program's JSON.

    Raises:
        UnknownQuestion: there is no such command.
        ValueError: it is no valid request; the text says why, for people.
    """
    if line.startswith(b"{"):
        return questions.decode_question(line)
    name, *words = line.decode().split() or ["help"]
    if name in {"help", "?"}:
        return None
    command = _COMMANDS.get(name)
    if command is None:
        raise questions.UnknownQuestion("no such command; type help for the list")
    try:
        return command.build(words)
    except _Incomplete:
        raise ValueError(f"the command is: {command.usage}") from None


def _one(words: Sequence[str]) -> str:
    if len(words) != 1:
        raise _Incomplete
    return words[0]


def _glob(words: Sequence[str]) -> str:
    return _one(words or ["*"])


def _none(words: Sequence[str]) -> None:
    if words:
        raise _Incomplete


def _status(words: Sequence[str]) -> Asked:
    _none(words)
    return questions.AskStatus()


def _peers(words: Sequence[str]) -> Asked:
    return questions.AskPeers(glob=_glob(words))


def _show(words: Sequence[str]) -> Asked:
    return questions.AskShow(peer=_one(words))


def _closed(words: Sequence[str]) -> Asked:
    return questions.AskClosed(glob=_glob(words))


def _kick(words: Sequence[str]) -> Asked:
    if len(words) > 1:
        return questions.AskKick(peer=words[0], reason=" ".join(words[1:]))
    return questions.AskKick(peer=_one(words))


def _ping(words: Sequence[str]) -> Asked:
    return questions.AskPing(peer=_one(words))


def _reload(words: Sequence[str]) -> Asked:
    _none(words)
    return questions.AskReload()


def _drain(words: Sequence[str]) -> Asked:
    _none(words)
    return questions.AskDrain()


def _metrics(words: Sequence[str]) -> Asked:
    _none(words)
    return questions.AskMetrics()


def _why(words: Sequence[str]) -> Asked:
    if len(words) != 2:
        raise _Incomplete
    return questions.AskWhy(first=words[0], second=words[1])


def _tap(words: Sequence[str]) -> Asked:
    return questions.AskTap(peers=list(words))


_COMMANDS: Final[dict[str, _Command]] = {
    "status": _Command("status", "how the daemon is", _status),
    "peers": _Command("peers [GLOB]", "who is registered", _peers),
    "show": _Command("show ID", "what is known of one peer", _show),
    "closed": _Command("closed [GLOB]", "whose links have ended, and why", _closed),
    "kick": _Command("kick ID [REASON]", "end a peer's link", _kick),
    "ping": _Command("ping ID", "ask a peer for a sign of life", _ping),
    "reload": _Command("reload", "read the configuration again", _reload),
    "drain": _Command("drain", "tell everybody to come back later, and stop", _drain),
    "metrics": _Command("metrics", "the figures for Prometheus", _metrics),
    "why": _Command("why ID ID", "why these two did not connect", _why),
    "tap": _Command("tap [ID ...]", "every message as it passes, until you leave", _tap),
}


def _help() -> bytes:
    rows = [(command.usage, command.purpose) for command in _COMMANDS.values()]
    rows.append(("help", "this list"))
    rows.append(("{...}", "any question as sigctl sends it"))
    return "".join(f"# {usage:20} {purpose}\n" for usage, purpose in rows).encode()


HELP: Final = _help()
"""The answer to `help`: lines that begin with `#`, which programs skip."""
