"""The servers under test: where each is found, how it is started, pinned, awaited and ended.

Every measurement gets a fresh process in a temporary directory, on a port that was free a moment ago.
"""

import contextlib
import enum
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".bench"

HOST = "127.0.0.1"
PEERJS_VERSION = "1.0.2"
RATES = "rates"
PAUSES = "pauses"
START_DEADLINE = 15.0
STOP_DEADLINE = 5.0

SIGD_COMMAND = f"{shlex.quote(sys.executable)} -m sigd.cli {{listen}} {{settings}}"
SIGD_SETTINGS = [
    # Raised, so that nobody waits, and not 0: what they cost is to be measured too.
    "limits.messages_per_second=1000000",
    "limits.messages_burst=1000000",
    f"limits.bytes_per_second={1 << 30}",
    f"limits.bytes_burst={1 << 30}",
    # As many as there may be at all: one address plays everybody. Few enough of them are unregistered at a time.
    "limits.max_per_address=10000",
]
"""What follows each `--set` of our own sigd: one address plays all peers here, and faster than any peer may be."""

# The first bytes to which each protocol's server answers with at least one byte.
_SIGD_PROBE = b'\x00\x00\x00\x0f{"type":"ping"}'
_MQTT_PROBE = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05probe"


UDP_SETTINGS = [
    # As many as the million needs, from as many addresses as there are, faster than anybody may who is not known yet.
    "limits.udp_links=1100000",
    "limits.udp_links_per_address=0",
    "limits.udp_unproven_per_second=0",
    "limits.udp_unproven_per_second_per_address=0",
]
"""What follows further `--set` where it is to speak UDP; an older daemon knows none of them."""

UDP_SECRET = "what-only-the-daemon-and-the-load-generator-know"
"""Of the tokens with which datagrams are authenticated."""


class Transport(enum.StrEnum):
    """What carries the messages."""

    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"
    UDP_MAC = "udp-mac"

    @property
    def datagrams(self) -> bool:
        """Whether it is UDP."""
        return self in {Transport.UDP, Transport.UDP_MAC}


class NotInstalledError(Exception):
    """This server is not here; the text says what was looked for."""


class ServerError(Exception):
    """The server did not start, or ended by itself."""


@dataclass(frozen=True)
class Place:
    """Where a server is to run."""

    port: int
    folder: Path  # its own, temporary
    transport: Transport = Transport.TCP  # what it is to speak; over UDP it answers on TCP too

    @property
    def certificate(self) -> Path:
        """In PEM; there only with TLS."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """In PEM; there only with TLS."""
        return self.folder / "key.pem"


@dataclass(frozen=True)
class Server:
    """One program to measure."""

    name: str
    version: str
    protocol: str  # load.c's word for it
    command: Callable[[Place], list[str]]  # its argv
    probe: bytes
    in_repository: bool = False  # runs there, to find the sigd package
    transports: frozenset[Transport] = frozenset({Transport.TCP})


@dataclass(frozen=True)
class Running:
    """A server that has answered."""

    server: Server
    pid: int
    port: int
    folder: Path
    start_seconds: float  # from starting the process to its first answer


def _program(name: str) -> str:
    # Debian puts daemons where only root's PATH looks.
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise NotInstalledError(f"no {name} on PATH")
    return path


def _version(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+\.\d+[.\w-]*", done.stdout + done.stderr)
    return found.group() if found else "?"


def sigd_like(name: str, command: str, version: str = "") -> Server:
    """Anything that speaks sigd's protocol.

    In the command `{port}` is replaced; and where they stand, `{listen}` by the options to listen there, which may be
    for TLS, and `{settings}` by those that raise the limits. An older daemon may know neither of them.
    """
    settings = " ".join(f"--set {shlex.quote(setting)}" for setting in SIGD_SETTINGS)

    def argv(place: Place) -> list[str]:
        parts = {"{listen}": _sigd_listen(place), "{port}": str(place.port), "{settings}": settings}
        return shlex.split(re.sub(r"\{(listen|port|settings)\}", lambda found: parts[found.group()], command))

    transports = frozenset(Transport) if "{listen}" in command else frozenset({Transport.TCP})
    return Server(name, version, "sigd", argv, _SIGD_PROBE, in_repository=True, transports=transports)


def _sigd_listen(place: Place) -> str:
    tcp = f"--listen tcp://{HOST}:{place.port}"
    udp = f"{tcp} --listen udp://{HOST}:{place.port} {' '.join(f'--set {setting}' for setting in UDP_SETTINGS)}"
    match place.transport:
        case Transport.TCP:
            return tcp
        case Transport.UDP:
            return udp
        case Transport.UDP_MAC:
            secret = place.folder / "secret"
            secret.touch(mode=0o600)
            secret.write_text(UDP_SECRET)
            return f"{udp} {_config(place, '[[auth.hmac]]', f'secret_file = {json.dumps(str(secret))}')}"
        case Transport.TLS:
            return _config(
                place,
                "[[listen]]",
                f'url = "tls://{HOST}:{place.port}"',
                f"certificate = {json.dumps(str(place.certificate))}",
                f"key = {json.dumps(str(place.key))}",
            )


def _config(place: Place, *lines: str) -> str:
    config = place.folder / "sigd.toml"
    config.write_text("\n".join(lines) + "\n")
    return f"--config {shlex.quote(str(config))}"


def sigd() -> Server:
    """This repository's daemon, run by this interpreter."""
    if importlib.util.find_spec("sigd.cli") is None:
        raise NotInstalledError("no sigd.cli in this repository")
    version = str(getattr(importlib.import_module("sigd"), "__version__", "?"))
    return sigd_like("sigd", SIGD_COMMAND, version)


