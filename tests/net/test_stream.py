"""A link over a byte stream: what it says in which framing, how it is read and written, and how it ends."""

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sigd.net.rounds import PolledLink
from sigd.net.stream import Stream
from sigd.wire.errors import ErrorCode
from sigd.wire.framing import NOT_HTTP, TLS_ALERT
from sigd.wire.opening import Verdict
from tests.conftest import Serving
from tests.in_process import FRAMINGS, Daemon, as_json, error, text_message, within

if TYPE_CHECKING:
    import socket

RELAYED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "offer", "sdp": "v=0\r\no=- 1 \u2028"}, {"session": "s 1"}),
    ({"type": "answer", "sdp": ""}, {}),
    ({"type": "candidate", "candidate": {"candidate": "", "sdpMid": "0", "x": [1.5, None]}}, {"session": "s 1"}),
    ({"type": "candidate", "candidate": None}, {}),
    ({"type": "bye"}, {"session": "s 1", "reason": "done"}),
    ({"type": "message", "data": {"any": ["JSON", "\x7f\x9b\u202e\n"]}}, {}),
]


class TestFramings:
    @pytest.mark.parametrize("hearing", FRAMINGS)
    @pytest.mark.parametrize("speaking", FRAMINGS)
    async def test_each_to_each(self, daemon: Daemon, speaking: str, hearing: str) -> None:
        alice, bob = await daemon.peer("alice", speaking), await daemon.peer("bob", hearing)
        for number, (message, more) in enumerate(RELAYED):
            await alice.says({**message, "to": "bob", "ref": f"{number}", "from": "eve", "x": 1, **more})
            assert await alice.hears() == {"type": "ok", "ref": f"{number}"}
            assert await bob.hears() == {**message, "from": "alice", **more}
        await bob.hears_nothing()

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_the_daemon_says_nothing_first(self, daemon: Daemon, framing: str) -> None:
        client = await daemon.connect(framing)
        await client.hears_nothing()
        await client.sends(client.framed(b'{"type":"ping"}')[:5])
        await client.hears_nothing()

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_registered_says_the_terms(self, daemon: Daemon, framing: str) -> None:
        client = await daemon.connect(framing)
        answer = await client.registers("alice", ref="1", keepaliveMs=1, maxFrame=10**9)
        assert answer.pop("server").startswith("sigd/")
        terms = {"keepaliveMs": 5_000, "maxFrame": 65_536, "protocol": 1, "features": ["iceServers", "peers"]}
        assert answer == {"type": "registered", "id": "alice", "ref": "1", **terms}

    async def test_lines_may_end_in_crlf_and_be_empty(self, daemon: Daemon) -> None:
        client = await daemon.connect("lines")
        await client.sends(b"\r\n\n  \nregister bob\r\n# no answer\r\n")
        assert [(await client.hears())["type"] for _ in range(4)] == ["pong", "pong", "pong", "registered"]
        await client.hears_nothing()

    async def test_a_text_of_several_lines_is_one_message(self, daemon: Daemon) -> None:
        alice, bob = await daemon.peer("alice", "lines"), await daemon.peer("bob")
        for piece in (b"offer bob <<\r\nv=0\r\na=x", b":1\r\n.", b"\r\nping\n"):
            await alice.sends(piece)
        assert await bob.hears() == {"type": "offer", "from": "alice", "sdp": "v=0\r\na=x:1\r\n"}
        assert await alice.hears() == {"type": "pong"}

    async def test_a_text_that_is_too_long_is_skipped_up_to_its_dot(self, daemon: Daemon) -> None:
        alice = await daemon.peer("alice", "lines")
        await alice.sends(b"send alice <<\n" + b"quit\n" * 15_000 + b".\nping\n")
        assert (await alice.hears())["code"] == "too-large"
        assert await alice.hears() == {"type": "pong"}

    async def test_help_is_for_people(self, daemon: Daemon) -> None:
        client = await daemon.connect("lines")
        await client.sends(b"help\nping\n")
        lines = [await client.hears_frame()]
        while lines[-1].startswith(b"#"):
            lines.append(await client.hears_frame())
        assert json.loads(lines[-1]) == {"type": "pong"}
        assert len(lines) > 10

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_unregister_frees_the_id_and_closes(self, daemon: Daemon, framing: str) -> None:
        client = await daemon.peer("alice", framing)
        await client.says({"type": "unregister", "ref": "1"}, {"type": "ping"})
        assert await client.hears_all() == [{"type": "ok", "ref": "1"}]
        await daemon.peer("alice", framing)

    async def test_who_has_left_by_lines_is_waited_for_no_longer_than_a_moment(self, daemon: Daemon) -> None:
        """A program closes at once; netcat, which ends at a reset alone, would stay until its user types something."""
        client = await daemon.peer("alice", "lines")
        await client.says({"type": "unregister"})
        await trio.sleep(1)
        assert len(daemon.reactor) == 0
        assert not daemon.router.limits_hit


