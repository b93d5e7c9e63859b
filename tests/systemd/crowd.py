"""A crowd at play: many connections in one process, pairs of which pass a number to and fro that grows by one."""

import json
import resource
import select
import socket
import time
from typing import TYPE_CHECKING

from tests.systemd.peer import HERE

if TYPE_CHECKING:
    import subprocess


class Player:
    """One peer.

    Attributes:
        sock: its connection.
        other: whom it plays with.
        due: the number that it waits for.
    """

    __slots__ = ("due", "other", "read", "sock")

    def __init__(self, sock: socket.socket, other: str) -> None:
        self.sock = sock
        self.other = other
        self.due = 0
        self.read = b""


class Crowd:
    """Pairs at play, and others who only listen.

    Attributes:
        heard: messages that came when they should.
        wrong: what came otherwise: twice, too early, an end.
        pause_seconds: the longest time in which nobody heard anything.
    """

    def __init__(self, pairs: int, idle: int, address: tuple[str, int] = HERE) -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._poll = select.epoll()
        self._players: dict[int, Player] = {}
        self.heard = 0
        self.wrong: list[str] = []
        self.pause_seconds = 0.0
        names = [f"p{number}" for number in range(2 * pairs)]
        for number, name in enumerate(names):
            self._join(name, names[number ^ 1], address)
        for number in range(idle):
            self._join(f"idle{number}", "", address)
        self._openers = [player for player in self._players.values() if player.other][::2]

    def _join(self, name: str, other: str, address: tuple[str, int]) -> None:
        sock = socket.create_connection(address, timeout=10)
        sock.sendall(b'{"type":"register","id":"%b"}\n' % name.encode())
        answer = b""
        while not answer.endswith(b"\n"):
            data = sock.recv(4_096)
            assert data, "the daemon lets nobody else in"
            answer += data
        assert json.loads(answer)["type"] == "registered", answer
        self._players[sock.fileno()] = Player(sock, other)
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def serve_first(self) -> None:
        """Begin: one of each pair has the ball."""
        for player in self._openers:
            self._pass(player, 1)

    def play(self, seconds: float, command: "subprocess.Popen[str] | None" = None) -> None:
        """Go on for some time, and until a command has ended."""
        end = last = time.monotonic()
        end += seconds
        while (now := time.monotonic()) < end or (command is not None and command.poll() is None):
            found = self._poll.poll(0.1)
            if found:
                now = time.monotonic()
                self.pause_seconds, last = max(self.pause_seconds, now - last), now
            for descriptor, _ in found:
                self._hear(self._players[descriptor])
        self.pause_seconds = max(self.pause_seconds, now - last)

    def _hear(self, player: Player) -> None:
        try:
            data = player.sock.recv(65_536)
        except OSError as fault:
            data = b""
            self.wrong.append(str(fault))
        if not data:
            self.wrong.append("a connection has ended")
            self._poll.unregister(player.sock.fileno())
            return
        *lines, player.read = (player.read + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["type"] != "message":
                self.wrong.append(line.decode())
            elif player.due and message["data"] != player.due:
                self.wrong.append(f"{message['data']} instead of {player.due}")
            else:
                self.heard += 1
                self._pass(player, message["data"] + 1)

    def _pass(self, player: Player, number: int) -> None:
        player.due = number + 1
        player.sock.sendall(b'{"type":"message","to":"%b","data":%d}\n' % (player.other.encode(), number))

    def reached(self) -> list[int]:
        """The number that each pair has come to."""
        return [player.due for player in self._openers]

    def close(self) -> None:
        """Leave."""
        self._poll.close()
        for player in self._players.values():
            player.sock.close()
