"""protocol.md against the code: every example is played, every table is compared."""

import base64
import contextlib
import hmac
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import sigd
from sigd.client import backoff
from sigd.config import DEFAULT_PORT, Auth, ConfigError, Limits, load
from sigd.net import listeners, rounds
from sigd.relay import (
    access,
    credentials,
    deadlines,
    ice,
    link,
    origins,
    registry,
    router,
    strangers,
    strikes,
    timeouts,
)
from sigd.relay.rates import Rates
from sigd.rules.made import Rules
from sigd.rules.secret_files import LEAST_SECRET
from sigd.wire import commands, framing, greeting, messages, said, salvage
from sigd.wire.errors import ErrorCode, Next, ProtocolError
from sigd.wire.ids import is_peer_id
from tests.daemon import Daemon, running_daemon
from tests.protocol_md import configured, play
from tests.protocol_md.document import BLOCKS, HOLE, PATH, SECTIONS, Block, code, codes
from tests.relay.world import World

pytestmark = pytest.mark.slow  # processes, or many inputs: more than a few seconds in all

TEXT: Final = PATH.read_text(encoding="utf-8")

RUNS: Final[dict[str, Callable[[play.Scene], None]]] = {
    "transcript": play.run_transcript,
    "hex": play.run_hex,
    "console": play.run_console,
}

OPENING: Final = "opening"
"""Who a member of `register` is for that only datagrams have."""

DIAGRAM: Final = "diagram"
CONFIGURATION: Final = "toml"

