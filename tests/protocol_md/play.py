"""Runs the examples of protocol.md against a daemon, over real sockets, with real TLS, netcat and openssl.

Nothing here sleeps: every wait is one for bytes, and bounded.
"""

import base64
import contextlib
import hmac
import os
import re
import select
import shlex
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, NamedTuple

from tests import certificates
from tests.daemon import HANG_SECONDS, Daemon, running_daemon
from tests.needs import lacks, needs
from tests.protocol_md import configured
from tests.protocol_md.configured import FILES, PORT, SOCKET
from tests.protocol_md.document import HOLE, Block

WAIT_SECONDS = HANG_SECONDS

LONGEST: Final = 2_000
"""Bytes that are read of a datagram: more than any may have."""

_REPEATED = re.compile("(.+) \N{MULTIPLICATION SIGN} ([0-9]+)")
_AGO = re.compile("([0-9]+) s ago")
_ITS_HMAC: Final = "its HMAC"
_USER = re.compile('"user":"([^"]+)"')
_CHARACTERS: Final = {"DEL": "\x7f", "LF": "\n"}
_REPEATEDLY: Final = " (repeated as long as the answer is ok)"


class Bytes:
    """What comes from somewhere, in the pieces that one asks for; `read` has at least one byte, or the end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._kept = b""

    def _more(self) -> bool:
        try:
            chunk = self._read()
        except TimeoutError:
            raise AssertionError(f"nothing more came; so far: {self._kept!r}") from None
        self._kept += chunk
        return bool(chunk)

    def exactly(self, count: int) -> bytes:
        while len(self._kept) < count:
            assert self._more(), f"the end, and before it: {self._kept!r}"
        taken, self._kept = self._kept[:count], self._kept[count:]
        return taken

    def line(self) -> str:
        while b"\n" not in self._kept:
            assert self._more(), f"the end, and before it: {self._kept!r}"
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode()

    def frame(self) -> str:
        return self.exactly(int.from_bytes(self.exactly(4), "big")).decode()

    def put_back(self, data: bytes) -> None:
        self._kept = data + self._kept

    def at_end(self) -> bool:
        while not self._kept:
            if not self._more():
                return True
        return False


class Player:
    """A client of a transcript: a socket that speaks one of the framings."""

    def __init__(self, port: int, *, prefixed: bool | None) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
        self._sock.settimeout(WAIT_SECONDS)
        self._prefixed = prefixed
        self.bytes = Bytes(lambda: self._sock.recv(65_536))

    def framed(self, text: str) -> bytes:
        data = text.encode()
        return len(data).to_bytes(4, "big") + data if self._prefixed else data + b"\n"

    def write(self, data: bytes) -> None:
        self._sock.sendall(data)

    def hear(self) -> str:
        return self.bytes.frame() if self._prefixed else self.bytes.line()

    def put_back(self, heard: str) -> None:
        """Have this message heard again: it was the first that did not belong to a series."""
        self.bytes.put_back(self.framed(heard))

    def end(self) -> None:
        """See that nothing more comes: the pong to a ping comes next, and then the end."""
        if self._prefixed is not None:
            self.write(self.framed('{"type":"ping"}'))
            assert self.hear() == '{"type":"pong"}'
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)
        assert self.bytes.at_end(), "more came"

    def close(self) -> None:
        self._sock.close()


class TLSPlayer(Player):
    """A client of a transcript that speaks TLS, and has a certificate or none."""

    def __init__(self, port: int, *, prefixed: bool, name: str | None) -> None:
        super().__init__(port, prefixed=prefixed)
        context = certificates.client_context(name) if name else certificates.client_context()
        # An end that TLS was not told of would be an error.
        self._sock = context.wrap_socket(self._sock, server_hostname="localhost", suppress_ragged_eofs=False)

    def _say_goodbye(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        self._sock = self._sock.unwrap()


class Program(Player):
    """A client of a transcript: a netcat, or an openssl, that a person types into."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._keyboard = self._process.stdin
        self._screen = self._process.stdout
        self._prefixed = False
        self.bytes = Bytes(self._look)

    def _look(self) -> bytes:
        if not select.select([self._screen], [], [], WAIT_SECONDS)[0]:
            raise TimeoutError
        return os.read(self._screen.fileno(), 65_536)

    def write(self, data: bytes) -> None:
        self._keyboard.write(data)
        self._keyboard.flush()

    def end(self) -> None:
        raise AssertionError("an example in which nc or openssl stays open does not free its ID for the next one")

    def leave(self) -> None:
        """Type Ctrl-D, and see it end."""
        self._keyboard.close()
        self.see_it_end()

    def see_it_end(self) -> None:
        assert self.bytes.at_end(), "more came"
        assert self._process.wait(WAIT_SECONDS) == 0

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._keyboard.close()
        self._screen.close()


