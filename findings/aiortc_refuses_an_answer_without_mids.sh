#!/bin/sh
# Question: an answerer that does not bundle leaves a=mid and a=group:BUNDLE out of its answer. Does the caller take it?
# Obvious guess: yes. a=mid is optional in an answer without BUNDLE (RFC 9143), sections match by their order (RFC 3264),
# and Chromium, Firefox and libdatachannel take it.
# What happens: aiortc compares the mids of its offer with those of the answer, and raises a ValueError that says that the
# media sections do not match. Without a=setup it raises an AttributeError about 'NoneType' before it gets there.
# Packages: aiortc 1.16.0 (PyPI), Python 3.11 or later.
# Who meets it: devices that write their answers by hand, and are called by a Python program.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install aiortc==1.16.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import re
import sys
from importlib.metadata import version

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

CUT = {
    "as it is": "",
    "without mid and BUNDLE": r"a=(mid|group):.*\r\n",
    "without setup": r"a=setup:.*\r\n",
}


async def taken(cut: str) -> str:
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    caller.createDataChannel("x")
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    sdp = re.sub(cut, "", callee.localDescription.sdp) if cut else callee.localDescription.sdp
    try:
        await caller.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        return "taken"
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    finally:
        await caller.close()
        await callee.close()


seen = {name: asyncio.run(taken(cut)) for name, cut in CUT.items()}
print("aiortc", version("aiortc"))
for name, said in seen.items():
    print(f"answer {name}: {said}")
same = (
    seen["as it is"] == "taken"
    and seen["without mid and BUNDLE"].startswith("ValueError: Media sections")
    and seen["without setup"].startswith("AttributeError")
)
sys.exit(0 if same else 1)
PYTHON