NEVER_PROVOKED: Final = {ErrorCode.INTERNAL, ErrorCode.KICKED}
"""It takes a bug, or an operator."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Daemon]]:
    path = tmp_path_factory.mktemp("run") / "sigd.sock"
    listen = ("--listen", "tcp://127.0.0.1:0", "--listen", "udp://127.0.0.1:0", "--listen", f"unix:{path}")
    with running_daemon(*listen) as daemon:
        yield lambda: daemon


# -- examples


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in BLOCKS if block.kind in RUNS])
def test_example(block: Block, shared: Callable[[], Daemon]):
    play.need_programs(block)
    with play.scene_of(block, shared) as scene:
        RUNS[block.kind](scene)


@pytest.mark.parametrize(
    "section",
    [number for number, section in SECTIONS.items() for block in section.blocks if block.kind == CONFIGURATION],
)
def test_configuration(section: str, tmp_path: Path):
    """Each is one that a daemon takes, and some example needs it."""
    Rules(load(str(configured.write(section, tmp_path))))
    assert any(
        block.lines[0].startswith(f"server: runs with the configuration of section {section}") for block in BLOCKS
    )


def test_every_block_is_tested():
    assert {block.kind for block in BLOCKS} == {*RUNS, DIAGRAM, CONFIGURATION}


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in BLOCKS if block.kind == DIAGRAM])
def test_diagram(block: Block):
    for above, line in zip(["", *block.lines], block.lines, strict=False):
        assert line.isascii()
        assert len(line) < 80
        # What stands upright ends at something: a corner, a line, an arrow, or where an arrow begins.
        for bar in re.finditer(r"[|v]", line):
            if not line[: bar.start()].strip():
                assert above[bar.start() : bar.start() + 1].strip(), f"out of line: {line}"


def test_the_diagram_of_a_link_has_its_states():
    (block,) = (block for block in SECTIONS["4"].blocks if block.kind == DIAGRAM)
    boxes = re.findall(r"\| ([a-z]+) \|", "\n".join(block.lines))
    assert set(boxes) == {state.name.lower() for state in link.State}
    assert re.findall(r"^\*\*([A-Z][a-z]+)\.\*\*", "\n".join(SECTIONS["4"].prose), re.MULTILINE) == [
        state.name.capitalize() for state in link.State
    ]


def test_the_diagram_of_a_frame_has_its_length():
    (block,) = (block for block in SECTIONS["2.1"].blocks if block.kind == DIAGRAM)
    assert f" {framing.PREFIX_BYTES} " in block.lines[0]
    assert f"{framing.PREFIX_BYTES - 1} + N" in block.lines[0]


def _heard() -> list[str]:
    """All JSON that the server says in an example."""
    found: list[str] = []
    for block in BLOCKS:
        for line in block.lines:
            if match := re.match(r"\w+(?:<|: hears a line) (\{.*)", line):
                found.append(match[1])
            elif block.kind == "console" and line.startswith("{"):
                found.append(line)
        if block.kind == "hex":
            script = play.turns([line for line in block.lines if line != "S: end of file"])
            found += re.findall(r"\{.*?\}", "".join(turn.data.decode("latin-1") for turn in script if turn.side == "S"))
    return found


def _said() -> list[str]:
    """All JSON that a client says in an example."""
    return [found[1] for block in BLOCKS for line in block.lines if (found := re.match(r"\w+> (\{.*\})", line))]


def _objects(texts: list[str]) -> list[dict[str, Any]]:
    """What the texts say, whatever stands in their holes. Some that clients say are no JSON, and meant not to be."""
    found: list[dict[str, Any]] = []
    for text in texts:
        filled = HOLE.sub("", re.sub(f":{HOLE.pattern}", ":0", text))
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(filled, type=dict[str, Any]))
    return found


def test_every_message_and_error_that_can_be_shown_is_shown():
    heard = _objects(_heard())
    assert len(heard) == len(_heard())
    assert {message["type"] for message in heard} == messages.SERVER_TYPES | {_tag(greeting.Challenge)}
    assert {message["type"] for message in _objects(_said())} >= messages.CLIENT_TYPES
    shown = {message["code"] for message in heard if message["type"] == "error"}
    sent = {code(row["code"]) for row in SECTIONS["7"].table("code").rows if row["sent"] == "yes"}
    assert shown == sent - NEVER_PROVOKED


def test_the_server_says_nothing_that_no_table_has():
    for message in _objects(_heard()):
        rows = {code(row["member"]) for row in _fields(message.pop("type")) if row.get("server", "never") != "never"}
        assert message.keys() <= rows


# -- section 5 and 6: messages


def _fields(kind: str) -> list[dict[str, str]]:
    """The field table of a message."""
    (found,) = (
        section for section in SECTIONS.values() if section.number.startswith("6.") and kind in codes(section.title)
    )
    return found.table("member").rows


def test_messages():
    rows = {code(row["type"]): row for row in SECTIONS["5"].table("type").rows}
    heard = {kind for kind, row in rows.items() if row["sent by"].startswith(("client", "either"))}
    unanswered = {kind for kind, row in rows.items() if row["server's reply"] == "none, whoever sends it"}
    assert heard | unanswered == messages.CLIENT_TYPES
    assert heard.isdisjoint(unanswered)
    assert unanswered == {_tag(struct) for struct in _structs(messages.ClientMessage, messages.Unanswered)}
    relayed = {kind for kind, row in rows.items() if row["sent by"] == "client, relayed"}
    assert relayed == {_tag(struct) for struct in _structs(messages.ClientMessage, messages.Relayed)}
    said = {kind for kind, row in rows.items() if row["sent by"] in {"server", "either"}}
    assert said | relayed == messages.SERVER_TYPES


def test_every_message_has_a_section():
    titles = [kind for number, section in SECTIONS.items() if number.startswith("6.") for kind in codes(section.title)]
    assert titles == [code(row["type"]) for row in SECTIONS["5"].table("type").rows]


def _structs(union: Any, base: type = msgspec.Struct) -> list[type[msgspec.Struct]]:
    return [struct for struct in union.__args__ if issubclass(struct, base)]


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


@pytest.mark.parametrize(
    "struct", [pytest.param(struct, id=_tag(struct)) for struct in _structs(messages.ClientMessage, messages.Request)]
)
def test_members_from_a_client(struct: type[msgspec.Struct]):
    rows = [row for row in _fields(_tag(struct)) if row["client"] not in {"no", OPENING}]
    documented = {code(row["member"]): row["client"] for row in rows}
    expected = {
        field.encode_name: "required" if field.required else "optional" for field in msgspec.structs.fields(struct)
    }
    assert documented == expected


@pytest.mark.parametrize("struct", [pytest.param(struct, id=_tag(struct)) for struct in _structs(said.ServerMessage)])
def test_members_from_the_server(struct: type[msgspec.Struct]):
    documented = {code(row["member"]): row["server"] for row in _fields(_tag(struct)) if row["server"] != "never"}
    expected = _said_members(struct)
    if "ref" not in documented:
        # All of the server's messages could have one; those that answer nothing have none.
        relayed = {_tag(relayed) for relayed in _structs(messages.ClientMessage, messages.Relayed)}
        assert _tag(struct) in relayed | {"goingAway"}
        del expected["ref"]
    assert documented == expected


def test_members_that_datagrams_add():
    """`pad` is for nobody: it is a member that the server does not know."""
    added = {code(row["member"]) for row in _fields("register") if row["client"] == OPENING}
    registers = {field.encode_name for field in msgspec.structs.fields(messages.Register)}
    assert added == {field.encode_name for field in msgspec.structs.fields(greeting.Greeting)} - registers | {"pad"}
    challenge = {code(row["member"]): row["server"] for row in _fields(_tag(greeting.Challenge))}
    assert challenge == _said_members(greeting.Challenge)


def _said_members(struct: type[msgspec.Struct], path: str = "") -> dict[str, str]:
    members: dict[str, str] = {}
    for field in msgspec.structs.fields(struct):
        members[path + field.encode_name] = "always" if field.required else "sometimes"
        for inner in getattr(field.type, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                members |= _said_members(inner, f"{path}{field.encode_name}[].")
    return members


# -- section 4: credentials


def test_kinds_of_credentials():
    """Each kind of the configuration has its row, and each member of `register` that carries one."""
    rows = SECTIONS["4.1"].table("credential").rows
    assert len(rows) == len([field for field in msgspec.structs.fields(Auth) if field.name != "deny"])
    named = {member for row in rows for member in codes(row["members of `register`"])}
    plain = {"id", "meta", "keepaliveMs", "maxFrame", "protocol", "ref"}
    assert named == {field.encode_name for field in msgspec.structs.fields(messages.Register)} - plain
    for number in re.findall(r"\((4\.\d)\)", "".join(row["credential"] for row in rows)):
        assert number in SECTIONS


@pytest.mark.parametrize("row", SECTIONS["4.2"].table("secret").rows, ids=lambda row: row["`user`"])
def test_vectors(row: dict[str, str]):
    """Made by hand as the text says, by the daemon's own function, and accepted by it until they expire."""
    secret, user, token = (code(cell).encode() for cell in row.values())
    assert base64.b64encode(hmac.digest(secret, user, "sha256")) == token
    assert credentials.token_for(secret, user.decode()) == token
    rates = Rates.of(Limits())
    credential = credentials.ExpiringToken("", credentials.Permissions(["*"], ["*"], rates=rates), [secret])
    proof = credential.prove(messages.Register(user=user.decode(), token=token.decode()), None, 0)
    assert proof is not None
    assert proof.expires == int(user.decode().partition(":")[0])


