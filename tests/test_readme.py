"""README.md says what the program does, docs/security.md what it protects: examples are run, options and keys exist."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import msgspec
import pytest

from sigd import log
from sigd.client import OfferFrom, connect
from sigd.config import Config, Entry, Limits, Listener, load
from sigd.relay import origins, strikes
from sigd.relay.credentials import LEEWAY_SECONDS, NOBODY, WebToken
from sigd.rules.made import Rules
from sigd.rules.secret_files import LEAST_SECRET
from sigd.toml.tables import toml_text
from sigd.why.ladder import verdict_lines
from sigd.wire import cookies
from sigd.wire.datagram import LEAST_SLICE, MAX_MESSAGE, MAX_SLICES
from sigd.wire.greeting import LEAST_REGISTER
from sigd.wire.receiving import WHOLE_SECONDS
from tests import certificates
from tests.daemon import HANG_SECONDS, Daemon, running_daemon
from tests.needs import needs
from tests.why.staged import HOST, SRFLX, Stage

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()

SECONDS = HANG_SECONDS


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_what_it_is_stands_in_the_first_three_lines():
    head = " ".join(README.splitlines()[2:5])
    assert "WebRTC" in head
    assert "offer" in head


def test_the_transcript_is_what_a_terminal_shows():
    _, *lines = blocks("transcript")[0].splitlines()
    with (
        running_daemon() as daemon,
        socket.create_connection(("127.0.0.1", daemon.port)) as bob,
        socket.create_connection(("127.0.0.1", daemon.port)) as alice,
        alice.makefile("r") as heard,
        bob.makefile("r") as shown,
    ):
        bob.settimeout(SECONDS)
        alice.settimeout(SECONDS)
        bob.sendall(b"register bob\n")
        shown.readline()
        for line in lines:
            if line.startswith("{"):
                assert heard.readline() == line + "\n"
            else:
                alice.sendall(line.encode() + b"\n")
        assert f"`{shown.readline().strip()}`" in README


class Public:
    """What the README has an operator make, in a folder: configuration, certificate, secret, token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "sigd.toml"
        chain, key = certificates.files("localhost", "127.0.0.1")
        shutil.copy(chain, folder / "server.pem")
        shutil.copy(key, folder / "server.key")
        self.config.write_text(self._placed(blocks("toml")[0]).replace("0.0.0.0:7337", "127.0.0.1:0"))
        (typed_in,) = (block for block in blocks("sh") if "--check" in block)
        make_secret, self._check, self._make_token = typed_in.splitlines()
        self._typed(make_secret)

    def _placed(self, text: str) -> str:
        return text.replace("/etc/sigd/", f"{self.folder}/")

    def _typed(self, line: str) -> str:
        line = re.sub("^sigctl token", f"{sys.executable} -m sigd.ctl token --config {self.config}", line)
        line = re.sub("^sigd", f"{sys.executable} -m sigd.cli", line)
        done = subprocess.run(["/bin/sh", "-c", self._placed(line)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    def is_checked(self) -> None:
        assert self._typed(self._check) == "configuration is valid\n"

    def token(self) -> str:
        """The members of `register`, without braces."""
        return self._typed(self._make_token).strip().strip("{}")


def openssl(line: str, daemon: Daemon, *more: str) -> "subprocess.Popen[str]":
    """What the README's line starts, for this daemon."""
    needs("openssl")
    command = shlex.split(line.removeprefix("$ ").replace("sigd.example.net:7337", f"127.0.0.1:{daemon.port}"))
    return subprocess.Popen(
        [*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def streams(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def typed(line: str, keyboard: IO[str]) -> None:
    keyboard.write(line + "\n")
    keyboard.flush()


def without_time(line: str) -> str:
    return re.sub(r'"expiresMs":\d+', '"expiresMs":0', line)


def test_the_public_example_is_typed_into_openssl(tmp_path):
    command, register, *lines = blocks("transcript")[1].splitlines()
    public = Public(tmp_path)
    public.is_checked()
    with running_daemon("--config", str(public.config)) as daemon, openssl(command, daemon) as process:
        keyboard, screen = streams(process)
        typed(re.sub(r'"user":.*(?=})', lambda _: public.token(), register), keyboard)
        for line in lines:
            if line.startswith("{"):
                assert without_time(screen.readline()) == without_time(line) + "\n"
            else:
                typed(line, keyboard)
        assert screen.read() == ""
        assert process.wait(SECONDS) == 0
    days = re.search(r"good for (\d+) days", README)
    assert days is not None
    assert f'"expiresMs":{int(days[1]) * 86_400_000 + 29_000}' in README  # less the second that it takes to type


def test_openssl_ends_before_a_token_is_typed_where_it_is_told_to_check(tmp_path):
    options = re.search(r"unless `(-verify[^`]*)`", README)
    assert options is not None
    public = Public(tmp_path)
    with running_daemon("--config", str(public.config)) as daemon:
        checks = options[1].replace("sigd.example.net", "localhost").split()
        line = blocks("transcript")[1].splitlines()[0]
        certificates.authority("servers")
        trusted = ("-CAfile", str(certificates.folder() / "servers-ca.pem"))
        for more, expected in ((checks, ""), ([*checks, *trusted], '{"type":"pong"}\n')):
            with openssl(line, daemon, *more) as process:
                keyboard, screen = streams(process)
                try:
                    typed("ping\nquit", keyboard)
                except BrokenPipeError:
                    assert not expected
                assert screen.read() == expected


def test_a_reload_is_as_it_is_described(tmp_path):
    public = Public(tmp_path)
    with running_daemon("--config", str(public.config)) as daemon:

        def reload(text: str) -> list[str]:
            known = len(daemon.log)
            public.config.write_text(text)
            daemon.process.send_signal(signal.SIGHUP)
            until = time.monotonic() + SECONDS
            while not any(re.search(" reloaded links=| reload failed", line) for line in daemon.log[known:]):
                assert time.monotonic() < until, daemon.log
                time.sleep(0.01)
            return daemon.log[known:]

        text = public.config.read_text()
        assert "reloaded: auth.hmac[0].register" in reload(text.replace('"bob"', '"carol"'))[0]
        (failed,) = reload(text.replace("register", "registr"))
        assert "reload failed: nothing has changed" in failed


def test_members_of_credentials_are_those_that_sigctl_makes(tmp_path):
    token = json.loads("{" + Public(tmp_path).token() + "}")
    assert "credentials={" + ", ".join(f'"{member}": ...' for member in token) + "}" in README


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_the_python_example_answers_a_call(scheme):
    namespace: dict[str, object] = {}

    async def call(url: str) -> str:
        assert f'connect("{scheme}://127.0.0.1:7337", id="cam1"' in README
        source = blocks("python")[0].replace("tcp://127.0.0.1:7337", url)
        exec(compile(source, "README.md", "exec"), namespace)
        camera = asyncio.create_task(namespace["main"]())  # type: ignore[operator]  # what exec defines has no type
        async with connect(url, id="bob") as bob:
            while "cam1" not in await bob.peers():
                continue
            await bob.offer("cam1", "v=0")
            answer = await anext(bob)
        camera.cancel()
        await asyncio.wait([camera])
        assert not isinstance(answer, OfferFrom)
        return f"{answer}"

    with running_daemon("--listen", f"{scheme}://127.0.0.1:0") as daemon:
        answer = asyncio.run(asyncio.wait_for(call(daemon.url), 20))
    assert "sender='cam1'" in answer
    assert "v=0 ..." in answer


def test_the_listener_for_devices_goes_beside_the_public_one_and_takes_macs_alone(tmp_path):
    Public(tmp_path)
    public, devices = blocks("toml")
    listener, _, credential = devices.partition("\n[[auth.hmac]]")
    assert credential in public, "the same secret"
    file = tmp_path / "sigd.toml"
    file.write_text(f"{listener}\n{public}".replace("/etc/sigd/", f"{tmp_path}/"))
    config = load(str(file))
    assert [config.needs_seal(each) for each in config.listen] == [True, False]
    Rules(config)


def test_the_python_example_calls_what_it_defines():
    assert blocks("python")[0].endswith('if __name__ == "__main__":\n    asyncio.run(main())\n')


def test_the_way_to_a_server_is_six_lines_at_most():
    """tests/systemd/inside_readme.py runs them."""
    (lines,) = (block.splitlines() for block in blocks("sh") if "make install" in block)
    assert len(lines) <= 6


def test_over_udp_sigctl_does_what_it_is_said_to():
    listen, send = re.findall(r"`\.venv/bin/(sigctl [a-z]+ [^`]*udp://127\.0\.0\.1[^`]*)`", README)
    with running_daemon("--listen", "udp://127.0.0.1:0") as daemon:
        hear, say = (
            [sys.executable, "-m", "sigd.ctl", *shlex.split(line.replace("udp://127.0.0.1", daemon.url))[1:]]
            for line in (listen, send)
        )
        with subprocess.Popen([*hear, "--count", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bob:
            assert bob.stderr is not None
            assert bob.stdout is not None
            assert b"listening as bob" in bob.stderr.readline()
            said = subprocess.run(say, capture_output=True, text=True, timeout=SECONDS, check=True)
            assert said.stdout == "ok: in bob's outbox\n"
            assert json.loads(bob.stdout.read())["data"] == "hello"


def test_make_run_listens_as_it_is_said():
    (command,) = re.findall(r"exec \$\(BIN\)/sigd((?:.*\\\n)*.*)", MAKEFILE)
    words = shlex.split(command)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--listen"] == [
        f"{scheme}://127.0.0.1:7337" for scheme in ("tcp", "udp")
    ]
    assert "`make run` listens on TCP and UDP" in README


def test_the_longest_message_over_udp():
    assert f"{MAX_MESSAGE} bytes are the longest message" in README


def test_the_verdict_is_one_that_is_given():
    (shown,) = (block for block in blocks("text") if block.startswith("$ sigctl why cam1 bob\n"))
    stage = Stage()
    stage.call([HOST, SRFLX], [HOST])
    lines = [re.sub(r"\d\d:\d\d:\d\d", "00:00:00", line) for line in verdict_lines(stage.judged(), unicode=True)]
    assert re.sub(r"\d\d:\d\d:\d\d", "00:00:00", shown).splitlines()[1:] == lines


def test_the_usage_is_that_of_the_program():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    # Versions of Python break the line at different places.
    assert " ".join(blocks("help")[0].split()) in " ".join(shown.stdout.split())


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_every_option_exists():
    shown = subprocess.run([sys.executable, "-m", "sigd.cli", "--help"], capture_output=True, text=True, check=True)
    for option in re.findall(r"`sigd[^`]*`", README):
        for word in re.findall(r"--[a-z-]+", option):
            assert word in shown.stdout


@pytest.mark.parametrize(
    ("page", "link"),
    [
        (page, link)
        for page in ("README.md", "SECURITY.md", "docs/security.md", "docs/design.md")
        for link in re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text())
    ],
)
def test_every_link_leads_somewhere(page, link):
    assert (ROOT / page).parent.joinpath(link).exists()


# -- docs/security.md


def default_of(key: str) -> object:
    """What a key of the configuration is by default."""
    value: object = Config()
    for name in key.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("key", sorted(set(re.findall(r"`((?:limits|auth|ice|log)\.[a-z_]+)`", SECURITY))))
def test_every_key_exists(key):
    default_of(key)


def test_defaults_are_those_of_the_configuration():
    protected = SECURITY.partition("## What is not protected")[0]
    said = dict(re.findall(r"`(limits\.[a-z_]+)` = (\w+)", protected))
    assert len(said) >= 20
    for key, value in said.items():
        default = default_of(key)
        assert value == ("none" if default == () else str(default)), key
    milliseconds = re.search(r"`ice.turn_ttl_ms` later \((\d+) ms by default\)", " ".join(SECURITY.split()))
    assert milliseconds is not None
    assert int(milliseconds[1]) == default_of("ice.turn_ttl_ms")
    others = {"insecure": Config().insecure, "plaintext": Listener("tcp://127.0.0.1").plaintext}
    others |= {
        field.name: field.default for field in msgspec.structs.fields(Entry) if field.name in {"talk", "discover"}
    }
    written = {"insecure": "false", "plaintext": "false", "talk": '["*"]', "discover": "false"}
    for key, default in others.items():
        assert f"`{key}` = {written[key]}" in SECURITY
        assert toml_text(default) == written[key]


def test_no_limit_that_a_client_can_meet_is_left_out():
    left_out = {"max_frame", "max_depth", "keepalive_ms", "linger_ms", "drain_ms"}
    named = set(re.findall(r"`limits\.([a-z_]+)`", SECURITY))
    assert named == {field.name for field in msgspec.structs.fields(Limits)} - left_out


@pytest.mark.parametrize(
    "claim",
    [
        f"secrets below {LEAST_SECRET} characters are refused, HS256 keys below {WebToken.MIN_SECRET}",
        f"at least {LEAST_SECRET} characters",
        f"{strikes.LOCK_SECONDS:g} s in which nothing is looked at",
        f"has {strikes.STRIKES_KEPT} rows",
        f"a link ends {LEEWAY_SECONDS:g} s after its credential expires",
        f"until they say, and {LEEWAY_SECONDS:g} s longer",
        f"{NOBODY}, which is whoever comes from another user namespace",
        f"one /{origins.IPV6_PREFIX})",
        f"at most once in {log.REPEAT_SECONDS:g} s",
        f"after {Limits().misses_per_minute} messages to absent peers in a minute",
        f"After {Limits().auth_failures_per_minute} failures within a minute",
        f"a `register` below {LEAST_REGISTER} bytes gets none",
        f"drawn anew each {cookies.TICK_SECONDS:g} s and counts for {cookies.TICK_SECONDS:g} to "
        f"{2 * cookies.TICK_SECONDS:g} s",
        f"at most {MAX_SLICES} with at least {LEAST_SLICE} bytes; what is not whole after {WHOLE_SECONDS:g} s",
        f"again for {Limits().udp_unproven_per_second_per_address} a second behind one NAT",
    ],
)
def test_numbers_in_the_text(claim):
    assert claim in " ".join(SECURITY.split())


def test_what_it_types_makes_a_token(tmp_path):
    commands = re.findall(r"^```sh\n(.*?)^```$", SECURITY, re.MULTILINE | re.DOTALL)
    (make_secret,) = (block for block in commands if "/etc/sigd/secret" in block)
    subprocess.run(["/bin/sh", "-c", make_secret.replace("/etc/sigd", str(tmp_path))], check=True)
    (command,) = re.findall(r"`sigctl (token [^`]*)`", SECURITY)
    options = (*shlex.split(command), "--secret-file", str(tmp_path / "secret"))
    done = subprocess.run([sys.executable, "-m", "sigd.ctl", *options], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"user", "token"}
