"""The recipe in docs/security.md makes certificates that strict clients accept, and its way out is one."""

import re
import ssl
import subprocess
from pathlib import Path

import pytest

from sigd.client.trust import trusting
from tests.daemon import HANG_SECONDS
from tests.needs import needs

TEXT = (Path(__file__).parents[1] / "docs" / "security.md").read_text().partition("### A certificate authority")[2]

NAME = "sigd.example.net"

LAX = ("basicConstraints = critical, CA:FALSE\n", "subjectKeyIdentifier = hash\n", "authorityKeyIdentifier = keyid\n")
"""Lines of the recipe that common ones leave out."""


def block(language: str) -> str:
    """Return the recipe's code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def followed(folder: Path, recipe: str) -> Path:
    """Do what a recipe says in a folder."""
    needs("openssl")
    subprocess.run(["sh", "-ec", recipe], cwd=folder, check=True, capture_output=True, timeout=HANG_SECONDS)
    return folder


def strict(authority: Path) -> ssl.SSLContext:
    """Return the client's context, as strict as from Python 3.13 on."""
    context = trusting(str(authority))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shakes_hands(folder: Path, client_context: ssl.SSLContext, name: str = NAME) -> None:
    """Shake hands with a server that has the certificate in a folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"


@pytest.mark.slow
class TestRecipe:
    def test_strict_clients_accept_it(self, tmp_path: Path) -> None:
        folder = followed(tmp_path, block("sh"))
        shakes_hands(folder, strict(folder / "authority.pem"))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shakes_hands(folder, strict(folder / "authority.pem"), "elsewhere.example.net")

    def test_for_an_address(self, tmp_path: Path) -> None:
        folder = followed(tmp_path, block("sh").replace(f"DNS:{NAME}", "IP:192.0.2.1"))
        shakes_hands(folder, strict(folder / "authority.pem"), "192.0.2.1")

    def test_a_common_one_is_refused_and_the_way_out_works(self, tmp_path: Path) -> None:
        recipe = block("sh").replace("-addext keyUsage=critical,keyCertSign,cRLSign ", "")
        for line in LAX:
            assert line in recipe
            recipe = recipe.replace(line, "")
        folder = followed(tmp_path, recipe)
        with pytest.raises(ssl.SSLCertVerificationError):
            shakes_hands(folder, strict(folder / "authority.pem"))
        code = block("python").replace('"authority.pem"', repr(str(folder / "authority.pem")))
        found: dict[str, ssl.SSLContext] = {}
        exec(code.partition("peer =")[0], {"ssl": ssl}, found)
        shakes_hands(folder, found["context"])


def test_the_client_speaks_tls_1_2_and_later() -> None:
    assert trusting(None).minimum_version is ssl.TLSVersion.TLSv1_2
