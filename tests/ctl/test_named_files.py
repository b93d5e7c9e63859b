"""Each thing that can be wrong with the files of a configuration is staged, found, and comes with a remedy."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.config import Config
from sigd.config.auth import Auth, TokenEntry
from sigd.ctl import named_files
from sigd.ctl.named_files import Reader
from tests import certificates
from tests.ctl.findings import GROUP, codes

DAY = 86_400.0


def test_certificates_that_end():
    chain, _ = certificates.files("localhost", "127.0.0.1")
    (end, *_) = named_files.ends_of(Path(chain).read_bytes())
    config = Config(listen=(certificates.listener("tls://127.0.0.1:0"), certificates.listener("tls://127.0.0.1:0")))
    assert codes(named_files.certificate_findings(config, end - 22 * DAY)) == []
    assert codes(named_files.certificate_findings(config, end - 20.5 * DAY)) == ["certificate-expires"]
    assert codes(named_files.certificate_findings(config, end)) == ["certificate-expired"]
    (found,) = named_files.certificate_findings(config, end - 2.5 * DAY)
    assert f"({chain}) expires in 2 days, on " in found.text


BEGIN = b"-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize("pem", [b"", b"\xff", BEGIN, BEGIN + b"\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate(pem):
    assert list(named_files.ends_of(pem)) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that anybody may enter, as those above it."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        if not named_files.may_read(f"{made}/none", Reader(-1, frozenset())):
            pytest.skip("temporary files are where only their owner gets")
        yield Path(made)


def test_who_may_read_and_change_what(open_folder: Path):
    secret = open_folder / "secret"
    secret.touch()
    config = Config(auth=Auth(token=(TokenEntry(secret_file=str(secret), register=("*",)),)))
    stranger, member = Reader(-1, frozenset([-1])), Reader(-1, frozenset([secret.stat().st_gid]))
    for mode, reader, expected in (
        (0o640, None, []),
        (0o640, member, []),
        (0o600, member, ["unreadable"]),
        (0o640, stranger, ["unreadable"]),
        (0o600, Reader(os.getuid(), frozenset()), []),
        (0o642, member, ["writable"]),
        (0o000, Reader(0, frozenset()), []),
    ):
        secret.chmod(mode)
        assert codes(named_files.permission_findings(config, None, reader)) == expected, oct(mode)
    secret.chmod(0o640)
    open_folder.chmod(0o700)
    assert codes(named_files.permission_findings(config, str(secret), member)) == ["unreadable"]


def test_whom_the_daemon_runs_as():
    reader = named_files.reader_of(os.getpid(), "none")
    assert reader is not None
    assert reader.uid == os.geteuid()
    assert os.getegid() in reader.gids
    assert named_files.reader_of(2**31 - 1, "none") is None
    assert named_files.reader_of(None, "no-such-group") is None
    assert named_files.reader_of(None, GROUP) == Reader(-1, frozenset([os.getgid()]))
