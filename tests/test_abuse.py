"""Abuse at scale: thousands of clients who come, break off, guess, or never read, and nothing of them remains.

Each against a daemon in a process of its own, with the shipped limits unless it says otherwise, beside pairs of peers
in another process who must not notice. For descriptors that run out see `TestDescriptors` in test_server.py.
"""

import contextlib
import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sigd.config import Limits
from sigd.net.places import Place
from sigd.net.ports import DatagramSocket, prepare
from sigd.net.reactor import Reactor
from sigd.relay.link import Link
from sigd.relay.origins import Origins
from sigd.relay.strikes import STRIKES_KEPT
from sigd.rules.memory import BUFFER_PART, LINK_BYTES
from sigd.wire.framing import PREFIXED
from tests import certificates
from tests.calls.public import SECRET, token, write_private
from tests.crowd import Crowd, Crypt, address, connected, reset
from tests.daemon import HANG_SECONDS, Daemon, running_daemon
from tests.footprint import Footprint, eventually
from tests.in_process import PrefixedClient, as_json, error
from tests.pairs import Pair, Pairs
from tests.plain import Plain, loopback
from tests.relay.world import World

pytestmark = pytest.mark.slow  # tens of thousands of connections

ROOT = Path(__file__).parent.parent

FLAT_KIB = 1_024
"""How much more memory may be resident after the second half of something than after the first, which is there so that
all that is needed once has been allocated. The allocator gives back late and goes on finding its shape, which makes
some hundred KiB; 500 bytes left behind by each of the last 2 000 clients would be more."""

GONE_SECONDS = 10.0
"""Until when nothing is left of who has gone: handshakes and links that end may take half of it."""

P99_MS = 5_000.0
"""For the pairs: when 3 000 links break in one moment they wait for their turn behind those, on cores that all share
who play here. How long they wait in the long run is for `make soak`."""

NAMES = ("a", "b", "c", "d", "newcomer")
"""Of the pairs, and of one more."""

CONFIG = """
[[listen]]
url = "tcp://127.0.0.1:0"
certificate = "{certificate}"
key = "{key}"
"""

HMAC = """
[[auth.hmac]]
secret_file = "{secret}"
discover = true
"""


class Scene:
    """A daemon that speaks everything on one port, and two pairs who talk.

    Attributes:
        daemon: the daemon.
        port: its.
        holds: what it has of the machine.
    """

    def __init__(self, daemon: Daemon, pairs: Pairs, newcomer: dict[str, str]) -> None:
        self.daemon = daemon
        self.port = daemon.port
        self.holds = Footprint(daemon.process.pid)
        self._pairs = pairs
        self._newcomer = as_json({"type": "register", "id": "newcomer", **newcomer})
        self._descriptors = self.holds.descriptors

    def takes_a_newcomer(self) -> None:
        """Whoever comes now is registered, beside the pairs alone, after all that had come before was looked at."""
        with connected(address(0), self.port) as sock:
            sock.sendall(self._newcomer + b"\nwho\nquit\n")
            registered, who, *_ = [json.loads(line) for line in hears_all(sock).splitlines()]
        assert registered["type"] == "registered"
        assert [peer["id"] for peer in who["peers"]] == list(NAMES)

    def kib_without_them(self) -> int:
        """What is resident when nobody but the pairs is there."""
        assert eventually(lambda: self.holds.descriptors <= self._descriptors, GONE_SECONDS), self.holds.descriptors
        return self.holds.kib

    def is_flat(self, kib: int) -> None:
        """There is as much memory in use as was before, and everything else is as it was."""
        grown = self.kib_without_them() - kib
        print(f"{kib} KiB and then {grown} more")
        assert grown < FLAT_KIB
        self.still_stands()

    def still_stands(self) -> None:
        """The pairs have noticed nothing, of everybody else nothing is left, and nothing was a bug."""
        self.kib_without_them()
        self.takes_a_newcomer()
        report = self._pairs.part()
        print(report)
        assert not report.faults
        assert report.exchanges
        assert report.p99 < P99_MS
        assert self.daemon.stop() == 0
        assert any(" stopping " in line and line.endswith(" links=0\n") for line in self.daemon.log)
        assert not [line for line in self.daemon.log if " ERROR " in line]

    @property
    def limits_hit(self) -> dict[str, int]:
        """How often each limit was, as the daemon has said at its end."""
        return {key: int(count) for key, count in re.findall(r" hit\.(\w+)=(\d+)", self.daemon.log[-1])}