def sigd_rated() -> Server:
    """The same, and in the file RATES of its folder it says what its rates cost."""

    def argv(place: Place) -> list[str]:
        url = f"tcp://{HOST}:{place.port}"
        return [sys.executable, "-m", "bench.rates", str(place.folder / RATES), url, *SIGD_SETTINGS]

    return Server("sigd, what rates cost", "", "sigd", argv, _SIGD_PROBE, in_repository=True)


def sigd_watched() -> Server:
    """The same over UDP, and in the file PAUSES of its folder it says at its end for how long it stood still."""
    command = f"{shlex.quote(sys.executable)} -m bench.pauses {{folder}}/{PAUSES} {{listen}} {{settings}}"

    def argv(place: Place) -> list[str]:
        return sigd_like("", command.replace("{folder}", shlex.quote(str(place.folder)))).command(place)

    transports = frozenset({Transport.UDP})
    return Server("sigd among a million", "", "sigd", argv, _SIGD_PROBE, in_repository=True, transports=transports)


TCP_AND_TLS = frozenset({Transport.TCP, Transport.TLS})


def nats() -> Server:
    """NATS with its defaults: no accounts, no JetStream."""
    program = _program("nats-server")

    def argv(place: Place) -> list[str]:
        options = ["-a", HOST, "-p", str(place.port), "-l", str(place.folder / "log")]
        tls = (
            ["--tls", "--tlscert", str(place.certificate), "--tlskey", str(place.key)]
            if place.transport is Transport.TLS
            else []
        )
        return [program, *options, *tls]

    return Server("nats-server", _version([program, "--version"]), "nats", argv, b"", transports=TCP_AND_TLS)


def redis() -> Server:
    """Redis without persistence."""
    program = _program("redis-server")

    def argv(place: Place) -> list[str]:
        options = ["--save", "", "--appendonly", "no", "--maxclients", "10000", "--dir", str(place.folder)]
        return [program, "--port", str(place.port), "--bind", HOST, *options]

    return Server("redis-server", _version([program, "--version"]), "redis", argv, b"PING\r\n")


def mosquitto() -> Server:
    """Mosquitto without persistence and log, and without Nagle's delay, which it alone has by default."""
    program = _program("mosquitto")

    def argv(place: Place) -> list[str]:
        lines = [
            f"listener {place.port} {HOST}",
            "max_connections -1",
            "allow_anonymous true",
            "persistence false",
            "log_dest none",
            "set_tcp_nodelay true",
        ]
        config = place.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        return [program, "-c", str(config)]

    return Server("mosquitto", _version([program, "-h"]), "mqtt", argv, _MQTT_PROBE)


