"""Record calls between real WebRTC stacks, for the tests beside this file: `python -m tests.why.calls.record FOLDER`.

Needs root (it makes a network namespace with one IPv4 address and a default route), Node.js, the packages
node-datachannel, werift and puppeteer-core in FOLDER/node_modules, a Chromium and a Firefox, and aiortc.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiortc

HERE = Path(__file__).parent
STACKS = ("aiortc", "chromium", "firefox", "node-datachannel", "werift")
PATIENCE_SECONDS = 40.0
"""A browser takes some seconds to start, and a werift pair ten to connect."""

QUIET_SECONDS = 1.0
"""How long is listened after both ends are open: end marks come last."""

NETWORK = """
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 192.168.1.20/24 dev v0
ip link set v0 up
ip link set v1 up
ip route add default via 192.168.1.1
"""

Document = dict[str, Any]
Hear = Callable[[Document], None]


class NodePeer:
    """One end in a process of its own, by peer.mjs."""

    def __init__(self, stack: str, media: str, folder: Path, hear: Hear) -> None:
        self._command = ("node", str(HERE / "peer.mjs"), stack, media)
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

    def __init__(self, media: str, hear: Hear) -> None:
        self._media, self._hear = media, hear
        self._pc = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))

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


async def call(caller: str, callee: str, media: str, folder: Path) -> Document | None:
    """Record a call between two stacks; None if they do not connect."""
    versions, opened = dict[str, str](), set[str]()
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

        ends[end] = AiortcPeer(media, told) if stack == "aiortc" else NodePeer(stack, media, folder, told)

    async def relay() -> None:
        while True:
            to, message = await queue.get()
            await to.take(message)

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for peer in ends.values():
                await peer.start()
            while len(versions) < 2:
                changed.clear()
                await changed.wait()
            started = time.monotonic()
            relaying = asyncio.create_task(relay())
            await ends["caller"].take({"do": "offer"})
            while len(opened) < 2:
                changed.clear()
                await changed.wait()
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
        "messages": messages,
    }


async def record(folder: Path, names: list[str]) -> None:
    for media in ("dc", "av"):
        for caller in STACKS:
            for callee in STACKS:
                name = f"{caller}_{callee}_{media}"
                if (names and name not in names) or (media == "av" and "node-datachannel" in {caller, callee}):
                    continue  # node-datachannel's media need an encoder
                done = await call(caller, callee, media, folder)
                print(name, "no connection" if done is None else f"{len(done['messages'])} messages")
                if done is not None:
                    (HERE / f"{name}.json").write_text(json.dumps(done, indent=1) + "\n")


def main() -> None:
    if os.environ.get("RECORD_INSIDE") is None:
        unshare = shutil.which("unshare")
        assert unshare is not None, "needs unshare (util-linux)"
        os.execve(
            unshare,
            [unshare, "--net", sys.executable, "-m", "tests.why.calls.record", *sys.argv[1:]],
            {**os.environ, "RECORD_INSIDE": "1"},
        )
    subprocess.run(["sh", "-ec", NETWORK], check=True)
    asyncio.run(record(Path(sys.argv[1]), sys.argv[2:]))


if __name__ == "__main__":
    main()
