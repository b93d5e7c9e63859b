"""Rows 1 to 8: before there is a message, and those who never say one."""

import json
import ssl
import tracemalloc

import trio

from sigd.wire.framing import NOT_HTTP, TLS_ALERT
from tests import certificates
from tests.hardening.scene import BAD, LINES, Scene, alert_at_most, attack, says
from tests.in_process import FRAMINGS, PLAIN, WITH_LENGTH, Client, PrefixedClient, TLSClient, error, within

CLIENT_HELLO = bytes.fromhex("160301020001 0001fc0303") + bytes(502)
"""The head of one, and zeros."""


def as_line(data: bytes) -> object:
    """What a client hears that has said nothing yet, so that nobody knows its framing."""
    assert data.count(b"\n") == 1, data
    return json.loads(data)


# -- row 1


@attack("huge length prefix")
async def huge_prefix(scene: Scene) -> None:
    for prefix in ("00ffffff", "00010001", "00001001"):
        stranger = await scene.stranger()
        await stranger.sends(bytes.fromhex(prefix))
        assert await stranger.hears_all() == [error("bad-frame")]
    for prefix in ("7fffffff", "ffffffff", "00ffffff", "00010001"):
        mallory = await scene.mallory()
        await mallory.sends(bytes.fromhex(prefix))
        assert await mallory.hears_all() == [error("bad-frame")]


