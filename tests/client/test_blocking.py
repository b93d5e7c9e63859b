"""The blocking face: on real sockets, with a daemon in a process of its own, and where there is no anyio."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from sigd.client import MessageFrom, NoCredentials, OfferFrom, SignalingError, sockets
from sigd.client import address as addresses
from sigd.client.blocking import CONNECT_SECONDS, BlockingPeer, connect
from sigd.client.sockets import why
from sigd.client.trust import context_for
from sigd.wire import messages
from sigd.wire.said import IceServerList, Ok, PeerList, PongSaid
from tests.calls.public import SECRET, token, write_private
from tests.client.over_all import AUTH, daemon_in, jump, jumping_time, trusts, url_of
from tests.daemon import HANG_SECONDS, Daemon

OVER_ALL = pytest.mark.parametrize("over", ["tcp", "tls", "udp", "unix"])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon_in(tmp_path_factory.mktemp("open")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that wants to see credentials."""
    folder = tmp_path_factory.mktemp("guarded")
    write_private(folder / "secret", SECRET)
    with daemon_in(folder, AUTH) as daemon:
        yield daemon


def reach(daemon: Daemon, over: str, **options: Any) -> BlockingPeer:
    return connect(url_of(daemon, over), ssl_context=trusts() if over == "tls" else None, **options)


def said(data: object) -> Raw:
    return Raw(json.dumps(data).encode())


# -- all is well


@OVER_ALL
def test_two_peers_talk(daemon: Daemon, over: str):
    with reach(daemon, over, id="alice") as alice, reach(daemon, over, meta={"kind": "camera"}) as bob:
        assert alice.id == "alice"
        assert alice.connected
        assert alice.request(messages.Offer(to=bob.id, sdp="v=0\r\n", session="s1")) == Ok(ref="2")
        assert bob.receive() == OfferFrom(sender="alice", sdp="v=0\r\n", session="s1")
        bob.request(messages.Message(to="alice", data=said({"zoom": 2})))
        assert alice.receive() == MessageFrom(sender=bob.id, data={"zoom": 2})
        assert alice.receive(0) is None


@OVER_ALL
def test_every_request_has_its_answer(daemon: Daemon, over: str):
    with reach(daemon, over, id=f"asking-{over}") as peer:
        assert isinstance(peer.request(messages.Ping()), PongSaid)
        assert isinstance(peer.request(messages.IceServers()), IceServerList)
        found = peer.request(messages.Peers(prefix="asking"))
        assert isinstance(found, PeerList)
        assert [entry.id for entry in found.peers] == [f"asking-{over}"]
        with pytest.raises(SignalingError, match="peer-unavailable") as refused:
            peer.request(messages.Bye(to="nobody"))
        assert refused.value.to == "nobody"
        with pytest.raises(SignalingError, match="too-large"):
            peer.request(messages.Offer(to="nobody", sdp="x" * 100_000))
        assert isinstance(peer.request(messages.Ping()), PongSaid)


@OVER_ALL
def test_many_and_long_messages_come_whole_and_in_order(daemon: Daemon, over: str):
    with reach(daemon, over) as sender, reach(daemon, over) as hearer:
        for number in range(40):  # one by one: the daemon keeps only so much for who does not listen
            sender.request(messages.Message(to=hearer.id, data=said([number, "x" * 6_000])))
            assert hearer.receive(5) == MessageFrom(sender=sender.id, data=[number, "x" * 6_000])


@OVER_ALL
def test_the_id_is_free_at_once_after_close(daemon: Daemon, over: str):
    for _ in range(2):
        with reach(daemon, over, id="again") as peer:
            assert peer.id == "again"
        assert peer.receive(0) is None
        peer.close()


@OVER_ALL
def test_credentials_are_shown_and_over_udp_only_proved(guarded: Daemon, over: str):
    with reach(guarded, over, id="alice", credentials=token(f"{int(time.time()) + 600}:alice")) as alice:
        assert isinstance(alice.request(messages.Message(to="alice", data=said("me"))), Ok)
        assert alice.receive() == MessageFrom(sender="alice", data="me")


@OVER_ALL
def test_who_shows_none_is_refused(guarded: Daemon, over: str):
    with pytest.raises(SignalingError, match="auth-failed"):
        reach(guarded, over, id="alice")


