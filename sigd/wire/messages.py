"""Every message of a client as a Struct, and the way from bytes to one and back: with `said` the map of the protocol.

A type that travels both ways has two Structs: what a client says (`Offer`, with `to`) is here, what the server says
(`OfferFrom`, with `from`) in `said`. No I/O, no state.
"""

from types import UnionType
from typing import Final, NoReturn

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sigd.wire.errors import ErrorCode, Next, ProtocolError
from sigd.wire.ids import is_peer_id, is_prefix
from sigd.wire.opaque import is_plain, is_shallow, passable
from sigd.wire.said import ByeFrom, Error, PeerEntry, ServerMessage
from sigd.wire.salvage import explain, is_name

PROTOCOL: Final = 1

MIN_FRAME: Final = 1024
"""Bytes. The least `maxFrame` a client may ask for: every message of the server's own fits."""

MAX_META: Final = 1024
"""Bytes of a peer's `meta`: a page of 100 peers with it still comes to two default frames."""

MAX_REASON: Final = 128
"""Characters of a `reason`, as of an error's text: one line on a terminal."""

MIN_KEEPALIVE_MS: Final = 5_000
MAX_KEEPALIVE_MS: Final = 300_000


# ---------------------------------------------------------------------------------------------------------------------
# What a client says


class Request(Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Members common to all messages of a client."""

    ref: str | None = None

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse faults that the types alone let pass.

        Args:
            plain: the relayed part was seen to be shallow and on one line.
            max_depth: maximum nesting of the relayed members.

        Raises:
            ProtocolError: `bad-message`.
        """
        if self.ref is not None:
            self.check_ref()

    def check_ref(self) -> None:
        """Refuse a `ref` that cannot be returned as it is."""
        if self.ref is not None and not is_name(self.ref):
            self.ref = None
            self.refuse(r'`ref` must be 1 to 64 printable ASCII characters without " and \ ')

    def passable(self, body: Raw, max_depth: int) -> Raw:
        """Return a value to relay on one line; refuse one on which a small client's parser would run out of stack."""
        text = passable(body, max_depth)
        if text is None:
            self.refuse(f"what is relayed must not be nested deeper than {max_depth}", limit="max_depth")
        return text

    def refuse(self, text: str, *, limit: str | None = None) -> NoReturn:
        """Raise the `bad-message` that answers this message."""
        raise ProtocolError(ErrorCode.BAD_MESSAGE, text.strip(), ref=self.ref, limit=limit)


class Register(Request, kw_only=True, tag="register"):
    """Take an ID, or renew its `meta` and the credential: `token`, `user` and `token`, or `jwt`.

    In authenticated datagrams no `token` crosses the network: `user` stands with a mac there, or with `proof`.
    """

    id: str | None = None
    user: str | None = None
    token: str | None = None
    jwt: str | None = None
    proof: str | None = None
    meta: Raw | UnsetType = UNSET
    keepalive_ms: int | None = None
    max_frame: int | None = None
    protocol: int = PROTOCOL

    @property
    def shows_credential(self) -> bool:
        """Whether it carries a credential, rather than rely on the transport to identify the client."""
        return self.token is not None or self.user is not None or self.jwt is not None

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse a bad ID, `meta` that is no small object, and numbers out of range."""
        self.check_ref()
        if self.id is not None and not is_peer_id(self.id):
            self.refuse("`id` must be 1 to 64 characters of A-Z a-z 0-9 _ . ~ -")
        if self.protocol != PROTOCOL:
            self.refuse(f"`protocol` must be {PROTOCOL}: nothing else is spoken here")
        if self.max_frame is not None and self.max_frame < MIN_FRAME:
            self.refuse(f"`maxFrame` must be at least {MIN_FRAME} bytes")
        if self.keepalive_ms is not None and self.keepalive_ms < 1:
            self.refuse("`keepaliveMs` must be a positive number of milliseconds")
        if self.meta is not UNSET:
            self.meta = self.passable(self.meta, max_depth)
            meta = bytes(self.meta)
            if not meta.startswith(b"{") or len(meta) > MAX_META:
                self.refuse(f"`meta` must be a JSON object of at most {MAX_META} bytes")


class Unregister(Request, kw_only=True, tag="unregister"):
    """Leave: the ID is free, and the link ends."""


class Relayed(Request, kw_only=True):
    """The message for the peer that `to` names: the same members less `to` and `ref`, plus `from`."""

    to: str
    session: str | None = None

    def check_names(self) -> None:
        """Refuse a `ref` or `session` that cannot travel as it is."""
        self.check_ref()
        if self.session is not None and not is_name(self.session):
            self.refuse(r'`session` must be 1 to 64 printable ASCII characters without " and \ ')

    def delivered(self, sender: bytes) -> bytes:
        """The message as its recipient gets it, `sender` being the ID of the peer that it comes from.

        Joined from parts that are valid JSON, at a third of what it costs to build and encode a Struct: `sender` and
        `session` were checked, and neither holds anything that JSON escapes.
        """
        raise NotImplementedError


class _Description(Relayed, kw_only=True):
    sdp: str

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse U+0000, at which a recipient written in C would cut the SDP off."""
        self.check_names()
        if "\0" in self.sdp:
            self.refuse("`sdp` must not contain U+0000")


class Offer(_Description, kw_only=True, tag="offer"):
    """An SDP offer for a peer (W3C webrtc-pc, RTCSessionDescriptionInit)."""

    def delivered(self, sender: bytes) -> bytes:
        """The offer as its recipient gets it."""
        return b"".join((b'{"type":"offer","from":"', sender, b'","sdp":', _encode(self.sdp), _end(self.session)))


class Answer(_Description, kw_only=True, tag="answer"):
    """An SDP answer for a peer (W3C webrtc-pc, RTCSessionDescriptionInit)."""

    def delivered(self, sender: bytes) -> bytes:
        """The answer as its recipient gets it."""
        return b"".join((b'{"type":"answer","from":"', sender, b'","sdp":', _encode(self.sdp), _end(self.session)))


_CANDIDATE_FROM: Final = b'{"type":"candidate","from":"'
_CANDIDATE_IS: Final = b'","candidate":'
_CANDIDATE_AT: Final = len(_CANDIDATE_FROM) + len(_CANDIDATE_IS)
_OBJECT: Final = ord("{")
_NULL: Final = ord("n")


class Candidate(Relayed, kw_only=True, tag="candidate"):
    """An ICE candidate for a peer (W3C webrtc-pc, RTCIceCandidateInit), or `null`: there are no more."""

    candidate: Raw

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse a message that cannot be relayed."""
        if self.ref is not None or self.session is not None:
            self.check_names()
        if not plain:
            self.candidate = self.passable(self.candidate, max_depth)

    def delivered(self, sender: bytes) -> bytes:
        """The candidate as its recipient gets it: byte by byte as sent.

        Raises:
            ProtocolError: `bad-message` for a candidate that is neither an object nor `null`. (To look into a Raw
                costs a tenth of the decoding; here its first byte is at hand.)
        """
        end = b"}" if self.session is None else _end(self.session)
        data = b"".join((_CANDIDATE_FROM, sender, _CANDIDATE_IS, self.candidate, end))
        first = data[_CANDIDATE_AT + len(sender)]
        if first != _OBJECT and first != _NULL:
            self.refuse("`candidate` must be an object (RTCIceCandidateInit) or null (end of candidates)")
        return data


class Bye(Relayed, kw_only=True, tag="bye"):
    """The session is over."""

    reason: str | None = None

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse a long `reason`, and U+0000 in it."""
        self.check_names()
        if self.reason is not None and (len(self.reason) > MAX_REASON or "\0" in self.reason):
            self.refuse(f"`reason` must be at most {MAX_REASON} characters without U+0000")

    def delivered(self, sender: bytes) -> bytes:
        """The farewell as its recipient gets it."""
        return _encode(ByeFrom(sender=sender.decode(), session=self.session, reason=self.reason))


class Message(Relayed, kw_only=True, tag="message"):
    """Anything else that two peers agree on."""

    data: Raw

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse a message that cannot be relayed."""
        if self.ref is not None or self.session is not None:
            self.check_names()
        if not plain:
            self.data = self.passable(self.data, max_depth)

    def delivered(self, sender: bytes) -> bytes:
        """Return the message for its recipient, byte by byte as sent."""
        return b"".join((b'{"type":"message","from":"', sender, b'","data":', self.data, _end(self.session)))


class Peers(Request, kw_only=True, tag="peers"):
    """A request for registered IDs that begin with `prefix`, only those after `after`. With `peers` it is an answer."""

    prefix: str = ""
    after: str = ""
    peers: Raw | UnsetType = UNSET

    def check(self, plain: bool, max_depth: int) -> None:
        """Refuse a prefix with which no ID can begin."""
        self.check_ref()
        if not (is_prefix(self.prefix) and is_prefix(self.after)):
            self.refuse("`prefix` and `after` must be at most 64 characters of A-Z a-z 0-9 _ . ~ -")


class IceServers(Request, kw_only=True, tag="iceServers"):
    """Which STUN and TURN servers are there, with fresh credentials? With `iceServers` it is an answer."""

    ice_servers: Raw | UnsetType = UNSET


class Ping(Request, kw_only=True, tag="ping"):
    """Are you there?"""


class Pong(Request, kw_only=True, tag="pong"):
    """I am here."""


class Unanswered(Struct):
    """A message that only a server sends: heard from a client it is counted, not answered, and its members are ignored.

    So two daemons that were wired together by mistake fall silent.
    """

    def check(self, plain: bool, max_depth: int) -> None:
        """Let it pass."""


class ErrorHeard(Unanswered, tag="error"):
    """An `error` from a client."""


class OkHeard(Unanswered, tag="ok"):
    """An `ok` from a client."""


class RegisteredHeard(Unanswered, tag="registered"):
    """A `registered` from a client."""


class GoingAwayHeard(Unanswered, tag="goingAway"):
    """A `goingAway` from a client."""


ClientMessage = (
    Register
    | Unregister
    | Offer
    | Answer
    | Candidate
    | Bye
    | Message
    | Peers
    | IceServers
    | Ping
    | Pong
    | ErrorHeard
    | OkHeard
    | RegisteredHeard
    | GoingAwayHeard
)

# ---------------------------------------------------------------------------------------------------------------------
# Bytes to messages and back

_encode: Final = msgspec.json.Encoder().encode
_decoder: Final[msgspec.json.Decoder[ClientMessage]] = msgspec.json.Decoder(ClientMessage)
_said_decoder: Final[msgspec.json.Decoder[ServerMessage]] = msgspec.json.Decoder(ServerMessage)


def decode(frame: bytes, max_depth: int) -> ClientMessage:
    """The message that a client sent.

    Args:
        frame: one whole frame or line, immutable: the relayed part is not copied.
        max_depth: how deep `candidate`, `data` and `meta` may be nested.

    Raises:
        ProtocolError: `bad-message` or `unknown-type`, with the `ref` of the message where it has a valid one.
    """
    try:
        # msgspec looks neither into a Raw nor into skipped members for bad UTF-8 (isascii: a tenth of the cost).
        if not frame.isascii():
            frame.decode()
        message = _decoder.decode(frame)
    except (ValueError, RecursionError) as fault:
        raise explain(frame, fault, CLIENT_TYPES) from None
    message.check(is_plain(frame, max_depth), max_depth)
    return message


def encode(message: ServerMessage | ClientMessage) -> bytes:
    """The message as JSON: one line, no newline at its end."""
    return _encode(message)


DEEPEST_SAID: Final = 520
"""Nesting of the deepest message that is taken from a server: the largest `max_depth` that one may have, 512, with room
for what is around it, such as the three levels around the `meta` of a list of peers."""


def decode_said(frame: bytes) -> ServerMessage:
    """The message that a server sent.

    Raises:
        ValueError: it is no message that this version knows; a client ignores it (protocol.md, section 3).
    """
    # Checked here, since msgspec's own bound differs between versions of Python: 1 000 levels, 10 000, or the stack.
    if not is_shallow(frame, DEEPEST_SAID):
        raise ValueError("nested too deep")
    return _said_decoder.decode(frame)


def encode_entry(entry: PeerEntry) -> bytes:
    """One peer of a list as JSON."""
    return _encode(entry)


def encode_string(text: str) -> Raw:
    """A text as the JSON string that a `message` may carry as its `data`."""
    return Raw(_encode(text))


def error_of(fault: ProtocolError) -> Error:
    """A message to a client."""
    return Error(
        code=fault.code.value,
        message=fault.text[:MAX_REASON],
        ref=fault.ref,
        to=fault.to,
        retry_after_ms=fault.retry_after_ms,
        reconnect=False if fault.code.next is Next.NEVER and fault.retry_after_ms is None else None,
    )


def _end(session: str | None) -> bytes:
    return b"}" if session is None else b',"session":"' + session.encode() + b'"}'


def _tags(union: UnionType) -> frozenset[str]:
    return frozenset(str(struct.__struct_config__.tag) for struct in union.__args__)


CLIENT_TYPES: Final = _tags(ClientMessage)
"""Every `type` that a client may send."""

SERVER_TYPES: Final = _tags(ServerMessage)
"""Every `type` that the server sends."""
