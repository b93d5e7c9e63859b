"""Staged calls: what two peers say to each other, minimal but real, and what the daemon knows of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sigd.relay.record import NOBODY, PairHistory, Passed
from sigd.why.facts import IceFacts, PeerFacts
from sigd.why.judge import judge
from sigd.why.verdict import Verdict
from sigd.wire.errors import ErrorCode

if TYPE_CHECKING:
    from sigd.relay.refusals import Attempt

AT = 1_700_000_000.0
"""When a staged call begins, Unix time."""

HOST = "candidate:1 1 udp 2130706431 10.1.2.3 40313 typ host"
HOST6 = "candidate:2 1 udp 2130706175 2a00::9 40314 typ host generation 0 network-id 1"
PUBLIC = "candidate:3 1 udp 2130706431 8.8.4.77 40313 typ host"
MDNS = "candidate:4 1 udp 2113937151 6ff3a8b2-9b1c-4f7a-8a0e-2f5d6f6a1b2c.local 51000 typ host generation 0"
SRFLX = "candidate:5 1 udp 1694498815 8.8.4.5 51372 typ srflx raddr 10.1.2.3 rport 40313"
RELAY = "candidate:6 1 udp 41885439 9.9.9.4 49160 typ relay raddr 8.8.4.5 rport 51372"
TCP = "candidate:7 1 tcp 1518280447 10.1.2.3 9 typ host tcptype active"

UFRAG, PASSWORD = "tTiP", "4fTf20WInMj7idEzn2Po8a"
FINGERPRINT = "0D:2C:C7:9F:D0:99:81:B4:7D:F0:0C:F6:20:60:43:B9:80:38:6E:1A:27:5B:C3:44:90:AF:D1:02:7C:55:E8:13"


def sdp(
    *candidates: str,
    origin: int = 4004357074,
    version: int = 4004357074,
    ends: bool = False,
    without: Sequence[str] = (),
    ufrag: str = UFRAG,
    setup: str = "actpass",
) -> str:
    """An SDP as aiortc makes it, with so many candidates inside."""
    transport = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{PASSWORD}"]
    transport += [f"a=fingerprint:sha-256 {FINGERPRINT}", f"a=setup:{setup}"]
    lines = [
        "v=0",
        f"o=- {origin} {version} IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        *("m=audio 40313 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 10.1.2.3", "a=sendrecv", "a=mid:0", "a=rtcp-mux"),
        "a=rtpmap:96 opus/48000/2",
        *(f"a={candidate}" for candidate in candidates),
        *(["a=end-of-candidates"] if ends else []),
        *transport,
        *("m=application 40313 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:1", "a=sctp-port:5000"),
        *transport,
    ]
    kept = [line for line in lines if not any(line.startswith(f"a={name}") for name in without)]
    return "".join(f"{line}\r\n" for line in kept)


def answer(*candidates: str, **different: Any) -> str:
    """An answer to that, of another RTCPeerConnection."""
    return sdp(*candidates, **{"origin": 4004357099, "ufrag": "bO0b", "setup": "active", **different})


class Stage:
    """cam1 and bob, and what they say: each message some milliseconds after the one before."""

    def __init__(self, *, session: str | None = "k3") -> None:
        self.now = AT
        self.session = session
        self.passed: list[Passed] = []
        self.facts = {
            "cam1": PeerFacts("cam1", via="tls", since=AT - 1320),
            "bob": PeerFacts("bob", via="tcp", since=AT - 60),
        }
        self.ice = IceFacts()
        self.whole_since = 0.0
        self.attempts: list[Attempt] = []

    def says(
        self, sender: str, kind: str, *, after: float = 0.1, refusal: ErrorCode | None = None, **members: Any
    ) -> None:
        """One message from a peer to the other one."""
        if self.passed:
            self.now += after
        to = "bob" if sender == "cam1" else "cam1"
        message: dict[str, Any] = {"type": kind, "from": sender, **members}
        if self.session is not None:
            message["session"] = self.session
        self.passed.append(Passed(self.now, sender, to, msgspec.json.encode(message), refusal))

    def refuses(self, sender: str, kind: str, code: ErrorCode, why: str, length: int, *, named: bool = True) -> None:
        """A message that the daemon could not read, as the record keeps it."""
        to = ("bob" if sender == "cam1" else "cam1") if named else NOBODY
        session = self.session if kind and named else None
        self.passed.append(Passed(self.now, sender, to, b"", code, kind, session, length, why))

    def at(self, cam1: str, bob: str) -> None:
        """The addresses that their links come from."""
        self.facts["cam1"].host, self.facts["bob"].host = cam1, bob

    def trickles(self, sender: str, *candidates: str | None) -> None:
        """Candidates, None being the end of them."""
        for candidate in candidates:
            said = None if candidate is None else {"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0}
            self.says(sender, "candidate", candidate=said)

    def call(self, caller: Sequence[str] = (), callee: Sequence[str] = (), *, ends: bool = True) -> None:
        """Offer and answer, then trickled candidates of each, and the end of them."""
        self.says("cam1", "offer", sdp=sdp())
        self.says("bob", "answer", sdp=answer(), after=0.086)
        self.trickles("cam1", *caller, *([None] if ends else []))
        self.trickles("bob", *callee, *([None] if ends else []))

    @property
    def history(self) -> PairHistory:
        """What the record has of it."""
        return PairHistory(("cam1", "bob"), self.passed, self.whole_since, tuple(self.attempts))

    def judged(self, **options: Any) -> Verdict:
        """Why did they not connect? Half a minute later."""
        return judge(self.history, self.facts, self.ice, self.now + 30, **options)
