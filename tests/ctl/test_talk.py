"""`sigctl send` and `listen`: over everything, against a daemon in a process of its own."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from sigd.client.backlog import Received
from sigd.client.blocking import BlockingPeer, connect
from sigd.ctl import talk
from sigd.wire import messages
from sigd.wire.errors import ErrorCode
from sigd.wire.said import AnswerFrom, ByeFrom, CandidateFrom, MessageFrom, OfferFrom
from tests import certificates
from tests.calls.public import SECRET, token, write_private
from tests.client.over_all import AUTH, daemon_in, url_of
from tests.client.test_blocking_scripted import Link, scripted
from tests.ctl.conftest import Sigctl
from tests.daemon import HANG_SECONDS, Daemon

SECONDS = HANG_SECONDS

OVER_ALL = pytest.mark.parametrize("over", ["tcp", "tls", "udp", "unix"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon_in(tmp_path_factory.mktemp("open")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Credentials in files."""
    folder = tmp_path_factory.mktemp("guarded")
    write_private(folder / "secret", SECRET)
    alice = token(f"{int(time.time()) + 600}:alice:*")
    write_private(folder / "alice.json", json.dumps(alice).encode() + b"\n")
    write_private(folder / "alice.token", alice["token"].encode() + b"\n")
    (folder / "user").write_text(alice["user"])
    return folder


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[Daemon]:
    """A daemon that wants to see credentials."""
    with daemon_in(folder, AUTH) as daemon:
        yield daemon


@pytest.fixture
def bob(served: Daemon) -> Iterator[BlockingPeer]:
    with connect(url_of(served, "tcp"), id="bob") as peer:
        yield peer


def ca_for(over: str) -> list[str]:
    certificates.authority("servers")
    return ["--ca", str(certificates.folder() / "servers-ca.pem")] if over == "tls" else []


# -- send


@OVER_ALL
def test_a_text_arrives(served: Daemon, sigctl: Sigctl, bob: BlockingPeer, over: str):
    status, out, err = sigctl("send", "--id", "me", *ca_for(over), url_of(served, over), "bob", "hällo")
    assert (status, out, err) == (0, "ok: in bob's outbox\n", "")
    assert bob.receive(5) == MessageFrom(sender="me", data="hällo")


INIT = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}


