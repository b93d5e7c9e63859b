"""What the hostile do in a soak: acts of a few seconds at most, each made up by a random that a seed determines.

An act may meet a closed connection anywhere: that is the daemon's right. It fails only where the daemon has given what
it must not give.
"""

import contextlib
import itertools
import random
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from tests import certificates
from tests.calls.public import SECRET, token, write_private
from tests.crowd import ADDRESSES, Crowd, Crypt, address, reset
from tests.fuzz_target import PIECES
from tests.in_process import LinesClient, PrefixedClient, as_json

if TYPE_CHECKING:
    import subprocess

GATEWAY: Final = "a-token-that-may-be-anybody"
"""Of a gateway that went over to the enemy: it may register any ID that nobody holds, and list peers."""

TRUSTED: Final = "127.2.0.0/16"
"""Where proxies are."""

STAYS_SECONDS: Final = 1.0
"""How long most acts go on, and how long one waits for anything: there are many of them in one storm."""

MOST_LEFT: Final = 400
"""Connections that are left open at a time: not many more than may be without an ID are a load of their own."""

HANDSHAKE_READS: Final = 10
"""The server's part of a handshake comes in one or two."""

CONFIG: Final = """
[[listen]]
url = "tcp://127.0.0.1:0"
certificate = "{folder}/chain.pem"
key = "{folder}/key.pem"
[[listen]]
url = "tls://127.0.0.1:0"
certificate = "{folder}/chain.pem"
key = "{folder}/key.pem"
[[listen]]
url = "unix:{folder}/sigd.sock"
[[auth.hmac]]
secret_file = "{folder}/secret"
[[auth.token]]
secret_file = "{folder}/gateway"
register = ["*"]
discover = true
"""

LIMITS: Final = '[limits]\ntrusted = ["' + TRUSTED + '"]\n'

CHANGES: Final = (
    "messages_per_second = 200\n",
    "messages_per_second = 1000\nbytes_per_second = 1000000\n",
    "max_unregistered = 64\n",
    "tls_handshakes = 1\ntls_handshake_timeout_ms = 500\n",
    "stall_timeout_ms = 3000\nlinger_ms = 100\nframe_timeout_ms = 300\n",
    "register_timeout_ms = 200\nregister_timeout_lines_ms = 400\n",
    "outbox_bytes_per_sender = 20000\noutbox_bytes_own = 2000\n",
    "max_frame = 200000\n",
    "max_per_address = 20\n",
    "misses_per_minute = 0\ntakeovers_per_minute = 0\nauth_failures_per_minute = 0\n",
)
"""What a reload may change of the limits, and who behaves must not notice: even where a busy machine keeps him from
reading for a second, while all others are sending to him."""

CALM: Final = "messages_per_second = 0\nbytes_per_second = 0\n"
"""With these limits what the hostile have sent too much of is worked off at once, after they have gone: otherwise it
takes up to 10 s to find out that nobody hears any more what is said about that."""

FAULTS: Final = ("max_frame = 1\n", "no_such_key = 1\n", "]", "\0", "max_frame = 1000000\n")
"""Ends of a configuration that make it one with a fault."""


