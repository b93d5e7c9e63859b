"""The client over UDP and a daemon in a process of its own: under trio and asyncio."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from sigd.client import (
    AnswerFrom,
    ByeFrom,
    CandidateFrom,
    Disconnected,
    MessageFrom,
    OfferFrom,
    Peer,
    SignalingError,
    connect,
)
from tests.calls.public import SECRET, token, write_private
from tests.client.backends import BOTH_BACKENDS, LIMIT, Brief, run, run_in_real_time, take
from tests.daemon import Daemon, running_daemon

pytestmark = BOTH_BACKENDS

CONFIG = """
[[listen]]
url = "udp://127.0.0.1:0"

[[listen]]
url = "tcp://127.0.0.1:0"

[[auth.hmac]]
secret_file = "{secret}"
register = ["*"]

[[auth.token]]
secret_file = "{plain}"
register = ["plain*"]
"""


PLAIN = b"another-sixteen-and-more"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon("--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that wants to see credentials."""
    folder = tmp_path_factory.mktemp("guarded")
    write_private(folder / "secret", SECRET)
    write_private(folder / "plain", PLAIN)
    config = folder / "sigd.toml"
    config.write_text(CONFIG.format(secret=folder / "secret", plain=folder / "plain"))
    with running_daemon("--config", str(config)) as daemon:
        yield daemon


def udp(daemon: Daemon) -> str:
    (url,) = (url for url in daemon.urls if url.startswith("udp:"))
    return url


def tcp(daemon: Daemon) -> str:
    (url,) = (url for url in daemon.urls if url.startswith("tcp:"))
    return url


def fresh(globs: str, seconds: int = 600) -> dict[str, str]:
    return token(f"{int(time.time()) + seconds}:{globs}")


# -- the face


@pytest.mark.parametrize("other", [udp, tcp])
def test_everything_that_a_peer_can_say(backend: str, daemon: Daemon, other: Any):
    async def main() -> None:
        async with (
            connect(udp(daemon), id="alice", meta={"kind": "test"}) as alice,
            connect(other(daemon), id="bob") as bob,
        ):
            for one, two in ((alice, bob), (bob, alice)):
                candidate = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMid": "0", "later": [1, None]}
                await one.offer(two.id, "v=0", session="s1")
                await one.answer(two.id, "v=1")
                await one.candidate(two.id, candidate)
                await one.end_of_candidates(two.id, session="s1")
                await one.send(two.id, {"any": ["thing", None, 1.5]})
                await one.bye(two.id, "enough", session="s1")
                assert await take(two, 6) == [
                    OfferFrom(sender=one.id, sdp="v=0", session="s1"),
                    AnswerFrom(sender=one.id, sdp="v=1"),
                    CandidateFrom(sender=one.id, candidate=candidate),
                    CandidateFrom(sender=one.id, candidate=None, session="s1"),
                    MessageFrom(sender=one.id, data={"any": ["thing", None, 1.5]}),
                    ByeFrom(sender=one.id, reason="enough", session="s1"),
                ]
            assert await alice.peers() == await bob.peers() == {"alice": {"kind": "test"}, "bob": {}}
            assert await alice.request_ice_servers() == alice.ice_servers == []
            assert await alice.ping() < 5
            assert alice.registered.max_frame == 16_000

    run_in_real_time(backend, main)


def test_long_messages_and_one_too_long(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon), id="alice") as alice, connect(udp(daemon), id="bob") as bob:
            for size in (1, 1_100, 5_600, 15_900):
                await alice.send("bob", "x" * size)
                assert await anext(bob) == MessageFrom(sender="alice", data="x" * size)
            with pytest.raises(SignalingError, match="too-large"):
                await alice.send("bob", "x" * 16_000)

    run_in_real_time(backend, main)


def test_what_a_peer_does_not_take_is_too_large_for_its_sender(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon), id="alice") as alice, connect(udp(daemon), id="bob", max_frame=2_000):
            with pytest.raises(SignalingError, match="too-large"):
                await alice.send("bob", "x" * 3_000)
            await alice.send("bob", "x" * 1_000)

    run_in_real_time(backend, main)


def test_the_server_picks_an_id_and_frees_it_at_the_end(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(tcp(daemon), id="watcher") as watcher:
            async with connect(udp(daemon)) as peer:
                assert peer.id in await watcher.peers()
                assert f":{udp(daemon).rpartition(':')[2]}" not in peer.id
            assert peer.id not in await watcher.peers()
            assert not peer.connected
            with pytest.raises(StopAsyncIteration):
                await anext(peer)

    run_in_real_time(backend, main)


def test_many_requests_at_once(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon), id="alice") as alice, connect(udp(daemon), id="bob") as bob:
            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(alice.send, "bob", number)
            messages = await take(bob, 100)
            assert sorted(message.data for message in messages if isinstance(message, MessageFrom)) == [*range(100)]

    run_in_real_time(backend, main)


