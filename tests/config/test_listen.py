"""`[[listen]]`: what a URL says, who reaches it, and what belongs together in a table of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.config import Listen, Listener, is_loopback, load, parse_listen
from tests.configs import faults_in, faults_of, loaded

NEITHER = "is neither tcp://HOST:PORT, as in tcp://127.0.0.1:7337, nor the same with tls, udp or dtls, nor unix:/PATH"
NO_HOST = "is not a host name or address; all addresses are 0.0.0.0 and [::]"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("tcp://127.0.0.1:7337", ("tcp", "127.0.0.1", 7337, "", None)),
        ("tcp://127.0.0.1", ("tcp", "127.0.0.1", 7337, "", None)),
        ("tcp://127.0.0.1:0", ("tcp", "127.0.0.1", 0, "", None)),
        ("tcp://127.0.0.1:65535", ("tcp", "127.0.0.1", 65535, "", None)),
        ("tcp://[::1]:80", ("tcp", "::1", 80, "", None)),
        ("tcp://[0:0:0:0:0:0:0:1]", ("tcp", "::1", 7337, "", None)),
        ("tcp://[fe80::1%eth0]:1", ("tcp", "fe80::1%eth0", 1, "", None)),
        ("tcp://LocalHost:1", ("tcp", "localhost", 1, "", None)),
        ("tcp://a-b_c.example.", ("tcp", "a-b_c.example.", 7337, "", None)),
        ("tcp://:1", ("tcp", "", 1, "", None)),
        ("tls://127.0.0.1", ("tls", "127.0.0.1", 7337, "", None)),
        ("tls://[::1]:0", ("tls", "::1", 0, "", None)),
        ("tls://Sigd.Example.net:443", ("tls", "sigd.example.net", 443, "", None)),
        ("udp://127.0.0.1", ("udp", "127.0.0.1", 7337, "", None)),
        ("udp://[::1]:0", ("udp", "::1", 0, "", None)),
        ("udp://:1", ("udp", "", 1, "", None)),
        ("dtls://LocalHost:1", ("dtls", "localhost", 1, "", None)),
        ("unix:/run/sigd/sigd.sock", ("unix", "", 0, "/run/sigd/sigd.sock", None)),
        ("unix:///run/sigd.sock", ("unix", "", 0, "/run/sigd.sock", None)),
        ("unix:/run/a b.sock?mode=0660", ("unix", "", 0, "/run/a b.sock", 0o660)),
        ("unix:/x?mode=777", ("unix", "", 0, "/x", 0o777)),
        ("unix:/x?mode=0", ("unix", "", 0, "/x", 0)),
        ("unix:/" + "x" * 106, ("unix", "", 0, "/" + "x" * 106, None)),
    ],
)
def test_listen_url(url: str, expected: tuple[object, ...]) -> None:
    listen = parse_listen(url)
    assert isinstance(listen, Listen)
    assert listen.url == url
    assert (listen.scheme, listen.host, listen.port, listen.path, listen.mode) == expected


PORTS = "after tcp:// expected only HOST:PORT, the port from 0 to 65535"
ABSOLUTE = "a socket needs an absolute path, as in unix:/run/sigd/sigd.sock"
MODES = "only ?mode=0000 to ?mode=0777, in octal, may follow the path"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", f'"" {NEITHER}'),
        ("7337", f'"7337" {NEITHER}'),
        ("tcp:127.0.0.1", f'"tcp:127.0.0.1" {NEITHER}'),
        ("http://h/", f'"http://h/" {NEITHER}'),
        ("TLS://h", f'"TLS://h" {NEITHER}'),
        ("tls:127.0.0.1", f'"tls:127.0.0.1" {NEITHER}'),
        ("tls://127.0.0.1:1/", PORTS.replace("tcp", "tls")),
        ("tls://::1", "write an IPv6 address in brackets, as in tls://[::1]:7337"),
        ("UDP://h", f'"UDP://h" {NEITHER}'),
        ("udp:127.0.0.1", f'"udp:127.0.0.1" {NEITHER}'),
        ("udp4://127.0.0.1", f'"udp4://127.0.0.1" {NEITHER}'),
        ("udp://127.0.0.1:65536", PORTS.replace("tcp", "udp")),
        ("dtls://127.0.0.1:1?mode=0660", PORTS.replace("tcp", "dtls")),
        ("udp://::1", "write an IPv6 address in brackets, as in udp://[::1]:7337"),
        ("tcp://127.0.0.1:65536", PORTS),
        ("tcp://127.0.0.1:-1", PORTS),
        ("tcp://127.0.0.1:", PORTS),
        ("tcp://127.0.0.1:\uff11", PORTS),
        ("tcp://127.0.0.1:http", PORTS),
        (f"tcp://127.0.0.1:{'0' * 5000}", PORTS),
        ("tcp://127.0.0.1:1/", PORTS),
        ("tcp://127.0.0.1:1?mode=0660", PORTS),
        ("tcp://u@127.0.0.1:1", PORTS),
        ("tcp://[::1", PORTS),
        ("tcp://[::1]x", PORTS),
        ("tcp://::1", "write an IPv6 address in brackets, as in tcp://[::1]:7337"),
        ("tcp://[::1::]:1", '"[::1::]" is not an IP address'),
        ("tcp://[127.0.0.1]:1", '"[127.0.0.1]" is not an IP address'),
        ("tcp://[]:1", '"[]" is not an IP address'),
        ("tcp://127.1:1", '"127.1" is not an IP address'),
        ("tcp://300.0.0.1:1", '"300.0.0.1" is not an IP address'),
        ("tcp://*:1", f'"*" {NO_HOST}'),
        ("tcp://b\u00fccher:1", f'"b\\xfccher" {NO_HOST}'),
        (f"tcp://{'a.' * 127}:1", f'"{("a." * 127)[:125]}..." {NO_HOST}'),
        ("unix:", ABSOLUTE),
        ("unix:run/x", ABSOLUTE),
        ("unix://run/x", ABSOLUTE),
        ("unix:@abstract", ABSOLUTE),
        ("unix:/", ABSOLUTE),
        ("unix:////x", ABSOLUTE),
        ("unix:/run/", ABSOLUTE),
        ("unix:/" + "x" * 107, "the path of a socket has at most 107 bytes, this one 108"),
        ("unix:/" + "\u00e9" * 54, "the path of a socket has at most 107 bytes, this one 109"),
        ("unix:/x?", f'"?": {MODES}'),
        ("unix:/x?mode=1000", f'"?mode=1000": {MODES}'),
        ("unix:/x?mode=0888", f'"?mode=0888": {MODES}'),
        ("unix:/x?mode=", f'"?mode=": {MODES}'),
        ("unix:/x?mode=0600&mode=0666", f'"?mode=0600&mode=0666": {MODES}'),
        ("unix:/x?owner=root", f'"?owner=root": {MODES}'),
        ("unix:/x\n", "a listen URL must not contain control characters"),
        ("unix:/x\0", "a listen URL must not contain control characters"),
        ("tcp://\u202e:1", "a listen URL must not contain control characters"),
        ("unix:/\udcff", "a listen URL must not contain control characters"),
    ],
)
def test_refused_listen_url(url: str, expected: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared below
        parse_listen(url)
    assert str(refused.value) == expected


@given(st.sampled_from(["", "tcp://", "tcp://[", "tls://", "unix:", "unix:/"]), st.text())
def test_any_listen_url_is_parsed_or_refused_in_one_safe_line(start: str, rest: str) -> None:
    url = start + rest
    try:
        listen = parse_listen(url)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert listen.url == url
        assert 0 <= listen.port <= 65535
        assert (listen.scheme == "unix") == listen.path.startswith("/")
        assert len(listen.path.encode()) <= 107
    assert refused.isascii()
    assert refused.isprintable()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:7f00:1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("128.0.0.1", False),
        ("fe80::1%eth0", False),
        # Names, as far as the resolver is concerned; it needs no network for these.
        ("0x7f.1", True),
        ("2130706433", True),
        ("0", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# Names that the resolver itself refuses: no test waits for a name server.
@pytest.mark.parametrize("host", ["a..b", "x" * 64, "a." * 200 + "a"])
def test_host_that_does_not_resolve(host: str) -> None:
    with pytest.raises(ValueError, match="does not resolve: correct it, or use an address"):
        is_loopback(host)


# Tables


FULL = """
[[listen]]
url = "tls://127.0.0.1:1"
certificate = "/etc/sigd/cert.pem"
key = "tls.key"
client_ca = "/etc/sigd/ca.pem"
client_certificate = "optional"
[[listen]]
url = "tcp://127.0.0.1:2"
certificate = "/c"
key = "/k"
plaintext = true
[[listen]]
url = "unix:/run/sigd.sock"
[[auth.certificate]]
"""


def test_tables_with_all_keys():
    config = loaded(FULL)
    assert config.listen == (
        Listener("tls://127.0.0.1:1", "/etc/sigd/cert.pem", "tls.key", "/etc/sigd/ca.pem", "optional"),
        Listener("tcp://127.0.0.1:2", "/c", "/k", plaintext=True),
        Listener("unix:/run/sigd.sock"),
    )
    assert [listener.address.scheme for listener in config.listen] == ["tls", "tcp", "unix"]


@pytest.mark.parametrize(
    "text",
    [
        'listen = ["tcp://127.0.0.1:1", "unix:/a"]',
        'listen = [{url = "tcp://127.0.0.1:1"}, "unix:/a"]',
        '[[listen]]\nurl = "tcp://127.0.0.1:1"\n[[listen]]\nurl = "unix:/a"',
    ],
    ids=["strings", "mixed", "tables"],
)
def test_a_string_stands_for_a_table_with_this_url(text):
    assert loaded(text).listen == (Listener("tcp://127.0.0.1:1"), Listener("unix:/a"))


def test_the_command_line_takes_both():
    tables = 'listen=[{url="tcp://127.0.0.1:1", plaintext=true}]'
    assert load(None, (), [tables]).listen == (Listener("tcp://127.0.0.1:1", plaintext=True),)
    assert load(None, ["unix:/a"], [tables]).listen == (Listener("unix:/a"),)


FAULTS: dict[str, tuple[str, list[str]]] = {
    "certificate without key": (
        '[[listen]]\nurl = "tcp://127.0.0.1"\ncertificate = "/c"',
        ["F:3:1: `certificate` has no effect without `key`: add `key`, or remove `certificate`"],
    ),
    "key without certificate": (
        '[[listen]]\nurl = "tls://127.0.0.1"\nkey = "/k"',
        ["F:3:1: `key` has no effect without `certificate`: add `certificate`, or remove `key`"],
    ),
    "tls without both, as a string": (
        'listen = ["tcp://127.0.0.1", "tls://127.0.0.1:1"]',
        ['F:1:30: "tls://127.0.0.1:1" requires TLS: add `certificate` and `key`'],
    ),
    "authorities without certificate": (
        '[[auth.certificate]]\n[[listen]]\nurl = "tcp://127.0.0.1"\nclient_ca = "/ca"',
        ["F:4:1: `client_ca` has no effect without `certificate`: add `certificate`, or remove `client_ca`"],
    ),
    "optional without authorities": (
        '[[listen]]\nurl = "tcp://127.0.0.1"\nclient_certificate = "optional"',
        ["F:3:1: `client_certificate` has no effect without `client_ca`: add `client_ca`, or remove it"],
    ),
    "unix with all of it": (
        '[[auth.certificate]]\n[[listen]]\nurl = "unix:/a"\nkey = "/k"\ncertificate = "/c"\nclient_ca = "/ca"',
        [
            "F:4:1: a unix: listener has no TLS: remove `key`, or listen on tls://",
            "F:5:1: a unix: listener has no TLS: remove `certificate`, or listen on tls://",
            "F:6:1: a unix: listener has no TLS: remove `client_ca`, or listen on tls://",
        ],
    ),
    "udp with all of it": (
        '[[auth.certificate]]\n[[listen]]\nurl = "udp://[::1]"\nkey = "/k"\ncertificate = "/c"\nclient_ca = "/ca"',
        [
            "F:4:1: a udp: listener has no TLS: remove `key`, or listen on dtls://",
            "F:5:1: a udp: listener has no TLS: remove `certificate`, or listen on dtls://",
            "F:6:1: a udp: listener has no TLS: remove `client_ca`, or listen on dtls://",
        ],
    ),
    "dtls without certificate and key, as a string": (
        'listen = ["udp://127.0.0.1:2", "dtls://127.0.0.1:1"]',
        ['F:1:32: "dtls://127.0.0.1:1" requires DTLS: add `certificate` and `key`'],
    ),
    "dtls with a key alone": (
        '[[listen]]\nurl = "dtls://127.0.0.1"\nkey = "/k"',
        ["F:3:1: `key` has no effect without `certificate`: add `certificate`, or remove `key`"],
    ),
    "authorities for dtls": (
        '[[auth.certificate]]\n[[listen]]\nurl = "dtls://[::1]"\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/ca"',
        ["F:6:1: DTLS listeners do not support client certificates: remove `client_ca`, or listen on tls://"],
    ),
    "plaintext in dtls": (
        'listen = [{url = "dtls://127.0.0.1", certificate = "/c", key = "/k", plaintext = true}]',
        ["F:1:70: a dtls:// listener accepts no plain text: remove `plaintext`"],
    ),
    "plaintext where there is none": (
        'listen = [{url = "tls://127.0.0.1", certificate = "/c", key = "/k", plaintext = true}]',
        ["F:1:69: a tls:// listener accepts no plain text: remove `plaintext`"],
    ),
    "file names": (
        '[[listen]]\nurl = "tls://127.0.0.1"\ncertificate = "cert/x.pem"\nkey = ""',
        [
            'F:3:1: listen[0].certificate: "cert/x.pem" is neither an absolute path, as in /etc/sigd/secret,'
            " nor the plain name of a credential, as in systemd's LoadCredential=secret:/etc/sigd/secret",
            'F:4:1: listen[0].key: "" is neither an absolute path, as in /etc/sigd/secret,'
            " nor the plain name of a credential, as in systemd's LoadCredential=secret:/etc/sigd/secret",
        ],
    ),
    "keys of a table": (
        '[[listen]]\nurl = "tcp://127.0.0.1"\ncert = "/c"\nclient_certificate = "no"\n[[listen]]\nplaintext = 1',
        [
            "F:3:1: unknown key `cert` in [[listen]]; `sigd --print-config` prints all keys",
            'F:4:1: listen[0].client_certificate: expected one of "required", "optional", got "no"',
            "F:5:3: listen[1]: the key `url` is missing",
            "F:6:1: listen[1].plaintext: expected true or false, got 1",
        ],
    ),
    "a key that was meant to be above": (
        '[[listen]]\nurl = "tcp://127.0.0.1"\ninsecure = true',
        ["F:3:1: unknown key `insecure` in [[listen]]; did you mean `insecure` at the top level?"],
    ),
    "the URL in a table": (
        '[[listen]]\nurl = "http://x"\n[[listen]]\nurl = 5',
        [f'F:2:1: listen[0].url: "http://x" {NEITHER}', "F:4:1: listen[1].url: expected a string, got 5"],
    ),
    "neither a string nor a table": (
        'listen = [5, ["tcp://127.0.0.1"]]',
        [
            "F:1:11: listen[0]: expected a string or a table, got 5",
            "F:1:14: listen[1]: expected a string or a table, got an array",
        ],
    ),
    "the same address twice, whatever is spoken there": (
        'listen = ["tcp://127.0.0.1:1", {url = "tls://127.0.0.1:1", certificate = "/c", key = "/k"}]',
        ['F:1:32: "tls://127.0.0.1:1" is the same address as "tcp://127.0.0.1:1": remove one'],
    ),
    "the same address twice in datagrams": (
        'listen = ["udp://[::1]:1", {url = "dtls://[0::1]:1", certificate = "/c", key = "/k"}]',
        ['F:1:28: "dtls://[0::1]:1" is the same address as "udp://[::1]:1": remove one'],
    ),
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(text, expected):
    assert faults_in(text) == expected


def test_tcp_and_udp_have_ports_of_their_own():
    urls = ("tcp://127.0.0.1:1", "udp://127.0.0.1:1", "tcp://[::1]:1", "udp://[::1]:1")
    assert load(None, urls).listen == tuple(map(Listener, urls))


def test_datagrams_may_be_mixed_with_all_others():
    dtls = '[[listen]]\nurl = "dtls://127.0.0.1:1"\ncertificate = "/c"\nkey = "/k"\n'
    assert loaded(dtls + '[[listen]]\nurl = "udp://127.0.0.1:2"\nplaintext = true\n').listen == (
        Listener("dtls://127.0.0.1:1", "/c", "/k"),
        Listener("udp://127.0.0.1:2", plaintext=True),
    )


def test_faults_of_a_url_on_the_command_line_have_its_name():
    assert faults_of(lambda: load(None, ["tls://127.0.0.1"])) == [
        '--listen tls://127.0.0.1: "tls://127.0.0.1" requires TLS: add `certificate` and `key`'
    ]
