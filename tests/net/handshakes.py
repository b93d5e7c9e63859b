"""The client's side of TLS, in bytes: handshakes that can be cut anywhere, and ends that are told from one another."""

import contextlib
import functools
import ssl

import pytest
import trio

from tests import certificates
from tests.in_process import Client, Daemon, LinesClient, TLSClient

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])

BEGUN = bytes.fromhex("16 0301 4000")
"""The head of a record that never comes."""


@functools.cache
def trusting(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client without a certificate, which speaks this version alone."""
    context = certificates.client_context()
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Careful(TLSClient):
    """Notices whether what it heard ended as it should.

    Attributes:
        cut_off: the connection has ended without the daemon having said so: it could be an attacker's work.
    """

    cut_off = False

    def __init__(self, sock: trio.socket.SocketType) -> None:
        Client.__init__(self, sock)
        self.context = trusting()  # made once: to read all the authorities of this machine takes long
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def _read(self) -> bytes:
        while True:
            try:
                return self.tls.read(65_536)
            except ssl.SSLWantReadError:
                data = await self.sock.recv(65_536)
                if not data:
                    self.cut_off = True
                    return b""
                self._coming.write(data)
            except ssl.SSLZeroReturnError:
                return b""


class CarefulLines(Careful, LinesClient):
    """The same in lines."""

    framing = "lines"
    framed = LinesClient.framed
    _first = LinesClient._first


async def careful(
    daemon: Daemon,
    *,
    url: str | None = None,
    context: ssl.SSLContext | None = None,
    kind: type[Careful] = Careful,
    receive_buffer: int | None = None,
) -> Careful:
    """A client that has shaken hands."""
    raw = await daemon.connect("lines", url=url or daemon.tls_url, receive_buffer=receive_buffer)
    client = kind(raw.sock)
    client.context = context or trusting()
    await client.opens()
    return client


class Handshake:
    """The client's side of a handshake, in bytes that can be cut anywhere.

    Attributes:
        done: it came to its end.
    """

    def __init__(self, version: ssl.TLSVersion | None = None, context: ssl.SSLContext | None = None) -> None:
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or trusting(version)).wrap_bio(self._coming, self._going, server_hostname="localhost")
        self.done = False

    def says(self, heard: bytes = b"") -> bytes:
        """What comes next, after what was heard."""
        self._coming.write(heard)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            self.done = True
        return self._going.read()

    async def with_(self, client: Client, most: int | None = None) -> int:
        """Shake hands, sending `most` bytes at most; how many it were."""
        sent, data = 0, self.says()
        while True:
            data = data if most is None else data[: most - sent]
            await client.sends(data)
            sent += len(data)
            if self.done or sent == most:
                return sent
            data = self.says(await client.sock.recv(65_536))


def sends_at_once(client: Client, data: bytes) -> None:
    """Send a little, without giving the daemon a turn before or after."""
    assert client.sock._sock.send(data) == len(data)  # type: ignore[attr-defined]  # trio's socket gives everybody one


async def is_closed(client: Client) -> bytes:
    """Wait for the end of a connection, with a reset or without; what came before it."""
    heard = b""
    with trio.fail_after(1_000), contextlib.suppress(ConnectionResetError):
        while data := await client.sock.recv(65_536):
            heard += data
    return heard


def is_tls(data: bytes) -> bool:
    """Whether these bytes are whole TLS records, and nothing else."""
    while data and data[0] in {20, 21, 22, 23} and data[1] == 3:
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return not data


async def they_talk(alice: Client, bob: Client) -> None:
    """Two peers hear each other, and nothing else."""
    await alice.says({"type": "message", "to": "bob", "data": 1})
    assert await bob.hears() == {"type": "message", "from": "alice", "data": 1}
    await bob.says({"type": "bye", "to": "alice"})
    assert await alice.hears() == {"type": "bye", "from": "bob"}
