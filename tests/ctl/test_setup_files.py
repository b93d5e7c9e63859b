"""Files that `sigctl setup` makes."""

import hashlib
import ssl
from pathlib import Path

import pytest

from sigd.config import Listener
from sigd.ctl import setup_files
from sigd.ctl.command_line import EndedError
from sigd.ctl.setup_files import is_unedited, marked, self_made, socket_drop_in
from tests.ctl.images import NAME


def test_unix_sockets_of_one_unit_have_one_mode() -> None:
    with pytest.raises(EndedError, match="different"):
        socket_drop_in([Listener("unix:/a?mode=0600"), Listener("unix:/b")])


@pytest.mark.usefixtures("openssl")
@pytest.mark.parametrize("name", [NAME, "203.0.113.5", "2001:db8::5"])
def test_a_certificate_that_it_makes_is_good_for_its_name_by_the_strictest_rules(tmp_path: Path, name: str) -> None:
    certificate, key = self_made(name)
    (chain := tmp_path / "pem").write_bytes(certificate)
    (private := tmp_path / "key").write_bytes(key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, private)
    client = ssl.create_default_context(cafile=str(chain))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert _shake_hands(client, server, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(client, server, "other.example.net")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.version()


def test_the_mark_says_whether_somebody_has_edited_the_file() -> None:
    text = marked("a = 1\n")
    assert text.endswith(hashlib.sha256(b"a = 1\n").hexdigest().encode() + b"\n")
    assert is_unedited(text)
    assert is_unedited(None)
    for edited in (b"", b"a = 1\n", text.replace(b"1", b"2", 1), text + b"b = 2\n", text[:-2] + b"\n"):
        assert not is_unedited(edited)
    assert setup_files.secret() != setup_files.secret()
