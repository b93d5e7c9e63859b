"""One end of the call that call.py shows: a program for aiortc whose signaling is sigd's.

Tells on stdout what happens, as lines of JSON; what comes on stdin goes out over the data channel, line by line.
"""

import argparse
import asyncio
import json
import re
import ssl
import sys
import time
from pathlib import Path

import aioice.ice
import aiortc
from aiortc.sdp import SessionDescription

from sigd.client.aiortc import BYE, END_OF_CANDIDATES, Sent, Signaling


def tell(what: str, **more: object) -> None:
    """Tell the parent process."""
    print(json.dumps({"at": time.time(), "what": what, **more}), flush=True)


class ToldSignaling(Signaling):
    """Tells the parent process what is sent."""

    async def send(self, descr: Sent | None) -> None:
        """Send it, as ever."""
        match descr:
            case aiortc.RTCSessionDescription():
                text = f"{descr.type} {len(descr.sdp) / 1000:.1f} kB"
            case aiortc.RTCIceCandidate():
                text = f"candidate {descr.type} {descr.protocol}"
            case _:
                text = "bye" if descr is BYE else "end-of-candidates"
        tell("sent", text=text)
        await super().send(descr)


async def describe(pc: aiortc.RTCPeerConnection, signaling: Signaling) -> None:
    """Send the description, then the candidates one by one, as a browser does; aiortc itself puts them inside."""
    sdp, kind = pc.localDescription.sdp, pc.localDescription.type
    bare = re.sub(r"(?m)^a=(candidate:.*|end-of-candidates)\r\n", "", sdp)
    await signaling.send(aiortc.RTCSessionDescription(sdp=bare, type=kind))
    for index, media in enumerate(SessionDescription.parse(sdp).media):
        for candidate in media.ice_candidates:
            candidate.sdpMid, candidate.sdpMLineIndex = media.rtp.muxId, index
            await signaling.send(candidate)
    await signaling.send(END_OF_CANDIDATES)


async def consume(pc: aiortc.RTCPeerConnection, signaling: Signaling) -> None:
    """Act on what the other sends, until it hangs up."""
    while (obj := await signaling.receive()) not in (BYE, None):
        if isinstance(obj, aiortc.RTCSessionDescription):
            await pc.setRemoteDescription(obj)
            if obj.type == "offer":
                await pc.setLocalDescription(await pc.createAnswer())
                await describe(pc, signaling)
        else:
            await pc.addIceCandidate(obj if isinstance(obj, aiortc.RTCIceCandidate) else None)


def signaling_for(options: argparse.Namespace) -> Signaling:
    """The signaling that was asked for."""
    ca, file = options.ca, options.credentials
    return ToldSignaling(
        options.url,
        id=options.me,
        to=options.other,
        # Read each time: somebody may have put a new token there, as they expire.
        credentials=(lambda: json.loads(Path(file).read_bytes())) if file else None,
        ssl_context=ssl.create_default_context(cafile=ca) if ca else None,
    )


async def main(signaling: Signaling, *, offers: bool) -> None:
    """Call the other or be called, and pass on what comes on stdin."""
    await signaling.connect()
    pc = aiortc.RTCPeerConnection(signaling.configuration)
    channels: list[aiortc.RTCDataChannel] = []

    def hear(text: str) -> None:
        tell("heard", text=text)

    def watch(channel: aiortc.RTCDataChannel) -> None:
        channels.append(channel)
        channel.on("message", hear)
        channel.on("open", lambda: tell("connected"))
        if channel.readyState == "open":
            tell("connected")

    pc.on("datachannel", watch)
    consuming = asyncio.create_task(consume(pc, signaling))
    if offers:
        watch(pc.createDataChannel("chat"))
        await pc.setLocalDescription(await pc.createOffer())
        await describe(pc, signaling)
    while line := await asyncio.to_thread(sys.stdin.readline):
        channels[0].send(line.strip())
    await signaling.close()
    await consuming
    await pc.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offer", action="store_true", help="be the one who calls")
    parser.add_argument("--ca", metavar="FILE", help="whom to trust, for tls:// URLs")
    parser.add_argument("--credentials", metavar="FILE", help="what `sigctl token` printed")
    for name in ("url", "me", "other"):
        parser.add_argument(name)
    options = parser.parse_args()
    # aioice leaves 127.0.0.1 out, and a demonstration stays on its machine.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    asyncio.run(main(signaling_for(options), offers=options.offer))
