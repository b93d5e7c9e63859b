"""`sigctl kick`, `ping`, `reload` and `drain`: what an operator has a running daemon do."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

from sigd.ctl.commands import EXIT_REFUSED, Commands
from sigd.ctl.printing import put, put_answer
from sigd.ctl.quantities import milliseconds, plural, seconds_within
from sigd.terminal import say
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.admin.messages import ReloadReply

KICK_TEXT = """\
Ends a peer's link. It is told `kicked` with the reason, and a client that
keeps to the protocol does not come back by itself. To keep it out, add it to
auth.deny and reload.
"""

KICK_EXAMPLES = """\
  sigctl kick cam1
  sigctl kick cam1 --reason 'moved to hall 2'
"""

PING_TEXT = """\
Asks a peer for a sign of life, through the daemon and back: how long it takes
is measured by the daemon, over the signaling link. It says nothing of the way
that media would take (ICE).
"""

PING_EXAMPLES = """\
  sigctl ping cam1
  sigctl ping cam1 --timeout 20
"""

RELOAD_TEXT = """\
Has the daemon read its configuration again, with the secrets and certificates
that it names, and tells what has changed, what will only after a restart, and
how many links have ended by it. With any fault nothing changes at all, and the
exit status is 1.

Where links would end, since their credentials do not hold any more, it says
how many and whose, and asks on a terminal; elsewhere it changes nothing and
exits with 1, unless --yes is there. `systemctl reload sigd` does not ask.
"""

DRAIN_TEXT = """\
Stops the daemon gently: it takes no new links, tells every peer when to come
back, spread over limits.drain_ms, and ends. (`systemctl stop sigd` does the
same; systemd may start it again when somebody connects.)
"""

LONGEST_WAIT: Final = 300.0
"""Seconds that a ping may take: five minutes are more than any peer that lives needs."""

_MARGIN: Final = 5.0
"""Seconds that the answer of the daemon itself may take in addition."""

_RELOAD_PATIENCE: Final = 60.0
"""Seconds: a host name in `listen` may have to be looked up, and files may lie on another machine."""


def describe(commands: Commands) -> None:
    """Describe them."""
    kick = commands.add("kick", _kick, summary="end a peer's link", text=KICK_TEXT, examples=KICK_EXAMPLES, writes=True)
    kick.add_argument("peer", metavar="PEER", help="its ID")
    kick.add_argument("--reason", metavar="TEXT", type=_reason, help="what the peer is told: printable ASCII")
    ping = commands.add("ping", _ping, summary="a sign of life from a peer", text=PING_TEXT, examples=PING_EXAMPLES)
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
    reload.add_argument("--yes", action="store_true", help="do not ask whether links may end")
    commands.add("drain", _drain, summary="stop it gently", text=DRAIN_TEXT, examples="  sigctl drain\n", writes=True)


LONGEST_REASON: Final = 128
"""Characters: those of an error's message on the wire."""


def _reason(written: str) -> str:
    if not (0 < len(written) <= LONGEST_REASON and written.isascii() and written.isprintable()):
        raise argparse.ArgumentTypeError(f"not 1 to {LONGEST_REASON} characters of printable ASCII")
    return written


def _wait(written: str) -> float:
    return seconds_within(written, LONGEST_WAIT)


def _kick(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskKick, KickReply
    from sigd.ctl.ask import ask

    question = AskKick(peer=options.peer)
    if options.reason is not None:
        question.reason = options.reason
    reply, frame = ask(options.socket, question, KickReply)
    return put_answer(frame) if options.json else put([escaped(f"{reply.peer} at {reply.address}: its link has ended")])


def _ping(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskPing, PingReply
    from sigd.ctl.ask import ask

    question = AskPing(peer=options.peer, timeout=options.timeout)
    reply, frame = ask(options.socket, question, PingReply, options.timeout + _MARGIN)
    if options.json:
        return put_answer(frame)
    return put([escaped(f"{reply.peer} lives: {milliseconds(reply.rtt)} to its next sign of life")])


def _reload(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskReload, ReloadReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskReload(end_links=options.yes), ReloadReply, _RELOAD_PATIENCE)
    if reply.would_end and not options.json and _agreed(reply):
        reply, frame = ask(options.socket, AskReload(), ReloadReply, _RELOAD_PATIENCE)
    printed = put_answer(frame) if options.json else put(_reload_lines(reply))
    return printed or (EXIT_REFUSED if reply.faults or reply.would_end else 0)


def _agreed(reply: "ReloadReply") -> bool:
    """Print which links would end, and return whether the person at the terminal agrees."""
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
    return f"a reload would end {plural(reply.would_end, 'link')}, whose credentials do not hold any more: {whose}"


def _reload_lines(reply: "ReloadReply") -> list[str]:
    if reply.faults:
        lines = [*reply.faults, f"{plural(len(reply.faults), 'fault')}; configuration {reply.before} still holds"]
        return [escaped(line) for line in lines]
    if reply.would_end:
        lines = [f"would be reloaded: {what}" for what in reply.reloaded]
        lines += [f"would need a restart: {what}" for what in reply.needs_restart]
        lines += [_would_end(reply), f"nothing has changed: sigctl reload --yes; configuration {reply.before}"]
        return [escaped(line) for line in lines]
    lines = [f"reloaded: {what}" for what in reply.reloaded]
    lines += [f"needs restart: {what}" for what in reply.needs_restart]
    if any(what.startswith("listen") for what in reply.needs_restart):
        lines.append("listeners are opened at a start: sudo sigctl setup, where systemd holds the sockets")
    if reply.ended:
        lines.append(f"{plural(reply.ended, 'link')} ended, whose credentials do not hold any more")
    if reply.before != reply.after:
        lines.append(f"configuration {reply.before} -> {reply.after}")
    elif lines:
        lines.append(f"configuration {reply.after}")
    else:
        lines.append(f"nothing has changed: configuration {reply.after}")
    return [escaped(line) for line in lines]


def _drain(options: argparse.Namespace) -> int:
    from sigd.admin.messages import AskDrain, DrainReply
    from sigd.ctl.ask import ask

    reply, frame = ask(options.socket, AskDrain(), DrainReply)
    if options.json:
        return put_answer(frame)
    return put([f"draining: {plural(reply.links, 'link')} told to come back, over {reply.drain:g} s; then sigd ends"])
