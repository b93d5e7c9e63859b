"""The configuration: what is taken, what is refused, and that every fault says where it is."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sigd.config import (
    Auth,
    CertificateEntry,
    Config,
    ConfigError,
    Fault,
    HmacEntry,
    Ice,
    JwtEntry,
    Limits,
    Listener,
    Log,
    StartError,
    TokenEntry,
    UnixEntry,
    load,
    render,
)
from sigd.toml.tables import Table, kind_of
from tests.configs import check, configs, faults_of

BEYOND = (
    "listening beyond loopback needs credentials: configure [auth], or set `insecure = true` (on the command line:"
    " --set insecure=true) to let any client claim any ID, or use 127.0.0.1, [::1] or a unix: path"
)

NEITHER = "is neither tcp://HOST:PORT, as in tcp://127.0.0.1:7337, nor the same with tls, udp or dtls, nor unix:/PATH"
A_SIZE = "an integer from 1 to 1099511627776 (bytes)"
NO_HOST = "is not a host name or address; all addresses are 0.0.0.0 and [::]"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file that tests write before they load it."""
    return tmp_path_factory.mktemp("config") / "sigd.toml"


# What is in force


def test_defaults_are_those_of_the_table_of_limits() -> None:
    assert load(None) == Config(
        listen=(
            Listener(
                url="tcp://127.0.0.1:7337",
                certificate=None,
                key=None,
                client_ca=None,
                client_certificate="required",
                plaintext=False,
            ),
        ),
        insecure=False,
        log=Log(level="info"),
        auth=Auth(deny=(), token=(), hmac=(), jwt=(), certificate=(), unix=()),
        ice=Ice(stun_urls=(), turn_urls=(), turn_secret_file=None, turn_ttl_ms=3_600_000),
        limits=Limits(
            max_connections=10_000,
            max_unregistered=1_024,
            max_unregistered_per_address=256,
            max_per_address=1_024,
            trusted=(),
            tls_handshakes=1,
            tls_handshake_timeout_ms=5_000,
            register_timeout_ms=10_000,
            register_timeout_lines_ms=60_000,
            frame_timeout_ms=10_000,
            max_frame_unregistered=4_096,
            max_frame=65_536,
            max_depth=16,
            outbox_bytes=262_144,
            outbox_bytes_per_sender=65_536,
            outbox_bytes_own=65_536,
            buffer_bytes_total=134_217_728,
            stall_timeout_ms=10_000,
            messages_per_second=100,
            messages_burst=500,
            bytes_per_second=131_072,
            bytes_burst=524_288,
            auth_failures_per_minute=5,
            takeovers_per_minute=5,
            misses_per_minute=60,
            keepalive_ms=30_000,
            linger_ms=5_000,
            drain_ms=0,
            udp_links=65_536,
            udp_links_per_address=256,
            udp_reassembly_bytes=8_388_608,
            udp_unproven_per_second=20_000,
            udp_unproven_per_second_per_address=10,
            udp_registers_per_second_per_address=100,
        ),
    )


def test_file_over_defaults_settings_over_file_listen_over_all(file: Path) -> None:
    file.write_text(
        'listen = ["tcp://127.0.0.1:1"]\n[limits]\nmax_depth = 3\nmax_frame = 5000\n[log]\nlevel = "error"\n'
    )
    config = load(
        str(file),
        ["tcp://[::1]:9"],
        ["limits.max_depth = 4", "limits.max_depth=5", "log.level=debug", 'listen=["tcp://127.0.0.1:2"]'],
    )
    assert config.listen == (Listener("tcp://[::1]:9"),)
    assert (config.limits.max_depth, config.limits.max_frame, config.limits.linger_ms) == (5, 5000, 5000)
    assert config.log.level == "debug"


def test_set_takes_a_list_and_a_table() -> None:
    sets = ['listen=["unix:/a", "tcp://127.0.0.1"]', "limits={max_depth=2}", "limits.linger_ms=7"]
    config = load(None, (), sets)
    assert config.listen == (Listener("unix:/a"), Listener("tcp://127.0.0.1"))
    assert (config.limits.max_depth, config.limits.linger_ms) == (2, 7)


