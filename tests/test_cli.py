"""The command line, as a process: what it prints where, and its exit status."""

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sigd
from sigd.cli import main
from sigd.config import Config, Limits, Listener, load, render
from tests.daemon import HANG_SECONDS

pytestmark = pytest.mark.slow  # processes, or many inputs: more than a few seconds in all

# Far more than any of these takes: a hang fails here, not in CI's own time-out.
SECONDS = HANG_SECONDS
# Where the package is, installed or not: the tests run in folders of their own.
ROOT = str(Path(sigd.__file__).parents[1])


def start(folder: Path, *arguments: str, stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sigd.cli", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *arguments: str, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    with start(folder, *arguments, stdout=stdout) as process:
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err


def test_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version") == (0, f"sigd {sigd.__version__}\n", "")


def test_help_says_what_it_is_and_every_option_and_status(tmp_path: Path) -> None:
    status, out, err = run(tmp_path, "--help")
    assert (status, err) == (0, "")
    assert "\nWebRTC signaling daemon: hands offers, answers and candidates from peer to peer.\n" in out
    for option in ("--config FILE", "--listen URL", "--set KEY=VALUE", "--check", "--print-config"):
        assert f"\n  {option} " in out
    assert "\n  sigd --set limits.max_frame=4096 --set log.level=debug\n" in out
    assert "\nexit status:\n  0  " in out
    assert max(map(len, out.splitlines())) <= 80


def test_check_of_a_valid_configuration_writes_and_binds_nothing(tmp_path: Path) -> None:
    arguments = ["--listen", f"unix:{tmp_path}/sock", "--set", "limits.max_frame=4096", "--check"]
    assert run(tmp_path, *arguments) == (0, "configuration is valid\n", "")
    assert list(tmp_path.iterdir()) == []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert run(tmp_path, "--listen", url, "--check") == (0, "configuration is valid\n", "")


FAULTY = '[limits]\nmax_fram = 1\n\nmax_depth = "\x7f"\n'.replace("\x7f", "\\u001b[2J")
FAULTS = (
    "sigd.toml:2:1: unknown key `max_fram` in [limits]; did you mean `max_frame`?\n"
    'sigd.toml:4:1: limits.max_depth: expected an integer from 1 to 512, got "\\x1b[2J"\n'
)


def test_check_prints_all_faults_and_how_many(tmp_path: Path) -> None:
    (tmp_path / "sigd.toml").write_text(FAULTY)
    before = [(path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()]
    assert run(tmp_path, "--config", "sigd.toml", "--check") == (2, "", FAULTS + "2 faults\n")
    assert run(tmp_path, "--set", "x=1", "--check") == (
        2,
        "",
        "--set x=1: unknown key `x` at the top level; `sigd --print-config` prints all keys\n1 fault\n",
    )
    assert [(path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()] == before


NAMES_FILES = """
listen = [
  "unix:/tmp/sigd-test-of-check.sock",
  {url = "tls://127.0.0.1:1", certificate = "/nowhere/cert.pem", key = "/nowhere/key.pem"},
]
[[auth.token]]
secret_file = "FOLDER/everybody"
register = ["*"]
[[auth.hmac]]
secret_file = "FOLDER/blank"
[[auth.unix]]
users = ["no-such-user"]
register = ["*"]
[ice]
turn_urls = ["turn:a"]
turn_secret_file = "credential"
"""


def test_check_reads_what_the_configuration_names_and_tells_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "sigd.toml").write_text(NAMES_FILES.replace("FOLDER", str(tmp_path)))
    (tmp_path / "everybody").write_text("hunter2hunter2hunter2\n")
    (tmp_path / "everybody").chmod(0o604)
    (tmp_path / "blank").write_text("correct-horse-battery\n\n")
    (tmp_path / "blank").chmod(0o600)
    status, out, err = run(tmp_path, "--config", "sigd.toml", "--check")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f"{tmp_path}/everybody: other users than its owner and group have access (mode 0604):"
        f" chmod o= {tmp_path}/everybody",
        f"{tmp_path}/blank: line 2 is blank: remove it (an empty secret would admit everybody)",
        'user "no-such-user": this machine has no such user: create it, or correct [[auth.unix]]',
        "credential: a plain name means a systemd credential, and systemd has passed none ($CREDENTIALS_DIRECTORY is"
        " not set): use an absolute path, or add LoadCredential=credential:/PATH to the unit",
        "/nowhere/cert.pem: no such file: create it, or correct the path",
        "/nowhere/key.pem: no such file: create it, or correct the path",
        "6 faults",
    ]
    assert run(tmp_path, "--config", "sigd.toml") == (2, "", "".join(f"{line}\n" for line in err.splitlines()[:-1]))


def test_check_of_sound_files(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("correct-horse-battery\n")
    (tmp_path / "s").chmod(0o600)
    hmac = f"auth.hmac=[{{secret_file='{tmp_path}/s'}}]"
    assert run(tmp_path, "--set", hmac, "--check") == (0, "configuration is valid\n", "")
    beyond = ["--listen", "tcp://0.0.0.0:1", "--set", hmac, "--check"]
    status, _, err = run(tmp_path, *beyond)
    assert status == 2
    assert "credentials would cross the network unencrypted: listen on tls://" in err


@pytest.mark.parametrize("option", [[], ["--print-config"]])
def test_a_faulty_configuration_is_neither_started_nor_printed(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "sigd.toml").write_text(FAULTY)
    assert run(tmp_path, "--config", "sigd.toml", *option) == (2, "", FAULTS)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--config", "no/such.toml"],
            "no/such.toml: no such file: correct the path, or create it with `sigd --print-config`",
        ),
        (["--config", "."], ".: is a directory: name the file in it"),
        (
            ["--listen", "tcp://[::]:7337"],
            '--listen tcp://[::]:7337: "tcp://[::]:7337" is not a loopback address: listening beyond loopback needs'
            " credentials: configure [auth], or set `insecure = true` (on the command line: --set insecure=true)"
            " to let any client claim any ID, or use 127.0.0.1, [::1] or a unix: path",
        ),
        (["--listen", "tcp://::"], "--listen tcp://::: write an IPv6 address in brackets, as in tcp://[::1]:7337"),
        (["--lisen", "\x1b[31mx"], "sigd: unknown option: --lisen; the nearest is --listen; see `sigd --help`"),
        (["--conf", "x"], "sigd: unknown option: --conf; the nearest is --config; see `sigd --help`"),
        (["--zzz", "\x1b[31mx"], "sigd: unrecognized arguments: --zzz \\x1b[31mx; see `sigd --help`"),
        (["--check=1"], "sigd: argument --check: ignored explicit argument '1'; see `sigd --help`"),
        (["--config"], "sigd: argument --config: expected one argument; see `sigd --help`"),
    ],
    ids=range(9),
)
def test_a_fault_is_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    assert run(tmp_path, *arguments) == (2, "", f"{line}\n")


