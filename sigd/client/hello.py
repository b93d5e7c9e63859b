"""The datagram exchange before there is a link, and the trust in its answers. No I/O, no clock.

A server stores nothing for a client without a cookie (protocol.md, section 13.2). So the first `register` carries no
credentials, and the second one, with the cookie, is repeated until an answer comes.
"""

import math
import re
import secrets
from random import Random
from typing import Final

import msgspec

from sigd.client.errors import SignalingError
from sigd.wire import macs, messages
from sigd.wire.datagram import MAX_DATAGRAM, Channel
from sigd.wire.errors import ErrorCode
from sigd.wire.greeting import LEAST_REGISTER, read_challenge
from sigd.wire.said import Error, Registered

FIRST_SECONDS: Final = 1.0
"""Interval before a `register` is repeated without a measured round trip (RFC 6298, section 2.1)."""

LONGEST_SECONDS: Final = 4.0
"""Maximum interval between repetitions, each twice the last: no client floods a server, and a server that comes back is
found soon.
"""

JITTER: Final = 0.25
"""Maximum random extension of a pause, as a share: clients that begin together spread out."""

AGAIN_SECONDS: Final = 1.0
"""Minimum interval between a `register` and one with another cookie: forged challenges do not each trigger an
answer.
"""

DOUBTFUL_SECONDS: Final = 10.0
"""Time to wait for something better than a refusal that anybody could have sent."""

MOST_MACS: Final = 8
"""Maximum number of our own macs with a possible answer: at least those of the last 8 s."""

NONCE_BYTES: Final = 16
"""Size of a nonce: 128 bits cannot be guessed, so only observers of our `register` can answer it."""

LONGEST_COOKIE: Final = 64
"""Maximum characters of a cookie, more than any server needs."""

_CID: Final = re.compile(r"[0-9a-f]{16}\Z")