@pytest.mark.parametrize("text", ["\ufeffinsecure = true", "insecure = true\r\n[limits]\r\nmax_depth = 2"])
def test_byte_order_mark_and_windows_line_ends_are_fine(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    assert load(str(file)).insecure


# Faults and their places


FILES: dict[str, tuple[str, list[str]]] = {
    "unknown key": (
        "[limits]\n  max_fram = 1",
        ["F:2:3: unknown key `max_fram` in [limits]; did you mean `max_frame`?"],
    ),
    "unknown at the top, spelled in capitals": (
        "Insecure = true",
        ["F:1:1: unknown key `Insecure` at the top level; did you mean `insecure`?"],
    ),
    "unknown table": (
        "# limits\n[limit]\nmax_frame = 1",
        ["F:2:2: unknown key `limit` at the top level; did you mean `limits`?"],
    ),
    "known key in the wrong table": (
        "[limits]\ninsecure = true\n[log]\nmax_depth = 1",
        [
            "F:2:1: unknown key `insecure` in [limits]; did you mean `insecure` at the top level?",
            "F:4:1: unknown key `max_depth` in [log]; did you mean `max_depth` in [limits]?",
        ],
    ),
    "like nothing": (
        "zzz = 1",
        ["F:1:1: unknown key `zzz` at the top level; `sigd --print-config` prints all keys"],
    ),
    "hostile key": (
        '[limits]\n"max\\u001b[31m\\u202e" = 1',
        ["F:2:1: unknown key `max\\x1b[31m\\u202e` in [limits]; `sigd --print-config` prints all keys"],
    ),
    "wrong types": (
        'insecure = "yes"\nlisten = "tcp://127.0.0.1"\nlog = 3\n[limits]\nmax_frame = "5"\nmax_depth = 1.5\n'
        "linger_ms = true\nmax_connections = 1979-05-27 07:32:00\noutbox_bytes_own = []\noutbox_bytes = {}",
        [
            'F:1:1: insecure: expected true or false, got "yes"',
            'F:2:1: listen: expected an array of strings or tables, at least 1, got "tcp://127.0.0.1"',
            "F:3:1: log: expected a table, got 3",
            'F:5:1: limits.max_frame: expected an integer from 1024 to 16777215 (bytes), got "5"',
            "F:6:1: limits.max_depth: expected an integer from 1 to 512, got 1.5",
            "F:7:1: limits.linger_ms: expected an integer from 1 to 86400000 (milliseconds), got true",
            "F:8:1: limits.max_connections: expected an integer from 1 to 1073741824, got a date or a time",
            f"F:9:1: limits.outbox_bytes_own: expected {A_SIZE}, got an empty array",
            f"F:10:1: limits.outbox_bytes: expected {A_SIZE}, got a table",
        ],
    ),
    "out of bounds": (
        "[limits]\nmax_frame = 1023\nmax_frame_unregistered = 0\nmax_depth = 513\nkeepalive_ms = 4999\n"
        f"linger_ms = 0\nmax_connections = -{2**70}",
        [
            "F:2:1: limits.max_frame: expected an integer from 1024 to 16777215 (bytes), got 1023",
            "F:3:1: limits.max_frame_unregistered: expected an integer from 1024 to 16777215 (bytes), got 0",
            "F:4:1: limits.max_depth: expected an integer from 1 to 512, got 513",
            "F:5:1: limits.keepalive_ms: expected an integer from 5000 to 300000 (milliseconds), got 4999",
            "F:6:1: limits.linger_ms: expected an integer from 1 to 86400000 (milliseconds), got 0",
            "F:7:1: limits.max_connections: expected an integer from 1 to 1073741824,"
            " got an integer of more than 64 bits",
        ],
    ),
    "too long to be spelled by Python": (
        f"limits.max_depth = 0x{'f' * 5000}",
        ["F:1:8: limits.max_depth: expected an integer from 1 to 512, got an integer of more than 64 bits"],
    ),
    "one of": (
        '[log]\nlevel = "warn"',
        ['F:2:1: log.level: expected one of "debug", "info", "warning", "error", got "warn"'],
    ),
    "dotted and quoted keys": (
        "limits . 'max_dept' = 1\nlog.\"level\" = 2",
        [
            "F:1:10: unknown key `max_dept` in [limits]; did you mean `max_depth`?",
            'F:2:5: log.level: expected one of "debug", "info", "warning", "error", got 2',
        ],
    ),
    "inline table": (
        "limits = { max_depth = 1, max_dep = 2 }",
        ["F:1:27: unknown key `max_dep` in [limits]; did you mean `max_depth`?"],
    ),
    "items, the good ones judged too": (
        'listen = [ # one\n  5, "tcp://0.0.0.0", """tcp://127.0.0.1""",\n\n  \'http://x\',\n]',
        [
            "F:2:3: listen[0]: expected a string or a table, got 5",
            f'F:2:6: "tcp://0.0.0.0" is not a loopback address: {BEYOND}',
            f'F:4:3: listen[3]: "http://x" {NEITHER}',
        ],
    ),
    "nothing to listen on": (
        "listen = []",
        ["F:1:1: listen: expected an array of strings or tables, at least 1, got an empty array"],
    ),
    "several lines before": (
        'listen = ["""\ntcp://x]\n[limits]\n"""]\n[limits]\nmax_depth = 0',
        [
            "F:1:11: listen[0]: a listen URL must not contain control characters",
            "F:6:1: limits.max_depth: expected an integer from 1 to 512, got 0",
        ],
    ),
    "frame and outbox": (
        "[limits]\noutbox_bytes_per_sender = 70000\noutbox_bytes = 65539\nmax_frame_unregistered = 65537",
        [
            "F:2:1: outbox_bytes_per_sender (70000) is above outbox_bytes (65539):"
            " lower outbox_bytes_per_sender or raise outbox_bytes",
            "F:3:1: max_frame (65536) is above outbox_bytes - 4 (65535), so the largest frame would fit"
            " no outbox: lower max_frame or raise outbox_bytes",
            "F:4:1: max_frame_unregistered (65537) is above max_frame (65536):"
            " lower max_frame_unregistered or raise max_frame",
        ],
    ),
    "outbox and all outboxes": (
        "limits.buffer_bytes_total = 200000",
        [
            "F:1:8: outbox_bytes (262144) is above buffer_bytes_total (200000):"
            " lower outbox_bytes or raise buffer_bytes_total"
        ],
    ),
    "no guesses about a key that is faulty itself": (
        '[limits]\nmax_frame = 70000\noutbox_bytes = "1 MiB"\nmax_frame_unregistered = 60000',
        [f'F:3:1: limits.outbox_bytes: expected {A_SIZE}, got "1 MiB"'],
    ),
    "nor about insecure": (
        'insecure = 1\nlisten = ["tcp://[::]"]',
        ["F:1:1: insecure: expected true or false, got 1"],
    ),
    "the same address twice": (
        'listen = ["tcp://[::1]", "unix:/a", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "unix:/a?mode=0600",'
        ' "tcp://[0:0::1]:7337"]',
        [
            'F:1:79: "unix:/a?mode=0600" is the same address as "unix:/a": remove one',
            'F:1:100: "tcp://[0:0::1]:7337" is the same address as "tcp://[::1]": remove one',
        ],
    ),
    "no such host": (
        'insecure = true\nlisten = ["tcp://a..b"]',
        ['F:2:11: "a..b" does not resolve: correct it, or use an address'],
    ),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES.keys())
def test_faults_of_a_file(file: Path, text: str, expected: list[str]) -> None:
    assert check(file, text) == expected


SETTINGS: dict[str, tuple[list[str], list[str]]] = {
    "unknown": (
        ["limits.max_fram=1"],
        ["--set limits.max_fram=1: unknown key `max_fram` in [limits]; did you mean `max_frame`?"],
    ),
    "misplaced": (
        ["level=debug"],
        ["--set level=debug: unknown key `level` at the top level; did you mean `level` in [log]?"],
    ),
    "value": (
        ["limits.max_frame="],
        ['--set limits.max_frame=: expected an integer from 1024 to 16777215 (bytes), got ""'],
    ),
    "no value": (["x"], ["--set x: expected KEY=VALUE, as in limits.max_frame=4096"]),
    "no key": (["=1"], ["--set =1: expected KEY=VALUE, as in limits.max_frame=4096"]),
    "hostile": (
        ["x\x1b]0;=\u202e", f"log.level={'x' * 200}"],
        [
            "--set x\\x1b]0;=\\u202e: expected KEY=VALUE, as in limits.max_frame=4096",
            f'--set log.level={"x" * 115}...: expected one of "debug", "info", "warning", "error",'
            f' got "{"x" * 125}..."',
        ],
    ),
    "not a table": (["insecure=true", "insecure.x=1"], ["--set insecure.x=1: `insecure` is not a table"]),
    "a table too many": (["insecure.x=1"], ["--set insecure.x=1: expected true or false, got a table"]),
    "the last one counts": (["limits.max_depth=0", "limits.max_depth=1"], []),
    "items": (
        ['listen=["tcp://127.0.0.1", 5]'],
        ['--set listen=["tcp://127.0.0.1", 5]: listen[1]: expected a string or a table, got 5'],
    ),
    "conflict": (
        ["limits.max_frame=4095"],
        [
            "--set limits.max_frame=4095: max_frame_unregistered (4096) is above max_frame (4095):"
            " lower max_frame_unregistered or raise max_frame"
        ],
    ),
}


@pytest.mark.parametrize(("sets", "expected"), SETTINGS.values(), ids=SETTINGS.keys())
def test_faults_of_settings(sets: list[str], expected: list[str]) -> None:
    assert faults_of(lambda: load(None, (), sets)) == expected


def test_faults_of_file_and_command_line_come_together_each_at_its_place(file: Path) -> None:
    text = 'listen = [1, 2]\nlimits.max_depth = 0\n[log]\nlevel = "x"'
    listen = ["tcp://x y", "tcp://0.0.0.0:1"]
    assert check(file, text, listen, ["nonsense", "limits.max_frame=1", "log.level=info"]) == [
        "--set nonsense: expected KEY=VALUE, as in limits.max_frame=4096",
        "F:2:8: limits.max_depth: expected an integer from 1 to 512, got 0",
        f'--listen tcp://x y: "x y" {NO_HOST}',
        "--set limits.max_frame=1: expected an integer from 1024 to 16777215 (bytes), got 1",
        f'--listen tcp://0.0.0.0:1: "tcp://0.0.0.0:1" is not a loopback address: {BEYOND}',
    ]


def test_file_that_cannot_be_read_hides_no_other_fault_and_invents_none(file: Path) -> None:
    # insecure and outbox_bytes may well be in it.
    sets = ["limits.max_frame=300000", "limits.x=1"]
    assert check(file, "insecure = true\noops", ["tcp://0.0.0.0"], sets) == [
        "F:2:5: not TOML: Expected '=' after a key in a key/value pair",
        "--set limits.x=1: unknown key `x` in [limits]; `sigd --print-config` prints all keys",
    ]


def test_missing_file(tmp_path: Path) -> None:
    missing = str(tmp_path / "a\x1bb")
    assert faults_of(lambda: load(missing)) == [
        f"{tmp_path}/a\\x1bb: no such file: correct the path, or create it with `sigd --print-config`"
    ]
    assert faults_of(lambda: load("a\0b")) == ["a\\x00b: cannot be read: embedded null byte"]


def test_directory_instead_of_a_file(tmp_path: Path) -> None:
    assert faults_of(lambda: load(str(tmp_path))) == [f"{tmp_path}: is a directory: name the file in it"]


def test_other_troubles_of_a_file_are_the_systems_words(file: Path) -> None:
    file.write_text("")
    assert faults_of(lambda: load(f"{file}/x")) == [f"{file}/x: cannot be read: Not a directory"]


@contextmanager
def as_nobody() -> Generator[None]:
    """Give up root's right to read everything, if these tests have it."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_file_without_permission(file: Path) -> None:
    file.write_text("insecure = true")
    file.chmod(0)
    try:
        with as_nobody():
            faults = faults_of(lambda: load(str(file)))
    finally:
        file.chmod(0o600)
    assert faults == [f"{file}: permission denied: make it readable to the user of sigd (see `ls -l`)"]


def test_errors_read_as_their_lines() -> None:
    fault = Fault("sigd.toml:1:2", "what")
    assert str(fault) == "sigd.toml:1:2: what"
    assert str(ConfigError([fault, fault])) == "sigd.toml:1:2: what\nsigd.toml:1:2: what"
    assert str(StartError("tcp://127.0.0.1:80", "address in use")) == "tcp://127.0.0.1:80: address in use"


# What --print-config prints


def test_render_explains_every_key() -> None:
    text = render(Config(limits=Limits(max_frame=5000)))
    assert text.startswith("# Allow listening beyond loopback without credentials:")
    assert "\n# Listeners. A plain URL may stand for a table," in text
    assert (
        "\n[limits]\n\n# Maximum number of connections; never above RLIMIT_NOFILE - 64. Beyond it:\n"
        "# server-full, close.\n"
        "# Takes an integer from 1 to 1073741824; default 10000. A change needs a\n# restart.\n"
        "max_connections = 10000\n\n"
    ) in text
    assert "\n# Takes an integer from 1024 to 16777215 (bytes); default 65536.\nmax_frame = 5000\n" in text
    assert '\n# Takes one of "debug", "info", "warning", "error"; default "info".\nlevel = "info"\n' in text
    assert "\n# Takes true or false; default false.\ninsecure = false\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith("\nbytes = 8388608\n")


def tables(kind: type[Table]) -> Iterator[type[Table]]:
    """A kind of table, and all those inside."""
    yield kind
    for field in msgspec.structs.fields(kind):
        inside = kind_of(field.type)
        for table in (inside.table, kind_of(inside.item).table):
            yield from tables(table) if table else ()


@pytest.mark.parametrize("table", [*tables(Config)])
def test_every_key_is_documented(table: type[Table]) -> None:
    keys = {field.encode_name: kind_of(field.type).description for field in msgspec.structs.fields(table)}
    assert [key for key, description in keys.items() if not description.endswith((".", "?"))] == []


def test_every_key_of_a_credential_is_explained_though_there_is_none() -> None:
    text = render(Config())
    assert "\n# [[auth.token]]\n\n# File with the token, not readable to others;" in text
    for kind in (TokenEntry, HmacEntry, JwtEntry, CertificateEntry, UnixEntry):
        for field in msgspec.structs.fields(kind):
            assert f"\n# {field.encode_name} =" in text
    assert '\n# talk = ["*"]\n' in text
    assert "\n# messages_per_second =\n" in text


def test_what_is_printed_says_what_needs_a_restart() -> None:
    # The comment may be broken into lines anywhere.
    text = render(Config()).replace("\n# ", " ")
    behind = [part.removeprefix("\n").splitlines()[0] for part in text.split("A change needs a restart.")[1:]]
    assert behind == [
        *('url = "tcp://127.0.0.1:7337"', "max_connections = 10000", " listen =", " listen ="),
        *("bodies = true", "bytes = 8388608"),
    ]


@settings(max_examples=40)  # a whole configuration is a lot to draw
@given(config=configs())
def test_what_is_printed_is_read_back(file: Path, config: Config) -> None:
    text = render(config)
    assert text.isascii()
    file.write_text(text)
    assert load(str(file)) == config


# Any text

WORDS = """
[limits] [log] [[listen]] [listen] [auth] [[auth.token]] [[auth.unix]] [ice] limits. listen
url insecure max_frame level = [ ] { } , ' " ''' \""" # \\
true 1024 0x1 1e400 -0 nan inf "tcp://127.0.0.1" "tcp://0.0.0.0" 1979-05-27 07:32:00 \x1b \u202e x
"""
KEYS = """
listen insecure log limits log.level limits.max_frame limits.outbox_bytes limits.trusted x url key certificate
client_ca plaintext auth auth.deny auth.unix auth.token auth.jwt secret_file register users ice.turn_urls
ice.turn_secret_file
"""
VALUES = """
1 70000 "x" [] [1,{}] {} {max_frame=1} ["tcp://127.0.0.1:1"] true ["tls://[::1]"] [{url="tcp://10.0.0.1"}] ["*"] "/x"
[{secret_file="a",register=["*"]}] ["turn:a"] ["root"]
"""

fragments = st.sampled_from([*WORDS.split(), " ", "\n", "\r\n"])
lines = st.builds("{} = {}\n".format, st.sampled_from(KEYS.split()), st.sampled_from(VALUES.split()))


@given(text=st.lists(fragments | lines | st.text(max_size=5), max_size=12).map("".join))
@example(text="listen = [[]]")
@example(text="limits = [{}]")
def test_any_text_is_a_configuration_or_located_faults(file: Path, text: str) -> None:
    for line in check(file, text):
        assert line.startswith("F:"), line
        assert line.isascii()
        assert line.isprintable()


@given(st.lists(st.builds("{}={}".format, fragments, fragments | st.text()) | st.text(), max_size=3))
def test_any_settings_are_taken_or_refused_in_safe_lines(sets: list[str]) -> None:
    for line in faults_of(lambda: load(None, (), sets)):
        assert line.startswith("--set "), line
        assert line.isascii()
        assert line.isprintable()
