"""`sigctl top`: the daemon and its busiest peers, refreshed; rates are differences between two samples."""

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from sigd.ctl.command_line import Commands
from sigd.ctl.printing import coloured, counts, put, put_json, row, table
from sigd.ctl.quantities import brief, milliseconds, plural, rate, size
from sigd.terminal import EXIT_FAULT

if TYPE_CHECKING:
    from sigd.admin.replies import PeerRow, StatusReply
    from sigd.ctl.ask import Conversation

TEXT = """\
Shows a summary of the daemon and its busiest peers, refreshed every two
seconds: messages per second from and to each peer, bytes waiting for it, last
round trip, errors. Keys: o sort by the next column, r reverse, q quit. --once
takes two samples and prints one table, for scripts.
"""

EXAMPLES = """\
  sigctl top
  sigctl top --sort outbox
  sigctl top --once --limit 10
  sigctl top --once --json
"""

SORTS: Final = ("in", "out", "outbox", "rtt", "errors", "id")
"""Sort orders in the sequence of the `o` key."""

_LEAST_INTERVAL: Final = 0.1
_LONGEST_INTERVAL: Final = 3_600.0

_SAME_LINK: Final = 1.0
"""Seconds by which the start of the same link may differ between two samples: it comes from two clocks."""

_OTHER_LINES: Final = 2
"""Number of other lines: the column heads and the keys."""

_CLEAR: Final = "\x1b[H\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""Switch to the alternate screen, as `less` does, and hide the cursor."""
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


class Look:
    """One sample of the daemon."""

    def __init__(self, talk: "Conversation") -> None:
        from sigd.admin.questions import AskPeers, AskStatus
        from sigd.admin.replies import PeersReply, StatusReply

        self.status: StatusReply = talk.ask(AskStatus(), StatusReply)[0]
        self.peers: PeersReply = talk.ask(AskPeers(), PeersReply)[0]


class Busy:
    """A peer with its message rates between two samples.

    Attributes:
        peer: its row in the second sample.
        received: messages per second received from it.
        delivered: messages per second delivered to it.
    """

    __slots__ = ("delivered", "peer", "received")

    def __init__(self, peer: "PeerRow", before: "PeerRow | None", seconds: float) -> None:
        self.peer = peer
        if before is not None and (peer.since - before.since > _SAME_LINK or peer.received < before.received):
            before = None  # a new link: all its messages came since
        self.received = (peer.received - (before.received if before else 0)) / seconds
        self.delivered = (peer.delivered - (before.delivered if before else 0)) / seconds


def busiest(first: Look, second: Look, by: str, *, reverse: bool = False) -> list[Busy]:
    """Return the peers of the second sample, the busiest first."""
    seconds = max(second.peers.now - first.peers.now, _LEAST_INTERVAL)
    before = {peer.id: peer for peer in first.peers.peers}
    found = [Busy(peer, before.get(peer.id), seconds) for peer in second.peers.peers]
    found.sort(key=lambda busy: busy.peer.id)
    if by == "id":
        found.sort(key=lambda busy: busy.peer.id, reverse=reverse)
    else:
        found.sort(key=lambda busy: _figure(busy, by), reverse=not reverse)
    return found


def _figure(busy: Busy, by: str) -> float:
    match by:
        case "in":
            return busy.received
        case "out":
            return busy.delivered
        case "outbox":
            return busy.peer.outbox_bytes
        case "rtt":
            return -1.0 if busy.peer.rtt is None else busy.peer.rtt
        case _:
            return busy.peer.errors


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    top = commands.add("top", _top, summary="show the busiest peers live", text=TEXT, examples=EXAMPLES)
    top.add_argument("--sort", choices=SORTS, default="in", help="sort key (in): largest first")
    top.add_argument("--reverse", action="store_true", help="the other way round")
    top.add_argument("--limit", metavar="N", type=int, help="maximum number of peers (default: one screen)")
    top.add_argument("--once", action="store_true", help="print one table and exit")
    top.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=2.0, help="interval between two samples (2)"
    )


def _interval(written: str) -> float:
    try:
        seconds = float(written)
    except ValueError:
        seconds = 0.0
    if not _LEAST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
        raise argparse.ArgumentTypeError(f'"{written}" is not between {_LEAST_INTERVAL:g} and {_LONGEST_INTERVAL:g} s')
    return seconds


def _top(options: argparse.Namespace) -> int:
    from sigd.ctl.ask import conversation

    live = not (options.once or options.json)
    if live and not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        from sigd.ctl.command_line import EndedError

        raise EndedError(EXIT_FAULT, "standard output is not a terminal: use --once to print one table")
    with conversation(options.socket) as talk:
        first = Look(talk)
        if live:
            _draw_until_told(talk, first, options)
            return 0
        time.sleep(options.interval)
        return _print(first, Look(talk), options)


