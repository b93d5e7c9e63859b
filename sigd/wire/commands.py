"""Typed commands: one line in, one message out, equal to a program's message. No I/O."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import ClientMessage


class _Command(NamedTuple):
    usage: str
    purpose: str
    build: Callable[[str], ClientMessage]


def parse(line: bytes, max_depth: int) -> ClientMessage | None:
    """The message that a command stands for; None for `help`, which is answered with `HELP`.

    Args:
        line: one line without its end, as typed; an empty one is a ping. Behind a command that ends in `<<` its text
            follows, in lines of its own.
        max_depth: maximum nesting of the relayed members.

    Raises:
        ProtocolError: `unknown-type` for a command that does not exist, `bad-message` for one that is not complete.
    """
    try:
        words = line.decode().strip()
    except UnicodeDecodeError as fault:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"not UTF-8 (byte {fault.start})") from None
    if "\n" in words or words.endswith(" <<"):
        words = _on_one_line(words)
    name, _, rest = words.partition(" ")
    if name in {"help", "?"}:
        return None
    command = _COMMANDS.get(name)
    if command is None:
        raise _unknown(name)
    try:
        message = command.build(rest.strip())
    except _Incomplete:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"the command is: {command.usage}") from None
    message.check(False, max_depth)
    return message


def _on_one_line(typed: str) -> str:
    """Return the command on one line: each line of SDP ends in CR LF (RFC 8866), other text LF between its own.

    SDP has no empty line, and no stack reads one. A terminal makes one of each CR LF that is pasted into it.
    """
    command, _, text = typed.replace("\r\n", "\n").replace("\\", "\\\\").partition("\n")
    command = command.rstrip().removesuffix("<<")
    if not command.startswith("send") and text:
        text = "".join(f"{line}\r\n" for line in text.split("\n") if line)
    return command + text.replace("\r", r"\r").replace("\n", r"\n")


def as_json(line: bytes) -> bytes:
    """Return the members that a faulty command names, as the beginning of the JSON that a program would have sent."""
    name, _, rest = line.strip().partition(b" ")
    member = _NAMED.get(name)
    if member is None:
        return b""
    kind = b"message" if name == b"send" else name
    return b'{"type":"%s","%s":"%s"' % (kind, member, rest.strip().partition(b" ")[0])


_NAMED: Final = {b"register": b"id", **dict.fromkeys((b"offer", b"answer", b"candidate", b"bye", b"send"), b"to")}

# What JSON wants escaped, and a person types as it is.
_NEED_ESCAPES: Final = {ord('"'): '\\"'} | {code: f"\\u{code:04x}" for code in range(0x20)}


class _Incomplete(Exception):
    pass


def _unknown(name: str) -> ProtocolError:
    import difflib  # for slips of the finger alone: not worth its time at every start

    near = difflib.get_close_matches(name.lower()[:64], [*_COMMANDS, "help"], n=1)
    hint = f"the nearest is {near[0]}; " if near else ""
    return ProtocolError(ErrorCode.UNKNOWN_TYPE, f"no such command; {hint}type help for the list")


def _peer_and_text(rest: str) -> tuple[str, str]:
    peer, _, text = rest.partition(" ")
    if not peer:
        raise _Incomplete
    return peer, text.strip()


def _unescaped(text: str) -> str:
    """The text with JSON's escapes resolved; quotes and tabs need none."""
    # What is escaped already is put out of the way, as what no UTF-8 decodes to: with a call for each escape a line
    # would take half a millisecond.
    quoted = text.replace(r"\\", "\ud800").replace(r"\"", "\ud801").translate(_NEED_ESCAPES)
    quoted = quoted.replace("\ud801", r"\"").replace("\ud800", r"\\")
    try:
        return msgspec.json.decode(f'"{quoted}"', type=str)
    except ValueError:
        fault = r"a \ in TEXT begins a JSON escape such as \r\n or \u00e9; write \\ for one that stands for itself"
        raise ProtocolError(ErrorCode.BAD_MESSAGE, fault) from None


def _required_text(text: str) -> str:
    if not text:
        raise _Incomplete
    return _unescaped(text)


def _register(rest: str) -> ClientMessage:
    return messages.Register(id=rest or None)


def _offer(rest: str) -> ClientMessage:
    peer, text = _peer_and_text(rest)
    return messages.Offer(to=peer, sdp=_required_text(text))


def _answer(rest: str) -> ClientMessage:
    peer, text = _peer_and_text(rest)
    return messages.Answer(to=peer, sdp=_required_text(text))


def _candidate(rest: str) -> ClientMessage:
    peer, text = _peer_and_text(rest)
    if not text:
        return messages.Candidate(to=peer, candidate=msgspec.Raw(b"null"))
    if text.startswith("{"):
        return messages.Candidate(to=peer, candidate=_object(text))
    # One m-line is what a person tries by hand; W3C webrtc-pc refuses a candidate that names neither mid nor index.
    init = {"candidate": _unescaped(text), "sdpMLineIndex": 0}
    return messages.Candidate(to=peer, candidate=msgspec.Raw(msgspec.json.encode(init)))


def _object(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except ValueError:
        raise ProtocolError(ErrorCode.BAD_MESSAGE, "TEXT begins with { but is no JSON object") from None
    except RecursionError:
        pass  # deeper than any `max_depth`, for which it is refused; from Python 3.13 on it can be decoded
    return msgspec.Raw(text.encode())


def _bye(rest: str) -> ClientMessage:
    peer, text = _peer_and_text(rest)
    return messages.Bye(to=peer, reason=_unescaped(text) if text else None)


def _send(rest: str) -> ClientMessage:
    peer, text = _peer_and_text(rest)
    return messages.Message(to=peer, data=messages.encode_string(_required_text(text)))


def _who(rest: str) -> ClientMessage:
    return messages.Peers(prefix=rest)


def _ping(rest: str) -> ClientMessage:
    return messages.Ping()


def _quit(rest: str) -> ClientMessage:
    return messages.Unregister()


_COMMANDS: Final[dict[str, _Command]] = {
    "register": _Command("register [ID]", "take an ID (without: one is picked for you)", _register),
    "offer": _Command("offer ID TEXT", r"send an SDP offer; JSON escapes such as \r\n work in TEXT", _offer),
    "answer": _Command("answer ID TEXT", "send an SDP answer", _answer),
    "candidate": _Command("candidate ID [TEXT]", "send an ICE candidate; without TEXT: there are no more", _candidate),
    "bye": _Command("bye ID [REASON]", "end a session", _bye),
    "send": _Command("send ID TEXT", "send any text", _send),
    "who": _Command("who [PREFIX]", "list the registered peers", _who),
    "ping": _Command("ping", "see whether the server answers (so does an empty line)", _ping),
    "quit": _Command("quit", "give the ID back and leave", _quit),
    "": _Command("", "", _ping),
}

COMMANDS: Final = (*tuple(name for name in _COMMANDS if name), "help")
"""The names of all commands."""


def _help() -> bytes:
    rows = [(command.usage, command.purpose) for name, command in _COMMANDS.items() if name]
    rows.append(("help", "this list"))
    rows.append(("<<", "as TEXT of offer, answer, send: the lines that follow, up to a single dot"))
    rows.append(("{...}", "any JSON message, as protocol.md has them"))
    return "".join(f"# {usage:20} {purpose}\n" for usage, purpose in rows).encode()


HELP: Final = _help()
"""The answer to `help`: lines that begin with `#`, which no program reads."""
