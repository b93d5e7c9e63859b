"""`sigctl send` and `sigctl listen`: a peer on the command line, over any transport, to try a server or a peer."""

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING, Final

from sigd.ctl.calling import add_caller, call, ended, meaning, peer_id
from sigd.ctl.command_line import EXIT_REFUSED, EXIT_TIMED_OUT, Commands, EndedError
from sigd.ctl.printing import SCHEMA, dumped, put, put_json
from sigd.ctl.quantities import plural, seconds_within, size
from sigd.terminal import EXIT_FAULT, EXIT_INTERRUPTED, LONGEST_LINE, say
from sigd.text import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import Raw

    from sigd.client.backlog import Received
    from sigd.client.blocking import BlockingPeer
    from sigd.client.errors import SignalingError
    from sigd.wire.messages import Answer, Bye, Candidate, Message, Offer

SEND_TEXT = """\
Registers as a peer, sends one message to another, and prints the server's
answer. `ok` means that the message is in the recipient's outbox. A plain TEXT
is sent as the `data` of a `message`. `-` in place of a text, a file or JSON
reads standard input.
"""

SEND_EXAMPLES = """\
  sigctl send tcp://127.0.0.1 bob 'hello'
  sigctl send --id cam1 --offer offer.sdp tls://sigd.example.net bob
  sigctl send --data '{"zoom":2}' udp://sigd.example.net bob
  sigctl send --secret-file /etc/sigd/hmac tls://sigd.example.net bob hello
  sigctl send unix:/run/sigd/sigd.sock bob --bye done
"""

LISTEN_TEXT = """\
Registers as a peer and prints each received message: as a line of JSON, or in
readable form on a terminal. It answers pings and reconnects after a lost
connection, until it is interrupted. --exec runs a command for each message,
without a shell, one at a time and for 10 s at most. The command reads the JSON
from standard input; its output goes to standard error and is not sent back.
"""

LISTEN_EXAMPLES = """\
  sigctl listen tcp://127.0.0.1
  sigctl listen --id cam1 --ca ca.pem --token-file cam1.json tls://10.0.0.7
  sigctl listen --id cam1 --count 1 --timeout 60 tcp://127.0.0.1 | jq .sdp
  sigctl listen --exec 'logger -t sigd' unix:/run/sigd/sigd.sock
"""

LARGEST_INPUT: Final = 1_048_576
"""Maximum bytes of input: no server accepts more by default, and a pipe may be endless."""

LONGEST_SEND_SECONDS: Final = 300.0

LONGEST_LISTEN_SECONDS: Final = 30 * 86_400.0

CONNECT_SECONDS: Final = 10.0
"""Timeout in seconds to connect and register."""

EXEC_SECONDS: Final = 10.0
"""Timeout in seconds for a command; meanwhile no ping is answered, and a server waits 12.5 s at least, 75 s by
default.
"""

LOOK_SECONDS: Final = 1.0
"""Seconds until a lost connection is reported."""


def describe(commands: Commands) -> None:
    """Add the commands of this module."""
    send = commands.add(
        "send",
        _send,
        summary="act as a peer: send one message",
        text=SEND_TEXT,
        examples=SEND_EXAMPLES,
        writes=None,
        asks=False,
    )
    add_caller(send)
    send.add_argument("to", metavar="TO", type=peer_id, help="the recipient")
    what = send.add_mutually_exclusive_group(required=True)
    what.add_argument("text", metavar="TEXT", nargs="?", help="text to send as a message")
    what.add_argument("--data", metavar="JSON", help="JSON to send as a message")
    what.add_argument("--offer", metavar="FILE", help="an SDP offer")
    what.add_argument("--answer", metavar="FILE", help="an SDP answer")
    what.add_argument("--candidate", metavar="JSON", help="an ICE candidate: an RTCIceCandidateInit")
    what.add_argument("--end-of-candidates", action="store_true", help="signal the end of candidates")
    what.add_argument("--bye", metavar="REASON", nargs="?", const="", help="end the session")
    send.add_argument("--session", metavar="NAME", help="the message's session")
    send.add_argument(
        "--timeout", metavar="SECONDS", type=_send_seconds, default=10.0, help="timeout for the whole command (10)"
    )
    listen = commands.add(
        "listen",
        _listen,
        summary="act as a peer: print received messages",
        text=LISTEN_TEXT,
        examples=LISTEN_EXAMPLES,
        writes=None,
        asks=False,
    )
    add_caller(listen)
    listen.add_argument("--meta", metavar="JSON", help="metadata shown to other peers: an object")
    listen.add_argument("--exec", metavar="CMD", help="command to run for each message")
    listen.add_argument("--count", metavar="N", type=_number, help="stop after this many messages")
    listen.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_listen_seconds,
        default=math.inf,
        help="stop after this time; exit status 4 if fewer than --count messages came (default: 1)",
    )


