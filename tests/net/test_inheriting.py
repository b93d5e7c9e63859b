"""Sockets that were opened before: which listener each of them is, and that they serve as our own do."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.config import Config, ConfigError, Listener, StartError, parse_listen
from sigd.config.auth import Auth, HmacEntry, TokenEntry
from sigd.config.endpoints import addresses_of
from sigd.net.inheriting import as_read, by_address, narrowed, url_of, with_inherited
from sigd.net.listeners import BACKLOG, close_listener, open_listeners
from tests.daemon import HANG_SECONDS
from tests.in_process import need_ipv6

LOOPBACK = "tcp://127.0.0.1:7337"


@contextlib.contextmanager
def opened(*addresses: str) -> Iterator[list[socket.socket]]:
    """Sockets as systemd makes them: `tcp4`, `tcp6`, `udp4`, `udp6`, or the path of a Unix socket."""
    with contextlib.ExitStack() as closing:
        yield [closing.enter_context(_opened(address)) for address in addresses]


def _opened(address: str) -> socket.socket:
    kind = socket.SOCK_DGRAM if address.startswith("udp") else socket.SOCK_STREAM
    family = socket.AF_UNIX if "/" in address else socket.AF_INET6 if address.endswith("6") else socket.AF_INET
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address if "/" in address else ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen(1)
    return sock


def keys(*urls: str) -> list[tuple[bool, str, int, str]]:
    return [parse_listen(url).socket_key for url in urls]


def config(*urls: str, auth: Auth | None = None, insecure: bool = False) -> Config:
    return Config(listen=tuple(map(Listener, urls)), auth=auth or Auth(), insecure=insecure)


# Where they listen


def test_each_kind_has_its_url(tmp_path: Path) -> None:
    need_ipv6()
    path = str(tmp_path / "socket")
    with opened("tcp4", "tcp6", "udp4", "udp6", path) as socks:
        ports = [sock.getsockname()[1] for sock in socks[:4]]
        assert [url_of(sock) for sock in socks] == [
            f"tcp://127.0.0.1:{ports[0]}",
            f"tcp://[::1]:{ports[1]}",
            f"udp://127.0.0.1:{ports[2]}",
            f"udp://[::1]:{ports[3]}",
            f"unix:{path}",
        ]
        assert list(by_address(socks)) == keys(*map(url_of, socks))


def test_both_kinds_of_addresses_on_one_socket_are_refused() -> None:
    need_ipv6()
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        sock.listen()
        with pytest.raises(StartError, match="takes IPv4 as well: write BindIPv6Only=ipv6-only"):
            url_of(sock)


@pytest.mark.parametrize("kind", ["connection", "seqpacket", "unix datagrams", "abstract", "raw netlink"])
def test_what_cannot_be_served_on_is_refused(kind: str) -> None:
    family, type_ = {
        "connection": (socket.AF_INET, socket.SOCK_STREAM),
        "seqpacket": (socket.AF_UNIX, socket.SOCK_SEQPACKET),
        "unix datagrams": (socket.AF_UNIX, socket.SOCK_DGRAM),
        "abstract": (socket.AF_UNIX, socket.SOCK_STREAM),
        "raw netlink": (socket.AF_NETLINK, socket.SOCK_RAW),
    }[kind]
    with socket.socket(family, type_) as sock:
        if kind == "abstract":
            sock.bind("")
            sock.listen()
        with pytest.raises(StartError, match="a socket that systemd hands over: "):
            url_of(sock)


# Which listener they are


@pytest.mark.parametrize(
    "url", [LOOPBACK, "tls://127.0.0.1:7337", "tcp://localhost:7337", "tls://LOCALHOST:7337", "tcp://127.0.0.1"]
)
def test_one_that_a_listener_is_for_adds_none(url: str) -> None:
    before = config(url)
    assert with_inherited(before, keys(LOOPBACK)) is before


def test_datagrams_have_ports_of_their_own() -> None:
    after = with_inherited(config(LOOPBACK, "dtls://[::1]:7337"), keys("udp://127.0.0.1:7337", "udp://[::1]:7337"))
    assert [each.url for each in after.listen] == [LOOPBACK, "dtls://[::1]:7337", "udp://127.0.0.1:7337"]


def test_those_that_only_the_unit_knows_are_plain_listeners() -> None:
    inherited = keys("tcp://127.0.0.2:7337", "unix:/run/sigd/sigd.sock", LOOPBACK, "tcp://[::1]:7")
    after = with_inherited(config(LOOPBACK), inherited)
    added = ["tcp://127.0.0.2:7337", "unix:/run/sigd/sigd.sock", "tcp://[::1]:7"]
    assert [each.url for each in after.listen] == [LOOPBACK, *added]
    assert with_inherited(after, inherited) is after
    assert as_read(after).listen == config(LOOPBACK).listen
    assert as_read(config(LOOPBACK)) == config(LOOPBACK)


def test_those_on_a_part_of_a_listener_on_all_addresses_are_its_own() -> None:
    """Addresses that only the unit names are served as the listener says, and not in plain text beside it."""
    wide = config("tcp://0.0.0.0:7337", "udp://[::]:7337", insecure=True)
    inherited = keys("tcp://127.0.0.1:7337", "tcp://127.0.0.2:7337", "udp://[::1]:7337")
    assert with_inherited(wide, inherited) is wide
    assert [what.partition(" is open on ")[::2] for what in narrowed(wide, inherited)] == [
        ("tcp://0.0.0.0:7337", "127.0.0.1:7337, 127.0.0.2:7337 alone, since sigd.socket opens no other address of it"),
        ("udp://[::]:7337", "[::1]:7337 alone, since sigd.socket opens no other address of it"),
    ]
    others = keys("tcp://[::1]:7337", "udp://127.0.0.1:7337", "tcp://127.0.0.1:1", "unix:/x")
    assert len(with_inherited(wide, others).listen) == 2 + len(others)
    assert not narrowed(wide, others)


def test_a_part_of_all_addresses_that_is_open_is_taken_for_them() -> None:
    with opened("tcp4", "udp4") as socks:
        inherited = by_address(socks)
        for scheme, sock in zip(("tcp", "udp"), socks, strict=True):
            port = sock.getsockname()[1]
            (taken,) = open_listeners(parse_listen(f"{scheme}://0.0.0.0:{port}"), inherited=inherited)
            assert taken.getsockname() == ("127.0.0.1", port)
            close_listener(taken)
            sock.detach()
        assert not inherited


def test_all_addresses_keep_a_listener_from_one_of_them_and_it_is_said_who() -> None:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match=rf"sigd\.socket has tcp://0\.0\.0\.0:{port} already: `sudo sigctl setup`"):
            open_listeners(parse_listen(f"tcp://127.0.0.1:{port}"), inherited=by_address([sock]))


def test_all_addresses_are_not_one_of_them() -> None:
    assert addresses_of(parse_listen("tcp://0.0.0.0:1")) == set(keys("tcp://0.0.0.0:1"))
    with pytest.raises(ConfigError):
        with_inherited(config(LOOPBACK), keys("tcp://0.0.0.0:7337"))


def test_a_name_that_does_not_resolve_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    assert addresses_of(parse_listen("tcp://nowhere:1")) == set(keys("tcp://nowhere:1"))


@pytest.mark.parametrize("url", ["tcp://0.0.0.0:7337", "udp://192.0.2.1:7337", "tcp://[::]:7337"])
def test_row_38_strangers_come_in_no_more_easily_than_by_the_configuration(url: str) -> None:
    """With no credentials nobody, with credentials that could be overheard nobody either; and all if it says so."""
    overheard = Auth(token=(TokenEntry(secret_file="/nowhere", register=("*",)),))
    for auth in (Auth(), overheard):
        with pytest.raises(ConfigError) as refused:
            with_inherited(config(LOOPBACK, auth=auth), keys(url))
        [fault] = refused.value.faults
        assert fault.where == url
        assert fault.what.startswith("systemd hands this socket over, and no [[listen]] is for it: ")
    assert len(with_inherited(config(LOOPBACK, insecure=True), keys(url)).listen) == 2


def test_datagrams_that_are_authenticated_may_come_from_anywhere() -> None:
    auth = Auth(hmac=(HmacEntry(secret_file="/nowhere"),))
    after = with_inherited(config(LOOPBACK, auth=auth), keys("udp://0.0.0.0:7337"))
    assert after.needs_seal(after.listen[-1])


# That they serve as our own


def test_an_adopted_listener_is_set_up_as_our_own() -> None:
    with opened("tcp4") as [sock]:
        url, number = url_of(sock), sock.fileno()
        inherited = by_address([sock])
        [theirs] = open_listeners(parse_listen(url), "", inherited)
        [ours] = open_listeners(parse_listen("tcp://127.0.0.1:0"))
        try:
            assert not inherited
            assert (sock.fileno(), theirs.fileno()) == (-1, number)
            assert not theirs.getblocking()
            tcp = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
            for level, option in [
                *((socket.IPPROTO_TCP, option) for option in (*tcp, socket.TCP_NODELAY)),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.SOL_SOCKET, socket.SO_SNDBUF),
            ]:
                assert theirs.getsockopt(level, option) == ours.getsockopt(level, option)
            with contextlib.ExitStack() as waiting:  # more than the one that it was opened for
                for _ in range(8):
                    waiting.enter_context(socket.create_connection(theirs.getsockname(), timeout=HANG_SECONDS))
                for _ in range(8):
                    theirs.accept()[0].close()
            assert BACKLOG > 8
        finally:
            close_listener(theirs)
            close_listener(ours)


def test_the_file_of_an_adopted_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with opened(str(path)) as [sock]:
        [adopted] = open_listeners(parse_listen(f"unix:{path}?mode=0600"), "", by_address([sock]))
        close_listener(adopted)
    assert path.exists(), "systemd goes on listening there"


def test_adopted_datagrams() -> None:
    with opened("udp4") as [sock]:
        inherited = by_address([sock])
        assert open_listeners(parse_listen(url_of(sock)), "", inherited) == [sock]
        assert not inherited
        assert not sock.getblocking()


def test_a_name_takes_what_there_is_and_opens_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    need_ipv6()
    with opened("tcp4") as [sock]:
        port = sock.getsockname()[1]
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        number = sock.fileno()
        both = open_listeners(parse_listen(f"tcp://somewhere:{port}"), "", by_address([sock]))
        assert [each.family for each in both] == [socket.AF_INET, socket.AF_INET6]
        assert both[0].fileno() == number
        for each in both:
            close_listener(each)


def test_two_listeners_do_not_share_one() -> None:
    with opened("tcp4") as [sock]:
        inherited, url = by_address([sock]), url_of(sock)
        [adopted] = open_listeners(parse_listen(url), "", inherited)
        with pytest.raises(StartError, match="the address is in use"):
            open_listeners(parse_listen(url), "", inherited)
        close_listener(adopted)


def test_row_38_an_inherited_socket_beyond_loopback_is_refused_where_our_own_would_be() -> None:
    sock = socket.socket()
    sock.bind(("0.0.0.0", 0))
    sock.listen()
    with sock:
        url = url_of(sock)
        with pytest.raises(StartError, match="is beyond loopback: why not"):
            open_listeners(parse_listen(url), "why not", by_address([sock]))