def test_the_vectors_are_what_the_examples_say():
    secret = configured.secret_of("4.1", "auth.hmac")
    vectors = {
        code(row["`user`"]): code(row["`token`"])
        for row in SECTIONS["4.2"].table("secret").rows
        if code(row["secret"]) == secret
    }
    said = [message for message in _objects(_said()) if message.get("token") and message.get("user")]
    assert {message["user"]: message["token"] for message in said} == vectors


@pytest.mark.parametrize(
    "claim",
    [
        f"handed out, of at least {LEAST_SECRET} characters",
        f"up to {credentials.LEEWAY_SECONDS:g} s after the moment",
        f"in the past, with {credentials.LEEWAY_SECONDS:g} s of leeway",
        f"for {strikes.LOCK_SECONDS:g} s each further claim on it gets `id-taken`",
        f"for {strikes.LOCK_SECONDS:g} s each further `register` for it",
        f"the next {strikes.LOCK_SECONDS:g} s begin",
        f"{ice.RENEW_SECONDS:g} s before the last that it has sent expire",
        f"at most once in {link.NOTICE_SECONDS:g} s",
        f"{2 * access.RANDOM_ID_BYTES} hexadecimal digits",
        f"one /{origins.IPV6_PREFIX} of IPv6",
    ],
)
def test_numbers_about_trust_in_the_text(claim: str):
    assert claim in " ".join(TEXT.split())


# -- section 7: errors


def test_errors():
    rows = SECTIONS["7"].table("code").rows
    assert [code(row["code"]) for row in rows] == list(ErrorCode)
    for row, error in zip(rows, ErrorCode, strict=True):
        assert row["closes"] == ("yes" if error.closes else "no"), error
        assert row["next"] == error.next.value, error
        assert row["sent"] in {"yes", "not yet"}, error
        assert re.sub(r" \(section \d+\)", "", row["meaning"]) == error.meaning
    assert [row["next"] for row in SECTIONS["7"].table("next").rows] == [value.value for value in Next]