def _print(first: Look, second: Look, options: argparse.Namespace) -> int:
    order = busiest(first, second, options.sort, reverse=options.reverse)
    limit = len(order) if options.limit is None else max(0, options.limit)
    if not options.json:
        return put(head_lines(first, second) + peer_lines(second, order[:limit]))
    peers = [
        {
            "id": busy.peer.id,
            "via": busy.peer.via,
            "receivedPerSecond": round(busy.received, 3),
            "deliveredPerSecond": round(busy.delivered, 3),
            "outboxBytes": busy.peer.outbox_bytes,
            "rtt": busy.peer.rtt,
            "errors": busy.peer.errors,
        }
        for busy in order[:limit]
    ]
    status = second.status
    document = {
        "now": status.now,
        "peersInAll": status.peers,
        "links": status.links,
        "relayedPerSecond": status.relayed_per_second,
        "errorsPerSecond": between(first.status.errors, status.errors, status.now - first.status.now),
        "closedPerSecond": between(first.status.closed, status.closed, status.now - first.status.now),
        "findings": len(status.findings),
        "peers": peers,
    }
    return put_json({"type": "top", **document})


def between(before: dict[str, int], after: dict[str, int], seconds: float) -> dict[str, float]:
    """Return the rate of each counter per second, between two samples."""
    seconds = max(seconds, _LEAST_INTERVAL)
    return {name: round((number - before.get(name, 0)) / seconds, 3) for name, number in sorted(after.items())}


def head_lines(first: Look, second: Look) -> list[str]:
    """Return the summary of the daemon, safe to print; its last line is empty."""
    from sigd.ctl.looking import head_line, links_text

    status = second.status
    relayed = f"{rate(status.relayed_per_second)}/s"
    if status.relay.count:
        relayed += f" p50 {milliseconds(status.relay.p50)} p99 {milliseconds(status.relay.p99)}"
    errors = between(first.status.errors, status.errors, status.now - first.status.now)
    ended = {name: number - first.status.closed.get(name, 0) for name, number in status.closed.items()}
    told = [f"errors {name} {per:.1f}/s" for name, per in errors.items() if per]
    if closed := counts(ended):
        told.append(f"closed {closed}")
    return [
        head_line(status) + _findings(status),
        *row("links", links_text(status)),
        *row("relayed", "; ".join([relayed, *told])),
        "",
    ]


def peer_lines(second: Look, shown: list[Busy]) -> list[str]:
    """Return the table of peers, safe to print."""
    rows = [_row(busy, second.peers.now) for busy in shown]
    return table(("PEER", "VIA", "UP", "IN/s", "OUT/s", "OUTBOX", "RTT", "ERR"), rows, _FIGURES)


_FIGURES: Final = "UP IN/s OUT/s OUTBOX RTT ERR"


def _findings(status: "StatusReply") -> str:
    if not status.findings:
        return ""
    return coloured(f"  # {plural(len(status.findings), 'finding')} (sigctl status)", "warn")


def _row(busy: Busy, now: float) -> list[str]:
    peer = busy.peer
    return [
        peer.id,
        peer.via,
        brief(now - peer.since),
        rate(busy.received),
        rate(busy.delivered),
        size(peer.outbox_bytes),
        "-" if peer.rtt is None else milliseconds(peer.rtt),
        str(peer.errors),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# On a terminal


def _draw_until_told(talk: "Conversation", first: Look, options: argparse.Namespace) -> None:
    by, reverse = options.sort, options.reverse
    second = first
    with _raw_terminal(), contextlib.suppress(KeyboardInterrupt):
        while True:
            _draw(first, second, by, reverse=reverse, limit=options.limit)
            match _key(options.interval):
                case "q" | "\x04":
                    return
                case "o":
                    by = SORTS[(SORTS.index(by) + 1) % len(SORTS)]
                case "r":
                    reverse = not reverse
                case "":
                    first, second = second, Look(talk)
                case _:
                    pass


def _draw(first: Look, second: Look, by: str, *, reverse: bool, limit: int | None) -> None:
    columns, rows = shutil.get_terminal_size()
    lines = head_lines(first, second)
    room = max(0, rows - len(lines) - _OTHER_LINES)
    order = busiest(first, second, by, reverse=reverse)[: room if limit is None else min(room, max(0, limit))]
    lines += peer_lines(second, order)
    lines.append(f"by {by}{', reversed' if reverse else ''}: o sort, r reverse, q quit")
    sys.stdout.write(_CLEAR + "\r\n".join(_cut(line, columns) for line in lines))
    sys.stdout.flush()


def _cut(line: str, columns: int) -> str:
    """Cut a line to the terminal's width; lines with colours are short already."""
    return line if "\x1b" in line else line[:columns]


def _key(seconds: float) -> str:
    """Return the key pressed within this time; empty if none is."""
    import os
    import select

    if not select.select([sys.stdin], [], [], seconds)[0]:
        return ""
    # End of file: the user has gone.
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") or "q"


@contextlib.contextmanager
def _raw_terminal() -> Generator[None]:
    """Read single keys on the alternate screen, and restore the terminal afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    sys.stdout.write(_ENTER)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
