"""`sigctl tap` and `sigctl why`: the messages between two peers, and why they did not connect."""

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Final

from sigd.ctl.command_line import Commands
from sigd.ctl.printing import dumped, put, put_answer
from sigd.ctl.quantities import parse_seconds
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.ctl.ask import Conversation

TAP_TEXT = """\
Shows messages live, relayed or refused, for these peers or for all, in one
column per peer; the output to a pipe is the same as on a terminal. Addresses
and secrets are masked unless --full is given. A reader that is too slow is
disconnected; watched peers are not affected. Ctrl-C ends it.
"""

TAP_EXAMPLES = """\
  sigctl tap cam1 bob
  sigctl tap cam1 --since 10m
  sigctl tap --json | jq -r .kind
"""

WHY_TEXT = """\
Explains why two peers did not connect: checks the daemon's record of their
last attempt, step by step, and names the likely fault and its remedy. The
daemon sees signaling only: if that was complete, the fault is in ICE or DTLS,
and only the endpoints can tell.
"""

WHY_EXAMPLES = """\
  sigctl why cam1 bob
  sigctl why cam1 bob --session k3
"""

LONGEST_SINCE: Final = 365 * 86_400
"""Maximum seconds: no record reaches back further."""


def describe(commands: Commands) -> None:
    """Add the commands of this module."""
    tap = commands.add("tap", _tap, summary="show messages live", text=TAP_TEXT, examples=TAP_EXAMPLES)
    tap.add_argument("peers", metavar="PEER", nargs="*", help="only messages from or to these (default: all)")
    tap.add_argument(
        "--since", metavar="TIME", type=_since, default=0, help="start with messages of the last 10m, 1h30m, ..."
    )
    tap.add_argument("--full", action="store_true", help="show messages unmasked")
    why = commands.add(
        "why", _why, summary="explain why two peers did not connect", text=WHY_TEXT, examples=WHY_EXAMPLES
    )
    why.add_argument("first", metavar="PEER", help="one peer")
    why.add_argument("second", metavar="PEER", help="the other peer")
    why.add_argument("--session", metavar="NAME", help="session of the attempt (default: the last one)")
    why.add_argument("--full", action="store_true", help="show addresses")


def _since(written: str) -> int:
    return parse_seconds(written, LONGEST_SINCE)


def _tap(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskTap
    from sigd.admin.replies import TapReply
    from sigd.ctl.ask import conversation

    question = AskTap(peers=options.peers, since=float(options.since), full=options.full)
    with conversation(options.socket) as talk, contextlib.suppress(KeyboardInterrupt):
        talk.ask(question, TapReply)
        return _print_objects(talk) if options.json else _print_ladder(talk, options.peers)
    return 0


def _print_objects(talk: "Conversation") -> int:
    from sigd.ctl.ask import fields

    while (frame := talk.heard()) is not None:
        if status := put([dumped(fields(frame), pretty=False)]):
            return status
    return 0


def _print_ladder(talk: "Conversation", peers: list[str]) -> int:
    from sigd.admin.replies import TappedReply
    from sigd.ctl.ask import fields, read
    from sigd.why.ladder import Ladder

    ladder = Ladder(peers, unicode=_shows_unicode())
    status = put(escaped(line) for line in ladder.head())
    while not status and (frame := talk.heard()) is not None:
        lines = [escaped(ladder.line(read(frame, TappedReply)))]
        if (body := fields(frame).get("body")) is not None:
            lines.append(f"    {dumped(body, pretty=False)}")
        status = put(lines)
    return status


def _shows_unicode() -> bool:
    return bool(sys.stdout) and sys.stdout.encoding.lower().startswith("utf")


def _why(options: argparse.Namespace) -> int:
    from sigd.admin.questions import AskWhy
    from sigd.ctl.ask import ask
    from sigd.why.ladder import verdict_lines
    from sigd.why.verdict import Verdict

    question = AskWhy(first=options.first, second=options.second, session=options.session, full=options.full)
    verdict, frame = ask(options.socket, question, Verdict)
    if options.json:
        return put_answer(frame)
    return put(escaped(line) for line in verdict_lines(verdict, unicode=_shows_unicode()))