@contextlib.contextmanager
def scene(folder: Path, *arguments: str, config: str = "") -> Iterator[Scene]:
    """A daemon with one pair in plain text and one in TLS, who show tokens where there is a secret for them."""
    certificate, key = certificates.files("localhost", "127.0.0.1")
    file = folder / "sigd.toml"
    file.write_text(CONFIG.format(certificate=certificate, key=key) + config)
    shows = {name: token(f"{time.time() + 3_600:.0f}:{name}") if config else {} for name in NAMES}
    with running_daemon("--config", str(file), *arguments) as daemon:
        ca = str(certificates.folder() / "servers-ca.pem")
        plain, tls = Pair(("a", "b"), daemon.url, shows=shows), Pair(("c", "d"), daemon.url, "tls", ca, shows)
        with Pairs(plain, tls) as pairs:
            yield Scene(daemon, pairs, shows["newcomer"])


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """Thousands of clients are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hears_all(sock: socket.socket) -> bytes:
    """What comes up to the end of the file."""
    heard = b""
    while data := sock.recv(65_536):
        heard += data
    return heard


def at_once(here: Scene, numbers: Sequence[int], says: Sequence[bytes]) -> Iterator[bytes]:
    """What each of some clients hears up to its end, all of whom connect first and say something."""
    with contextlib.ExitStack() as clients:
        there = [clients.enter_context(connected(address(number), here.port)) for number in numbers]
        for sock, said in zip(there, says, strict=True):
            sock.sendall(said)
        yield from map(hears_all, there)


@pytest.mark.alone
class TestCrowd:
    """Row 46: all of them want the same at the same moment, and none keeps the others from it."""

    SECONDS = 60.0

    def test_3000_peers_who_come_back_at_once(self, tmp_path: Path) -> None:
        with scene(tmp_path) as here, Crowd(here.port, 3_000) as crowd:
            for _ in range(2):
                took = crowd.come(self.SECONDS)
                print(f"{crowd.here} in {took:.1f} s, {here.holds.kib} KiB, {dict(crowd.heard)}")
                assert crowd.here == len(crowd)
                crowd.leave()
            here.still_stands()
            assert not here.limits_hit

    def test_600_peers_who_shake_hands_at_once(self, tmp_path: Path) -> None:
        """Nobody whose handshake waits for its turn has to go for those who come behind."""
        context = certificates.client_context()
        with scene(tmp_path) as here, Crowd(here.port, 600, context=context, dials_at_once=600) as crowd:
            took = crowd.come(self.SECONDS)
            print(f"{crowd.here} in {took:.1f} s, {here.holds.kib} KiB, {dict(crowd.heard)}")
            assert crowd.here == len(crowd)
            assert crowd.heard.total() < len(crowd)
            crowd.leave()
            here.still_stands()

    def test_240_peers_behind_one_address_at_two_doors(self) -> None:
        """Many times the 16 who may be unregistered: who has said already who he is need not be one of those."""
        with running_daemon("--listen", "tcp://127.0.0.1:0", "--listen", "tcp://127.0.0.2:0") as daemon:
            doors = [(f"127.0.0.{number}", int(url.rpartition(":")[2])) for number, url in enumerate(daemon.urls, 1)]
            daemon.process.send_signal(signal.SIGSTOP)  # until all of them are there
            with contextlib.ExitStack() as clients:
                there = []
                for number in range(240):
                    sock = socket.create_connection(doors[number % 2], 20, ("127.0.1.1", 0))
                    there.append(clients.enter_context(sock))
                    sock.sendall(PrefixedClient.framed(as_json({"type": "register", "id": f"peer-{number}"})))
                daemon.process.send_signal(signal.SIGCONT)
                assert Counter(b'"registered"' in sock.recv(4_096) for sock in there) == {True: 240}

    def test_1000_peers_whose_server_was_killed(self) -> None:
        with running_daemon() as daemon, Crowd(daemon.port, 1_000) as crowd:
            crowd.come(self.SECONDS)
            daemon.stop(signal.SIGKILL)
            for _ in range(len(crowd)):
                crowd.turn(0.01)
                if not crowd.here:
                    break
            with running_daemon("--listen", daemon.url) as again:
                deadline = time.monotonic() + self.SECONDS
                while crowd.here < len(crowd) and time.monotonic() < deadline:
                    crowd.turn(1.0)
                print(f"{crowd.here} after {self.SECONDS - deadline + time.monotonic():.1f} s, {dict(crowd.heard)}")
                assert crowd.here == len(crowd)
                crowd.leave()
                assert again.stop() == 0


@pytest.mark.alone
class TestHalfOpen:
    def test_4000_in_turn(self, tmp_path: Path) -> None:
        """As many at a time as may just be there without an ID; beside them there is room for who has one."""
        count, at_a_time, kib = 4_000, 500, 0
        frame = PrefixedClient.framed(b'{"type":"register","id":"nobody"}')
        hello = Crypt(certificates.client_context()).gives()
        starts = (b"", b"\0", frame[:4], frame[:20], b"regis", b'{"type":', b"\r\n", b"\x16", hello[:5], hello[:150])
        with scene(tmp_path) as here:
            for start in range(0, count, at_a_time):
                there = [connected(address(start + number), here.port) for number in range(at_a_time)]
                for number, sock in enumerate(there):
                    sock.send(starts[number % len(starts)])
                here.takes_a_newcomer()
                for number, sock in enumerate(there):
                    self.abandon(sock, number)
                if start == count // 2:
                    kib = here.kib_without_them()
            here.is_flat(kib)

    def test_1000_handshakes(self, tmp_path: Path) -> None:
        """Begun, answered, or finished, and abandoned then."""
        context = certificates.client_context()
        count, at_a_time, kib = 1_000, 100, 0
        with scene(tmp_path) as here:
            for start in range(0, count, at_a_time):
                there = [(connected(address(start + number), here.port), Crypt(context)) for number in range(at_a_time)]
                for sock, crypt in there:
                    sock.send(crypt.gives())
                for number, (sock, crypt) in enumerate(there):
                    while number % 4 >= 2 and not crypt.done:
                        crypt.takes(sock.recv(65_536))
                    if number % 4 == 3:
                        sock.send(crypt.gives())
                    self.abandon(sock, number // 4)
                if start == count // 2:
                    kib = here.kib_without_them()
            here.is_flat(kib)

    @staticmethod
    def abandon(sock: socket.socket, number: int) -> None:
        """Close the connection: by a reset, at once, or one half of it before the other."""
        if number % 3 == 0:
            reset(sock)
        elif number % 3 == 1:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        sock.close()


@pytest.mark.alone
class TestSlowReader:
    """Row 24, with rates switched off: with them this would take minutes."""

    BYTES = 30_000_000
    TEXT = "x" * 60_000

    def test_30_megabytes_are_sent_to_it(self, tmp_path: Path) -> None:
        rates = ("--set", "limits.messages_per_second=0", "--set", "limits.bytes_per_second=0")
        with scene(tmp_path, *rates) as here, contextlib.ExitStack() as clients:
            slow, fast = (clients.enter_context(Reader(here.port, name)) for name in ("slow", "fast"))
            senders = [clients.enter_context(Plain(loopback(here.daemon), "prefixed")) for _ in range(5)]
            for number, sender in enumerate(senders):
                sender.registers(f"sender-{number}")
            for number in range(100):
                assert self.says(senders[number % 5], "fast", number)
                fast.hears(number + 1)
            before = most = here.holds.kib
            taken: list[int] = []
            for number in range(self.BYTES // len(self.TEXT)):
                if self.says(senders[number % 5], "slow", number):
                    taken.append(number)
                slow.reads(1_024)
                if number % 20 == 0:
                    most = max(most, here.holds.kib)
            print(f"{before} KiB, at most {most}, {len(taken)} messages taken")
            assert most - before < Limits().outbox_bytes / 1024 + FLAT_KIB
            assert 4 < len(taken) < 100
            slow.hears(len(taken))
            assert slow.heard == taken
            clients.close()
            here.still_stands()

    def says(self, sender: Plain, to: str, number: int) -> bool:
        """Send a long message; whether it was taken."""
        sender.says({"type": "message", "to": to, "data": self.TEXT, "session": f"{number}", "ref": "r"})
        answer = sender.hears()
        assert answer in ({"type": "ok", "ref": "r"}, error("peer-busy", to=to, ref="r"))
        return bool(answer["type"] == "ok")


class Reader:
    """A peer that reads as much as it is told to.

    Attributes:
        heard: the numbers of the messages that came.
    """

    def __init__(self, port: int, name: str) -> None:
        self.heard: list[int] = []
        self._came = b""
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # else the kernel takes megabytes for it
        self._sock.settimeout(HANG_SECONDS)
        self._sock.connect(("127.0.0.1", port))
        self._sock.sendall(PrefixedClient.framed(as_json({"type": "register", "id": name})))

    def reads(self, most: int) -> None:
        """Read so many bytes, if they are there."""
        with contextlib.suppress(BlockingIOError):
            self._takes(self._sock.recv(most, socket.MSG_DONTWAIT))

    def hears(self, count: int) -> None:
        """Read until so many messages have come in all."""
        while len(self.heard) < count:
            self._takes(self._sock.recv(65_536))

    def _takes(self, data: bytes) -> None:
        assert data, "closed"
        self._came += data
        while len(self._came) >= (end := 4 + int.from_bytes(self._came[:4], "big")):
            message, self._came = json.loads(self._came[4:end]), self._came[end:]
            if message["type"] == "message":
                self.heard.append(int(message["session"]))

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


@pytest.mark.alone
class TestDeafCrowd:
    """Peers who fill what they may fill and read nothing, each within its limits, and stay."""

    FRAMES = (65_000).to_bytes(4, "big") + b"{" + b" " * 60_000
    ASKS = PrefixedClient.framed(b'{"type":"peers"}') * 8
    META = "m" * 1_000

    @pytest.mark.parametrize(
        ("count", "says", "most"),
        [
            pytest.param(4_000, FRAMES, Limits().buffer_bytes_total, id="frames"),
            pytest.param(1_500, ASKS, 8 << 20, id="replies"),
            pytest.param(1_500, ASKS[: len(ASKS) // 4] + FRAMES, 32 << 20, id="both"),
        ],
    )
    def test_memory_is_bounded_and_others_talk(self, tmp_path: Path, count: int, says: bytes, most: int) -> None:
        rates = ("--set", "limits.messages_per_second=0", "--set", "limits.bytes_per_second=0")
        total = ("--set", f"limits.buffer_bytes_total={most}")
        with scene(tmp_path, *rates, *total) as here, contextlib.ExitStack() as clients:
            before = highest = here.holds.kib
            there = [clients.enter_context(self.comes(here.port, number)) for number in range(count)]
            for number, sock in enumerate(there):
                with contextlib.suppress(OSError):  # what the kernel does not take at once, nobody will
                    sock.send(says)
                if number % 50 == 0:
                    highest = max(highest, here.holds.kib)
            for _ in range(20):
                highest = max(highest, here.holds.kib)
                time.sleep(0.05)
            print(f"{before} KiB, at most {highest}")
            assert highest - before < (most * BUFFER_PART + count * LINK_BYTES) / 1_024 + FLAT_KIB
            clients.close()
            here.still_stands()
            assert here.limits_hit["buffer_bytes_total"]

    def comes(self, port: int, number: int) -> socket.socket:
        """Connect, and register with as much as one may say of oneself."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.bind((address(number), 0))
        sock.connect(("127.0.0.1", port))
        sock.setblocking(False)
        sock.send(PrefixedClient.framed(as_json({"type": "register", "id": f"x{number}", "meta": {"m": self.META}})))
        return sock


