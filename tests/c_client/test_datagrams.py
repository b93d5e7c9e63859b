"""The C client over UDP, against the daemon's own half of the protocol, on a network that loses and repeats."""

import base64
import hmac
import json
import random
from itertools import pairwise
from typing import Any

import pytest

from sigd.wire import macs
from sigd.wire.cookies import Cookies
from sigd.wire.datagram import MAX_DATAGRAM, Channel
from sigd.wire.greeting import challenge_untrusted, open_untrusted
from tests.c_client.conftest import NewDevice
from tests.c_client.device import Device, Received

CID = b"0123456789abcdef"
USER = "4102444800:cam1"
TOKEN = base64.b64encode(hmac.digest(b"secret", USER.encode(), "sha256")).decode()
SDP = 'v=0\r\ns="q\\" \t\x01é€\U0001f600\r\n' + "a=candidate\r\n" * 200
PLACE = "here"


class Server:
    """A server for one device, with the daemon's cookies, macs and channel, and a network between them.

    Attributes:
        loss: the chance that a datagram gets lost; as many are repeated.
        whole: the messages that have come.
        channel: the link, once there is one.
        registers: the JSON of each register with a good cookie.
    """

    def __init__(self, device: Device, *, token: str | None = None, loss: float = 0.0, seed: int = 0) -> None:
        self.device = device
        self.loss = loss
        self.whole: list[Any] = []
        self.waiting: list[bytes] = []
        self.channel: Channel[str] | None = None
        self.registers: list[dict[str, Any]] = []
        self._token = token
        self._cookies = Cookies()
        self._answer = b""
        self._random = random.Random(seed)
        device.draws = lambda: self._random.getrandbits(32)

    @property
    def seconds(self) -> float:
        return self.device.now / 1000

    def runs(self, milliseconds: int) -> "Server":
        """Time passes for both."""
        end = self.device.now + milliseconds
        while self.device.now < end:
            self.device.poll()
            self._exchange()
            self.device.now += 5
        return self

    def _exchange(self) -> None:
        while self.device.sent:
            sent, self.device.sent = self.device.sent, []
            for datagram in sent:
                assert len(datagram) <= MAX_DATAGRAM
                for _ in range(self._copies()):
                    self._hear(datagram)
            self._speak()
            self.device.poll()
        self._speak()

    def _copies(self) -> int:
        drawn = self._random.random()
        return 0 if drawn < self.loss else 2 if drawn < 2 * self.loss else 1

    def _hear(self, datagram: bytes) -> None:
        if datagram.startswith(b"{"):
            answer = self._greet(datagram)
            if answer:
                self._tell(answer)
        elif self.channel is not None:
            self.channel.receive_untrusted(datagram, PLACE, self.seconds)
            self.whole += [json.loads(message) for message in self.channel.take_whole()]

    def _speak(self) -> None:
        if self.channel is None:
            return
        self.channel.expire(self.seconds)
        while self.waiting and self.channel.room:
            self.channel.give(self.waiting.pop(0))
        for datagram, _ in self.channel.datagrams_to_send(self.seconds):
            self._tell(datagram)

    def _tell(self, datagram: bytes) -> None:
        for _ in range(self._copies()):
            self.device.feed(datagram)

    def _greet(self, datagram: bytes) -> bytes:
        opening = open_untrusted(datagram)
        assert opening is not None
        if opening.cookie is None or not self._cookies.fits_untrusted(
            opening.cookie, PLACE, opening.nonce, self.seconds
        ):
            assert b"token" not in opening.text
            cookie = self._cookies.make_untrusted(PLACE, opening.nonce, self.seconds)
            return challenge_untrusted(opening, len(datagram), cookie)
        return self._register(opening.text, opening.mac, opening.nonce)

    def _register(self, text: bytes, mac: bytes, nonce: str) -> bytes:
        self.registers.append(json.loads(text))
        key = None
        if self._token is not None:
            token = self._token.encode()
            if mac != macs.mac(token, macs.REGISTER, text):
                refusal = {"type": "error", "code": "auth-failed", "message": "no", "reconnect": False}
                return json.dumps(refusal | {"nonce": nonce}).encode()
            key = macs.link_key(token, CID, mac)
        if self.channel is None:
            self.channel = Channel(CID, PLACE, server=True, key=key)
            terms = {"type": "registered", "nonce": nonce, "id": "cam1", "keepaliveMs": 30_000, "maxFrame": 16_000}
            answer = json.dumps(terms | {"cid": CID.decode()}).encode()
            self._answer = answer if key is None else macs.sealed(key, macs.FROM_SERVER, answer)
        return self._answer


