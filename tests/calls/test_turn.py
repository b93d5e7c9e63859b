"""TURN credentials as sigd vends them, against a real TURN server and real clients."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aioice.stun import TransactionFailed
from aioice.turn import create_turn_endpoint
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection

from sigd.relay.ice import IceServer, Vendor
from tests.calls.coturn import HOST, Coturn, running_coturn
from tests.daemon import HANG_SECONDS, running_daemon

SECRET = b"a-secret-of-the-TURN-server-and-sigd"
TTL = 3600.0

LIMIT = HANG_SECONDS

UNAUTHORIZED = 401
"""RFC 8489, section 14.8."""


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    with running_coturn(tmp_path_factory.mktemp("coturn"), SECRET) as running:
        yield running


def vended(coturn: Coturn, *, ago: float = 0.0, secret: bytes = SECRET) -> IceServer:
    """What alice was told of coturn so many seconds ago."""
    (turn,) = Vendor([], coturn.urls, secret, TTL).for_peer("alice", time.time() - ago)
    return turn


class Relayed(asyncio.DatagramProtocol):
    """This side of an allocation."""

    def __init__(self) -> None:
        self.came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


async def talk_through_an_allocation(coturn: Coturn, server: IceServer, transport: str) -> tuple[str, int]:
    """Allocate, have something relayed there and back, and let go; the relayed address.

    Raises:
        TransactionFailed: the server refuses.
    """
    turn, client = await create_turn_endpoint(
        Relayed, (HOST, coturn.port), server.username, server.credential, transport=transport
    )
    relayed: tuple[str, int] = turn.get_extra_info("sockname")
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.bind((HOST, 0))
        turn.sendto(b"there", other.getsockname())
        assert await loop.sock_recvfrom(other, 100) == (b"there", relayed)
        await loop.sock_sendto(other, b"back", relayed)
        assert await client.came == b"back"
    turn.close()
    await client.gone.wait()
    return relayed


def allocate(coturn: Coturn, server: IceServer, transport: str = "udp") -> tuple[str, int]:
    async def within_limit() -> tuple[str, int]:
        async with asyncio.timeout(LIMIT):
            return await talk_through_an_allocation(coturn, server, transport)

    return asyncio.run(within_limit())


def refusal(coturn: Coturn, server: IceServer) -> int:
    """The STUN error code that answers an allocation with these credentials."""
    with pytest.raises(TransactionFailed) as caught:
        allocate(coturn, server)
    code: int = caught.value.response.attributes["ERROR-CODE"][0]
    return code


def altered(text: str | None) -> str:
    """The text with another last digit or letter that counts."""
    assert text is not None
    kept, last, padding = text[:-2], text[-2], text[-1]
    return kept + ("A" if last != "A" else "B") + padding


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_an_allocation_succeeds_with_vended_credentials(coturn: Coturn, transport: str):
    host, port = allocate(coturn, vended(coturn), transport)
    assert host == HOST
    assert port != coturn.port


def test_credentials_are_good_until_they_expire(coturn: Coturn):
    allocate(coturn, vended(coturn, ago=TTL - LIMIT))


def test_it_fails_with_an_expired_one(coturn: Coturn):
    assert refusal(coturn, vended(coturn, ago=TTL + 2)) == UNAUTHORIZED


def test_it_fails_with_an_altered_credential(coturn: Coturn):
    good = vended(coturn)
    bad = IceServer(urls=good.urls, username=good.username, credential=altered(good.credential))
    assert refusal(coturn, bad) == UNAUTHORIZED


@pytest.mark.parametrize("change", ["expiry", "peer"])
def test_it_fails_with_an_altered_user_name(coturn: Coturn, change: str):
    good = vended(coturn, ago=TTL + 2 if change == "expiry" else 0.0)
    assert good.username is not None
    expiry, _, peer = good.username.partition(":")
    username = f"{int(expiry) + 3600}:{peer}" if change == "expiry" else f"{expiry}:bob"
    assert refusal(coturn, IceServer(urls=good.urls, username=username, credential=good.credential)) == UNAUTHORIZED


def test_it_fails_with_another_secret(coturn: Coturn):
    assert refusal(coturn, vended(coturn, secret=SECRET + b"\n")) == UNAUTHORIZED


def test_an_allocation_succeeds_with_what_the_daemon_tells_a_peer(coturn: Coturn, tmp_path: Path):
    secret, config = tmp_path / "secret", tmp_path / "sigd.toml"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET + b"\n")
    urls = ", ".join(f'"{url}"' for url in coturn.urls)
    config.write_text(
        'listen = ["tcp://127.0.0.1:0"]\n'
        f'[ice]\nstun_urls = ["stun:{HOST}:{coturn.port}"]\nturn_urls = [{urls}]\nturn_secret_file = "{secret}"\n'
    )
    with (
        running_daemon("--config", str(config)) as daemon,
        socket.create_connection((HOST, daemon.port), LIMIT) as alice,
    ):
        answers = alice.makefile("rb")
        alice.sendall(b"register alice\n")
        registered = msgspec.json.decode(answers.readline())
        alice.sendall(b'{"type":"iceServers"}\n')
        asked = msgspec.json.decode(answers.readline())
        answers.close()
    for servers in (registered["iceServers"], asked["iceServers"]):
        stun, turn = msgspec.convert(servers, list[IceServer])
        assert stun == IceServer(urls=(f"stun:{HOST}:{coturn.port}",))
        assert turn.username is not None
        assert turn.username.endswith(":alice")
        allocate(coturn, turn)
    assert asked["expiresMs"] == 3_600_000


async def call_through_relays(alice: RTCConfiguration, bob: RTCConfiguration) -> str:
    """What bob hears from alice over a data channel; each tells the other of relay candidates alone."""
    caller, callee = RTCPeerConnection(alice), RTCPeerConnection(bob)
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    callee.on("datachannel", lambda channel: channel.on("message", heard.set_result))
    chat = caller.createDataChannel("chat")
    chat.on("open", lambda: chat.send("hello bob"))
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)
    for peer in (caller, callee):
        assert set(re.findall(r"(?m)^a=candidate:.* typ (\w+)", peer.localDescription.sdp)) == {"relay"}
    text = await heard
    await caller.close()
    await callee.close()
    return text


def test_what_is_vended_is_an_rtcconfiguration_as_it_stands(coturn: Coturn):
    """As JSON carries it, into RTCConfiguration; and a call between two who cannot reach each other."""
    vendor = Vendor([f"stun:{HOST}:{coturn.port}"], coturn.urls, SECRET, TTL)

    def configuration(peer: str) -> RTCConfiguration:
        ice_servers = msgspec.json.decode(msgspec.json.encode(vendor.for_peer(peer, time.time())))
        return RTCConfiguration([RTCIceServer(**one) for one in ice_servers], RTCIceTransportPolicy.RELAY)

    async def call() -> str:
        async with asyncio.timeout(LIMIT):
            return await call_through_relays(configuration("alice"), configuration("bob"))

    assert asyncio.run(call()) == "hello bob"
