"""The TLS context for each URL, and errors of connections that a newcomer can act on."""

import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from sigd.client import connect
from sigd.client.address import Tcp, Unix
from sigd.client.trust import context_for
from tests.client import certificates
from tests.client.backends import BOTH_BACKENDS, run
from tests.client.scripted import ServerLink, scripted_server


async def greets(link: ServerLink) -> None:
    await link.registers()
    await link.says({"type": "bye", "from": "server"})
    await link.gone()


def test_a_context_for_each_url():
    mine = ssl.create_default_context()
    assert context_for(Tcp("h", 1), None) is None
    assert context_for(Unix("/s"), None) is None
    assert context_for(Tcp("h", 1, tls=True), mine) is mine
    default = context_for(Tcp("h", 1, tls=True), None)
    assert default is not None
    assert default.check_hostname
    assert default.verify_mode is ssl.CERT_REQUIRED
    assert default.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert not default.options & ssl.OP_IGNORE_UNEXPECTED_EOF


@BOTH_BACKENDS
def test_no_server_is_one_error_with_the_address(backend: str, tmp_path: Path):
    async def main() -> None:
        with closing(socket.socket()) as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(ConnectionRefusedError) as told:
                async with connect(url):
                    pass
        assert (
            told.value.strerror == f"no connection to {url}: connection refused: start sigd there, or correct the URL"
        )
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__
        with pytest.raises(FileNotFoundError, match=f"unix:{tmp_path}/none: no such file or directory: start sigd"):
            async with connect(f"unix:{tmp_path}/none"):
                pass

    run(backend, main)


@BOTH_BACKENDS
@pytest.mark.parametrize("scheme", ["tcp", "tls", "udp"])
def test_a_name_without_an_address_is_told(backend: str, scheme: str):
    async def main() -> None:
        reason = rf"no address known for {scheme}://no-such-host.invalid:7337 .*: correct the host name"
        with pytest.raises(socket.gaierror, match=reason):
            async with connect(f"{scheme}://no-such-host.invalid"):
                pass

    run(backend, main)


@BOTH_BACKENDS
def test_an_untrusted_server_is_named_in_a_note(backend: str):
    async def main() -> None:
        async with scripted_server(greets, tls=certificates.server()) as server:
            with pytest.raises(ssl.SSLCertVerificationError) as told:
                async with connect(server.url):
                    pass
        assert told.value.__notes__ == [f"while connecting to {server.url}"]

    run(backend, main)