class TestPieces:
    """A message is the same in whatever pieces it comes."""

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
    async def test_small_pieces(self, daemon: Daemon, framing: str, size: int) -> None:
        bob, alice = await daemon.peer("bob"), await daemon.connect(framing)
        messages = [{"type": "register", "id": "alice"}, {"type": "message", "to": "bob", "data": "zażółć"}]
        data = b"".join(alice.framed(as_json(message)) for message in messages)
        for place in range(0, len(data), size):
            await alice.sends(data[place : place + size])
            await wait_all_tasks_blocked()
        assert (await alice.hears())["type"] == "registered"
        assert await bob.hears() == {"type": "message", "from": "alice", "data": "zażółć"}

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_a_large_message_cut_anywhere(self, daemon: Daemon, framing: str) -> None:
        alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
        data = alice.framed(text_message(65_536))
        for cut in (1, 2, 3, 4, 5, 30, 4_096, 65_000, len(data) - 2, len(data) - 1):
            await alice.sends(data[:cut])
            await wait_all_tasks_blocked()
            await alice.sends(data[cut:])
            assert len(await bob.hears_frame()) == 65_536

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_many_messages_in_one_piece_stay_in_order(self, daemon: Daemon, framing: str) -> None:
        alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
        await alice.says(*({"type": "message", "to": "bob", "data": number} for number in range(1_000)))
        assert [(await bob.hears())["data"] for _ in range(1_000)] == list(range(1_000))

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("size", [4_096, 4_097, 4_098, 20_000, 65_536])
    async def test_what_follows_register_at_once_may_be_long(self, daemon: Daemon, framing: str, size: int) -> None:
        bob, alice = await daemon.peer("bob"), await daemon.connect(framing)
        message = as_json({"type": "message", "to": "bob", "data": ""})
        message = message.replace(b'""', b'"' + b"x" * (size - len(message)) + b'"')
        await alice.says({"type": "register", "id": "alice"}, message)
        assert (await alice.hears())["type"] == "registered"
        if size == 65_536:  # as long as a frame may be, and a few bytes longer when it is delivered
            assert await alice.hears() == error("too-large", to="bob")
        else:
            assert len((await bob.hears())["data"]) > 4_000


