"""What is said at a terminal: in one line, with nothing in it that steers one, wherever it goes."""

import subprocess
import sys

import pytest

from sigd.terminal import LONGEST_LINE, Parser, complain, put_out


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("sigd", "sigd: unrecognized arguments: --x\\x1b[2J; see `sigd --help`\n"),
        ("sigctl token", "sigctl: token: unrecognized arguments: --x\\x1b[2J; see `sigctl token --help`\n"),
    ],
)
def test_faults_of_options_say_where_to_look(program, expected, capsys):
    with pytest.raises(SystemExit) as ended:
        Parser(prog=program).parse_args(["--x\x1b[2J"])
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", expected)


def test_a_complaint_is_one_short_line(capsys):
    assert complain("sigd", OSError("a\nb\x1b[31m")) == 2
    assert capsys.readouterr() == ("", "sigd: a\\nb\\x1b[31m\n")
    assert complain("sigd", "x" * 2000) == 2
    assert len(capsys.readouterr().err) == len("sigd: \n") + LONGEST_LINE


def test_output_is_what_it_is(capsys):
    assert put_out("sigd", "a\n") == 0
    assert capsys.readouterr() == ("a\n", "")


def run(program: str, redirection: str) -> tuple[int, str, str]:
    command = ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        (">&-", "sigd: standard output: closed\n"),
        (">/dev/full", "sigd: standard output: No space left on device\n"),
        (">&- 2>&-", ""),
    ],
)
def test_output_that_gets_nowhere_is_no_success(redirection, said):
    program = "import sys; from sigd.terminal import put_out; sys.exit(put_out('sigd', 'a'))"
    assert run(program, redirection) == (1, "", said)


@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        (">&-", 2, "sigd: why\n"),
        ("2>&-", 2, ""),
        (">/dev/full", 2, "sigd: why\n"),
        ("2>/dev/null", 2, ""),
    ],
)
def test_a_complaint_never_lands_among_the_output(redirection, status, said):
    program = "import sys; from sigd.terminal import complain; sys.exit(complain('sigd', 'why'))"
    assert run(program, redirection) == (status, "", said)