@pytest.mark.parametrize(
    ("arguments", "heard"),
    [
        (["--data", '{"a": [1.50, "x"]}'], MessageFrom(sender="me", data={"a": [1.5, "x"]}, session="s1")),
        (["--offer", "FILE"], OfferFrom(sender="me", sdp="v=0\r\n", session="s1")),
        (["--answer", "FILE"], AnswerFrom(sender="me", sdp="v=0\r\n", session="s1")),
        (["--offer", "-"], OfferFrom(sender="me", sdp='"typed"\n', session="s1")),
        (["--candidate", json.dumps(INIT, indent=1)], CandidateFrom(sender="me", candidate=INIT, session="s1")),
        (["--end-of-candidates"], CandidateFrom(sender="me", candidate=None, session="s1")),
        (["--bye"], ByeFrom(sender="me", session="s1")),
        (["--bye", "done"], ByeFrom(sender="me", session="s1", reason="done")),
        (["--data", "-"], MessageFrom(sender="me", data="typed", session="s1")),
        (["-"], MessageFrom(sender="me", data='"typed"', session="s1")),
        (["--", "-5"], MessageFrom(sender="me", data="-5", session="s1")),
    ],
)
def test_everything_that_a_peer_says_can_be_sent(
    served: Daemon,
    sigctl: Sigctl,
    bob: BlockingPeer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    heard: Received,
):
    file = tmp_path / "sdp"
    file.write_bytes(b"v=0\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'"typed"\n')))
    written = [str(file) if argument == "FILE" else argument for argument in arguments]
    assert sigctl("send", "--id", "me", "--session", "s1", served.url, "bob", *written)[0] == 0
    assert bob.receive(5) == heard


def test_json_says_what_became_of_it(served: Daemon, sigctl: Sigctl, bob: BlockingPeer):
    status, out, err = sigctl("send", "--json", served.url, "bob", "hello")
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert re.fullmatch(r"sigctl-[0-9a-f]{8}", said.pop("from"))
    assert said == {"schema": 1, "type": "sent", "ok": True, "to": "bob"}
    status, out, err = sigctl("send", "--json", "--id", "me", served.url, "nobody", "hello")
    assert (status, err) == (1, "")
    said = json.loads(out)
    assert said.pop("message")
    assert said == {
        "schema": 1,
        "type": "sent",
        "ok": False,
        "from": "me",
        "to": "nobody",
        "code": "peer-unavailable",
        "meaning": "Nobody holds the ID in `to`, or its link has ended.",
    }
    assert bob.receive(5) is not None


def test_a_refusal_is_told_with_its_meaning(served: Daemon, sigctl: Sigctl):
    status, out, err = sigctl("send", served.url, "nobody", "hello")
    assert (status, out) == (1, "")
    first, second = err.splitlines()
    assert first.startswith("sigctl: peer-unavailable (to nobody): ")
    assert second == "sigctl: Nobody holds the ID in `to`, or its link has ended."
    status, out, err = sigctl("send", served.url, "nobody", "--bye", "x" * 200)
    assert status == 1
    assert err.startswith("sigctl: bad-message: ")


def test_no_daemon_is_3_and_silence_4(sigctl: Sigctl, tmp_path: Path):
    import socket

    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        status, out, err = sigctl("send", f"tcp://127.0.0.1:{port}", "bob", "x")
        told = f"no connection to tcp://127.0.0.1:{port}: connection refused: start sigd there, or correct the URL"
        assert (status, out, err) == (3, "", f"sigctl: {told}\n")
        mute.listen()
        status, out, err = sigctl("send", "--timeout", "0.1", f"tcp://127.0.0.1:{port}", "bob", "x")
        assert (status, out, err) == (4, "", "sigctl: timeout: the server did not answer in time\n")
    status, out, err = sigctl("listen", f"unix:{tmp_path}/none")
    told = f"no connection to unix:{tmp_path}/none: no such file or directory: start sigd, or correct the path"
    assert (status, out, err) == (3, "", f"sigctl: {told}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://h", "bob", "x"], "expected tls://host"),
        (["tcp://127.0.0.1:1", "no peer", "x"], "is not a peer ID"),
        (["tcp://127.0.0.1:1", "bob"], "is required"),
        (["tcp://127.0.0.1:1", "bob", "x", "--data", "1"], "not allowed with"),
        (["tcp://127.0.0.1:1", "bob", "--data", "{"], "--data: not JSON"),
        (["tcp://127.0.0.1:1", "bob", "--candidate", "[" * 5000], "--candidate: not JSON"),
        (["tcp://127.0.0.1:1", "bob", "--offer", "/none/there"], "/none/there: No such file"),
        (["tcp://127.0.0.1:1", "bob", "--offer", "/dev/zero"], "more than 1048576 bytes"),
        (["tcp://127.0.0.1:1", "bob", "\udcff"], "TEXT: "),
        (["tcp://127.0.0.1:1", "bob", "x", "--user", "u"], "--user goes with"),
        (["tcp://127.0.0.1:1", "bob", "x", "--key", "k"], "--key goes with"),
        (["tcp://127.0.0.1:1", "bob", "x", "--ca", "/none/there"], "/none/there: No such file"),
        (["tcp://127.0.0.1:1", "bob", "x", "--ca", "pyproject.toml"], "invalid PEM"),
        (["tcp://127.0.0.1:1", "bob", "x", "--token-file", "/none/there"], "no such file"),
        (["tcp://127.0.0.1:1", "bob", "x", "--timeout", "nan"], "is not between"),
    ],
)
def test_what_cannot_be_meant_is_a_fault_of_usage(sigctl: Sigctl, arguments: list[str], said: str):
    status, out, err = sigctl("send", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.startswith("sigctl: ")
    assert err.isascii()
    assert err.count("\n") == 1


def test_certificates_are_for_tls_alone(served: Daemon, sigctl: Sigctl):
    status, _, err = sigctl("send", *ca_for("tls"), url_of(served, "tcp"), "bob", "x")
    assert (status, err) == (2, "sigctl: certificates are for tls:// URLs: to this one everything goes in the clear\n")
    status, _, err = sigctl("send", url_of(served, "tls"), "bob", "x")
    assert status == 3
    assert err.startswith("sigctl: no connection: the server's certificate is not trusted: ")


def test_a_certificate_can_be_shown(served: Daemon, sigctl: Sigctl, bob: BlockingPeer):
    chain, key = certificates.files("client", of="clients")
    tls = [*ca_for("tls"), url_of(served, "tls"), "bob", "x"]
    assert sigctl("send", "--cert", chain, "--key", key, *tls)[0] == 0
    assert bob.receive(5) is not None
    status, _, err = sigctl("send", "--cert", chain, "--key", certificates.files("other", of="clients")[1], *tls)
    assert status == 2
    assert "invalid PEM" in err


# -- credentials


@OVER_ALL
@pytest.mark.parametrize("how", ["secret", "json", "token"])
def test_credentials_come_from_files(guarded: Daemon, folder: Path, sigctl: Sigctl, over: str, how: str):
    shown = {
        "secret": ["--secret-file", str(folder / "secret")],
        "json": ["--token-file", str(folder / "alice.json")],
        "token": ["--user", (folder / "user").read_text(), "--token-file", str(folder / "alice.token")],
    }
    url = url_of(guarded, over)
    status, out, err = sigctl("send", "--id", "alice", *shown[how], *ca_for(over), url, "alice", "to me")
    assert (status, out, err) == (0, "ok: in alice's outbox\n", "")


def test_who_shows_none_is_refused_and_told_why(guarded: Daemon, sigctl: Sigctl):
    status, out, err = sigctl("send", "--id", "alice", guarded.url, "bob", "x")
    assert (status, out) == (1, "")
    assert err.startswith("sigctl: auth-failed: ")
    assert "sigctl: The credential is not accepted for this ID, or not any more.\n" in err


def test_a_file_that_others_can_read_is_no_secret(guarded: Daemon, tmp_path: Path, sigctl: Sigctl):
    file = tmp_path / "token"
    file.write_text("open-to-everybody-here")
    file.chmod(0o644)
    for option in ("--token-file", "--secret-file", "--jwt-file"):
        status, out, err = sigctl("send", option, str(file), guarded.url, "bob", "x")
        assert (status, out) == (2, "")
        assert "chmod o=" in err
        assert "open-to-everybody-here" not in err


def test_jwt_from_a_file_is_shown_as_such(guarded: Daemon, tmp_path: Path, sigctl: Sigctl):
    file = tmp_path / "jwt"
    write_private(file, b"not.a.jwt\n")
    status, _, err = sigctl("send", "--jwt-file", str(file), guarded.url, "bob", "x")
    assert status == 1
    assert err.startswith("sigctl: auth-failed: ")


# -- listen


class Listening:
    """A `sigctl listen` in a process of its own, which has registered."""

    def __init__(self, *arguments: str, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sigd.ctl", "listen", *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._timer = threading.Timer(SECONDS, self.process.kill)
        self._timer.start()
        assert self.process.stderr is not None
        self.greeting = self.process.stderr.readline()

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate()
        return self.process.returncode, out, err

    def close(self) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def listening(*arguments: str, stdout: int = subprocess.PIPE) -> Iterator[Listening]:
    with contextlib.closing(Listening(*arguments, stdout=stdout)) as found:
        yield found


@OVER_ALL
def test_what_comes_is_printed_as_json(served: Daemon, bob: BlockingPeer, over: str):
    with listening("--id", "cam1", "--count", "2", *ca_for(over), url_of(served, over)) as cam1:
        assert re.fullmatch(r"listening as cam1 \(sigd/.*\)\n", cam1.greeting)
        bob.request(messages.Offer(to="cam1", sdp="v=0\r\n", session="s1"))
        said = cam1.line()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("time"))
        assert said == {"schema": 1, "type": "offer", "from": "bob", "sdp": "v=0\r\n", "session": "s1"}
        bob.request(messages.Message(to="cam1", data=Raw(b'"\x7f\xc2\x9b31m\xe2\x80\xae"')))
        status, out, err = cam1.end()
        assert (status, err) == (0, "")
        assert out.isascii()
        assert out.rstrip("\n").isprintable()
        assert json.loads(out)["data"] == "\x7f\x9b31m\u202e"


def test_what_others_see_of_it_can_be_said(served: Daemon, bob: BlockingPeer):
    with listening("--id", "cam1", "--meta", '{"kind":"camera"}', served.url):
        found = bob.request(messages.Peers(prefix="cam1"))
        assert messages.encode(found).endswith(b'{"id":"cam1","meta":{"kind":"camera"}}],"more":false}')


def test_an_interrupt_is_its_usual_end(served: Daemon, bob: BlockingPeer):
    with listening("--id", "cam1", served.url) as cam1:
        bob.request(messages.Bye(to="cam1"))
        assert cam1.line()["type"] == "bye"
        cam1.process.send_signal(signal.SIGINT)
        assert cam1.end() == (0, "", "")
    with connect(served.url, id="cam1"):
        pass


def test_on_a_terminal_it_reads_easily_and_steers_nothing(served: Daemon, bob: BlockingPeer):
    own, theirs = pty.openpty()
    try:
        with listening("--id", "cam1", "--count", "5", served.url, stdout=theirs) as cam1:
            bob.request(messages.Offer(to="cam1", sdp="v=0\r\n" * 300, session="s1"))
            bob.request(messages.Candidate(to="cam1", candidate=Raw(json.dumps(INIT).encode())))
            bob.request(messages.Candidate(to="cam1", candidate=Raw(b"null")))
            bob.request(messages.Message(to="cam1", data=Raw(b'{"a":"\\u001b[31m"}')))
            bob.request(messages.Bye(to="cam1", reason="\x1b[2J\u202e"))
            assert cam1.end()[0] == 0
        out = os.read(own, 65_536).decode()
    finally:
        os.close(own)
        os.close(theirs)
    lines = [line[9:] for line in out.splitlines()]
    assert lines == [
        "bob (session s1) offer 1.5 KiB of SDP",
        "bob candidate candidate:1 1 udp 1 192.0.2.1 9 typ host",
        "bob end-of-candidates",
        'bob message {"a":"\\u001b[31m"}',
        "bob bye \\x1b[2J\\u202e",
    ]


def test_a_command_is_run_for_each_message_without_a_shell(served: Daemon, bob: BlockingPeer, tmp_path: Path):
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:], sys.stdin.read())\nsys.exit(3)\n")
    program.chmod(0o700)
    with listening("--id", "cam1", "--count", "1", "--exec", f"{program} '$HOME; x' y", served.url) as cam1:
        bob.request(messages.Message(to="cam1", data=Raw(b'"hello"')))
        status, out, err = cam1.end()
    assert (status, json.loads(out)["data"]) == (0, "hello")
    assert err == f"['$HOME; x', 'y'] {out}\n{program}: exit status 3\n"


