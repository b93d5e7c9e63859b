"""A whole fleet comes back to a real daemon, by TLS and from one address; `relay/test_strangers.py` has the rule."""

import random
import ssl
from pathlib import Path

import pytest
import trio

from sigd.client.backoff import Backoff
from tests import certificates
from tests.daemon import running_daemon
from tests.in_process import PrefixedClient

SECONDS = 30.0
"""Time within which all have registered: some 5 s where server and clients have a core each."""

LOST = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


class Fleet:
    """Devices that need 2 s from connecting to `register`, half of it silent, and pause as protocol.md says.

    Attributes:
        here: the streams of those that have registered.
    """

    def __init__(self, port: int) -> None:
        self.here: list[trio.SSLStream[trio.SocketStream]] = []
        self._port = port
        self._context = certificates.client_context()

    async def comes_back(self, devices: int) -> None:
        """Return when all have registered."""
        async with trio.open_nursery() as nursery:
            for number in range(devices):
                nursery.start_soon(self._device, f"device-{number}")

    async def _device(self, name: str) -> None:
        backoff = Backoff(random.Random(name))
        at = trio.current_time()
        while not await self._registers(name, at):
            at = backoff.next(trio.current_time())

    async def _registers(self, name: str, at: float) -> bool:
        await trio.sleep_until(at)
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError:
            return False
        tls = trio.SSLStream(stream, self._context, server_hostname="localhost", https_compatible=True)
        registered = False
        try:
            await trio.sleep(1)
            with trio.fail_after(10):
                await tls.do_handshake()
            await trio.sleep(1)
            await tls.send_all(PrefixedClient.framed(b'{"type":"register","id":"%b"}' % name.encode()))
            with trio.fail_after(10):
                registered = b'"type":"registered"' in await tls.receive_some(4_096)
        except (*LOST, ssl.SSLError):
            pass
        finally:
            if registered:
                self.here.append(tls)
            else:
                stream.socket.close()
        return registered


@pytest.mark.slow
@pytest.mark.alone
def test_250_tls_clients_behind_one_address(tmp_path: Path) -> None:
    chain, key = certificates.files("localhost", "127.0.0.1")
    config = tmp_path / "sigd.toml"
    config.write_text(f'[[listen]]\nurl = "tls://127.0.0.1:0"\ncertificate = "{chain}"\nkey = "{key}"\n')
    with running_daemon("--config", str(config)) as daemon:
        fleet = Fleet(int(daemon.urls[0].rpartition(":")[2]))

        async def all_come() -> None:
            with trio.move_on_after(SECONDS):
                await fleet.comes_back(250)
            for tls in fleet.here:
                tls.transport_stream.socket.close()

        trio.run(all_come)
        assert len(fleet.here) == 250
