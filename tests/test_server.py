"""The daemon as a process: signals, addresses, descriptors that run out, and what its log says."""

import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sigd import log
from tests import certificates
from tests.daemon import HANG_SECONDS, Daemon, running_daemon, wait_for
from tests.in_process import FRAMINGS, error
from tests.needs import needs
from tests.plain import Plain, loopback, they_talk

pytestmark = pytest.mark.slow  # processes, or many inputs: more than a few seconds in all

SECONDS = HANG_SECONDS


@contextlib.contextmanager
def started_by(
    program: str, *arguments: str, shell: str = 'exec "$@"', **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """A daemon that a Python program starts after having changed its own process, itself started by a shell."""
    program = f"import sys; from sigd.cli import main; {program}; sys.exit(main(sys.argv[1:]))"
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


FOR_TEN_MINUTES = ("--set", "limits.drain_ms=600000")
"""A stop that tells peers to come back takes so long: far longer than a test waits."""


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_fifty_clients_who_keep_their_end_open(self, number: signal.Signals) -> None:
        with running_daemon() as daemon, contextlib.ExitStack() as clients:
            peers: list[Plain] = []
            for index in range(50):
                peers.append(clients.enter_context(Plain(loopback(daemon), FRAMINGS[index % 2])))
                peers[-1].registers(f"peer-{index}")
            stranger = clients.enter_context(Plain(loopback(daemon)))
            stranger.says({"type": "ping"})
            assert stranger.hears() == {"type": "pong"}
            silent = clients.enter_context(Plain(loopback(daemon)))
            assert daemon.stop(number) == 0
            for peer in [*peers, stranger]:
                away = peer.hears()
                assert 0 <= away.pop("reconnectAfterMs") < 2_000
                assert away == {"type": "goingAway", "reason": "the server stops"}
                assert peer.hears() is None
            assert silent.hears() is None
            assert any(f" stopping signal={number.name} links=52" in line for line in daemon.log)
            assert " stopped " in daemon.log[-1]
            assert sum(" closed peer=peer-" in line and 'reason="server stops"' in line for line in daemon.log) == 50

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_signal_ends_it_at_once(self, number: signal.Signals) -> None:
        with running_daemon(*FOR_TEN_MINUTES) as daemon, Plain(loopback(daemon)) as alice:
            alice.registers("alice")
            daemon.process.send_signal(number)
            assert daemon.says(" stopping signal=")
            assert daemon.stop(number) == 0
            assert " stopped " in daemon.log[-1]

    def test_a_pong_that_came_while_the_daemon_was_paused_counts(self) -> None:
        """Time is judged only after all that has come was read."""
        with (
            running_daemon() as daemon,
            Plain(loopback(daemon), "prefixed") as alice,
            Plain(loopback(daemon)) as claimant,
        ):
            alice.registers("alice")
            claimant.says({"type": "register", "id": "alice"})
            assert alice.hears() == {"type": "ping"}
            daemon.process.send_signal(signal.SIGSTOP)
            alice.says({"type": "pong"})
            time.sleep(4)  # longer than a holder has to answer
            assert not select.select([claimant.sock], [], [], 0)[0]
            daemon.process.send_signal(signal.SIGCONT)
            assert claimant.hears() == error("id-taken")

    def test_nobody_there(self) -> None:
        with running_daemon("--set", "limits.max_connections=100", *FOR_TEN_MINUTES) as daemon:
            assert daemon.stop() == 0
            assert [line.split()[2] for line in daemon.log] == ["listening", "ready", "stopping", "stopped"]

    def test_a_stuck_outbox(self) -> None:
        with running_daemon() as daemon, Plain(loopback(daemon)) as alice, Plain(loopback(daemon)) as bob:
            alice.registers("alice")
            bob.registers("bob")
            answers = set()
            for _ in range(1_000):
                alice.says({"type": "message", "to": "bob", "data": "x" * 60_000, "ref": "1"})
                answers.add(alice.hears()["type"])
                if "error" in answers:
                    break
            assert answers == {"ok", "error"}
            assert daemon.stop() == 0

    def test_a_port_is_free_again_after_a_crash(self) -> None:
        with running_daemon() as daemon, Plain(loopback(daemon)) as alice:
            alice.registers("alice")
            daemon.stop(signal.SIGKILL)
            with running_daemon("--listen", daemon.url) as again, Plain(loopback(again)) as back:
                back.registers("alice")


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_a_stop_is_clean_though_the_log_cannot_be_written(tmp_path: Path, where: str) -> None:
    """Supervisors take any other status for a crash."""
    path = tmp_path / "sigd.sock"
    shell = f'exec "$@" {where}'
    with started_by("pass", "--listen", f"unix:{path}", shell=shell) as process:
        with TestLog.connected(process, str(path)) as client:
            client.registers("alice")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


FROM_ONE_ADDRESS = ("--set", "limits.max_unregistered_per_address=0")
"""All clients are on this machine: else the crowd would be kept small before descriptors run out."""


class TestDescriptors:
    """Row 8, and fact 11."""

    def test_row_8_more_clients_than_descriptors_at_the_start(self) -> None:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))"
        with started_by(limit, "--listen", "tcp://127.0.0.1:0", *FROM_ONE_ADDRESS, stderr=subprocess.PIPE) as process:
            daemon = Daemon(process)
            daemon.wait_until_ready()
            assert any("max_connections=10000" in line and "possible=64" in line for line in daemon.log)
            self.more_than_fit(daemon, 200, 64)
            assert daemon.stop() == 0

    def test_row_8_fact_11_descriptors_that_run_out_later(self) -> None:
        with running_daemon(*FROM_ONE_ADDRESS) as daemon:
            taken = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
            hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (taken + 12, hard))
            self.more_than_fit(daemon, 60, 12)
            assert daemon.stop() == 0

    @staticmethod
    def more_than_fit(daemon: Daemon, many: int, most: int) -> None:
        """Some get in, all others are told, those who were there notice nothing, and then there is room again."""
        with Plain(loopback(daemon)) as alice, Plain(loopback(daemon)) as bob:
            alice.registers("alice")
            bob.registers("bob")
            with contextlib.ExitStack() as crowd:
                waiting = [crowd.enter_context(Plain(loopback(daemon))) for _ in range(many)]
                while len(waiting) > most:
                    readable = select.select([client.sock for client in waiting], [], [], SECONDS)[0]
                    assert readable
                    for client in [client for client in waiting if client.sock in readable]:
                        assert client.hears() == error("server-full")
                        assert client.hears() is None
                        waiting.remove(client)
                for client in waiting:  # of whom a few may have been refused as well
                    with contextlib.suppress(BrokenPipeError):
                        client.says({"type": "ping"})
                    assert client.hears() in ({"type": "pong"}, error("server-full"))
                they_talk(alice, bob)
                lines = [line for line in daemon.log if "server-full" in line]
                assert len(lines) == 1
                assert re.search(r" WARNING server-full limit=\S+ at=\S+( \S+)* links=\d+ refused=1$", lines[0])
            they_talk(alice, bob)

            # Those who were refused may linger; the places of the others are free once the daemon has noticed.
            def served() -> bool:
                with Plain(loopback(daemon)) as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.says({"type": "ping"})
                    return bool(client.hears() == {"type": "pong"})
                return False

            assert wait_for(served)


