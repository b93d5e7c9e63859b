"""Rows 31 to 37: what comes from addresses that nobody has shown to be his, and what others have seen on its way."""

import contextlib
import json
import socket
from pathlib import Path

import trio

from tests.hardening import credentials
from tests.hardening.processes import Ground, Process, trial
from tests.hardening.scene import Scene, attack
from tests.net.datagrams import ByHand, DatagramClient, address_of, data, register

UDP = "udp"

FILLER = b"0" * 16

STRANGER_PING = b"P 0123456789abcdef 1 " + FILLER

METERED = {"udp_unproven_per_second": 20_000, "udp_unproven_per_second_per_address": 10}
"""As it is where nobody has configured anything."""

FORGED = 300_000
FORGERS = 500
EACH = 20
"""From so many addresses at once comes one each, so many times; then from others."""

AT_ONCE = 500
"""Datagrams that are sent before the daemon is asked whether it has seen them: else the kernel would drop the rest."""

MOST_KILOBYTES = 1_024


def forger(number: int) -> tuple[str, int]:
    """An address of this machine that nobody is at, another one for each number."""
    return f"127.{1 + number % 250}.{number // 250 % 250}.{1 + number // 62_500 % 250}", 0


# -- row 31


@attack("requests from somebody else's address, for long answers", UDP, limits=METERED)
async def amplification(scene: Scene) -> None:
    """Each answer is as short as what it answers, or shorter; ten a second go to one address, and no more."""
    with ByHand(scene.daemon.udp_url) as victim:
        asked = [register(id="cam"), register(nonce="n" * 43), STRANGER_PING, data(b"0123456789abcdef", 1, 1, b"x")]
        for request in asked:
            [answer] = await victim.asks(request)
            assert len(answer) <= len(request)
        heard = await victim.asks(*asked * 100)
        assert len(heard) == 6
        for request in (register(pad=""), STRANGER_PING[:18], b"X" + STRANGER_PING[1:], b"\n", b"{}"):
            await trio.sleep(1)
            assert await victim.asks(request) == []


# -- row 32


@attack("registers from everywhere", UDP, limits=METERED)
async def forged_registers(scene: Scene) -> None:
    """Nothing is kept of any of them, and who has shown where it is gets in meanwhile."""
    target = address_of(scene.daemon.udp_url)
    before = len(scene.daemon.reactor)
    with ByHand(scene.daemon.udp_url) as hand:
        shown = await hand.shows(id="cam")
        for number in range(5_000):
            with from_nobody(number) as forged:
                forged.sendto(register(id=f"cam-{number}", cookie="c" * 16), target)
            if number % AT_ONCE == 0:
                await scene.daemon.settles()
        await scene.daemon.settles()
        assert len(scene.daemon.reactor) == before
        assert len(scene.daemon.router.registry.holders) == before
        assert len(scene.daemon.router.admission.origins._known) == 1
        [answer] = await hand.asks(shown)
        assert json.loads(answer)["type"] == "registered"
        hand.says(b"X " + json.loads(answer)["cid"].encode())


async def has_seen_all(hand: ByHand, cid: bytes, n: int) -> None:
    """Wait until the daemon has read everything that was sent before, and the kernel has not dropped."""
    while True:
        hand.says(b"P %b %d %b" % (cid, n, FILLER))  # which it may drop as well, where the daemon has no CPU for long
        with trio.move_on_after(1):
            while b"Q %b %d" % (cid, n) not in [datagram for datagram, _ in hand.takes()]:
                await trio.lowlevel.wait_readable(hand.sock)
            return


def from_nobody(number: int) -> socket.socket:
    """A socket at an address that nobody is at."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(forger(number))
    return sock


def kilobytes_of(process: Process) -> int:
    """What of a process is in memory."""
    [line] = [
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("VmRSS:")
    ]
    return int(line.split()[1])


@trial("registers from everywhere to a program of its own, and how much memory they take", UDP, alone=True)
async def forged_without_end(ground: Ground) -> None:
    ground.write('[[listen]]\nurl = "udp://127.0.0.1:0"\n')
    async with ground.daemon() as process:
        url = process.urls[2]
        target, forged = address_of(url), register(id="cam", cookie="c" * 16)
        with ByHand(url) as hand:
            cid = await real_register(hand)
            before = 0
            for crowd in range(FORGED // FORGERS // EACH):
                with contextlib.ExitStack() as closing:
                    socks = [closing.enter_context(from_nobody(crowd * FORGERS + number)) for number in range(FORGERS)]
                    for turn in range(EACH):
                        for sock in socks:
                            sock.sendto(forged, target)
                        await has_seen_all(hand, cid, crowd * EACH + turn + 1)
                if crowd == FORGED // FORGERS // EACH // 10:
                    before = kilobytes_of(process)  # with all that the first of them have it load and set aside
            assert kilobytes_of(process) - before < MOST_KILOBYTES
            peer = await process.connect("lines")
            await peer.says({"type": "peers"})
            assert [entry["id"] for entry in (await peer.hears())["peers"]] == ["alice"]
            hand.says(b"X " + cid)


async def real_register(hand: ByHand) -> bytes:
    """Take an ID on the clock of this world; the cid."""
    members = {"id": "alice", "nonce": "nonce-of-16-char"}
    hand.says(register(**members))
    await trio.lowlevel.wait_readable(hand.sock)
    [(challenge, _)] = hand.takes()
    hand.says(register(**members, cookie=json.loads(challenge)["cookie"]))
    await trio.lowlevel.wait_readable(hand.sock)
    [(answer, _)] = hand.takes()
    return bytes(json.loads(answer)["cid"].encode())


# -- row 33


@attack("a cookie that somebody else was given, or that is old", UDP)
async def stolen_cookies(scene: Scene) -> None:
    url = scene.daemon.udp_url
    with ByHand(url) as owner, ByHand(url) as neighbour, ByHand(url, "127.0.0.2") as elsewhere:
        shown = await owner.shows(id="cam")
        cookie = json.loads(shown)["cookie"]
        for thief in (neighbour, elsewhere):
            for stolen in (shown, register(id="cam", cookie=cookie)):
                assert [json.loads(answer)["type"] for answer in await thief.asks(stolen)] == ["challenge"]
        await trio.sleep(61)
        assert [json.loads(answer)["type"] for answer in await owner.asks(shown)] == ["challenge"]
        assert scene.daemon.router.registry.find("cam") is None


# -- rows 34 and 37


class Seen(DatagramClient):
    """A peer of good will, all of whose datagrams somebody else sees.

    Attributes:
        seen: all that it has sent.
    """

    def __init__(self, sock: trio.socket.SocketType) -> None:
        super().__init__(sock)
        self.seen: list[bytes] = []

    def _send(self, datagram: bytes) -> None:
        self.seen.append(datagram)
        super()._send(datagram)


async def camera(scene: Scene) -> Seen:
    """One with an expiring token, which never crosses the network."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    await sock.connect(address_of(scene.daemon.udp_url))
    client = Seen(sock)
    scene.daemon._clients.append(client)
    scene.daemon._nursery.start_soon(client.runs)
    shown = credentials.expiring("camera")
    client.token = shown["token"].encode()
    await client.registers("camera", user=shown["user"], keepaliveMs=300_000)
    assert not any(client.token in datagram for datagram in client.seen)
    return client


