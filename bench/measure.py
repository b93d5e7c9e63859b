"""Scenarios and rounds: every server once per scenario and round, one after the other, each in a fresh process."""

import functools
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.servers import (
    BUILD,
    HOST,
    PAUSES,
    RATES,
    UDP_SECRET,
    Running,
    Server,
    ServerError,
    Transport,
    running,
    sigd_rated,
    sigd_watched,
)

SOURCES = Path(__file__).parent
CFLAGS = ["-O2", "-Wall", "-Wextra", "-std=gnu11"]

LOAD, LOAD_TLS, DATAGRAMS = "load", "load-tls", "datagrams"
FLAGS = {LOAD: [], LOAD_TLS: ["-DTLS", "-lssl", "-lcrypto"], DATAGRAMS: ["-lcrypto"]}
"""The load generators, and what each is built with beside the rest."""


class BuildError(Exception):
    """The load generator could not be built."""


@dataclass(frozen=True)
class Scenario:
    """What the load generator plays."""

    name: str
    title: str
    pairs: int
    window: int = 1
    size: str = "candidate"
    idle: int = 0
    settle: float = 0.0
    warmup: float = 1.0  # a just-in-time compiler needs most of it
    transport: Transport = Transport.TCP

    @property
    def program(self) -> str:
        """The load generator that plays it."""
        if self.transport.datagrams:
            return DATAGRAMS
        return LOAD_TLS if self.transport is Transport.TLS else LOAD

    def is_for(self, server: Server) -> bool:
        """Whether this server takes part."""
        return self.transport in server.transports


ONE_PAIR = Scenario("one-pair", "One pair, window 1, candidates", pairs=1)
WINDOW_1 = Scenario("window-1", "50 pairs, window 1, candidates", pairs=50)
# Directly behind what it is compared with.
WINDOW_1_TLS = Scenario(
    "window-1-tls", "50 pairs, window 1, candidates, over TLS 1.3", pairs=50, transport=Transport.TLS
)
WINDOW_1_UDP = Scenario("window-1-udp", "50 pairs, window 1, candidates, over UDP", pairs=50, transport=Transport.UDP)
WINDOW_1_MAC = Scenario(
    "window-1-mac", "50 pairs, window 1, candidates, over UDP, authenticated", pairs=50, transport=Transport.UDP_MAC
)
WINDOW_16 = Scenario("window-16", "50 pairs, window 16, candidates", pairs=50, window=16)
OFFER = Scenario("offer", "50 pairs, window 1, offers of 3 kB", pairs=50, size="offer")
# NATS pings every client about 2 s after it came: the settling lets that pass before anything is measured.
CROWD = Scenario("crowd", "50 pairs among 8 000 connections, window 1, candidates", pairs=50, idle=7900, settle=2.5)
CROWD_UDP = Scenario(
    "crowd-udp", "50 pairs among 8 000 peers over UDP", pairs=50, idle=7900, settle=0.5, transport=Transport.UDP
)
MILLION = Scenario(
    "million", "50 pairs among a million peers over UDP", pairs=50, idle=999_900, settle=0.5, transport=Transport.UDP
)
"""Once, and of our own alone: it takes some minutes."""

RATED = [WINDOW_1, WINDOW_16]
"""Where it is measured what rates cost."""

SCENARIOS = [ONE_PAIR, WINDOW_1, WINDOW_1_TLS, WINDOW_1_UDP, WINDOW_1_MAC, WINDOW_16, OFFER, CROWD, CROWD_UDP, MILLION]


class Sample(msgspec.Struct, frozen=True):
    """What load.c prints; its JSON members have these names."""

    messages: int
    lost: int
    messages_per_second: float
    p50_us: float
    p99_us: float
    server_cpu_us_per_message: float
    own_cpu_us_per_message: float
    frame_bytes: int
    connections: int
    connect_cpu_us: float
    rss_kib_per_connection: float
    rss_kib: float = 0.0  # of the whole server, before they play; of datagrams.c alone