class DatagramProgram(Program):
    """A client of a transcript: a netcat for which each line is a datagram, and each datagram is seen on its way.

    Netcat may take two lines for one, and shows datagrams without their ends: so each is waited for in between.
    """

    def __init__(self, command: str, server: tuple[str, int]) -> None:
        self._near = socket.socket(type=socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", 0))
        self._near.settimeout(WAIT_SECONDS)
        self._far = socket.socket(type=socket.SOCK_DGRAM)
        self._far.connect(server)
        self._far.settimeout(WAIT_SECONDS)
        self._heard: set[bytes] = set()
        super().__init__(re.sub(rf"\b{PORT}\b", str(self._near.getsockname()[1]), command))

    def write(self, data: bytes) -> None:
        super().write(data)
        datagram, address = self._near.recvfrom(LONGEST)
        assert datagram == data
        self._near.connect(address)
        self._far.send(datagram)

    def hear(self) -> str:
        datagram = self._next()
        self._near.send(datagram)
        return self.bytes.exactly(len(datagram)).decode()

    def _next(self) -> bytes:
        """What comes next, but for what was said again because it was not answered fast enough."""
        while True:
            datagram = self._far.recv(LONGEST)
            said = datagram.rsplit(b" ", 2)[0] if datagram.startswith(b"P ") else datagram
            if said not in self._heard:
                break
        if said.startswith((b"D ", b"P ")):
            self._heard.add(said)
        return datagram

    def leave(self) -> None:
        """Type Ctrl-C, and see that nothing else has come."""
        self._far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"more came: {self._next()!r}")
        self._process.send_signal(signal.SIGINT)
        assert self.bytes.at_end(), "more came"
        assert self._process.wait(WAIT_SECONDS) == -signal.SIGINT

    def close(self) -> None:
        super().close()
        self._near.close()
        self._far.close()


