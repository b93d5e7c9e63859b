"""TLS, and what becomes of connections that fail: on real sockets, under trio and asyncio."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from anyio.streams.tls import TLSStream

from sigd.client import ByeFrom, Disconnected, MessageFrom, NoCredentials, SignalingError, connect
from sigd.client.dial import HANG_UP_SECONDS, why
from tests.client import certificates
from tests.client.backends import BOTH_BACKENDS, Brief, run, take, until_lost
from tests.client.scripted import ServerLink, scripted_server

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH_VERSIONS = pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])


async def greets(link: ServerLink) -> None:
    await link.registers()
    await link.says({"type": "bye", "from": "server"})
    await link.gone()


async def cuts(link: ServerLink) -> None:
    """Close without a goodbye."""
    await link.registers()
    await below(link).aclose()


async def ends(link: ServerLink) -> None:
    await link.registers()


def below(link: ServerLink) -> anyio.abc.ByteStream:
    """The socket under TLS."""
    assert isinstance(link.stream, TLSStream)
    assert isinstance(link.stream.transport_stream, anyio.abc.ByteStream)
    return link.stream.transport_stream


# -- whom to trust


@BOTH_BACKENDS
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:1", "unix:/none"])
def test_who_asks_for_tls_gets_no_connection_in_the_clear(backend: str, url: str):
    async def main() -> None:
        with pytest.raises(ValueError, match="tls://"):
            async with connect(url, ssl_context=certificates.client()):
                pass

    run(backend, main)


@BOTH_BACKENDS
@BOTH_VERSIONS
def test_a_peer_over_tls(backend: str, version: ssl.TLSVersion):
    async def main() -> None:
        context = certificates.client()
        context.maximum_version = version
        async with (
            scripted_server(greets, tls=certificates.server()) as server,
            connect(server.url, id="cam1", ssl_context=context) as peer,
        ):
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert server.ids == ["cam1"]
            assert isinstance(server.links[0].stream, TLSStream)

    run(backend, main)


UNTRUSTED = [
    (certificates.client(trusts="strangers"), certificates.server, "unable to get local issuer|self-signed"),
    (None, certificates.server, "unable to get local issuer|self-signed"),
    (certificates.client(), lambda: certificates.server("example.org"), "IP address mismatch"),
]


@BOTH_BACKENDS
@pytest.mark.parametrize(("context", "make", "reason"), UNTRUSTED)
def test_a_server_that_is_not_who_it_should_be(
    backend: str, context: ssl.SSLContext | None, make: Callable[[], ssl.SSLContext], reason: str
):
    async def main() -> None:
        async with scripted_server(greets, tls=make()) as server:
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                async with connect(server.url, ssl_context=context, credentials={"token": "t"}):
                    pass
            assert server.links == []

    run(backend, main)


@BOTH_BACKENDS
def test_a_server_that_is_another_one_later_is_reported_and_tried_again(backend: str, caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        async with scripted_server(ends, greets, tls=certificates.server()) as server:
            good = server.tls
            async with connect(server.url, ssl_context=certificates.client(), jitter=Brief()) as peer:
                server.tls = certificates.server(of="strangers")
                while not server.refused:
                    fault = await until_lost(peer)
                while "certificate" not in str(fault):
                    fault = await until_lost(peer)
                assert "the server's certificate is not trusted: " in fault.text
                server.tls = good
                assert await take(peer, 1) == [ByeFrom(sender="server")]

    run(backend, main)
    (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("sigd")]
    assert told.startswith("the server's certificate is not trusted: ")


@BOTH_BACKENDS
def test_an_untrusted_server_is_not_tried_in_a_tight_loop(backend: str):
    async def main() -> None:
        async with scripted_server(ends, tls=certificates.server()) as server:
            async with connect(server.url, ssl_context=certificates.client()) as peer:
                server.tls = certificates.server(of="strangers")
                with anyio.move_on_after(100):
                    await anext(peer)
            # 0.1 s doubled up to 10 s, half of that on average: about 8 tries, then one each 5 s
            assert 10 <= server.refused <= 60

    run(backend, main)


@BOTH_BACKENDS
@BOTH_VERSIONS
def test_a_client_certificate(backend: str, version: ssl.TLSVersion):
    async def main() -> None:
        tls = certificates.server(clients="clients")
        tls.maximum_version = version
        async with scripted_server(greets, greets, tls=tls) as server:
            with pytest.raises((Disconnected, OSError), match=r"(?i)alert|closed|lost"):
                async with connect(server.url, ssl_context=certificates.client()):
                    pass
            async with connect(server.url, ssl_context=certificates.client("cam1.example.org")) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]

    run(backend, main)


# -- what is no TLS


async def says_nothing(link: ServerLink) -> None:
    await link.stream.receive()


async def says_something_else(link: ServerLink) -> None:
    await link.stream.receive()
    await link.stream.send(b'{"type":"error","code":"server-full","message":"full"}\n')
    await link.gone_raw()


async def alerts(link: ServerLink) -> None:
    await link.stream.receive()
    await link.stream.send(b"\x15\x03\x03\x00\x02\x02\x28")
    await link.gone_raw()


@BOTH_BACKENDS
@pytest.mark.parametrize("script", [says_nothing, says_something_else, alerts])
def test_a_server_that_does_not_speak_tls(backend: str, script: Callable[[ServerLink], Awaitable[None]]):
    async def main() -> None:
        async with scripted_server(script) as server:
            with pytest.raises(OSError, match=r"(?i)handshake|ssl"):
                async with connect(server.url.replace("tcp:", "tls:"), ssl_context=certificates.client()):
                    pass

    run(backend, main)


@BOTH_BACKENDS
def test_a_server_that_speaks_only_tls(backend: str):
    async def main() -> None:
        async with scripted_server(greets, tls=certificates.server()) as server:
            with pytest.raises((Disconnected, OSError)):
                async with connect(server.url.replace("tls:", "tcp:")):
                    pass

    run(backend, main)


@BOTH_BACKENDS
def test_a_handshake_that_never_ends(backend: str):
    async def main() -> None:
        async with scripted_server(ServerLink.gone_raw) as server:
            with pytest.raises(TimeoutError, match="within 10 s"):
                async with connect(server.url.replace("tcp:", "tls:"), ssl_context=certificates.client()):
                    pass

    run(backend, main)


# -- how it ends


@BOTH_BACKENDS
@pytest.mark.parametrize(
    ("script", "reason"), [(ends, "the server closed the connection"), (cuts, "the connection was lost")]
)
@BOTH_VERSIONS
def test_a_cut_is_told_from_an_end_and_it_comes_back_after_both(
    backend: str, script: Callable[[ServerLink], Awaitable[None]], reason: str, version: ssl.TLSVersion
):
    async def main() -> None:
        context = certificates.client()
        context.maximum_version = version
        async with scripted_server(script, greets, script, tls=certificates.server()) as server:
            async with connect(server.url, ssl_context=context, jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]
            with pytest.raises(Disconnected, match=reason):
                async with connect(server.url, ssl_context=context, reconnect=False) as peer:
                    await anext(peer)

    run(backend, main)


@BOTH_BACKENDS
def test_garbage_in_the_midst_is_a_lost_connection(backend: str):
    async def spoils(link: ServerLink) -> None:
        await link.registers()
        await below(link).send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await link.gone_raw()

    async def main() -> None:
        async with scripted_server(spoils, spoils, greets, tls=certificates.server()) as server:
            with pytest.raises(Disconnected, match="TLS failed: "):
                async with connect(server.url, ssl_context=certificates.client(), reconnect=False) as peer:
                    await anext(peer)
            async with connect(server.url, ssl_context=certificates.client(), jitter=Brief()) as peer:
                assert await take(peer, 1) == [ByeFrom(sender="server")]

    run(backend, main)


@BOTH_BACKENDS
@pytest.mark.parametrize("cancelled", [True, False])
@BOTH_VERSIONS
def test_who_leaves_says_goodbye(backend: str, cancelled: bool, version: ssl.TLSVersion):
    said: list[bytes | str] = []

    async def listens(link: ServerLink) -> None:
        await link.registers()
        try:
            while True:
                message = await link.hears()
                await link.says({"type": "ok", "ref": message["ref"]})
        except anyio.EndOfStream:
            said.append("goodbye")

    async def main() -> None:
        context = certificates.client()
        context.maximum_version = version
        async with scripted_server(listens, tls=certificates.server()) as server:
            with anyio.move_on_after(5):
                async with connect(server.url, ssl_context=context) as peer:
                    if cancelled:
                        await anext(peer)
            while not said:
                await anyio.lowlevel.checkpoint()

    run(backend, main)
    assert said == ["goodbye"]


@BOTH_BACKENDS
def test_nobody_is_waited_for_that_says_no_goodbye(backend: str):
    async def main() -> None:
        gone = anyio.Event()

        async def is_stuck(link: ServerLink) -> None:
            await link.registers()
            await gone.wait()

        async with scripted_server(is_stuck, tls=certificates.server()) as server:
            async with connect(server.url, ssl_context=certificates.client()):
                start = anyio.current_time()
            # a second for the answer to `unregister`, and then for the goodbye
            assert anyio.current_time() - start <= 1 + HANG_UP_SECONDS + 0.1
            gone.set()

    run(backend, main)


@BOTH_BACKENDS
def test_a_server_that_falls_silent_is_left_and_another_found(backend: str):
    async def main() -> None:
        gone = anyio.Event()

        async def is_stuck(link: ServerLink) -> None:
            await link.registers()
            await gone.wait()

        async with (
            scripted_server(is_stuck, greets, tls=certificates.server()) as server,
            connect(server.url, ssl_context=certificates.client(), jitter=Brief()) as peer,
        ):
            start = anyio.current_time()
            assert await take(peer, 1) == [ByeFrom(sender="server")]
            assert 75 <= anyio.current_time() - start <= 75 + HANG_UP_SECONDS + 0.2
            gone.set()

    run(backend, main)


# -- load


@BOTH_BACKENDS
def test_both_directions_at_once(backend: str):
    async def echoes(link: ServerLink) -> None:
        await link.registers()
        while True:
            message = await link.hears()
            if message["type"] == "message":
                await link.says({"type": "message", "from": "echo", "data": message["data"]})
            await link.says({"type": "ok", "ref": message["ref"]})

    async def main() -> None:
        got: set[Any] = set()
        async with (
            scripted_server(echoes, tls=certificates.server()) as server,
            connect(server.url, ssl_context=certificates.client()) as peer,
            anyio.create_task_group() as group,
        ):
            for number in range(100):
                group.start_soon(peer.send, "echo", [number, "x" * 20_000])
            for message in await take(peer, 100):
                assert isinstance(message, MessageFrom)
                got.add(message.data[0])
        assert got == set(range(100))

    run(backend, main)


# -- why


def test_a_few_words_for_every_fault():
    plain = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    assert why(plain) == "TLS failed: no reason given"
    plain.reason = "WRONG_VERSION_NUMBER"
    assert why(plain) == "TLS failed: wrong version number"
    assert why(OSError("nothing there")) == "nothing there"
    assert why(SignalingError("server-full", "full")) == "server-full: full"
    assert why(NoCredentials(KeyError("token"))) == "no credentials: KeyError"
