"""Rows that need a process of their own: descriptors, latency, reload, the end, a log that cannot be written."""

import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests import certificates
from tests.hardening import credentials, flooder
from tests.hardening.processes import Ground, Pair, Process, started, trial
from tests.hardening.scene import last_words
from tests.in_process import CLIENTS, WITH_LENGTH, Client, error

# -- row 8


async def _more_than_fit(ground: Ground, process: Process, many: int, most: int) -> None:
    """Some get in, all others are told, those who were there notice nothing, and then there is room again."""
    began = time.monotonic()
    pair = await Pair.of(process)
    served: list[Client] = []
    told: list[object] = []

    async def comes() -> None:
        try:
            client = await process.connect(ground.framing)
        except (ConnectionResetError, BrokenPipeError):
            told.append(error("server-full"))  # by a close: nothing else would be understood
            return
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # by then it may have been told
            await client.says({"type": "ping"})
        answer = await _first(client)
        if answer == {"type": "pong"}:
            served.append(client)
        else:
            told.append(answer)

    async with trio.open_nursery() as nursery:
        for _ in range(many):
            nursery.start_soon(comes)
    assert len(served) <= most
    assert len(told) == many - len(served)
    assert all(each == error("server-full") for each in told), told
    await pair.talk()
    assert 1 <= len([line for line in process.log if " server-full " in line]) <= 1 + (time.monotonic() - began) / 10
    for client in served:
        await client.says({"type": "ping"})
        assert await client.hears() == {"type": "pong"}
        client.leaves()
    while True:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError, AssertionError):
            await (await process.connect(ground.framing)).is_served()
            break
        await trio.sleep(0.05)  # those who were refused may linger
    await pair.talk()


async def _first(client: Client) -> object:
    """The first message, which is a line where the client was refused before it was asked for its framing."""
    data = await client.sock.recv(65_536)
    return json.loads(data if data.startswith(b"{") else data[4:])


@trial("more clients than descriptors at the start")
async def few_descriptors(ground: Ground) -> None:
    ground.write(max_unregistered_per_address=0, max_per_address=0)
    async with ground.daemon(shell='ulimit -n 128; exec "$@"') as process:
        assert "max_connections=10000" in await process.says("possible=64")
        await _more_than_fit(ground, process, 200, 62)


@trial("descriptors that run out later")
async def fewer_descriptors(ground: Ground) -> None:
    ground.write(max_unregistered_per_address=0, max_per_address=0)
    async with ground.daemon() as process:
        await _leave_descriptors(process, 12)
        await _more_than_fit(ground, process, 60, 10)


async def _leave_descriptors(process: Process, count: int) -> tuple[int, int]:
    """Lower the limit so that so many more can be opened; the limit before."""
    taken = {int(number) for number in os.listdir(f"/proc/{process.pid}/fd")}
    free = (number for number in itertools.count() if number not in taken)  # the lowest is taken first
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), before[1]))
    return before


# -- rows 26 and 27

LONGEST_SECONDS = 0.05
"""What the 99th of a hundred messages between two who behave may take, whatever somebody else does."""

TRIES = 3
"""Of which one must do: the machine may be busy with something else."""

RATES_OFF = {"messages_per_second": 0, "bytes_per_second": 0}


