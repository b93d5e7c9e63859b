"""One end of a call, in a process of its own: aiortc, and sigd.client.aiortc for its signaling.

Says on stdout how far it is, one line each: `registered`, `sent ...`, `got ...`, `connected`, `heard TEXT`. Each line
on stdin goes out over the data channel; the end of stdin ends the call.
"""

import argparse
import asyncio
import json
import re
import ssl
import sys
from pathlib import Path

import aioice.ice
from aiortc import RTCDataChannel, RTCIceCandidate, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from sigd.client.aiortc import BYE, END_OF_CANDIDATES, Signaling


def only_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    return ["127.0.0.1"] if use_ipv4 else []


def split(description: RTCSessionDescription) -> tuple[RTCSessionDescription, list[RTCIceCandidate]]:
    """The description as a browser that trickles sends it at once, and the candidates that follow it.

    aiortc gathers before it shows a description, and puts the candidates in.
    """
    candidates: list[RTCIceCandidate] = []
    for index, media in enumerate(SessionDescription.parse(description.sdp).media):
        for candidate in media.ice_candidates:
            candidate.sdpMid = media.rtp.muxId
            candidate.sdpMLineIndex = index
            candidates.append(candidate)
    bare = re.sub(r"(?m)^a=(candidate:.*|end-of-candidates)\r\n", "", description.sdp)
    bare = re.sub(r"(?m)^(m=\w+) \d+", r"\1 9", bare)  # no address yet (RFC 8840, section 4.1)
    bare = re.sub(r"(?m)^c=IN IP4 .*\r$", "c=IN IP4 0.0.0.0\r", bare)
    return RTCSessionDescription(sdp=bare, type=description.type), candidates


def say(*words: object) -> None:
    print(*words, flush=True)


class Call:
    def __init__(self, signaling: Signaling, trickle: bool) -> None:
        self.signaling = signaling
        self.trickle = trickle
        self.pc = RTCPeerConnection(signaling.configuration)
        self.channel: RTCDataChannel | None = None
        self.pc.on("datachannel", self.watch)

    def watch(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        channel.on("message", self.hear)
        if channel.readyState == "open":
            say("connected")
        else:
            channel.on("open", lambda: say("connected"))

    def hear(self, text: str) -> None:
        say("heard", text)

    async def offer(self) -> None:
        self.watch(self.pc.createDataChannel("chat"))
        await self.pc.setLocalDescription(await self.pc.createOffer())
        await self.describe()

    async def describe(self) -> None:
        description = self.pc.localDescription
        candidates: list[RTCIceCandidate] = []
        if self.trickle:
            description, candidates = split(description)
            assert "candidate" not in description.sdp
            assert candidates
        await self.signaling.send(description)
        say("sent", description.type)
        for candidate in candidates:
            await self.signaling.send(candidate)
            say("sent candidate", candidate.ip)
        if self.trickle:
            await self.signaling.send(END_OF_CANDIDATES)
            say("sent end-of-candidates")

    async def consume(self) -> None:
        """As aiortc's own examples do it, and one branch more."""
        while True:
            obj = await self.signaling.receive()
            if isinstance(obj, RTCSessionDescription):
                say("got", obj.type)
                await self.pc.setRemoteDescription(obj)
                if obj.type == "offer":
                    await self.pc.setLocalDescription(await self.pc.createAnswer())
                    await self.describe()
            elif isinstance(obj, RTCIceCandidate):
                say("got candidate", obj.ip)
                await self.pc.addIceCandidate(obj)
            elif obj is END_OF_CANDIDATES:
                say("got end-of-candidates")
                await self.pc.addIceCandidate(None)
            elif obj is BYE or obj is None:
                say("got bye" if obj is BYE else "closed")
                break

    async def talk(self) -> None:
        """Pass on what comes on stdin."""
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            assert self.channel is not None
            self.channel.send(line.rstrip("\n"))


async def run(signaling: Signaling, *, trickle: bool, offers: bool) -> None:
    await signaling.connect()
    say("registered")
    call = Call(signaling, trickle)
    consuming = asyncio.create_task(call.consume())
    if offers:
        await call.offer()
    await call.talk()
    await call.signaling.close()
    await consuming
    await call.pc.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["offer", "answer"])
    parser.add_argument("url")
    parser.add_argument("--id")
    parser.add_argument("--to")
    parser.add_argument("--framing", choices=["prefixed", "lines"], default="prefixed")
    parser.add_argument("--all-at-once", action="store_true", help="candidates inside the descriptions, as aiortc does")
    parser.add_argument("--ca", help="file: whom to trust")
    parser.add_argument("--credentials", help="file: members of `register`, as JSON")
    options = parser.parse_args()
    # A call in a test must not leave the machine, and must work on one that has no other interface; aioice by itself
    # leaves 127.0.0.1 out.
    aioice.ice.get_host_addresses = only_loopback

    asyncio.run(run(signaling_for(options), trickle=not options.all_at_once, offers=options.role == "offer"))


def signaling_for(options: argparse.Namespace) -> Signaling:
    return Signaling(
        options.url,
        id=options.id,
        to=options.to,
        framing=options.framing,
        credentials=json.loads(Path(options.credentials).read_bytes()) if options.credentials else None,
        ssl_context=ssl.create_default_context(cafile=options.ca) if options.ca else None,
    )


if __name__ == "__main__":
    main()