def test_a_command_that_does_not_exist_is_a_fault(sigctl: Sigctl):
    for command in ("/none/there -x", "", "'"):
        status, _, err = sigctl("listen", "--exec", command, "tcp://127.0.0.1:1")
        assert status == 2
        assert err.startswith("sigctl: --exec: ")


@pytest.mark.parametrize("more", [[], ["--count", "2"]])
def test_time_that_is_over_is_4_unless_enough_has_come(served: Daemon, sigctl: Sigctl, more: list[str]):
    status, out, err = sigctl("listen", "--id", "cam1", "--timeout", "0.1", *more, served.url)
    assert (status, out) == (4, "")
    assert err.splitlines()[1:] == ["0 messages received before the timeout"]


def test_a_lost_connection_is_told_of_and_made_again(sigctl: Sigctl, monkeypatch: pytest.MonkeyPatch):
    def drops(link: Link) -> None:
        link.registers()

    def is_full(link: Link) -> None:
        ref = link.hears()["ref"]
        link.says(type="error", ref=ref, code="server-full", message="\x1b[2J", retryAfterMs=200)

    def greets(link: Link) -> None:
        link.registers()
        link.says(type="bye", **{"from": "bob"})
        link.hears()

    monkeypatch.setattr(talk, "LOOK_SECONDS", 0.01)
    with scripted(drops, is_full, greets) as url:
        status, out, err = sigctl("listen", "--id", "cam1", "--count", "1", url)
    assert status == 0
    assert json.loads(out)["type"] == "bye"
    first, *lost, last = err.splitlines()
    assert (first, last) == ("listening as cam1 (scripted/1)", "connected again")
    assert re.fullmatch("connection lost: .*; trying again", lost[0])
    assert len(lost) == 1
    assert "\x1b" not in err


