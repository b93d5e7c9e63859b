"""sigd behind the proxies of docs/how-to/proxies.md, with the configurations that stand there."""

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.certificates import authority
from tests.daemon import HANG_SECONDS, Daemon, running_daemon, wait_for
from tests.needs import needs

PAGE = Path(__file__).parents[2] / "docs/how-to/proxies.md"


CLIENT = "127.0.0.9"
"""Where a client comes from; the proxy comes from 127.0.0.1."""

MODULES = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;"


def block(language: str) -> str:
    """The configuration on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """sigd as the page configures it, but for its port."""
    (config := tmp_path / "sigd.toml").write_text(block("toml").replace("7338", "0"))
    with running_daemon("--config", str(config)) as daemon:
        yield daemon


@contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A proxy that takes connections."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def takes_connections() -> bool:
        assert process.poll() is None, process.communicate()[0].decode()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), HANG_SECONDS).close()
            return True
        return False

    try:
        wait_for(takes_connections)  # it says nowhere that it is ready
        yield
    finally:
        process.terminate()
        process.communicate(timeout=HANG_SECONDS)


def filled(text: str, port: int, behind: int) -> str:
    return text.replace("127.0.0.1:7338", f"127.0.0.1:{behind}").replace("7337", str(port))


def certificate(folder: Path) -> None:
    """Write server.pem, server.key and ca.pem."""
    issued = authority("servers").issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    authority("servers").cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "server.key").chmod(0o600)


def nginx(folder: Path, port: int, behind: int, *, more: Callable[[str], str] = lambda text: text) -> list[str]:
    needs("nginx")
    text = more(filled(block("nginx"), port, behind))
    (folder / "nginx.conf").write_text(
        f"{MODULES}\ndaemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nevents {{}}\n{text}"
    )
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, behind: int) -> list[str]:
    needs("haproxy")
    admin = f"global\n    stats socket {folder}/admin.sock\n"
    (folder / "haproxy.cfg").write_text(admin + filled(block("haproxy"), port, behind).replace("5s\n", "200ms\n"))
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def stunnel(folder: Path, port: int, behind: int) -> list[str]:
    needs("stunnel4")
    certificate(folder)
    text = filled(block("ini"), port, behind).replace("/etc/sigd", str(folder))
    (folder / "stunnel.conf").write_text(f"foreground = yes\npid =\n{text}")
    return ["stunnel4", str(folder / "stunnel.conf")]


def talk(port: int, said: bytes) -> bytes:
    """Say something, half-close, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), HANG_SECONDS, source_address=(CLIENT, 0)) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        while chunk := sock.recv(65_536):
            heard += chunk
    return heard


@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_a_client_keeps_its_address_and_gets_all_answers(
    proxy: Callable[[Path, int, int], list[str]], daemon: Daemon, tmp_path: Path
):
    port = free_port()
    with running(proxy(tmp_path, port, daemon.port), port):
        heard = talk(port, b"register door\n" + b"ping\n" * 100)
    assert heard.count(b'"type":"pong"') == 100
    assert daemon.says(f"closed peer=door reason=left address={CLIENT}:")


def test_stunnel_ends_tls_and_passes_the_address_on(daemon: Daemon, tmp_path: Path):
    needs("socat")
    port = free_port()
    with running(stunnel(tmp_path, port, daemon.port), port):
        client = f"OPENSSL:localhost:{port},cafile={tmp_path}/ca.pem,bind={CLIENT}"
        command = ["socat", "-t", "5", "-", client]
        done = subprocess.run(
            command, input=b"register door\nping\n", capture_output=True, timeout=HANG_SECONDS, check=True
        )
    assert b'"type":"pong"' in done.stdout
    assert daemon.says(f"closed peer=door reason=left address={CLIENT}:")


def test_nginx_with_tls_of_its_own(daemon: Daemon, tmp_path: Path):
    needs("socat")
    certificate(tmp_path)
    port = free_port()

    def with_tls(text: str) -> str:
        own = f"ssl_certificate {tmp_path}/server.pem;\n        ssl_certificate_key {tmp_path}/server.key;"
        return text.replace(" so_keepalive=on;", f" ssl so_keepalive=on;\n        {own}")

    with running(nginx(tmp_path, port, daemon.port, more=with_tls), port):
        client = f"OPENSSL:localhost:{port},cafile={tmp_path}/ca.pem"
        command = ["socat", "-t", "5", "-", client]
        done = subprocess.run(
            command, input=b"register door\nping\n", capture_output=True, timeout=HANG_SECONDS, check=True
        )
    assert b'"type":"pong"' in done.stdout


def test_haproxy_takes_a_service_out_that_answers_no_ping(daemon: Daemon, tmp_path: Path):
    port = free_port()
    command = haproxy(tmp_path, port, daemon.port)

    def state() -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(tmp_path / "admin.sock"))
            admin.sendall(b"show stat\n")
            text = b"".join(iter(lambda: admin.recv(65_536), b"")).decode()
        (line,) = [line for line in text.splitlines() if line.startswith("sigd,sigd1,")]
        return line.split(",")[17]

    def becomes(wanted: str) -> bool:
        return wait_for(lambda: state() == wanted, state)

    with running(command, port):
        assert becomes("UP")
        # The port still takes connections, as that of a stopped service with systemd's socket does.
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            assert becomes("DOWN")
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert becomes("UP")


def test_every_time_out_is_above_two_and_a_half_keepalives():
    text = block("nginx") + block("haproxy") + block("ini")
    waits = [
        int(found)
        for found in re.findall(r"(?:proxy_timeout |timeout client |timeout server |TIMEOUTidle = )(\d+)", text)
    ]
    assert len(waits) == 4
    assert min(waits) > 75
