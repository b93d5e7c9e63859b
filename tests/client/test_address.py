"""URLs of servers."""

import pytest

from sigd.client.address import Tcp, Udp, Unix, parse


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("tcp://example.org:1", Tcp("example.org", 1)),
        ("tcp://example.org", Tcp("example.org", 7337)),
        ("tcp://example.org/", Tcp("example.org", 7337)),
        ("tcp://127.0.0.1:65535", Tcp("127.0.0.1", 65535)),
        ("tcp://[::1]:9", Tcp("::1", 9)),
        ("tcp://[fe80::1%eth0]", Tcp("fe80::1%eth0", 7337)),
        ("tls://example.org", Tcp("example.org", 7337, tls=True)),
        ("tls://[::1]:9/", Tcp("::1", 9, tls=True)),
        ("udp://example.org", Udp("example.org", 7337)),
        ("udp://[::1]:9/", Udp("::1", 9)),
        ("unix:/run/sigd/sigd.sock", Unix("/run/sigd/sigd.sock")),
        ("unix:/a?b#c d", Unix("/a?b#c d")),
    ],
)
def test_an_address(url: str, address: object):
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org:7337",
        "http://example.org",
        "dtls://example.org",
        "udp:example.org",
        "udp://",
        "udp://user:secret@example.org",
        "tcp:example.org",
        "tcp://",
        "tcp://:7337",
        "tcp://example.org:70000",
        "tcp://example.org:port",
        "tcp://example.org/path",
        "tcp://user@example.org",
        "tcp://example.org?x=1",
        "tls:example.org",
        "tls://",
        "tls://user:secret@example.org",
        "tls://user:secret",
        "tls://[secret",
        "tls://example.org/path",
        "unix:",
        "unix:relative",
        "unix://host/path",
    ],
)
def test_no_address(url: str):
    with pytest.raises(ValueError, match="no address of a server") as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_what_is_not_spoken_is_refused_with_what_is():
    with pytest.raises(ValueError, match="expected tls://host, tcp://host, udp://host or unix:/path"):
        parse("dtls://example.org")


@pytest.mark.parametrize(
    ("url", "name"),
    [("tls://Example.org", "example.org"), ("tls://[fe80::1%eth0]", "fe80::1"), ("tls://127.0.0.1", "127.0.0.1")],
)
def test_what_a_certificate_has_to_be_made_out_to(url: str, name: str):
    address = parse(url)
    assert isinstance(address, Tcp)
    assert address.name == name


@pytest.mark.parametrize(
    "url",
    ["tcp://example.org:1", "tls://example.org:7337", "tcp://[::1]:9", "udp://[::1]:9", "udp://h:1", "unix:/a?b#c d"],
)
def test_an_address_as_a_url(url: str):
    assert parse(url).url == url
