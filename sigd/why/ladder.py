"""Messages and verdicts as lines of text, for terminals and pipes. No I/O.

Input from outside is escaped on its way: it can neither steer a terminal nor change the direction of text.
"""

import re
import time
from collections.abc import Iterator, Sequence
from typing import Final

from sigd.admin.replies import TappedReply
from sigd.text import escaped
from sigd.why.bodies import Body, read
from sigd.why.candidates import Candidate
from sigd.why.spans import size, span
from sigd.why.verdict import Level, Verdict

MOST_COLUMNS: Final = 6
"""Maximum number of columns: beyond it `a -> b` is more readable."""

COLUMN_WIDTH: Final = 38
"""Characters between two columns if there are two, as many as the longest label needs."""

NARROW_WIDTH: Final = 22
"""Characters between columns if there are more."""

LONGEST_NAME: Final = 16
"""Maximum characters of a peer ID above its column and in notes; an ID has up to 64."""

NO_ID: Final = "(no ID)"
"""Name for an unregistered sender."""

LONGEST_QUOTE: Final = 64
"""Maximum characters of a quoted `reason` or address."""

LEVELS: Final[dict[Level, str]] = {"ok": "ok", "warn": "warn", "fail": "FAIL", "-": "-"}


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


# ---------------------------------------------------------------------------------------------------------------------
# Summary of one message


def summary(body: bytes, full: bool) -> str:
    """Summarize a message: `offer 2.9 kB audio video, 0 candidates inside`.

    Args:
        body: the delivered message, or its beginning.
        full: include addresses and the user fragment, which are masked otherwise; never a password.
    """
    said = read(body)
    if not said.whole:
        return said.kind or f"unreadable {size(len(body))}"
    if said.wrapped:
        return f"message {size(len(body))}, {said.kind} inside"
    if said.kind in {"offer", "answer"}:
        return _description(said, len(body))
    if said.kind == "candidate":
        return _candidate(said, full)
    if said.kind == "bye":
        return "bye" if not said.reason else f'bye "{_cut(escaped(said.reason), LONGEST_QUOTE)}"'
    return f"{_cut(escaped(said.kind), LONGEST_QUOTE)} {size(len(body))}"


def _description(said: Body, count: int) -> str:
    assert said.description is not None
    inside = len(said.description.candidates)
    media = " ".join(said.description.media) or "no media"
    end = " and their end" if said.description.ends else ""
    plural = "" if inside == 1 else "s"
    return f"{said.kind} {size(count)} {media}, {inside} candidate{plural}{end} inside"


def _candidate(said: Body, full: bool) -> str:
    if said.ends:
        return "end-of-candidates"
    return "candidate, unreadable" if said.candidate is None else candidate_text(said.candidate, full=full)


def candidate_text(candidate: Candidate, *, full: bool) -> str:
    """Summarize a candidate, its address masked unless `full`."""
    place = _cut(escaped(candidate.address), LONGEST_QUOTE) if full else candidate.place
    return f"candidate {candidate.type} {candidate.protocol} {place}"


# ---------------------------------------------------------------------------------------------------------------------
# The ladder


class Signs:
    """The characters of lines and arrows."""

    def __init__(self, *, unicode: bool) -> None:
        self.bar, self.dash, self.right, self.left, self.refused = ("│─►◄✗") if unicode else ("|-><x")


