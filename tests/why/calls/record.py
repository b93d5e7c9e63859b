"""Record calls between real WebRTC stacks, for the tests beside this file: `python -m tests.why.calls.record FOLDER`.

Needs root (it makes two network namespaces: one with an IPv4 address and a default route, where the stacks run, and
that of the router, where a TURN server runs), Node.js, the packages node-datachannel, werift and puppeteer-core in
FOLDER/node_modules, a Chromium and a Firefox, aiortc, and coturn.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiortc

HERE = Path(__file__).parent
STACKS = ("aiortc", "chromium", "firefox", "node-datachannel", "werift")
PATIENCE_SECONDS = 60.0
"""A browser takes some seconds to start, and a werift pair ten to connect and ten to restart."""

QUIET_SECONDS = 1.0
"""How long is listened after both ends are open: end marks come last."""

WAYS = ("direct", "relay", "restart")
"""Three courses of a call: host candidates; relayed candidates alone, both from the TURN server; host candidates and,
once it has connected, an ICE restart by the caller."""

RESTARTING = frozenset({"chromium", "firefox", "werift"})
"""Stacks that take part in an ICE restart: aiortc 1.16.0 answers with its old user fragment, libdatachannel throws."""

LOST_BY_RESTARTS = frozenset({("werift", "firefox"), ("werift", "werift")})
"""Callers and callees between which data passes no more after an ICE restart, though both say that they are connected.
From Chromium to Firefox it did in one of three calls; that one is kept."""

TURN_HOST = "1.2.3.4"
"""An address that is globally reachable by IANA's registries, as that of a TURN server has to be. Nothing leaves the
namespaces."""

TURN_USER, TURN_PASSWORD = "caller", "secret"

NETWORK = """
ip link set lo up
ip link add v0 type veth peer name v1 netns {router}
ip addr add 192.168.1.20/24 dev v0
ip link set v0 up
ip route add default via 192.168.1.1
"""

ROUTER = f"""
ip link set lo up
read -r wired
ip addr add {TURN_HOST}/32 dev lo
ip addr add 192.168.1.1/24 dev v1
ip link set v1 up
exec turnserver -n --no-cli --no-tls --no-dtls --log-file stdout --pidfile "$1/pid" --userdb "$1/db" --realm turn \
  --lt-cred-mech --user {TURN_USER}:{TURN_PASSWORD} --listening-ip {TURN_HOST} --relay-ip {TURN_HOST}
"""

Document = dict[str, Any]
Hear = Callable[[Document], None]


class NodePeer:
    """One end in a process of its own, by peer.mjs."""

    def __init__(self, stack: str, media: str, configuration: Document, folder: Path, hear: Hear) -> None:
        self._command = ("node", str(HERE / "peer.mjs"), stack, media, json.dumps(configuration))
        self._folder, self._hear = folder, hear

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._hear(json.loads(line))

    async def take(self, command: Document) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 5)
        if self._process.returncode is None:
            self._process.kill()
        await self._reader


class AiortcPeer:
    """One end by aiortc, which gathers first and has all candidates in its descriptions."""

    def __init__(self, media: str, configuration: Document, hear: Hear) -> None:
        self._media, self._hear = media, hear
        servers = [aiortc.RTCIceServer(**server) for server in configuration["iceServers"]]
        policy = aiortc.RTCIceTransportPolicy(configuration["iceTransportPolicy"])
        self._pc = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))

    async def start(self) -> None:
        self._hear({"version": version("aiortc")})
        if self._media == "av":
            self._pc.addTrack(aiortc.AudioStreamTrack())
            self._pc.addTrack(aiortc.VideoStreamTrack())
            self._pc.on("connectionstatechange", self._changed)
        else:
            self._pc.on("datachannel", lambda channel: self._hear({"open": True}))

    async def _changed(self) -> None:
        if self._pc.connectionState == "connected":
            self._hear({"open": True})

    async def take(self, command: Document) -> None:
        if command.get("do") == "offer":
            if self._media == "dc":
                self._pc.createDataChannel("x").on("open", lambda: self._hear({"open": True}))
            await self._describe("offer", self._pc.createOffer)
        elif command["type"] == "candidate":
            text = (command["candidate"] or {}).get("candidate")
            if text:
                candidate = aiortc.sdp.candidate_from_sdp(text.removeprefix("candidate:"))
                candidate.sdpMid = command["candidate"].get("sdpMid")
                candidate.sdpMLineIndex = command["candidate"].get("sdpMLineIndex")
                await self._pc.addIceCandidate(candidate)
        else:
            await self._pc.setRemoteDescription(aiortc.RTCSessionDescription(command["sdp"], command["type"]))
            if command["type"] == "offer":
                await self._describe("answer", self._pc.createAnswer)

    async def _describe(self, kind: str, make: Callable[[], Awaitable[aiortc.RTCSessionDescription]]) -> None:
        await self._pc.setLocalDescription(await make())
        self._hear({"say": {"type": kind, "sdp": self._pc.localDescription.sdp}})

    async def stop(self) -> None:
        await self._pc.close()


Peer = NodePeer | AiortcPeer


def configuration_for(way: str) -> Document:
    """Return what each stack is given, as the W3C's RTCConfiguration has it."""
    if way != "relay":
        return {"iceServers": [], "iceTransportPolicy": "all"}
    server = {"urls": f"turn:{TURN_HOST}:3478", "username": TURN_USER, "credential": TURN_PASSWORD}
    return {"iceServers": [server], "iceTransportPolicy": "relay"}


