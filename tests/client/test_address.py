"""URLs of servers."""

import pytest

from sigd.client.address import Tcp, Unix, parse


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
        "udp://example.org",
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


@pytest.mark.parametrize(
    ("url", "name"),
    [("tls://Example.org", "example.org"), ("tls://[fe80::1%eth0]", "fe80::1"), ("tls://127.0.0.1", "127.0.0.1")],
)
def test_what_a_certificate_has_to_be_made_out_to(url: str, name: str):
    address = parse(url)
    assert isinstance(address, Tcp)
    assert address.name == name