def sealed(server: Server, text: bytes) -> bytes:
    """A datagram as the server would send it."""
    assert server.channel is not None
    key = server.channel.key
    return text if key is None else macs.sealed(key, macs.FROM_SERVER, text)


@pytest.fixture(params=["plain", "mac"])
def server(request: pytest.FixtureRequest, new_device: NewDevice) -> Server:
    """A server to whom a device has registered, with macs or without."""
    with_mac = request.param == "mac"
    device = new_device(udp=True, user=USER if with_mac else None, token=TOKEN if with_mac else None)
    device.start()
    server = Server(device, token=TOKEN if with_mac else None)
    connected(server)
    assert device.heard.pop() == Received("registered", peer="cam1")
    return server


def connected(server: Server, milliseconds: int = 100) -> Device:
    while server.device.state != "connecting":
        server.device.now += 1
        server.device.poll()
    server.device.connected()
    server.runs(milliseconds)
    return server.device


def test_it_registers(server: Server):
    assert server.device.state == "registered"
    (register,) = server.registers
    assert register["id"] == "cam1"
    assert "token" not in register
    assert (register.get("user") == USER) == (server.channel is not None and server.channel.key is not None)
    assert (server.device.pieces() <= 32, server.device.head() <= 148) == (True, True)


def test_messages_both_ways(server: Server):
    device = server.device
    ref = device.offer("bob", "k3", SDP)
    server.waiting += [
        json.dumps({"type": "answer", "from": "bob", "sdp": SDP}, ensure_ascii=False).encode(),
        b'{"type":"candidate","from":"bob","candidate":null}',
    ]
    server.runs(100)
    assert server.whole == [{"type": "offer", "ref": str(ref), "to": "bob", "session": "k3", "sdp": SDP}]
    assert sorted(device.heard) == sorted(
        [
            Received("sent", ref),
            Received("answer", peer="bob", body=SDP),
            Received("candidate", peer="bob", body="null"),
        ]
    )
    assert server.channel is not None
    assert server.channel.idle