class TestSizes:
    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("limit", [1_024, 65_536])
    async def test_max_frame_is_measured_as_delivered(self, daemon: Daemon, framing: str, limit: int) -> None:
        alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing, maxFrame=limit)
        await alice.says(text_message(limit))
        assert len(await bob.hears_frame()) == limit
        await alice.says(text_message(limit + 1))
        assert await alice.hears() == error("too-large", to="bob")
        await bob.hears_nothing()

    async def test_escapes_count_to_a_peer_that_reads_lines(self, daemon: Daemon) -> None:
        alice, bob = await daemon.peer("alice"), await daemon.peer("bob", "lines", maxFrame=1_024)
        message = text_message(1_024 - 5)
        await alice.says(message.replace(b"x", b"\x7f", 1), message.replace(b"x", b"\x7f", 2))
        line = await bob.hears_frame()
        assert len(line) == 1_024
        assert b"\\u007f" in line
        assert await alice.hears() == error("too-large", to="bob")

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_the_servers_own_messages_obey_it(self, daemon: Daemon, framing: str) -> None:
        """One peer's `meta` alone may be as long as the least `maxFrame`."""
        small = await daemon.peer("small", framing, maxFrame=1_024)
        await daemon.peer("talkative", meta={"x": "y" * 1_000})
        for number in range(30):
            await daemon.peer(f"peer-{number}-{'x' * 55}"[:64])
        after, listed, more = "", [], True
        while more:
            await small.says({"type": "peers", "after": after, "ref": "x" * 64})
            frame = await small.hears_frame()
            assert len(frame) <= 1_024
            page = json.loads(frame)
            listed += [entry["id"] for entry in page["peers"]]
            after, more = listed[-1], page["more"]
        assert len(listed) == 32

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_before_register(self, daemon: Daemon, framing: str) -> None:
        client = await daemon.connect(framing)
        await client.says(b'{"type":"ping","x":"' + b"x" * 4_074 + b'"}')
        assert await client.hears() == {"type": "pong"}
        await client.says(b'{"type":"ping","x":"' + b"x" * 4_075 + b'"}')
        assert await client.hears_all() == [error("bad-frame")]

    @pytest.mark.parametrize("size", [0, 16 * 65_536 + 1, 0xFFFFFF])
    async def test_what_can_be_no_length_closes(self, daemon: Daemon, size: int) -> None:
        client = await daemon.peer("alice", "prefixed")
        await client.sends(size.to_bytes(4, "big"))
        assert await client.hears_all() == [error("bad-frame")]

    @pytest.mark.parametrize("size", [65_537, 74_000, 500_000, 16 * 65_536])
    async def test_a_long_prefixed_frame_is_passed_over(self, serving: Serving, size: int) -> None:
        async with serving(bytes_per_second=0) as daemon:
            client, _ = await daemon.peer("alice", "prefixed"), await daemon.peer("bob")
            head = b'{"type":"offer","to":"bob","ref":"7","session":"s","sdp":"'
            pings = [client.framed(b'{"type":"ping","ref":"%d"}' % number) for number in (1, 2)]
            await client.sends(pings[0] + client.framed(head + b"x" * (size - len(head))) + pings[1])
            assert await client.hears() == {"type": "pong", "ref": "1"}
            assert await client.hears() == error("too-large", ref="7", to="bob")
            assert await client.hears() == {"type": "pong", "ref": "2"}
            await client.hears_nothing()
            (refused,) = daemon.router.record.history("alice", "bob", 0.0).passed
            assert refused[1:6] == ("alice", "bob", b"", ErrorCode.TOO_LARGE, "offer")
            assert (refused.session, refused.length, refused.times) == ("s", size, 1)
            assert daemon.router.limits_hit == {"max_frame": 1}

    async def test_it_is_answered_when_its_beginning_has_come(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "prefixed")
        frame = client.framed(b'{"type":"bye","to":"bob","ref":"7","x":"' + b"x" * 70_000)
        for place in range(0, 1_027, 79):
            await client.sends(frame[place : place + 79])
            await client.hears_nothing()
        await client.sends(frame[1_027:1_028])
        assert await client.hears() == error("too-large", ref="7", to="bob")
        await client.sends(frame[1_028:])
        await client.is_served()

    async def test_a_frame_that_is_passed_over_has_the_time_of_so_many(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "prefixed", keepaliveMs=300_000)
        await client.sends(client.framed(b"x" * 140_000)[:2_000])
        assert await client.hears() == error("too-large")
        began = trio.current_time()
        assert await client.hears_all() == [error("bad-frame")]
        assert within(trio.current_time() - began, 30)

    @pytest.mark.parametrize("size", [65_537, 65_538, 65_539, 200_000])
    async def test_a_long_line_is_passed_over(self, daemon: Daemon, size: int) -> None:
        client = await daemon.peer("alice", "lines")
        offer = b'{"type":"offer","to":"bob","ref":"7","sdp":"'.ljust(size, b"x")
        await client.sends(b'{"type":"ping","ref":"1"}\n' + offer + b'\n{"type":"ping","ref":"2"}\n')
        assert await client.hears() == {"type": "pong", "ref": "1"}
        assert await client.hears() == error("too-large", ref="7", to="bob")
        assert await client.hears() == {"type": "pong", "ref": "2"}
        await client.hears_nothing()


REQUEST = b"POST /offer HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\xff\xf4a\n"


class TestOtherProtocols:
    @pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /register HTTP/1.0", b"PRI * HTTP/2.0"])
    async def test_http(self, daemon: Daemon, request_line: bytes) -> None:
        client = await daemon.connect("lines")
        await client.sends(request_line + b'\r\nHost: x\r\n\r\nregister eve\n{"type":"register","id":"eve"}\n')
        assert await client.hears_bytes() == NOT_HTTP
        assert not daemon.router.registry.holders

    async def test_http_where_it_is_not_the_first_line(self, daemon: Daemon) -> None:
        client = await daemon.peer("alice", "lines")
        await client.sends(b"send alice GET / HTTP/1.1\n")
        assert await client.hears() == {"type": "message", "from": "alice", "data": "GET / HTTP/1.1"}

    async def test_tls(self, daemon: Daemon) -> None:
        client = await daemon.connect()
        await client.sends(bytes.fromhex("16 0301 0200 01 0001fc 0303") + os.urandom(507))
        assert await client.hears_bytes() == TLS_ALERT


