"""The daemon's end of the admin socket, as a test wants it: a real Unix socket, and a thread that says its lines."""

import contextlib
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sigd.admin import questions
from tests.daemon import HANG_SECONDS

GOLDEN = Path(__file__).parent / "golden"

SECONDS = HANG_SECONDS

Document = dict[str, Any]


def golden(name: str) -> Document:
    """What the daemon answers, as `sigctl --json` prints it."""
    document: Document = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


class ScriptedDaemon:
    """Answers each kind of question with what a test has set, else from the golden file of that name.

    Attributes:
        path: where it listens.
        asked: what it was asked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[questions.Asked] = []
        self._answers: dict[str, list[bytes]] = {}
        self._stays: set[str] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "ScriptedDaemon":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._listener.close()

    def says(self, question: str, *answers: Document) -> None:
        """What it says to the next questions of that kind, one answer each; to `tap` all of them, and then the end."""
        self._answers[question] = [frame(json.dumps(answer).encode()) for answer in answers]

    def waits(self, question: str, *answers: Document) -> None:
        """What it says to the next question of that kind, and then nothing, for as long as the other end stays."""
        self.says(question, *answers)
        self._stays.add(question)

    def sends(self, question: str, *pieces: bytes) -> None:
        """The same as bytes, whatever they are."""
        self._answers[question] = list(pieces)

    def refuses(self, question: str, code: str, message: str) -> None:
        self.says(question, {"schema": 1, "type": "refused", "code": code, "message": message})

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            connection.settimeout(SECONDS)
            with connection, contextlib.suppress(OSError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as said:
            while head := said.read(4):
                question = questions.decode_question(said.read(int.from_bytes(head, "big")))
                self.asked.append(question)
                for answer in self._answers_to(str(question.__struct_config__.tag)):
                    if not answer:
                        return
                    connection.sendall(answer)

    def _answers_to(self, question: str) -> Sequence[bytes]:
        answers = self._answers.get(question)
        if answers is None:
            return [frame(json.dumps(golden(question)).encode())]
        if question == "tap":
            return answers if question in self._stays else [*answers, b""]
        return [answers.pop(0) if len(answers) > 1 else answers[0]]


def frame(message: bytes) -> bytes:
    """A message behind its length."""
    return len(message).to_bytes(4, "big") + message