class Pauses(msgspec.Struct, frozen=True):
    """What bench.pauses says: the longest of each, in milliseconds of CPU."""

    collector_ms: float
    peers_ms: float


@dataclass(frozen=True)
class Noise:
    """What else happened on the machine during one measurement, in cores."""

    others: float  # processes that are not ours
    stolen: float  # by the hypervisor


@dataclass
class Results:
    """All samples, by scenario, server and round; a failed measurement is missing there and named in `failures`."""

    samples: dict[tuple[str, str], dict[int, Sample]] = field(default_factory=dict[tuple[str, str], dict[int, Sample]])
    starts: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    rates: dict[str, list[float]] = field(default_factory=dict[str, list[float]])  # by scenario: us per message
    pauses: Pauses | None = None
    failures: list[str] = field(default_factory=list[str])
    noise: list[Noise] = field(default_factory=list[Noise])

    def rounds(self, scenario: Scenario, server: str) -> dict[int, Sample]:
        """The samples of one server in one scenario, by round."""
        return self.samples.get((scenario.name, server), {})


def build(name: str = LOAD) -> Path:
    """A load generator, compiled if a source is newer than it.

    Three programs, so that plain text does without OpenSSL, and what is measured there does not change with it.

    Raises:
        BuildError: no compiler, or it refused; but for LOAD mostly because OpenSSL's headers are not here.
    """
    BUILD.mkdir(exist_ok=True)
    program, source = BUILD / name, SOURCES / f"{name.removesuffix('-tls')}.c"
    newest = max(each.stat().st_mtime for each in (source, *SOURCES.glob("*.h")))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BuildError("no C compiler: the load generator cannot be built")
    if FLAGS[name] and not _compiles(compiler, "#include <openssl/ssl.h>\n"):
        raise BuildError("no OpenSSL headers: the load generator cannot encrypt (Debian has them in libssl-dev)")
    argv = [compiler, *CFLAGS, "-o", str(program), str(source), *FLAGS[name]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise BuildError(f"the load generator does not compile:\n{done.stderr}")
    return program


def _compiles(compiler: str, source: str) -> bool:
    argv = [compiler, "-fsyntax-only", "-x", "c", "-"]
    return subprocess.run(argv, input=source, capture_output=True, text=True, timeout=60, check=False).returncode == 0


def play(program: Path, target: Running, scenario: Scenario, seconds: float) -> Sample:
    """One scenario against one running server.

    Raises:
        ServerError: the load generator gave up, or messages were lost.
    """
    options = {
        "pairs": scenario.pairs,
        "idle": scenario.idle,
        "window": scenario.window,
        "settle": scenario.settle,
        "warmup": scenario.warmup,
        "seconds": seconds,
        "pid": target.pid,
    }
    argv = [str(program), *([] if scenario.transport.datagrams else [target.server.protocol]), HOST, str(target.port)]
    argv += [f"--{name}={value}" for name, value in options.items()]
    match scenario.transport:
        case Transport.TCP:
            argv += [f"--size={scenario.size}"]
        case Transport.TLS:
            argv += [f"--size={scenario.size}", "--tls"]
        case Transport.UDP_MAC:
            argv += [f"--secret={UDP_SECRET}"]
        case Transport.UDP:
            pass
    if scenario is MILLION:
        argv += ["--addresses=65536", "--keepalive=300000", "--lists=200"]
    timeout = (1_800 if scenario is MILLION else 150) + seconds
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServerError("the load generator did not come to an end") from error
    if done.returncode:
        raise ServerError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    sample = msgspec.json.decode(done.stdout, type=Sample)
    if sample.lost or not sample.messages:
        raise ServerError(f"{sample.lost} messages lost, {sample.messages} relayed")
    return sample


def rates_cost(program: Path, scenario: Scenario, seconds: float, core: int) -> float:
    """What its rates cost our own sigd: CPU us per message.

    Raises:
        ServerError: it could not be measured.
    """
    with running(sigd_rated(), core) as target:
        play(program, target, scenario, seconds)
        said = (target.folder / RATES).read_text().split("\n")[:-1]  # what is behind the last line end is unfinished
    if not said:
        raise ServerError("the daemon did not say what its rates cost")
    return float(said[-1])


def among_a_million(program: Path, seconds: float, core: int) -> tuple[Sample, Pauses]:
    """What it costs to be one of a million.

    Raises:
        ServerError: it could not be measured.
    """
    with running(sigd_watched(), core, Transport.UDP) as target:
        sample = play(program, target, MILLION, seconds)
        said = (target.folder / PAUSES).read_bytes()
    return sample, msgspec.json.decode(said, type=Pauses)


def measure(
    programs: Mapping[str, Path],
    servers: Sequence[Server],
    scenarios: Sequence[Scenario],
    *,
    seconds: float,
    rounds: int,
    core: int,
    own: bool,
    progress: Callable[[str], None],
) -> Results:
    """Interleaves servers within each scenario and repeats the whole: what drifts, drifts for all.

    Servers run on `core`; the load generator (of `programs`, by name) runs where this process does. With `own` it is
    measured too what rates cost our own sigd, and once what a million peers do. What fails is noted, the rest goes on.
    """
    results = Results()

    def attempt(label: str, run: Callable[[], str]) -> None:
        before = _cpu_seconds()
        try:
            said = run()
        except ServerError as error:
            results.failures.append(f"{label}: {error}")
            progress(f"{label}: FAILED: {error}")
            return
        results.noise.append(_noise(before, _cpu_seconds()))
        progress(f"{label}: {said}")

    def one(server: Server, scenario: Scenario, number: int) -> str:
        with running(server, core, scenario.transport) as target:
            if scenario.transport is Transport.TCP:  # a handshake is no part of starting
                results.starts.setdefault(server.name, []).append(target.start_seconds)
            sample = play(programs[scenario.program], target, scenario, seconds)
        results.samples.setdefault((scenario.name, server.name), {})[number] = sample
        return (
            f"{sample.server_cpu_us_per_message:.1f} us per message"
            f" (load generator {sample.own_cpu_us_per_message:.1f}), {sample.messages_per_second:.0f}/s"
        )

    def rated(scenario: Scenario) -> str:
        cost = rates_cost(programs[LOAD], scenario, seconds, core)
        results.rates.setdefault(scenario.name, []).append(cost)
        return f"{cost:.2f} us per message"

    def million() -> str:
        sample, results.pauses = among_a_million(programs[DATAGRAMS], seconds, core)
        results.samples[MILLION.name, "sigd"] = {0: sample}
        return f"{sample.server_cpu_us_per_message:.1f} us per message, {sample.rss_kib / 1024:.0f} MiB"

    for number in range(rounds):
        for scenario in scenarios:
            if scenario is MILLION:
                if own and not number:
                    attempt("among a million", million)
                continue
            label = f"round {number + 1}/{rounds}, {scenario.name}"
            for server in filter(scenario.is_for, servers):
                attempt(f"{label}, {server.name}", functools.partial(one, server, scenario, number))
            if own and scenario in RATED:
                attempt(f"{label}, what rates cost", functools.partial(rated, scenario))
    return results


def _cpu_seconds() -> tuple[float, float, float, float]:
    """Now; busy and stolen on all cores; and our children's, who must have ended to be counted."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, stolen, *_ = map(int, stat.readline().split()[1:])
    tick = os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = (user + nice + system + irq + softirq) / tick
    return time.monotonic(), busy, stolen / tick, children.ru_utime + children.ru_stime


def _noise(before: tuple[float, float, float, float], after: tuple[float, float, float, float]) -> Noise:
    seconds, busy, stolen, children = (b - a for a, b in zip(before, after, strict=True))
    return Noise(others=max(0.0, busy - children) / seconds, stolen=stolen / seconds)