class Greeting:
    """The way from nothing to a link. Times are seconds on the caller's clock.

    Args:
        peer: the requested ID; None: the server assigns one.
        register: the whole message as JSON, without any token.
        token: secret of its `user`, never sent; None: there is no mac, and the message stands for itself.
        jitter: source of randomness for pauses.
        now: seconds.

    Attributes:
        answer: the server's final `registered` or `error` as JSON; empty: nothing yet.
        channel: the link after `registered`.
        challenged: whether any server has answered.

    Raises:
        SignalingError: `too-large`: a register must fit one datagram.
    """

    def __init__(self, peer: str | None, register: bytes, token: bytes | None, jitter: Random, now: float) -> None:
        self.answer = b""
        self.channel: Channel[None] | None = None
        self._register = register
        self._token = token
        self._jitter = jitter
        self._nonce = secrets.token_urlsafe(NONCE_BYTES)
        self._cookie = ""
        self._mac = b""
        self._macs: list[bytes] = []
        self._datagram = self._padded(messages.encode(messages.Register(id=peer)))
        self._wait = FIRST_SECONDS
        self._send_at = now
        self._sent_at = -math.inf
        self._doubtful = b""
        self._doubtful_at = math.inf
        size = len(self._with_cookie("x" * LONGEST_COOKIE)[0])
        if size > MAX_DATAGRAM:
            text = f"a register of {size} bytes, credentials and meta in it: a datagram holds {MAX_DATAGRAM}"
            raise SignalingError(ErrorCode.TOO_LARGE, text)

    @property
    def challenged(self) -> bool:
        """Whether a server has sent a cookie, and is thus alive."""
        return bool(self._cookie)

    @property
    def over(self) -> bool:
        """Whether there is an answer."""
        return bool(self.answer)

    # -- output

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Return the datagrams to send now: one `register`, or none."""
        if self.answer or now < self._send_at:
            return []
        self._sent_at = now
        self._send_at = now + self._wait + self._jitter.uniform(0, JITTER * self._wait)
        self._wait = min(2 * self._wait, LONGEST_SECONDS)
        if self._mac and self._mac not in self._macs:
            self._macs = [*self._macs, self._mac][-MOST_MACS:]
        return [self._datagram]

    def _with_cookie(self, cookie: str) -> tuple[bytes, bytes]:
        """Return the datagram with this cookie, and the mac in it."""
        text = self._padded(self._register, cookie=cookie)
        if self._token is None:
            return text, b""
        mac = macs.mac(self._token, macs.REGISTER, text)
        return text + b" " + mac, mac

    def _padded(self, register: bytes, **members: str) -> bytes:
        """Return a register with our nonce, padded so that any answer is allowed in size."""
        bare = _with(register, nonce=self._nonce, **members)
        missing = LEAST_REGISTER - len(_with(bare, pad=""))
        return _with(bare, pad="x" * missing) if missing > 0 else bare

    # -- input

    def receive_untrusted(self, datagram: bytes, now: float) -> None:
        """Process a datagram of any origin. Never raises."""
        if self.answer or len(datagram) > MAX_DATAGRAM:
            return
        challenge = read_challenge(datagram)
        if challenge is not None:
            if challenge.nonce == self._nonce and 0 < len(challenge.cookie) <= LONGEST_COOKIE:
                self._take_cookie(challenge.cookie, now)
        elif self._token is None:
            self._take_answer(datagram)
        elif datagram.endswith(b"}"):
            self._take_doubtful(datagram, now)
        else:
            self._take_sealed(self._token, datagram)

    def _take_cookie(self, cookie: str, now: float) -> None:
        if cookie == self._cookie:
            return
        if not self._cookie:
            self._wait = FIRST_SECONDS
        earliest = self._sent_at + AGAIN_SECONDS if self._cookie else now
        self._send_at = min(self._send_at, max(now, earliest))
        self._cookie = cookie
        self._datagram, self._mac = self._with_cookie(cookie)

    def _take_answer(self, text: bytes) -> None:
        message = self._read(text)
        if isinstance(message, Registered):
            self._link(text, _cid_of(message), None)
        elif message is not None:
            self.answer = text

    def _take_sealed(self, token: bytes, datagram: bytes) -> None:
        text, _ = macs.split(datagram)
        message = self._read(text)
        if isinstance(message, Registered):
            cid = _cid_of(message)
            for mac in self._macs:
                key = macs.link_key(token, cid, mac)
                if macs.opened(key, macs.FROM_SERVER, datagram):
                    self._link(text, cid, key)
        elif message is not None and macs.opened(token, macs.ERROR, datagram):
            self.answer = text

    def _take_doubtful(self, text: bytes, now: float) -> None:
        """Remember the one refusal that a server must send without a mac: that ours is wrong."""
        message = self._read(text)
        if isinstance(message, Error) and message.code == ErrorCode.AUTH_FAILED and not self._doubtful and self._macs:
            self._doubtful = text
            self._doubtful_at = now + DOUBTFUL_SECONDS

    def _read(self, text: bytes) -> Registered | Error | None:
        """Return the answer to this greeting, identified by its nonce."""
        try:
            message = messages.decode_said(text)
        except ValueError:
            return None
        return message if isinstance(message, Registered | Error) and message.nonce == self._nonce else None

    def _link(self, text: bytes, cid: bytes, key: bytes | None) -> None:
        if cid:
            self.answer = text
            self.channel = Channel(cid, None, server=False, key=key)

    # -- time

    @property
    def deadline(self) -> float:
        """Return the time of the next `expire` and `datagrams_to_send`."""
        return min(self._send_at, self._doubtful_at)

    def expire(self, now: float) -> None:
        """Accept a refusal that nothing has contradicted for long enough."""
        if now >= self._doubtful_at:
            self.give_up()

    def give_up(self) -> None:
        """Accept the refusal received so far, if any: the time is up."""
        self._doubtful_at = math.inf
        if not self.answer:
            self.answer = self._doubtful


def _with(message: bytes, **members: str) -> bytes:
    """Append members to a non-empty JSON object."""
    return message[:-1] + b"," + msgspec.json.encode(members)[1:]


def _cid_of(message: Registered) -> bytes:
    return message.cid.encode() if message.cid is not None and _CID.match(message.cid) else b""
