"""`sigctl status`, `peers`, `show`, `closed` and `metrics`: reports of a running daemon and its peers."""

import argparse
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from sigd.ctl.command_line import EXIT_REFUSED, PROGRAM, Commands
from sigd.ctl.printing import coloured, counts, dumped, finding, put, put_answer, row, table
from sigd.ctl.quantities import brief, count, day, milliseconds, moment, plural, rate, size, span
from sigd.terminal import put_out
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.admin.replies import ClosedRow, ListenerEntry, PeerRow, ShowReply, Spread, StatusReply

STATUS_TEXT = """\
Shows the state of the daemon on one screen: listeners, links, counters of
relayed, refused and closed, and findings for the operator. The exit status
fits a health check: 0 without findings, 1 with findings.
"""

PEERS_TEXT = """\
Lists registered peers, one per line: transport, address, age of the link, time
since its last sign of life, messages received from it and delivered to it,
bytes waiting in its outbox, last round trip, and errors sent to it. In GLOB, *
matches any characters of an ID.
"""

PEERS_EXAMPLES = """\
  sigctl peers 'cam*'
  sigctl peers --sort outbox --limit 10    the slowest readers
  sigctl peers --sort idle --json
"""

SHOW_TEXT = """\
Shows all about one peer: its link, its permissions and the credential that
grants them (never the secret itself), and its recent partners.
"""

SILENCE_SECONDS: Final = 5.0
"""Seconds of silence before an end that are worth showing: a leaving client has just spoken, a proxy's timeout has
not.
"""

CLOSED_TEXT = """\
Lists the last 1 000 ended links, newest first, each with its reason: an error
code (`sigctl errors` explains them) or a word for another end. It includes
refused clients, with the claimed ID, the closest entry of [auth], and the
reason of the refusal.
"""

CLOSED_EXAMPLES = """\
  sigctl closed cam1
  sigctl closed --limit 5
"""

METRICS_TEXT = """\
Prints all metrics in the text format of Prometheus, as [metrics] serves them.
"""

LIMIT = 1_000_000
"""Maximum number of rows: more than any daemon lists."""

SORTS: Final[dict[str, Callable[["PeerRow"], Any]]] = {
    "id": lambda peer: peer.id,
    "in": lambda peer: -peer.received,
    "out": lambda peer: -peer.delivered,
    "outbox": lambda peer: -peer.outbox_bytes,
    "rtt": lambda peer: math.inf if peer.rtt is None else -peer.rtt,
    "idle": lambda peer: -peer.idle,
    "errors": lambda peer: -peer.errors,
}
"""Sort keys of a list of peers: IDs in ascending order, figures in descending order."""


def describe(commands: Commands) -> None:
    """Add the commands of this module."""
    commands.add(
        "status", _status, summary="state of the daemon, with findings", text=STATUS_TEXT, examples="  sigctl status\n"
    )
    peers = commands.add("peers", _peers, summary="list registered peers", text=PEERS_TEXT, examples=PEERS_EXAMPLES)
    peers.add_argument("glob", metavar="GLOB", nargs="?", default="*", help="IDs to list (default: all)")
    peers.add_argument("--sort", choices=list(SORTS), default="id", help="sort key (id); figures: largest first")
    peers.add_argument("--reverse", action="store_true", help="the other way round")
    _add_limit(peers)
    show = commands.add("show", _show, summary="all about one peer", text=SHOW_TEXT, examples="  sigctl show cam1\n")
    show.add_argument("peer", metavar="PEER", help="its ID")
    closed = commands.add(
        "closed", _closed, summary="list ended links with reasons", text=CLOSED_TEXT, examples=CLOSED_EXAMPLES
    )
    closed.add_argument("glob", metavar="GLOB", nargs="?", default="*", help="IDs to list (default: all)")
    _add_limit(closed)
    commands.add(
        "metrics",
        _metrics,
        summary="print metrics for Prometheus",
        text=METRICS_TEXT,
        examples="  sigctl metrics | grep _total\n",
    )


def _add_limit(described: argparse.ArgumentParser) -> None:
    described.add_argument("--limit", metavar="N", type=_limit, help="maximum number of lines")


def _limit(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) <= len(str(LIMIT))):
        raise argparse.ArgumentTypeError(f'"{written}" is not a number of lines')
    return int(written)


# ---------------------------------------------------------------------------------------------------------------------
# status


def _status(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskStatus
    from sigd.admin.replies import StatusReply
    from sigd.ctl.ask import ask

    status, frame = ask(options.socket, AskStatus(), StatusReply)
    printed = put_answer(frame) if options.json else put(status_lines(status))
    return printed or (EXIT_REFUSED if status.findings else 0)


def status_lines(status: "StatusReply") -> list[str]:
    """Return the screen of `sigctl status`."""
    lines = [coloured(head_line(status), "head")]
    for name, text in _status_rows(status):
        lines += row(name, text)
    lines += ["", coloured("# findings" if status.findings else "# no findings", "head")]
    for found in status.findings:
        lines += finding(found.severity, found.text, found.advice)
    return lines


def head_line(status: "StatusReply") -> str:
    """Return a summary of the daemon in one line, safe to print."""
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
    """Return the number of links, by transport."""
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
    from sigd.admin.questions import AskPeers
    from sigd.admin.replies import PeersReply
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
    """Return the indices of the peers in display order; ties are sorted by ID."""
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
    from sigd.admin.questions import AskClosed
    from sigd.admin.replies import ClosedReply
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
    from sigd.admin.questions import AskShow
    from sigd.admin.replies import ShowReply
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
    states = {"rate-limited": reply.held, "does not read": reply.stuck, "its ID is claimed": reply.challenged}
    yield "now", ", ".join(name for name, holds in states.items() if holds)
    yield "maxFrame", size(reply.max_frame)
    yield "keepalive", span(reply.keepalive) if reply.keepalive else "none"
    yield "may be", ", ".join(reply.register)
    yield "may talk", "to all" if reply.talk is None else f"to {', '.join(reply.talk) or 'nobody'}"
    yield "discover", "" if reply.discover else "not allowed"
    if reply.credential is not None:
        until = "" if reply.expires is None else f", until {moment(reply.expires)}"
        yield "credential", f"{reply.credential}{until}"
    yield "talked with", ", ".join(reply.recent)


def _metrics(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskMetrics
    from sigd.admin.replies import MetricsReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskMetrics(), MetricsReply)
    if options.json:
        return put_answer(frame)
    return put_out(PROGRAM, "".join(f"{escaped(line)}\n" for line in reply.text.removesuffix("\n").split("\n")))
