"""Where clients connect: TCP over both kinds of addresses, Unix sockets, and what cannot be had."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigd.config import StartError, load, parse_listen
from sigd.net.listeners import StreamListener, close_listener, open_listeners
from tests.conftest import Serving
from tests.in_process import PLAIN, need_ipv6


@contextlib.contextmanager
def listening(url: str, *, loopback_only: str = "") -> Iterator[list[socket.socket]]:
    """The sockets of a listen URL, closed afterwards."""
    opened = open_listeners(parse_listen(url), loopback_only)
    try:
        yield opened
    finally:
        for sock in opened:
            close_listener(sock)


def fault(url: str, loopback_only: str = "") -> str:
    """What opening a listen URL is answered with: one line."""
    with pytest.raises(StartError) as caught:
        open_listeners(parse_listen(url), loopback_only)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("framing", PLAIN)
@pytest.mark.parametrize("kind", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0", "unix:"])
async def test_serves(serving: Serving, tmp_path: Path, kind: str, framing: str) -> None:
    if "::1" in kind:
        need_ipv6()
    url = f"unix:{tmp_path}/sigd.sock" if kind == "unix:" else kind
    async with serving(url) as daemon:
        alice = await daemon.peer("alice", framing)
        bob = await daemon.peer("bob", framing, url=daemon.urls[-1])
        await alice.says({"type": "bye", "to": "bob"})
        assert await bob.hears() == {"type": "bye", "from": "alice"}
        host = daemon.urls[0].removeprefix("tcp://").rpartition(":")[0]
        port = alice.sock.getsockname()[1] if kind != "unix:" else 0
        assert daemon.link("alice").address == ("unix" if kind == "unix:" else f"{host}:{port}")


async def test_several_at_once(serving: Serving, tmp_path: Path) -> None:
    need_ipv6()
    async with serving("tcp://127.0.0.1:0", "tcp://[::1]:0", f"unix:{tmp_path}/s") as daemon:
        assert [url.partition(":")[0] for url in daemon.urls] == ["tcp", "tcp", "unix"]
        peers = [await daemon.peer(f"peer-{number}", url=url) for number, url in enumerate(daemon.urls)]
        for number, peer in enumerate(peers):
            await peer.says({"type": "message", "to": f"peer-{(number + 1) % 3}", "data": number})
        assert [(await peer.hears())["data"] for peer in peers] == [2, 0, 1]


class TestTCP:
    def test_the_system_picks_a_port(self) -> None:
        with listening("tcp://127.0.0.1:0") as [sock]:
            assert StreamListener(sock, ("tcp:", 0)).url == f"tcp://127.0.0.1:{sock.getsockname()[1]}"
            assert sock.getsockname()[1] > 0

    def test_ipv6(self) -> None:
        need_ipv6()
        with listening("tcp://[::1]:0") as [sock]:
            assert StreamListener(sock, ("tcp:", 0)).url == f"tcp://[::1]:{sock.getsockname()[1]}"

    def test_a_name_with_several_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        need_ipv6()
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with listening("tcp://somewhere:0") as opened:
            assert [sock.family for sock in opened] == [socket.AF_INET6, socket.AF_INET]

    def test_in_use(self) -> None:
        with listening("tcp://127.0.0.1:0") as [sock]:
            url = StreamListener(sock, ("tcp:", 0)).url
            assert fault(url) == f"{url}: the address is in use: stop what listens there, or choose another port"

    def test_no_address_of_this_machine(self) -> None:
        assert "this machine has no such address" in fault("tcp://192.0.2.1:0")

    def test_one_of_several_fails_and_none_stays_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        fault("tcp://somewhere:0")  # that nothing is left open is seen by the fixture of every test

    def test_a_port_is_free_again_at_once(self) -> None:
        with listening("tcp://127.0.0.1:0") as [sock]:
            url = StreamListener(sock, ("tcp:", 0)).url
            with socket.create_connection(sock.getsockname()), sock.accept()[0]:
                pass
        with listening(url) as [sock]:
            assert StreamListener(sock, ("tcp:", 0)).url == url

    async def test_fact_12_connections_have_the_kernels_own_timeouts(self, serving: Serving) -> None:
        """Keepalive finds idle dead clients, TCP_USER_TIMEOUT those to whom data is on its way."""
        async with serving() as daemon:
            await daemon.peer("alice")
            sock = daemon.link("alice").sock
            tcp = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
            assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in tcp] == [30, 10, 3, 20_000]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536  # Linux doubles it
            assert not sock.getblocking()
            assert not os.get_inheritable(sock.fileno())


class TestUnix:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sigd.sock"

    def test_file_comes_and_goes(self, path: Path) -> None:
        with listening(f"unix:{path}") as [sock]:
            assert StreamListener(sock, ("tcp:", 0)).url == f"unix:{path}"
            assert stat.S_ISSOCK(path.stat().st_mode)
        assert not path.exists()

    def test_a_file_that_is_another_daemons_by_now_stays(self, path: Path) -> None:
        with listening(f"unix:{path}"):
            path.unlink()
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(path))
        assert path.exists()

    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o000, 0o777])
    @pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
    def test_mode(self, path: Path, mode: int, mask: int) -> None:
        before = os.umask(mask)
        try:
            with listening(f"unix:{path}?mode={mode:04o}"):
                assert stat.S_IMODE(path.stat().st_mode) == mode
            assert os.umask(mask) == mask
        finally:
            os.umask(before)

    def test_without_mode_the_umask_decides(self, path: Path) -> None:
        before = os.umask(0o027)
        try:
            with listening(f"unix:{path}"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o750
        finally:
            os.umask(before)

    def test_a_dead_file_is_replaced(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        assert path.exists()
        with listening(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_live_one_is_not(self, path: Path) -> None:
        with listening(f"unix:{path}") as [sock]:
            assert "the address is in use" in fault(f"unix:{path}")
            assert path.exists()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                sock.accept()[0].close()

    def test_a_live_one_whose_backlog_is_full_is_not(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as busy, contextlib.ExitStack() as waiting:
            busy.bind(str(path))
            busy.listen(0)
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(str(path))
            assert "the address is in use" in fault(f"unix:{path}")
            assert path.exists()

    @pytest.mark.parametrize("kind", ["file", "folder", "link to a dead socket"])
    def test_anything_else_is_not(self, path: Path, kind: str) -> None:
        match kind:
            case "file":
                path.write_text("precious")
            case "folder":
                path.mkdir()
            case _:
                with socket.socket(socket.AF_UNIX) as dead:
                    dead.bind(f"{path}.dead")
                path.symlink_to(f"{path}.dead")
        assert "the address is in use" in fault(f"unix:{path}")
        assert os.path.lexists(path)

    def test_no_such_folder(self, path: Path) -> None:
        assert fault(f"unix:{path}/x/y").endswith("the folder does not exist: create it first")

    def test_a_path_that_is_too_long_is_refused_before(self, path: Path) -> None:
        with pytest.raises(ValueError, match="107"):
            parse_listen(f"unix:/{'x' * 107}")
        with listening(f"unix:{path.parent}/{'x' * (106 - len(str(path.parent)))}"):
            pass


class TestBeyondLoopback:
    """Whoever reaches an open port may claim any free ID: that needs a word of consent."""

    @pytest.mark.parametrize("url", ["tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://:0", "tcp://192.0.2.1:0"])
    def test_refused_unless_insecure(self, url: str) -> None:
        with pytest.raises(Exception, match="insecure = true"):
            load(None, [url])
        assert load(None, [url], ["insecure=true"]).insecure

    @pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "::ffff:192.0.2.1"])
    def test_a_name_is_judged_by_what_it_resolves_to_now(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found = [(family, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0) if ":" in address else (address, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert "why not" in fault("tcp://localhost:0", "why not")

    def test_a_name_that_does_not_resolve(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def not_found(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", not_found)
        assert fault("tcp://nowhere:0").startswith("tcp://nowhere:0: the name has no address")

    async def test_then_it_serves(self, serving: Serving) -> None:
        async with serving("tcp://0.0.0.0:0", insecure=True) as daemon:
            port = daemon.urls[0].rpartition(":")[2]
            assert daemon.urls == [f"tcp://0.0.0.0:{port}"]
            await daemon.peer("alice", url=f"tcp://127.0.0.1:{port}")
