"""The blocking face and a server that does what a test tells it, connection by connection, in a thread."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from sigd.client import Disconnected, MessageFrom, SignalingError
from sigd.client.blocking import BlockingPeer, connect
from sigd.wire import messages
from sigd.wire.framing import Prefixed
from sigd.wire.said import Ok
from tests.client import certificates
from tests.client.by_hand import NoJitter
from tests.client.over_all import jump, jumping_time
from tests.client.scripted import TERMS
from tests.daemon import HANG_SECONDS


class Link:
    """The server's end of a connection, length-prefixed."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._split = Prefixed((1 << 24) - 1)
        self._heard: list[dict[str, Any]] = []

    def hears(self) -> dict[str, Any]:
        while not self._heard:
            chunk = self.socket.recv(65_536)
            if not chunk:
                raise EOFError
            self._heard += [json.loads(frame) for frame in self._split.take(chunk, 1000)]
        return self._heard.pop(0)

    def says(self, **message: Any) -> None:
        self.socket.sendall(Prefixed.wrap(json.dumps(message).encode()))

    def registers(self, **terms: Any) -> None:
        register = self.hears()
        self.says(**TERMS | {"ref": register["ref"], "id": register["id"], "keepaliveMs": 30_000} | terms)


@contextmanager
def scripted(*scripts: Callable[[Link], None]) -> Iterator[str]:
    """The URL of a server whose connections, one after another, each follow a script and are closed at its end."""
    faults: list[BaseException] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(HANG_SECONDS)

        def serve() -> None:
            try:
                for script in scripts:
                    accepted, _ = listener.accept()
                    with accepted, suppress(EOFError, ConnectionError):
                        accepted.settimeout(HANG_SECONDS)
                        script(Link(accepted))
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(60)
            assert not thread.is_alive()
        assert not faults


def end_of(peer: BlockingPeer) -> SignalingError:
    with pytest.raises(SignalingError) as ended:
        peer.receive()
    return ended.value


def test_a_lost_connection_is_made_again_while_it_listens():
    def drops(link: Link) -> None:
        link.registers()

    def greets(link: Link) -> None:
        link.registers()
        link.says(type="message", **{"from": "bob"}, data="back")
        link.hears()

    with scripted(drops, greets) as url, connect(url, id="alice", jitter=NoJitter()) as peer:
        assert peer.receive(10) == MessageFrom(sender="bob", data="back")
        assert peer.connected
        assert peer.trouble == ""


def test_without_reconnect_a_lost_connection_is_the_end():
    with scripted(lambda link: link.registers()) as url, connect(url, id="alice", reconnect=False) as peer:
        assert str(end_of(peer)) == "disconnected: the server closed the connection"
        with pytest.raises(Disconnected, match="the server closed the connection") as unsent:
            peer.request(messages.Ping())
        assert not unsent.value.sent
        assert peer.trouble == "the server closed the connection"


def test_a_request_that_was_under_way_may_have_been_done():
    def cuts(link: Link) -> None:
        link.registers()
        link.hears()

    with scripted(cuts) as url, connect(url, id="alice", reconnect=False) as peer:
        with pytest.raises(Disconnected) as lost:
            peer.request(messages.Ping())
        assert lost.value.sent


def test_a_request_that_is_not_answered_ends_in_time():
    def ignores(link: Link) -> None:
        link.registers()
        while link.hears()["type"] != "unregister":
            pass

    with (
        jumping_time(),
        scripted(ignores) as url,
        connect(url, id="alice") as peer,
        pytest.raises(TimeoutError, match="no answer for"),
    ):
        peer.request(messages.Ping())


def test_what_the_socket_does_not_take_at_once_goes_later():
    size = 12_000_000  # more than the buffers of both ends hold

    def reads(link: Link) -> None:
        link.registers(maxFrame=1 << 24)
        offer = link.hears()
        assert len(offer["sdp"]) == size
        link.says(type="ok", ref=offer["ref"])

    with scripted(reads) as url, connect(url, id="alice", reconnect=False) as peer:
        assert isinstance(peer.request(messages.Offer(to="bob", sdp="x" * size)), Ok)


