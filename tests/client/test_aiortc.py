"""aiortc's signaling interface: what the other sends arrives as aiortc's objects, and the other way round."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiortc
import pytest
from aiortc.contrib.signaling import BYE, BaseSignaling

from sigd.client import AnswerFrom, ByeFrom, CandidateFrom, OfferFrom, Peer, SignalingError, connect
from sigd.client.aiortc import END_OF_CANDIDATES, MOST_LOGGED, Signaling, configuration
from tests.client import certificates
from tests.client.scripted import ServerLink, scripted_server
from tests.daemon import HANG_SECONDS, running_daemon

LIMIT = HANG_SECONDS

HOST = "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"


@pytest.fixture(scope="module")
def url():
    with running_daemon() as daemon:
        yield daemon.url


def with_bob(url: str, main: Callable[[Peer, Signaling], Awaitable[None]], to: str | None = "bob") -> None:
    """Run with a peer `bob`, and a signaling `alice` that is closed in the end."""

    async def run() -> None:
        async with asyncio.timeout(LIMIT), connect(url, id="bob") as bob:
            signaling = Signaling(url, id="alice", to=to)
            try:
                await signaling.connect()
                await main(bob, signaling)
            finally:
                await signaling.close()

    asyncio.run(run())


def test_what_is_sent(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        assert isinstance(signaling, BaseSignaling)
        candidate = aiortc.RTCIceCandidate(1, "f", "127.0.0.1", 9, 7, "udp", "host", sdpMid="0", sdpMLineIndex=0)
        await signaling.send(aiortc.RTCSessionDescription(sdp="v=0", type="offer"))
        await signaling.send(aiortc.RTCSessionDescription(sdp="v=1", type="answer"))
        await signaling.send(candidate)
        await signaling.send(END_OF_CANDIDATES)
        await signaling.send(None)
        await signaling.send(BYE)
        init = {"candidate": "candidate:f 1 udp 7 127.0.0.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0}
        assert [await anext(bob) for _ in range(6)] == [
            OfferFrom(sender="alice", sdp="v=0"),
            AnswerFrom(sender="alice", sdp="v=1"),
            CandidateFrom(sender="alice", candidate=init),
            CandidateFrom(sender="alice", candidate=None),
            CandidateFrom(sender="alice", candidate=None),
            ByeFrom(sender="alice"),
        ]
        with pytest.raises(ValueError, match="neither offer"):
            await signaling.send(aiortc.RTCSessionDescription(sdp="v=0", type="rollback"))

    with_bob(url, main)


def test_what_is_received(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await bob.offer("alice", "v=0")
        await bob.candidate("alice", {"candidate": HOST, "sdpMid": "0", "sdpMLineIndex": 0})
        await bob.end_of_candidates("alice")
        await bob.answer("alice", "v=1")
        await bob.bye("alice")
        assert await signaling.receive() == aiortc.RTCSessionDescription(sdp="v=0", type="offer")
        candidate = await signaling.receive()
        assert isinstance(candidate, aiortc.RTCIceCandidate)
        assert (candidate.ip, candidate.port, candidate.sdpMid, candidate.sdpMLineIndex) == ("127.0.0.1", 9, "0", 0)
        assert await signaling.receive() is END_OF_CANDIDATES
        assert await signaling.receive() == aiortc.RTCSessionDescription(sdp="v=1", type="answer")
        assert await signaling.receive() is BYE

    with_bob(url, main)


def offer_without_addresses(sdp: str) -> str:
    """An offer as a browser without camera permission makes it, complete: mDNS names alone, and their end."""
    hidden = "1 1 UDP 2122187007 0bd1b6cf-6ad3-4c4a-b2a1-f0ef2a9a2e4a.local 54321 typ host"
    lines = [line for line in sdp.split("\r\n") if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join([*lines[:-1], f"a=candidate:{hidden}", "a=end-of-candidates", ""])


async def complete_offer() -> str:
    caller = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    caller.createDataChannel("data")
    await caller.setLocalDescription(await caller.createOffer())
    sdp = caller.localDescription.sdp
    await caller.close()
    return sdp


@pytest.mark.parametrize("trickled", [True, False])
def test_an_offer_with_mdns_names_alone_is_answered_with_candidates(url: str, trickled: bool):
    async def main(bob: Peer, signaling: Signaling) -> None:
        sdp = offer_without_addresses(await complete_offer())
        await bob.offer("alice", sdp.replace("a=end-of-candidates\r\n", "") if trickled else sdp)
        if trickled:
            await bob.end_of_candidates("alice")
        offer = await signaling.receive()
        assert isinstance(offer, aiortc.RTCSessionDescription)
        waiting = asyncio.create_task(signaling.receive())
        callee = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        await callee.setRemoteDescription(offer)
        await callee.setLocalDescription(await callee.createAnswer())
        assert "a=candidate:" in callee.localDescription.sdp
        assert not waiting.done()
        await signaling.send(callee.localDescription)
        assert await waiting is END_OF_CANDIDATES
        await callee.addIceCandidate(None)
        await callee.close()

    with_bob(url, main)


@pytest.mark.parametrize("before", ["a candidate with an address", "another message"])
def test_an_end_of_candidates_is_held_back_no_longer_than_needed(url: str, before: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await bob.offer("alice", "v=0\r\na=end-of-candidates\r\n")
        offer = await signaling.receive()
        assert offer == aiortc.RTCSessionDescription(sdp="v=0\r\n", type="offer")
        if before == "another message":
            await bob.bye("alice")
            assert await signaling.receive() is BYE
            await signaling.send(aiortc.RTCSessionDescription(sdp="v=0\r\n", type="answer"))
        else:
            await bob.candidate("alice", {"candidate": HOST, "sdpMid": "0"})
            assert isinstance(await signaling.receive(), aiortc.RTCIceCandidate)
        assert await signaling.receive() is END_OF_CANDIDATES

    with_bob(url, main)


def test_closing_ends_a_receive_that_holds_an_end_of_candidates(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await bob.offer("alice", "v=0\r\na=end-of-candidates\r\n")
        await signaling.receive()
        waiting = asyncio.create_task(signaling.receive())
        await bob.ping()
        await signaling.close()
        assert await waiting is None

    with_bob(url, main)


def test_who_is_the_dtls_server_can_be_chosen(url: str):
    async def main() -> None:
        async with asyncio.timeout(LIMIT), connect(url, id="bob") as bob:
            signaling = Signaling(url, id="alice", to="bob", dtls_server=True)
            await signaling.connect()
            await bob.offer("alice", await complete_offer())
            offer = await signaling.receive()
            assert isinstance(offer, aiortc.RTCSessionDescription)
            callee = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
            await callee.setRemoteDescription(offer)
            await callee.setLocalDescription(await callee.createAnswer())
            assert "a=setup:passive" in callee.localDescription.sdp
            await callee.close()
            await signaling.close()

    asyncio.run(main())


FAULTY = HOST.replace(" 9 ", " 65536 ")


@pytest.mark.parametrize(
    ("init", "logged"),
    [
        ({"sdp": HOST, "sdpMid": "0"}, "it has no member `candidate`, but 'sdp, sdpMid'"),
        ({"candidate": {"candidate": HOST, "sdpMid": "0"}}, "its member `candidate` must be a string"),
        ({"candidate": FAULTY, "sdpMid": "0"}, "its port must be 1 to 65535, not '65536'"),
    ],
)
def test_a_candidate_that_is_left_out_is_logged(
    url: str, init: dict[str, Any], logged: str, caplog: pytest.LogCaptureFixture
):
    async def main(bob: Peer, signaling: Signaling) -> None:
        for _ in range(2 * MOST_LOGGED):
            await bob.candidate("alice", init)
        await bob.bye("alice")
        assert await signaling.receive() is BYE

    with_bob(url, main)
    lines = [record.getMessage() for record in caplog.records if record.name == "sigd.client.aiortc"]
    assert len(lines) == MOST_LOGGED + 1
    assert all(logged in line for line in lines[:-1])


@pytest.mark.parametrize("kind", ["offer", "answer"])
def test_a_faulty_candidate_in_a_description_never_reaches_aiortc(
    url: str, kind: str, caplog: pytest.LogCaptureFixture
):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await (bob.offer if kind == "offer" else bob.answer)("alice", f"v=0\r\na={FAULTY}\r\na={HOST}\r\n")
        assert await signaling.receive() == aiortc.RTCSessionDescription(sdp=f"v=0\r\na={HOST}\r\n", type=kind)

    with_bob(url, main)
    assert "its port must be 1 to 65535" in caplog.text


@pytest.mark.parametrize(
    "init",
    [
        {"candidate": HOST, "sdpMid": "0"},
        {"candidate": HOST, "sdpMLineIndex": 0, "sdpMid": None, "usernameFragment": "x"},
        {"candidate": HOST.removeprefix("candidate:"), "sdpMid": "0"},
        {"candidate": "a=" + HOST, "sdpMid": "0"},
        {"candidate": HOST + " generation 0 ufrag abcd", "sdpMid": "0"},
        {"candidate": HOST.replace("127.0.0.1", "::1"), "sdpMid": "0"},
    ],
)
def test_a_candidate_as_others_write_it(url: str, init: dict[str, Any]):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await bob.candidate("alice", init)
        candidate = await signaling.receive()
        assert isinstance(candidate, aiortc.RTCIceCandidate)
        assert candidate.port == 9
        assert candidate.ip in {"127.0.0.1", "::1"}
        assert (candidate.sdpMid, candidate.sdpMLineIndex) == (init.get("sdpMid"), init.get("sdpMLineIndex"))

    with_bob(url, main)


@pytest.mark.parametrize(
    "init",
    [
        {},
        {"candidate": ""},
        {"candidate": "", "sdpMid": "0", "sdpMLineIndex": 0},
        {"candidate": None, "sdpMid": "0"},
        {"candidate": 7, "sdpMid": "0"},
        {"candidate": "candidate:", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 1 127.0.0.1 9", "sdpMid": "0"},
        {"candidate": HOST.replace(" 9 ", " nine "), "sdpMid": "0"},
        {"candidate": HOST + " rport x", "sdpMid": "0"},
        {"candidate": HOST},
    ],
)
def test_a_candidate_that_is_of_no_use_is_passed_over(url: str, init: dict[str, Any]):
    async def main(bob: Peer, signaling: Signaling) -> None:
        await bob.candidate("alice", init)
        await bob.send("alice", "is no business of aiortc's")
        await bob.bye("alice")
        assert await signaling.receive() is BYE

    with_bob(url, main)


def test_the_other_is_who_offers_first(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        with pytest.raises(RuntimeError, match="nobody to send to"):
            await signaling.send(BYE)
        async with connect(url, id="carol") as carol:
            await carol.bye("alice")
            await bob.offer("alice", "v=0")
            await carol.offer("alice", "v=2")
            await bob.bye("alice")
            assert await signaling.receive() == aiortc.RTCSessionDescription(sdp="v=0", type="offer")
            assert signaling.to == "bob"
            assert await signaling.receive() is BYE

    with_bob(url, main, to=None)


def test_an_offer_waits_for_the_other_and_nothing_else_does(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        with pytest.raises(SignalingError, match="peer-unavailable"):
            await signaling.send(aiortc.RTCSessionDescription(sdp="v=0", type="answer"))
        offering = asyncio.create_task(signaling.send(aiortc.RTCSessionDescription(sdp="v=0", type="offer")))
        await bob.ping()
        assert not offering.done()
        async with connect(url, id="late") as late:
            assert await anext(late) == OfferFrom(sender="alice", sdp="v=0")
            await offering

    with_bob(url, main, to="late")


def test_closing_says_bye_and_ends_what_waits(url: str):
    async def main(bob: Peer, signaling: Signaling) -> None:
        receiving = asyncio.create_task(signaling.receive())
        await bob.ping()
        await signaling.close()
        assert await receiving is None
        assert await signaling.receive() is None
        assert await anext(bob) == ByeFrom(sender="alice")
        with pytest.raises(RuntimeError, match="closed"):
            await signaling.connect()

    with_bob(url, main)


def test_connecting_and_closing_in_different_tasks(url: str):
    """As aiortc's examples do it: one `run_until_complete` for the call, another to clean up."""
    with asyncio.Runner() as runner:
        signaling = Signaling(url, to="bob")
        runner.run(signaling.connect())
        runner.run(signaling.close())
        runner.run(signaling.close())


