"""The C client on a stream: framing, what it says and hears, when it comes back. Its clock and its socket are ours."""

import json
import random
from typing import Any

import pytest

from sigd.wire.framing import Prefixed
from tests.c_client.conftest import NewDevice
from tests.c_client.device import FOREVER, Device, Received

TERMS = {"type": "registered", "id": "cam1", "server": "test/1", "protocol": 1, "features": [], "keepaliveMs": 30_000}
SDP = 'v=0\r\ns="q\\" \t\x01é€\U0001f600\r\n' + "a=candidate\r\n" * 200


def framed(*messages: Any) -> bytes:
    return b"".join(
        Prefixed.wrap(message if isinstance(message, bytes) else json.dumps(message).encode()) for message in messages
    )


def says(device: Device) -> list[Any]:
    """The whole messages that it has sent."""
    device.poll()
    return [json.loads(frame) for frame in Prefixed(1 << 24).take(device.said(), 1000)]


def registered(device: Device, **terms: Any) -> Device:
    if device.state == "ended":
        device.start()
    device.connects()
    device.feed(framed(TERMS | {"maxFrame": 65_536} | terms))
    assert device.state == "registered"
    says(device)
    device.heard.clear()
    return device


def test_it_registers_with_all_that_it_was_given(new_device: NewDevice):
    device = new_device(
        "cam1", user="u", token="t" * 100, jwt='j"', meta='{"a": 1}', keepalive_ms=60_000, buffer_size=2048
    )
    device.start()
    assert device.state == "waiting"
    device.connects()
    assert device.state == "registering"
    assert says(device) == [
        {
            "type": "register",
            "maxFrame": 2048,
            "keepaliveMs": 60_000,
            "id": "cam1",
            "user": "u",
            "token": "t" * 100,
            "jwt": 'j"',
            "meta": {"a": 1},
        }
    ]
    device.feed(framed(TERMS | {"maxFrame": 65_536, "expiresMs": 2**40, "iceServers": [{"urls": []}]}))
    assert device.heard == [Received("registered", peer="cam1", body='[{"urls": []}]', expires_ms=FOREVER)]
    assert (device.pieces() <= 32, device.head() <= 148) == (True, True)


def test_an_id_that_the_server_picked_is_asked_for_again(new_device: NewDevice):
    device = registered(new_device(None), id="picked")
    assert device.id == "picked"
    device.lost()
    device.connects()
    assert says(device)[0]["id"] == "picked"


def test_what_it_says(new_device: NewDevice):
    device = registered(new_device())
    for call, message in (
        (("offer", "bob", "k3", SDP), {"type": "offer", "session": "k3", "sdp": SDP}),
        (("offer", "bob", None, ""), {"type": "offer", "sdp": ""}),
        (
            ("candidate", "bob", None, 'candidate:"', "0"),
            {"type": "candidate", "candidate": {"candidate": 'candidate:"', "sdpMid": "0"}},
        ),
        (("end_of_candidates", "bob", "k3"), {"type": "candidate", "session": "k3", "candidate": None}),
        (("bye", "bob", None, None), {"type": "bye"}),
        (("bye", "bob", None, "tired"), {"type": "bye", "reason": "tired"}),
        (("message", "bob", None, '[1, {"a":"b"}]'), {"type": "message", "data": [1, {"a": "b"}]}),
        (("message", 'b"o\\b', None, "1"), {"type": "message", "to": 'b"o\\b', "data": 1}),
    ):
        name, *arguments = call
        ref = getattr(device, name)(*arguments)
        assert ref > 0
        assert getattr(device, name)(*arguments) == 0  # one at a time
        assert says(device) == [{"to": "bob", "ref": str(ref)} | message]
        assert device.heard.pop() == Received("sent", ref)
    ref = device.ask_ice_servers()
    assert says(device) == [{"type": "iceServers", "ref": str(ref)}]


def test_what_it_cannot_say(new_device: NewDevice):
    device = new_device()
    assert device.offer("bob", None, "v=0") == 0
    registered(device, maxFrame=1024)
    assert device.offer("b" * 65, None, "v=0") == -2
    assert device.offer("bob", "s" * 65, "v=0") == -2
    assert device.offer("bob", None, "\n" * 500) == -1
    assert device.is_ready()
    assert device.offer("b" * 64, "s" * 64, "v=0") > 0
    assert (device.pieces() <= 32, device.head() <= 148) == (True, True)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
