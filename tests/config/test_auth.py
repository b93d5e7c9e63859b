"""`[auth]`: what each kind of credential takes and grants, and what is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.config import (
    Auth,
    CertificateEntry,
    Entry,
    HmacEntry,
    JwtEntry,
    Limits,
    TokenEntry,
    UnixEntry,
)
from sigd.config.auth import check_account, check_name_glob
from sigd.config.kinds import check_file_name, check_glob, check_named_glob, check_not_empty
from tests.configs import faults_in, loaded, refusal_of

FULL = """
listen = [
  "unix:/run/sigd.sock",
  {url = "tls://127.0.0.1", certificate = "/etc/sigd/cert.pem", key = "tls.key", client_ca = "/etc/sigd/ca.pem"},
]
[auth]
deny = ["cam66", "old-*"]
[[auth.token]]
secret_file = "/etc/sigd/door"
register = ["door1", "bell*"]
talk = ["phone*"]
discover = true
messages_per_second = 1000
messages_burst = 2000
bytes_per_second = 1048576
bytes_burst = 2097152
[[auth.token]]
secret_file = "gateway"
register = ["*"]
[[auth.hmac]]
secret_file = "/etc/sigd/hmac"
[[auth.jwt]]
algorithm = "EdDSA"
key_file = "/etc/sigd/issuer.pem"
issuer = "https://login.example.net/"
audience = "sigd"
claim = "peers"
register = ["user-*"]
[[auth.certificate]]
names = ["*.cams.example.net", "urn:cam:*"]
register = ["{name}", "cam-*"]
[[auth.unix]]
users = ["root", "1000"]
groups = ["video"]
register = ["local-*"]
talk = []
"""


def test_every_kind_of_credential():
    auth = loaded(FULL).auth
    assert auth.deny == ("cam66", "old-*")
    assert auth.token == (
        TokenEntry(
            "/etc/sigd/door",
            ("door1", "bell*"),
            talk=("phone*",),
            discover=True,
            messages_per_second=1000,
            messages_burst=2000,
            bytes_per_second=1_048_576,
            bytes_burst=2_097_152,
        ),
        TokenEntry("gateway", ("*",)),
    )
    assert auth.hmac == (HmacEntry("/etc/sigd/hmac", ("*",), talk=("*",), discover=False),)
    issuer = "https://login.example.net/"
    assert auth.jwt == (JwtEntry("EdDSA", "/etc/sigd/issuer.pem", issuer, "sigd", "peers", ("user-*",)),)
    assert auth.certificate == (CertificateEntry(("*.cams.example.net", "urn:cam:*"), ("{name}", "cam-*")),)
    assert auth.unix == (UnixEntry(("local-*",), ("root", "1000"), ("video",), talk=()),)
    assert [path for path, _ in auth.entries()] == [
        *(("token", 0), ("token", 1), ("hmac", 0), ("jwt", 0), ("certificate", 0), ("unix", 0)),
    ]


def test_what_an_entry_grants_unless_it_says_otherwise():
    assert JwtEntry("HS256", "/k", "i", "a") == JwtEntry("HS256", "/k", "i", "a", "sub", ("*",))
    assert CertificateEntry() == CertificateEntry(("*",), ("{name}",))
    for entry in (TokenEntry("/s", ("*",)), HmacEntry("/s"), CertificateEntry(), UnixEntry(("*",), ("root",))):
        assert (entry.talk, entry.discover) == (("*",), False)
        assert (entry.messages_per_second, entry.messages_burst) == (None, None)
        assert (entry.bytes_per_second, entry.bytes_burst) == (None, None)


@pytest.mark.parametrize(
    ("auth", "configured", "bearer"),
    [
        (Auth(), False, False),
        (Auth(deny=("*",)), False, False),
        (Auth(token=(TokenEntry("/s", ("*",)),)), True, True),
        (Auth(hmac=(HmacEntry("/s"),)), True, True),
        (Auth(jwt=(JwtEntry("ES256", "/k", "i", "a"),)), True, True),
        (Auth(certificate=(CertificateEntry(),)), True, False),
        (Auth(unix=(UnixEntry(("*",), ("root",)),)), True, False),
    ],
    ids=["nothing", "deny alone", "token", "hmac", "jwt", "certificate", "unix"],
)
def test_whether_credentials_are_needed_and_whether_they_can_be_stolen_on_their_way(auth, configured, bearer):
    assert (auth.configured, auth.bearer) == (configured, bearer)


def test_own_rates_go_over_the_limits():
    limits = Limits(messages_per_second=7, bytes_per_second=9)
    assert HmacEntry("/s").applied_to(limits) is limits
    own = HmacEntry("/s", messages_per_second=0, messages_burst=3).applied_to(limits)
    assert own == msgspec.structs.replace(limits, messages_per_second=0, messages_burst=3)
    own = HmacEntry("/s", bytes_per_second=10**6, bytes_burst=10**7).applied_to(limits)
    assert own == msgspec.structs.replace(limits, bytes_per_second=10**6, bytes_burst=10**7)


def test_every_kind_of_entry_has_what_all_have():
    for kind in (TokenEntry, HmacEntry, JwtEntry, CertificateEntry, UnixEntry):
        assert issubclass(kind, Entry)
        assert "register" in kind.__struct_fields__


GLOBS = "1 to 64 of A-Z a-z 0-9 _ . ~ - and *"
LOCAL = '\nlisten = ["unix:/a"]\n'

FAULTS: dict[str, tuple[str, list[str]]] = {
    "what must be said": (
        "[[auth.token]]\n[[auth.hmac]]\n[[auth.jwt]]",
        [
            "F:1:8: auth.token[0]: the key `secret_file` is missing",
            "F:1:8: auth.token[0]: the key `register` is missing",
            "F:2:8: auth.hmac[0]: the key `secret_file` is missing",
            "F:3:8: auth.jwt[0]: the key `algorithm` is missing",
            "F:3:8: auth.jwt[0]: the key `key_file` is missing",
            "F:3:8: auth.jwt[0]: the key `issuer` is missing",
            "F:3:8: auth.jwt[0]: the key `audience` is missing",
        ],
    ),
    "a secret itself": (
        '[[auth.token]]\nsecret = "hunter2"\nregister = ["*"]\n',
        [
            "F:1:8: auth.token[0]: the key `secret_file` is missing",
            "F:2:1: unknown key `secret` in [[auth.token]]; did you mean `secret_file`?",
        ],
    ),
    "one table instead of several": (
        '[auth.token]\nsecret_file = "/s"',
        ["F:1:7: auth.token: expected an array of tables, got a table"],
    ),
    "globs": (
        '[auth]\ndeny = ["a b", ""]\n[[auth.token]]\nsecret_file = "/s"\nregister = ["{name}", 1]\ntalk = "*"',
        [
            f'F:2:9: auth.deny[0]: "a b" is not a glob of peer IDs: use {GLOBS}',
            f'F:2:16: auth.deny[1]: "" is not a glob of peer IDs: use {GLOBS}',
            f'F:5:13: auth.token[0].register[0]: "{{name}}" is not a glob of peer IDs: use {GLOBS}',
            "F:5:23: auth.token[0].register[1]: expected a string, got 1",
            'F:6:1: auth.token[0].talk: expected an array of strings, got "*"',
        ],
    ),
    "nothing to register": (
        '[[auth.hmac]]\nsecret_file = "/s"\nregister = []',
        ["F:3:1: auth.hmac[0].register: expected an array of strings, at least 1, got an empty array"],
    ),
    "jwt": (
        '[[auth.jwt]]\nalgorithm = "none"\nkey_file = "/k"\nissuer = ""\naudience = " "\nclaim = "a\\nb"',
        [
            'F:2:1: auth.jwt[0].algorithm: expected one of "HS256", "EdDSA", "ES256", got "none"',
            'F:4:1: auth.jwt[0].issuer: "" is not a name: use one or more printable characters',
            'F:5:1: auth.jwt[0].audience: " " is not a name: use one or more printable characters',
            'F:6:1: auth.jwt[0].claim: "a\\nb" is not a name: use one or more printable characters',
        ],
    ),
    "unix": (
        f'{LOCAL}[[auth.unix]]\nregister = ["*"]\nusers = ["nobody"]\ngroups = ["nogroup", "65534"]',
        [
            'F:5:10: auth.unix[0].users[0]: "nobody" stands for all users of another user namespace,'
            " so it identifies nobody: use another one",
            'F:6:11: auth.unix[0].groups[0]: "nogroup" stands for all users of another user namespace,'
            " so it identifies nobody: use another one",
            'F:6:22: auth.unix[0].groups[1]: "65534" stands for all users of another user namespace,'
            " so it identifies nobody: use another one",
        ],
    ),
    "unix with nobody": (
        f'{LOCAL}[[auth.unix]]\nregister = ["*"]\ngroups = []',
        ["F:5:1: no user or group is named: fill in `users` or `groups`"],
    ),
    "unix with numbers that are none": (
        f'{LOCAL}[[auth.unix]]\nregister = ["*"]\nusers = [0]',
        ["F:5:10: auth.unix[0].users[0]: expected a string, got 0"],
    ),
    "one secret for two": (
        '[[auth.token]]\nsecret_file = "/s"\nregister = ["*"]\n[[auth.hmac]]\nsecret_file = "/s"\n[[auth.jwt]]\n'
        'algorithm = "HS256"\nkey_file = "/s"\nissuer = "i"\naudience = "a"',
        [
            'F:5:1: "/s" is also the file of auth.token[0].secret_file: give each its own secret',
            'F:8:1: "/s" is also the file of auth.token[0].secret_file: give each its own secret',
        ],
    ),
    "a burst too small for a frame": (
        '[[auth.hmac]]\nsecret_file = "/s"\nbytes_burst = 65539',
        [
            "F:3:1: bytes_burst (65539) is below max_frame + 4 (65540), so the largest frame could never be"
            " sent: raise bytes_burst or lower max_frame"
        ],
    ),
    "a rate of its own where the common burst does not count": (
        '[limits]\nbytes_per_second = 0\nbytes_burst = 1\n[[auth.hmac]]\nsecret_file = "/s"\nbytes_per_second = 9',
        [
            "F:6:1: bytes_burst (1) is below max_frame + 4 (65540), so the largest frame could never be"
            " sent: raise bytes_burst or lower max_frame"
        ],
    ),
    "no rate, any burst": ('[[auth.hmac]]\nsecret_file = "/s"\nbytes_per_second = 0\nbytes_burst = 1', []),
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(text, expected):
    assert faults_in(text) == expected


def test_two_issuers_may_have_one_public_key():
    entry = '[[auth.jwt]]\nalgorithm = "ES256"\nkey_file = "/k"\nissuer = "{}"\naudience = "a"\n'
    assert faults_in(entry.format("i") + entry.format("j")) == []


@pytest.mark.parametrize("glob", ["*", "cam1", "a_b.C~d-*e*", "*" * 64])
def test_glob(glob):
    check_glob(glob)
    check_named_glob(glob)


@pytest.mark.parametrize(
    "glob",
    [
        "",
        "a b",
        "a?",
        "[a]",
        "a" * 65,
        "a\n",
        "\u00e9",
        "\uff0a",
        "a:b",
        "a/b",
        "a\0",
        "{id}",
        "{name",
        "{name}-*",
        "a{name}",
    ],
)
def test_what_is_no_glob(glob):
    with pytest.raises(ValueError, match="is not a glob of peer IDs: use 1 to 64 of "):
        check_glob(glob)
    with pytest.raises(ValueError, match=r"is not a glob of peer IDs: .*; or \{name\} by itself"):
        check_named_glob(glob)


def test_the_name_in_a_certificate_stands_by_itself():
    check_named_glob("{name}")
    with pytest.raises(ValueError, match="is not a glob of peer IDs"):
        check_glob("{name}")


def test_glob_of_names():
    for glob in ("*", "cam1.example.net", "urn:x:*", "CN with spaces", "{name}"):
        check_name_glob(glob)
    for glob in ("", "b\u00fccher.example", "a\n", "a\x7f"):
        with pytest.raises(ValueError, match="is not a glob of names: use printable ASCII, in which"):
            check_name_glob(glob)


@pytest.mark.parametrize("written", ["root", "0", "1000", "4294967294", "www-data", "DOM\\user", "svc$", "j\u00f6rg"])
def test_account(written):
    check_account(written)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("65534", "stands for all users"),
        ("0065534", "stands for all users"),
        ("nfsnobody", "stands for all users"),
        ("4294967295", "is above 4294967294, the largest number"),
        ("9" * 255, "is above 4294967294, the largest number"),
        ("", "is not the name or number"),
        ("a b", "is not the name or number"),
        ("root:x", "is not the name or number"),
        ("root,adm", "is not the name or number"),
        ("a\n", "is not the name or number"),
        ("9" * 256, "is not the name or number"),
        ("/bin/sh", "is not the name or number"),
    ],
)
def test_what_is_no_account(written, why):
    with pytest.raises(ValueError, match=why):
        check_account(written)


@pytest.mark.parametrize(
    "name", ["/etc/sigd/a b", "/s", "hmac", "tls.key", "..x", "/\u00e9", "/" + "a" * 4094, "a" * 255]
)
def test_file_name(name):
    check_file_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is neither an absolute path"),
        (".", "is neither an absolute path"),
        ("..", "is neither an absolute path"),
        ("./secret", "is neither an absolute path"),
        ("etc/secret", "is neither an absolute path"),
        ("a" * 256, "is neither an absolute path"),
        ("/etc/sigd/", "is a folder: name the file in it"),
        ("/" + "a" * 4095, "a path has at most 4095 bytes, this one 4096"),
        ("/a\nb", "the name of a file must not contain control characters"),
        ("/a\0b", "the name of a file must not contain control characters"),
        ("\u202e", "the name of a file must not contain control characters"),
    ],
)
def test_what_is_no_file_name(name, why):
    with pytest.raises(ValueError, match=why):
        check_file_name(name)


CHECKS = [check_account, check_file_name, check_glob, check_name_glob, check_named_glob, check_not_empty]


@given(st.sampled_from(CHECKS), st.text() | st.from_regex(r"[/0-9a-z*{}]*", fullmatch=True))
def test_any_text_is_taken_or_refused_in_one_safe_line(check, text):
    assert refusal_of(check, text) is not None or text.isprintable()
