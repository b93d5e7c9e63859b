"""Every message of the server as a Struct, named from the point of view of the client that hears it. No I/O, no state.

What a client says, and the way between bytes and messages, is in `messages`.
"""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType, field


class Said(Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Members common to all messages of the server: the `ref` of the message that it answers."""

    ref: str | None = None


class Registered(Said, kw_only=True, tag="registered"):
    """The ID is yours, and these are the terms. Sizes in bytes, times in milliseconds.

    In datagrams with the client's own `nonce`, and the name of the link that there is from now on, its `cid`.
    """

    id: str
    server: str
    protocol: int
    features: list[str]
    keepalive_ms: int
    max_frame: int
    expires_ms: int | None = None
    ice_servers: list[Any] | None = None
    nonce: str | None = None
    cid: str | None = None


class OfferFrom(Said, kw_only=True, tag="offer"):
    """An SDP offer from a peer."""

    sender: str = field(name="from")
    sdp: str
    session: str | None = None


class AnswerFrom(Said, kw_only=True, tag="answer"):
    """An SDP answer from a peer."""

    sender: str = field(name="from")
    sdp: str
    session: str | None = None


class CandidateFrom(Said, kw_only=True, tag="candidate"):
    """An ICE candidate from a peer, or None: it has no more."""

    sender: str = field(name="from")
    candidate: dict[str, Any] | None
    session: str | None = None


class ByeFrom(Said, kw_only=True, tag="bye"):
    """A peer has ended the session."""

    sender: str = field(name="from")
    session: str | None = None
    reason: str | None = None


class MessageFrom(Said, kw_only=True, tag="message"):
    """Anything else from a peer."""

    sender: str = field(name="from")
    data: Any
    session: str | None = None


class PeerEntry(Struct, omit_defaults=True):
    """One peer of a list."""

    id: str
    meta: Raw | UnsetType = UNSET


class PeerList(Said, kw_only=True, tag="peers"):
    """Peers in byte order of their IDs, at most 100; `more`: ask again with `after` the last of them."""

    peers: list[PeerEntry]
    more: bool


class IceServerList(Said, kw_only=True, tag="iceServers"):
    """STUN and TURN servers as RTCConfiguration has them."""

    ice_servers: list[Any]
    expires_ms: int | None = None


class PingSaid(Said, kw_only=True, tag="ping"):
    """Are you there? Answer with `pong`."""


class PongSaid(Said, kw_only=True, tag="pong"):
    """I am here."""


class Ok(Said, kw_only=True, tag="ok"):
    """Success; for a relayed message: it is in the recipient's outbox, no more."""


class Error(Said, kw_only=True, tag="error"):
    """Something went wrong (protocol.md, section 7). `code` is a text, since a newer server may know more codes.

    In datagrams it carries the `nonce` of a `register` that it answers.
    """

    code: str
    message: str
    to: str | None = None
    retry_after_ms: int | None = None
    reconnect: bool | None = None
    nonce: str | None = None


class GoingAway(Said, kw_only=True, tag="goingAway"):
    """The server stops; come back after `reconnectAfterMs` milliseconds."""

    reconnect_after_ms: int
    reason: str


ServerMessage = (
    Registered
    | OfferFrom
    | AnswerFrom
    | CandidateFrom
    | ByeFrom
    | MessageFrom
    | PeerList
    | IceServerList
    | PingSaid
    | PongSaid
    | Ok
    | Error
    | GoingAway
)