class Field:
    """Where it all happens.

    Attributes:
        folder: the daemon's files.
        process: the daemon's, and the ports that it has for all and for TLS alone.
        victims: IDs of those who behave.
        acts: how many acts of each kind there were.
        heard: what the hostile were told, by code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.victims: Sequence[str] = ()
        self.acts: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.process: subprocess.Popen[str]
        self.port = 0
        self.tls_port = 0
        self.context = certificates.client_context()
        self._left: list[socket.socket] = []
        write_private(folder / "secret", SECRET)
        self.certify()
        self.configure()

    def certify(self) -> None:
        """Give the daemon a certificate, and one more at each further call."""
        made = certificates.authority("servers").issue_cert("localhost")
        write_private(self.folder / "key.pem", made.private_key_pem.bytes())
        (self.folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))

    def configure(self, limits: str = "", gateway: str = GATEWAY) -> Path:
        """Write the configuration, with these limits added, and with this token for gateways."""
        write_private(self.folder / "gateway", gateway.encode())
        file = self.folder / "sigd.toml"
        file.write_text(CONFIG.format(folder=self.folder) + LIMITS + limits)
        return file

    def reload(self) -> None:
        """Have the daemon read its configuration."""
        self.process.send_signal(signal.SIGHUP)

    def leave_open(self, sock: socket.socket) -> None:
        """Leave a connection as it is until all are let go; there is an end to this too."""
        self._left.append(sock)
        if len(self._left) > MOST_LEFT:
            self._left.pop(0).close()

    def let_go(self) -> None:
        """Close what was left open."""
        for sock in self._left:
            sock.close()
        self._left.clear()


class End:
    """A hostile client's end of a connection."""

    def __init__(self, field: Field, sock: trio.socket.SocketType, crypt: Crypt | None, framing: str) -> None:
        self.field = field
        self.sock = sock
        self.crypt = crypt
        self.framing = framing

    def framed(self, message: dict[str, Any] | bytes) -> bytes:
        """A message in the framing that is spoken here."""
        return (PrefixedClient if self.framing == "prefixed" else LinesClient).framed(as_json(message))

    async def sends(self, data: bytes) -> None:
        """Send as much of it as is taken in time."""
        if self.crypt is not None:
            data = self.crypt.gives(data)
        with trio.move_on_after(STAYS_SECONDS):
            while data:
                data = data[await self.sock.send(data) :]

    async def reads(self, seconds: float = STAYS_SECONDS) -> bytes:
        """What comes next, if something comes in time."""
        data = b""
        with trio.move_on_after(seconds):
            data = await self.sock.recv(65_536)
            if not data:
                raise ConnectionResetError("closed")
            if self.crypt is not None:
                data = self.crypt.takes(data)
        for code in _codes(data):
            self.field.heard[code] += 1
        return data

    async def registers(self, chance: random.Random, name: str, shows: dict[str, str]) -> bool:
        """Register; whether that was allowed."""
        maximum = {"maxFrame": 1_024} if chance.random() < 0.1 else {}
        await self.sends(self.framed({"type": "register", "id": name, **shows, **maximum}))
        return b'"registered"' in await self.reads()


def _codes(data: bytes) -> list[str]:
    return [part[: part.find(b'"')].decode() for part in data.split(b'"code":"')[1:] if b'"' in part[:20]]


def evil(chance: random.Random) -> tuple[str, dict[str, str]]:
    """A peer of the hostile, and its good token."""
    return f"evil-{chance.randrange(200)}", token(f"{time.time() + 3_600:.0f}:evil-*")


@asynccontextmanager
async def connection(
    field: Field,
    chance: random.Random,
    *,
    source: str = "",
    receive_buffer: int | None = None,
    tls: bool | None = None,
) -> AsyncIterator[End]:
    """A connection from anywhere, through any door, plain or in TLS; it ends by a close or by a reset."""
    tls = chance.random() < 0.2 if tls is None else tls
    local = not tls and not source and chance.random() < 0.1
    raw = socket.socket(socket.AF_UNIX if local else socket.AF_INET)
    try:
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock = trio.socket.from_stdlib_socket(raw)
        if local:
            await sock.connect(f"{field.folder}/sigd.sock")
        else:
            await sock.bind((source or address(chance.randrange(ADDRESSES)), 0))
            await sock.connect(("127.0.0.1", chance.choice((field.port, field.tls_port)) if tls else field.port))
        end = End(field, sock, None, chance.choice(("prefixed", "lines")))
        if tls:
            crypt = Crypt(field.context)
            await end.sends(crypt.gives())
            end.crypt = crypt
            for _ in range(HANDSHAKE_READS):
                await end.reads()
                if crypt.done:
                    break
            else:
                raise ConnectionAbortedError("no handshake")
            await end.sends(b"")
        yield end
    finally:
        if chance.random() < 0.5:
            reset(raw)
        raw.close()