def test_credentials_are_made_for_each_register_and_what_fails_is_told(guarded: Daemon):
    made: list[int] = []

    def make() -> dict[str, str]:
        made.append(1)
        return token(f"{int(time.time()) + 600}:alice")

    with reach(guarded, "tcp", id="alice", credentials=make):
        assert made == [1]
    with pytest.raises(NoCredentials, match="ValueError") as fault:
        reach(guarded, "tcp", id="alice", credentials=lambda: {"password": "x"})
    assert isinstance(fault.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="credentials are"):
        reach(guarded, "tcp", credentials={"password": "x"})


@OVER_ALL
def test_credentials_are_renewed_in_time(guarded: Daemon, over: str, monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []

    def make() -> dict[str, str]:
        made.append(1)
        return token(f"{int(time.time()) + 600}:alice")

    with reach(guarded, over, id="alice", credentials=make) as alice:
        first = alice.registered
        jump(monkeypatch, 600)  # 30 s before the link ends
        assert alice.receive(0) is None
        assert isinstance(alice.request(messages.Ping()), PongSaid)
        assert made == [1, 1]
        assert alice.registered is not first
        assert alice.connected


@pytest.mark.parametrize("over", ["tcp", "udp"])
def test_of_several_addresses_the_one_that_answers_is_found(daemon: Daemon, over: str, monkeypatch: pytest.MonkeyPatch):
    there = ("127.0.0.1", int(url_of(daemon, over).rpartition(":")[2]))
    kind = socket.SOCK_DGRAM if over == "udp" else socket.SOCK_STREAM
    with closing(socket.socket(type=kind)) as nobody:
        nobody.bind(("127.0.0.1", 0))
        known = [(socket.AF_INET, kind, 0, "", place) for place in (nobody.getsockname(), there)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: known)
        with jumping_time() as time, connect(f"{over}://a-name:1", id="found") as peer:
            assert time.now == (sockets.PATIENCE_SECONDS if over == "udp" else 0)
            assert isinstance(peer.request(messages.Ping()), PongSaid)


# -- what goes wrong


def test_no_server_is_an_os_error(tmp_path: Path):
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError, match=f"no connection to {url}: connection refused: start sigd"):
            connect(url)
    with pytest.raises(FileNotFoundError, match="correct the path"):
        connect(f"unix:{tmp_path}/none")


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:{}", "tls://127.0.0.1:{}", "udp://127.0.0.1:{}"])
def test_a_server_that_says_nothing_costs_as_long_as_it_may(url: str):
    kind = socket.SOCK_DGRAM if url.startswith("udp") else socket.SOCK_STREAM
    with closing(socket.socket(type=kind)) as silent:
        silent.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            silent.listen()
        with jumping_time() as time, pytest.raises(TimeoutError, match="did not answer in time"):
            connect(url.format(silent.getsockname()[1]))
        assert time.now == CONNECT_SECONDS


def test_over_udp_nobody_there_is_silence():
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as gone:
        gone.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{gone.getsockname()[1]}"
    with jumping_time(), pytest.raises(TimeoutError, match="did not answer in time"):
        connect(url)


def test_a_server_that_is_not_trusted_gets_nothing(daemon: Daemon):
    with pytest.raises(ssl.SSLCertVerificationError) as fault:
        connect(url_of(daemon, "tls"))
    assert why(fault.value).startswith("the server's certificate is not trusted: ")


def test_tls_where_it_is_not_spoken_is_a_mistake():
    with pytest.raises(ValueError, match="tls://"):
        connect("tcp://127.0.0.1:1", ssl_context=trusts())
    with pytest.raises(ValueError, match="no address of a server"):
        connect("http://127.0.0.1")
    assert context_for(addresses.Unix("/s"), None) is None


# -- where there is little


def test_it_needs_neither_anyio_nor_trio(daemon: Daemon):
    program = f"""
import sys
for name in ("anyio", "trio", "sniffio", "asyncio"):
    sys.modules[name] = None
from msgspec import Raw
from sigd.client.blocking import connect
from sigd.wire.messages import Message
with connect({daemon.url!r}, id="bare", jitter=None) as peer:
    peer.request(Message(to="bare", data=Raw(b'"hello"')))
    print(peer.receive(5).data)
try:
    from sigd.client import connect
except ImportError as fault:
    print(fault.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.stdout, done.stderr) == ("hello\nanyio\n", "")


def test_the_package_loads_what_needs_anyio_when_it_is_asked_for_it():
    program = (
        "import sys, sigd.client; print('anyio' in sys.modules); sigd.client.connect; print('anyio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")
    import sigd.client

    assert not hasattr(sigd.client, "Nothing")
    assert {name for name in sigd.client.__all__ if not hasattr(sigd.client, name)} == set()
