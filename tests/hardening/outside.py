"""Rows about programs beside the daemon, its files, its command line; and about clocks, which the core is given."""

import random
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.config import Limits
from sigd.relay.access import Access
from sigd.relay.credentials import ExpiringToken, Permissions, StaticToken
from sigd.relay.rates import Rates
from sigd.wire.messages import Register, decode, encode
from tests import certificates
from tests.hardening import credentials
from tests.hardening.operation import tables
from tests.hardening.processes import SIGD, Ground, Pair, Process, trial
from tests.needs import needs
from tests.relay.world import World

STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal acts on, the newline excepted."""

# -- row 14

STEERING = "cam\x1b]0;x\x07\x9b31m\x7f\u202e"


@trial("what programs at a terminal say of input that would steer it")
async def steered_programs(ground: Ground) -> None:
    ground.config.write_text(f'[[listen]]\nurl = "tcp://{STEERING[:4]}"\n'.replace("\x1b", "\\u001b"))
    for command in (
        [sys.executable, "-m", "sigd.ctl", "token", "--id", STEERING, "--ttl", "1h"],
        [sys.executable, "-m", "sigd.ctl", "token", "--id", "cam1", "--ttl", STEERING],
        [sys.executable, "-m", "sigd.ctl", "token", "--id", "cam1", "--ttl", "1h", "--secret-file", f"/{STEERING}"],
        [sys.executable, "-m", "sigd.ctl", STEERING],
        [*SIGD, "--listen", f"tcp://{STEERING}"],
        [*SIGD, "--set", f"{STEERING}={STEERING}"],
        [*SIGD, "--config", f"/{STEERING}"],
        [*SIGD, "--config", str(ground.config), "--check"],
    ):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 2, command
        said = (done.stdout + done.stderr).decode()
        assert said
        assert not STEERS.search(said), said


# -- row 17

SAMPLES = 3_000
SEPARATED = 4.5
"""Above this |t| measured times tell two kinds of input apart (dudect, Reparaz and others 2017)."""


def decode_register(frame: bytes) -> Register:
    """Decode a `register`."""
    message = decode(frame, 16)
    assert isinstance(message, Register)
    return message


def separation(prove: Callable[[Register], object], kinds: Sequence[Callable[[], Register]]) -> float:
    """Welch's t of how long two kinds take, at random, the slowest tenth of each left out: it is the machine's."""
    made = [(kind, encode(make())) for _ in range(SAMPLES) for kind, make in enumerate(kinds)]
    random.shuffle(made)
    # As they come from a wire, and only now: else it would show in the caches of which kind the neighbour in memory is.
    inputs = [(kind, decode_register(frame)) for kind, frame in made]
    took: tuple[list[int], list[int]] = ([], [])
    for kind, register in inputs:
        began = time.perf_counter_ns()
        prove(register)
        took[kind].append(time.perf_counter_ns() - began)
    kept = [sorted(times)[: len(times) * 9 // 10] for times in took]
    means, variances = [[of(times) for times in kept] for of in (statistics.fmean, statistics.variance)]
    error = (variances[0] / len(kept[0]) + variances[1] / len(kept[1])) ** 0.5
    return float(abs(means[0] - means[1]) / error)


@trial("how long a wrong credential takes", alone=True)
async def timing(ground: Ground) -> None:
    """It tells nothing of how much of it was right, or of whether it names somebody who is known.

    Each sample is another one of its kind: where in a table a digest falls makes a difference of its own.
    """
    rates = Rates.of(Limits())
    permissions = Permissions(("*",), ("*",), rates=rates)
    tokens = StaticToken("a", permissions, [credentials.CAMERAS.encode()])
    access = Access([tokens, ExpiringToken("b", permissions, [credentials.SECRET])], (), rates)
    size, right = len(credentials.CAMERAS), credentials.expiring("cam1")
    user, token = right["user"], right["token"]

    def junk(length: int) -> str:
        return secrets.token_hex(length)[:length]

    kinds = {
        "how much of a static token was right": (
            lambda: Register(token=credentials.CAMERAS[:-8] + junk(8)),
            lambda: Register(token=junk(size)),
        ),
        "how much of an expiring token was right": (
            lambda: Register(user=user, token=token[:-8] + junk(8)),
            lambda: Register(user=user, token=junk(len(token))),
        ),
        "who is known": (
            lambda: Register(user=user[:-4] + "cam1", token=junk(len(token))),
            lambda: Register(user=user[:-4] + junk(4), token=junk(len(token))),
        ),
    }
    for name, both in kinds.items():
        assert not any(access.prove(make(), None, 0.0) for make in both)
        tries: list[float] = []
        while not tries or (min(tries) > SEPARATED and len(tries) < 7):
            tries.append(separation(lambda register: access.prove(register, None, 0.0), both))
        assert min(tries) <= SEPARATED, (name, tries)


# -- row 38


@trial("tokens in the clear beyond loopback")
async def plain_text(ground: Ground) -> None:
    """Refused at the start, with what to write instead; what was written then is taken."""
    chain, key = certificates.files("localhost", "127.0.0.1")
    own = tables(ground.folder)
    listen = '[[listen]]\nurl = "tcp://0.0.0.0:0"\n'
    certified = f'certificate = "{chain}"\nkey = "{key}"\n'
    for refused in (listen, listen + certified):
        ground.config.write_text(refused + own)
        said = await ground.refuses()
        assert "unencrypted" in said
        assert "plaintext = true" in said
        assert "tls://" in said
    for taken in (listen + "plaintext = true\n", listen.replace("tcp:", "tls:") + certified):
        ground.config.write_text(taken + own)
        await trio.run_process([*SIGD, "--config", str(ground.config), "--check"], capture_stdout=True)
    ground.config.write_text(listen)
    assert "insecure = true" in await ground.refuses()


@trial("who listens to TLS", "tls")
async def listener_of_tls(ground: Ground) -> None:
    """Nothing of a register and its answer is in what crosses the network."""
    ground.write(tables(ground.folder))
    async with ground.daemon() as process:
        client = await process.connect("tls")
        crossed = bytearray()
        send, recv = client.sock.send, client.sock.recv

        async def noted_send(data: bytes) -> int:
            crossed.extend(data)
            return await send(data)

        async def noted_recv(size: int) -> bytes:
            data = await recv(size)
            crossed.extend(data)
            return data

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(client.sock, "send", noted_send)
            monkeypatch.setattr(client.sock, "recv", noted_recv)
            await client.registers("cam1", token=credentials.CAMERAS)
        assert len(crossed) > 200
        for word in (credentials.CAMERAS, "register", "cam1", "keepaliveMs"):
            assert word.encode() not in crossed


# -- row 39


async def openssl(process: Process, *options: str, say: str = "Q\n") -> tuple[int, str]:
    """What `openssl s_client` makes of the daemon."""
    command = [needs("openssl"), "s_client", "-connect", process.urls[1].removeprefix("tls://"), *options]
    done = await trio.run_process(
        command, stdin=say.encode(), capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace")


@trial("old versions of TLS", "tls")
async def old_tls(ground: Ground) -> None:
    ground.write()
    async with ground.daemon() as process:
        pair = await Pair.of(process)
        for version in ("-tls1", "-tls1_1"):
            status, said = await openssl(process, version, "-cipher", "DEFAULT@SECLEVEL=0")
            assert status != 0
            assert "alert protocol version" in said, said
        for version in ("-tls1_3", "-tls1_2"):
            status, said = await openssl(process, version)
            assert status == 0, said
            assert f"New, {version[1:].replace('tls', 'TLSv').replace('_', '.')}" in said
            assert "Compression: NONE" in said
        assert "Secure Renegotiation IS" in said  # s_client 3.5 says so of TLS 1.2 alone
        _, said = await openssl(process, "-tls1_2", "-fallback_scsv")
        assert "inappropriate fallback" in said
        await pair.talk()


@trial("a renegotiation", "tls")
async def renegotiation(ground: Ground) -> None:
    """What was not said before it is not heard after it."""
    ground.write()
    async with ground.daemon() as process:
        pair = await Pair.of(process)
        _, said = await openssl(process, "-tls1_2", say="R\n")
        assert "RENEGOTIATING" in said
        assert "no renegotiation" in said, said
        await pair.talk()


@trial("typed lines through openssl", "tls")
async def typed_lines(ground: Ground) -> None:
    """No attack: what the README says of a person with openssl."""
    ground.write()
    async with ground.daemon() as process:
        authority = str(certificates.folder() / "servers-ca.pem")
        options = ("-quiet", "-verify_quiet", "-verify_return_error", "-CAfile", authority)
        _, said = await openssl(process, *options, say="register carol\nsend carol hello\nquit\n")
        assert '"type":"registered","id":"carol"' in said
        assert '{"type":"message","from":"carol","data":"hello"}' in said


# -- row 40


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


@trial("who looks for secrets")
async def secrets_looked_for(ground: Ground) -> None:
    """They are in no place that others see, and in no answer; nor is what was tried."""
    turn = credentials.secret_file("turn", "turn-servers-know-this-as-well", folder=ground.folder)
    hmac = credentials.secret_file("hmac", credentials.SECRET, folder=ground.folder)
    jwt = credentials.secret_file("jwt", "j" * 40, folder=ground.folder)
    own = tables(ground.folder) + (
        f'[[auth.hmac]]\nsecret_file = "{hmac}"\n'
        f'[[auth.jwt]]\nalgorithm = "HS256"\nkey_file = "{jwt}"\n'
        'issuer = "i"\naudience = "a"\n'
        f'[ice]\nturn_urls = ["turn:ice.example.net"]\nturn_secret_file = "{turn}"\n'
    )
    ground.write(own)
    shown = credentials.expiring("dvr1")
    tried = "a-token-that-was-mistyped-by-somebody"
    hidden = [credentials.PAIR, credentials.CAMERAS, credentials.RECORDERS, credentials.SECRET.decode(), "j" * 40]
    hidden += ["turn-servers-know-this-as-well", shown["token"], tried]
    hidden += _content(certificates.files("localhost", "127.0.0.1")[1]).decode().splitlines()[1:-1]
    heard: list[bytes] = []
    async with ground.daemon() as process:
        pair = await Pair.of(process, token=credentials.PAIR)
        await process.peer("cam1", ground.framing, token=credentials.CAMERAS)
        await process.peer("dvr1", ground.framing, **shown)
        for wrong in ({"token": tried}, {"user": shown["user"], "token": tried}, {"jwt": tried}):
            stranger = await process.connect(ground.framing)
            await stranger.says({"type": "register", "id": "cam1", **wrong})
            heard.append(await stranger.hears_bytes())
        credentials.secret_file("cameras", credentials.RECORDERS, folder=ground.folder)
        process.popen.send_signal(signal.SIGHUP)
        await process.says(" reloaded links=")
        credentials.secret_file("hmac", b"short", folder=ground.folder)
        process.popen.send_signal(signal.SIGHUP)
        await process.says("reload failed")
        places = [_content(f"/proc/{process.pid}/{name}") for name in ("cmdline", "environ")]
        await pair.talk()
        process.popen.terminate()
        assert await process.ended() == 0
        places.append("".join(process.log).encode())
    credentials.secret_file("hmac", credentials.SECRET, folder=ground.folder)
    for option in ("--print-config", "--check"):
        done = await trio.run_process([*SIGD, "--config", str(ground.config), option], capture_stdout=True)
        places.append(done.stdout)
    for place in (*places, *heard):
        assert place
        for secret in hidden:
            assert secret.encode() not in place


@trial("secrets that others may read")
async def readable_secrets(ground: Ground) -> None:
    ground.write(tables(ground.folder))
    for mode in (0o604, 0o666):
        (ground.folder / "cameras").chmod(mode)
        said = await ground.refuses()
        assert "chmod o=" in said
        assert credentials.CAMERAS not in said
    (ground.folder / "cameras").chmod(0o640)
    await trio.run_process([*SIGD, "--config", str(ground.config), "--check"], capture_stdout=True)


# -- row 42


@trial("an empty or blank file of secrets")
async def blank_secrets(ground: Ground) -> None:
    """Nobody must get in with nothing."""
    ground.write(tables(ground.folder))
    for content in (b"", b"\n", b"short\n"):  # tests/rules/test_secret_files.py has the rule
        (ground.folder / "cameras").write_bytes(content)
        said = await ground.refuses()
        assert str(ground.folder / "cameras") in said
    ground.write('[[auth.token]]\nsecret_file = "/nowhere"\nregister = []\n')
    assert "register" in await ground.refuses()


@trial("an [auth] without any credential")
async def no_credentials(ground: Ground) -> None:
    """Beyond loopback that is no configuration, but for who says so."""
    ground.config.write_text('listen = ["tcp://0.0.0.0:0"]\n[auth]\ndeny = ["x"]\n')
    assert "insecure = true" in await ground.refuses()


# -- row 43

DAY_SECONDS = 86_400.0


@trial("a clock on the wall that jumps")
async def wall_clock(ground: Ground) -> None:
    """Credentials end by the new time, of those who are here as of those who come; nothing is due all the time."""
    permissions = Permissions(("*",), ("*",), rates=Rates.of(Limits()))
    for jump in (DAY_SECONDS, -DAY_SECONDS):
        world = World(credentials=[ExpiringToken("file", permissions, [credentials.SECRET])])

        def shown(glob: str, seconds: float, world: World = world) -> dict[str, Any]:
            return credentials.expiring(glob, seconds, now=world.unix_now)

        alice = world.peer("alice", lines=True, **shown("alice", 3_600))
        old = shown("carol", 3_600)
        world.sets_clock(jump)
        carol = world.connects("carol", lines=True)
        carol.says({"type": "register", "id": "carol", **old})
        answer = carol.hears()
        dave = world.peer("dave", lines=True, **shown("dave", 3_600))
        world.passes(60)
        if jump > 0:
            assert answer["code"] == alice.hears()["code"] == "auth-expired"
        else:
            assert answer["expiresMs"] > DAY_SECONDS * 1_000
            assert alice.hears_nothing()
        assert world.router.deadlines.earliest > world.now
        world.passes(3_600 - 60 + 29)
        assert dave.hears_nothing()
        world.passes(2)
        assert dave.hears()["code"] == "auth-expired"
        world.passes(DAY_SECONDS if jump < 0 else 0)
        assert jump > 0 or alice.hears()["code"] == "auth-expired"


@trial("a reload after such a jump")
async def reload_after_jump(ground: Ground) -> None:
    """A reload changes nothing about when credentials end by the new time."""
    permissions = Permissions(("*",), ("*",), rates=Rates.of(Limits()))
    world = World(credentials=[ExpiringToken("file", permissions, [credentials.SECRET])])
    shown: dict[str, Any] = credentials.expiring("alice", 3_600, now=world.unix_now)
    alice = world.peer("alice", lines=True, **shown)
    world.sets_clock(-DAY_SECONDS)
    admission = world.router.admission
    assert not any(admission.change(admission.access, admission.vendor, world.now))
    world.passes(DAY_SECONDS + 3_600 + 29)
    assert alice.hears_nothing()
    world.passes(2)
    assert alice.hears()["code"] == "auth-expired"


# -- row 30


@trial("two thousand who register and go")
async def comers_of_the_core(ground: Ground) -> None:
    """Nothing of them is left in any table."""
    world = World()
    for number in range(2_000):
        peer = world.peer(f"{number:064}")
        peer.leaves()
    router = world.router
    assert not router.registry.holders
    assert not router.admission.unregistered
    assert not len(router.deadlines)
    assert not len(router.admission.origins)
    assert router.buffers.of_links == 0
