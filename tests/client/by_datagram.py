"""A client in datagrams whose other end is the test: what a server says before there is a link, and on one."""

import json
import random
from typing import Any

from sigd.client.hello import Greeting
from sigd.wire import greeting, macs
from sigd.wire.cookies import Cookies
from tests.client.by_hand import TERMS, NoJitter

USER = "1900000000:cam1"
TOKEN = b"dG9rZW4gb2YgYSBjYW1lcmEgYXQgdGhlIGdhdGU="
CID = "0123456789abcdef"
REGISTER = b'{"type":"register","ref":"1","id":"cam1"}'


class Door:
    """What a daemon answers to who has no link yet.

    Attributes:
        heard: each `register`, as JSON.
        shown: the mac of each that came with a right cookie.
        refusal: says no in these words; None: it registers.
        wrong: takes every mac for wrong.
    """

    def __init__(self, token: bytes | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self.shown: list[bytes] = []
        self.refusal: dict[str, Any] | None = None
        self.wrong = False
        self._token = token
        self._cookies = Cookies()

    def restarts(self) -> None:
        """Know no cookie any more."""
        self._cookies = Cookies()

    def answers(self, datagram: bytes, now: float) -> bytes:
        opening = greeting.open_untrusted(datagram)
        assert opening is not None
        assert len(datagram) >= greeting.LEAST_REGISTER
        self.heard.append(json.loads(opening.text))
        if opening.cookie is None or not self._cookies.fits_untrusted(opening.cookie, "here", opening.nonce, now):
            cookie = self._cookies.make_untrusted("here", opening.nonce, now)
            return greeting.challenge_untrusted(opening, len(datagram), cookie)
        if self._token is not None:
            assert opening.mac
            if self.wrong or macs.mac(self._token, macs.REGISTER, opening.text) != opening.mac:
                return error(opening.nonce, "auth-failed", reconnect=False)
            self.shown.append(opening.mac)
        if self.refusal is not None:
            text = error(opening.nonce, **self.refusal)
            return text if self._token is None else macs.sealed(self._token, macs.ERROR, text)
        return registered(opening.nonce, self._token, opening.mac)


def error(nonce: str, code: str, **members: Any) -> bytes:
    return json.dumps({"type": "error", "nonce": nonce, "code": code, "message": "no", **members}).encode()


def registered(nonce: str, token: bytes | None, mac: bytes, cid: str = CID) -> bytes:
    terms = TERMS | {"id": "cam1", "ref": "1", "keepaliveMs": 30_000, "nonce": nonce, "cid": cid}
    text = json.dumps(terms).encode()
    return text if token is None else macs.sealed(macs.link_key(token, cid.encode(), mac), macs.FROM_SERVER, text)


def greets(
    token: bytes | None = None, register: bytes = REGISTER, jitter: random.Random | None = None, now: float = 1000.0
) -> Greeting:
    return Greeting("cam1", register, token, jitter or NoJitter(), now)
