"""Credentials, their renewal and ICE servers, through a server that does as it is told: under trio and asyncio."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sigd.client import ByeFrom, Disconnected, NoCredentials, SignalingError, connect
from tests.client.backends import BOTH_BACKENDS, Brief, run, take
from tests.client.scripted import ServerLink, scripted_server

pytestmark = BOTH_BACKENDS

STUN = {"urls": "stun:stun.example.org"}
TURN = {"urls": ["turn:turn.example.org"], "username": "1900000000:alice", "credential": "Zm9v"}


class Tokens:
    """Makes one token after another, and fails where it is to.

    Attributes:
        made: how many were asked for.
    """

    def __init__(self, *, fails: range = range(0)) -> None:
        self.made = 0
        self.fails = fails

    def __call__(self) -> dict[str, str]:
        self.made += 1
        if self.made in self.fails:
            raise ConnectionError(f"secret-{self.made}")
        return {"user": "9:alice", "token": f"secret-{self.made}"}


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("sigd")]


async def greets(link: ServerLink) -> None:
    await link.registers()
    await link.says({"type": "bye", "from": "server"})
    await link.gone()


async def cuts(link: ServerLink) -> None:
    await link.registers()


def shown(link: ServerLink) -> dict[str, Any]:
    return {name: link.register[name] for name in ("user", "token", "jwt") if name in link.register}


@pytest.mark.parametrize("given", [{"token": "t"}, {"user": "9:alice", "token": "t"}, {"jwt": "a.b.c"}, None])
def test_they_are_shown_with_each_register(backend: str, given: dict[str, str] | None):
    async def main() -> None:
        async with (
            scripted_server(cuts, greets) as server,
            connect(server.url, credentials=given, jitter=Brief()) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert [shown(link) for link in server.links] == [given or {}] * 2

    run(backend, main)


@pytest.mark.parametrize("late", [True, False])
def test_a_function_makes_new_ones_for_each_register(backend: str, late: bool):
    tokens = Tokens()

    async def make() -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return tokens()

    async def main() -> None:
        async with (
            scripted_server(cuts, cuts, greets) as server,
            connect(server.url, credentials=make if late else tokens, jitter=Brief()) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert [shown(link)["token"] for link in server.links] == ["secret-1", "secret-2", "secret-3"]

    run(backend, main)


def test_wrong_ones_are_refused_before_anybody_sees_them(backend: str):
    async def main() -> None:
        async with scripted_server() as server:
            with pytest.raises(ValueError, match="credentials are") as caught:
                async with connect(server.url, credentials={"password": "secret"}):
                    pass
            assert "secret" not in str(caught.value)
            assert server.extra == 0

    run(backend, main)


def test_a_function_that_fails_is_told_at_first_and_asked_again_later(backend: str, caplog: pytest.LogCaptureFixture):
    tokens = Tokens(fails=range(3, 6))

    async def main() -> None:
        async with scripted_server(cuts, cuts, cuts, cuts, cuts, cuts, greets) as server:
            with pytest.raises(NoCredentials, match="no credentials: ConnectionError") as caught:
                async with connect(server.url, credentials=Tokens(fails=range(1, 2))):
                    pass
            assert isinstance(caught.value.__cause__, ConnectionError)
            async with connect(server.url, credentials=tokens, jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]
            found = [shown(link).get("token") for link in server.links]
            assert found == [None, "secret-1", "secret-2", None, None, None, "secret-6"]

    run(backend, main)
    assert logged(caplog) == ["no credentials: ConnectionError; it is tried again"]


def test_a_function_that_never_returns_is_not_waited_for(backend: str):
    async def make() -> dict[str, str]:
        await anyio.sleep_forever()
        return {}

    async def main() -> None:
        async with scripted_server(cuts) as server:
            with pytest.raises(TimeoutError):
                async with connect(server.url, credentials=make):
                    pass
            assert server.ids == [None]

    run(backend, main)


def test_nobody_is_asked_for_any_while_there_is_no_server_to_show_them_to(backend: str, tmp_path: Path):
    tokens = Tokens()

    async def main() -> None:
        with pytest.raises(OSError, match="no such file"):
            async with connect(f"unix:{tmp_path}/none", credentials=tokens):
                pass

    run(backend, main)
    assert tokens.made == 0


# -- renewal


def serves(seconds: int, renewals: int, then: Callable[[ServerLink], Awaitable[None]], **terms: int) -> Any:
    """A link on which credentials last for so many seconds, and are renewed so many times."""

    async def script(link: ServerLink) -> None:
        await link.registers(expiresMs=seconds * 1000, **terms)
        while renewals > len(renewed):
            message = await link.hears()
            match message:
                case {"type": "ping"}:
                    await link.says({"type": "pong"})
                case {"type": "register", "token": str(token), "ref": ref}:
                    at = anyio.current_time()
                    renewed.append((at, token))
                    await link.says(
                        {"type": "registered", "ref": ref, "id": message["id"], "server": "scripted/1", "protocol": 1}
                        | {"features": [], "maxFrame": 65_536, "keepaliveMs": 30_000, "expiresMs": seconds * 1000}
                    )
                case {"ref": ref}:
                    await link.says({"type": "ok", "ref": ref})
                case _:
                    raise AssertionError(message)
        await then(link)

    renewed: list[tuple[float, str]] = []
    return script, renewed


async def goes_on(link: ServerLink) -> None:
    await link.says({"type": "bye", "from": "server"})
    await link.gone()


def test_they_are_renewed_on_the_link_in_good_time(backend: str):
    async def main() -> None:
        script, renewed = serves(600, 3, goes_on)
        async with scripted_server(script) as server, connect(server.url, id="alice", credentials=Tokens()) as peer:
            start = anyio.current_time()
            await peer.offer("bob", "v=0")
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert [token for _, token in renewed] == ["secret-2", "secret-3", "secret-4"]
            assert [round((at - start) / 540, 2) for at, _ in renewed] == [1, 2, 3]
            assert peer.connected
            assert len(server.links) == 1

    run(backend, main)


def test_who_makes_them_may_be_away_for_a_while(backend: str, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        script, renewed = serves(600, 1, goes_on, keepaliveMs=300_000)
        tokens = Tokens(fails=range(2, 4))
        start = anyio.current_time()
        async with scripted_server(script) as server, connect(server.url, credentials=tokens) as peer:
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            ((at, token),) = renewed
            assert token == "secret-4"
            assert 540 + 30 + 15 <= at - start < 540 + 30 + 15 + 1

    run(backend, main)
    assert logged(caplog) == ["no credentials: ConnectionError; the old ones are still good"] * 2


async def expires(link: ServerLink) -> None:
    await link.registers(expiresMs=30_000)
    while (await link.hears())["type"] != "ping":
        pass
    await link.says({"type": "error", "code": "auth-expired", "message": "the credential has expired"})


def test_expired_ones_bring_it_back_with_new_ones(backend: str):
    async def main() -> None:
        async with (
            scripted_server(expires, greets) as server,
            connect(server.url, credentials=Tokens(), jitter=Brief()) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert peer.connected
            assert shown(server.links[1])["token"] > shown(server.links[0])["token"]

    run(backend, main)


def test_expired_ones_that_cannot_be_renewed_are_the_end(backend: str):
    async def main() -> None:
        async with scripted_server(expires) as server:
            async with connect(server.url, credentials={"jwt": "a.b.c"}, jitter=Brief()) as peer:
                with pytest.raises(SignalingError, match="auth-expired"):
                    await anext(peer)
                with pytest.raises(Disconnected, match="auth-expired") as caught:
                    await peer.ping()
                assert not caught.value.sent
            assert server.extra == 0

    run(backend, main)


@pytest.mark.parametrize("members", [{"reconnect": False}, {}])
def test_who_is_refused_later_stays_away(backend: str, members: dict[str, Any]):
    async def refuses(link: ServerLink) -> None:
        await link.refuses("auth-failed", **members)
        await link.gone()

    async def main() -> None:
        async with scripted_server(cuts, refuses) as server:
            async with connect(server.url, credentials=Tokens(), jitter=Brief()) as peer:
                with pytest.raises(SignalingError, match="auth-failed"):
                    await anext(peer)
            assert server.extra == 0

    run(backend, main)


def test_who_is_locked_out_for_a_while_waits_as_long(backend: str):
    async def locks(link: ServerLink) -> None:
        await link.refuses("auth-failed", retryAfterMs=30_000)
        await link.gone()

    async def main() -> None:
        async with scripted_server(cuts, locks, greets) as server:
            start = anyio.current_time()
            async with connect(server.url, credentials=Tokens(), jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert 30 <= anyio.current_time() - start < 31

    run(backend, main)


# -- ICE servers


def test_ice_servers_are_there_from_the_start_and_replaced_when_new_ones_come(backend: str):
    fresh = TURN | {"credential": "YmFy"}

    async def pushes(link: ServerLink) -> None:
        await link.registers(iceServers=[STUN, TURN])
        asked = await link.hears()
        await link.says(
            {"type": "iceServers", "iceServers": [fresh], "expiresMs": 600_000}, {"type": "pong", "ref": asked["ref"]}
        )
        asked = await link.hears()
        await link.says({"type": "iceServers", "ref": asked["ref"], "iceServers": [STUN]})
        await link.says({"type": "bye", "from": "server"})
        await link.gone()

    async def main() -> None:
        async with scripted_server(pushes) as server, connect(server.url) as peer:
            assert peer.ice_servers == [STUN, TURN]
            peer.ice_servers.clear()
            await peer.ping()
            assert peer.ice_servers == [fresh]
            assert await peer.request_ice_servers() == peer.ice_servers == [STUN]
            assert await take(peer, 1) == [ByeFrom(sender="server")]  # those that were pushed are no message

    run(backend, main)


# -- nobody sees them


@pytest.fixture
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.usefixtures("everything_is_logged")
def test_nothing_that_can_be_seen_shows_them(backend: str, caplog: pytest.LogCaptureFixture):
    seen: list[str] = []

    async def refuses(link: ServerLink) -> None:
        await link.refuses("auth-failed", reconnect=False)
        await link.gone()

    async def main() -> None:
        async with scripted_server(cuts, refuses, refuses) as server:
            for credentials in (Tokens(), {"token": "secret-0"}):
                try:
                    async with connect(server.url, credentials=credentials, jitter=Brief()) as peer:
                        seen.append(f"{peer!r} {peer.registered!r} {vars(peer)!r}")
                        await anext(peer)
                except SignalingError as fault:
                    seen.append("".join(traceback.format_exception(fault)) + repr(fault) + repr(vars(fault)))

    run(backend, main)
    assert len(seen) == 3
    assert "secret-" not in "".join(seen) + caplog.text
