"""docs/security.md: keys, defaults and numbers are those of the code; its recipes make what they are said to make."""

import json
import re
import shlex
import ssl
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sigd import log
from sigd.client.trust import trusting
from sigd.config import Config, Entry, Limits, Listener
from sigd.config.auth import OVERFLOW_ID
from sigd.relay import origins, strikes
from sigd.relay.credentials import LEEWAY_SECONDS
from sigd.relay.web_tokens import WebToken
from sigd.rules.secret_files import LEAST_SECRET
from sigd.toml.tables import toml_text
from sigd.wire import cookies
from sigd.wire.datagram import LEAST_SLICE, MAX_SLICES
from sigd.wire.greeting import LEAST_REGISTER
from sigd.wire.receiving import WHOLE_SECONDS
from tests.daemon import HANG_SECONDS
from tests.docs.pages import read
from tests.needs import needs
from tests.test_hardening import ROWS

SECURITY = read("docs/security.md")

TEXT = SECURITY.partition("### A certificate authority")[2]

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


def default_of(key: str) -> object:
    """The default of a key of the configuration."""
    value: object = Config()
    for name in key.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("key", sorted(set(re.findall(r"`((?:limits|auth|ice|log)\.[a-z_]+)`", SECURITY))))
def test_every_key_exists(key):
    default_of(key)


def test_defaults_are_those_of_the_configuration():
    protected = SECURITY.partition("## Threats by number")[0]
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
        f"{OVERFLOW_ID}, which is whoever comes from another user namespace",
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


# -- the table of threats

ROOT = Path(__file__).parents[1]


def threats() -> dict[int, str]:
    """Return the threats by their numbers."""
    return {
        int(number): threat
        for number, threat in re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|", SECURITY, re.MULTILINE)
    }


def test_the_threats_are_those_that_tests_attack_with():
    assert threats() == {row.number: row.attack for row in ROWS}


def test_every_row_that_a_test_names_is_in_the_table():
    named = {int(number) for path in ROOT.rglob("*.py") for number in re.findall(r"row_(\d+)", path.read_text())}
    assert named
    assert named <= set(threats())
