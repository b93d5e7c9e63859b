"""`sigctl status`, `peers`, `show`, `closed` and `metrics`: what a running daemon says of itself and of its peers."""

import argparse
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from sigd.ctl.commands import EXIT_REFUSED, PROGRAM, Commands
from sigd.ctl.printing import coloured, counts, dumped, finding, put, put_answer, row, table
from sigd.ctl.quantities import brief, count, day, milliseconds, moment, plural, rate, size, span
from sigd.terminal import put_out
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.admin.messages import ClosedRow, ListenerEntry, PeerRow, ShowReply, Spread, StatusReply

STATUS_TEXT = """\
How the daemon is, on one screen: where it listens, its links, what it has
relayed, refused and closed, and at the end what an operator may want to
change. Its exit status fits a health check: 0 well, 1 with findings.
"""

PEERS_TEXT = """\
Who is registered, one line a peer: what carries its link, its address, for how
long, since when nothing was heard of it, messages received from it and
delivered to it, what waits in its outbox, its last round trip, and how often
it was told an error. GLOB is an ID in which * stands for anything.
"""

PEERS_EXAMPLES = """\
  sigctl peers 'cam*'
  sigctl peers --sort outbox --limit 10    those that read slowest
  sigctl peers --sort idle --json
"""

SHOW_TEXT = """\
All that is known of one peer: its link, what it may do and by which
credential (never the credential itself), and with whom it has talked of late.
"""

SILENCE_SECONDS: Final = 5.0
"""Silence before an end that is shown: a client that goes has mostly just said something, a proxy's time-out not."""

CLOSED_TEXT = """\
The last 1 000 links that have ended, the last one first, each with the reason:
the code of the error that ended it (`sigctl errors` explains them), or a word
for another end. Clients that were not let in are among them, with the ID that
they claimed, the entry of [auth] that was nearest, and what was wrong.
"""

CLOSED_EXAMPLES = """\
  sigctl closed cam1
  sigctl closed --limit 5
"""

METRICS_TEXT = """\
All figures in the text format of Prometheus, as [metrics] serves them.
"""

LIMIT = 1_000_000
"""More rows than any daemon lists."""

SORTS: Final[dict[str, Callable[["PeerRow"], Any]]] = {
    "id": lambda peer: peer.id,
    "in": lambda peer: -peer.received,
    "out": lambda peer: -peer.delivered,
    "outbox": lambda peer: -peer.outbox_bytes,
    "rtt": lambda peer: math.inf if peer.rtt is None else -peer.rtt,
    "idle": lambda peer: -peer.idle,
    "errors": lambda peer: -peer.errors,
}
"""What a list of peers can be sorted by: IDs from A, figures from the largest."""


def describe(commands: Commands) -> None:
    """Describe them."""
    commands.add(
        "status", _status, summary="how the daemon is, with findings", text=STATUS_TEXT, examples="  sigctl status\n"
    )
    peers = commands.add("peers", _peers, summary="who is registered", text=PEERS_TEXT, examples=PEERS_EXAMPLES)
    peers.add_argument("glob", metavar="GLOB", nargs="?", default="*", help="only these; without it, all")
    peers.add_argument("--sort", choices=list(SORTS), default="id", help="by what (id); figures: the largest first")
    peers.add_argument("--reverse", action="store_true", help="the other way round")
    _add_limit(peers)
    show = commands.add("show", _show, summary="all about one peer", text=SHOW_TEXT, examples="  sigctl show cam1\n")
    show.add_argument("peer", metavar="PEER", help="its ID")
    closed = commands.add(
        "closed", _closed, summary="the last links that ended, and why", text=CLOSED_TEXT, examples=CLOSED_EXAMPLES
    )
    closed.add_argument("glob", metavar="GLOB", nargs="?", default="*", help="only of these peers; without it, all")
    _add_limit(closed)
    commands.add(
        "metrics",
        _metrics,
        summary="figures for Prometheus",
        text=METRICS_TEXT,
        examples="  sigctl metrics | grep _total\n",
    )


def _add_limit(described: argparse.ArgumentParser) -> None:
    described.add_argument("--limit", metavar="N", type=_limit, help="at most so many lines")


def _limit(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) <= len(str(LIMIT))):
        raise argparse.ArgumentTypeError(f'"{written}" is no number of lines')
    return int(written)