def test_closing_what_was_never_connected():
    asyncio.run(Signaling("tcp://127.0.0.1:1").close())


def test_a_connection_that_cannot_be_made_can_be_tried_again():
    async def registers(link: ServerLink) -> None:
        await link.registers()
        await link.gone()

    async def refuses(link: ServerLink) -> None:
        await link.refuses("id-taken")

    async def main() -> None:
        async with scripted_server(refuses, registers) as server:
            signaling = Signaling(server.url, id="alice", to="bob")
            with pytest.raises(SignalingError, match="id-taken"):
                await signaling.connect()
            await signaling.connect()
            await signaling.close()

    asyncio.run(main())


def test_closing_while_it_connects():
    async def main() -> None:
        connecting_started = asyncio.Event()

        async def is_silent(link: ServerLink) -> None:
            await link.hears()
            connecting_started.set()
            await link.gone()

        async with scripted_server(is_silent) as server:
            signaling = Signaling(server.url)
            connecting = asyncio.create_task(signaling.connect())
            await connecting_started.wait()
            await signaling.close()
            with pytest.raises(asyncio.CancelledError):
                await connecting

    asyncio.run(main())


def test_replaced():
    async def replaces(link: ServerLink) -> None:
        await link.registers()
        await link.says({"type": "error", "code": "replaced", "message": "another", "reconnect": False})

    async def main() -> None:
        async with scripted_server(replaces) as server:
            signaling = Signaling(server.url, to="bob")
            with pytest.raises(SignalingError, match="replaced"):
                await signaling.receive()
            await signaling.close()

    asyncio.run(main())


