"""The servers under test: where each is found, how it is started, pinned, awaited and ended.

Every measurement gets a fresh process in a temporary directory, on a port that was free a moment ago.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import socket
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
START_DEADLINE = 15.0
STOP_DEADLINE = 5.0

SIGD_COMMAND = f"{shlex.quote(sys.executable)} -m sigd.cli --listen tcp://{HOST}:{{port}} {{settings}}"
SIGD_SETTINGS: list[str] = []
"""What follows each `--set` of our own sigd: one address plays ten thousand peers here, faster than any peer may."""

# The first bytes to which each protocol's server answers with at least one byte.
_SIGD_PROBE = b'\x00\x00\x00\x0f{"type":"ping"}'
_MQTT_PROBE = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05probe"


class NotInstalledError(Exception):
    """This server is not here; the text says what was looked for."""


class ServerError(Exception):
    """The server did not start, or ended by itself."""


@dataclass(frozen=True)
class Server:
    """One program to measure."""

    name: str
    version: str
    protocol: str  # load.c's word for it
    command: Callable[[int, Path], list[str]]  # port and temporary directory -> argv
    probe: bytes
    in_repository: bool = False  # runs there, to find the sigd package


@dataclass(frozen=True)
class Running:
    """A server that has answered."""

    server: Server
    pid: int
    port: int
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
    """Anything that speaks sigd's protocol; `{port}` and `{settings}` in the command are replaced."""
    settings = " ".join(f"--set {shlex.quote(setting)}" for setting in SIGD_SETTINGS)

    def argv(port: int, _folder: Path) -> list[str]:
        return shlex.split(command.replace("{port}", str(port)).replace("{settings}", settings))

    return Server(name, version, "sigd", argv, _SIGD_PROBE, in_repository=True)


def sigd() -> Server:
    """This repository's daemon, run by this interpreter."""
    if importlib.util.find_spec("sigd.cli") is None:
        raise NotInstalledError("no sigd.cli in this repository")
    version = str(getattr(importlib.import_module("sigd"), "__version__", "?"))
    return sigd_like("sigd", SIGD_COMMAND, version)


def nats() -> Server:
    """NATS with its defaults: no accounts, no JetStream."""
    program = _program("nats-server")
    return Server(
        "nats-server",
        _version([program, "--version"]),
        "nats",
        lambda port, folder: [program, "-a", HOST, "-p", str(port), "-l", str(folder / "log")],
        b"",
    )


def redis() -> Server:
    """Redis without persistence."""
    program = _program("redis-server")

    def argv(port: int, folder: Path) -> list[str]:
        options = ["--save", "", "--appendonly", "no", "--maxclients", "10000", "--dir", str(folder)]
        return [program, "--port", str(port), "--bind", HOST, *options]

    return Server("redis-server", _version([program, "--version"]), "redis", argv, b"PING\r\n")


def mosquitto() -> Server:
    """Mosquitto without persistence and log, and without Nagle's delay, which it alone has by default."""
    program = _program("mosquitto")

    def argv(port: int, folder: Path) -> list[str]:
        lines = [
            f"listener {port} {HOST}",
            "max_connections -1",
            "allow_anonymous true",
            "persistence false",
            "log_dest none",
            "set_tcp_nodelay true",
        ]
        config = folder / "mosquitto.conf"
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

    def argv(port: int, _folder: Path) -> list[str]:
        return [node, str(script), "--host", HOST, "--port", str(port), "--concurrent_limit", "20000"]

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
def running(server: Server, core: int) -> Generator[Running]:
    """A fresh server on its own core, until the block ends.

    Raises:
        ServerError: it ended, or did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="sigd-bench-") as name:
        folder = Path(name)
        port = _free_port()
        errors = folder / "stderr"
        began = time.perf_counter()
        with errors.open("wb") as stderr, _pinned(core):
            child = subprocess.Popen(
                server.command(port, folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=ROOT if server.in_repository else folder,
                env=_environment(),
            )
        try:
            _await_answer(server, child, port, errors)
            yield Running(server, child.pid, port, time.perf_counter() - began)
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


def _await_answer(server: Server, child: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ServerError(f"{server.name} did not start: {_last_words(errors)}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(server.probe)
            if connection.recv(1):
                return
        time.sleep(0.002)
    raise ServerError(f"{server.name} did not answer in {START_DEADLINE:.0f} s: {_last_words(errors)}")


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