def peerjs() -> Server:
    """PeerJS's server, installed with npm into the build directory if it is not there yet."""
    node, npm = _program("node"), _program("npm")
    prefix = BUILD / f"peerjs-{PEERJS_VERSION}"
    script = prefix / "node_modules" / "peer" / "dist" / "bin" / "peerjs.js"
    if not script.exists():
        prefix.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(prefix), "--no-audit", "--no-fund", "--ignore-scripts"]
        try:
            subprocess.run([*install, f"peer@{PEERJS_VERSION}"], check=True, capture_output=True, timeout=180)
        except subprocess.SubprocessError as error:
            raise NotInstalledError(f"npm could not install peer@{PEERJS_VERSION}") from error

    def argv(place: Place) -> list[str]:
        return [node, str(script), "--host", HOST, "--port", str(place.port), "--concurrent_limit", "20000"]

    version = f"{PEERJS_VERSION}, node {_version([node, '--version'])}"
    return Server("peerjs", version, "peerjs", argv, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


KNOWN: dict[str, Callable[[], Server]] = {
    "sigd": sigd,
    "nats-server": nats,
    "redis-server": redis,
    "mosquitto": mosquitto,
    "peerjs": peerjs,
}


@contextlib.contextmanager
def running(server: Server, core: int, transport: Transport = Transport.TCP) -> Generator[Running]:
    """A fresh server on its own core, until the block ends.

    Raises:
        ServerError: it ended, or did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="sigd-bench-") as name:
        place = Place(_free_port(), Path(name), transport)
        if transport is Transport.TLS:
            _make_certificate(place)
        errors = place.folder / "stderr"
        began = time.perf_counter()
        with errors.open("wb") as stderr, _pinned(core):
            child = subprocess.Popen(
                server.command(place),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=ROOT if server.in_repository else place.folder,
                env=_environment(),
            )
        try:
            _await_answer(server, child, place, errors)
            yield Running(server, child.pid, place.port, place.folder, time.perf_counter() - began)
            if child.poll() is not None:
                raise ServerError(f"{server.name} ended by itself: {_last_words(errors)}")
        finally:
            _end(child)


def _environment() -> dict[str, str]:
    # An installed daemon finds its bytecode; one that may not write any would compile itself at every start.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(BUILD / "pycache")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _pinned(core: int) -> Generator[None]:
    # A child inherits it before its first instruction, so that Go's and Node's runtimes see one core from the start.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def require_openssl() -> str:
    """The program that makes certificates.

    Raises:
        NotInstalledError: it is not here.
    """
    return _program("openssl")


def _make_certificate(place: Place) -> None:
    """For one server, thrown away with it; P-256, as public servers have it today. Nobody checks it."""
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    files = ["-keyout", str(place.key), "-out", str(place.certificate)]
    place.key.touch(mode=0o600)  # before anything is in it
    try:
        argv = [require_openssl(), "req", "-x509", *kind, "-subj", "/CN=localhost", *files]
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
    except (NotInstalledError, subprocess.SubprocessError) as error:
        raise ServerError(f"no certificate could be made: {error}") from error


def _await_answer(server: Server, child: subprocess.Popen[bytes], place: Place, errors: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ServerError(f"{server.name} did not start: {_last_words(errors)}")
        with contextlib.suppress(OSError):
            if _answers(server, place):
                return
        time.sleep(0.002)
    raise ServerError(f"{server.name} did not answer in {START_DEADLINE:.0f} s: {_last_words(errors)}")


def _answers(server: Server, place: Place) -> bool:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((HOST, place.port), timeout=2))
        if place.transport is Transport.TLS and server.probe:  # who speaks first does so before its TLS begins
            connection = stack.enter_context(_trusting().wrap_socket(connection))
        connection.sendall(server.probe)
        return bool(connection.recv(1))


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _last_words(errors: Path) -> str:
    lines = errors.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(it said nothing)"


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