async def call(caller: str, callee: str, media: str, way: str, folder: Path) -> Document | None:
    """Record a call between two stacks; None if they do not connect."""
    versions, opened, restarted = dict[str, str](), set[str](), set[str]()
    messages: list[Document] = []
    changed = asyncio.Event()
    queue: asyncio.Queue[tuple[Peer, Document]] = asyncio.Queue()
    ends: dict[str, Peer] = {}
    started = time.monotonic()

    def hear(end: str, event: Document) -> None:
        if "version" in event:
            versions[end] = event["version"]
        elif "open" in event:
            opened.add(end)
        elif "restarted" in event:
            restarted.add(end)
        elif "error" in event:
            print(f"  {end}: {event['error']}", file=sys.stderr)
        else:
            message = event["say"]
            messages.append({"after": round(time.monotonic() - started, 3), "sender": end, "message": message})
            queue.put_nowait((ends["callee" if end == "caller" else "caller"], message))
        changed.set()

    for end, stack in (("caller", caller), ("callee", callee)):

        def told(event: Document, end: str = end) -> None:
            hear(end, event)

        configuration = configuration_for(way)
        if stack == "aiortc":
            ends[end] = AiortcPeer(media, configuration, told)
        else:
            ends[end] = NodePeer(stack, media, configuration, folder, told)

    async def relay() -> None:
        while True:
            to, message = await queue.get()
            await to.take(message)

    async def both(heard_from: Collection[str]) -> None:
        while len(heard_from) < 2:
            changed.clear()
            await changed.wait()

    try:
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            for peer in ends.values():
                await peer.start()
            await both(versions)
            started = time.monotonic()
            relaying = tasks.create_task(relay())
            await ends["caller"].take({"do": "offer"})
            await both(opened)
            await asyncio.sleep(QUIET_SECONDS)
            if way == "restart":
                await ends["caller"].take({"do": "restart"})
                await both(restarted)
                await asyncio.sleep(QUIET_SECONDS)
            relaying.cancel()
    except TimeoutError:
        return None
    finally:
        for peer in ends.values():
            await peer.stop()
    return {
        "caller": {"stack": caller, "version": versions["caller"]},
        "callee": {"stack": callee, "version": versions["callee"]},
        "media": media,
        "way": way,
        "messages": messages,
    }


def planned() -> Iterator[tuple[str, str, str, str]]:
    """Yield caller, callee, media and way of each call."""
    for way in WAYS:
        for media in ("dc", "av"):
            for caller in STACKS:
                for callee in STACKS:
                    restarts = {caller, callee} <= RESTARTING and (caller, callee) not in LOST_BY_RESTARTS
                    if way == "restart" and not restarts:
                        continue
                    if way == "direct" or media == "dc" or caller == callee:  # no new forms in the others
                        yield caller, callee, media, way


def name_of(caller: str, callee: str, media: str, way: str) -> str:
    """Return the name of a call's file, without its ending."""
    return f"{caller}_{callee}_{media}" + ("" if way == "direct" else f"_{way}")


async def record(folder: Path, names: list[str]) -> None:
    for caller, callee, media, way in planned():
        name = name_of(caller, callee, media, way)
        if names and name not in names:
            continue
        done = await call(caller, callee, media, way, folder)
        print(name, "no connection" if done is None else f"{len(done['messages'])} messages", flush=True)
        if done is not None:
            (HERE / f"{name}.json").write_text(json.dumps(done, indent=1) + "\n")


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Connect this namespace to a router, on which a TURN server runs."""
    with tempfile.TemporaryDirectory() as state:
        command = ["unshare", "--net", "sh", "-ec", ROUTER, "sh", state]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as router:
            assert router.stdin is not None
            try:
                while os.readlink(f"/proc/{router.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
                    time.sleep(0.01)
                subprocess.run(["sh", "-ec", NETWORK.format(router=router.pid)], check=True)
                router.stdin.write(b"wired\n")
                router.stdin.close()
                yield
            finally:
                router.kill()


def main() -> None:
    if os.environ.get("RECORD_INSIDE") is None:
        unshare = shutil.which("unshare")
        assert unshare is not None, "needs unshare (util-linux)"
        os.execve(
            unshare,
            [unshare, "--net", sys.executable, "-m", "tests.why.calls.record", *sys.argv[1:]],
            {**os.environ, "RECORD_INSIDE": "1"},
        )
    with network():
        asyncio.run(record(Path(sys.argv[1]), sys.argv[2:]))


if __name__ == "__main__":
    main()