def _send_seconds(written: str) -> float:
    return seconds_within(written, LONGEST_SEND_SECONDS)


def _listen_seconds(written: str) -> float:
    return seconds_within(written, LONGEST_LISTEN_SECONDS)


def _number(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) < 10 and int(written)):
        raise argparse.ArgumentTypeError(f'"{written}" is not a number of messages')
    return int(written)


# -- send


def _send(options: argparse.Namespace) -> int:
    """Run `sigctl send`."""
    from sigd.client.errors import Disconnected, SignalingError

    message = _message(options)
    until = time.monotonic() + options.timeout
    with call(options, timeout=options.timeout, reconnect=False) as peer:
        try:
            peer.request(message, within=max(0.0, until - time.monotonic()))
        except (SignalingError, TimeoutError) as fault:
            if options.json and isinstance(fault, SignalingError) and not isinstance(fault, Disconnected):
                return put_json(_outcome(peer, options.to, fault)) or EXIT_REFUSED
            raise ended(fault) from None
        except ValueError as fault:  # half of a surrogate pair: the argument was not UTF-8
            raise EndedError(EXIT_FAULT, f"cannot be sent: {fault}") from None
        return put_json(_outcome(peer, options.to, None)) if options.json else put([f"ok: in {options.to}'s outbox"])


def _outcome(peer: "BlockingPeer", to: str, fault: "SignalingError | None") -> dict[str, object]:
    said: dict[str, object] = {"type": "sent", "ok": fault is None, "from": peer.id, "to": to}
    if fault is not None:
        said |= {"code": fault.code, "message": fault.text, "meaning": meaning(fault.code)}
        if fault.retry_after_ms is not None:
            said["retryAfterMs"] = fault.retry_after_ms
    return said


def _message(options: argparse.Namespace) -> "Offer | Answer | Candidate | Bye | Message":
    """Build the message that the options describe."""
    import msgspec

    from sigd.wire import messages

    to, session = options.to, options.session
    if options.offer is not None:
        return messages.Offer(to=to, sdp=_content(options.offer), session=session)
    if options.answer is not None:
        return messages.Answer(to=to, sdp=_content(options.answer), session=session)
    if options.candidate is not None:
        return messages.Candidate(to=to, candidate=_json("--candidate", options.candidate), session=session)
    if options.end_of_candidates:
        return messages.Candidate(to=to, candidate=msgspec.Raw(b"null"), session=session)
    if options.bye is not None:
        return messages.Bye(to=to, reason=options.bye or None, session=session)
    if options.data is not None:
        return messages.Message(to=to, data=_json("--data", options.data), session=session)
    text = _input().removesuffix("\n") if options.text == "-" else options.text
    try:
        return messages.Message(to=to, data=messages.encode_string(text), session=session)
    except ValueError as fault:
        raise EndedError(EXIT_FAULT, f"TEXT: {fault}") from None


def _json(option: str, written: str) -> "Raw":
    """Parse JSON from the command line or standard input; keep each number's spelling."""
    import msgspec

    text = _input() if written == "-" else written
    try:
        msgspec.json.decode(text)
        return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))
    except (ValueError, RecursionError) as fault:
        raise EndedError(EXIT_FAULT, f"{option}: not JSON: {fault}") from None


def _content(file: str) -> str:
    if file == "-":
        return _input()
    try:
        with open(file, "rb") as opened:
            return _text(file, opened.read(LARGEST_INPUT + 1))
    except (OSError, ValueError) as fault:
        raise EndedError(EXIT_FAULT, f"{file}: {getattr(fault, 'strerror', None) or fault}") from None


def _input() -> str:
    if not sys.stdin:
        raise EndedError(EXIT_FAULT, "standard input: closed")
    return _text("standard input", sys.stdin.buffer.read(LARGEST_INPUT + 1))


