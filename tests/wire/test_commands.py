"""What a person types is the message that a program would have sent."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sigd.wire import commands
from sigd.wire.commands import COMMANDS, HELP, parse
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import Answer, Bye, Candidate, ClientMessage, Message, Offer, Peers, Ping, Register, Unregister

DEPTH = 16

TYPED: list[tuple[str, ClientMessage]] = [
    ("register", Register()),
    ("register cam1", Register(id="cam1")),
    ("  register   cam1  ", Register(id="cam1")),
    ("offer bob v=0", Offer(to="bob", sdp="v=0")),
    (r"offer bob v=0\r\no=- 1", Offer(to="bob", sdp="v=0\r\no=- 1")),
    (r"answer bob caf\u00e9 \\ \"x\" /", Answer(to="bob", sdp='café \\ "x" /')),
    ('answer bob say "hi"\tthere', Answer(to="bob", sdp='say "hi"\tthere')),
    ("candidate bob", Candidate(to="bob", candidate=Raw(b"null"))),
    (
        'candidate bob candidate:1 "x"',
        Candidate(to="bob", candidate=Raw(b'{"candidate":"candidate:1 \\"x\\"","sdpMLineIndex":0}')),
    ),
    ('candidate bob {"candidate":"","x":[1]}', Candidate(to="bob", candidate=Raw(b'{"candidate":"","x":[1]}'))),
    ('candidate bob {"x":\r1}', Candidate(to="bob", candidate=Raw(b'{"x":1}'))),
    ("bye bob", Bye(to="bob")),
    ("bye bob see you", Bye(to="bob", reason="see you")),
    ("send bob hello there", Message(to="bob", data=Raw(b'"hello there"'))),
    ("send bob {zażółć}", Message(to="bob", data=Raw('"{zażółć}"'.encode()))),
    (r"send bob \ud83d\ude00\u0000", Message(to="bob", data=Raw('"😀\\u0000"'.encode()))),
    ("send bob a\rb\x1b", Message(to="bob", data=Raw(b'"a\\rb\\u001b"'))),
    ("offer bob <<\nv=0", Offer(to="bob", sdp="v=0\r\n")),
    ("offer bob <<\nv=0\ns=-\n", Offer(to="bob", sdp="v=0\r\ns=-\r\n")),
    ('answer bob << \r\nv=0\r\na=x:\\r "\r\n', Answer(to="bob", sdp='v=0\r\na=x:\\r "\r\n')),
    ("offer bob <<\nv=0\r\n\r\ns=-\n\n", Offer(to="bob", sdp="v=0\r\ns=-\r\n")),  # CR LF, pasted into a terminal
    (" send  bob  << \nhello\n\n  there\n", Message(to="bob", data=Raw(b'"hello\\n\\n  there"'))),
    ("who", Peers()),
    ("who cam", Peers(prefix="cam")),
    ("ping", Ping()),
    ("ping whatever", Ping()),
    ("", Ping()),
    ("   ", Ping()),
    ("quit", Unregister()),
]

REFUSED: list[tuple[bytes, ErrorCode, str]] = [
    (b"offer", ErrorCode.BAD_MESSAGE, "the command is: offer ID TEXT"),
    (b"offer bob", ErrorCode.BAD_MESSAGE, "the command is: offer ID TEXT"),
    (b"answer bob", ErrorCode.BAD_MESSAGE, "the command is: answer ID TEXT"),
    (b"send bob  ", ErrorCode.BAD_MESSAGE, "the command is: send ID TEXT"),
    (b"offer bob <<", ErrorCode.BAD_MESSAGE, "the command is: offer ID TEXT"),
    (b"offer bob <<\n", ErrorCode.BAD_MESSAGE, "the command is: offer ID TEXT"),
    (b"send bob <<\n", ErrorCode.BAD_MESSAGE, "the command is: send ID TEXT"),
    (b"bye", ErrorCode.BAD_MESSAGE, "the command is: bye ID [REASON]"),
    (b"candidate", ErrorCode.BAD_MESSAGE, "the command is: candidate ID [TEXT]"),
    (b"send bob a\\", ErrorCode.BAD_MESSAGE, "a \\ in TEXT"),
    (b"send bob \\x41", ErrorCode.BAD_MESSAGE, "a \\ in TEXT"),
    (b"send bob \\ud800", ErrorCode.BAD_MESSAGE, "a \\ in TEXT"),
    (b"bye bob \\u00", ErrorCode.BAD_MESSAGE, "a \\ in TEXT"),
    (b"candidate bob {", ErrorCode.BAD_MESSAGE, "TEXT begins with {"),
    (b"candidate bob {} {}", ErrorCode.BAD_MESSAGE, "TEXT begins with {"),
    (b'candidate bob {"x":' + b"[" * 3_000 + b"]" * 3_000 + b"}", ErrorCode.BAD_MESSAGE, "what is relayed"),
    (b'candidate bob {"x":' + b"[" * 16 + b"]" * 16 + b"}", ErrorCode.BAD_MESSAGE, "what is relayed"),
    (b"offer bob a\\u0000", ErrorCode.BAD_MESSAGE, "`sdp`"),
    (b"bye bob a\\u0000", ErrorCode.BAD_MESSAGE, "`reason`"),
    (b"register a b", ErrorCode.BAD_MESSAGE, "`id`"),
    (b"register \xc5\x82", ErrorCode.BAD_MESSAGE, "`id`"),
    (b"who *", ErrorCode.BAD_MESSAGE, "`prefix`"),
    (b"send bob \xff", ErrorCode.BAD_MESSAGE, "not UTF-8 (byte 9)"),
    (b"\xff", ErrorCode.BAD_MESSAGE, "not UTF-8 (byte 0)"),
    (b"regsiter cam1", ErrorCode.UNKNOWN_TYPE, "no such command; the nearest is register; type help"),
    (b"HELP", ErrorCode.UNKNOWN_TYPE, "no such command; the nearest is help; type help"),
    (b"SSH-2.0-OpenSSH_9.2", ErrorCode.UNKNOWN_TYPE, "no such command; type help"),
    (b"\x1b[2J", ErrorCode.UNKNOWN_TYPE, "no such command"),
    (b"[" * 4_000, ErrorCode.UNKNOWN_TYPE, "no such command"),
    (b"Zq7Zq7" * 100, ErrorCode.UNKNOWN_TYPE, "no such command; type help"),
]


@pytest.mark.parametrize(("line", "message"), TYPED)
def test_typed(line: str, message: ClientMessage) -> None:
    assert parse(line.encode(), DEPTH) == message


@pytest.mark.parametrize("line", [b"help", b"?", b" help ", b"help offer"])
def test_help(line: bytes) -> None:
    assert parse(line, DEPTH) is None


@pytest.mark.parametrize(("line", "code", "text"), REFUSED)
def test_refused(line: bytes, code: ErrorCode, text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(line, DEPTH)
    assert caught.value.code is code
    assert caught.value.text.startswith(text)


class TestHelp:
    def test_no_program_reads_it(self) -> None:
        lines = HELP.decode("ascii").splitlines(keepends=True)
        assert all(line.startswith("# ") and line.endswith("\n") and len(line) <= 100 for line in lines)

    def test_names_every_command(self) -> None:
        said = [line.split()[1] for line in HELP.decode().splitlines()]
        assert sorted(said) == sorted([*COMMANDS, "<<", "{...}"])

    @pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"help"}))
    def test_every_command_is_one(self, name: str) -> None:
        assert name in commands.HELP.decode()
        with_everything = name if name in {"register", "who"} else f"{name} bob text"
        assert parse(with_everything.encode(), DEPTH) is not None


@given(
    line=st.binary(max_size=40)
    | st.tuples(
        st.sampled_from([*COMMANDS, "{"]),
        st.sampled_from(["", " ", " bob ", " bob {"]),
        st.text('\\"u0d8n{}[:é\0\n', max_size=9),
    ).map(lambda parts: "".join(parts).encode())
)
def test_any_line_is_a_message_or_refused(line: bytes) -> None:
    try:
        message = parse(line, DEPTH)
    except ProtocolError as caught:
        fault = caught
    else:
        if isinstance(message, Message):
            sent = message.delivered(b"alice")
            assert b"\n" not in sent
            assert msgspec.json.decode(sent)["from"] == "alice"
        return
    assert 0 < len(fault.text) <= 128
    assert fault.text.isascii()
    assert fault.text.isprintable()