def test_it_hears_the_same_however_it_comes(new_device: NewDevice, chunk: int):
    device = registered(new_device())
    data = framed(
        {"type": "offer", "from": "bob", "sdp": SDP, "session": "k3"},
        {"type": "candidate", "from": "bob", "candidate": {"candidate": "c", "sdpMid": "0"}},
        {"type": "candidate", "from": "bob", "candidate": None, "unknown": {"from": "eve"}},
        {"type": "bye", "from": "bob"},
        b'{"data": "a\\"b" , "type" : "message","from":"bob"}',
        {"type": "unheard-of", "from": "bob"},
        {"type": "ok", "ref": "7"},
        {"type": "error", "code": "peer-busy", "message": "full", "to": "bob", "retryAfterMs": 5, "ref": "8"},
        {"type": "error", "code": "new-code", "message": "?"},
        b"this is no JSON",
    )
    for at in range(0, len(data), chunk):
        device.feed(data[at : at + chunk])
    assert device.heard == [
        Received("offer", peer="bob", session="k3", body=SDP),
        Received("candidate", peer="bob", body='{"candidate": "c", "sdpMid": "0"}'),
        Received("candidate", peer="bob", body="null"),
        Received("bye", peer="bob"),
        Received("message", peer="bob", body='"a\\"b"'),
        Received("ok", 7),
        Received("error", 8, "bob", body="full", code="peer-busy", wait_ms=5),
        Received("error", body="?", code="new-code"),
    ]
    assert device.state == "registered"


@pytest.mark.parametrize("takes", [1, 5, 1000])
def test_a_socket_that_takes_little_at_a_time(new_device: NewDevice, takes: int):
    device = registered(new_device())
    device.takes = takes
    ref = device.offer("bob", None, SDP)
    device.feed(framed({"type": "ping"}))
    while device.is_stuck():
        device.takes = 0
        device.poll()
        assert device.poll() <= device.now + 20  # it wants to be called soon
        device.takes = takes
        device.poll()
    offer, pong = [json.loads(frame) for frame in Prefixed(1 << 24).take(device.said(), 9)]
    assert (offer["sdp"], pong) == (SDP, {"type": "pong"})
    assert device.heard == [Received("sent", ref)]


def test_a_message_longer_than_asked_for_ends_the_link(new_device: NewDevice):
    for length in (0, 4097, 0xFFFFFFFF):
        device = registered(new_device())
        device.feed(length.to_bytes(4, "big") + b"x")
        assert (device.state, device.why) == ("waiting", "no frame")
    device = registered(new_device())
    message = b'{"type":"message","from":"bob","data":"%s"}'
    device.feed(framed(message % (b"x" * (4096 + 2 - len(message)))))
    assert [len(received.body or "") for received in device.heard] == [4096 + 4 - len(message)]


def test_an_error_that_comes_as_a_line(new_device: NewDevice):
    device = new_device()
    device.start()
    device.connects()
    device.feed(b'{"type":"error","code":"server-full","mess')
    device.feed(b'age":"try again"}\n')
    assert device.heard == [Received("error", body="try again", code="server-full")]
    assert (device.state, device.why) == ("waiting", "server-full")


# -- coming back


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ({"code": "replaced", "reconnect": False}, "ended"),
        ({"code": "auth-failed"}, "ended"),
        ({"code": "auth-failed", "retryAfterMs": 20_000}, "waiting"),
        ({"code": "auth-failed", "reconnect": True}, "waiting"),
        ({"code": "auth-expired"}, "ended"),
        ({"code": "new-code", "reconnect": False}, "ended"),
        ({"code": "idle-timeout"}, "waiting"),
        ({"code": "id-taken"}, "registered"),
        ({"code": "bad-message"}, "registered"),
    ],
)
def test_what_an_error_does_to_a_registered_device(new_device: NewDevice, error: dict[str, Any], state: str):
    device = registered(new_device())
    device.feed(framed({"type": "error", "message": "why"} | error))
    assert device.state == state
    assert [received.code for received in device.heard] == [error["code"]]
    device.passes(25_000)
    assert device.state == ("connecting" if state == "waiting" else state)


@pytest.mark.parametrize(
    ("code", "state"), [("id-taken", "waiting"), ("bad-message", "ended"), ("internal", "waiting")]
)
def test_what_an_error_does_to_who_registers(new_device: NewDevice, code: str, state: str):
    device = new_device()
    device.start()
    device.connects()
    device.feed(framed({"type": "error", "code": code, "message": "why"}))
    assert device.state == state


def test_it_stays_away_until_it_is_started_again(new_device: NewDevice):
    device = registered(new_device())
    device.feed(framed({"type": "error", "code": "replaced", "message": "why", "reconnect": False}))
    assert device.poll() == device.now + FOREVER
    device.start()
    registered(device)


@pytest.mark.parametrize(
    ("message", "least"),
    [
        ({"type": "goingAway", "reconnectAfterMs": 1500, "reason": "restart"}, 1500),
        ({"type": "error", "code": "server-full", "message": "full", "retryAfterMs": 7000}, 7000),
        ({"type": "error", "code": "internal", "message": "?", "retryAfterMs": 10**12}, 86_400_000),
    ],
)
def test_it_waits_as_long_as_the_server_asks(new_device: NewDevice, message: dict[str, Any], least: int):
    device = registered(new_device())
    device.feed(framed(message))
    assert device.heard[0].wait_ms == min(least if least < 86_400_000 else FOREVER, FOREVER)
    start = device.now
    device.connects()
    assert device.now - start == least


