"""The client and the daemon, TLS, UDP and credentials, hours in a moment: in this process, on a clock that jumps."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.client import Disconnected, MessageFrom, Peer, SignalingError, connect
from sigd.config.auth import Auth, CertificateEntry, HmacEntry, TokenEntry, UnixEntry
from sigd.config.ice import Ice
from tests.calls.public import SECRET, token, write_private
from tests.certificates import listener
from tests.client import certificates
from tests.client.backends import Brief
from tests.conftest import Serving
from tests.in_process import Daemon, unix_time
from tests.lossy_proxy import lossy_proxy

TTL = 60
"""Of tokens, in seconds: the daemon adds 30, and the client renews half way, after 45."""


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    write_private(file, SECRET)
    return str(file)


@pytest.fixture
def auth(secret: str) -> Auth:
    return Auth(hmac=(HmacEntry(secret_file=secret),))


def fresh(globs: str) -> Callable[[], dict[str, str]]:
    return lambda: token(f"{int(unix_time()) + TTL}:{globs}")


def reach(daemon: Daemon, over: str, **options: Any) -> AbstractAsyncContextManager[Peer]:
    """Connect over `tls`, in length-prefixed frames or in `lines`, or over `udp`."""
    if over == "udp":
        return connect(daemon.udp_url, jitter=Brief(), **options)
    framing: Any = "lines" if over == "lines" else "prefixed"
    return connect(daemon.tls_url, framing=framing, ssl_context=certificates.client(), jitter=Brief(), **options)


def link_of(daemon: Daemon, peer: str) -> object:
    """The daemon's end of a peer's link, of whatever kind."""
    return daemon.router.registry.holders[peer]


OVER_BOTH = pytest.mark.parametrize("over", ["tls", "udp"])


@pytest.mark.parametrize("over", ["tls", "lines", "udp"])
async def test_a_link_lives_on_as_its_tokens_are_renewed(serving: Serving, auth: Auth, over: str):
    asked = 0

    def counted() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return fresh("alice")()

    async with serving(auth=auth) as daemon, reach(daemon, over, id="alice", credentials=counted) as alice:
        link = link_of(daemon, "alice")
        assert 60_000 < (alice.registered.expires_ms or 0) <= 90_000
        await trio.sleep(900)
        assert 19 <= asked <= 22
        assert link_of(daemon, "alice") is link
        await alice.send("alice", "still here")
        assert await anext(alice) == MessageFrom(sender="alice", data="still here")


@OVER_BOTH
async def test_a_token_that_cannot_be_renewed_ends_it(serving: Serving, auth: Auth, over: str):
    async with serving(auth=auth) as daemon:
        start = trio.current_time()
        async with reach(daemon, over, id="alice", credentials=fresh("alice")()) as alice:
            with pytest.raises(SignalingError, match="auth-expired"):
                await anext(alice)
        assert 80 <= trio.current_time() - start <= 92


@OVER_BOTH
@pytest.mark.parametrize(
    ("peer", "credentials", "code"),
    [
        ("alice", token(f"{int(time.time()) + 3600}:bob"), "auth-failed"),
        ("alice", {"user": f"{int(time.time()) + 3600}:alice", "token": "wrong"}, "auth-failed"),
        ("alice", token("1000000000:alice"), "auth-expired"),
        ("alice", {"token": "unknown"}, "auth-failed"),
        ("alice", None, "auth-failed"),
    ],
)
async def test_who_cannot_be_who_it_wants_to_be_is_told(
    serving: Serving, auth: Auth, peer: str, credentials: dict[str, str] | None, code: str, over: str
):
    async with serving(auth=auth) as daemon:
        with pytest.raises(SignalingError, match=code):
            async with reach(daemon, over, id=peer, credentials=credentials):
                pass


@OVER_BOTH
@pytest.mark.parametrize("first", ["tls", "udp"])
async def test_the_same_credential_takes_over_and_the_old_link_stays_away(
    serving: Serving, auth: Auth, first: str, over: str
):
    async with serving(auth=auth) as daemon:
        options: dict[str, Any] = {"id": "alice", "credentials": fresh("alice")}
        async with reach(daemon, first, **options) as old, reach(daemon, over, **options) as new:
            with pytest.raises(SignalingError, match="replaced"):
                await anext(old)
            link = link_of(daemon, "alice")
            await trio.sleep(1000)
            assert link_of(daemon, "alice") is link
            assert (old.connected, new.connected) == (False, True)
            with pytest.raises(Disconnected, match="replaced"):
                await old.ping()


@OVER_BOTH
async def test_whom_a_token_does_not_name_is_not_talked_to(serving: Serving, auth: Auth, over: str):
    async with serving(auth=auth) as daemon:

        def peer(name: str, other: str) -> Any:
            return reach(daemon, over, id=name, credentials=fresh(f"{name}:{other}"))

        async with peer("alice", "bob") as alice, peer("bob", "alice") as bob, peer("carol", "alice"):
            await alice.send("bob", 1)
            assert await anext(bob) == MessageFrom(sender="alice", data=1)
            with pytest.raises(SignalingError, match="forbidden"):
                await alice.send("carol", 1)


async def test_a_certificate_speaks_for_itself(serving: Serving):
    auth = Auth(certificate=(CertificateEntry(names=("cam*",), register=("{name}",)),))
    door = listener("tcp://127.0.0.1:0", client_ca="clients")  # which takes TLS as well
    async with serving(door, auth=auth) as daemon:
        url, context = daemon.urls[0].replace("tcp:", "tls:"), certificates.client("cam1")
        async with connect(url, id="cam1", ssl_context=context) as peer:
            assert peer.connected
            with pytest.raises(SignalingError, match="auth-failed"):
                async with connect(url, id="cam2", ssl_context=context):
                    pass


async def test_a_unix_socket_knows_its_callers(serving: Serving, tmp_path: Path):
    auth = Auth(unix=(UnixEntry(users=(str(os.getuid()),), register=("cam*",)),))
    async with serving(f"unix:{tmp_path}/sigd.sock", auth=auth) as daemon:
        async with connect(daemon.urls[0], id="cam1") as peer:
            assert peer.connected
        with pytest.raises(SignalingError, match="auth-failed"):
            async with connect(daemon.urls[0], id="alice"):
                pass


@OVER_BOTH
async def test_turn_credentials_are_there_and_new_ones_come_by_themselves(serving: Serving, secret: str, over: str):
    ice = Ice(
        stun_urls=("stun:127.0.0.1:3478",),
        turn_urls=("turn:127.0.0.1:3478?transport=udp",),
        turn_secret_file=secret,
        turn_ttl_ms=600_000,
    )
    auth = Auth(token=(TokenEntry(secret_file=secret, register=("*",)),))

    def turn_of(peer: Peer) -> dict[str, Any]:
        (server,) = [server for server in peer.ice_servers if "credential" in server]
        return server

    async with (
        serving(auth=auth, ice=ice) as daemon,
        reach(daemon, over, id="alice", credentials={"token": SECRET.decode()}) as alice,
    ):
        first = turn_of(alice)
        assert {"urls", "username", "credential"} == first.keys()
        before = alice.ice_servers
        for server in before:
            server.clear()  # what was handed out: so that what comes next can be told from it
        await trio.sleep(545)
        assert turn_of(alice)
        assert await alice.request_ice_servers() == alice.ice_servers
        await alice.send("alice", "nothing before this")
        assert await anext(alice) == MessageFrom(sender="alice", data="nothing before this")


async def test_servers_that_find_no_room_in_a_datagram_are_there_as_well(serving: Serving):
    urls = tuple(f"stun:{number}.{'x' * 50}.example.org" for number in range(20))
    async with serving(ice=Ice(stun_urls=urls)) as daemon, reach(daemon, "udp", id="alice") as alice:
        assert alice.registered.ice_servers is None
        assert alice.ice_servers == [{"urls": [*urls]}]


@pytest.mark.parametrize("keepalive_ms", [None, 10_000, 100_000, 300_000])
async def test_a_silent_peer_stays(serving: Serving, keepalive_ms: int | None):
    async with serving() as daemon, reach(daemon, "udp", id="alice", keepalive_ms=keepalive_ms) as alice:
        link = link_of(daemon, "alice")
        await trio.sleep(1_000)
        assert link_of(daemon, "alice") is link
        await alice.send("alice", "still here")
        assert await anext(alice) == MessageFrom(sender="alice", data="still here")


async def test_a_peer_that_moves_is_still_there(serving: Serving):
    """The client's NAT, or its network, gives it another port: its link knows it by its cid."""
    async with (
        serving() as daemon,
        lossy_proxy(daemon.udp_url) as proxy,
        connect(proxy.url, id="alice") as alice,
        reach(daemon, "udp", id="bob") as bob,
    ):
        link = link_of(daemon, "alice")
        proxy.moves()
        await alice.send("bob", "from elsewhere")
        assert await anext(bob) == MessageFrom(sender="alice", data="from elsewhere")
        await bob.send("alice", "to elsewhere")
        assert await anext(alice) == MessageFrom(sender="bob", data="to elsewhere")
        assert link_of(daemon, "alice") is link


async def test_what_one_peer_does_not_take_is_its_own_affair(serving: Serving):
    """Over UDP as over a stream: who takes nothing gets nothing more, and the sender is told."""
    async with (
        serving() as daemon,
        reach(daemon, "udp", id="alice") as alice,
        reach(daemon, "udp", id="bob") as bob,
        reach(daemon, "udp", id="carol") as carol,
    ):
        sent, refused = 0, ""
        while not refused:
            try:
                await alice.send("bob", "x" * 15_000)
            except SignalingError as fault:
                refused = fault.code
            else:
                sent += 1
        assert refused == "peer-busy"
        await alice.send("carol", "hello")
        assert await anext(carol) == MessageFrom(sender="alice", data="hello")
        for _ in range(sent):
            assert await anext(bob) == MessageFrom(sender="alice", data="x" * 15_000)