def test_errors_that_are_not_sent_yet_are_nowhere_in_the_code():
    used: set[str] = set()
    for room in ("wire", "relay", "net", "control"):
        for path in (Path(sigd.__file__).parent / room).rglob("*.py"):
            if path.name != "errors.py":
                used |= set(re.findall(r"\bErrorCode\.([A-Z_]+)\b", path.read_text(encoding="utf-8")))
    sent = {ErrorCode(code(row["code"])).name for row in SECTIONS["7"].table("code").rows if row["sent"] == "yes"}
    assert used == sent


def test_every_code_in_the_text_exists():
    for section in SECTIONS.values():
        for word in codes("\n".join(section.prose)):
            if re.fullmatch(r"[a-z]+(-[a-z]+)+", word):
                assert word in list(ErrorCode), f"section {section.number}"


# -- section 9: limits and other numbers


def test_limits():
    rows = SECTIONS["9"].table("key").rows
    fields = msgspec.structs.fields(Limits)
    assert [code(row["key"]) for row in rows] == [field.name for field in fields]
    for row, field in zip(rows, fields, strict=True):
        assert row["default"] == ("none" if field.default == () else str(field.default)), field.name
        if field.name.startswith("bytes_per"):
            assert row["unit"] == "bytes/s"
        elif unit := _unit(field.type):
            assert row["unit"] == unit, field.name
        if suffix := re.search("_per_(second|minute)$", field.name):
            assert row["unit"].endswith({"second": "/s", "minute": "/min"}[suffix[1]]), field.name


def test_what_a_limit_of_zero_means():
    """Section 9 says of which keys 0 means no limit: it is those that may be 0, and `drain_ms`."""
    assert "(the keys that end in `_per_second` and `_per_minute`) and for counts per address, 0" in " ".join(
        TEXT.split()
    )
    for field in msgspec.structs.fields(Limits):
        if isinstance(field.default, int) and field.name != "drain_ms":
            unlimited = field.name.endswith(("_per_second", "_per_minute", "_per_address"))
            assert _takes_zero(field.name) is unlimited, field.name


def _takes_zero(key: str) -> bool:
    try:
        load(None, (), [f"limits.{key}=0"])
    except ConfigError:
        return False
    return True


def _unit(annotation: Any) -> str | None:
    for meta in getattr(annotation, "__metadata__", ()):
        if meta.extra and "unit" in meta.extra:
            return {"milliseconds": "ms", "bytes": "bytes"}[meta.extra["unit"]]
    origin = getattr(annotation, "__origin__", None)
    return None if origin is None else _unit(origin)


def test_limits_in_the_text():
    """Wherever a number is followed by a key in parentheses, it is that key's default."""
    found = re.findall(r"(\d+)(?:th)? ([a-z`]+)[^.()|]*\(`([a-z_]+)`\)", TEXT)
    assert len(found) >= 20
    for number, unit, key in found:
        assert int(number) * (1_000 if unit == "s" else 1) == getattr(Limits(), key), key