WARM_TENTHS = 3
"""After so many tenths all that is needed is allocated: Python 3.13 and later take up to 1 MiB more after the first.

Seven tenths remain, in which four bytes left behind by each of a hundred thousand would show."""

MANY = [pytest.param(100_000, id="hundred thousand"), pytest.param(1_000_000, marks=pytest.mark.long, id="million")]


def is_flat_by_tenths(many: Callable[[int], None], count: int) -> None:
    """Have a function of this module run where nothing else moves; it prints what is resident after each tenth."""
    program = f"from tests.test_abuse import {many.__name__} as many; many({count})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=900
    )
    kib = [int(word) for word in done.stdout.split()]
    print(kib)
    assert len(kib) == 10
    assert kib[-1] - kib[WARM_TENTHS] < FLAT_KIB / 4


class TestChurn:
    """Row 30."""

    AT_ONCE = 50

    @pytest.mark.alone
    def test_5000_registers_and_unregisters(self, tmp_path: Path) -> None:
        count, kib = 5_000, 0
        unregister = PrefixedClient.framed(b'{"type":"unregister","ref":"r"}')
        with scene(tmp_path) as here:
            for start in range(0, count, self.AT_ONCE):
                numbers = range(start, start + self.AT_ONCE)
                names = [as_json({"type": "register", "id": f"peer-{number}"}) for number in numbers]
                for heard in at_once(here, numbers, [PrefixedClient.framed(name) + unregister for name in names]):
                    assert b'"registered"' in heard
                    assert heard.endswith(PrefixedClient.framed(b'{"type":"ok","ref":"r"}'))
                if start == count // 2:
                    kib = here.kib_without_them()
            here.is_flat(kib)
            assert not here.limits_hit

    @pytest.mark.parametrize("count", MANY)
    def test_in_the_core(self, count: int) -> None:
        """In a process of its own, where nothing else moves, and nobody counts what is covered."""
        is_flat_by_tenths(register_many, count)