class Stage:
    """One transcript while it is played."""

    def __init__(self, daemon: Daemon, section: str | None = None, folder: Path | None = None) -> None:
        self._daemon = daemon
        self._section = section
        self._folder = folder
        self._players: dict[str, Player] = {}
        self._values: dict[str, str] = {}

    def play(self, line: str) -> None:
        for pattern, act in _ACTS:
            if found := pattern.fullmatch(line):
                act(self, *found.groups())
                return
        raise AssertionError(f"nobody knows how to play this: {line}")

    def finish(self) -> None:
        for player in self._players.values():
            player.end()

    def close(self) -> None:
        for player in self._players.values():
            player.close()

    # -- text with holes

    def _filled(self, text: str) -> str:
        def fill(hole: re.Match[str]) -> str:
            name = hole[1]
            if repeated := _REPEATED.fullmatch(name):
                return repeated[1] * int(repeated[2])
            if ago := _AGO.fullmatch(name):
                return str(int(time.time()) - int(ago[1]))
            if name == _ITS_HMAC:
                return hole[0]  # of what is not filled in yet
            return _CHARACTERS.get(name) or self._values[name]

        filled = HOLE.sub(fill, text)
        return HOLE.sub(lambda _: self._hmac(filled), filled)

    def _hmac(self, message: str) -> str:
        """The token that goes with the `user` in a message."""
        found = _USER.search(message)
        assert found
        assert self._section is not None
        secret = configured.secret_of(self._section, "auth.hmac")
        return base64.b64encode(hmac.digest(secret.encode(), found[1].encode(), "sha256")).decode()

    def match(self, expected: str, actual: str) -> None:
        """Compare, and keep what stands where `expected` has a hole that was not seen before."""
        names: list[str] = []
        pattern = ""
        at = 0
        for hole in HOLE.finditer(expected):
            pattern += re.escape(expected[at : hole.start()])
            at = hole.end()
            name = hole[1]
            if name in names:
                pattern += rf"\{names.index(name) + 1}"
            elif name in self._values or _REPEATED.fullmatch(name):
                pattern += re.escape(self._filled(hole[0]))
            else:
                names.append(name)
                pattern += r'([^"]+)'
        found = re.fullmatch(pattern + re.escape(expected[at:]), actual)
        assert found, f"\nprotocol.md: {expected}\nthe server:  {actual}"
        self._values.update(zip(names, found.groups(), strict=True))

    # -- what a transcript may say

    def connects(self, name: str, how: str) -> None:
        prefixed = {"in lines": False, "length-prefixed": True, "and says nothing": None}
        assert name not in self._players, f"{name} connects twice"
        self._players[name] = Player(self._daemon.port, prefixed=prefixed[how])

    def connects_with_tls(self, name: str, certificate: str | None, how: str) -> None:
        assert name not in self._players, f"{name} connects twice"
        self._players[name] = TLSPlayer(self._daemon.port, prefixed=how == "length-prefixed", name=certificate)

    def connects_with_program(self, name: str, command: str) -> None:
        assert name not in self._players, f"{name} connects twice"
        if command.startswith("nc -u "):
            self._players[name] = DatagramProgram(command, udp_address(self._daemon))
        else:
            self._players[name] = Program(_placed(command, self._daemon))

    def is_registered(self, name: str, how: str) -> None:
        self.connects(name, how)
        self.sends(name, f'{{"type":"register","id":"{name}"}}')
        assert self._players[name].hear().startswith(f'{{"type":"registered","id":"{name}",')

    def sends(self, name: str, text: str) -> None:
        player = self._players[name]
        if not text.endswith(_REPEATEDLY):
            player.write(player.framed(self._filled(text)))
            return
        data = player.framed(self._filled(text.removesuffix(_REPEATEDLY)))
        for _ in range(1_000):
            player.write(data)
            heard = player.hear()
            if '"ok"' not in heard:
                player.put_back(heard)
                return
        raise AssertionError("a thousand times ok")

    def sends_the_first_bytes(self, name: str, count: str, text: str) -> None:
        player = self._players[name]
        player.write(player.framed(text)[: int(count)])

    def hears(self, name: str, text: str) -> None:
        self.match(text, self._players[name].hear())

    def hears_a_line(self, name: str, text: str) -> None:
        self.match(text, self._players[name].bytes.line())

    def reads_on(self, name: str) -> None:
        player = self._players[name]
        while (heard := player.hear()).startswith('{"type":"message"'):
            pass
        player.put_back(heard)

    def sees_the_end(self, name: str) -> None:
        player = self._players.pop(name)
        try:
            assert player.bytes.at_end(), "more came"
        finally:
            player.close()

    def leaves_netcat(self, name: str) -> None:
        player = self._players.pop(name)
        assert isinstance(player, Program)
        try:
            player.leave()
        finally:
            player.close()

    def sees_openssl_end(self, name: str) -> None:
        player = self._players.pop(name)
        assert isinstance(player, Program)
        try:
            player.see_it_end()
        finally:
            player.close()

    def server_stops(self) -> None:
        self._daemon.process.terminate()

    def server_reloads(self, name: str, secret: str) -> None:
        assert self._folder is not None
        configured.private(self._folder / name, secret)
        self._daemon.process.send_signal(signal.SIGHUP)

    def remark(self) -> None:
        pass


_ACTS: Final[list[tuple[re.Pattern[str], Callable[..., None]]]] = [
    (re.compile(r"\(.+\)"), Stage.remark),
    (re.compile(r"(\w+)> (.*)"), Stage.sends),
    (re.compile(r"(\w+)< (.+)"), Stage.hears),
    (re.compile(r"(\w+): hears a line (.+)"), Stage.hears_a_line),
    (re.compile(r"(\w+): connects (in lines|length-prefixed|and says nothing)"), Stage.connects),
    (re.compile(r"(\w+): connects with TLS(?: and a certificate for (\w+))?, (.+)"), Stage.connects_with_tls),
    (re.compile(r"(\w+): connects with ((?:nc|openssl) .+)"), Stage.connects_with_program),
    (re.compile(r"(\w+): is registered, (in lines|length-prefixed)"), Stage.is_registered),
    (re.compile(r"(\w+): sends the first (\d+) bytes of (.+)"), Stage.sends_the_first_bytes),
    (re.compile(r"(\w+): reads on, past the messages that were on their way"), Stage.reads_on),
    (re.compile(r"(\w+): sees the end of file"), Stage.sees_the_end),
    (re.compile(r"(\w+): presses Ctrl-[CD], and nc ends"), Stage.leaves_netcat),
    (re.compile(r"(\w+): sees openssl end"), Stage.sees_openssl_end),
    (re.compile(r"server: is told to stop"), Stage.server_stops),
    (re.compile(rf"server: is told to reload, {FILES}(\w+) holding (\S+)"), Stage.server_reloads),
]

_CONFIGURED = re.compile(r"server: runs with the configuration of section ([0-9.]+)(?:, and (--set .+))?")
_RUNS = re.compile(r"server: runs with (--set .+)")
_STOPS: Final = "server: is told to stop"