Act = Callable[[Field, random.Random], Awaitable[None]]

ACTS: Final[dict[str, tuple[Act, int]]] = {}
"""By name: an act, and how many play it at the same time."""


def act(players: int) -> Callable[[Act], Act]:
    """Add an act, by the name of its function."""

    def add(function: Act) -> Act:
        ACTS[function.__name__.replace("_", " ")] = function, players
        return function

    return add


async def play(field: Field, seed: str) -> None:
    """Have all acts played again and again, until cancelled; the same seed makes up the same ones."""
    async with trio.open_nursery() as nursery:
        for name, (function, players) in ACTS.items():
            for player in range(players):
                nursery.start_soon(_repeat, field, name, function, f"{seed} {name} {player}")


async def _repeat(field: Field, name: str, function: Act, seed: str) -> None:
    for turn in itertools.count():
        chance = random.Random(f"{seed} {turn}")
        try:
            with contextlib.suppress(OSError):  # hung up on, which is an error of TLS as well
                await function(field, chance)
        except AssertionError as fault:
            raise AssertionError(f"{fault} (act {seed} {turn})") from fault
        field.acts[name] += 1
        await trio.sleep(chance.uniform(0, 0.05))


def recipient(field: Field, chance: random.Random) -> str:
    """Whom to bother: who behaves, another hostile one, or nobody."""
    return chance.choice((chance.choice(field.victims), evil(chance)[0], f"absent-{chance.randrange(1_000)}", "evil-0"))