def test_pauses_double_and_are_drawn_at_random(new_device: NewDevice):
    draw = random.Random(1)
    ceilings = []
    for _ in range(200):
        device = new_device()
        device.draws = lambda: draw.getrandbits(32)
        device.start()
        pauses = []
        for _ in range(12):
            start = device.now
            device.connects()
            pauses.append(device.now - start)
            device.lost()
        ceilings.append(pauses)
    most = [max(column) for column in zip(*ceilings, strict=True)]
    expected = [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000, 10_000]
    assert all(0.8 * limit <= pause <= limit for pause, limit in zip(most, expected, strict=True))
    assert all(min(column) <= 0.2 * limit for column, limit in zip(zip(*ceilings, strict=True), expected, strict=True))


def test_pauses_are_short_again_after_a_good_while(new_device: NewDevice):
    device = new_device()
    device.draws = lambda: 9_998
    device.start()
    for _ in range(10):
        device.connects()
        device.lost()
    registered(device)
    device.passes(9_000)
    device.lost()
    start = device.now
    device.connects()
    assert device.now - start > 5_000
    device.feed(framed(TERMS | {"maxFrame": 65_536}))
    device.passes(10_000)
    device.lost()
    start = device.now
    device.connects()
    assert device.now - start <= 100


def test_what_was_on_its_way_is_given_back(new_device: NewDevice):
    device = registered(new_device())
    device.takes = 0
    ref = device.offer("bob", None, SDP)
    device.poll()
    device.takes = -1
    device.poll()
    assert (device.state, device.heard) == ("waiting", [Received("unsent", ref)])


def test_it_unregisters(new_device: NewDevice):
    device = registered(new_device())
    ref = device.offer("bob", None, SDP)
    device.unregister()
    assert [message["type"] for message in says(device)] == ["offer", "unregister"]
    assert not device.is_ready()
    device.feed(framed({"type": "bye", "from": "bob"}))
    assert (device.state, device.heard) == ("leaving", [Received("sent", ref), Received("bye", peer="bob")])
    device.lost()  # the server has closed
    assert (device.state, device.why) == ("ended", "left")


def test_a_server_that_does_not_close_is_left_all_the_same(new_device: NewDevice):
    device = registered(new_device())
    device.unregister()
    device.passes(999)
    device.feed(framed({"type": "bye", "from": "bob"}))  # no reason to stay
    assert device.state == "leaving"
    device.passes(1)
    assert (device.state, device.why) == ("ended", "left")


@pytest.mark.parametrize(
    "message", [{"type": "goingAway", "reconnectAfterMs": 9}, {"type": "error", "code": "internal"}]
)
def test_it_leaves_for_good_whatever_it_hears_meanwhile(new_device: NewDevice, message: dict[str, Any]):
    device = registered(new_device())
    device.unregister()
    device.feed(framed(message))
    assert (device.state, device.why) == ("ended", "left")


def test_it_leaves_without_a_link(new_device: NewDevice):
    device = new_device()
    device.start()
    device.unregister()
    assert (device.state, device.why) == ("ended", "left")


def test_renewal(new_device: NewDevice):
    device = registered(new_device(user="old", token="t1"))
    device.renew("new", "t2")
    (register,) = says(device)
    assert (register["type"], register["user"], register["token"]) == ("register", "new", "t2")


# -- time


@pytest.mark.parametrize("now", [0, 1_000_000, (1 << 32) - 20_000])
def test_a_silent_server_is_asked_and_then_given_up(new_device: NewDevice, now: int):
    device = registered(new_device(now=now))
    device.passes(29_999)
    assert says(device) == []
    device.passes(1)
    assert says(device) == [{"type": "ping"}]
    device.passes(44_999)
    assert (device.state, says(device)) == ("registered", [])
    device.passes(1)
    assert (device.state, device.why) == ("waiting", "silence")


def test_any_byte_is_a_sign_of_life(new_device: NewDevice):
    device = registered(new_device())
    for _ in range(20):
        device.passes(29_000)
        device.feed(b"\0")
        device.feed(b"\0\0\x0f" + b'{"type":"pong"}')
    assert (device.state, says(device), device.heard) == ("registered", [], [])


@pytest.mark.parametrize("now", [1_000_000, (1 << 32) - 5_000])
def test_a_server_that_does_not_answer(new_device: NewDevice, now: int):
    device = new_device(now=now)
    device.start()
    device.connects()
    device.passes(9_999)
    assert device.state == "registering"
    device.passes(1)
    assert (device.state, device.why) == ("waiting", "no answer")


def test_a_connection_that_does_not_come_about(new_device: NewDevice):
    device = new_device()
    device.start()
    device.poll()
    assert device.state == "connecting"
    device.passes(10_000)
    assert (device.state, device.why) == ("waiting", "no answer")