def test_fixed_numbers():
    expected = {
        "default port": DEFAULT_PORT,
        "characters of a peer ID, a label, `prefix` and `after`, at most": 64,
        "characters of a reason and of an error's `message`, at most": messages.MAX_REASON,
        "`meta`, at most": messages.MAX_META,
        "`maxFrame` in `register`, at least": messages.MIN_FRAME,
        "`keepaliveMs` in force, at least": messages.MIN_KEEPALIVE_MS,
        "`keepaliveMs` in force, at most": messages.MAX_KEEPALIVE_MS,
        "silence that ends a link": timeouts.GONE_AFTER,
        "time for the holder of a claimed ID to give a sign of life": link.PROBE_SECONDS * 1_000,
        "time for a line, from its first byte to its last": link.LINES_FRAME_TIMEOUT_MS,
        "how late a time-out may strike": deadlines.TICK * 1_000,
        "peers in one answer, at most": registry.MAX_LISTED,
        "what a link outlives its credential by": credentials.LEEWAY_SECONDS * 1_000,
        "how long failures and take-overs lock an ID": strikes.LOCK_SECONDS * 1_000,
        "from one notice of `rate-limited` to the next, at least": link.NOTICE_SECONDS * 1_000,
        "how long before its TURN credentials expire a peer is sent new ones": ice.RENEW_SECONDS * 1_000,
        "silence after which a new link makes room for others": strangers.SILENT_SECONDS * 1_000,
        "time from its first byte after which a new link makes room for others": strangers.BEGUN_SECONDS * 1_000,
        "`reconnectAfterMs`, below": router.GOING_AWAY_SPREAD_MS,
        "`linger_ms` when the server stops, at most": rounds.STOP_LINGER_SECONDS * 1_000,
        "TCP: silence before the first keepalive probe": listeners.KEEPALIVE_IDLE_SECONDS,
        "TCP: time between keepalive probes": listeners.KEEPALIVE_INTERVAL_SECONDS,
        "TCP: unanswered keepalive probes that end a connection": listeners.KEEPALIVE_PROBES,
        "TCP: time for sent data to be acknowledged": listeners.USER_TIMEOUT_MS,
    }
    assert {row["what"]: row["number"] for row in SECTIONS["9"].table("what").rows} == {
        what: f"{number:g}" if number < 100_000 else str(number) for what, number in expected.items()
    }


@pytest.mark.parametrize(
    "claim",
    [
        f"by default **{DEFAULT_PORT}**",
        "array of strings | always | what this server can beyond relaying; "
        + ", ".join(f"`{feature}`" for feature in World().router.features),
        f"JSON object of at most {messages.MAX_META} bytes | optional",
        f"integer, at least {messages.MIN_FRAME} | optional",
        f"below {messages.MIN_KEEPALIVE_MS} it counts as {messages.MIN_KEEPALIVE_MS}, "
        f"above {messages.MAX_KEEPALIVE_MS} as {messages.MAX_KEEPALIVE_MS}",
        f"integer, {messages.MIN_KEEPALIVE_MS} to {messages.MAX_KEEPALIVE_MS} | always",
        f"integer, 0 to {router.GOING_AWAY_SPREAD_MS - 1}, or below `drain_ms` where that is more | always",
        f"at most {registry.MAX_LISTED} peers",
        f"a string of at most {messages.MAX_REASON} characters",
        f"It is at most {messages.MAX_REASON} characters of printable ASCII",
        f"within {link.PROBE_SECONDS:g} s",
        f"a line within {link.LINES_FRAME_TIMEOUT_MS / 1_000:g} s",
        f"for {timeouts.GONE_AFTER:g} times `keepaliveMs`",
        f"With the default of {Limits().keepalive_ms} ms that is after "
        f"{timeouts.GONE_AFTER * Limits().keepalive_ms / 1_000:g} s",
        f"This is protocol {messages.PROTOCOL}.",
        f"integer, always {messages.PROTOCOL} | optional",
        f"always below 2^24 = {framing.MAX_FRAME + 1}",
    ],
)
def test_numbers_in_the_text(claim: str):
    assert claim in TEXT


@pytest.mark.parametrize(("kind", "accepts"), [("peer ID", is_peer_id), ("label", salvage.is_name)])
def test_patterns(kind: str, accepts: Callable[[str], bool]):
    (row,) = (row for row in SECTIONS["3"].table("kind").rows if row["kind"] == kind)
    pattern = re.compile(codes(row["is"])[0])
    probes = [chr(number) for number in range(0x100)] + ["", "a" * 64, "a" * 65, "a\n", "ł", "٣", "\u2028"]
    for text in probes:
        assert bool(pattern.fullmatch(text)) == accepts(text), ascii(text)


def _accepts(text: str) -> bool:
    try:
        messages.decode(text.encode(), Limits().max_depth)
    except ProtocolError:
        return False
    return True


def test_null():
    """Section 3 says which members may be `null`."""
    (prose,) = (line for line in SECTIONS["3"].prose if line.startswith("**`null`**"))
    never = set(re.findall(r"`(\w+)`", re.findall(r"[^.]+ are never `null`", prose)[0])) - {"null"}
    valid = {"to": '"bob"', "sdp": '""', "candidate": "{}", "data": "0"}
    refused: set[str] = set()
    for struct in _structs(messages.ClientMessage, messages.Request):
        fields = msgspec.structs.fields(struct)
        for field in fields:
            members = {other.encode_name: valid[other.encode_name] for other in fields if other.required}
            members[field.encode_name] = "null"
            text = "".join(f',"{name}":{value}' for name, value in members.items())
            if not _accepts(f'{{"type":"{_tag(struct)}"{text}}}'):
                refused.add(field.encode_name)
    assert refused == never | {"to", "sdp"}


