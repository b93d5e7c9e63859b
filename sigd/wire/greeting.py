"""Datagrams before there is a link: the challenge for an address, and the `register` that a cookie lets in.

Bare JSON, with a mac behind it where the client has a token that nobody is to see (protocol.md, section 13.2).
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from sigd.wire import macs
from sigd.wire.receiving import MAX_DATAGRAM

LEAST_REGISTER: Final = 160
"""Bytes of a `register` that is answered though its sender is not known: the challenge is never longer, so that
nobody has us send more to somebody else than he sends to us."""

_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{16,43}\Z")


class Greeting(Struct, tag_field="type", tag="register"):
    """The members of `register` that datagrams add; the others are those of `messages.Register`."""

    nonce: str
    cookie: str | None = None
    user: str | None = None
    ref: str | None = None


class Challenge(Struct, tag_field="type", tag="challenge"):
    """Show that you receive there: send the same `register` again, with this cookie."""

    nonce: str
    cookie: str


class OpeningDatagram:
    """One datagram from somebody who has no link yet.

    Attributes:
        text: the JSON, up to the mac.
        mac: the bytes at its end; nothing where there is none.
        nonce, cookie, user, ref: its members.
    """

    __slots__ = ("cookie", "mac", "nonce", "ref", "text", "user")

    def __init__(self, text: bytes, mac: bytes, greeting: Greeting) -> None:
        self.text = text
        self.mac = mac
        self.nonce = greeting.nonce
        self.cookie = greeting.cookie
        self.user = greeting.user
        self.ref = greeting.ref


_greetings: Final = msgspec.json.Decoder(Greeting)
_challenges: Final = msgspec.json.Decoder(Challenge)
_encode: Final = msgspec.json.Encoder().encode


def open_untrusted(datagram: bytes) -> OpeningDatagram | None:
    """Parse a datagram from an unproven address as a `register` with a nonce; None: it gets no answer."""
    datagram = datagram.removesuffix(b"\n").removesuffix(b"\r")
    if len(datagram) > MAX_DATAGRAM:
        return None
    text, mac = (datagram, b"") if datagram.endswith(b"}") else macs.split(datagram)
    try:
        greeting = _greetings.decode(text)
    except (ValueError, RecursionError):
        return None
    return OpeningDatagram(text, mac, greeting) if _NONCE.match(greeting.nonce) else None


def challenge_untrusted(opening: OpeningDatagram, length: int, cookie: str) -> bytes:
    """Return the answer to a `register` without a valid cookie; empty if its `length` was too short for one."""
    challenge = _encode(Challenge(opening.nonce, cookie))
    return challenge if length >= max(LEAST_REGISTER, len(challenge)) else b""


def read_challenge(datagram: bytes) -> Challenge | None:
    """The challenge that a server sent, if it is one."""
    try:
        return _challenges.decode(datagram)
    except (ValueError, RecursionError):
        return None