class Ladder:
    """A sequence diagram drawn message by message: a column for each peer, time downwards."""

    def __init__(self, peers: Sequence[str] = (), *, unicode: bool = True) -> None:
        """Begin.

        Args:
            peers: peers with a column; up to six, in this order. Without any, or with more, each line says
                `a -> b` instead, as do messages from or to other peers.
            unicode: whether the terminal shows more than ASCII.
        """
        self._peers = list(dict.fromkeys(peers)) if len(set(peers)) <= MOST_COLUMNS else []
        if len(self._peers) < 2:
            self._peers = []
        self._width = COLUMN_WIDTH if len(self._peers) == 2 else NARROW_WIDTH
        self._last = (len(self._peers) - 1) * (self._width + 1)
        self._unicode = unicode
        self._signs = Signs(unicode=unicode)
        self._first: float | None = None
        self._second = -1

    def head(self) -> Iterator[str]:
        """Yield the names above the columns; nothing without columns."""
        if self._peers:
            names = [_cut(peer, LONGEST_NAME).ljust(self._width + 1) for peer in self._peers]
            yield f"{'time':14}{''.join(names)}".rstrip()

    def line(self, tapped: TappedReply) -> str:
        """Return the line of one message."""
        label, note = _label_and_note(tapped)
        if not self._unicode:
            label, note = _ascii(label), _ascii(note)
        when = self._when(tapped.at)
        if self._first is None:
            self._first = tapped.at
        else:
            note = "  ".join(filter(None, [f"+{span(tapped.at - self._first)}", note]))
        is_between = tapped.to in self._peers and tapped.to != tapped.sender
        note = "  ".join(filter(None, [note, _refused_because(tapped)]))
        if tapped.sender not in self._peers or not (is_between or tapped.refusal):
            arrow = "x>" if tapped.refusal else "->"
            ways = f"{tapped.sender or NO_ID} {arrow} {tapped.to}".rstrip()
            told = [ways, label, escaped(tapped.refusal or ""), note]
            return f"{when:14}{'  '.join(filter(None, told))}"
        drawn = self._refusal(tapped, label) if tapped.refusal else self._arrow(tapped, label)
        return f"{when:14}{drawn}  {note}".rstrip()

    def _when(self, at: float) -> str:
        """Return the time of day; shortened within the same second."""
        second, milliseconds = divmod(round(at * 1000), 1000)
        same, self._second = second == self._second, second
        clock = " " * 8 if same else time.strftime("%H:%M:%S", time.localtime(second))
        return f"{clock}.{milliseconds:03}"

    def _arrow(self, tapped: TappedReply, label: str) -> str:
        signs, start, end = self._signs, self._peers.index(tapped.sender), self._peers.index(tapped.to)
        left, right = min(start, end), max(start, end)
        cells = [signs.bar + " " * self._width] * len(self._peers)
        room = (right - left) * (self._width + 1) - 1
        words = f" {_cut(label, room - 6)} "
        shaft = words.center(room - 1, signs.dash)
        drawn = shaft + signs.right if start < end else signs.left + shaft
        return "".join([*cells[:left], signs.bar + drawn, *cells[right:]])[: self._last + 1]

    def _refusal(self, tapped: TappedReply, label: str) -> str:
        signs, start = self._signs, self._peers.index(tapped.sender)
        before = (signs.bar + " " * self._width) * start
        to = f"to {_cut(tapped.to, LONGEST_NAME)}: " if tapped.to else ""
        said = f"{label} {signs.dash * 2} " if label else ""
        return f"{before}{signs.refused}{signs.dash * 4} {said}{to}{escaped(tapped.refusal or '')}"


def _refused_because(tapped: TappedReply) -> str:
    times = f"{tapped.times} times" if tapped.times > 1 else ""
    return "  ".join(filter(None, [times, escaped(tapped.why)]))


def _label_and_note(tapped: TappedReply) -> tuple[str, str]:
    """Return the label on the arrow, and the note behind the ladder."""
    text = escaped(tapped.summary or tapped.kind)
    note = "" if tapped.session is None else f"session {escaped(tapped.session)}"
    found = re.match(r"((?:offer|answer) [\d.]+ k?B) (.+)", text)
    if found is None:
        return text, note
    return found[1], "  ".join(filter(None, [found[2], note]))


# ---------------------------------------------------------------------------------------------------------------------
# A verdict


def verdict_lines(verdict: Verdict, *, unicode: bool = True) -> Iterator[str]:
    """Yield the verdict as `sigctl why` prints it; `unicode`: the terminal shows more than ASCII."""
    for line in _verdict_lines(verdict):
        safe = escaped(line)
        yield safe if unicode else _ascii(safe.replace("\u2192", "->"))


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    session = "" if verdict.session is None else f", session {verdict.session}"
    at = "" if verdict.at is None else f", {_clock(verdict.at)}"
    yield f"{verdict.sender} \u2192 {verdict.to}{session}{at}: {verdict.outcome}"
    width = max((len(step.what) for step in verdict.steps), default=0)
    for step in verdict.steps:
        yield f"  {LEVELS[step.level]:5} {step.what:{width}}  {step.text}"
    yield f"Likely: {verdict.likely}   [{verdict.rule}]"
    for number, line in enumerate(verdict.advice, start=1):
        yield f"  {number}. {line}"
    look = f"sigctl tap {verdict.sender} {verdict.to}"
    if verdict.seen is None:
        yield f"Look: {look}"
    else:
        seen = verdict.seen
        yield f"Seen for {seen.peer}: {seen.times} of {seen.of} in the last hour. Look: {look}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