def test_integers():
    (row,) = (row for row in SECTIONS["3"].table("kind").rows if row["kind"] == "integer")
    good, *bad = codes(row["is"])
    assert _accepts(f'{{"type":"register","keepaliveMs":{good}}}')
    assert bad
    for number in bad:
        assert not _accepts(f'{{"type":"register","keepaliveMs":{number}}}')


def test_what_goes_out_escaped_to_lines():
    (prose,) = (line for line in SECTIONS["2.2"].prose if "U+007F to" in line)
    listed: set[int] = set()
    prose = prose.partition(":")[2]
    for first, last in re.findall(r"U\+([0-9A-F]+)(?: to U\+([0-9A-F]+))?", prose):
        listed |= set(range(int(first, 16), int(last or first, 16) + 1))
    numbers = [*range(0x20, 0xD800), *range(0xE000, 0x110000)]
    written = {number for number in numbers if rb"\u" in framing.Lines.wrap(chr(number).encode())}
    assert listed == written


# -- section 2: framing and commands


def test_first_bytes():
    first_prefixed, first_tls, rest = (row["first byte"] for row in SECTIONS["2"].table("first byte").rows)
    expected = {int(code(first_prefixed), 16): framing.Dialect.PREFIXED, int(code(first_tls), 16): framing.Dialect.TLS}
    assert rest == "anything else"
    for byte in range(0x100):
        assert framing.dialect_of(byte) is expected.get(byte, framing.Dialect.LINES)


def test_commands():
    rows = SECTIONS["2.3"].table("command").rows
    assert [code(row["command"]).split()[0] for row in rows] == list(commands.COMMANDS)
    shown = "".join(f"# {code(row['command']):20} {row['purpose']}\n" for row in rows)
    assert commands.HELP.decode().startswith(shown)
    for row in rows:
        built = commands.parse(code(row["for example"]).encode(), Limits().max_depth)
        if built is None:
            assert row["is the same as"] == ""
        else:
            assert built == messages.decode(code(row["is the same as"]).encode(), Limits().max_depth)


# -- the document itself


@pytest.mark.parametrize(
    "claim",
    [
        f"**Connect** to port {DEFAULT_PORT}.",
        {4: "its length in four bytes"}[framing.PREFIX_BYTES],
        f"a message has at most {Limits().max_frame_unregistered} bytes",
        f"Allow {Limits().register_timeout_ms // 1000} s for all of this",
        f"takes {link.PROBE_SECONDS:g} s of them",
        f"Messages have at most {Limits().max_frame} bytes",
        f"`keepaliveMs`, {Limits().keepalive_ms // 1000} s by default",
        f"within {timeouts.ANSWER_WITHIN:g} times `keepaliveMs`",
        f"at most {backoff.SHORTEST_SECONDS * 1000:g} ms",
        f"up to {backoff.LONGEST_SECONDS:g} s",
    ],
)
def test_numbers_of_the_short_list(claim: str):
    short = TEXT.partition("## A client over a stream, in short")[2].partition("## Contents")[0]
    assert claim in " ".join(short.split())


def test_sections_are_numbered_in_order():
    numbers = [section.number for section in SECTIONS.values() if "." not in section.number]
    assert numbers == [str(number) for number in range(15)]
    assert [int(number) for number in re.findall(r"^(\d+)\. \[", TEXT, re.MULTILINE)] == list(range(1, 15))


def test_every_section_that_is_named_exists():
    lists = re.findall(r"\((\d+\.\d+(?:(?:, | to )\d+\.\d+)*)\)", TEXT)
    listed = [number for numbers in lists for number in re.findall(r"\d+\.\d+", numbers)]
    for number in listed + re.findall(r"(?:section|as in|escapes of) (\d+(?:\.\d+)?)", TEXT):
        assert number in SECTIONS
    for path in Path(sigd.__file__).parent.rglob("*.py"):
        for number in re.findall(r"protocol\.md, section (\d+(?:\.\d+)?)", path.read_text(encoding="utf-8")):
            assert number in SECTIONS, path.name
