"""Asking: whoever is at the other end, there is an answer or a line that says why not, with its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sigd.admin.questions import AskStatus, AskTap
from sigd.admin.replies import StatusReply
from sigd.ctl import ask
from sigd.ctl.command_line import EndedError
from tests.ctl.conftest import Sigctl
from tests.ctl.scripted import ScriptedDaemon, frame, golden
from tests.daemon import HANG_SECONDS, running_daemon


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no daemon ran on this machine."""
    monkeypatch.setattr(ask, "running_daemons", list[int])


# Nobody there


@pytest.mark.usefixtures("alone")
def test_no_daemon_is_3_and_says_how_to_start_one(sigctl: Sigctl, tmp_path: Path):
    path = str(tmp_path / "none")
    assert sigctl("status", "--socket", path) == (
        3,
        "",
        f"sigctl: sigd is not running (sudo systemctl start sigd ?); nobody listens on {path}\n",
    )
    assert sigctl("peers", "--json", "--socket", path)[:2] == (3, "")


def test_a_daemon_that_listens_elsewhere(sigctl: Sigctl, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ask, "running_daemons", lambda: [812])
    status, out, err = sigctl("status", "--socket", f"{tmp_path}/none")
    assert (status, out) == (3, "")
    assert err.startswith(f"sigctl: pid 812 runs but does not listen on {tmp_path}/none: name its socket by --socket")


def test_a_socket_that_nobody_has_any_more(daemon: ScriptedDaemon, sigctl: Sigctl, tmp_path: Path):
    with ScriptedDaemon(tmp_path / "old"):
        pass
    assert sigctl("status", "--socket", f"{tmp_path}/old")[0] == 3


def test_who_may_not_is_told_which_group_to_join(monkeypatch):
    monkeypatch.setattr(ask, "running_daemons", lambda: [812])
    assert ask.why_nobody("/run/sigd/admin.sock", PermissionError(13, "Permission denied")) == (
        "pid 812 runs but /run/sigd/admin.sock refuses you: join group sigd (sudo usermod -aG sigd $USER, and log in"
        " again)"
    )
    monkeypatch.setattr(ask, "running_daemons", list[int])
    assert ask.why_nobody("/s", PermissionError(13, "")).startswith("/s refuses you: join group sigd")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("path", ["x" * 200, "a\0b", "/"])
def test_what_can_be_no_socket(sigctl: Sigctl, path):
    status, out, err = sigctl("status", "--socket", path)
    assert (status, out) == (3, "")
    assert err.count("\n") == 1


def test_a_running_daemon_is_found():
    with running_daemon() as daemon:
        assert daemon.process.pid in ask.running_daemons()
    assert os.getpid() not in ask.running_daemons()


@pytest.mark.parametrize(
    ("arguments", "is_daemon"),
    [
        (["{folder}/sigd"], True),
        (["-I", "{folder}/sigd", "--config", "x"], True),
        (["{folder}/sigdx"], False),
        (["{folder}/other", "sigd"], False),
    ],
)
def test_a_process_is_known_by_what_it_runs(tmp_path: Path, arguments, is_daemon):
    for name in ("sigd", "sigdx", "other"):
        (tmp_path / name).write_text("print('here', flush=True); input()\n")
    command = [sys.executable, *(argument.format(folder=tmp_path) for argument in arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert (process.pid in ask.running_daemons()) == is_daemon
        process.communicate("\n", timeout=HANG_SECONDS)


def test_an_interrupt_is_130(daemon: ScriptedDaemon, sigctl: Sigctl, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ask, "ask", interrupt)
    assert sigctl("status") == (130, "", "")


# Answers that are none


@pytest.mark.parametrize(
    ("pieces", "status", "said"),
    [
        ([b""], 3, "hung up without an answer"),
        ([b"\x00\x00"], 4, "no answer within 0.2 s"),
        ([b"\x00\x00\x00\x09half"], 4, "no answer within 0.2 s"),
        ([b"\x00\x00\x00\x00"], 1, "is not sigd"),
        ([b"HTTP/1.1 400 Bad Request\r\n"], 1, "is not sigd"),
        ([frame(b"[]")], 1, "is not sigd"),
        ([frame(b"\xff")], 1, "is not sigd"),
        ([frame(b"[" * 5000)], 1, "is not sigd"),
        ([frame(b'{"schema":2,"type":"status"}')], 1, "answers in schema 2, and this sigctl knows 1"),
        ([frame(b'{"type":"status"}')], 1, "answers in schema None"),
        ([frame(b'{"schema":1,"type":"status"}')], 1, "not as it should be: Object missing required field `version`"),
        ([frame(b'{"schema":1,"type":"peers","now":1,"peers":[]}')], 1, "not as it should be"),
    ],
)
def test_a_bad_answer_is_a_line_and_a_status(daemon: ScriptedDaemon, pieces, status, said):
    daemon.sends("status", *pieces)
    with pytest.raises(EndedError) as ended:
        ask.ask(str(daemon.path), AskStatus(), StatusReply, 0.2)
    assert ended.value.status == status
    assert said in str(ended.value)


def test_an_answer_may_come_in_pieces(daemon: ScriptedDaemon):
    answer = frame(json.dumps(golden("status")).encode())
    daemon.sends("status", answer[:3], answer)
    with ask.conversation(str(daemon.path)) as talk, pytest.raises(EndedError):
        talk.ask(AskStatus(), StatusReply, 0.1)
    daemon.sends("tap", answer[:5], answer[5:])
    with ask.conversation(str(daemon.path)) as talk:
        assert talk.ask(AskTap(), StatusReply)[0].pid == 812
        assert talk.heard() is None


# Refusals


@pytest.mark.parametrize(
    ("code", "status"), [("no-such-peer", 1), ("internal", 1), ("too-many", 1), ("not-allowed", 3), ("no-answer", 4)]
)
def test_a_refusal_is_said_and_has_its_status(daemon: ScriptedDaemon, sigctl: Sigctl, code, status):
    daemon.refuses("show", code, "because \x1b[2J")
    said = "sigctl: because \\x1b[2J\n"
    assert sigctl("show", "cam1") == (status, "", said)
    got, out, err = sigctl("show", "cam1", "--json")
    assert (got, err) == (status, said)
    assert json.loads(out) == {"schema": 1, "type": "refused", "code": code, "message": "because \x1b[2J"}
    assert "\x1b" not in out


def test_a_start_loads_no_network():
    program = (
        "import sys; from sigd.ctl import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(*{'trio', 'ssl', 'socket', 'asyncio', 'sigd.admin.replies'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=HANG_SECONDS
    )
    assert done.stdout.splitlines()[1:] == [""]