@pytest.fixture
def with_certificate(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that takes TLS and plain text on one port."""
    chain, key = certificates.files("localhost", "127.0.0.1")
    file = tmp_path / "sigd.toml"
    file.write_text(f'[[listen]]\nurl = "tcp://127.0.0.1:0"\ncertificate = "{chain}"\nkey = "{key}"\n')
    with running_daemon("--config", str(file)) as daemon:
        yield daemon


class TestOpenSSL:
    """`openssl s_client`, which everybody has, and which is another end than Python's."""

    @staticmethod
    def started(daemon: Daemon, *options: str) -> "subprocess.Popen[bytes]":
        """A client whose errors are in what it says."""
        openssl = needs("openssl")
        ca = str(certificates.folder() / "servers-ca.pem")
        trust = ("-CAfile", ca, "-servername", "localhost", "-verify_return_error")
        return subprocess.Popen(
            [openssl, "s_client", "-connect", f"127.0.0.1:{daemon.port}", *trust, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def says(self, daemon: Daemon, *options: str, typed: bytes) -> tuple[int, str]:
        """Its exit status, and all that it says."""
        with self.started(daemon, *options) as process:
            said, _ = process.communicate(typed, timeout=SECONDS)
        return process.returncode, said.decode()

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_typed_lines(self, with_certificate: Daemon, version: str) -> None:
        typed = b'register alice\nsend alice hello\n{"type":"ping","ref":"1"}\nquit\n'
        status, said = self.says(with_certificate, "-quiet", version, typed=typed)
        assert status == 0
        registered, *heard = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert (registered["type"], registered["id"]) == ("registered", "alice")
        assert heard == [{"type": "message", "from": "alice", "data": "hello"}, {"type": "pong", "ref": "1"}]

    @pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
    def test_row_39_nothing_below_tls_1_2(self, with_certificate: Daemon, version: str) -> None:
        status, said = self.says(with_certificate, version, "-cipher", "DEFAULT@SECLEVEL=0", typed=b"register alice\n")
        assert status == 1
        assert "alert protocol version" in said  # it is the daemon that does not want it

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_row_39_no_compression_and_no_tickets_afterwards(self, with_certificate: Daemon, version: str) -> None:
        status, said = self.says(with_certificate, version, "-comp", typed=b"register alice\nquit\n")
        assert status == 0
        assert "Compression: NONE" in said
        assert "Post-Handshake New Session Ticket" not in said

    def test_row_39_no_renegotiation(self, with_certificate: Daemon) -> None:
        with Plain(loopback(with_certificate)) as alice:
            alice.registers("alice")
            status, said = self.says(with_certificate, "-tls1_2", typed=b"R\n")
            assert status == 1
            assert "RENEGOTIATING" in said
            assert "no renegotiation" in said
            alice.says({"type": "ping"})
            assert alice.hears() == {"type": "pong"}

    def test_keys_are_renewed(self, with_certificate: Daemon) -> None:
        with self.started(with_certificate, "-tls1_3") as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def until(text: bytes) -> None:
                assert process.stdout is not None
                assert any(text in line for line in process.stdout), text

            for number in range(3):
                process.stdin.write(b"K\n")
                process.stdin.flush()
                until(b"KEYUPDATE")
                process.stdin.write(b'{"type":"ping","ref":"%d"}\n' % number)
                process.stdin.flush()
                until(b'{"type":"pong","ref":"%d"}' % number)
            process.stdin.write(b"Q\n")
            process.stdin.close()
            assert process.wait(SECONDS) == 0


LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR) [a-z][a-z -]*"
    r"( [a-z_.]+=([A-Za-z0-9_.:/~@+,?=%\[\]-]+|\"([^\"\\\x00-\x1f\x7f]|\\.)*\"))*\n"
)


class TestLog:
    def test_lines_of_a_daemon(self) -> None:
        with running_daemon("--set", "log.level=debug") as daemon:
            with Plain(loopback(daemon), "prefixed") as alice, Plain(loopback(daemon)) as bob:
                alice.registers("alice", meta={"x": "\n2026 INFO meta"})
                bob.registers("bob")
                alice.says({"type": "offer", "to": "bob", "sdp": "v=0 SECRET-SDP ice-pwd"})
                alice.says({"type": "candidate", "to": "bob", "candidate": {"candidate": "SECRET-CANDIDATE"}})
                assert bob.hears()["sdp"]
                assert bob.hears()["candidate"]
                for hostile in ("a\n2026-01-01T00:00:00Z INFO ok", "\x1b[31m", "x" * 30_000, "\u202e"):
                    for kind, name in (("register", "id"), ("bye", "to"), (hostile, "x"), ("ping", "ref")):
                        alice.says({"type": kind, name: hostile})
                        alice.hears()
            with Plain(loopback(daemon)) as eve:
                eve.sock.sendall(b"\x1b[31m\r2026 INFO\xff\n" + b"GET /\n")
                eve.hears()
            with Plain(loopback(daemon)) as carol:
                carol.registers("carol")
                carol.says({"type": "unregister"})
                assert carol.hears() is None
            assert daemon.stop() == 0
        assert all(LINE.fullmatch(line) for line in daemon.log), daemon.log
        text = "".join(daemon.log)
        assert text.isascii()
        assert "SECRET" not in text
        assert "2026 INFO" not in text
        ends = [line.partition(" closed ")[2] for line in daemon.log if " closed " in line]
        assert [re.sub(r"\d+", "N", end) for end in sorted(ends)] == [
            "peer=alice reason=left address=N.N.N.N:N silent=N.N seconds=N.N\n",
            "peer=bob reason=left address=N.N.N.N:N silent=N.N seconds=N.N\n",
            "peer=carol reason=unregistered address=N.N.N.N:N seconds=N.N\n",
        ]

    @pytest.mark.parametrize("broken", ["closed", "full", "no reader", "never read"])
    def test_row_48_without_a_log_the_daemon_goes_on(self, tmp_path: Path, broken: str) -> None:
        path = str(tmp_path / "sigd.sock")
        program = {
            "closed": "pass",
            "full": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
            "no reader": "import os; r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.close(r)",
            "never read": "import os; r, w = os.pipe(); os.write(w, b'x' * 65536); os.dup2(w, 2); os.close(w)",
        }[broken]
        shell = 'exec "$@" 2>&-' if broken == "closed" else 'exec "$@"'
        with started_by(program, "--listen", f"unix:{path}", "--set", "log.level=debug", shell=shell) as process:
            with self.connected(process, path) as alice, self.connected(process, path) as bob:
                alice.registers("alice")
                bob.registers("bob")
                for index in range(200):  # more than any buffer holds
                    with Plain(path) as client:
                        client.registers(f"{index:064}")
                they_talk(alice, bob)
                process.send_signal(signal.SIGTERM)
                assert alice.hears()["type"] == bob.hears()["type"] == "goingAway"
            assert process.wait(SECONDS) == 0

    @staticmethod
    def connected(process: "subprocess.Popen[str]", path: str) -> Plain:
        """A client of a daemon that cannot say when it is ready."""

        def connects() -> Plain | None:
            assert process.poll() is None, "it has ended"
            with contextlib.suppress(OSError):
                return Plain(path)
            return None

        client = wait_for(connects)
        assert client is not None
        return client

    @pytest.fixture
    def logged(self, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
        return lambda: capsys.readouterr().err

    def test_values(self, logged: Callable[[], str]) -> None:
        log.start("info")
        log.debug("unheard")
        log.info("event", plain="a-Z_0.9:/~", empty="", space="a b", quote='"\\', number=1.5)
        log.warning("two words", control="\n\r\t\x00\x1b\x7f\x9b\u2028\u202e", letters="łó", none=None)
        first, second = logged().splitlines(keepends=True)
        assert LINE.fullmatch(first)
        assert LINE.fullmatch(second)
        assert first.endswith(r' INFO event plain=a-Z_0.9:/~ empty="" space="a b" quote="\"\\" number=1.5' + "\n")
        controls = r"\n\r\t\u0000\u001b\u007f\u009b\u2028\u202e"
        assert second.endswith(f' WARNING two words control="{controls}" letters="\\u0142\\u00f3" none=None\n')

    def test_long_values_are_cut(self, logged: Callable[[], str]) -> None:
        log.start("info")
        log.info("event", plain="x" * 100_000, other=" " * 100_000)
        assert len(logged()) < 10_000

    def test_a_traceback_is_one_line_that_keeps_its_end(self, logged: Callable[[], str]) -> None:
        log.start("info")
        try:
            raise ValueError("x" * 5_000 + "\nthe end")
        except ValueError as fault:
            log.error("bug", fault, peer="alice")
        line = logged()
        assert LINE.fullmatch(line)
        assert line.endswith(r'\nthe end\n"' + "\n")
        assert len(line) < 10_000

    def test_damper(self) -> None:
        damper = log.Damper()
        counts = [damper.lets_through(now) for now in (0, 1, 9.9, 10, 10, 19.9, 35, 36)]
        assert counts == [1, 0, 0, 3, 0, 0, 3, 0]


def test_fact_14_what_is_piped_into_netcat_is_answered() -> None:
    netcat = needs("nc")
    said = b'register alice\nsend alice hello\n{"type":"ping","ref":"1"}\n'
    with running_daemon() as daemon:
        done = subprocess.run(
            [netcat, "-N", *map(str, loopback(daemon))], input=said, capture_output=True, timeout=SECONDS, check=True
        )
        registered, *heard = [json.loads(line) for line in done.stdout.splitlines()]
        assert (registered["type"], registered["id"]) == ("registered", "alice")
        assert heard == [{"type": "message", "from": "alice", "data": "hello"}, {"type": "pong", "ref": "1"}]


def test_no_signal_changes_the_exit_status_of_a_stop():
    with running_daemon() as daemon:
        daemon.process.send_signal(signal.SIGTERM)
        while daemon.process.poll() is None:
            for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM):
                daemon.process.send_signal(number)
        assert daemon.process.returncode == 0