@act(players=5)
async def flood(field: Field, chance: random.Random) -> None:
    async with connection(field, chance) as end:
        if not await end.registers(chance, *evil(chance)):
            return
        size, reads = chance.choice((0, 10, 200, 3_000, 60_000)), chance.random() < 0.5
        to = recipient(field, chance)
        message = end.framed({"type": "message", "to": to, "data": "x" * size, **chance.choice(({}, {"ref": "r"}))})
        with trio.move_on_after(STAYS_SECONDS):
            while True:
                await end.sends(message * (65_536 // len(message) + 1))
                if reads:
                    await end.reads(0.01)


@act(players=2)
async def half_open(field: Field, chance: random.Random) -> None:
    frame = PrefixedClient.framed(b'{"type":"register","id":"nobody"}')
    hello = Crypt(field.context).gives()
    starts = (b"", b"\0", frame[:4], frame[:20], b"regis", b'{"type":', b"\r", b"\x16", hello[:5], hello[:150], hello)
    for _ in range(chance.randrange(1, 40)):
        sock = socket.socket()
        field.leave_open(sock)
        sock.bind((address(chance.randrange(ADDRESSES)), 0))
        sock.connect(("127.0.0.1", chance.choice((field.port, field.tls_port))))
        sock.setblocking(False)
        sock.send(chance.choice(starts) + b"P" * chance.randrange(2))
        match chance.randrange(4):
            case 0:
                reset(sock)
            case 1:
                sock.close()
            case 2:
                sock.shutdown(socket.SHUT_WR)
            case _:
                pass
        await trio.lowlevel.checkpoint()


@act(players=6)
async def slow_reader(field: Field, chance: random.Random) -> None:
    async with connection(field, chance, receive_buffer=2_048) as end:
        if not await end.registers(chance, f"evil-{chance.randrange(3)}", evil(chance)[1]):
            return
        # Its own questions fill its outbox too.
        await end.sends(end.framed({"type": "ping", "ref": "r" * 60}) * chance.randrange(2_000))
        most = chance.choice((0, 1, 500))
        for _ in range(chance.randrange(1, 60)):
            await trio.sleep(0.2)
            if most:
                with trio.move_on_after(0.1):
                    await end.sock.recv(most)


def garbage_of_any_kind(chance: random.Random) -> bytes:
    """Bytes that are no message, or hardly one."""
    piece = bytearray(chance.choice(PIECES))
    match chance.randrange(9):
        case 0:
            return chance.randbytes(chance.randrange(1, 300))
        case 1:
            return chance.randbytes(chance.randrange(1, 9)) * 9_000
        case 2:
            return bytes(piece[: chance.randrange(len(piece) + 1)])
        case 3:
            return bytes(piece) * chance.randrange(1, 50)
        case 4:
            return struct.pack(">I", chance.choice((0, 1, 4_097, 65_537, 2**24, 2**31, 2**32 - 1))) + bytes(piece)
        case 5:
            return b"[" * chance.randrange(70_000)
        case 6:
            return as_json({"type": chance.choice(("offer", "register", "peers")), "to": _any_json(chance, 4)})
        case _:
            for _ in range(chance.randrange(1, 6)):
                place = chance.randrange(len(piece) + 1)
                piece[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            return bytes(piece)


def _any_json(chance: random.Random, depth: int) -> Any:
    leaves = (None, True, -0.0, 1e308, 2**64, "", "\0", "\ud7ff", "\u202e" * 20, "x" * chance.randrange(200))
    if not depth or chance.random() < 0.3:
        return chance.choice(leaves)
    inner = [_any_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    return inner if chance.random() < 0.5 else {f"{chance.choice(leaves)}"[:9]: each for each in inner}


@act(players=12)
async def garbage(field: Field, chance: random.Random) -> None:
    async with connection(field, chance) as end:
        if chance.random() < 0.5 and not await end.registers(chance, *evil(chance)):
            return
        for _ in range(chance.randrange(1, 20)):
            said = garbage_of_any_kind(chance)
            said = end.framed(said) if chance.random() < 0.7 else said
            cut = chance.randrange(len(said) + 1)
            await end.sends(said[:cut])
            await end.reads(chance.choice((0.0, 0.01)))
            await end.sends(said[cut:])


@act(players=6)
async def wrong_credentials(field: Field, chance: random.Random) -> None:
    async with connection(field, chance, source=chance.choice(("", address(chance.randrange(3))))) as end:
        expires = round(time.time()) + chance.choice((3_600, -3_600, -31))
        good = token(f"{expires}:evil-*")
        shows: tuple[dict[str, Any], ...] = (
            {},
            good,
            {"token": chance.randbytes(20).hex()},
            {**good, "token": good["token"][:-1] + "A"},
            {**good, "user": good["user"].replace("evil-", "")},
            {"user": good["user"], "token": ""},
            {"user": "é", "token": "é"},
            {"jwt": f"{chance.randbytes(9).hex()}.e30.{chance.randbytes(9).hex()}"},
            {"token": GATEWAY[:-1]},
        )
        name = chance.choice((*field.victims, f"guess-{chance.randrange(100_000)}"))
        assert not await end.registers(chance, name, chance.choice(shows)), f"{name} was given to who may not have it"


@act(players=3)
async def takeovers(field: Field, chance: random.Random) -> None:
    name = f"evil-{chance.randrange(5)}"
    shows = chance.choice((evil(chance)[1], {"token": GATEWAY}))
    async with connection(field, chance) as old, connection(field, chance) as new:
        for end in (old, new, old, new):
            await end.registers(chance, name, shows)
        for end in (old, new):
            await end.sends(end.framed({"type": "unregister", "ref": "r"}))
    async with connection(field, chance) as end:
        name = chance.choice(field.victims)
        assert not await end.registers(chance, name, {"token": GATEWAY}), f"{name} was taken from who holds it"


@act(players=1)
async def reconnect_storm(field: Field, chance: random.Random) -> None:
    """Many at once, and again: in a thread, since a crowd has a loop of its own."""
    size, seed = chance.choice((50, 200, 300)), chance.randrange(2**32)
    context = field.context if chance.random() < 0.3 else None
    shows = evil(chance)[1]

    def storm() -> None:
        with Crowd(field.port, size, name="evil-crowd", context=context, shows=lambda _: shows, seed=seed) as crowd:
            for _ in range(3):
                crowd.come(STAYS_SECONDS / 4)
                crowd.leave()
            field.heard.update(crowd.heard)

    await trio.to_thread.run_sync(storm)


@act(players=6)
async def tls_junk(field: Field, chance: random.Random) -> None:
    if chance.random() < 0.5:
        async with connection(field, chance, tls=True) as end:
            if chance.random() < 0.5 and not await end.registers(chance, *evil(chance)):
                return
            crypt, end.crypt = end.crypt, None
            assert crypt is not None
            record = bytearray(crypt.gives(end.framed({"type": "ping"}) * 9))
            record[chance.randrange(len(record))] ^= 1 << chance.randrange(8)
            alert = b"\x15\x03\x03\0\2\1\0"
            await end.sends(chance.choice((bytes(record), bytes(record[:7]), chance.randbytes(500), alert)))
            await end.reads(chance.choice((0.0, 0.1)))
        return
    async with connection(field, chance, source=address(chance.randrange(ADDRESSES)), tls=False) as end:
        hello = bytearray(Crypt(field.context).gives())
        for _ in range(chance.randrange(4)):
            hello[chance.randrange(len(hello))] = chance.randrange(256)
        cut = chance.randrange(len(hello))
        await end.sends(bytes(hello[:cut]))
        await trio.sleep(chance.choice((0, 0, 0.3)))
        await end.sends(bytes(hello[cut:]) + chance.choice((b"", b"\x16\x03\x03\xff\xff", chance.randbytes(50))))
        await end.reads(0.1)


@act(players=6)
async def proxy_headers(field: Field, chance: random.Random) -> None:
    source = chance.choice((f"127.2.0.{chance.randrange(1, 250)}", address(chance.randrange(ADDRESSES))))
    async with connection(field, chance, source=source, tls=False) as end:
        four, six = IPv4Address(chance.randbytes(4)), IPv6Address(chance.randbytes(16))
        v2 = b"\r\n\r\n\0\r\nQUIT\n"
        header = chance.choice(
            (
                f"PROXY TCP4 {four} 192.0.2.1 {chance.randrange(65_536)} 7337\r\n".encode(),
                f"PROXY TCP6 {six} ::1 {chance.randrange(65_536)} 7337\r\n".encode(),
                b"PROXY UNKNOWN\r\n",
                b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n",  # as if it came from where the victims are
                b"PROXY " + chance.randbytes(chance.randrange(150)),
                v2 + b"\x21\x11\0\x0c" + four.packed + bytes(4) + struct.pack(">HH", 1, 2),
                v2 + b"\x21\x21\0\x24" + six.packed + bytes(16) + struct.pack(">HH", 1, 2),
                v2 + b"\x20\0\0\0",
                v2 + chance.randbytes(4) + chance.randbytes(chance.randrange(40)),
            )
        )
        cut = chance.choice((len(header), chance.randrange(len(header))))
        await end.sends(header[:cut])
        await trio.lowlevel.checkpoint()
        await end.sends(header[cut:])
        if await end.registers(chance, *evil(chance)):
            await end.sends(garbage_of_any_kind(chance))


@act(players=1)
async def reloads(field: Field, chance: random.Random) -> None:
    limits, gateway = "".join(chance.sample(CHANGES, 2)), GATEWAY
    match chance.randrange(4):
        case 0:
            limits += chance.choice(FAULTS)
        case 1:
            field.certify()
        case 2:  # those who have come with it must go
            gateway = "another-token-that-nobody-has"
        case _:
            pass
    field.configure(limits, gateway)
    for _ in range(chance.randrange(1, 4)):
        field.reload()
    await trio.sleep(chance.uniform(0.1, 0.5))
    field.configure()
    field.reload()
    await trio.sleep(chance.uniform(0.1, 0.5))
