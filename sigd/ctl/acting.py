"""`sigctl kick`, `ping`, `reload` and `drain`: commands that act on a running daemon."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

from sigd.ctl.command_line import EXIT_REFUSED, Commands
from sigd.ctl.printing import put, put_answer
from sigd.ctl.quantities import milliseconds, plural, seconds_within
from sigd.terminal import say
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.admin.replies import ReloadReply

KICK_TEXT = """\
Ends a peer's link. The peer receives the error `kicked` with the reason; a
client that follows the protocol does not reconnect by itself. To keep the peer
out, add it to auth.deny and reload.
"""

KICK_EXAMPLES = """\
  sigctl kick cam1
  sigctl kick cam1 --reason 'moved to hall 2'
"""

PING_TEXT = """\
Has the daemon ping a peer and prints the round trip of the signaling link. It
does not measure the path that media would take (ICE).
"""

PING_EXAMPLES = """\
  sigctl ping cam1
  sigctl ping cam1 --timeout 20
"""

RELOAD_TEXT = """\
Reloads the configuration with its secrets and certificates. Prints each
change, changes that need a restart, and the number of links ended. If anything
is wrong, nothing changes and the exit status is 1.

If credentials are no longer valid, links would end: on a terminal it then
lists the peers and asks; elsewhere it changes nothing and exits with 1, unless
--yes is given. `systemctl reload sigd` does not ask.
"""

DRAIN_TEXT = """\
Stops the daemon gracefully: it accepts no new links, tells every peer when to
reconnect, spread over limits.drain_ms, and exits. (`systemctl stop sigd` does
the same; systemd may start it again at the next connection.)
"""

LONGEST_WAIT: Final = 300.0
"""Maximum seconds for a ping; no live peer needs five minutes."""

_MARGIN: Final = 5.0
"""Additional seconds for the daemon's own answer."""

_RELOAD_PATIENCE: Final = 60.0
"""Seconds for a reload: a host name in `listen` may need a lookup, and files may lie on another machine."""


def describe(commands: Commands) -> None:
    """Add the commands of this module."""
    kick = commands.add("kick", _kick, summary="end a peer's link", text=KICK_TEXT, examples=KICK_EXAMPLES, writes=True)
    kick.add_argument("peer", metavar="PEER", help="its ID")
    kick.add_argument("--reason", metavar="TEXT", type=_reason, help="reason sent to the peer: printable ASCII")
    ping = commands.add("ping", _ping, summary="ping a peer", text=PING_TEXT, examples=PING_EXAMPLES)
    ping.add_argument("peer", metavar="PEER", help="its ID")
    ping.add_argument("--timeout", metavar="SECONDS", type=_wait, default=5.0, help="how long to wait (5)")
    reload = commands.add(
        "reload",
        _reload,
        summary="reload the configuration",
        text=RELOAD_TEXT,
        examples="  sigctl check && sigctl reload\n  sigctl reload --yes\n",
        writes=True,
    )
    reload.add_argument("--yes", action="store_true", help="end links without asking")
    commands.add(
        "drain", _drain, summary="stop the daemon gracefully", text=DRAIN_TEXT, examples="  sigctl drain\n", writes=True
    )


LONGEST_REASON: Final = 128
"""Maximum characters of a reason: those of an error's message on the wire."""


def _reason(written: str) -> str:
    if not (0 < len(written) <= LONGEST_REASON and written.isascii() and written.isprintable()):
        raise argparse.ArgumentTypeError(f"not 1 to {LONGEST_REASON} characters of printable ASCII")
    return written


def _wait(written: str) -> float:
    return seconds_within(written, LONGEST_WAIT)


def _kick(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskKick
    from sigd.admin.replies import KickReply
    from sigd.ctl.ask import ask

    question = AskKick(peer=options.peer)
    if options.reason is not None:
        question.reason = options.reason
    reply, frame = ask(options.socket, question, KickReply)
    return put_answer(frame) if options.json else put([escaped(f"{reply.peer} at {reply.address}: link ended")])


def _ping(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskPing
    from sigd.admin.replies import PingReply
    from sigd.ctl.ask import ask

    question = AskPing(peer=options.peer, timeout=options.timeout)
    reply, frame = ask(options.socket, question, PingReply, options.timeout + _MARGIN)
    if options.json:
        return put_answer(frame)
    return put([escaped(f"{reply.peer} answered after {milliseconds(reply.rtt)}")])


def _reload(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskReload
    from sigd.admin.replies import ReloadReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskReload(end_links=options.yes), ReloadReply, _RELOAD_PATIENCE)
    if reply.would_end and not options.json and _agreed(reply):
        reply, frame = ask(options.socket, AskReload(shown=reply.shown), ReloadReply, _RELOAD_PATIENCE)
    printed = put_answer(frame) if options.json else put(_reload_lines(reply))
    return printed or (EXIT_REFUSED if reply.faults or reply.would_end else 0)


def _agreed(reply: "ReloadReply") -> bool:
    """Print which links would end, and return whether the operator confirms."""
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    say(escaped(_would_end(reply)))
    try:
        return input("Reload all the same? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _would_end(reply: "ReloadReply") -> str:
    peers = ", ".join(reply.would_end_peers)
    more = reply.would_end - len(reply.would_end_peers)
    whose = f"{peers} and {more} more" if more > 0 else peers
    return f"a reload would end {plural(reply.would_end, 'link')}, whose credentials are no longer valid: {whose}"


def _reload_lines(reply: "ReloadReply") -> list[str]:
    if reply.faults:
        lines = [*reply.faults, f"{plural(len(reply.faults), 'fault')}; configuration {reply.before} remains in force"]
        return [escaped(line) for line in lines]
    if reply.would_end:
        lines = [f"would be reloaded: {change}" for change in reply.reloaded]
        lines += [f"would need a restart: {change}" for change in reply.needs_restart]
        lines += [
            _would_end(reply),
            f"nothing was changed; to go ahead: sigctl reload --yes; configuration {reply.before}",
        ]
        return [escaped(line) for line in lines]
    lines = [f"reloaded: {change}" for change in reply.reloaded]
    lines += [f"needs restart: {change}" for change in reply.needs_restart]
    if any(change.startswith("listen") for change in reply.needs_restart):
        lines.append("listeners open at a restart; if systemd holds the sockets: sudo sigctl setup")
    if reply.ended:
        lines.append(f"{plural(reply.ended, 'link')} ended: credentials no longer valid")
    if reply.before != reply.after:
        lines.append(f"configuration {reply.before} -> {reply.after}")
    elif lines:
        lines.append(f"configuration {reply.after}")
    else:
        lines.append(f"no change: configuration {reply.after}")
    return [escaped(line) for line in lines]


def _drain(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskDrain
    from sigd.admin.replies import DrainReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskDrain(), DrainReply)
    if options.json:
        return put_answer(frame)
    return put([f"draining: {plural(reply.links, 'link')} told to reconnect, over {reply.drain:g} s; then sigd exits"])