def test_who_is_not_there(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon), id="alice") as alice:
            with pytest.raises(SignalingError, match="peer-unavailable"):
                await alice.offer("nobody", "v=0")

    run_in_real_time(backend, main)


def test_an_id_that_somebody_holds(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon), id="alice"):
            with pytest.raises(SignalingError, match="id-taken"):
                async with connect(udp(daemon), id="alice"):
                    pass

    run_in_real_time(backend, main)


def test_localhost_whichever_family_answers(backend: str, daemon: Daemon):
    async def main() -> None:
        async with connect(udp(daemon).replace("127.0.0.1", "localhost"), id="alice") as alice:
            await alice.ping()

    run_in_real_time(backend, main)


def test_nobody_there(backend: str):
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as silent:
            port = silent.extra(anyio.abc.SocketAttribute.local_port)
            with pytest.raises(TimeoutError, match="did not register"):
                async with connect(f"udp://127.0.0.1:{port}"):
                    pass

    run(backend, main)


def test_a_port_that_nobody_has(backend: str):
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as gone:
            port = gone.extra(anyio.abc.SocketAttribute.local_port)
        with pytest.raises(TimeoutError, match="did not register"):
            async with connect(f"udp://127.0.0.1:{port}"):
                pass

    run(backend, main)


def test_credentials_that_no_datagram_holds(backend: str, daemon: Daemon):
    async def main() -> None:
        with pytest.raises(SignalingError, match="too-large: a register of 2"):
            async with connect(udp(daemon), credentials={"jwt": "x" * 2_000}):
                pass

    run_in_real_time(backend, main)


# -- credentials


def test_with_a_token_that_never_crosses_the_wire(backend: str, guarded: Daemon):
    async def main() -> None:
        async with (
            connect(udp(guarded), id="alice", credentials=fresh("alice:bob")) as alice,
            connect(tcp(guarded), id="bob", credentials=fresh("bob")) as bob,
        ):
            await alice.offer("bob", "x" * 5_000)
            assert await anext(bob) == OfferFrom(sender="alice", sdp="x" * 5_000)
            with pytest.raises(SignalingError, match="forbidden"):
                await alice.offer("carol", "v=0")

    run_in_real_time(backend, main)


def test_with_a_token_as_it_is(backend: str, guarded: Daemon):
    async def main() -> None:
        async with connect(udp(guarded), id="plain1", credentials={"token": PLAIN.decode()}) as peer:
            await peer.ping()
        with pytest.raises(SignalingError, match="auth-failed"):
            async with connect(udp(guarded), id="plain1", credentials={"token": "wrong"}):
                pass

    run_in_real_time(backend, main)


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        (fresh("bob"), "auth-failed"),
        (token("1000000000:alice"), "auth-expired"),
        ({"user": f"{int(time.time()) + 600}:alice", "token": base64.b64encode(b"wrong").decode()}, "auth-failed"),
    ],
    ids=["another's", "expired", "wrong"],
)
def test_who_cannot_be_who_it_wants_to_be_is_told(
    backend: str, guarded: Daemon, credentials: dict[str, str], code: str
):
    async def main() -> None:
        with pytest.raises(SignalingError, match=code):
            async with connect(udp(guarded), id="alice", credentials=credentials, connect_timeout=LIMIT):
                pass

    run_in_real_time(backend, main)


@pytest.mark.parametrize("second", [udp, tcp])
def test_the_same_credential_takes_over(backend: str, guarded: Daemon, second: Any):
    async def main() -> None:
        options: dict[str, Any] = {"id": "dora", "credentials": fresh("dora")}
        async with connect(udp(guarded), **options) as old, connect(second(guarded), **options) as new:
            with pytest.raises(SignalingError, match="replaced"):
                await anext(old)
            with pytest.raises(Disconnected, match="replaced"):
                await old.ping()
            await new.send("dora", 1)
            assert await anext(new) == MessageFrom(sender="dora", data=1)

    run_in_real_time(backend, main)


# -- a daemon that goes and comes back


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_it_comes_back_after_the_daemon_did(backend: str, how: str):
    async def main() -> None:
        with running_daemon("--listen", "udp://127.0.0.1:0") as first:
            url = first.url
            async with connect(url, id="alice", jitter=Brief()) as alice:
                if how == "killed":
                    first.process.kill()
                    first.process.wait()
                else:
                    await anyio.to_thread.run_sync(first.stop)
                with running_daemon("--listen", url):
                    await _until_back(alice)
                    await alice.send("alice", "back")
                    assert await anext(alice) == MessageFrom(sender="alice", data="back")

    run_in_real_time(backend, main)


async def _until_back(peer: Peer) -> None:
    while True:
        try:
            await peer.ping(within=1)
        except (SignalingError, TimeoutError):
            continue
        return