class MemoryLink(Link):
    """A link over nothing: what is due to it is taken, and once it closes it is over."""

    origins: Origins

    def push(self) -> None:
        self.sent(self.queued, self.opened)

    def attend(self, now: float) -> None:
        if self.queued:
            self.push()
        if self.closing:
            self.abort(self.reason)

    def admitted(self) -> None:
        pass

    def caller(self) -> None:
        return None

    def abort(self, reason: str) -> None:
        self.close(reason)
        if not self.over:
            self.over = True
            self.router.deadlines.forget(self)
            self.origins.leave(self.origin)
            self.drop_unsent(0.0, keep=0)

    over = False


def register_many(count: int) -> None:
    """Register and unregister on links in memory; print what is resident after each tenth."""
    world, holds = World(), Footprint()
    router, now = world.router, 1_000.0
    origin = router.admission.origins.of("192.0.2.1")
    for number in range(count):
        now += 0.001
        link = MemoryLink(router, origin, origin.key, number % 65_536, now, PREFIXED)
        link.origins = router.admission.origins
        router.welcome(link)
        meta = b',"meta":{"is":[1]}' if number % 8 == 0 else b""
        router.receive(link, b'{"type":"register","id":"peer-%d"%s}' % (number, meta), now)
        assert list(router.registry.holders.values()) == [link]
        if number % 2:
            router.receive(link, b'{"type":"unregister"}', now)
        else:
            link.abort("left")
        world.settle()
        if number % 250 == 0:
            router.expire(now, world.failed)
        if (number + 1) % (count // 10) == 0:
            print(holds.kib)


class TestForged:
    """Row 32."""

    @pytest.mark.parametrize("count", MANY)
    def test_registers_over_udp(self, count: int) -> None:
        """In a process of its own, by all that looks at them but the kernel, which test_hardening.py has them pass."""
        is_flat_by_tenths(forge_many, count)


def forge_many(count: int) -> None:
    """Have registers come from all over 127.0.0.0/8, and one peer in between; print what is resident then."""
    world, holds, now = World(udp_unproven_per_second=5_000), Footprint(), 1_000.0
    reactor = Reactor(world.router, 10)
    datagrams, links = reactor.datagrams, reactor.datagrams.links
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as his,
    ):
        for sock in (ours, his):
            sock.bind(("127.0.0.1", 0))
        his.connect(ours.getsockname())
        his.settimeout(HANG_SECONDS)
        prepare(ours)
        port = DatagramSocket(ours, ("udp://127.0.0.1:0", 0), links)
        for number in range(count):
            now = reactor.now = now + 1 / 30_000  # more than are answered, in all and to the one who sends every eighth
            host = f"127.{number & 0xFF}.{number >> 8 & 0xFF}.{number >> 16 | 1}" if number % 8 else "127.0.0.9"
            forged = b'{"type":"register","id":"peer","nonce":"%016d","pad":"%0110d"}' % (number, 0)
            datagrams.take_untrusted(forged, Place((host, 1_024 + number % 256), port, b""), now)
            if (number + 1) % (count // 10) == 0:
                assert not links
                assert not world.router.registry.holders
                print(holds.kib)
                now = reactor.now = now + 1  # for him there is room in the next second
                register = b'{"type":"register","id":"him","nonce":"%016d"%s,"pad":"%0110d"}'
                his.send(register % (number, b"", 0))
                datagrams.readable(port, now)
                cookie = json.loads(his.recv(2_048))["cookie"].encode()
                his.send(register % (number, b',"cookie":"%s"' % cookie, 0))
                datagrams.readable(port, now)
                cid = json.loads(his.recv(2_048))["cid"].encode()
                assert list(world.router.registry.holders) == ["him"]
                his.send(b"X " + cid)
                datagrams.readable(port, now)
    assert world.router.limits_hit["udp_unproven_per_second"]
    assert world.router.limits_hit["udp_unproven_per_second_per_address"]


@pytest.mark.alone
class TestGuesses:
    """Row 16."""

    def test_9000_wrong_credentials(self, tmp_path: Path) -> None:
        """The first half fills the table of failures, the rest has to do with what it has."""
        count, kib = 9_000, 0
        assert count / 2 > STRIKES_KEPT
        secret = tmp_path / "secret"
        write_private(secret, SECRET)
        user = f"{time.time() + 3_600:.0f}:*"
        shows = [{}, {"token": "guess"}, {**token(user), "user": user + "*"}, token("1000000000:*"), {"jwt": "a.b.c"}]
        with scene(tmp_path, config=HMAC.format(secret=secret)) as here:
            for start in range(0, count, TestChurn.AT_ONCE):
                numbers = range(start, start + TestChurn.AT_ONCE)
                # One in ten wants to be who is there, and shows his own credential again and again.
                said = [
                    {"type": "register", "id": NAMES[number % 4] if number % 10 == 0 else f"p{number}"}
                    | shows[number // 10 % len(shows)]
                    for number in numbers
                ]
                for heard in at_once(here, numbers, [PrefixedClient.framed(as_json(each)) for each in said]):
                    assert b'"auth-' in heard
                if start == count // 2:
                    kib = here.kib_without_them()
            here.is_flat(kib)
            assert here.limits_hit["auth_failures_per_minute"]