async def p99(alice: Client, bob: Client) -> float:
    """How long the 99th of a hundred messages takes from one peer to another, well below all rates."""
    took: list[float] = []
    for _ in range(150):
        began = time.perf_counter()
        await alice.says({"type": "message", "to": "bob", "data": "x" * 200})
        assert (await bob.hears())["from"] == "alice"
        took.append(time.perf_counter() - began)
        await trio.sleep(0.012)
    return sorted(took)[len(took) * 99 // 100 - 1]


@asynccontextmanager
async def flooding(process: Process, framing: str, flood: bytes) -> AsyncIterator[None]:
    """Mallory floods, from another process."""
    port = process.urls[1 if framing == "tls" else 0].rpartition(":")[2]
    authority = str(certificates.folder() / "servers-ca.pem") if framing == "tls" else ""
    said = [CLIENTS[framing].framed(each).hex() for each in (b'{"type":"register","id":"mallory"}', flood)]
    with started([sys.executable, flooder.__file__, port, authority, *said], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert await trio.to_thread.run_sync(running.stdout.readline) == b"ready\n"
        yield
        assert running.poll() is None


async def stays_fast(ground: Ground, flood: bytes, **limits: int) -> None:
    """Two peers are not delayed while somebody floods, and the flood goes on to the end."""
    ground.write(**limits)
    async with ground.daemon() as process:
        frozen = await process.connect(ground.framing, receive_buffer=4_096)
        await frozen.registers("frozen")
        pair = await Pair.of(process)
        took: list[float] = []
        async with flooding(process, ground.framing, flood):
            while not took or (min(took) > LONGEST_SECONDS and len(took) < TRIES):
                took.append(await p99(pair.alice, pair.bob))
        assert min(took) <= LONGEST_SECONDS, took
        await pair.talk()


PING = b'{"type":"ping"}'
TO_FROZEN = b'{"type":"message","to":"frozen","data":"' + b"x" * 8_000 + b'"}'
BOMB = b'{"type":"message","to":"bob","data":' + b"[" * 1_000 + b"]" * 1_000 + b"}"


@trial("a flood of pings, and how long others wait", alone=True)
async def latency_beside_pings(ground: Ground) -> None:
    await stays_fast(ground, PING)


@trial("a flood of pings without any rates, and how long others wait", *WITH_LENGTH, alone=True)
async def latency_without_rates(ground: Ground) -> None:
    await stays_fast(ground, PING, **RATES_OFF)


@trial("a flood of bombs without any rates, and how long others wait", alone=True)
async def latency_beside_bombs(ground: Ground) -> None:
    await stays_fast(ground, BOMB, **RATES_OFF)


@trial("a flood of somebody who never reads, and how long others wait", alone=True)
async def latency_beside_frozen(ground: Ground) -> None:
    await stays_fast(ground, TO_FROZEN)


@trial("the same without any rates, and how long others wait", alone=True)
async def latency_beside_frozen_without_rates(ground: Ground) -> None:
    await stays_fast(ground, TO_FROZEN, **RATES_OFF)


# -- row 41


def tables(folder: Path) -> str:
    """Credentials for the pair and for cameras, their secrets beside the configuration."""
    pair = credentials.secret_file("pair", credentials.PAIR, folder=folder)
    cameras = credentials.secret_file("cameras", credentials.CAMERAS, folder=folder)
    return (
        f'[[auth.token]]\nsecret_file = "{pair}"\nregister = ["alice", "bob"]\n'
        f'[[auth.token]]\nsecret_file = "{cameras}"\nregister = ["cam*"]\n'
    )


async def _still_guarded(ground: Ground, process: Process, pair: Pair) -> None:
    """What held before holds: who has a credential is let in, and nobody else."""
    await pair.talk()
    for shown in ({}, {"token": credentials.RECORDERS}):
        stranger = await process.connect(ground.framing)
        await stranger.says({"type": "register", "id": "cam1", **shown})
        assert (await last_words(stranger))["code"] == "auth-failed"
    camera = await process.connect(ground.framing)
    await camera.registers("cam1", token=credentials.CAMERAS)
    camera.leaves()


def _faults(ground: Ground, text: str) -> dict[str, dict[Path, bytes | None]]:
    """What may be wrong with a configuration, by name: what to write into which files, None being nothing at all."""
    cameras, key = ground.folder / "cameras", ground.folder / "own.key"
    chain = ground.folder / "own.pem"
    whole = text.encode()
    other_key = Path(certificates.files("other", of="clients")[1]).read_bytes()
    return {
        "no TOML": {ground.config: b"[[listen"},
        "nested too deeply": {ground.config: b"x = " + b"[" * 100_000},
        "no UTF-8": {ground.config: b"# \xff\n" + whole},
        "no file": {ground.config: None},
        "nothing in it, so that everybody could be anybody": {
            ground.config: whole.replace(b"auth.token", b"auth.tokens")
        },
        "a number of thousands of digits": {ground.config: b"insecure = " + b"9" * 5_000 + b"\n" + whole},
        "insecure with credentials": {ground.config: b"insecure = true\n" + whole},
        "no secret": {cameras: None},
        "a blank secret": {cameras: b"\n"},
        "an empty secret": {cameras: b""},
        "a certificate that is none": {chain: b"-----BEGIN CERTIFICATE-----\n"},
        "no key": {key: None},
        "the key of another certificate": {key: other_key},
    }


@trial("a reload with a fault in it")
async def faulty_reload(ground: Ground) -> None:
    """All of the old holds on, one line says why, and the next reload without a fault is taken."""
    chain, key = certificates.files("localhost", "127.0.0.1")
    for name, source in (("own.pem", chain), ("own.key", key)):
        shutil.copy(source, ground.folder / name)
    ground.write(tables(ground.folder), auth_failures_per_minute=0)
    text = ground.config.read_text().replace(chain, f"{ground.folder}/own.pem").replace(key, f"{ground.folder}/own.key")
    ground.config.write_text(text)
    faults = _faults(ground, text)
    async with ground.daemon() as process:
        pair = await Pair.of(process, token=credentials.PAIR)
        for number, (name, files) in enumerate(faults.items(), 1):
            before = {path: path.read_bytes() for path in files}
            for path, content in files.items():
                if content is None:
                    path.unlink()
                else:
                    path.write_bytes(content)
            os.kill(process.pid, signal.SIGHUP)
            line = await process.says("reload failed: nothing has changed", number)
            assert len(line) < 4_096, name
            await _still_guarded(ground, process, pair)
            for path, content in before.items():
                path.touch(mode=0o600)
                path.write_bytes(content)
        os.kill(process.pid, signal.SIGHUP)
        await process.says(" reloaded links=")
        await _still_guarded(ground, process, pair)
        assert len([line for line in process.log if "reload failed" in line]) == len(faults)
        assert not [line for line in process.log if " ERROR " in line]


@trial("a reload without a descriptor to spare")
async def reload_without_descriptors(ground: Ground) -> None:
    """It once meant, to another server, a reset to no security at all (CVE-2017-7652)."""
    ground.write(tables(ground.folder), auth_failures_per_minute=0)
    async with ground.daemon() as process:
        pair = await Pair.of(process, token=credentials.PAIR)
        before = await _leave_descriptors(process, 0)
        os.kill(process.pid, signal.SIGHUP)
        assert "Too many open files" in await process.says("reload failed: nothing has changed")
        await pair.talk()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        await _still_guarded(ground, process, pair)
        os.kill(process.pid, signal.SIGHUP)
        await process.says(" reloaded links=")
        await _still_guarded(ground, process, pair)


@trial("a credential that is taken away")
async def revoked(ground: Ground) -> None:
    """Whoever came by it goes, nobody else notices."""
    ground.write(tables(ground.folder))
    async with ground.daemon() as process:
        pair = await Pair.of(process, token=credentials.PAIR)
        camera = await process.peer("cam1", ground.framing, token=credentials.CAMERAS)
        credentials.secret_file("cameras", credentials.RECORDERS, folder=ground.folder)
        os.kill(process.pid, signal.SIGHUP)
        assert await camera.hears_all() == [error("auth-failed", reconnect=False)]
        await pair.talk()
        assert await process.says(" reloaded links=")
        stranger = await process.connect(ground.framing)
        await stranger.says({"type": "register", "id": "cam1", "token": credentials.CAMERAS})
        assert (await last_words(stranger))["code"] == "auth-failed"
        await process.peer("cam1", ground.framing, token=credentials.RECORDERS)


# -- row 44


@trial("three hundred peers told to come back later", *WITH_LENGTH, alone=True)
async def stop(ground: Ground) -> None:
    """All are told, spread over `drain_ms`, and the process has ended within two seconds more."""
    ground.write(max_per_address=0, max_unregistered_per_address=0, drain_ms=2_000)
    count = 100 if ground.framing == "tls" else 300
    async with ground.daemon() as process:
        peers = [await process.peer(f"peer-{number}", ground.framing) for number in range(count)]
        heard: list[Any] = []

        async def goes(client: Client) -> None:
            heard.append((await client.hears_all(), time.monotonic()))
            client.leaves()

        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        async with trio.open_nursery() as nursery:
            for each in peers:
                nursery.start_soon(goes, each)
        assert await process.ended() == 0
        assert time.monotonic() - began < 4
        assert len(heard) == count
        for said, _ in heard:
            assert [each["type"] for each in said] == ["goingAway"]
            assert 0 <= said[0]["reconnectAfterMs"] < 10_000
        times = sorted(when - began for _, when in heard)
        assert times[count // 10] < times[count // 2] - 0.3 < times[-1] - 0.6


@trial("told to end twice")
async def stop_at_once(ground: Ground) -> None:
    ground.write(drain_ms=600_000)
    async with ground.daemon() as process:
        await process.peer("alice", ground.framing)
        os.kill(process.pid, signal.SIGTERM)
        await process.says(" stopping signal=SIGTERM")
        os.kill(process.pid, signal.SIGTERM)
        assert await process.ended() == 0


# -- row 45


@trial("killed, and started again")
async def killed(ground: Ground) -> None:
    """Nothing of those who were there is left: each has its ID again at once."""
    ground.write()
    for _ in range(2):
        async with ground.daemon() as process:
            for scheme, url in zip(("tcp", "tls"), process.urls, strict=True):
                text = re.sub(rf'"{scheme}://127.0.0.1:\d+"', f'"{url}"', ground.config.read_text())
                ground.config.write_text(text)
            pair = await Pair.of(process)
            await process.peer("carol", ground.framing)
            await pair.talk()
            os.kill(process.pid, signal.SIGKILL)
            with contextlib.suppress(ConnectionResetError):
                assert await pair.alice.hears_bytes() == b""


# -- row 48


def _ports(pid: int) -> list[int]:
    """Where a process listens, in the order of its descriptors: for one that cannot say so."""
    sockets = []
    for number in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
        with contextlib.suppress(OSError):
            sockets.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    listening = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if state == "0A":
            listening[f"socket:[{inode}]"] = int(local.rpartition(":")[2], 16)
    return [listening[each] for each in sockets if each in listening]


@trial("a log on a full disk")
async def full_disk(ground: Ground) -> None:
    """Nothing but lines of the log is lost."""
    ground.write(max_per_address=0, max_unregistered_per_address=0)
    command = [
        "sh",
        "-c",
        'exec "$@" 2>/dev/full',
        "sh",
        sys.executable,
        "-m",
        "sigd.cli",
        "--config",
        str(ground.config),
    ]
    with started(command) as running:
        while len(found := _ports(running.pid)) < 2:
            assert running.poll() is None
            await trio.sleep(0.02)
        process = Process(running, [f"tcp://127.0.0.1:{found[0]}", f"tls://127.0.0.1:{found[1]}"], [])
        try:
            pair = await Pair.of(process)
            for number in range(50):
                client = await process.peer(f"{number:064}", ground.framing)
                await client.sends(b"\x00\xff\xff\xff\n")
                client.leaves()
            await pair.talk()
            os.kill(running.pid, signal.SIGHUP)
            await pair.talk()
        finally:
            process.leave()
        os.kill(running.pid, signal.SIGTERM)
        assert await process.ended() == 0
