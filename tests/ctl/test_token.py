"""`sigctl token`: what it prints where, its exit status, and that the daemon takes the credentials that it makes."""

import base64
import hashlib
import hmac
import json
import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sigd
from sigd.config import Limits
from sigd.ctl import LONGEST_TTL, token_of, user_name
from sigd.relay.access import Access
from sigd.relay.credentials import ExpiringToken, Permissions, token_for
from sigd.relay.globs import glob_matches
from sigd.relay.rates import Rates
from sigd.wire.messages import Register
from tests.daemon import HANG_SECONDS, running_daemon

SECRET = b"correct-horse-battery-staple"
OTHER = b"0123456789abcdef0123456789abcdef"
SECONDS = HANG_SECONDS
ROOT = str(Path(sigd.__file__).parents[1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two secrets, of which the first signs."""
    return private(tmp_path / "hmac", SECRET + b"\n" + OTHER + b"\n")


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def configured(tmp_path: Path, text: str) -> str:
    path = tmp_path / "sigd.toml"
    path.write_text(text.replace("FOLDER", str(tmp_path)))
    return str(path)


HMAC = '[[auth.hmac]]\nsecret_file = "FOLDER/hmac"\n'


# The token


@pytest.mark.parametrize(
    ("arguments", "rest"),
    [(["--id", "cam*"], ":cam*"), (["--id", "bob", "--talk", "hub-*"], ":bob:hub-*"), (["--id", "*"], ":*")],
)
def test_user_says_until_when_and_for_whom_and_token_is_its_hmac(file, sigctl, arguments, rest):
    before = int(time.time())
    made = sigctl.token(*arguments, "--ttl", "1h30m", "--secret-file", str(file))
    expiry, colon, behind = made["user"].partition(":")
    assert colon + behind == rest
    assert before + 5400 <= int(expiry) <= int(time.time()) + 5400
    digest = hmac.new(SECRET, made["user"].encode(), hashlib.sha256).digest()
    assert made["token"] == base64.b64encode(digest).decode()
    assert len(made["token"]) == 44
    assert made["token"].endswith("=")


def test_json_says_until_when(file, sigctl):
    status, out, err = sigctl("token", "--id", "cam1", "--ttl", "1h", "--secret-file", str(file), "--json")
    made = json.loads(out)
    assert (status, err) == (0, "")
    assert list(made) == ["schema", "type", "user", "token", "expires"]
    assert (made["schema"], made["type"]) == (1, "token")
    assert made["user"] == user_name(made["expires"], "cam1", None)
    assert made["token"] == token_of(SECRET, made["user"])


def test_the_wire_has_the_same_words_for_it():
    user = user_name(1_767_225_600, "cam*", "hub")
    assert user == "1767225600:cam*:hub"
    assert user_name(1_767_225_600, "cam*", None) == "1767225600:cam*"
    assert token_of(SECRET, user) == token_for(SECRET, user).decode()


def test_the_rules_take_it_until_it_expires(file, sigctl):
    rates = Rates.of(Limits())
    credential = ExpiringToken("hmac", Permissions(["cam*"], ["*"], rates=rates), [OTHER, SECRET])
    access = Access([credential], [], rates)
    made = sigctl.token("--id", "cam*", "--talk", "hub", "--ttl", "1h", "--secret-file", str(file))
    proof = access.prove(Register(id="cam1", **made), None, time.time())
    assert proof is not None
    assert abs(proof.expires - time.time() - 3600) < 60
    assert access.grant(proof, "cam1") is not None
    assert access.grant(proof, "door1") is None
    made["user"] = made["user"].replace("cam", "door")
    assert access.prove(Register(id="door1", **made), None, time.time()) is None


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604_800),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("0d1s", 1),
        ("3650d", LONGEST_TTL),
    ],
)
def test_ttl(file, sigctl, ttl, seconds):
    before = int(time.time())
    made = sigctl.token("--id", "a", "--ttl", ttl, "--secret-file", str(file))
    assert before + seconds <= int(made["user"].partition(":")[0]) <= int(time.time()) + seconds


@pytest.mark.parametrize(
    "ttl", ["", "1", "1 h", "h", "1.5h", "-1h", "30m1h", "1h1h", "1w", "1H", "\u0661h", "1h\n", "9" * 40 + "s"]
)
def test_what_is_no_ttl(file, sigctl, ttl):
    said = sigctl.refusal("--id", "a", f"--ttl={ttl}", "--secret-file", str(file))
    assert said.startswith('sigctl: token: argument --ttl: "')
    assert said.endswith('" is no time: write 90s, 15m, 1h, 7d, or together as in 1h30m; see `sigctl token --help`')


@pytest.mark.parametrize("ttl", ["0s", "0h0m", "3651d", "3650d1s", "99999999d"])
def test_a_ttl_that_nobody_means(file, sigctl, ttl):
    assert sigctl.refusal("--id", "a", "--ttl", ttl, "--secret-file", str(file)) == (
        f'sigctl: token: argument --ttl: "{ttl}" is not between 1s and 3650d; see `sigctl token --help`'
    )


@pytest.mark.parametrize("option", ["--id", "--talk"])
@pytest.mark.parametrize("glob", ["", "a b", "a:b", "a" * 65, "\x1b[2J", "\u00e9"])
def test_what_is_no_glob(file, sigctl, option, glob):
    arguments = ["--id", "a", f"{option}={glob}", "--ttl", "1h", "--secret-file", str(file)]
    said = sigctl.refusal(*arguments)
    assert said.startswith(f'sigctl: token: argument {option}: "')
    assert "is not a glob of peer IDs: use 1 to 64 of A-Z a-z 0-9 _ . ~ - and *" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "sigctl: the following arguments are required: COMMAND; see `sigctl --help`"),
        (
            ["tokn"],
            "sigctl: argument COMMAND: unknown word: tokn; the nearest is token; see `sigctl --help`",
        ),
        (
            ["token"],
            "sigctl: token: the following arguments are required: --id, --ttl; see `sigctl token --help`",
        ),
        (
            ["token", "--id", "a", "--ttl", "1h", "--secret-file", "f", "--config", "c"],
            "sigctl: token: argument --config: not allowed with argument --secret-file; see `sigctl token --help`",
        ),
        (
            ["token", "--id", "a", "--ttl", "1h", "--secret", "hunter2"],
            "sigctl: unknown option: --secret; the nearest is --secret-file; see `sigctl --help`",
        ),
    ],
)
def test_faults_of_options(sigctl, arguments, expected):
    status, out, err = sigctl(*arguments)
    assert (status, out) == (2, "")
    # From Python 3.12 on choices have no quotes.
    assert err.replace("'", "") == expected.replace("'", "") + "\n"


def test_a_daemon_takes_it(tmp_path, file, sigctl):
    config = configured(tmp_path, f'listen = ["tcp://127.0.0.1:0"]\n{HMAC}register = ["cam*"]\n')
    made = sigctl.token("--id", "cam1", "--ttl", "1h", "--config", config)
    with running_daemon("--config", config) as daemon, socket.create_connection(("127.0.0.1", daemon.port)) as client:
        client.settimeout(SECONDS)
        client.sendall(json.dumps({"type": "register", "id": "cam1", **made}).encode() + b"\n")
        with client.makefile() as heard:
            answer = json.loads(heard.readline())
    assert (answer["type"], answer["id"]) == ("registered", "cam1")


# Where the secret comes from


def test_a_plain_name_on_the_command_line_is_a_file_right_here(file, sigctl, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/nowhere")
    assert sigctl.token("--id", "a", "--ttl", "1h", "--secret-file", "hmac")


def test_a_secret_that_others_may_read_signs_nothing(file, sigctl):
    file.chmod(0o644)
    assert sigctl.refusal("--id", "a", "--ttl", "1h", "--secret-file", str(file)) == (
        f"sigctl: {file}: other users than its owner and group have access (mode 0644): chmod o= {file}"
    )


def test_nothing_of_a_bad_secret_is_shown(file, sigctl):
    private(file, b"hunter2 hunter2 hunter2\n")
    said = sigctl.refusal("--id", "a", "--ttl", "1h", "--secret-file", str(file))
    assert said.startswith(f"sigctl: {file}: line 1 contains a space")
    assert "hunter2" not in said


def test_the_first_entry_of_the_configuration_names_it(tmp_path, file, sigctl):
    private(tmp_path / "second", OTHER)
    config = configured(tmp_path, HMAC + HMAC.replace('hmac"', 'second"'))
    made = sigctl.token("--id", "cam*", "--ttl", "1h", "--config", config)
    assert made["token"] == token_of(SECRET, made["user"])


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ('register = ["door*", "cam1"]', ["--id", "cam1"], None),
        ('register = ["cam*"]', ["--id", "cam*"], None),
        ('register = ["cam*"]', ["--id", "cam-*-x"], None),
        ('register = ["c*m*"]', ["--id", "cam*"], None),
        ('talk = ["hub*"]', ["--id", "a"], None),
        ('talk = ["hub*"]', ["--id", "a", "--talk", "hub1"], None),
        (
            'register = ["cam*", "hub"]',
            ["--id", "*"],
            '--id "*" goes beyond auth.hmac[0].register, which allows cam*, hub',
        ),
        ('register = ["cam1"]', ["--id", "cam*"], '--id "cam*" goes beyond auth.hmac[0].register, which allows cam1'),
        ('register = ["*x"]', ["--id", "cam*"], '--id "cam*" goes beyond auth.hmac[0].register, which allows *x'),
        (
            'talk = ["hub"]',
            ["--id", "a", "--talk", "h*"],
            '--talk "h*" goes beyond auth.hmac[0].talk, which allows hub',
        ),
        ("talk = []", ["--id", "a", "--talk", "b"], '--talk "b" goes beyond auth.hmac[0].talk, which allows nobody'),
        (
            '[auth]\ndeny = ["cam6*"]',
            ["--id", "cam66"],
            '--id "cam66" is refused by auth.deny: cam6*',
        ),
        ('[auth]\ndeny = ["cam66"]', ["--id", "cam*"], None),
    ],
)
def test_what_the_daemon_would_not_grant_is_refused(tmp_path, file, sigctl, text, arguments, expected):
    config = configured(tmp_path, f"{text}\n{HMAC}" if text.startswith("[") else f"{HMAC}{text}\n")
    arguments = [*arguments, "--ttl", "1h", "--config", config]
    if expected is None:
        assert sigctl.token(*arguments)
    else:
        assert sigctl.refusal(*arguments) == f"sigctl: {config}: {expected}"


@given(glob=st.from_regex(r"[ab*]{1,6}", fullmatch=True), other=st.from_regex(r"[ab*]{1,6}", fullmatch=True))
def test_a_glob_is_within_another_if_all_that_it_matches_is_matched(glob, other):
    """What sigctl takes for it: that the other one matches the glob itself, star and all."""
    if glob_matches(other, glob):
        for stands_for in ("", "a", "b", "zz", "ab.ba"):
            assert glob_matches(other, glob.replace("*", stands_for))
    else:
        assert not glob_matches(other, glob.replace("*", "zzz"))


def test_a_configuration_without_hmac(tmp_path, sigctl):
    config = configured(tmp_path, "")
    assert sigctl.refusal("--id", "a", "--ttl", "1h", "--config", config) == (
        f"sigctl: {config}: no [[auth.hmac]] entry, so no token is valid: add one"
    )


def test_all_faults_of_a_configuration_each_on_its_line(tmp_path, sigctl):
    config = configured(tmp_path, "[limit]\n[[auth.hmac]]")
    assert sigctl("token", "--id", "a", "--ttl", "1h", "--config", config) == (
        2,
        "",
        f"sigctl: {config}:1:2: unknown key `limit` at the top level; did you mean `limits`?\n"
        f"sigctl: {config}:2:8: auth.hmac[0]: the key `secret_file` is missing\n",
    )


def test_no_configuration_where_it_is_looked_for(sigctl, monkeypatch, tmp_path):
    monkeypatch.setattr("sigd.ctl.token.DEFAULT_CONFIG", f"{tmp_path}/sigd.toml")
    assert sigctl.refusal("--id", "a", "--ttl", "1h") == (
        f"sigctl: {tmp_path}/sigd.toml: no such file:"
        " name the configuration with --config, or the secret with --secret-file"
    )
    assert sigctl.refusal("--id", "a", "--ttl", "1h", "--config", f"{tmp_path}/other") == (
        f"sigctl: {tmp_path}/other: no such file: correct the path, or create it with `sigd --print-config`"
    )
    private(tmp_path / "hmac", SECRET)
    configured(tmp_path, HMAC)
    assert sigctl.token("--id", "a", "--ttl", "1h")


def test_a_secret_that_systemd_keeps_for_the_daemon(tmp_path, file, sigctl, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = configured(tmp_path, '[[auth.hmac]]\nsecret_file = "hmac"')
    assert sigctl.refusal("--id", "a", "--ttl", "1h", "--config", config) == (
        f'sigctl: {config}: auth.hmac[0].secret_file: "hmac" is a credential that systemd passes to the daemon alone:'
        " name its file with --secret-file"
    )
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert sigctl.token("--id", "a", "--ttl", "1h", "--config", config)


# At a terminal, and as a process


def process(*arguments: str, stdout: int, stderr: int | None = None) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "COLUMNS": "80", "TZ": "UTC"}
    command = [sys.executable, "-m", "sigd.ctl", *arguments]
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=nothing, stdout=stdout, stderr=stderr, text=True)


def test_people_are_told_what_to_do_with_it_on_standard_error(file):
    terminal, its_end = pty.openpty()
    arguments = ["token", "--id", "cam*", "--talk", "hub", "--ttl", "1h", "--secret-file", str(file)]
    with process(*arguments, stdout=subprocess.PIPE, stderr=its_end) as sigctl:
        os.close(its_end)
        out, _ = sigctl.communicate(timeout=SECONDS)
    said = os.read(terminal, 4096).decode().splitlines()
    os.close(terminal)
    assert sigctl.returncode == 0
    made = json.loads(out)
    until = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(int(made["user"].partition(":")[0])))
    assert said == [
        f"Valid until {until}, to register cam* and to send to hub.",
        "The client's first message has both members:",
        '  {"type":"register","id":"...","user":"...","token":"..."}',
        "Anyone who has them can do that: treat them as a password.",
    ]


def test_help_and_version():
    with process("--version", stdout=subprocess.PIPE) as sigctl:
        assert sigctl.communicate(timeout=SECONDS)[0] == f"sigctl {sigd.__version__}\n"
    for arguments in (["--help"], ["token", "--help"]):
        with process(*arguments, stdout=subprocess.PIPE) as sigctl:
            out, _ = sigctl.communicate(timeout=SECONDS)
        assert max(map(len, out.splitlines())) <= 80
        assert "\nexit status:\n  0  done\n" in out
    assert "\n  sigctl token --id 'cam*' --talk 'hub*' --ttl 1h30m\n" in out


def test_output_that_cannot_be_written(file):
    full = os.open("/dev/full", os.O_WRONLY)
    arguments = ["token", "--id", "a", "--ttl", "1h", "--secret-file", str(file)]
    with process(*arguments, stdout=full, stderr=subprocess.PIPE) as sigctl:
        os.close(full)
        _, err = sigctl.communicate(timeout=SECONDS)
    assert (sigctl.returncode, err) == (1, "sigctl: standard output: No space left on device\n")


def test_the_secret_is_in_no_command_line_and_no_environment():
    """There is no option for it; only files are named."""
    with process("token", "--help", stdout=subprocess.PIPE) as sigctl:
        out, _ = sigctl.communicate(timeout=SECONDS)
    options = {word for word in out.split() if word.startswith("--")}
    assert options <= {"--help", "--id", "--talk", "--ttl", "--secret-file", "--config", "--json"}
