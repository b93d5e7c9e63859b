"""The client and the daemon, TLS and credentials, hours in a moment: in this process, on a clock that jumps."""

import os
import time
from collections.abc import Callable
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
    return lambda: token(f"{int(time.time()) + TTL}:{globs}")


def trusting(**more: Any) -> dict[str, Any]:
    return {"ssl_context": certificates.client(), "jitter": Brief(), **more}


@pytest.mark.parametrize("framing", ["prefixed", "lines"])
async def test_a_link_lives_on_as_its_tokens_are_renewed(serving: Serving, auth: Auth, framing: Any):
    asked = 0

    def counted() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return fresh("alice")()

    async with serving(auth=auth) as daemon:
        url = daemon.tls_url
        assert url.startswith("tls://")
        async with connect(url, id="alice", credentials=counted, framing=framing, **trusting()) as alice:
            link = daemon.link("alice")
            assert 60_000 < (alice.registered.expires_ms or 0) <= 90_000
            await trio.sleep(900)
            assert 19 <= asked <= 22
            assert daemon.link("alice") is link
            await alice.send("alice", "still here")
            assert await anext(alice) == MessageFrom(sender="alice", data="still here")


async def test_a_token_that_cannot_be_renewed_ends_it(serving: Serving, auth: Auth):
    async with serving(auth=auth) as daemon:
        start = trio.current_time()
        async with connect(daemon.tls_url, id="alice", credentials=fresh("alice")(), **trusting()) as alice:
            with pytest.raises(SignalingError, match="auth-expired"):
                await anext(alice)
        assert 80 <= trio.current_time() - start <= 92


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
    serving: Serving, auth: Auth, peer: str, credentials: dict[str, str] | None, code: str
):
    async with serving(auth=auth) as daemon:
        with pytest.raises(SignalingError, match=code):
            async with connect(daemon.tls_url, id=peer, credentials=credentials, **trusting()):
                pass


async def test_the_same_credential_takes_over_and_the_old_link_stays_away(serving: Serving, auth: Auth):
    async with serving(auth=auth) as daemon:
        options = trusting(id="alice", credentials=fresh("alice"))
        async with connect(daemon.tls_url, **options) as old, connect(daemon.tls_url, **options) as new:
            with pytest.raises(SignalingError, match="replaced"):
                await anext(old)
            link = daemon.link("alice")
            await trio.sleep(1000)
            assert daemon.link("alice") is link
            assert (old.connected, new.connected) == (False, True)
            with pytest.raises(Disconnected, match="replaced"):
                await old.ping()


async def test_whom_a_token_does_not_name_is_not_talked_to(serving: Serving, auth: Auth):
    async with serving(auth=auth) as daemon:

        def peer(name: str, other: str) -> Any:
            return connect(daemon.tls_url, id=name, credentials=fresh(f"{name}:{other}"), **trusting())

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


async def test_turn_credentials_are_there_and_new_ones_come_by_themselves(serving: Serving, secret: str):
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
        connect(daemon.tls_url, id="alice", credentials={"token": SECRET.decode()}, **trusting()) as alice,
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