def test_what_the_program_leaves_lying_waits_and_comes_in_order():
    count = 100

    def says_much(link: Link) -> None:
        link.registers()
        for number in range(count):
            link.says(type="message", **{"from": "bob"}, data=[number, "x" * 20_000])
        while link.hears()["type"] != "unregister":
            pass

    with jumping_time(), scripted(says_much) as url, connect(url, id="alice", reconnect=False) as peer:
        for _ in range(20):  # in which 2 MB come: more than is read ahead
            with pytest.raises(TimeoutError):
                peer.request(messages.Ping())
        for number in range(count):
            assert peer.receive(10) == MessageFrom(sender="bob", data=[number, "x" * 20_000])
        assert peer.receive(0) is None
        assert peer.connected


def test_what_a_server_says_before_it_hangs_up_at_once_is_heard():
    def is_full(link: Link) -> None:
        link.says(type="error", code="server-full", message="no room")

    with scripted(is_full) as url, pytest.raises(SignalingError, match="server-full: no room"):
        connect(url, id="alice")


def test_pings_are_answered_by_whoever_only_listens():
    def pings(link: Link) -> None:
        link.registers()
        link.says(type="ping")
        assert link.hears()["type"] == "pong"
        link.says(type="bye", **{"from": "server"})

    with scripted(pings) as url, connect(url, id="alice", reconnect=False) as peer:
        assert peer.receive(10) is not None


def test_a_silent_server_is_asked_and_then_given_up():
    asked: list[str] = []

    def is_silent(link: Link) -> None:
        link.registers()
        while True:
            asked.append(link.hears()["type"])

    with jumping_time(), scripted(is_silent) as url, connect(url, id="alice", reconnect=False) as peer:
        fault = end_of(peer)
    assert str(fault) == "disconnected: nothing was heard from the server for too long"
    assert asked == ["ping"]


def test_who_was_away_itself_asks_before_it_gives_up(monkeypatch: pytest.MonkeyPatch):
    """The program did something else for longer than the server may be silent."""

    def answers(link: Link) -> None:
        link.registers(keepaliveMs=30_000)
        assert link.hears()["type"] == "ping"
        link.says(type="pong")
        link.says(type="bye", **{"from": "server"})

    with scripted(answers) as url, connect(url, id="alice", reconnect=False) as peer:
        jump(monkeypatch, 90)
        assert peer.receive(10) is not None


def test_the_end_that_a_server_means_is_raised():
    def kicks(link: Link) -> None:
        link.registers()
        link.says(type="error", code="kicked", message="enough", reconnect=False)

    with scripted(kicks) as url, connect(url, id="alice") as peer:
        assert str(end_of(peer)) == "kicked: enough"


def test_no_tls_where_it_was_wanted_is_no_connection():
    with scripted(lambda link: None) as url, pytest.raises(ConnectionError, match="instead of a TLS handshake"):
        connect(url.replace("tcp:", "tls:"), ssl_context=certificates.client())


def test_waiting_for_a_server_that_has_no_room(caplog: pytest.LogCaptureFixture):
    def full(link: Link) -> None:
        link.says(type="error", code="server-full", message="full", ref=link.hears()["ref"])

    def greets(link: Link) -> None:
        link.registers()
        link.says(type="message", **{"from": "bob"}, data="at last")
        link.hears()

    with scripted(full, full, greets) as url, connect(url, id="alice", wait=True, jitter=NoJitter()) as peer:
        assert peer.receive(10) == MessageFrom(sender="bob", data="at last")
    assert [record.getMessage() for record in caplog.records] == ["server-full: full; trying again"]


def test_waiting_ends_where_no_further_try_mends_it():
    def rejects(link: Link) -> None:
        link.says(type="error", code="auth-failed", message="no", ref=link.hears()["ref"])

    with scripted(lambda _: None, rejects) as url, pytest.raises(SignalingError, match="auth-failed: no"):
        connect(url, id="alice", wait=True, jitter=NoJitter())