def test_the_end_that_a_server_means_is_1(sigctl: Sigctl):
    def kicks(link: Link) -> None:
        link.registers()
        link.says(type="error", code="kicked", message="enough", reconnect=False)

    with scripted(kicks) as url:
        status, out, err = sigctl("listen", "--id", "cam1", url)
    assert (status, out) == (1, "")
    assert err.splitlines()[1:] == ["sigctl: kicked: enough", f"sigctl: {ErrorCode.KICKED.meaning}"]


def test_what_a_server_says_by_the_way_is_printed_and_not_counted(sigctl: Sigctl):
    def warns(link: Link) -> None:
        link.registers()
        link.says(type="error", code="rate-limited", message="slow down")
        link.says(type="message", **{"from": "bob"}, data=1)
        link.hears()

    with scripted(warns) as url:
        status, out, _ = sigctl("listen", "--id", "cam1", "--count", "1", url)
    assert status == 0
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["error", "message"]


# -- where there is little


def test_both_need_neither_anyio_nor_trio(served: Daemon):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['anyio', 'trio', 'sniffio', 'asyncio']));"
        "from sigd.ctl import main; sys.exit(main(sys.argv[1:]))"
    )
    for url in served.urls:
        arguments = ["send", "--id", "me", *ca_for(url[:3]), url, "me", "hello"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=SECONDS
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ok: in me's outbox\n", "")