def test_address_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        status, out, err = run(tmp_path, "--listen", url)
    assert (status, out) == (2, "")
    assert err.startswith(f"sigd: {url}: the address is in use")
    assert err.count("\n") == 1


def test_printed_configuration_is_in_force_and_a_valid_file(tmp_path: Path) -> None:
    status, out, err = run(tmp_path, "--print-config", "--set", "limits.max_depth=7", "--listen", "unix:/a")
    assert (status, err) == (0, "")
    config = Config(listen=(Listener("unix:/a"),), limits=Limits(max_depth=7))
    assert out == render(config)
    assert tomllib.loads(out)["limits"]["buffer_bytes_total"] == 134_217_728
    (tmp_path / "sigd.toml").write_text(out)
    assert run(tmp_path, "--config", "sigd.toml", "--check") == (0, "configuration is valid\n", "")
    assert load(str(tmp_path / "sigd.toml")) == config


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        status, _, err = run(tmp_path, "--print-config", stdout=writer)
    finally:
        os.close(writer)
    assert (status, err) == (1, "")  # `sigd --print-config | head -1` wants no complaint
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        status, _, err = run(tmp_path, "--print-config", stdout=full)
    finally:
        os.close(full)
    assert (status, err) == (1, "sigd: standard output: No space left on device\n")


def test_interrupt_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sigd.cli.load", interrupted)
    assert main(["--check"]) == 130
    assert capsys.readouterr() == ("", "")


def test_the_null_device_is_an_empty_configuration() -> None:
    assert main(["--config", os.devnull, "--check"]) == 0


def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    """It would be waited for, and a reload would find nothing in it."""
    os.mkfifo(tmp_path / "sigd.toml")
    status, out, err = run(tmp_path, "--config", "sigd.toml", "--check")
    assert (status, out) == (2, "")
    assert err == "sigd.toml: cannot be read: not a regular file: a reload could not read it again\n1 fault\n"


@pytest.mark.parametrize(
    ("option", "unwanted"),
    [
        ("--check", ["trio", "tomllib", "difflib", "jwt", "sigd.server"]),
        ("--print-config", ["trio", "socket", "ssl", "tomllib", "difflib", "jwt", "sigd.server", "sigd.rules"]),
    ],
)
def test_questions_load_no_server_and_the_default_no_parser(tmp_path: Path, option: str, unwanted: list[str]) -> None:
    program = (
        f"import sys; from sigd.cli import main; assert main(['{option}']) == 0;"
        f"print('', *sorted({set(unwanted)} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stdout.endswith("\n\n")


def test_main_takes_arguments_and_returns_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--set", "insecure=true", "--listen", "tcp://0.0.0.0:1"]) == 0
    assert main(["--check", "--set", "insecure=1"]) == 2
    assert capsys.readouterr() == (
        "configuration is valid\n",
        "--set insecure=1: expected true or false, got 1\n1 fault\n",
    )
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
