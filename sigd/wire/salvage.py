"""The answer to an undecodable message: an error for its sender, with its `ref`."""

import re
from collections.abc import Set
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sigd.wire.errors import ErrorCode, ProtocolError

_NAME: Final = re.compile(r"[ !#-\[\]-~]{1,64}\Z")

# What msgspec says is passed on only where it consists of words of ours: anything else may echo what came in.
_OUR_WORDS: Final = re.compile(
    r"JSON is malformed: [a-z0-9 ,'\"\[\]{}:]+\(byte \d+\)\Z"
    r"|Object missing required field `[A-Za-z]+`\Z"
    r"|Expected `[a-z| ]+`(, got `[a-z]+`)?( - at `\$\.[A-Za-z]+`)?\Z"
)

_TRUNCATED: Final = "Input data was truncated"


_QUOTES: Final = 128
"""Quotation marks that are looked at in a frame that is no JSON: four times as many as any message of section 6 has,
and as many as are found in half a millisecond."""

_GAP: Final = 64
"""Bytes of white space, or of backslashes, that are looked at in one place."""

_SPACE: Final = b" \t\r\n"
_QUOTE: Final = b'"'


class _Envelope(Struct):
    type: Raw | UnsetType = UNSET
    ref: Raw | UnsetType = UNSET
    to: Raw | UnsetType = UNSET
    id: Raw | UnsetType = UNSET
    session: Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Envelope)
_MEMBERS: Final = frozenset(name.encode() for name in _Envelope.__struct_fields__)


class Salvaged(NamedTuple):
    """Names found in a frame that is no message, or only the beginning of one. They are unchecked input.

    Attributes:
        kind: its `type`.
        ref, to, id, session: its members of these names.
    """

    kind: str | None = None
    ref: str | None = None
    to: str | None = None
    id: str | None = None
    session: str | None = None


def salvage(frame: bytes) -> Salvaged:
    """Return the members that name something, from a frame or from the beginning of one."""
    return _named(_whole(frame) or _begun(frame))


def _whole(frame: bytes) -> _Envelope | None:
    try:
        return _decoder.decode(frame)
    except (ValueError, RecursionError):
        return None


def _named(envelope: _Envelope) -> Salvaged:
    return Salvaged(*map(_text, (envelope.type, envelope.ref, envelope.to, envelope.id, envelope.session)))


def _begun(frame: bytes) -> _Envelope:
    """Return the outer members of an object that breaks off or is at fault, as far as they can be told."""
    envelope = _Envelope()
    at = frame.find(b"{") + 1
    if not at or frame[: at - 1].strip(_SPACE):
        return envelope
    depth, name, left = 1, b"", _QUOTES
    while (start := frame.find(_QUOTE, at)) >= 0:
        end, left = _end_of_string(frame, start, left)
        # Brackets stand between strings; what names something stands in the outer object itself.
        between = frame[at:start]
        depth += between.count(b"{") + between.count(b"[") - between.count(b"}") - between.count(b"]")
        if end < 0 or depth < 1:
            break
        if depth == 1 and frame[end : end + _GAP].lstrip(_SPACE).startswith(b":"):
            name = frame[start + 1 : end - 1]
        elif depth == 1 and name in _MEMBERS and between.strip(_SPACE) == b":":
            setattr(envelope, name.decode(), Raw(frame[start:end]))
        at = end
    return envelope


def _end_of_string(frame: bytes, start: int, left: int) -> tuple[int, int]:
    """Return the end of the string that begins at `start`, and how many quotation marks may be looked at after it.

    The end is -1 where there is none, or too much would have to be looked at.
    """
    end = start
    while left > 0 and (end := frame.find(_QUOTE, end + 1)) >= 0:
        left -= 1
        before = frame[max(start + 1, end - _GAP) : end]
        escapes = len(before) - len(before.rstrip(b"\\"))
        if escapes == _GAP:
            break
        if escapes % 2 == 0:
            return end + 1, left
    return -1, 0


def is_name(text: str) -> bool:
    r"""Whether a text may be a `ref` or `session`: 1 to 64 printable ASCII characters without `"` and `\`."""
    return _NAME.match(text) is not None


def explain(frame: bytes, fault: ValueError | RecursionError, types: Set[str]) -> ProtocolError:
    """The error that answers a frame at fault.

    Args:
        frame: the bytes that came.
        fault: the error from decoding it.
        types: every `type` that there is.
    """
    if isinstance(fault, UnicodeDecodeError):
        return ProtocolError(ErrorCode.BAD_MESSAGE, f"not UTF-8 (byte {fault.start})")
    if isinstance(fault, RecursionError):
        return ProtocolError(ErrorCode.BAD_MESSAGE, "nested too deep")
    found = _named(_whole(frame) or _Envelope())
    kind, ref = found.kind, found.ref
    if ref is not None and not is_name(ref):
        ref = None
    if kind is not None and kind not in types:
        return ProtocolError(ErrorCode.UNKNOWN_TYPE, "no message has this `type`", ref=ref)
    text = str(fault)
    if text == _TRUNCATED:  # msgspec says so of half a surrogate pair, too
        text = "the JSON ends too early" + (" or has half a surrogate pair" if b"\\u" in frame else "")
    elif not _OUR_WORDS.match(text):
        text = "not a message: expected a JSON object with a `type` and the members that go with it"
    return ProtocolError(ErrorCode.BAD_MESSAGE, text, ref=ref)


def _text(raw: Raw | UnsetType) -> str | None:
    if raw is UNSET:
        return None
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError:
        return None