class TestEndOfFile:
    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_half_close_gets_all_answers(self, daemon: Daemon, framing: str) -> None:
        client = await daemon.connect(framing)
        pings = [{"type": "ping", "ref": f"{number}"} for number in range(100)]
        await client.says({"type": "register", "id": "alice"}, *pings)
        client.finishes()
        answers = await client.hears_all()
        assert answers[0]["type"] == "registered"
        assert answers[1:] == [{**ping, "type": "pong"} for ping in pings]
        await daemon.settles()
        assert not len(daemon.reactor)

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_what_was_sent_before_it_is_delivered(self, daemon: Daemon, framing: str) -> None:
        bob, alice = await daemon.peer("bob"), await daemon.peer("alice", framing)
        await alice.says(*({"type": "message", "to": "bob", "data": number} for number in range(100)))
        alice.leaves()
        assert [(await bob.hears())["data"] for _ in range(100)] == list(range(100))
        await bob.says({"type": "bye", "to": "alice"})
        assert await bob.hears() == error("peer-unavailable", to="alice")

    async def test_a_line_without_its_end(self, daemon: Daemon) -> None:
        client = await daemon.connect("lines")
        await client.sends(b'ping\n{"type":"register","id":"alice"}')
        client.finishes()
        assert await client.hears_all() == [{"type": "pong"}, error("bad-message")]

    async def test_half_a_prefixed_frame(self, daemon: Daemon) -> None:
        client = await daemon.connect()
        await client.sends(client.framed(b'{"type":"ping"}')[:-1])
        client.finishes()
        await client.hears_close()

    async def test_nothing_at_all(self, daemon: Daemon) -> None:
        client = await daemon.connect()
        client.finishes()
        await client.hears_close()

    @pytest.mark.parametrize("framing", FRAMINGS)
    async def test_reset(self, daemon: Daemon, framing: str) -> None:
        alice, bob = await daemon.peer("alice", framing), await daemon.peer("bob", framing)
        alice.breaks_off()
        await daemon.settles()
        assert list(daemon.router.registry.holders) == ["bob"]
        await bob.is_served()


class TestGateway:
    @pytest.mark.parametrize("level", [b"\x04", b"\x05"])
    async def test_mqtt(self, daemon: Daemon, level: bytes) -> None:
        client = await daemon.connect("lines")
        await client.sends(b"\x10\x10\0\x04MQTT" + level + b"\x02\0\x3c\0\x04cam1")
        answer = b"\x20\x02\0\x01" if level == b"\x04" else b"\x20\x03\0\x84\0"
        assert await client.hears_bytes() == answer
        client.leaves()
        await daemon.until(lambda: not len(daemon.reactor))
        assert daemon.router.closed == {"mqtt": 1}

    @pytest.mark.parametrize(
        "pieces", [(REQUEST,), (REQUEST[:5], REQUEST[5:]), (REQUEST[:5], REQUEST[5:20], REQUEST[20:])]
    )
    async def test_a_gateway_takes_a_connection_out(self, daemon: Daemon, pieces: tuple[bytes, ...]) -> None:
        """It has the socket and the first bytes; the origin is counted until the gateway has done with it."""
        taken: list[tuple[socket.socket, bytes]] = []
        reactor, origins = daemon.reactor, daemon.router.admission.origins

        def take(link: PolledLink) -> None:
            assert isinstance(link, Stream)
            taken.append(reactor.eject(link))

        reactor.gateways[Verdict.HTTP] = take
        client = await daemon.connect("lines")
        for piece in pieces:
            await client.sends(piece)
            await daemon.settles()
        [(sock, data)] = taken
        origin = origins.of("127.0.0.1")
        with sock:
            while len(data) < len(REQUEST):
                data += sock.recv(1_000)
            assert data == REQUEST
            assert (len(reactor), origin.links, len(daemon.router.admission.unregistered)) == (0, 1, 0)
            sock.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert await client.hears_frame() == b"HTTP/1.1 204 No Content\r"
            origins.leave(origin)
        assert origin.links == 0
        await daemon.peer("alice")