@attack("datagrams changed on their way, and sent again", UDP, auth=credentials.auth)
async def injected(scene: Scene) -> None:
    """What does not verify gets silence; what does is delivered once, whoever sends it how often."""
    client = await camera(scene)
    await client.says({"type": "message", "to": "bob", "data": "once"})
    assert await scene.bob.hears() == {"type": "message", "from": "camera", "data": "once"}
    said = next(datagram for datagram in client.seen if datagram.startswith(b"D "))
    with ByHand(scene.daemon.udp_url) as thief:
        for byte in range(len(said)):
            if byte not in range(18):  # head and cid: another one names no link, and is denied as everybody's is
                assert await thief.asks(said[:byte] + bytes([said[byte] ^ 1]) + said[byte + 1 :]) == []
        heard = await thief.asks(*client.seen * 3)
        assert {datagram[:2] for datagram in heard} <= {b"C ", b'{"'}
        assert [json.loads(datagram)["type"] for datagram in heard if datagram.startswith(b"{")] == ["challenge"] * 6
    await client.is_served()
    assert scene.bob.has_heard() == b""


@attack("a link that somebody else would have go on at his address", UDP, auth=credentials.auth)
async def hijacked(scene: Scene) -> None:
    """He gets a challenge a second, which he cannot answer; what is said to its owner goes to its owner."""
    client = await camera(scene)
    await client.is_served()
    said = next(datagram for datagram in client.seen if datagram.startswith(b"D "))
    with ByHand(scene.daemon.udp_url, "127.0.0.2") as thief:
        heard: list[bytes] = []
        for _ in range(10):
            await trio.sleep(0.5)
            heard += await thief.asks(said, *heard[-1:])
        assert 4 <= len(heard) <= 6
        assert all(challenge.startswith(b"C ") and len(challenge) <= len(said) for challenge in heard)
        await scene.bob.says({"type": "message", "to": "camera", "data": "to its owner"})
        assert await client.hears() == {"type": "message", "from": "bob", "data": "to its owner"}
        assert not [datagram for datagram in await thief.hears() if not datagram.startswith(b"C ")]
    client.moves()
    await client.is_served()
    await trio.sleep(2)
    await scene.bob.says({"type": "message", "to": "camera", "data": "to its new place"})
    assert (await client.hears())["data"] == "to its new place"


# -- row 35


@attack("messages that are begun and never finished", UDP, limits={"udp_reassembly_bytes": 100_000})
async def unfinished_messages(scene: Scene) -> None:
    """Of all links together so much is kept and no more; after a minute they end, and give it back."""
    with ByHand(scene.daemon.udp_url) as hand:
        cids = [await hand.registers(id=f"mallory-{number}") for number in range(20)]
        heard = await hand.asks(*[data(cid, 1, 1, b"x" * 1_000, part="0/16") for cid in cids])
        reassembly = scene.daemon.reactor.datagrams._reassembly
        assert len(heard) == 6
        assert reassembly.taken == 96_000
        await scene.they_talk()
        await trio.sleep(61)
        assert reassembly.taken == 0
        hand.says(*[b"X " + cid for cid in cids])
        await hand.hears()


# -- row 36


@attack("datagrams from the address of another daemon", UDP)
async def wired_together(scene: Scene) -> None:
    """What one says to the other is nothing that is answered: at most one datagram each."""
    with ByHand(scene.daemon.udp_url) as other:
        said = await other.asks(register(), STRANGER_PING, data(b"0123456789abcdef", 1, 1, b"x"))
        assert len(said) == 3
        assert await other.asks(*said) == []
