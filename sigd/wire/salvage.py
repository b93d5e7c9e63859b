"""What can be said of a message that cannot be decoded: an error for its sender, with its `ref`."""

import re
from collections.abc import Set
from typing import Final

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


class _Envelope(Struct):
    type: Raw | UnsetType = UNSET
    ref: Raw | UnsetType = UNSET


_decoder: Final = msgspec.json.Decoder(_Envelope)


def is_name(text: str) -> bool:
    r"""Whether a text may be a `ref` or `session`: 1 to 64 printable ASCII characters without `"` and `\`."""
    return _NAME.match(text) is not None


def explain(frame: bytes, fault: ValueError | RecursionError, types: Set[str]) -> ProtocolError:
    """The error that answers a frame at fault.

    Args:
        frame: what came.
        fault: what decoding it raised.
        types: every `type` that there is.
    """
    if isinstance(fault, UnicodeDecodeError):
        return ProtocolError(ErrorCode.BAD_MESSAGE, f"not UTF-8 (byte {fault.start})")
    if isinstance(fault, RecursionError):
        return ProtocolError(ErrorCode.BAD_MESSAGE, "nested too deep")
    try:
        envelope = _decoder.decode(frame)
    except (ValueError, RecursionError):
        envelope = _Envelope()
    kind, ref = _text(envelope.type), _text(envelope.ref)
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
