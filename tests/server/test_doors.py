"""Addresses of a daemon: which it opens, refuses and leaves behind."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import HANG_SECONDS, running_daemon
from tests.in_process import need_ipv6
from tests.plain import Plain, loopback, they_talk

pytestmark = pytest.mark.slow  # processes: more than a few seconds in all

SECONDS = HANG_SECONDS


class TestAddresses:
    def test_a_second_daemon_on_the_same_port(self) -> None:
        with running_daemon() as daemon:
            done = subprocess.run(
                [sys.executable, "-m", "sigd.cli", "--listen", daemon.url],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            assert done.returncode == 2
            assert done.stdout == ""
            assert done.stderr.startswith(f"sigd: {daemon.url}: the address is in use")
            assert done.stderr.count("\n") == 1
            with Plain(loopback(daemon)) as client:
                client.registers("alice")

    def test_unix_and_ipv6(self, tmp_path: Path) -> None:
        need_ipv6()
        path = tmp_path / "sigd.sock"
        url = f"unix:{path}?mode=0660"
        with running_daemon("--listen", url, "--listen", "tcp://[::1]:0") as daemon:
            assert daemon.urls[0] == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            with Plain(str(path)) as alice, Plain(("::1", int(daemon.urls[1].rpartition(":")[2]))) as bob:
                alice.registers("alice")
                bob.registers("bob")
                they_talk(alice, bob)
                done = subprocess.run(
                    [sys.executable, "-m", "sigd.cli", "--listen", url],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=SECONDS,
                )
                assert done.returncode == 2
                assert "the address is in use" in done.stderr
                they_talk(alice, bob)
            daemon.stop(signal.SIGKILL)
        assert path.exists()
        with running_daemon("--listen", url) as daemon, Plain(str(path)) as client:
            client.registers("alice")
            assert daemon.stop() == 0
        assert not path.exists()