@attack("nothing is set aside for a frame that was only announced")
async def nothing_set_aside(scene: Scene) -> None:
    peers = [await scene.mallory(f"mallory-{number}") for number in range(20)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for peer in peers:
            await peer.sends(bytes.fromhex("00010000"))
        await scene.daemon.settles()
        assert tracemalloc.get_traced_memory()[0] - before < 65_536
    finally:
        tracemalloc.stop()


@attack("7f ff ff ff as the first bytes is a line that never ends")
async def line_without_end(scene: Scene) -> None:
    stranger = await scene.stranger()
    began = trio.current_time()
    await stranger.sends(bytes.fromhex("7fffffff"))
    assert as_line(await stranger.hears_bytes()) == error("register-timeout")
    assert within(trio.current_time() - began, 60)


# -- row 2


@attack("zero length a hundred thousand times")
async def zeros(scene: Scene) -> None:
    for client in (await scene.stranger(), await scene.mallory()):
        await client.sends(bytes(400_000))
        assert await client.hears_all() == [error("bad-frame")]


FRAGMENTS = says("frames of one byte", b"x", b"{", b"\xff", hears=[BAD])


@attack("a hundred empty lines", *LINES)
async def empty_lines(scene: Scene) -> None:
    """Each is a ping, as somebody types it who wonders whether anybody is there."""
    for client in (await scene.stranger(), await scene.mallory()):
        await client.sends(b"\r\n" * 100)
        for _ in range(100):
            assert await client.hears() == {"type": "pong"}
        await client.is_served()


# -- row 3


@attack("HTTP, with a message in its body", *LINES)
async def http(scene: Scene) -> None:
    body = b'{"type":"register","id":"mallory"}\n{"type":"bye","to":"alice"}\n'
    for method in (b"GET", b"POST", b"OPTIONS"):
        stranger = await scene.stranger()
        await stranger.sends(method + b" / HTTP/1.1\r\nHost: localhost:7337\r\n\r\n" + body)
        assert await stranger.hears_bytes() == NOT_HTTP


@attack("HTTPS, with a message in its body", "tls")
async def https(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.sends(b'POST / HTTP/1.1\r\nHost: localhost\r\n\r\n{"type":"register","id":"mallory"}\n')
    assert await stranger.hears_bytes() == NOT_HTTP


@attack("TLS where none is spoken", *FRAMINGS)
async def unwanted_tls(scene: Scene) -> None:
    stranger = await scene.stranger()
    await stranger.sends(CLIENT_HELLO)
    assert await stranger.hears_bytes() == (b"" if scene.framing == "tls" else TLS_ALERT)
    mallory = await scene.mallory()
    await mallory.sends(bytes.fromhex("160301020001000000") + b"\n")
    assert await mallory.hears() == error("unknown-type" if scene.framing == "lines" else "bad-frame")


@attack("plain text where TLS is spoken", "tls")
async def unwanted_text(scene: Scene) -> None:
    """Whatever it is, it gets an alert at most, and nothing that it says is read as a message."""
    for said in (b"GET / HTTP/1.1\r\n\r\n", b'{"type":"ping"}\n', PrefixedClient.framed(b'{"type":"ping"}'), b"\x16"):
        assert await alert_at_most(await scene.unencrypted(said))


@attack("plain text and TLS on one port", listen=(certificates.listener("tcp://127.0.0.1:0"),))
async def both_on_one_port(scene: Scene) -> None:
    """The first byte decides, for each link anew."""
    url = scene.daemon.urls[0]
    secure, plain = [await scene.daemon.connect(framing, url=url) for framing in ("tls", "lines")]
    await secure.registers("secure")
    await plain.registers("plain")
    await secure.says({"type": "message", "to": "plain", "data": 1})
    assert await plain.hears() == {"type": "message", "from": "secure", "data": 1}
    stranger = await scene.daemon.connect("lines", url=url)
    await stranger.sends(CLIENT_HELLO)
    assert await alert_at_most(stranger)


@attack("other protocols that begin with a line", *LINES)
async def other_protocols(scene: Scene) -> None:
    for line in (b"SSH-2.0-OpenSSH_9.2", b"EHLO mail.example.org", b"*1\r\n$4\r\nPING", b"\x05\x01\x00", b"CONNECT {}"):
        stranger = await scene.stranger()
        await stranger.sends(line + b"\r\n")
        for _ in range(line.count(b"\n") + 1):
            assert await stranger.hears() == error("unknown-type")
        await stranger.is_served()


# -- row 4


@attack("slowloris", *PLAIN)
async def slowloris(scene: Scene) -> None:
    mallory = await scene.mallory()
    frame = mallory.framed(b'{"type":"ping","x":"' + b"x" * 100)
    began = trio.current_time()
    for place in range(10):
        await mallory.sends(frame[place : place + 1])
        await trio.sleep(scene.seconds / 10)
        if place % 4 == 0:
            await scene.they_talk()
    assert await mallory.hears_all() == [error("bad-frame")]
    assert within(trio.current_time() - began, scene.seconds)


@attack("slowloris before register", *PLAIN)
async def slow_register(scene: Scene) -> None:
    stranger = await scene.stranger()
    frame = stranger.framed(b'{"type":"register","x":"' + b"x" * 100)
    began = trio.current_time()
    for place in range(10):
        await stranger.sends(frame[place : place + 1])
        await trio.sleep(scene.seconds / 10)
    assert await stranger.hears_all() == [error("register-timeout")]
    assert within(trio.current_time() - began, scene.seconds)


@attack("slowloris in a TLS handshake", "tls")
async def slow_handshake(scene: Scene) -> None:
    stranger = await scene.unencrypted()
    began = trio.current_time()
    for place in range(5):
        await stranger.sends(CLIENT_HELLO[place : place + 1])
        await trio.sleep(1)
    assert await stranger.hears_bytes() == b""
    assert within(trio.current_time() - began, 5)


@attack("slowloris in what a proxy says", *WITH_LENGTH, limits={"trusted": ("127.0.0.2/32",)})
async def slow_proxy(scene: Scene) -> None:
    stranger = await scene.daemon.connect(
        "prefixed", source="127.0.0.2", url=scene.daemon.tls_url if scene.framing == "tls" else None
    )
    began = trio.current_time()
    for byte in b"PROXY TCP4 ":
        await stranger.sends(bytes([byte]))
        await trio.sleep(5)
    heard = await stranger.hears_bytes()
    if scene.framing == "tls":
        assert heard == b""
    else:
        assert as_line(heard) == error("register-timeout")
    assert within(trio.current_time() - began, 60)


# -- row 5


@attack("silence")
async def silence(scene: Scene) -> None:
    """It may be a person who thinks: nobody knows its framing."""
    began = trio.current_time()
    stranger = await scene.stranger()
    assert as_line(await stranger.hears_bytes()) == error("register-timeout")
    assert within(trio.current_time() - began, 60)


@attack("silence where TLS is spoken", "tls")
async def silence_before_tls(scene: Scene) -> None:
    """It counts from the accept on, and nothing can be said that such a client would understand."""
    began = trio.current_time()
    stranger = await scene.unencrypted()
    assert await stranger.hears_bytes() == b""
    assert within(trio.current_time() - began, 60)


@attack("a late handshake buys no time", "tls")
async def late_handshake(scene: Scene) -> None:
    began = trio.current_time()
    stranger = TLSClient((await scene.unencrypted()).sock)
    await trio.sleep(55)
    await stranger.opens()
    assert as_line(await stranger.hears_bytes()) == error("register-timeout")
    assert within(trio.current_time() - began, 60)


@attack("anything but a register", *PLAIN)
async def anything_but_register(scene: Scene) -> None:
    """Nothing that is answered, and nothing that is refused, buys time."""
    stranger = await scene.stranger()
    began = trio.current_time()
    for _ in range(9):
        await stranger.is_served()
        await stranger.says({"type": "register", "id": "alice,"}, {"type": "bye", "to": "alice"})
        assert await stranger.hears() == error("bad-message")
        assert await stranger.hears() == error("not-registered")
        await trio.sleep(scene.seconds / 10)
    assert await stranger.hears_all() == [error("register-timeout")]
    assert within(trio.current_time() - began, scene.seconds)


# -- row 6


@attack("the 17th from one address that does not register", limits={"max_unregistered_per_address": 16})
async def crowd_of_one_address(scene: Scene) -> None:
    """The newcomer goes where all have begun; nobody from elsewhere does, nor who has registered."""
    strangers = [await scene.stranger("127.0.0.2")]
    await strangers[0].is_served()
    for _ in range(16):
        strangers.append(await scene.stranger())
        await strangers[-1].is_served()
    for _ in range(20):
        assert as_line(await (await scene.stranger()).hears_bytes()) == error("server-full")
    for each in strangers:
        await each.is_served()
    await strangers[1].registers("one-of-them")
    await (await scene.stranger()).is_served()


@attack("silent ones from one address", limits={"max_unregistered_per_address": 16})
async def silent_crowd(scene: Scene) -> None:
    strangers = [await scene.stranger() for _ in range(17)]
    await strangers[16].is_served()
    assert as_line(await strangers[12].hears_bytes()) == error("server-full")
    await strangers[0].is_served()


@attack("from one address, before they shake hands", "tls", limits={"max_unregistered_per_address": 16})
async def crowd_before_tls(scene: Scene) -> None:
    strangers = [await scene.unencrypted(CLIENT_HELLO[: number % 3]) for number in range(17)]
    assert await strangers[6].hears_bytes() == b""


@attack("from everywhere", limits={"max_unregistered": 24, "max_unregistered_per_address": 16})
async def crowd_of_all(scene: Scene) -> None:
    strangers = [await scene.stranger(f"127.0.1.{number}") for number in range(24)]
    for each in strangers:
        await each.is_served()
    assert as_line(await (await scene.stranger("127.0.1.99")).hears_bytes()) == error("server-full")
    await strangers[0].registers("the-oldest")
    for each in strangers:
        await each.is_served()


# -- row 7


@attack("a handshake that stalls", "tls")
async def stalled_handshake(scene: Scene) -> None:
    async def begun() -> Client:
        """One that has been answered, and does not go on."""
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = certificates.client_context().wrap_bio(coming, going, server_hostname="localhost")
        try:
            hello.do_handshake()
        except ssl.SSLWantReadError:
            stranger = await scene.unencrypted(going.read())
        assert await stranger.sock.recv(65_536)
        return stranger

    for make in (begun, lambda: scene.unencrypted(bytes.fromhex("1603014000")), lambda: scene.unencrypted(b"\x16")):
        stranger = await make()
        began = trio.current_time()
        assert await stranger.hears_bytes() == b""
        assert within(trio.current_time() - began, 5)


@attack("a crowd of handshakes that stall", "tls", limits={"tls_handshakes": 1})
async def stalled_handshakes(scene: Scene) -> None:
    """One that waits for its client keeps nobody from shaking hands."""
    stalled = [await scene.unencrypted(CLIENT_HELLO[:6]) for _ in range(50)]
    began = trio.current_time()
    for number in range(5):
        await scene.mallory(f"mallory-{number}")
    await scene.they_talk()
    assert trio.current_time() == began
    for each in stalled:
        assert await each.hears_bytes() == b""


@attack("a crowd of handshakes that are none", "tls", limits={"tls_handshakes": 1})
async def garbled_handshakes(scene: Scene) -> None:
    for _ in range(20):
        assert await alert_at_most(await scene.unencrypted(CLIENT_HELLO + b"x" * 2_000))
    await scene.they_talk()


@attack("a handshake is followed by nothing", "tls")
async def no_tickets(scene: Scene) -> None:
    """Tickets would be two more messages for each connection."""
    stranger = await scene.stranger()
    assert isinstance(stranger, TLSClient)
    assert stranger.tls.version() == "TLSv1.3"
    with trio.move_on_after(1) as waited:
        await stranger.sock.recv(1)
    assert waited.cancelled_caught


# -- row 8


@attack("more than there is room for", *WITH_LENGTH, limits={"max_connections": 12}, warnings=("server-full",))
async def more_than_fit(scene: Scene) -> None:
    """All others are told, which an operator hears once in ten seconds; those who were there notice nothing."""
    peers = [await scene.mallory(f"mallory-{number}") for number in range(9)]

    async def refused() -> None:
        if scene.framing == "tls":
            stranger = await scene.unencrypted()
            assert await stranger.hears_bytes() == b""
        else:
            stranger = await scene.stranger()
            assert as_line(await stranger.hears_bytes()) == error("server-full")
        stranger.leaves()

    last = await scene.mallory("last")
    for _ in range(30):
        await refused()
    await trio.sleep(10)
    await refused()
    await scene.they_talk()
    last.leaves()
    await scene.daemon.settles()
    await (await scene.stranger()).is_served()
    for each in peers:
        await each.is_served()


@attack("more than may come from one address", *WITH_LENGTH, limits={"max_per_address": 8})
async def more_than_one_address_may(scene: Scene) -> None:
    peers = []
    for number in range(8):
        peers.append(await scene.stranger("127.0.0.2"))
        await peers[-1].registers(f"mallory-{number}")
    if scene.framing == "tls":
        url = scene.daemon.tls_url
        ninth = await scene.daemon.connect("prefixed", source="127.0.0.2", url=url)
        assert await ninth.hears_bytes() == b""
    else:
        ninth = await scene.stranger("127.0.0.2")
        answer = as_line(await ninth.hears_bytes())
        assert answer == error("server-full")
    await (await scene.stranger("127.0.0.3")).is_served()
    peers[0].leaves()
    ninth.leaves()
    await scene.daemon.settles()
    await (await scene.stranger("127.0.0.2")).is_served()
    for each in peers[1:]:
        await each.is_served()