def test_what_was_perhaps_not_delivered_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture):
    async def loses(link: ServerLink) -> None:
        await link.registers()
        await link.says({"type": "error", "code": "peer-unavailable", "message": "perhaps not", "to": "bob"})
        await link.says({"type": "bye", "from": "bob"})
        await link.gone()

    async def main() -> None:
        async with scripted_server(loses) as server:
            signaling = Signaling(server.url, to="bob")
            assert await signaling.receive() is BYE
            await signaling.close()

    asyncio.run(main())
    assert "perhaps not" in caplog.text


# -- STUN and TURN servers, credentials, TLS

STUN = {"urls": "stun:stun.example.org"}
TURN: dict[str, Any] = {
    "urls": ["turn:turn.example.org?transport=udp", "turns:turn.example.org"],
    "username": "1900000000:alice",
    "credential": "Zm9v",
}


def test_a_configuration_has_the_servers():
    found = configuration([STUN, TURN])
    assert found.iceServers == [
        aiortc.RTCIceServer(urls=["stun:stun.example.org"]),
        aiortc.RTCIceServer(urls=TURN["urls"], username="1900000000:alice", credential="Zm9v"),
    ]


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"urls": None},
        {"urls": []},
        {"urls": 7},
        {"urls": ["stun:[2001:db8::1]:3478"]},
        {"urls": "http://example.org"},
        {"urls": [7, None]},
        {"urls": "stun:h?transport=udp"},
    ],
)
def test_a_server_that_aiortc_cannot_use_is_left_out(server: dict[str, Any]):
    found = configuration([server, STUN])
    assert found.iceServers == [aiortc.RTCIceServer(urls=["stun:stun.example.org"])]

    async def takes_it() -> None:
        pc = aiortc.RTCPeerConnection(found)
        pc.createDataChannel("chat")
        await pc.createOffer()
        await pc.close()

    asyncio.run(takes_it())