@pytest.mark.parametrize("with_mac", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_under_loss(new_device: NewDevice, seed: int, with_mac: bool):
    credentials = {"user": USER, "token": TOKEN} if with_mac else {}
    device = new_device(udp=True, **credentials)
    device.start()
    server = Server(device, token=TOKEN if with_mac else None, loss=0.2, seed=seed)
    connected(server, 9_000)
    assert device.state == "registered"
    texts = [f"{number}" * 1500 for number in range(5)]
    server.waiting += [json.dumps({"type": "message", "from": "bob", "data": text}).encode() for text in texts]
    for text in texts:
        while not device.message("bob", None, json.dumps(text)):
            server.runs(50)
    server.runs(20_000)
    assert [message["data"] for message in server.whole] == texts
    assert [json.loads(received.body or "") for received in device.heard if received.type == "message"] == texts
    assert len([received for received in device.heard if received.type == "sent"]) == len(texts)


def test_what_is_sent_again_is_the_same(server: Server):
    device = server.device
    device.offer("bob", None, SDP)
    device.poll()
    (first,) = device.sent
    device.sent.clear()
    device.feed(sealed(server, b'D %s 1 0 1 0/1 {"type":"ping"}' % CID))
    sent_at = []
    while device.state == "registered":
        device.now += 1
        device.poll()
        if first in device.sent:
            sent_at.append(device.now)
        device.sent.clear()
    pauses = [b - a for a, b in pairwise(sent_at)]
    assert pauses == [2000, 4000, 4000, 4000, 4000, 4000, 4000]  # the first one was 1 s after the first sending
    assert (device.state, device.why) == ("waiting", "silence")


def test_what_is_ahead_or_garbled_or_forged_is_dropped(server: Server):
    device = server.device
    for text in (
        b'D %s 2 0 1 0/1 {"type":"bye","from":"eve"}',
        b'D %s 1 0 2 0/1 {"type":"bye","from":"eve"}',
        b'D %s 1 0 1 1/2 {"type":"bye","from":"eve"}',
        b'D %s 1 0 1 0/0 {"type":"bye","from":"eve"}',
        b'D %s 1 0 1 0 {"type":"bye","from":"eve"}',
        b"D %s 1 0 1 0/1 ",
        b"D %s 1 0 1 0/1",
        b"D %s 1 0 1 0/",
        b"D %s",
        b"D%s",
        b"X",
        b"C %s 0123456789abcde",
        b"Q %s 1",
        b"A %s 7 0",
        b"",
    ):
        data = text % CID if b"%s" in text else text
        device.feed(sealed(server, data))
        device.feed(data[:-1])
    forged = b'D %s 1 0 1 0/1 {"type":"bye","from":"eve"}' % CID.replace(b"0", b"1")
    device.feed(sealed(server, forged))
    if server.channel is not None and server.channel.key is not None:
        device.feed(forged.replace(b"1123", b"0123"))
        device.feed(sealed(server, b'D %s 1 0 1 0/1 {"type":"bye","from":"eve"}' % CID)[:-1] + b"!")
        device.feed(b"X " + CID)
    device.poll()
    assert (device.heard, device.sent, device.state) == ([], [], "registered")


def test_what_comes_again_is_acknowledged_again(server: Server):
    device = server.device
    datagram = sealed(server, b'D %s 1 0 1 0/1 {"type":"bye","from":"bob"}\r\n'.rstrip() % CID)
    for _ in range(3):
        device.feed(datagram)
        device.poll()
    assert [sent[:22] for sent in device.sent] == [b"A " + CID + b" 1 0"] * 3
    assert len(device.heard) == 1


def test_pings_and_challenges(server: Server):
    device = server.device
    device.feed(sealed(server, b"P %s 3 0123456789abcdef" % CID))
    device.feed(sealed(server, b"P %s 2 0123456789abcdef" % CID))
    device.feed(sealed(server, b"C %s fedcba9876543210" % CID))
    assert device.sent[0].startswith(b"Q %s 3" % CID)
    assert device.sent[1].startswith(b"C %s fedcba9876543210" % CID)
    assert len(device.sent) == 2


def test_it_keeps_its_nat_open_and_finds_a_dead_server(server: Server):
    device = server.device
    device.sent.clear()
    start = device.now
    device.passes(24_800)
    assert device.sent == []
    device.passes(300)
    assert [sent.split()[2] for sent in device.sent] == [b"1"]
    device.passes(2_000)
    assert [sent.split()[2] for sent in device.sent] == [b"1", b"2", b"3"]
    device.feed(sealed(server, b"Q %s 2" % CID))
    device.sent.clear()
    device.passes(24_000)
    assert device.sent == []
    while device.state == "registered":
        device.passes(100)
    assert device.why == "silence"
    assert 0 <= device.now - start - (27_100 + 75_000) <= 200


def test_a_hint_that_the_link_is_unknown(server: Server):
    device = server.device
    device.sent.clear()
    device.feed(b"Z " + CID)
    device.passes(10)
    (ping,) = device.sent
    assert ping.startswith(b"P ")
    device.feed(sealed(server, b"Q %s 1" % CID))
    device.passes(10_000)
    assert device.state == "registered"
    device.feed(b"Z " + CID)
    device.passes(2_900)
    assert device.state == "registered"
    device.passes(150)
    assert device.why == "silence"


def test_the_server_leaves(server: Server):
    device = server.device
    device.sent.clear()
    device.feed(sealed(server, b"X %s" % CID))
    assert (device.state, device.sent) == ("waiting", [])


def test_it_leaves(server: Server):
    device = server.device
    device.sent.clear()
    device.unregister()
    assert device.state == "ended"
    assert [sent[:18] for sent in device.sent] == [b"X " + CID]


def test_a_last_message_is_acknowledged(server: Server):
    device = server.device
    device.sent.clear()
    server.waiting.append(b'{"type":"error","code":"replaced","message":"no","reconnect":false}')
    server.runs(10)
    assert (device.state, device.why) == ("ended", "replaced")
    assert server.channel is not None
    assert server.channel.idle


def test_a_refusal_that_may_be_forged_is_told_after_a_while_and_ends_nothing(new_device: NewDevice):
    device = new_device(udp=True, user=USER, token="x" + TOKEN[1:])
    device.start()
    server = Server(device, token=TOKEN)
    connected(server, 9_900)
    assert (device.state, device.heard) == ("registering", [])
    server.runs(300)
    assert (device.state, [received.code for received in device.heard]) == ("waiting", ["auth-failed"])
    device.draws = lambda: 10_000  # the longest pause there is
    connected(server, 10_200)
    assert (device.state, [received.code for received in device.heard]) == ("waiting", ["auth-failed"] * 2)
    assert device.poll() - device.now >= 9_800


def test_what_verifies_counts_more_than_a_forged_refusal(new_device: NewDevice):
    device = new_device(udp=True, user=USER, token=TOKEN)
    device.start()
    server = Server(device, token=TOKEN)
    device.connects()
    nonce = json.loads(device.sent[0])["nonce"]
    device.feed(json.dumps({"type": "error", "code": "auth-failed", "message": "no", "nonce": nonce}).encode())
    server.runs(11_000)
    assert (device.state, [received.type for received in device.heard]) == ("registered", ["registered"])
    while device.state == "registered":
        device.passes(1_000)  # without its server
    assert device.why == "silence"
    assert [received.type for received in device.heard] == ["registered"]


def test_a_refusal_that_is_sealed_counts_at_once(new_device: NewDevice):
    device = new_device(udp=True, user=USER, token=TOKEN)
    device.start()
    server = Server(device)
    device.connects()
    nonce = json.loads(device.sent[0])["nonce"]
    error = json.dumps({"type": "error", "code": "id-taken", "message": "no", "nonce": nonce}).encode()
    device.feed(error)
    device.feed(macs.sealed(TOKEN.encode(), macs.FROM_SERVER, error))
    assert (device.state, device.heard) == ("registering", [])
    device.feed(macs.sealed(TOKEN.encode(), macs.ERROR, error))
    assert (device.state, [received.code for received in device.heard]) == ("waiting", ["id-taken"])
    assert server.channel is None


def test_answers_to_somebody_else_do_not_count(new_device: NewDevice):
    device = new_device(udp=True)
    device.start()
    device.connects()
    device.feed(b'{"type":"challenge","nonce":"AAAAAAAAAAAAAAAA","cookie":"AAAAAAAAAAAAAAAA"}')
    device.feed(b'{"type":"registered","nonce":"AAAAAAAAAAAAAAAA","id":"cam1","cid":"0123456789abcdef"}')
    device.feed(b'{"type":"error","nonce":"AAAAAAAAAAAAAAAA","code":"auth-failed","message":"no"}')
    assert device.state == "registering"
    assert len(device.sent) == 1


def test_a_register_is_repeated_and_then_given_up(new_device: NewDevice):
    device = new_device(udp=True)
    device.start()
    device.connects()
    device.passes(9_900)
    assert len(set(device.sent)) == 1
    assert 160 <= len(device.sent[0]) <= MAX_DATAGRAM
    assert len(device.sent) == 4  # at 0, 1, 3 and 7 s
    device.passes(100)
    assert (device.state, device.why) == ("waiting", "no answer")


def test_the_largest_register_there_is(new_device: NewDevice):
    device = new_device(
        "i" * 64, udp=True, user=USER, token=TOKEN, jwt="j", meta='{"a":1}', keepalive_ms=300_000, buffer_size=16_384
    )
    device.start()
    server = Server(device, token=TOKEN)
    connected(server)
    (register,) = server.registers
    assert (register["maxFrame"], register["jwt"], register["meta"]) == (16_000, "j", {"a": 1})
    assert (device.state, device.pieces() <= 32, device.head() <= 148) == ("registered", True, True)


def test_the_smallest_register_there_is_has_an_answer(new_device: NewDevice):
    device = new_device(None, udp=True, buffer_size=1024)
    device.start()
    assert connected(Server(device)).state == "registered"


def test_renewal_without_a_mac_stays_on_its_link(new_device: NewDevice):
    device = new_device(udp=True, token="t1")
    device.start()
    server = Server(device)
    connected(server)
    device.renew(None, "t2")
    server.runs(10)
    assert [message["token"] for message in server.whole] == ["t2"]


@pytest.mark.parametrize("user", [USER, "4102444801:cam1"])
def test_renewal_with_macs_takes_a_new_link(server: Server, user: str):
    device = server.device
    device.renew(user, TOKEN)
    assert (device.state, device.why) == ("waiting", "renewed")
    assert device.sent[-1].startswith(b"X " + CID) or server.channel is None
    server.channel = None
    device.sent.clear()
    device.connects()
    nonce = json.loads(device.sent.pop())["nonce"]
    device.feed(json.dumps({"type": "challenge", "nonce": nonce, "cookie": "A" * 16}).encode())
    device.poll()
    (register,) = device.sent
    assert register[-33:] == b" " + macs.mac(TOKEN.encode(), macs.REGISTER, register[:-33])
    assert (json.loads(register[:-33])["user"], b"token" in register) == (user, False)
