"""call.c and answer.c, and a Python peer at the other end: whole calls through the daemon, over TCP and over UDP."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.client import AnswerFrom, ByeFrom, CandidateFrom, OfferFrom, Peer, connect
from tests.c_client.build import CLIENT, SANITIZED, STRICT, compiled
from tests.calls.public import SECRET, token, write_private
from tests.daemon import HANG_SECONDS, running_daemon

pytestmark = pytest.mark.slow  # compiles, and starts processes

OFFER = 'v=0\r\no=- 4611 1 IN IP4 0.0.0.0\r\ns="caller\\" é\U0001f600\r\n' + "a=candidate:1 1 udp\r\n" * 200
ANSWER = "v=0\r\no=- 4612 1 IN IP4 0.0.0.0\r\ns=callee\r\n" + "a=candidate:1 1 udp\r\n" * 100
CANDIDATE = {"candidate": 'candidate:9 1 udp 1 192.0.2.9 9 typ host ufrag "\\', "sdpMid": "0"}
FAR = "4102444800"  # the year 2100

LIMIT = HANG_SECONDS


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`call` and `answer`, with AddressSanitizer and UndefinedBehaviorSanitizer."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("call", "answer"):
        compiled("gcc", CLIENT / f"{name}.c", folder / name, "-std=c99", *STRICT, *SANITIZED)
    return folder


class Transport:
    """A daemon, and how the C program and the Python peer reach it."""

    def __init__(self, folder: Path, scheme: str, with_tokens: bool) -> None:
        self.urls: list[str] = []
        self._scheme = scheme
        self._config = folder / "sigd.toml"
        self._with_tokens = with_tokens
        write_private(folder / "secret", SECRET)
        # Tokens in plain text are for loopback, which this is.
        tokens = f'[[auth.hmac]]\nsecret_file = "{folder}/secret"\n' if with_tokens else ""
        self._config.write_text(f'listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\n{tokens}')

    @contextmanager
    def running(self) -> Iterator["Transport"]:
        with running_daemon("--config", str(self._config)) as daemon:
            self.urls = daemon.urls
            yield self

    @property
    def url(self) -> str:
        """For the C program."""
        (url,) = [url for url in self.urls if url.startswith(self._scheme)]
        return url

    def environment(self, peer: str) -> dict[str, str]:
        """The C program's credential."""
        made = token(f"{FAR}:{peer}")
        return {"SIGD_USER": made["user"], "SIGD_TOKEN": made["token"]} if self._with_tokens else {}

    def connect(self, peer: str) -> Any:
        """The Python peer."""
        (url,) = [url for url in self.urls if url.startswith("tcp")]
        return connect(url, id=peer, credentials=token(f"{FAR}:{peer}") if self._with_tokens else None)


@pytest.fixture(params=["tcp", "tcp with a token", "udp", "udp with a mac"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    with Transport(tmp_path, request.param[:3], "with" in request.param).running() as transport:
        yield transport


async def answered(peer: Peer) -> list[str]:
    """Answer one call; what was heard."""
    heard: list[str] = []
    async for message in peer:
        heard.append(type(message).__name__)
        match message:
            case OfferFrom(sender=caller, sdp=sdp, session=session):
                assert (caller, sdp) == ("alice", OFFER)
                await peer.answer(caller, ANSWER, session=session)
                await peer.candidate(caller, CANDIDATE, session=session)
                await peer.end_of_candidates(caller, session=session)
            case CandidateFrom(candidate=None):
                heard[-1] = "end"
            case ByeFrom():
                return heard
            case CandidateFrom():
                assert message.session == "call-1"
            case _:
                raise AssertionError(message)
    raise AssertionError(heard)


async def test_c_calls_and_python_answers(programs: Path, transport: Transport):
    with trio.fail_after(LIMIT):
        async with transport.connect("bob") as bob, trio.open_nursery() as nursery:
            done: list[subprocess.CompletedProcess[bytes]] = []

            async def call() -> None:
                command = [str(programs / "call"), transport.url, "alice", "bob"]
                environment = transport.environment("alice")
                done.append(
                    await trio.run_process(
                        command, stdin=OFFER.encode(), capture_stdout=True, env=environment, check=False
                    )
                )

            nursery.start_soon(call)
            heard = await answered(bob)
    assert heard == ["OfferFrom", "CandidateFrom", "CandidateFrom", "end", "ByeFrom"]
    (ended,) = done
    lines = ended.stdout.decode().splitlines()
    assert lines[:2] == ["registered alice", f"answer from bob, {len(ANSWER.encode())} bytes"]
    assert lines[2].startswith("candidate from bob: {")
    assert lines[3:] == ["candidate from bob: null", "ended: left"]
    assert ended.returncode == 0


async def test_python_calls_and_c_answers(programs: Path, transport: Transport):
    with trio.fail_after(LIMIT):
        command = [str(programs / "answer"), transport.url, "bob"]
        async with transport.connect("alice") as alice, trio.open_nursery() as nursery:
            start = partial(trio.run_process, stdin=ANSWER.encode(), stdout=subprocess.PIPE, check=False)
            process = await nursery.start(partial(start, command, env=transport.environment("bob")))
            output = b""
            while b"registered bob\n" not in output:
                output += await process.stdout.receive_some()
            for session in ("one", "two"):
                await alice.offer("bob", ANSWER, session=session)
                await alice.candidate("bob", CANDIDATE, session=session)
                heard = [await anext(alice) for _ in range(3)]
                assert [type(message) for message in heard] == [AnswerFrom, CandidateFrom, CandidateFrom]
                assert (heard[0].sdp, heard[0].session, heard[2].candidate) == (ANSWER, session, None)
                await alice.bye("bob", "that was it", session=session)
            while output.count(b"bye from alice: that was it\n") < 2:
                output += await process.stdout.receive_some()
            process.kill()
            await process.stdout.aclose()
    assert f"candidate from alice: {CANDIDATE['candidate']}\n".encode() in output


# Over UDP a killed daemon is noticed with the next ping, after 25 s: test_datagrams has that, on a clock of its own.
@pytest.mark.parametrize(
    ("scheme", "ending"), [("tcp", signal.SIGKILL), ("tcp", signal.SIGTERM), ("udp", signal.SIGTERM)]
)
def test_it_comes_back_to_a_daemon_that_was_restarted(programs: Path, scheme: str, ending: signal.Signals):
    with running_daemon("--listen", f"{scheme}://127.0.0.1:0") as daemon:
        url = daemon.url
        command = [str(programs / "answer"), url, "bob"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "registered bob\n"
            assert daemon.process.poll() is None
            daemon.stop(ending)
            with running_daemon("--listen", url):
                assert process.stdout.readline() == "registered bob\n"
        finally:
            process.kill()
            process.communicate()


def test_what_goes_wrong_is_told_in_words(programs: Path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it does not listen
        url = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        process = subprocess.Popen(
            [str(programs / "answer"), url, "bob"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            host, port = url.rsplit(":", 1)
            assert process.stderr.readline() == f"sigd: {host} port {port}: Connection refused\n"
        finally:
            process.kill()
            process.communicate()