def test_without_servers_none_are_asked():
    assert configuration([]).iceServers == []


def test_a_signaling_over_tls_with_a_token_and_the_servers_that_it_is_told_of():
    async def tells(link: ServerLink) -> None:
        await link.registers(iceServers=[STUN])
        await link.says({"type": "iceServers", "iceServers": [TURN]}, {"type": "bye", "from": "bob"})
        await link.gone()

    async def main() -> None:
        async with scripted_server(tells, tls=certificates.server()) as server:
            signaling = Signaling(
                server.url, id="alice", to="bob", credentials={"token": "t"}, ssl_context=certificates.client()
            )
            with pytest.raises(RuntimeError, match="not connected"):
                _ = signaling.configuration
            await signaling.connect()
            assert signaling.configuration.iceServers
            assert await signaling.receive() is BYE
            assert signaling.configuration == configuration([TURN])
            assert server.links[0].register["token"] == "t"
            await signaling.close()
            with pytest.raises(RuntimeError, match="not connected"):
                _ = signaling.configuration

    asyncio.run(main())


def test_a_server_that_cannot_be_trusted_and_credentials_that_cannot_be_had():
    def fails() -> dict[str, str]:
        raise KeyError("token")

    async def main() -> None:
        async with scripted_server(tls=certificates.server()) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await Signaling(server.url).connect()
            with pytest.raises(SignalingError, match="no credentials: KeyError"):
                await Signaling(server.url, ssl_context=certificates.client(), credentials=fails).connect()
            with pytest.raises(ValueError, match="credentials are"):
                await Signaling(server.url, credentials={"password": "x"}).connect()

    asyncio.run(main())