class Scene(NamedTuple):
    """What an example needs: a daemon, and where its configuration is, if it has one.

    Attributes:
        lines: what is left to play.
        section: the section of protocol.md that shows the configuration.
        folder: where its files are.
    """

    daemon: Daemon
    lines: list[str]
    section: str | None = None
    folder: Path | None = None


@contextlib.contextmanager
def scene_of(block: Block, shared: Callable[[], Daemon]) -> Generator[Scene]:
    """What an example needs: the shared daemon, unless it says otherwise."""
    first, *rest = block.lines
    if found := _CONFIGURED.fullmatch(first):
        section, more = found.groups("")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file = configured.write(section, folder)
            with running_daemon("--config", str(file), *shlex.split(more)) as daemon:
                yield Scene(daemon, rest, section, folder)
    elif found := _RUNS.fullmatch(first):
        with running_daemon(*shlex.split(found[1])) as daemon:
            yield Scene(daemon, rest)
    elif _STOPS in block.lines:
        with running_daemon() as daemon:
            yield Scene(daemon, block.lines)
    else:
        yield Scene(shared(), block.lines)


def run_transcript(scene: Scene) -> None:
    """Play a transcript, each line in turn."""
    with contextlib.closing(Stage(scene.daemon, scene.section, scene.folder)) as stage:
        for line in scene.lines:
            stage.play(line)
        stage.finish()


# -- hex

_END: Final = "S: end of file"
_HEX_WIDTH: Final = 50


class Turn(NamedTuple):
    """Bytes that one side sends in one go."""

    side: str
    data: bytes


def turns(lines: list[str]) -> list[Turn]:
    """The bytes of a hex block, each line compared with the ASCII at its side."""
    found: list[Turn] = []
    for line in lines:
        side, digits, text = line[:3], line[3:_HEX_WIDTH], line[_HEX_WIDTH + 2 :]
        data = bytes.fromhex(digits)
        seen = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
        assert line[_HEX_WIDTH : _HEX_WIDTH + 2] == "  ", f"the columns are not where they should be: {line}"
        assert text.rstrip() == seen.rstrip(), f"not what the bytes say, {seen!r}: {line}"
        if side == "   ":
            found[-1] = found[-1]._replace(data=found[-1].data + data)
        else:
            found.append(Turn(side.rstrip(": "), data))
    assert {turn.side for turn in found} == {"C", "S"}
    return found


def run_hex(scene: Scene) -> None:
    """Exchange the bytes of a hex block."""
    daemon, lines = scene.daemon, scene.lines
    ends = lines[-1] == _END
    script = turns(lines[:-1] if ends else lines)
    player = Player(daemon.port, prefixed=script[0].data[0] == 0)
    with contextlib.closing(player):
        for side, data in script:
            if side == "C":
                player.write(data)
            else:
                assert player.bytes.exactly(len(data)) == data
        if ends:
            assert player.bytes.at_end(), "more came"
        else:
            player.end()


# -- console


def udp_address(daemon: Daemon) -> tuple[str, int]:
    """Where a daemon takes datagrams."""
    (url,) = (url for url in daemon.urls if url.startswith("udp:"))
    return "127.0.0.1", int(url.rpartition(":")[2])


def _placed(command: str, daemon: Daemon) -> str:
    paths = [url.removeprefix("unix:") for url in daemon.urls if url.startswith("unix:")]
    command = re.sub(rf"\b{PORT}\b", str(daemon.port), command)
    return command.replace(SOCKET, paths[0]) if SOCKET in command else command


def commands(lines: list[str]) -> list[tuple[str, list[str]]]:
    """What is typed, and what appears."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def run_console(scene: Scene) -> None:
    """Type the commands of a console block, and compare what appears."""
    daemon, lines = scene.daemon, scene.lines
    for command, expected in commands(lines):
        done = subprocess.run(
            ["/bin/sh", "-c", _placed(command, daemon)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert done.stderr == ""
        Stage(daemon).match("".join(f"{line}\n" for line in expected), done.stdout)


def need_programs(block: Block) -> None:
    """Skip an example that is typed into a program which is not here, or of another kind."""
    typed = "\n".join(line for line in block.lines if line.startswith("$ ") or ": connects with " in line)
    if re.search(r"\bopenssl\b", typed):
        needs("openssl")
    if not re.search(r"\bnc\b", typed):
        return
    usage = subprocess.run([needs("nc"), "-h"], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    if "OpenBSD" not in usage.stderr:
        lacks("nc is not OpenBSD's")