def _text(where: str, content: bytes) -> str:
    if len(content) > LARGEST_INPUT:
        raise EndedError(EXIT_FAULT, f"{where}: more than {LARGEST_INPUT} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise EndedError(EXIT_FAULT, f"{where}: not UTF-8") from None


# -- listen


def _listen(options: argparse.Namespace) -> int:
    """Run `sigctl listen`."""
    from sigd.client.errors import SignalingError

    meta, command = _meta(options.meta), _command(options.exec)
    until = time.monotonic() + options.timeout
    with call(options, timeout=min(CONNECT_SECONDS, options.timeout), reconnect=True, meta=meta) as peer:
        say(escaped(f"listening as {peer.id} ({peer.registered.server})"))
        try:
            return _hear(peer, options, command, until)
        except SignalingError as fault:
            raise ended(fault) from None
        except KeyboardInterrupt:
            return 0 if options.count is None else EXIT_INTERRUPTED


def _meta(written: str | None) -> dict[str, object] | None:
    import msgspec

    if written is None:
        return None
    try:
        return msgspec.json.decode(written, type=dict[str, object])
    except (ValueError, RecursionError) as fault:
        raise EndedError(EXIT_FAULT, f"--meta: not a JSON object: {fault}") from None


def _command(written: str | None) -> "Sequence[str]":
    import shlex
    import shutil

    try:
        command = shlex.split(written or "")
    except ValueError as fault:
        raise EndedError(EXIT_FAULT, f"--exec: {fault}") from None
    if written is not None and (not command or shutil.which(command[0]) is None):
        raise EndedError(EXIT_FAULT, f"--exec: no such command: {written}")
    return command


def _hear(peer: "BlockingPeer", options: argparse.Namespace, command: "Sequence[str]", until: float) -> int:
    """Print messages until the count is reached or the time is up; return the exit status."""
    from sigd.wire.said import Error

    as_json = options.json or not (sys.stdout and sys.stdout.isatty())
    connected, count = True, 0
    while (left := until - time.monotonic()) > 0:
        message = peer.receive(min(left, LOOK_SECONDS))
        if connected != peer.connected:
            connected = peer.connected
            say(escaped("connected again" if connected else f"connection lost: {peer.trouble}; trying again"))
        if message is None:
            continue
        line = _line(message)
        if status := put([line if as_json else _readable(message)]):
            return status  # the reader has closed the pipe
        if isinstance(message, Error):  # from the server itself
            continue
        count += 1
        if command:
            _run(command, line)
        if count == options.count:
            return 0
    if options.count is None and count:
        return 0
    say(f"{plural(count, 'message')} received before the timeout")
    return EXIT_TIMED_OUT


def _line(message: "Received") -> str:
    """Return a message as one line of ASCII JSON."""
    import msgspec

    head: dict[str, object] = {"schema": SCHEMA, "time": _now()}
    try:
        return dumped(head | msgspec.to_builtins(message), pretty=False)
    except RecursionError:
        return dumped(head | {"type": message.__struct_config__.tag, "cut": "nested too deep"}, pretty=False)


def _now() -> str:
    """Return the time in UTC, to the millisecond (RFC 3339)."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


def _readable(message: "Received") -> str:
    """Return a message as one line for a terminal."""
    from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, Error, MessageFrom, OfferFrom

    match message:
        case OfferFrom() | AnswerFrom():
            kind, what = str(message.__struct_config__.tag), f"{size(len(message.sdp.encode()))} of SDP"
        case CandidateFrom(candidate=None):
            kind, what = "end-of-candidates", ""
        case CandidateFrom():
            candidate = message.candidate or {}
            kind, what = "candidate", _compact(candidate.get("candidate", candidate))
        case ByeFrom():
            kind, what = "bye", message.reason or ""
        case MessageFrom():
            kind, what = "message", _compact(message.data)
        case Error():
            return _cut(f"{time.strftime('%H:%M:%S')} the server: {message.code}: {message.message}")
    about = f" (session {message.session})" if message.session is not None else ""
    return _cut(f"{time.strftime('%H:%M:%S')} {message.sender}{about} {kind} {what}".rstrip())


def _compact(value: object) -> str:
    """Return a value as compact JSON; a string as it is."""
    import msgspec

    try:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except RecursionError:
        return "(nested too deep)"


def _cut(text: str) -> str:
    safe = escaped(text)
    return safe if len(safe) <= LONGEST_LINE else f"{safe[: LONGEST_LINE - 3]}..."


def _run(command: "Sequence[str]", line: str) -> None:
    """Run a command for a message; report a failure and continue."""
    import subprocess

    try:
        done = subprocess.run(command, input=f"{line}\n".encode(), stdout=2, timeout=EXEC_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        say(escaped(f"{command[0]}: killed after {EXEC_SECONDS:g} s"))
    except (OSError, ValueError) as fault:
        say(escaped(f"{command[0]}: {getattr(fault, 'strerror', None) or fault}"))
    else:
        if done.returncode:
            say(escaped(f"{command[0]}: exit status {done.returncode}"))
