"""What is said at a terminal: in one line, with nothing in it that steers one, wherever it goes."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import sigd
from sigd.terminal import LONGEST_LINE, Parser, complain, put_out
from sigd.text import escaped
from tests.daemon import HANG_SECONDS


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["peer"], "argument COMMAND: unknown word: peer; the nearest is peers"),
        (["stat"], "argument COMMAND: unknown word: stat; the nearest is status"),
        (["peers", "--jsno"], "unknown option: --jsno; the nearest is --json"),
        (["peers", "--jsno=1"], "unknown option: --jsno; the nearest is --json"),
        (["peers", "--zzzzzz"], "unrecognized arguments: --zzzzzz"),
    ],
)
def test_a_slip_of_the_finger_has_the_nearest_word(arguments, said, capsys):
    parser = Parser(prog="sigctl")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in ("peers", "status"):
        commands.add_parser(name).add_argument("--json", action="store_true")
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert capsys.readouterr().err == f"sigctl: {said}; see `sigctl --help`\n"


def test_where_no_word_is_near_all_are_told(capsys):
    with pytest.raises(SystemExit):
        _chooses().parse_args(["zzzz"])
    assert "invalid choice" in capsys.readouterr().err


def _chooses() -> Parser:
    parser = Parser(prog="sigd")
    parser.add_argument("which", choices=["peers", "status"])
    return parser


def test_a_complaint_is_one_short_line(capsys):
    assert complain("sigd", OSError("a\nb\x1b[31m")) == 2
    assert capsys.readouterr() == ("", "sigd: a\\nb\\x1b[31m\n")
    assert complain("sigd", "x" * 2000) == 2
    assert len(capsys.readouterr().err) == len("sigd: \n") + LONGEST_LINE


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("caf\u00e9 \u4e2d \U0001f600 a\\b", "caf\u00e9 \u4e2d \U0001f600 a\\b"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("\x00\t\r\n\x7f\x80\x9b", r"\x00\x09\x0d\x0a\x7f\x80\x9b"),
        ("\u061c\u200e\u200f", r"\u061c\u200e\u200f"),
        ("\u202a\u202e\u2066\u2069", r"\u202a\u202e\u2066\u2069"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800", r"\ud800"),
    ],
)
def test_row_14_what_would_steer_a_terminal_is_spelt_out(text, safe):
    assert escaped(text) == safe
    assert escaped(safe) == safe


def test_row_14_nothing_that_steers_is_forgotten():
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number)) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(chr(number)) in {
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        }:
            assert escaped(chr(number)).isprintable(), hex(number)


def test_a_terminal_that_cannot_show_a_character_gets_its_number():
    program = "from sigd.terminal import put_out; put_out('sigd', 'caf\\u00e9 \\u25ba\\n')"
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": str(Path(sigd.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "caf\\xe9 \\u25ba\n")


def test_output_is_what_it_is(capsys):
    assert put_out("sigd", "a\n") == 0
    assert capsys.readouterr() == ("a\n", "")


def run(program: str, redirection: str) -> tuple[int, str, str]:
    command = ["sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
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


@pytest.mark.parametrize(("stream", "descriptor"), [("stderr", 2), ("stdout", 1)])
def test_what_cannot_be_written_does_not_change_the_exit_status(stream: str, descriptor: int):
    """Python flushes standard output at its end, from 3.13.5 on standard error too, and ends with 120 if that fails."""
    program = f"""
import sys
from sigd.terminal import finish_output
sys.{stream} = open({descriptor}, "w", buffering=1_000, closefd=False)
sys.{stream}.write("x")
finish_output()
sys.{stream}.write("y")
sys.{stream}.flush()
sys.exit(75)
"""
    assert run(program, f"{descriptor}>/dev/full")[0] == 75


@pytest.mark.parametrize("module", ["sigd.cli", "sigd.ctl"])
@pytest.mark.parametrize("arguments", [["--nonsense"], ["--version"]])
def test_programs_keep_their_exit_status_where_nothing_can_be_said(module: str, arguments: list[str]):
    expected = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True).returncode
    command = ["sh", "-c", '"$@" 2>/dev/full', "sh", sys.executable, "-m", module, *arguments]
    assert subprocess.run(command, stdout=subprocess.PIPE).returncode == expected