# ---------------------------------------------------------------------------------------------------------------------
# status


def _status(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskStatus, StatusReply
    from sigd.ctl.ask import ask

    status, frame = ask(options.socket, AskStatus(), StatusReply)
    printed = put_answer(frame) if options.json else put(status_lines(status))
    return printed or (EXIT_REFUSED if status.findings else 0)


def status_lines(status: "StatusReply") -> list[str]:
    """The screen of `sigctl status`."""
    lines = [coloured(head_line(status), "head")]
    for name, text in _status_rows(status):
        lines += row(name, text)
    lines += ["", coloured("# findings" if status.findings else "# no findings", "head")]
    for found in status.findings:
        lines += finding(found.severity, found.text, found.advice)
    return lines


def head_line(status: "StatusReply") -> str:
    """The daemon in one line, safe to print."""
    state = "" if status.state == "running" else f" {status.state.upper()}"
    return escaped(f"sigd {status.version}{state}  pid {status.pid}  up {span(status.uptime)}")


def _status_rows(status: "StatusReply") -> Iterator[tuple[str, str]]:
    yield "config", " ".join(filter(None, [status.configuration, status.config_file]))
    yield "listening", ", ".join(_listener(listener, status.now) for listener in status.listeners)
    yield "links", links_text(status)
    yield "peers", f"{count(status.peers)} registered, {count(status.unregistered)} not yet"
    relayed = f"{count(status.relayed)} in all, {rate(status.relayed_per_second)}/s"
    yield "relayed", f"{relayed}{_spread(status.relay)}"
    yield "messages", counts(status.messages)
    buffers = f"{size(status.buffer_bytes)} in buffers" if status.buffer_bytes else "buffers empty"
    yield "bytes", f"{size(status.bytes_received)} received, {size(status.bytes_sent)} sent, {buffers}"
    yield "errors", counts(status.errors)
    yield "closed", counts(status.closed)
    yield "limits hit", counts(status.limits_hit)
    yield (
        "process",
        ", ".join(
            [
                f"{size(status.rss_bytes)} of memory",
                f"{count(status.descriptors)} of {count(status.max_descriptors)} descriptors",
                f"record {size(status.record_bytes)}",
            ]
        ),
    )
    yield "reactor", f"round{_spread(status.round)}, lag{_spread(status.lag)}"


def _listener(listener: "ListenerEntry", now: float) -> str:
    facts: list[str] = []
    if listener.inherited:
        facts.append("from systemd")
    if listener.certificate_expires is not None:
        word = "ended" if listener.certificate_expires < now else "until"
        facts.append(f"certificate {word} {day(listener.certificate_expires)}")
    return f"{listener.url} ({', '.join(facts)})" if facts else listener.url


def links_text(status: "StatusReply") -> str:
    """How many links there are, by what carries them."""
    carried = {name: number for name, number in status.links.items() if name != "lines"}
    text = f"{count(sum(carried.values()))} of {count(status.max_connections)}"
    if kinds := counts(carried):
        text += f": {kinds}"
    if lines := status.links.get("lines"):
        text += f"; {count(lines)} by lines"
    return text


def _spread(times: "Spread") -> str:
    return f" p50 {milliseconds(times.p50)} p99 {milliseconds(times.p99)}" if times.count else " not measured yet"


# ---------------------------------------------------------------------------------------------------------------------
# peers and closed


def _peers(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskPeers, PeersReply
    from sigd.ctl.ask import ask, fields

    reply, frame = ask(options.socket, AskPeers(glob=options.glob), PeersReply)
    order = sorted_peers(reply.peers, options.sort, reverse=options.reverse)
    shown = order[: options.limit]
    more = reply.more or len(shown) < len(order)
    if options.json:
        raw = fields(frame)["peers"]
        return put_answer(frame, peers=[raw[number] for number in shown], more=more)
    rows = [_peer_row(reply.peers[number], reply.now) for number in shown]
    heads = ("PEER", "VIA", "ADDRESS", "UP", "IDLE", "IN", "OUT", "OUTBOX", "RTT", "ERR")
    lines = table(heads, rows, "UP IDLE IN OUT OUTBOX RTT ERR") if rows else []
    told = plural(len(shown), "peer")
    return put([*lines, f"{told}, and there are more" if more else told])


def sorted_peers(peers: list["PeerRow"], by: str, *, reverse: bool) -> list[int]:
    """Places of the peers in the list, as they are to be shown: what is alike goes by ID."""
    key = SORTS[by]
    order = sorted(range(len(peers)), key=lambda number: peers[number].id)
    order.sort(key=lambda number: key(peers[number]), reverse=reverse)
    return order


def _peer_row(peer: "PeerRow", now: float) -> list[str]:
    return [
        peer.id,
        peer.via,
        peer.address,
        brief(now - peer.since),
        brief(peer.idle),
        count(peer.received),
        count(peer.delivered),
        size(peer.outbox_bytes),
        "-" if peer.rtt is None else milliseconds(peer.rtt),
        count(peer.errors),
    ]


def _closed(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskClosed, ClosedReply
    from sigd.ctl.ask import ask, fields

    reply, frame = ask(options.socket, AskClosed(glob=options.glob), ClosedReply)
    shown = reply.closed[: options.limit]
    if options.json:
        return put_answer(frame, closed=fields(frame)["closed"][: options.limit])
    rows = [_closed_row(link) for link in shown]
    lines = table(("ENDED", "PEER", "VIA", "ADDRESS", "AFTER", "REASON"), rows, "AFTER") if rows else []
    ended = [link for link in shown if link.refused is None]
    refused = f", {count(len(shown) - len(ended))} refused" if len(ended) < len(shown) else ""
    return put([*lines, plural(len(ended), "ended link") + refused])


def _closed_row(link: "ClosedRow") -> list[str]:
    reason = link.reason if link.by is None else f"{link.reason}: {link.by}"
    if link.refused is None:
        if link.silent >= SILENCE_SECONDS and link.reason in {"left", "connection lost"}:
            reason += f", silent for {brief(link.silent)}"
        return [moment(link.at), link.id, link.via, link.address, brief(link.seconds), reason]
    times = "" if link.times == 1 else f", {count(link.times)} times"
    entry = "" if link.credential is None else f" ({link.credential})"
    reason += f" to {link.refused}{times}: {link.why}{entry}"
    return [moment(link.at), link.id, link.via, link.address, "-", reason]


# ---------------------------------------------------------------------------------------------------------------------
# show and metrics


def _show(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskShow, ShowReply
    from sigd.ctl.ask import ask, fields

    reply, frame = ask(options.socket, AskShow(peer=options.peer), ShowReply)
    if options.json:
        return put_answer(frame)
    lines = [coloured(escaped(reply.peer.id), "head")]
    for name, text in _show_rows(reply):
        lines += row(name, text)
    if (meta := fields(frame).get("meta")) is not None:
        lines += row("meta", dumped(meta, pretty=False))
    return put(lines)


def _show_rows(reply: "ShowReply") -> Iterator[tuple[str, str]]:
    peer = reply.peer
    yield "link", f"{peer.via}, {peer.framing}, from {peer.address}"
    yield "since", f"{moment(peer.since)}, {span(reply.now - peer.since)} ago"
    yield "heard", f"{span(peer.idle)} ago" + (f"; round trip {milliseconds(peer.rtt)}" if peer.rtt is not None else "")
    yield (
        "messages",
        f"{count(peer.received)} received, {count(peer.delivered)} delivered, {plural(peer.errors, 'error')}",
    )
    yield "outbox", size(peer.outbox_bytes)
    states = {"held by its rates": reply.held, "does not read": reply.stuck, "its ID is claimed": reply.challenged}
    yield "now", ", ".join(name for name, holds in states.items() if holds)
    yield "maxFrame", size(reply.max_frame)
    yield "keepalive", span(reply.keepalive) if reply.keepalive else "none"
    yield "may be", ", ".join(reply.register)
    yield "may talk", "to all" if reply.talk is None else f"to {', '.join(reply.talk) or 'nobody'}"
    yield "discover", "" if reply.discover else "may not ask who else is here"
    if reply.credential is not None:
        until = "" if reply.expires is None else f", until {moment(reply.expires)}"
        yield "credential", f"{reply.credential}{until}"
    yield "talked with", ", ".join(reply.recent)


def _metrics(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskMetrics, MetricsReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskMetrics(), MetricsReply)
    if options.json:
        return put_answer(frame)
    return put_out(PROGRAM, "".join(f"{escaped(line)}\n" for line in reply.text.removesuffix("\n").split("\n")))
